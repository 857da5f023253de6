"""Slots on the grid, fairness, and what happens when the line is too slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.schedule import Schedule, Turn, periods_of
from meterline.clock import NS
from meterline.profiles import Rate
from meterline.settings import Rates

BOTH = frozenset({Rate.FAST, Rate.NORMAL})


def schedule(meters: int = 3, fast_s: float = 10, normal_s: float = 60) -> Schedule[str]:
    return Schedule(
        periods_of(Rates(fast_s=fast_s, normal_s=normal_s)),
        {f"m{n}": BOTH for n in range(meters)},
        lambda meter, slot_ns, rates: 1,
    )


def drain(plan: Schedule[str]) -> list[Turn[str]]:
    turns = []
    while (turn := plan.pick()) is not None:
        turns.append(turn)
    return turns


def test_slots_are_multiples_since_1970_and_rates_that_meet_share_a_turn() -> None:
    plan = schedule(1)
    plan.start(1_000 * NS + 1)
    assert plan.next_ns() == 1_010 * NS
    seen = []
    for now in range(1_001, 1_101):
        plan.advance(now * NS)
        seen += [(turn.slot_ns // NS, turn.rates) for turn in drain(plan)]
    assert [slot for slot, _ in seen] == list(range(1_010, 1_110, 10))
    assert [slot for slot, rates in seen if rates == BOTH] == [1_020, 1_080]


def test_a_start_on_a_slot_takes_that_slot() -> None:
    plan = schedule(1)
    plan.start(1_200 * NS)
    plan.advance(1_200 * NS)
    assert [turn.slot_ns for turn in drain(plan)] == [1_200 * NS]


def test_a_newer_slot_takes_over_and_the_older_is_counted() -> None:
    plan = schedule(2)
    plan.start(1_199 * NS)
    plan.advance(1_200 * NS)
    assert plan.pick() is not None
    plan.advance(1_210 * NS)
    left = {(turn.meter, turn.slot_ns // NS): turn.rates for turn in plan.waiting}
    assert left == {
        ("m1", 1_200): frozenset({Rate.NORMAL}),  # the counters of the old slot are still owed, the gauges are not
        ("m0", 1_210): frozenset({Rate.FAST}),
        ("m1", 1_210): frozenset({Rate.FAST}),
    }
    assert plan.skipped == {"m0": 0, "m1": 1}


def test_what_is_owed_goes_first_then_who_waited_longest() -> None:
    plan = schedule(3)
    plan.start(1_199 * NS)
    plan.advance(1_200 * NS)
    first = plan.pick()
    assert first is not None
    plan.advance(1_210 * NS)
    order = [(turn.meter, turn.slot_ns // NS) for turn in drain(plan)]
    assert first.meter == "m0"
    assert order[:2] == [("m1", 1_200), ("m2", 1_200)], "the counters of the old slot"
    assert order[2:] == [("m0", 1_210), ("m1", 1_210), ("m2", 1_210)], "the others have just been served"


def test_whose_slot_ends_first_goes_first() -> None:
    plan: Schedule[str] = Schedule(
        periods_of(Rates(fast_s=10, normal_s=60)),
        {"counters": frozenset({Rate.NORMAL}), "gauges": frozenset({Rate.FAST})},
        lambda meter, slot_ns, rates: 1,
    )
    plan.start(1_199 * NS)
    plan.advance(1_200 * NS)
    assert [turn.meter for turn in drain(plan)] == ["gauges", "counters"]


def test_on_a_line_too_slow_for_the_gauges_the_counters_come_in_time_nevertheless() -> None:
    plan = schedule(3)
    plan.start(1_199 * NS)
    counters: dict[str, set[int]] = {}
    for now in range(1_200, 3_000, 6):  # one turn each six seconds, where three are due every ten
        plan.advance(now * NS)
        turn = plan.pick()
        if turn is not None and Rate.NORMAL in turn.rates:
            counters.setdefault(turn.meter, set()).add(turn.slot_ns // NS)
            assert now < turn.slot_ns // NS + 60
    assert all(len(slots) >= 29 for slots in counters.values()), "one a minute, all but the last"
    assert len(counters) == 3
    assert all(skipped > 50 for skipped in plan.skipped.values())
    assert max(plan.skipped.values()) - min(plan.skipped.values()) <= 6, "all lose alike"


def test_what_is_given_up_is_told_as_a_span() -> None:
    plan = schedule(2, fast_s=10, normal_s=10)
    plan.start(1_199 * NS)
    plan.advance(1_200 * NS)
    assert plan.pick() is not None
    plan.advance(1_210 * NS)
    assert plan.lost == {"m1": (1_200 * NS, 1_210 * NS)}
    plan.advance(1_250 * NS)
    assert plan.lost == {"m0": (1_210 * NS, 1_220 * NS), "m1": (1_200 * NS, 1_220 * NS)}
    assert plan.stalled == {"m0": (1_220 * NS, 1_250 * NS), "m1": (1_220 * NS, 1_250 * NS)}


def test_a_begun_turn_is_finished_and_a_second_chance_given_up() -> None:
    plan = schedule(2)
    plan.start(1_199 * NS)
    plan.advance(1_200 * NS)
    for rank in (1, 2):
        turn = plan.pick()
        assert turn is not None
        turn.work = "begun"
        plan.put_back(turn, rank)
    given_up = plan.advance(1_260 * NS)
    assert [turn.rank for turn in given_up] == [2]
    assert [turn.rank for turn in plan.waiting if turn.work] == [1]


def test_a_stalled_process_does_not_burst() -> None:
    plan = schedule(1)
    plan.start(1_199 * NS)
    plan.advance(5_000 * NS)
    turns = drain(plan)
    assert len(turns) == 2
    assert plan.skipped["m0"] >= 379


def test_a_clock_set_back_is_followed() -> None:
    plan = schedule(1)
    plan.start(10_000 * NS)
    plan.advance(10_000 * NS)
    drain(plan)
    plan.advance(6_405 * NS)
    assert sorted(turn.slot_ns // NS for turn in drain(plan)) == [6_360, 6_400]
    assert plan.next_ns() == 6_410 * NS


def test_a_meter_that_is_not_to_be_asked_has_no_turn() -> None:
    plan: Schedule[str] = Schedule(
        periods_of(Rates()),
        {"a": BOTH, "b": BOTH, "empty": frozenset()},
        lambda meter, slot_ns, rates: 1 if meter == "b" else None,
    )
    plan.start(0)
    plan.advance(60 * NS)
    assert [turn.meter for turn in drain(plan)] == ["b"]


@given(st.lists(st.integers(0, 40), min_size=5, max_size=200), st.integers(1, 5))
def test_however_slow_the_line_every_slot_is_served_or_counted(pauses: list[int], meters: int) -> None:
    """One turn is served after each pause; nothing is ever owed twice, and the debt never grows."""
    plan = schedule(meters, fast_s=10, normal_s=10)
    now = 1_000
    plan.start(now * NS - 1)
    served = 0
    for pause in pauses:
        plan.advance(now * NS)
        assert len(plan.waiting) <= meters
        if plan.pick() is not None:
            served += 1
        now += pause
    plan.advance(now * NS)
    slots = (now - 1_000) // 10 + 1
    assert served + len(plan.waiting) + sum(plan.skipped.values()) == slots * meters
