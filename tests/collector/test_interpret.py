"""The same bytes in every way they may be meant; encoded by pymodbus and by the standard's own examples."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin

from collector.interpret import fits, interpretations
from collector.interpret_items import format_of, item_guesses, item_values

Kind = ModbusClientMixin.DATATYPE
ENCODED: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "uint16": (Kind.UINT16, st.integers(0, 2**16 - 1)),
    "int16": (Kind.INT16, st.integers(-(2**15), 2**15 - 1)),
    "uint32": (Kind.UINT32, st.integers(0, 2**32 - 1)),
    "int32": (Kind.INT32, st.integers(-(2**31), 2**31 - 1)),
    "uint64": (Kind.UINT64, st.integers(0, 2**64 - 1)),
    "int64": (Kind.INT64, st.integers(-(2**63), 2**63 - 1)),
    "float32": (Kind.FLOAT32, st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "float64": (Kind.FLOAT64, st.floats(allow_nan=False, allow_infinity=False)),
}


def words_of(value: Any, kind: Any, word_order: Literal["big", "little"]) -> bytes:
    words = ModbusClientMixin.convert_to_registers(value, kind, word_order=word_order)
    return b"".join(word.to_bytes(2, "big") for word in words)


@given(st.sampled_from(sorted(ENCODED)), st.sampled_from(["big", "little"]), st.booleans(), st.data())
def test_a_value_is_found_whatever_its_type_and_order(
    type_: str, word_order: Literal["big", "little"], swapped: bool, data: st.DataObject
) -> None:
    kind, values = ENCODED[type_]
    value = data.draw(values)
    words = words_of(value, kind, word_order)
    order = {"big": "ABCD", "little": "CDAB"}[word_order] if len(words) > 2 else "ABCD"
    if swapped:
        words = b"".join(words[n : n + 2][::-1] for n in range(0, len(words), 2))
        order = {"ABCD": "BADC", "CDAB": "DCBA"}[order]
    (found,) = [each for each in interpretations(words) if (each.type, each.order) == (type_, order)]
    assert found.number is not None
    if type_ == "float32":
        assert struct.pack(">f", found.number) == struct.pack(">f", value)
    else:
        assert found.number == value


def test_packed_digits_are_read_and_others_are_none() -> None:
    by_place = {(each.type, each.order): each.number for each in interpretations(bytes.fromhex("12 34 56 78 90 12"))}
    assert by_place["bcd16", "ABCD"] == 1234
    assert by_place["bcd32", "ABCD"] == 12345678
    assert by_place["bcd32", "CDAB"] == 56781234
    assert by_place["bcd48", "ABCD"] == 123456789012
    assert {each.number for each in interpretations(b"\xab\xcd") if each.type == "bcd16"} == {None}


def test_no_number_is_said_as_none() -> None:
    nan = {each.order: each.number for each in interpretations(b"\x7f\xc0\0\0") if each.type == "float32"}
    assert nan["ABCD"] is None


def test_a_voltage_is_recognised_by_itself() -> None:
    best = fits(interpretations(struct.pack(">f", 229.8) + b"\x41\x20"))[0]
    assert (best.interpretation.type, best.interpretation.order, best.measurand) == ("float32", "ABCD", "voltage.l1n")
    assert best.value == Decimal("229.8")


@pytest.mark.parametrize(("order", "place"), [("CDAB", slice(2, 4)), ("ABCD", slice(0, 2))])
def test_a_word_order_is_told_by_what_it_should_be(order: str, place: slice) -> None:
    raw = struct.pack(">f", 49.98)
    words = raw if order == "ABCD" else raw[2:] + raw[:2]
    best = fits(interpretations(words), "frequency")[0]
    assert best.interpretation.order == order
    assert best.value == Decimal("49.98")
    assert words[place] == raw[:2]


@pytest.mark.parametrize(
    ("words", "shown", "type_", "exponent"),
    [
        ("0000 3039", "123.45", "uint32", -2),  # Acrel: 12345 x 0.01 kWh
        ("3039 0000", "123.45", "uint32", -2),
        ("0001 2345", "123.45", "bcd32", -2),
        ("08FC", "230.0", "uint16", -1),  # 2300 x 0.1 V
        ("FFFF FF9C", "-0.1", "int32", -3),
    ],
)
def test_a_displayed_number_names_type_and_scale(words: str, shown: str, type_: str, exponent: int) -> None:
    best, *others = fits(interpretations(bytes.fromhex(words)), shown=Decimal(shown))
    # 3039 0000 is also a word by itself: nobody can tell, so both are shown
    assert (type_, exponent) in {(each.interpretation.type, each.exponent) for each in (best, *others[:1])}
    assert abs(best.value - Decimal(shown)) <= Decimal("0.01")


def test_rubbish_fits_nothing() -> None:
    assert fits(interpretations(b"\0\0\0\0\0\0\0\0")) == []
    assert fits(interpretations(b"\xff\xff\xff\xff"), "voltage.l1n") == []
    assert fits(interpretations(bytes.fromhex("7530")), shown=Decimal("4711")) == []


@given(st.binary(min_size=2, max_size=8).filter(lambda raw: len(raw) % 2 == 0))
def test_no_bytes_break_it(raw: bytes) -> None:
    for fit in fits(interpretations(raw)):
        assert math.isfinite(float(fit.value))


# Items: the published frames of the facts' chapter B7, their data without the 33H and the identifier.
@pytest.mark.parametrize(
    ("di", "data", "values"),
    [
        ("00010000", "26 00 00 00", ["0.26"]),
        ("02010100", "01 10", ["100.1"]),
        ("00010000", "42 06 12 00", ["1206.42"]),
        ("0201FF00", "01 22 99 21 15 22", ["220.1", "219.9", "221.5"]),
        ("02030000", "45 23 81", ["-1.2345"]),
        ("B611", "00 01", ["100"]),
        ("9010", "01 00 00 00", ["0.01"]),
        ("00010000", "FF FF FF FF", [None]),
    ],
)
def test_items_are_read_by_the_standard(di: str, data: str, values: list[str | None]) -> None:
    found = item_values(di, bytes.fromhex(data))
    assert [None if each.value is None else str(each.value) for each in found] == values


def test_a_maximum_demand_carries_its_time() -> None:
    (found,) = item_values("01010000", bytes.fromhex("56 34 12 30 11 24 11 26"))
    assert (str(found.value), found.time) == ("12.3456", "2611241130")


def test_an_unknown_identifier_is_shown_in_every_format() -> None:
    assert format_of("04FF0000") is None
    forms = dict(item_guesses(bytes.fromhex("34 12")))
    assert forms["X" * 3 + ".X"] == "123.4"
    assert forms["bits"] == "00010010 00110100"
    assert dict(item_guesses(b"84-DDS"))["text"] == "SDD-48"
    assert item_values("02010100", bytes.fromhex("01 02 03")) == []
