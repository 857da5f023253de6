"""What a meter says of itself casts doubt where it should, and only there."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import BusMaster
from collector.simulated import Factory, Load, Recipe
from collector.simulated.item_meters import ItemMeter
from collector.watch import Watch
from meterline.clock import NS
from meterline.lines import LineSettings
from meterline.meter_clock import digits_of, moment_ns, offset_s
from meterline.profiles import ItemPoint
from meterline.readings import Column, Number, Quality, Shape
from meterline.settings import Rates
from tests.collector.rs485 import ItemDrop, Wires
from tests.collector.simulated.sites import meter, plant
from tests.collector.sites import SHIPPED, Collected
from tests.collector.virtual_time import LoopClock, during, run

ZONE = ZoneInfo("Asia/Shanghai")
PAGE = SHIPPED["dlt645-2007-three-phase"]
NOON = int(dt.datetime(2026, 5, 18, 12, 0, tzinfo=ZONE).timestamp()) * NS
SUSPECT = int(Quality.SUSPECT)


def judged(watch: Watch, at_ns: int = NOON, **values: Number) -> dict[str, int]:
    """The qualities of one poll of these measurands (``__`` for a dot)."""
    names = [name.replace("__", ".") for name in values]
    points = [PAGE.point(name) for name in names]
    assert all(isinstance(point, ItemPoint) for point in points)
    shape = Shape("t@1", tuple(Column(name, 0) for name in names))
    qualities = [0] * len(names)
    known = [point for point in points if point is not None]
    watch.judge(known, shape, list(values.values()), qualities, lambda _: at_ns)
    return dict(zip(names, qualities, strict=True))


ENERGY = {"energy__active__import": 100, "voltage__l1n": 2301}


@pytest.mark.parametrize(
    ("word", "doubtful"),
    [
        # facts/protocols.md, B4, words 4 to 7: loss of voltage, of current, open phase and circuit; reversed sequences
        ({"status__l1": 0x0001}, True), ({"status__l2": 0x0008}, True), ({"status__l3": 0x0080}, True),
        ({"status__l3": 0x0100}, True), ({"status__grid": 0x0001}, True), ({"status__grid": 0x0002}, True),
        # under- and over-voltage, over-current, overload, reverse flow; unbalance; battery; direction: no doubt
        ({"status__l1": 0x0076}, False), ({"status__grid": 0x00FC}, False), ({"status__meter": 0xFFFF}, False),
        ({"status__direction": 0x0011}, False), ({"status__l1": 0}, False),
    ],
)  # fmt: skip
def test_status_words_cast_doubt_on_counters_and_on_nothing_else(word: dict[str, int], doubtful: bool) -> None:
    watch = Watch("m", "", ZONE)
    qualities = judged(watch, **ENERGY, **word)
    assert qualities["energy.active.import"] == (SUSPECT if doubtful else 0)
    assert sum(qualities.values()) == qualities["energy.active.import"], "neither the voltage nor the witness itself"
    assert judged(watch, **ENERGY)["energy.active.import"] == (SUSPECT if doubtful else 0), (
        "until the meter takes it back"
    )
    judged(watch, **dict.fromkeys(word, 0))
    assert judged(watch, **ENERGY)["energy.active.import"] == 0


def test_a_lost_phase_is_seen_on_the_line_and_its_energy_marked() -> None:
    got = Collected()
    bus = {"id": "line", "kind": "serial", "gateway": "gw", "device": "/dev/null", "baud": 2400, "parity": "E"}
    site = plant([meter("m", profile=PAGE.profile, address="000000000001", bus="line")], [bus])

    async def scenario(clock: LoopClock) -> int:
        fault = Recipe.model_validate(
            {"meter": "m", "kind": "phase_loss", "after_min": 10, "lasts_min": 20, "level": 2}
        )
        made = Factory(site, clock, loads={"m": Load(shape="base", peak=40)}, faults=[fault]).meters["m"]
        assert isinstance(made, ItemMeter)
        start_ns = clock.now_ns()
        wires = Wires([ItemDrop(made, LineSettings(2400, "E", 1), clock)])
        line = site.buses["line"]
        rates = Rates(fast_s=60, normal_s=60, slow_s=300)
        await during(3600, BusMaster(line, site, rates, clock, got, transport=wires.end(line)).run())
        return start_ns

    start_ns = run(scenario)
    doubted = [
        (poll.slot_ns - start_ns) / 60 / NS
        for poll in got.polls
        for reading in poll.readings()
        if reading.measurand == "energy.active.import" and reading.quality & Quality.SUSPECT
    ]
    assert len(doubted) == pytest.approx(20, abs=5)
    assert 10 <= min(doubted) <= 16, "known at the next reading of the status words"
    assert 29 <= max(doubted) <= 36


# --- the meter's clock -----------------------------------------------------------------------------------------------


@given(st.integers(946_684_800, 4_102_444_800), st.floats(-86_000, 86_000))
def test_the_offset_of_a_clock_with_its_date(at_s: int, ahead_s: float) -> None:
    shown = digits_of((at_s + round(ahead_s)) * NS, ZONE)
    offset = offset_s(shown // 1_000_000, shown % 1_000_000, at_s * NS, ZONE)
    assert offset == round(ahead_s)


@given(st.integers(946_684_800, 4_102_444_800), st.integers(-43_000, 43_000))
def test_without_a_date_the_nearest_day_is_meant(at_s: int, ahead_s: int) -> None:
    shown = digits_of((at_s + ahead_s) * NS, ZONE)
    assert offset_s(None, shown % 1_000_000, at_s * NS, ZONE) == ahead_s


def test_digits_that_are_no_time() -> None:
    assert moment_ns(20_260_230_120_000, ZONE) is None
    assert moment_ns(20_260_518_250_000, ZONE) is None
    assert offset_s(20_261_301, 120_000, NOON, ZONE) is None
    assert offset_s(None, 999_999, NOON, ZONE) is None
    watch = Watch("m", "", ZONE)
    assert judged(watch, clock__date=20_260_518, clock__time=996_699)["clock.time"] == SUSPECT
    assert watch.clock_offset_s is None


def test_a_date_read_before_midnight_and_a_time_after_it_are_no_day_apart() -> None:
    midnight = int(dt.datetime(2026, 5, 19, tzinfo=ZONE).timestamp()) * NS
    watch = Watch("m", "", ZONE)
    assert judged(watch, midnight + NS, clock__date=20_260_518, clock__time=1)["clock.time"] == 0
    assert watch.clock_offset_s == pytest.approx(0, abs=1)


def test_a_clock_that_is_a_day_off_is_noticed() -> None:
    watch = Watch("m", "", ZONE)
    assert judged(watch, clock__date=20_260_517, clock__time=120_000)["clock.time"] == SUSPECT
    assert watch.clock_offset_s == -86_400


@pytest.mark.parametrize(
    ("serial", "number", "other"),
    [("002241020208", 2_241_020_208, False), ("2241020208", 2_241_020_208, False), ("4711", 815, True),
     ("PAC-0417", 815, False), ("", 815, False)],
)  # fmt: skip
def test_the_number_is_compared_as_a_number(serial: str, number: int, other: bool) -> None:
    watch = Watch("m", serial, ZONE)
    assert judged(watch, identity__number=number)["identity.number"] == (SUSPECT if other else 0)
    assert judged(watch, **ENERGY)["energy.active.import"] == (SUSPECT if other else 0)
