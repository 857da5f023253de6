"""Words to numbers, judged by pymodbus, numpy and struct, never by the decoder itself."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin as Theirs

from collector.decode import BlockDecoder, shortest_float32
from collector.plan import request_plan
from meterline.profiles import WORDS, DataType, ModbusProfile, Order
from meterline.readings import Number, Quality, exact

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
THEIR_TYPE = {
    "uint16": Theirs.DATATYPE.UINT16, "int16": Theirs.DATATYPE.INT16, "uint32": Theirs.DATATYPE.UINT32,
    "int32": Theirs.DATATYPE.INT32, "uint64": Theirs.DATATYPE.UINT64, "int64": Theirs.DATATYPE.INT64,
    "float32": Theirs.DATATYPE.FLOAT32, "float64": Theirs.DATATYPE.FLOAT64,
}  # fmt: skip


def page(*points: dict[str, Any], **rest: Any) -> ModbusProfile:
    return ModbusProfile.model_validate(
        {
            "profile": "t", "revision": 1, "title": {"en": "t", "zh": "t"}, "protocol": "modbus",
            "carrier": "electricity", "source": "made for tests", "evidence": "unverified",
            "value_reference": "primary", "points": tuple({"unit": "kWh", **point} for point in points), **rest,
        },
        strict=False,
    )  # fmt: skip


def decode(profile: ModbusProfile, words: dict[int, int]) -> list[Number | None]:
    plan = request_plan(profile)
    numbers: list[Number | None] = [None] * len(plan.points)
    qualities = [0] * len(plan.points)
    for block in plan.blocks:
        payload = b"".join(words.get(block.address + n, 0).to_bytes(2, "big") for n in range(block.count))
        doubtful = BlockDecoder(block, plan.points).into(payload, numbers, qualities)
        assert doubtful == any(qualities[item.column] for item in block.items)
    assert [q == Quality.INVALID for q in qualities] == [n is None for n in numbers]
    return numbers


def one(type_: DataType, words: list[int], order: Order = "ABCD", **point: Any) -> Number | None:
    profile = page({"measurand": "energy.active.import", "at": 3, "type": type_, "order": order, **point})
    return decode(profile, {3 + n: word for n, word in enumerate(words)})[0]


@given(st.sampled_from(sorted(THEIR_TYPE)), st.data())
def test_most_significant_first_is_what_pymodbus_reads(type_: DataType, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=WORDS[type_], max_size=WORDS[type_]))
    theirs = Theirs.convert_from_registers(words, THEIR_TYPE[type_], word_order="big")
    ours = one(type_, words)
    assert isinstance(theirs, int | float)
    if isinstance(theirs, float) and not math.isfinite(theirs):
        assert ours is None
    elif type_ == "float32":
        assert ours is not None
        assert np.float32(ours) == np.float32(theirs)
    else:
        assert ours == theirs


@given(st.sampled_from(sorted(THEIR_TYPE)), st.data())
def test_low_word_first_is_what_pymodbus_calls_little(type_: DataType, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 0x7F00), min_size=WORDS[type_], max_size=WORDS[type_]))
    theirs = Theirs.convert_from_registers(words, THEIR_TYPE[type_], word_order="little")
    ours = one(type_, words, "CDAB")
    assert (float("nan") if ours is None else np.float32(ours) if type_ == "float32" else ours) == pytest.approx(
        theirs, rel=0, abs=0, nan_ok=True
    )


@given(st.sampled_from(sorted(WORDS)), st.data())
def test_swapping_the_bytes_of_each_word_undoes_the_other_orders(type_: DataType, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=WORDS[type_], max_size=WORDS[type_]))
    swapped = [(word >> 8) | (word & 0xFF) << 8 for word in words]
    assert one(type_, swapped, "BADC") == one(type_, words, "ABCD")
    assert one(type_, swapped, "DCBA") == one(type_, words, "CDAB")
    assert one(type_, words[::-1], "CDAB") == one(type_, words, "ABCD")


def test_vectors_from_the_makers() -> None:
    # facts/meters: TUF-2000M (80 6B 42 12 -> 36.625), SUTO S430 (0A 11 42 C5 -> 98.5197), Jinhu water meter (-12.5)
    assert one("float32", [0x806B, 0x4212], "CDAB") == pytest.approx(36.625, abs=5e-4)
    assert one("float32", [0x0A11, 0x42C5], "CDAB") == pytest.approx(98.5197, abs=5e-5)
    assert one("float32", [0x0000, 0xC148], "CDAB") == -12.5
    # Fuxin gas corrector: the BCD copy of 1243.1116 (facts/meters/gas_corrector_fuxin.yaml)
    assert one("bcd48", [0x0000, 0x1243, 0x1116]) == 12431116


def test_packed_decimals_are_digits_or_nothing() -> None:
    assert one("bcd16", [0x1234]) == 1234
    assert one("bcd32", [0x0012, 0x3456]) == 123456
    assert one("bcd48", [0x9999, 0x9999, 0x9999]) == 999_999_999_999
    assert one("bcd32", [0x0012, 0x34A6]) is None
    assert one("bcd48", [0xFFFF, 0xFFFF, 0xFFFF]) is None


@pytest.mark.parametrize(
    ("type_", "words", "pattern"),
    [
        ("int16", [0x8000], 0x8000),
        ("uint16", [0xFFFF], 0xFFFF),
        ("uint32", [0xFFFF, 0xFFFF], 0xFFFFFFFF),
        ("int32", [0x7FFF, 0xFFFF], 0x7FFFFFFF),
        ("int32", [0xFFFF, 0xFFFF], 0xFFFFFFFF),
        ("uint64", [0xFFFF] * 4, 0xFFFFFFFFFFFFFFFF),
        ("float32", [0xC61C, 0x3C00], 0xC61C3C00),
        ("bcd16", [0x9999], 0x9999),
    ],
)
def test_a_makers_no_value_pattern_is_no_number(type_: DataType, words: list[int], pattern: int) -> None:
    assert one(type_, words, not_available=(pattern,)) is None
    assert one(type_, [*words[:-1], words[-1] ^ 1], not_available=(pattern,)) is not None


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FBFFF80, 0xFFC00000, 0x7F800000, 0xFF800000, 0xFFFFFFFF])
def test_what_is_no_number_is_none(bits: int) -> None:
    assert one("float32", [bits >> 16, bits & 0xFFFF]) is None


@given(FLOATS)
@example(230.1)
@example(8.589973e9)
@example(2.0**-126)
@example(2.0**-149)
@example(1.1754942e-38)
@example(16777216.0)
@example(9.7656245e-4)
def test_a_float_is_its_shortest_decimal(x: float) -> None:
    x = struct.unpack(">f", struct.pack(">f", x))[0]
    ours = shortest_float32(x)
    shortest = str(np.float32(x))
    assert Decimal(repr(ours)) == Decimal(shortest), (x, ours, shortest)


@given(st.integers(0, 52), st.booleans())
def test_powers_of_two_and_their_neighbours(exponent: int, below: bool) -> None:
    x = np.nextafter(np.float32(2.0**exponent), np.float32(0)) if below else np.float32(2.0**exponent)
    assert Decimal(repr(shortest_float32(float(x)))) == Decimal(str(x))


def test_parts_are_added_as_decimals() -> None:
    profile = page(
        {"measurand": "energy.active.import", "sum_of": ({"at": 0, "type": "int32"}, {"at": 2, "type": "float32"})},
        {"measurand": "energy.active.export", "sum_of": ({"at": 10}, {"at": 14}), "type": "float64", "unit": "Wh"},
        {"measurand": "energy.active.total", "sum_of": ({"at": 20}, {"at": 22}), "type": "uint32"},
    )
    fraction = struct.unpack(">2H", struct.pack(">f", 0.7))
    first = struct.unpack(">4H", struct.pack(">d", 0.1))
    second = struct.unpack(">4H", struct.pack(">d", 0.2))
    words = {0: 1, 1: 0xE240, 2: fraction[0], 3: fraction[1], 20: 0xFFFF, 21: 0xFFFF, 22: 0, 23: 2}
    words |= {10 + n: word for n, word in enumerate(first)} | {14 + n: word for n, word in enumerate(second)}
    numbers = decode(profile, words)
    assert numbers == [123456.7, 0.3, 0x1_0000_0001]
    assert isinstance(numbers[2], int)


def test_one_bad_part_spoils_the_sum() -> None:
    profile = page({"measurand": "energy.active.import", "sum_of": ({"at": 0}, {"at": 2}), "type": "float32"})
    assert decode(profile, {0: 0x7FC0, 2: 0x3F80}) == [None]


@given(st.permutations(range(6)), st.data())
def test_a_mixed_block_is_the_sum_of_its_cells(shuffled: list[int], data: st.DataObject) -> None:
    names = ["voltage.l1n", "voltage.l2n", "voltage.l3n", "voltage.l12", "voltage.l23", "voltage.l31"]
    at, points, words = 0, [], {}
    for name in shuffled:
        type_: DataType = data.draw(st.sampled_from(sorted(WORDS)))
        order: Order = data.draw(st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]))
        at += data.draw(st.integers(0, 3))
        points.append({"measurand": names[name], "at": at, "type": type_, "order": order, "unit": "V"})
        for n in range(WORDS[type_]):
            words[at + n] = data.draw(st.integers(0, 0xFFFF))
        at += WORDS[type_]
    together = decode(page(*points), words)
    alone = [decode(page(point), words)[0] for point in points]
    assert together == alone


def test_a_short_payload_is_refused() -> None:
    plan = request_plan(page({"measurand": "energy.active.import", "at": 0, "type": "uint32"}))
    with pytest.raises(ValueError, match="2 bytes where 4"):
        BlockDecoder(plan.blocks[0], plan.points).into(b"\0\0", [None], [0])


@pytest.mark.parametrize(
    ("words", "shows"),
    [
        # int16 scale factors as SunSpec defines them: value * 10**factor; finest step of the page 0.01 V
        ([2301, 0xFFFF], "230.1"),
        ([23010, 0xFFFE], "230.1"),
        ([230, 0], "230"),
        ([0x8000, 0xFFFF], None),  # no value
        ([2301, 0x8000], None),  # no exponent
        ([23010, 0xFFFD], None),  # finer than the page says
    ],
)
def test_an_exponent_in_another_cell(words: list[int], shows: str | None) -> None:
    point = {"measurand": "voltage.l1n", "at": 8, "type": "int16", "unit": "V", "scale": 0.01}
    plan = request_plan(page(point | {"scale_at": {"at": 9}, "not_available": (0x8000,)}))
    (block,) = plan.blocks
    assert (block.address, block.count) == (8, 2), "value and exponent come in one answer"
    numbers: list[Number | None] = [None]
    payload = b"".join(word.to_bytes(2, "big") for word in words)
    BlockDecoder(block, plan.points).into(payload, numbers, [0])
    number = numbers[0]
    assert (None if number is None else exact(number, plan.points[0].exponent)) == (
        None if shows is None else Decimal(shows)
    )


def test_hundreds_and_a_remainder() -> None:
    """The maker's own example (facts: swirl flow meter): 1234 and 87.89 make 123487.89."""
    parts = ({"at": 8, "type": "float32", "times": 100}, {"at": 10, "type": "float32"})
    plan = request_plan(page({"measurand": "volume", "unit": "m3", "sum_of": parts}))
    numbers: list[Number | None] = [None]
    BlockDecoder(plan.blocks[0], plan.points).into(struct.pack(">ff", 1234.0, 87.89), numbers, [0])
    assert Decimal(repr(numbers[0])) == Decimal("123487.89")
