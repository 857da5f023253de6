"""Meters of different speed and parity on one wire: switched at their turns, with a guard time, and no more often."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from collector import BusMaster, read_meter
from meterline.errors import LineDown
from meterline.lines import LineSettings
from meterline.plant import Plant
from meterline.profiles import Dlt645Profile
from meterline.settings import Rates
from tests.collector.peers import FakeMeter, ItemMeter, MemoryLine
from tests.collector.sites import SHIPPED, Collected, plant
from tests.collector.virtual_time import LoopClock, during, run

WORDS = SHIPPED["eastron-sdm120"]
ITEMS = SHIPPED["dlt645-2007-three-phase"]
assert isinstance(ITEMS, Dlt645Profile)
FEW = ITEMS.model_copy(
    update={"points": tuple(p for p in ITEMS.points if p.di in ("00010000", "02010100", "02010200"))}
)
FAST, SLOW = LineSettings(9600, "N", 1), LineSettings(2400, "E", 1)
ADDRESS, OTHER = "000012345678", "000012345679"


def mixed(kind: str = "serial") -> tuple[Plant, MemoryLine]:
    where: dict[str, Any] = {"device": "/dev/null"} if kind == "serial" else {"host": "127.0.0.1", "port": 4001}
    site = plant(
        {"kind": kind, **where},
        {"profile": "eastron-sdm120"},
        {"profile": "few", "address": ADDRESS, "line": {"baud": 2400, "parity": "E"}},
        {"profile": "eastron-sdm120", "gap_ms": 300},
        {"profile": "few", "address": OTHER, "line": {"baud": 2400, "parity": "E"}},
        profiles={"few": FEW},
    )
    line = MemoryLine({1: FakeMeter(), 3: FakeMeter()})
    line.items.append(ItemMeter(ADDRESS, {"00010000": 123456.78}, {"02010100": 231.4, "02010200": 229.9}))
    line.items.append(ItemMeter(OTHER, {"00010000": 0.01}, {"02010100": 1.0, "02010200": 2.0}))
    line.tuned = {1: FAST, 3: FAST, ADDRESS: SLOW, OTHER: SLOW}
    return site, line


@pytest.mark.parametrize("kind", ["serial", "rfc2217"])
def test_two_speeds_and_two_protocols_on_one_wire(kind: str) -> None:
    site, line = mixed(kind)
    got = Collected()

    async def scenario(clock: LoopClock) -> BusMaster:
        rates = Rates(fast_s=10, normal_s=10, slow_s=10)
        master = BusMaster(site.buses["line"], site, rates, clock, got, transport=line)
        await during(60, master.run())
        return master

    master = run(scenario)
    assert not got.spans
    for meter in ("m1", "m2", "m3", "m4"):
        polls = [poll for poll in got.polls if poll.meter == meter]
        assert len(polls) == 6, meter
        assert all(not poll.qualities for poll in polls), meter
    assert got.values("m2") == {
        "energy.active.import": "123456.78", "voltage.l1n": "231.4", "voltage.l2n": "229.9"
    }  # fmt: skip
    turns = [settings for _, settings in line.settings]
    assert turns == ([SLOW, FAST] * 7)[:-1], "there and back a cycle, at the quarter hour twice: counters first"
    assert master.line.switches == 13
    for at, settings in line.settings:
        asked = min(when for when, _ in line.sent if when > at)
        assert asked - at >= max(0.02, SLOW.silence_s) - 1e-6, f"guard time before the first question at {settings}"
        before = max((when for when, _ in line.sent if when <= at), default=0.0)
        assert at - before >= 0.03 - 1e-6, "not before the last answer is in"


def test_a_gap_of_one_meter_costs_the_others_nothing() -> None:
    site, line = mixed()
    got = Collected()

    async def scenario(clock: LoopClock) -> None:
        rates = Rates(fast_s=10, normal_s=10, slow_s=10)
        await during(30, BusMaster(site.buses["line"], site, rates, clock, got, transport=line).run())

    run(scenario)
    gaps = [(b[1][0], b[0] - a[0]) for a, b in pairwise(line.sent) if a[1][0] in (1, 3) and b[1][0] == a[1][0]]
    assert min(gap for unit, gap in gaps if unit == 3) >= 0.3
    assert min(gap for unit, gap in gaps if unit == 1) < 0.1


def test_reading_one_meter_switches_the_line_too() -> None:
    site, line = mixed()

    async def scenario(clock: LoopClock) -> Any:
        return await read_meter(site.buses["line"], site.meters["m2"], FEW, clock, transport=line)

    (poll,) = run(scenario)
    assert not poll.qualities
    assert [settings for _, settings in line.settings] == [SLOW]


def test_a_refused_setting_is_told_and_the_other_meters_go_on() -> None:
    site, line = mixed()
    got = Collected()

    async def refuse(settings: LineSettings) -> None:
        if settings == SLOW:
            raise LineDown(
                "192.0.2.7:4001 cannot be set to 2400 8E1 (baud not confirmed); check what its port supports"
            )

    line.adapt = refuse  # type: ignore[method-assign]

    async def scenario(clock: LoopClock) -> None:
        rates = Rates(fast_s=10, normal_s=10, slow_s=10)
        await during(60, BusMaster(site.buses["line"], site, rates, clock, got, transport=line).run())

    run(scenario)
    assert {(span.meter, span.cause) for span in got.spans} == {("m2", "line-down"), ("m4", "line-down")}
    assert len([poll for poll in got.polls if poll.meter == "m3"]) == 6


def test_after_a_reconnect_the_line_has_its_own_settings_again() -> None:
    site, line = mixed("rfc2217")

    async def scenario(clock: LoopClock) -> None:
        master = BusMaster(site.buses["line"], site, Rates(fast_s=10, normal_s=10, slow_s=10), clock, Collected(),
                           transport=line)  # fmt: skip
        asyncio.get_running_loop().call_later(25, line.hang_up)
        await during(60, master.run())
        assert master.counts["bus:line"]["silent"] == 0
        assert line.opened == 2

    run(scenario)
