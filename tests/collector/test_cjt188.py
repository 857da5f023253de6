"""The CJ/T 188 codec against published frames, and meters of it on a line."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import BusMaster
from collector.budget import DAY_NS, ReadBudget
from collector.protocols.cjt188 import (
    FUNCTIONS,
    UNITS,
    AddressQuestion,
    Cjt188Question,
    ReadData,
    encode_request,
    frames_in,
    in_steps,
)
from collector.simulated import Factory, Load
from collector.simulated.answer_meters import FieldMeter, RecordMeter
from meterline.clock import NS
from meterline.errors import Refused
from meterline.lines import LineSettings
from meterline.profiles import Cjt188Profile
from meterline.settings import Rates
from tests.collector.rs485 import AnswerDrop, Drop, Wires
from tests.collector.simulated.sites import meter, plant
from tests.collector.sites import SHIPPED, Collected
from tests.collector.virtual_time import LoopClock, during, run

WATER = "78330011223344"
GOOD = "68 10 44 33 22 11 00 33 78 81 16 1F 90 00 00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84 13 16"
HEAT = (
    "68 20 32 41 31 40 00 00 00 81 2E 90 1F 01 08 02 00 00 00 08 02 00 00 00 17 00 00 00 00 35 00 00 00 00 2C 34 10 00"
    " 00 35 25 00 66 25 00 00 00 00 53 00 12 10 07 15 20 00 00 31 16"
)
SETTINGS = LineSettings(2400, "E", 1)


@pytest.mark.parametrize(
    ("read", "frame"),
    [
        # facts/protocols.md, chapter C, frames 1, 3 and 5
        (ReadData(0x10, WATER, serial=0, preamble=0), "68 10 44 33 22 11 00 33 78 01 03 1F 90 00 80 16"),
        (
            ReadData(0x20, "00000040314132", serial=1, di_order="high-first", preamble=0),
            "68 20 32 41 31 40 00 00 00 01 03 90 1F 01 20 16",
        ),
        (ReadData(0x20, WATER, serial=1, preamble=0), "68 20 44 33 22 11 00 33 78 01 03 1F 90 01 91 16"),
    ],
)
def test_a_request_is_what_was_published(read: ReadData, frame: str) -> None:
    assert Cjt188Question(read).request == bytes.fromhex(frame)


def test_the_published_answer_is_read_and_its_misprinted_sum_is_not() -> None:
    question = Cjt188Question(ReadData(0x10, WATER))
    assert question.answer(bytearray.fromhex(GOOD)) == bytes.fromhex(GOOD)[11:-2]
    assert question.answer(bytearray.fromhex(GOOD.replace("13 16", "08 16"))) is None


@pytest.mark.parametrize("before", ["FE FE FE FE", "68 10 FE", "own request"])
def test_an_answer_is_found_behind_preamble_noise_or_echo(before: str) -> None:
    question = Cjt188Question(ReadData(0x10, WATER))
    heard = bytearray(question.request if before == "own request" else bytes.fromhex(before)) + bytes.fromhex(GOOD)
    assert question.answer(heard) == bytes.fromhex(GOOD)[11:-2]


def test_a_late_answer_to_an_earlier_question_is_not_this_ones() -> None:
    question = Cjt188Question(ReadData(0x10, WATER, serial=1))
    assert question.answer(bytearray.fromhex(GOOD)) is None
    assert question.foreign(bytearray.fromhex(GOOD))


@pytest.mark.parametrize(
    "read", [ReadData(0x11, WATER), ReadData(0x10, "78330011223345"), ReadData(0x10, WATER, di_order="high-first")]
)
def test_answers_of_others_are_passed_over(read: ReadData) -> None:
    assert Cjt188Question(read).answer(bytearray.fromhex(GOOD)) is None


@pytest.mark.parametrize("frame", [GOOD, HEAT])
def test_no_part_and_no_wrong_bit_is_an_answer(frame: str) -> None:
    raw = bytearray.fromhex(frame)
    ((_, _, found),) = frames_in(raw)
    order = "low-first" if found.data[:1] == b"\x1f" else "high-first"
    question = Cjt188Question(ReadData(found.type, found.address, serial=found.data[2], di_order=order))  # type: ignore[arg-type]
    assert question.answer(raw) is not None
    for length in range(len(raw)):
        assert question.answer(raw[:length]) is None
    for bit in range(8 * len(raw)):
        spoilt = bytearray(raw)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert question.answer(spoilt) is None


def test_whoever_is_alone_says_its_type_and_address() -> None:
    body = bytes.fromhex("68 10 44 33 22 11 00 33 78 83 03 0A 81 00")
    answer = body + bytes((sum(body) % 256, 0x16))
    question = AddressQuestion()
    assert question.request.startswith(bytes.fromhex("FE FE FE FE 68 10 AA AA AA AA AA AA AA 03 03 0A 81 00"))
    assert question.answer(bytearray(answer)) == bytes.fromhex("10 44 33 22 11 00 33 78")


def test_a_refusal_tells_the_meters_state() -> None:
    body = bytes.fromhex("68 10 44 33 22 11 00 33 78 C1 03 00 60 00")
    with pytest.raises(Refused, match="valve closed, battery low"):
        Cjt188Question(ReadData(0x10, WATER)).answer(bytearray(body + bytes((sum(body) % 256, 0x16))))


@given(st.integers(0, 255), st.binary(max_size=120))
def test_nothing_but_reading_can_be_asked(function: int, data: bytes) -> None:
    if function in FUNCTIONS and len(data) <= 100:
        ((_, _, frame),) = frames_in(encode_request(0x10, WATER, function, data))
        assert frame == (0x10, WATER, function, data)
    else:
        with pytest.raises(ValueError, match=r"none that reads|too many"):
            encode_request(0x10, WATER, function, data)
    assert {0x01, 0x03} == FUNCTIONS


@pytest.mark.parametrize(
    ("unit_byte", "digits", "unit", "exponent", "value"),
    [
        # 1 kWh = 0.0036 GJ, 1 MWh = 3.6 GJ, 1 m3 = 1000 L
        (0x05, 12345678, "GJ", -9, "444.444408"),
        (0x08, 2, "GJ", -9, "0.072"),
        (0x11, 1234, "GJ", -9, "12.34"),
        (0x0E, 1, "GJ", -9, "0.00001"),
        (0x2C, 55667700, "m3", -5, "556677.00"),
        (0x29, 12345678, "m3", -5, "123.45678"),
        (0x35, 281, "m3/h", -5, "2.81"),
        (0x29, 12345678, "m3", -2, None),  # finer than a step: no number rather than a rounded one
        (0x2C, 1, "GJ", -9, None),  # m3 is no heat
        (0x77, 1, "m3", -5, None),
    ],
)
def test_the_unit_byte_says_what_the_digits_are(
    unit_byte: int, digits: int, unit: str, exponent: int, value: str | None
) -> None:
    steps = in_steps(digits, unit_byte, unit, 2, exponent)
    assert (None if steps is None else Decimal(steps).scaleb(exponent)) == (None if value is None else Decimal(value))


@given(st.sampled_from(sorted(UNITS)), st.integers(0, 99_999_999))
def test_no_unit_loses_a_digit(unit_byte: int, digits: int) -> None:
    unit, factor, power = UNITS[unit_byte]
    steps = in_steps(digits, unit_byte, unit, 2, -11)
    assert steps is not None
    assert Decimal(steps).scaleb(-11) == Decimal(digits * factor).scaleb(power - 2)


# --- meters on a line ------------------------------------------------------------------------------------------------


def poll(
    seconds: float, *profiles: str, reads: int | None = None, silent: bool = False, every_s: float = 60
) -> tuple[Collected, Wires]:
    """Poll one simulated meter of each profile, on one line."""
    pages = []
    for name in profiles:
        page = SHIPPED[name]
        if reads is not None:
            assert isinstance(page, Cjt188Profile)
            page = page.model_copy(update={"limits": page.limits.model_copy(update={"max_reads_per_day": reads})})
        pages.append(page)
    rows = [
        meter(f"m{n}", profile=page.profile, bus="line", rated=None,
              address=str(n) if page.protocol == "mbus" else f"{n:014d}" if page.protocol == "cjt188" else f"{n:012d}")
        for n, page in enumerate(pages, start=1)
    ]  # fmt: skip
    bus = {"id": "line", "kind": "serial", "gateway": "gw", "device": "/dev/null", "baud": 2400, "parity": "E"}
    site = plant(rows, [bus], *pages)
    got = Collected()

    async def scenario(clock: LoopClock) -> Wires:
        factory = Factory(site, clock, loads={name: Load(shape="base", peak=2) for name in site.meters})
        drops: list[Drop] = []
        for made in factory.meters.values():
            assert isinstance(made, FieldMeter | RecordMeter)
            drops.append(AnswerDrop(made, SETTINGS, clock))
        wires = Wires([] if silent else drops)
        rates = Rates(fast_s=every_s, normal_s=every_s, slow_s=every_s)
        line = site.buses["line"]
        await during(seconds, BusMaster(line, site, rates, clock, got, transport=wires.end(line)).run())
        return wires

    return got, run(scenario)


def test_water_gas_and_heat_on_one_line_with_every_slot_kept() -> None:
    names = ["cjt188-water", "cjt188-gas", "cjt188-heat", "cjt188-heat-unit-first", "mbus-water", "mbus-heat"]
    got, wires = poll(600, *names)
    assert not got.spans
    for n, name in enumerate(names, start=1):
        polls = [poll for poll in got.polls if poll.meter == f"m{n}"]
        assert len(polls) == 10, name
        assert all(not poll.qualities for poll in polls), name
        values = got.values(f"m{n}")
        assert Decimal(values["heat" if "heat" in name else "volume"]) > 0
    assert wires.asked == 10 * len(names) + 2, (
        "M-Bus asks once more at the start, for an answer that is not a repeated one"
    )


def test_a_battery_meter_is_asked_no_more_often_than_its_page_allows() -> None:
    got, wires = poll(86_400, "cjt188-water", reads=24, every_s=600)
    assert wires.asked in (24, 25), "one day of the plant, from any hour"
    hours = [poll.slot_ns // (3600 * NS) for poll in got.polls]
    assert all(b - a == 1 for a, b in pairwise(hours)), "one each hour"


def test_a_battery_meter_that_keeps_silent_is_not_worn_out_by_asking() -> None:
    got, wires = poll(86_400, "cjt188-water", reads=24, silent=True, every_s=600)
    assert not got.polls
    assert wires.asked <= 48, "two calendar days at most are touched"


@given(st.integers(1, 200), st.lists(st.integers(1, 3600), min_size=1, max_size=400))
def test_a_day_never_has_more_questions_than_allowed(per_day: int, steps_s: list[int]) -> None:
    budget = ReadBudget(per_day)
    now_ns, asked = 0, dict[int, int]()
    for step in steps_s:
        now_ns += step * NS
        if budget.allows(now_ns):
            budget.spend(now_ns)
            asked[now_ns // DAY_NS] = asked.get(now_ns // DAY_NS, 0) + 1
    assert all(count <= per_day for count in asked.values())
