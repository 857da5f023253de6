"""Modbus/TCP connections that drive themselves: several questions at once, and nothing wrong ever taken."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest

from collector import BusMaster, Wheel
from collector.turns import OVERRUN, STALLED
from meterline.clock import NS
from meterline.readings import Quality
from meterline.settings import Rates
from tests.collector.peers import FakeMeter, MemoryLine
from tests.collector.sites import Collected, plant
from tests.collector.test_floor import SIX, complete
from tests.collector.virtual_time import LoopClock, during, run

EACH_SECOND = Rates(fast_s=1, normal_s=1, slow_s=1)


class Net:
    """One Modbus/TCP endpoint whose questions are answered each in its own time."""

    def __init__(self, meters: int = 1, **bus: Any) -> None:
        self.meters = {n: FakeMeter(words=lambda address, n=n: address + 1000 * n) for n in range(1, meters + 1)}  # type: ignore[misc]
        self.line = MemoryLine(self.meters, tcp=True)
        where = {"kind": "modbus-tcp", "host": "127.0.0.1", **bus}
        self.plant = plant(where, *[{"profile": "six"}] * meters, profiles={"six": SIX})
        self.got = Collected()
        self.open_at_once = 0

    def play(self, seconds: float, rates: Rates = EACH_SECOND, at: dict[float, Any] | None = None) -> Net:
        async def scenario(clock: LoopClock) -> None:
            loop = asyncio.get_running_loop()
            for meter in self.meters.values():
                meter.busy_until_s = 0.0
            self.master = BusMaster(self.plant.buses["line"], self.plant, rates, clock, self.got, transport=self.line)
            for delay, action in (at or {}).items():
                loop.call_later(delay, action)
            await during(seconds, self.master.run())

        run(scenario)
        return self

    def slots(self, meter: str) -> list[int]:
        return [poll.slot_ns // NS for poll in self.got.polls if poll.meter == meter]

    def wrong(self) -> list[object]:
        found: list[object] = []
        for poll in self.got.polls:
            n = int(poll.meter[1:])
            for point, number in zip(SIX.points, poll.numbers, strict=True):
                assert point.at is not None
                word = point.at + 1000 * n
                if number not in (None, word if point.type is None else (word << 16) + word + 1):
                    found.append((poll.meter, point.measurand, number))
        return found


def count_open(net: Net) -> None:
    """Watch how many questions are open at the same time."""
    write, feed, now_open = net.line.write, net.line.inbox.feed, 0

    def counted_write(data: bytes) -> None:
        nonlocal now_open
        now_open += 1
        net.open_at_once = max(net.open_at_once, now_open)
        write(data)

    real_open = net.line.open

    async def counted_inbox() -> None:
        nonlocal feed
        await real_open()
        feed = net.line.inbox.feed

        def counted_feed(data: bytes) -> None:
            nonlocal now_open
            now_open -= 1
            feed(data)

        net.line.inbox.feed = counted_feed  # type: ignore[method-assign]

    net.line.write, net.line.open = counted_write, counted_inbox  # type: ignore[method-assign]


@pytest.mark.parametrize(("at_once", "expected"), [(None, 1), (1, 1), (4, 4), (16, 16)])
def test_as_many_questions_are_open_as_the_site_says(at_once: int | None, expected: int) -> None:
    net = Net(10, **({} if at_once is None else {"in_flight": at_once}))
    count_open(net)
    net.play(10, Rates(fast_s=2, normal_s=2, slow_s=2))
    assert net.open_at_once == expected
    assert all(complete(net.slots(f"m{n}"), 2) for n in range(1, 11))
    assert not net.wrong()


def test_several_at_once_take_less_time() -> None:
    took = []
    for at_once in (1, 8):
        net = Net(8, in_flight=at_once).play(8, Rates(fast_s=4, normal_s=4, slow_s=4))
        took.append(max(poll.delays_ms[-1] for poll in net.got.polls))
    assert took[1] < took[0] / 4


def test_at_a_quarter_hour_the_counters_of_all_meters_come_first() -> None:
    net = Net(6, in_flight=2).play(950, Rates(fast_s=10, normal_s=10, slow_s=10))
    boundary = next(poll.slot_ns for poll in net.got.polls if poll.slot_ns // NS % 900 == 0 and poll.meter == "m1")
    at_boundary = [poll for poll in net.got.polls if poll.slot_ns == boundary]
    assert len(at_boundary) == 6
    counters = max(poll.delays_ms[poll.shape.columns[0].request] for poll in at_boundary)
    others = min(poll.delays_ms[poll.shape.columns[-1].request] for poll in at_boundary)
    assert counters <= 3 * 30 + 5, "three rounds of two"
    assert others > counters
    usual = [poll for poll in net.got.polls if poll.slot_ns == boundary + 10 * NS]
    assert max(poll.delays_ms[-1] for poll in usual) <= 6 * 30 + 5


def test_answers_in_any_order_go_where_they_belong() -> None:
    """Each meter answers in its own time; ids, not order, say whose answer it is."""
    dice = random.Random(7)
    net = Net(6, in_flight=8)
    for meter in net.meters.values():
        answer = meter.answer

        def slow(pdu: bytes, meter: FakeMeter = meter, answer: Any = answer) -> bytes:
            meter.delay_s, meter.busy_until_s = dice.uniform(0.001, 0.2), 0.0
            return bytes(answer(pdu))

        meter.answer = slow  # type: ignore[method-assign]
    net.play(60)
    assert not net.wrong()
    assert not net.got.spans
    assert all(complete(net.slots(f"m{n}"), 1) for n in range(1, 7))


def test_ids_that_are_mixed_up_never_become_values() -> None:
    """A gateway that swaps the ids of answers: unit, function and length still have to fit, and the id to be open."""
    dice = random.Random(5)
    net = Net(5, in_flight=5)
    net.line.retag = lambda tag: (int.from_bytes(tag, "big") + dice.choice([-1, 0, 0, 1])).to_bytes(2, "big")
    net.play(120)
    assert not net.wrong()
    assert len(net.got.polls) > 50, "some get through"


def test_an_answer_after_its_time_is_thrown_away() -> None:
    net = Net(2, in_flight=4, timeout_s=0.3)
    net.play(60, at={
        10.0: lambda: setattr(net.meters[1], "delay_s", 0.7), 20.0: lambda: setattr(net.meters[1], "delay_s", 0.02),
    })  # fmt: skip
    assert not net.wrong()
    assert complete(net.slots("m2"), 1)
    assert net.master.counts["m1"]["silent"] > 0
    assert net.slots("m1")[-1] == net.slots("m2")[-1]


def test_a_refused_block_is_parted_and_the_connection_goes_on_driving_itself() -> None:
    net = Net(3, in_flight=3)
    net.meters[2].holes[17] = 0x02
    net.play(60)
    last = [poll for poll in net.got.polls if poll.meter == "m2"][-1]
    assert [Quality(bits) for bits in last.qualities] == [0, 0, 0, Quality.MISSING, 0, 0]
    assert not net.wrong()
    assert complete(net.slots("m1"), 1)
    asked_lately = [1 for at, *_ in net.meters[2].asked if at > net.meters[2].asked[-1][0] - 10.5]
    assert len(asked_lately) <= 11 * 4, "no refused question is put again"


def test_a_lost_connection_costs_no_slot() -> None:
    net = Net(4, in_flight=4)
    net.play(60, at={t + 0.01: net.line.hang_up for t in range(5, 55, 7)})
    assert not net.wrong()
    assert all(complete(net.slots(f"m{n}"), 1) for n in range(1, 5))
    assert not [span for span in net.got.spans if span.cause != OVERRUN]


def test_slots_the_line_cannot_keep_are_told() -> None:
    """Five meters of two requests, 0.15 s each, take longer than a second: what is skipped is a span."""
    net = Net(5)
    for meter in net.meters.values():
        meter.delay_s = 0.15
    net.play(60)
    overrun = [span for span in net.got.spans if span.cause == OVERRUN]
    assert overrun
    assert all(span.end_ns is not None and span.end_ns > span.start_ns for span in overrun)
    for name in net.plant.meters:
        told = {slot for s in overrun if s.meter == name for slot in range(s.start_ns // NS, (s.end_ns or 0) // NS)}
        seen = set(net.slots(name))
        everything = set(range(min(seen), max(seen) + 1))
        assert everything <= told | seen, "each slot has a poll or a reason"
    per_meter = [len(net.slots(name)) for name in net.plant.meters]
    assert max(per_meter) - min(per_meter) <= 2, "evenly"


def test_a_process_that_stood_still_invents_no_silence() -> None:
    """All that came while the process stood still is looked at before anybody is called silent."""
    net = Net(1)
    net.meters[1].delay_s = 0.5

    async def scenario(clock: LoopClock) -> None:
        loop = asyncio.get_running_loop()
        master = BusMaster(net.plant.buses["line"], net.plant, EACH_SECOND, clock, net.got, transport=net.line)

        def stand_still() -> None:
            loop._jumping.now_s += 3.0  # type: ignore[attr-defined]

        loop.call_later(10.2, stand_still)
        await during(20, master.run())
        net.master = master

    run(scenario)
    assert net.master.counts["m1"]["silent"] == 0
    assert {span.cause for span in net.got.spans} <= {OVERRUN, STALLED}
    assert STALLED in {span.cause for span in net.got.spans}
    assert not net.wrong()


def test_a_gateway_that_returns_no_ids_is_read_when_the_site_says_so() -> None:
    strict, lenient = Net(2), Net(2, tid_check="lenient")
    for net in (strict, lenient):
        net.line.retag = lambda tag: b"\x00\x00"
        net.play(30)
    assert not strict.got.polls
    assert all(complete(lenient.slots(f"m{n}"), 1) for n in (1, 2))
    assert not lenient.wrong()


def test_without_ids_a_late_answer_dies_with_its_connection() -> None:
    net = Net(2, tid_check="lenient", timeout_s=0.3)
    net.line.retag = lambda tag: b"\x00\x00"
    net.play(120, at={
        **{20.0 * k: lambda: setattr(net.meters[1], "delay_s", 0.45) for k in range(1, 6)},
        **{20.0 * k + 5: lambda: setattr(net.meters[1], "delay_s", 0.03) for k in range(1, 6)},
    })  # fmt: skip
    assert not net.wrong()
    assert net.line.opened > 3
    assert net.slots("m1")[-1] == net.slots("m2")[-1]


def test_a_mistake_of_ours_ends_the_task_and_is_not_lost_in_a_callback() -> None:
    net = Net(1)

    class Broken(Collected):
        def poll(self, poll: Any) -> None:
            raise ZeroDivisionError("a sink with a mistake")

    net.got = Broken()
    with pytest.raises(ZeroDivisionError):
        net.play(10)


def test_connections_of_one_gateway_share_a_wheel() -> None:
    async def scenario(clock: LoopClock) -> list[Collected]:
        wheel, sinks, tasks = Wheel(clock), [], []
        for _ in range(20):
            net = Net(1)
            sinks.append(net.got)
            master = BusMaster(
                net.plant.buses["line"], net.plant, EACH_SECOND, clock, net.got, transport=net.line, wheel=wheel
            )
            tasks.append(asyncio.ensure_future(master.run()))
        loop = asyncio.get_running_loop()
        await during(10.5, loop.create_future())
        clock.offset_s = -5.0  # the clock is set back: its slots come again
        await during(10.5, loop.create_future())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sinks

    for got in run(scenario):
        slots = [poll.slot_ns // NS for poll in got.polls]
        assert len(slots) >= 19
        assert sum(b <= a for a, b in pairwise(slots)) == 1, "set back once"
