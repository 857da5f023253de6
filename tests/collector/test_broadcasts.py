"""The time is told seldom, carefully, only where switched on; nothing else that changes a meter ever leaves."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import BusMaster
from collector.broadcasts import Broadcasts
from collector.protocols.dlt645 import decode_frame
from collector.simulated import Factory
from collector.simulated.item_meters import ItemMeter
from collector.watch import Watch
from meterline.clock import NS
from meterline.errors import ConfigError
from meterline.lines import LineSettings
from meterline.readings import ClockState
from meterline.settings import Rates
from meterline.site import Bus
from tests.collector.rs485 import ItemDrop, Wires
from tests.collector.simulated.sites import meter, plant
from tests.collector.sites import Collected
from tests.collector.virtual_time import LoopClock, during, run

ZONE = ZoneInfo("Asia/Shanghai")
SETTINGS = LineSettings(2400, "E", 1)
NOON = int(dt.datetime(2026, 5, 18, 12, 0, tzinfo=ZONE).timestamp()) * NS


def watch(offset_s: float | None, read_ns: int = NOON - 600 * NS) -> Watch:
    made = Watch("m", "", ZONE)
    made.clock_offset_s, made.clock_read_ns = offset_s, read_ns
    return made


def broadcasts(*offsets: float | None, wanted: str = "time", state: ClockState = ClockState.SYNCED) -> Broadcasts:
    watches = {f"m{n}": watch(offset) for n, offset in enumerate(offsets)}
    return Broadcasts("line", frozenset(wanted.split()), watches, frozenset({SETTINGS}), ZONE, lambda: state)


def test_the_time_is_told_once_a_day() -> None:
    line = broadcasts(30.0, -8.0)
    frame = line.due(NOON)
    assert frame is not None
    # facts/protocols.md, B7 row 12: ss mm hh DD MM YY, to everybody, function 08
    assert decode_frame(frame) == ("999999999999", 0x08, bytes.fromhex("00 00 12 18 05 26"))
    assert line.due(NOON + 3600 * NS) is None
    for other in line.watches.values():
        other.clock_read_ns += 86_400 * NS
    assert line.due(NOON + 86_400 * NS) is not None


@pytest.mark.parametrize(
    "line",
    [
        broadcasts(30.0, wanted=""),
        broadcasts(30.0, None),  # a clock nobody has read
        broadcasts(30.0, 301.0),  # one that would be corrected by more than five minutes
        broadcasts(3.0, -4.9),  # none worth it
        broadcasts(30.0, state=ClockState.UNSYNCED),
        broadcasts(30.0, state=ClockState.STEPPED),
        broadcasts(),
    ],
)
def test_when_in_doubt_nothing_is_told(line: Broadcasts) -> None:
    assert line.due(NOON) is None


def test_a_clock_read_long_ago_is_not_corrected() -> None:
    line = broadcasts(30.0)
    line.watches["m0"].clock_read_ns = NOON - 3 * 3600 * NS
    assert line.due(NOON) is None


@given(st.integers(0, 86_399), st.floats(-300, 300))
def test_never_near_midnight_by_any_clock(second: int, offset_s: float) -> None:
    midnight = NOON - 43_200 * NS
    line = broadcasts(offset_s, wanted="time freeze")
    line.watches["m0"].clock_read_ns = midnight + second * NS
    if line.due(midnight + second * NS) is not None:
        for clock in (second, second + offset_s):
            assert 300 <= clock <= 86_100


def test_freezing_each_midnight_is_what_was_published() -> None:
    """facts/protocols.md, B2: 99 stands for every one; 99990000 is each day at 00:00."""
    frame = broadcasts(None, wanted="freeze").due(NOON)
    assert frame is not None
    assert decode_frame(frame) == ("999999999999", 0x16, bytes.fromhex("00 00 99 99"))


def play(seconds: float, ahead_s: float, told: tuple[str, ...], *, origin: dt.datetime) -> tuple[ItemMeter, Wires]:
    bus = {"id": "line", "kind": "serial", "gateway": "gw", "device": "/dev/null", "baud": 2400, "parity": "E"}
    site = plant(
        [meter("m1", profile="dlt645-2007-three-phase", address="000000000001", bus="line")],
        [bus | {"broadcasts": told}],
    )

    async def scenario(clock: LoopClock) -> tuple[ItemMeter, Wires]:
        clock.offset_s = (int(origin.timestamp()) * NS - clock.now_ns()) / NS
        made = Factory(site, clock).meters["m1"]
        assert isinstance(made, ItemMeter)
        made.clock_ahead_s = ahead_s
        wires = Wires([ItemDrop(made, SETTINGS, clock)])
        wires.may_tell = bool(told)
        line = site.buses["line"]
        rates = Rates(fast_s=60, normal_s=60, slow_s=900)
        await during(seconds, BusMaster(line, site, rates, clock, Collected(), transport=wires.end(line)).run())
        return made, wires

    return run(scenario)


MORNING = dt.datetime(2026, 5, 18, 8, 0, tzinfo=ZONE)


@pytest.mark.parametrize(("ahead_s", "after_s"), [(42.0, 0.0), (-130.0, 0.0), (3.0, 3.0), (420.0, 420.0)])
def test_a_drifting_clock_is_set_and_one_far_off_is_left(ahead_s: float, after_s: float) -> None:
    made, _ = play(300, ahead_s, ("time",), origin=MORNING)
    assert made.clock_ahead_s == pytest.approx(after_s, abs=1.1)


def test_off_by_default_nothing_but_reading_leaves_the_port() -> None:
    made, wires = play(300, 42.0, (), origin=MORNING)
    assert made.clock_ahead_s == 42.0
    assert wires.asked > 20, "each of them was seen to be one that only reads"


def test_freezing_is_switched_on_at_the_meter() -> None:
    made, _ = play(120, 0.0, ("freeze",), origin=MORNING)
    assert made.freezes == {"99990000"}


def test_at_midnight_the_time_waits() -> None:
    made, _ = play(480, 42.0, ("time",), origin=dt.datetime(2026, 5, 18, 23, 55, tzinfo=ZONE))
    assert made.clock_ahead_s == 42.0


def test_broadcasts_are_for_serial_lines() -> None:
    fields: dict[str, Any] = {"id": "x", "gateway": "g", "kind": "modbus-tcp", "host": "h", "broadcasts": ("time",)}
    with pytest.raises((ValueError, ConfigError), match="serial lines"):
        Bus(**fields)
