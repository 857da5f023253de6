"""A person asks a running gateway for one meter: at once, between two turns, and heard even if it was given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from collector import BusMaster
from meterline.errors import BusError, LineDown, Silent
from meterline.readings import Poll
from meterline.settings import Rates
from tests.collector.peers import FakeMeter, MemoryLine
from tests.collector.sites import Collected, plant
from tests.collector.virtual_time import LoopClock, during, run

EACH_MINUTE = Rates(fast_s=60, normal_s=60, slow_s=60)


def play(
    kind: str, line: MemoryLine, seconds: float, at: dict[float, Any], *, rates: Rates = EACH_MINUTE
) -> tuple[Collected, list[tuple[float, Poll | BusError]]]:
    where = {"device": "/dev/null"} if kind == "serial" else {"host": "127.0.0.1"}
    site = plant({"kind": kind, **where}, {"profile": "eastron-sdm120"}, {"profile": "eastron-sdm120"})
    got, came = Collected(), list[tuple[float, Poll | BusError]]()

    async def scenario(clock: LoopClock) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        master = BusMaster(site.buses["line"], site, rates, clock, got, transport=line)
        wishes = []

        async def wish(meter: str) -> None:
            try:
                came.append((loop.time() - begin, await master.read_now(meter)))
            except BusError as error:
                came.append((loop.time() - begin, error))

        def begin_wish(meter: str) -> None:
            wishes.append(loop.create_task(wish(meter)))

        for delay, what in at.items():
            if isinstance(what, str):
                loop.call_later(delay, begin_wish, what)
            else:
                loop.call_later(delay, what)
        await during(seconds, master.run())

    run(scenario)
    return got, came


@pytest.mark.parametrize("kind", ["serial", "modbus-tcp", "rtu-over-tcp"])
def test_a_meter_is_read_at_once_between_two_slots(kind: str) -> None:
    line = MemoryLine({1: FakeMeter(), 2: FakeMeter()}, tcp=kind == "modbus-tcp")
    got, came = play(kind, line, 200, {90.0: "m2", 91.0: "m1"})
    assert [round(at) for at, _ in came] == [90, 91]
    for _, poll in came:
        assert isinstance(poll, Poll)
        assert not poll.qualities
        assert poll not in got.polls
    assert len([poll for poll in got.polls if poll.meter == "m1"]) == 4, "the grid is kept"


def test_a_dead_meter_is_probed_at_once_and_polled_again_if_it_answers() -> None:
    dead = FakeMeter(silent=True)
    line = MemoryLine({1: FakeMeter(), 2: dead})
    every_two = Rates(fast_s=2, normal_s=2, slow_s=2)

    def revive() -> None:
        dead.silent = False

    got, came = play("serial", line, 640, {600.0: "m2", 601.5: revive, 602.0: "m2"}, rates=every_two)
    (at_dead, error), (at_back, poll) = came
    assert isinstance(error, Silent)
    assert at_dead < 604
    assert isinstance(poll, Poll)
    assert at_back < 606
    first = next(poll for poll in got.polls if poll.meter == "m2")
    start = got.polls[0].slot_ns
    assert (first.slot_ns - start) / 1e9 <= 608, "without the wish it would have been up to 48 s later"
    assert got.spans[-1].end_ns == first.slot_ns


def test_a_line_that_is_down_says_so_and_is_tried_at_once() -> None:
    line = MemoryLine({1: FakeMeter(), 2: FakeMeter()})
    line.refuse_open = "there is no port"
    every = Rates(fast_s=0.5, normal_s=0.5, slow_s=0.5)

    def mend() -> None:
        line.refuse_open = ""

    kind = "rtu-over-tcp"  # tried each 8 s by itself
    _, ((_, error), (at, poll)) = play(kind, line, 60, {40.0: "m1", 45.0: mend, 45.01: "m1"}, rates=every)
    assert isinstance(error, LineDown)
    assert "there is no port" in str(error)
    assert isinstance(poll, Poll)
    assert at < 46
