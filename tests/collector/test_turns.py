"""When a line rests for the counters, and what a dead meter costs it."""

from __future__ import annotations

from itertools import pairwise

from collector.dialects import ModbusDialect
from collector.schedule import Turn
from collector.turns import OVERRUN, TurnDesk, Work
from meterline.clock import NS, ManualClock
from meterline.profiles import Rate
from meterline.settings import Rates
from tests.collector.sites import Collected, plant
from tests.collector.test_floor import EACH_TEN, SIX, Floor, complete

QUARTER_S = 1_700_000_100


def desk(meters: int, at_s: float, **rates: float) -> TurnDesk:
    site = plant({"kind": "serial", "device": "/dev/null"}, *[{"profile": "six"}] * meters, profiles={"six": SIX})
    return TurnDesk(site.buses["line"], site, Rates(**rates), ManualClock(round(at_s * NS)), Collected())


def rest_before(desk: TurnDesk, slot_s: int, *, counters: bool = False) -> float | None:
    contact = desk.contacts["m1"]
    assert isinstance(contact.dialect, ModbusDialect)
    contact.figures["response_ms"] = 400.0
    turn: Turn[Work] = Turn("m1", slot_s * NS, frozenset({Rate.FAST, Rate.NORMAL}))
    block = next(b for b in contact.dialect.plan().blocks if b.has_counter is counters)
    until_ns = desk.before_boundary(turn, contact, block)
    return None if until_ns is None else until_ns / NS


def test_a_question_that_would_outlast_the_quarter_hour_waits_for_it() -> None:
    assert rest_before(desk(3, QUARTER_S - 0.3), QUARTER_S - 10) == QUARTER_S
    assert rest_before(desk(3, QUARTER_S - 0.5), QUARTER_S - 10) is None, "it is through by then"
    assert rest_before(desk(3, QUARTER_S - 0.3), QUARTER_S - 10, counters=True) is None
    assert rest_before(desk(1, QUARTER_S - 0.3), QUARTER_S - 10) is None, "a lone meter's own plan begins with counters"
    assert rest_before(desk(3, QUARTER_S - 0.3, normal_s=7), QUARTER_S - 10) is None, "no counters are due then"


def test_counters_of_all_meters_are_read_right_at_the_quarter_hour() -> None:
    """A round that takes 2.4 s of each 2.5: at the boundary the counters come before what was under way."""
    floor = Floor(20)
    for meter in floor.meters.values():
        meter.delay_s = 0.05
    rates = Rates(fast_s=2.5, normal_s=10, slow_s=10)
    floor.play(910, rates)
    polls = [poll for poll in floor.got.polls if poll.slot_ns == (QUARTER_S + 900) * NS]
    assert len(polls) == 20
    late_ms = [poll.delays_ms[poll.shape.columns[0].request] for poll in polls]
    assert max(late_ms) <= 20 * 65 + 130, "twenty counters, and at most one question that was under way"


def test_after_a_minute_a_dead_meter_costs_a_twentieth_of_the_line_at_most() -> None:
    floor = Floor(30)
    floor.meters[7].silent = True
    floor.play(600)
    sent = [(at, frame[0]) for at, frame in floor.line.sent]
    begun = next(at for at, unit in sent if unit == 7)
    cost = sum(
        after - at for (at, unit), (after, _) in pairwise(sent) if unit == 7 and at > begun + 60 and after - at < 2.0
    )
    assert cost <= 0.05 * (600 - 60)
    assert all(complete(floor.slots(f"m{n}"), 10) for n in range(1, 31) if n != 7)


def test_many_dead_meters_share_one_budget_and_all_come_back_within_a_minute() -> None:
    floor = Floor(20)
    dead = range(1, 11)

    def silence(on: bool) -> None:
        for n in dead:
            floor.meters[n].silent = on

    floor.play(600, at={100.0: lambda: silence(True), 400.0: lambda: silence(False)})
    assert all(complete(floor.slots(f"m{n}"), 10) for n in range(11, 21))
    first = floor.slots("m20")[0]
    for n in dead:
        back = next(slot for slot in floor.slots(f"m{n}") if slot >= first // 10 * 10 + 395)
        assert back - first <= 400 + 60
    probes = [at for at, frame in floor.line.sent if frame[0] in dead and 180 < at - floor.line.sent[0][0] < 390]
    assert len(probes) <= 10 * (210 / 48 + 1)


def test_a_meter_known_to_be_quick_is_not_waited_for_when_it_falls_silent() -> None:
    floor = Floor(2)
    floor.meters[1].delay_s = 0.02
    floor.play(300, EACH_TEN, at={205.0: lambda: setattr(floor.meters[1], "silent", True)})
    sent = floor.line.sent
    waits = [b[0] - a[0] for a, b in pairwise(sent) if a[1][0] == 1 and a[0] - sent[0][0] > 205]
    assert min(waits) < 0.35, "a tenth of a second and as much silence, where half a second twice is allowed"


def test_slots_that_pass_while_a_slow_meter_answers_are_the_lines_fault() -> None:
    floor = Floor(2)
    for meter in floor.meters.values():
        meter.delay_s = 0.45
    floor.play(120, Rates(fast_s=0.8, normal_s=0.8, slow_s=0.8))
    assert {span.cause for span in floor.got.spans} == {OVERRUN}
    assert sum(figures["skipped"] for name, figures in floor.master.counts.items() if name != "bus:line") > 100
