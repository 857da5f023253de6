"""The counter engine: the account closes to the last digit, and every break has its right name."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from random import Random
from time import perf_counter
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.counter_model import CounterEvent, CounterRules, EventKind, Exchange, rate_of_power
from analytics.counter_track import follow_track
from analytics.counters import IntervalEnergies, interval_energies, roll_up
from analytics.series import CounterSeries, SeriesError
from meterline.readings import Quality

S = 10**9
MIN = 60 * S
QUARTER = 15 * MIN
KWH = 10**6


def rules(**changes: object) -> CounterRules:
    given: dict[str, object] = {"max_gap_ns": 10 * MIN, "max_rate": 2 * KWH / 60, "resolution": 1} | changes
    return CounterRules(**given)  # type: ignore[arg-type]


def minutes(kwh: list[float]) -> CounterSeries:
    """One reading a minute."""
    return CounterSeries.of(np.arange(len(kwh)) * MIN, np.array([round(v * KWH) for v in kwh]))


def energies(kwh: list[float], **changes: object) -> IntervalEnergies:
    return interval_energies(minutes(kwh), rules(**changes), step_ns=MIN)


def kinds(result: IntervalEnergies) -> list[str]:
    return [event.kind.value for event in result.events]


def closes(result: IntervalEnergies, first_kwh: float, last_kwh: float) -> bool:
    corrections = sum(event.correction_micro for event in result.events)
    return result.total_micro == round(last_kwh * KWH) - round(first_kwh * KWH) + corrections


# -- names of breaks, on sequences a person would draw --------------------------------------------------------------
def test_steady_counter() -> None:
    result = energies([100, 101, 101.5, 103])
    assert (result.micro / KWH).tolist() == [1.0, 0.5, 1.5]
    assert result.coverage.tolist() == [1.0, 1.0, 1.0]
    assert not result.quality.any()
    assert result.events == ()


def test_transient_zero_is_a_glitch_and_costs_no_energy() -> None:
    result = energies([120, 121, 0, 0, 122, 123])
    assert kinds(result) == ["glitch"]
    assert result.events[0].set_aside == 2
    assert result.events[0].odd_micro == (0, 0)
    assert closes(result, 120, 123)
    assert result.total_micro == 3 * KWH


def test_wrong_reading_upwards_is_a_glitch() -> None:
    assert kinds(energies([120, 121, 900, 122, 123])) == ["glitch"]


def test_garbage_for_an_hour_is_one_glitch() -> None:
    good = [100 + k for k in range(90)]
    noise = Random(1)
    bad = [*good[:20], *[noise.uniform(0, 4e6) for _ in range(60)], *good[80:]]
    result = energies(bad)
    assert kinds(result) == ["glitch"]
    assert result.total_micro == 89 * KWH


def test_roll_over() -> None:
    result = energies([998, 999, 0.5, 1.5, 2.5], wraps_at=1000 * KWH)
    assert kinds(result) == ["rollover"]
    assert (result.micro / KWH).tolist() == [1.0, 1.5, 1.0, 1.0]
    assert result.quality.tolist() == [0, int(Quality.ROLLOVER), 0, 0]


def test_transient_zero_just_before_the_roll_over_is_still_a_glitch() -> None:
    result = energies([997, 998.9, 0, 999.5, 999.9, 0.6, 1.2], wraps_at=1000 * KWH)
    assert kinds(result) == ["glitch", "rollover"]
    assert result.total_micro == round(4.2 * KWH)


def test_roll_over_inside_a_gap_keeps_the_true_total() -> None:
    t = np.array([0, 1, 61, 62]) * MIN
    counter = CounterSeries.of(t, np.array([990, 991, 12, 13]) * KWH)
    result = interval_energies(counter, rules(wraps_at=1000 * KWH), step_ns=QUARTER)
    assert result.total_micro == 23 * KWH
    assert all(bits & Quality.ROLLOVER and bits & Quality.ESTIMATED for bits in result.quality[1:4].tolist())


def test_standing_still_over_the_roll_over_is_no_reset() -> None:
    result = energies([998, 999, 999, 999, 999, 5, 6, 7], wraps_at=1000 * KWH)  # 6 kWh since the second reading
    assert kinds(result) == ["rollover"]
    assert result.total_micro == 9 * KWH
    assert (result.micro[1:5] / KWH).tolist() == [1.5] * 4


def test_zeros_long_after_a_catch_up_near_the_end_of_the_display_are_a_glitch() -> None:
    result = energies([969, 970, 970, 970, 975, 976, 977, 978, 979, 980, 0, 0, 0, 984, 985], wraps_at=1000 * KWH)
    assert kinds(result) == ["stale", "glitch"]
    assert result.total_micro == 16 * KWH


def test_reset_counts_what_is_shown_since() -> None:
    result = energies([120, 121, 0.5, 1, 2])
    assert kinds(result) == ["reset"]
    assert (result.micro / KWH).tolist() == [1.0, 0.5, 0.5, 1.0]
    assert result.quality.tolist() == [0, int(Quality.RESET), 0, 0]
    assert result.coverage.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert closes(result, 120, 2)


def test_going_on_from_elsewhere_leaves_that_step_unknown() -> None:
    for kwh, name in (([120, 121, 47, 48, 49], "drop"), ([120, 121, 900, 901, 902], "jump")):
        result = energies([float(v) for v in kwh])
        assert kinds(result) == [name]
        assert result.has_energy.tolist() == [True, False, True, True]
        assert result.quality[1] & Quality.MISSING
        assert closes(result, kwh[0], kwh[-1])


def test_standing_still_then_catching_up_is_a_true_total() -> None:
    result = energies([120, 121, 121, 121, 121, 121, 131, 132])
    assert kinds(result) == ["stale"]
    assert result.total_micro == 12 * KWH
    assert (result.micro[1:6] / KWH).tolist() == [2.0, 2.0, 2.0, 2.0, 2.0]


def test_running_backwards_is_named_once_and_not_booked() -> None:
    result = energies([121, 122, 121, 120, 119, 118, 117, 116])
    assert kinds(result) == ["backwards", "unconfirmed"]  # the very last fall may still be a wrong reading
    assert result.total_micro == 1 * KWH
    assert not (result.micro < 0).any()
    assert result.events[0].correction_micro == 5 * KWH


def test_a_net_counter_may_run_backwards() -> None:
    result = energies([121, 122, 121, 120.5], may_run_backwards=True)
    assert (result.micro / KWH).tolist() == [1.0, -1.0, -0.5]
    assert result.events == ()


def test_a_little_too_fast_is_believed_but_suspect() -> None:
    result = energies([120, 121, 124, 128, 129])
    assert kinds(result) == ["over_rate"]
    assert result.total_micro == 9 * KWH
    assert [bool(bits & Quality.SUSPECT) for bits in result.quality.tolist()] == [False, True, True, False]


def test_the_newest_odd_reading_is_held_back_until_its_followers_say_what_it_was() -> None:
    assert kinds(energies([120, 121, 0])) == ["unconfirmed"]
    assert energies([120, 121, 0]).total_micro == KWH
    assert kinds(energies([120, 121, 0, 0.5])) == ["reset"]
    assert kinds(energies([120, 121, 0, 122])) == ["glitch"]


def test_without_a_rating_falls_are_still_told_apart() -> None:
    blind: dict[str, object] = {"max_rate": None}
    assert kinds(energies([120, 121, 0, 0, 122, 123], **blind)) == ["glitch"]
    assert kinds(energies([120, 121, 900, 122, 123], **blind)) == ["glitch"]
    assert kinds(energies([998, 999, 1, 2, 3], wraps_at=1000 * KWH, **blind)) == ["rollover"]
    assert kinds(energies([120, 121, 0, 1, 2], **blind)) == ["reset"]
    assert kinds(energies([120, 121, 47, 48, 49], **blind)) == ["drop"]


def test_two_readings_of_one_instant() -> None:
    counter = CounterSeries.of([0, MIN, MIN, 2 * MIN], [0, 5, 7, 9], [0, int(Quality.SUSPECT), 0, 0])
    result = interval_energies(counter, rules(), step_ns=MIN)
    assert result.events == (CounterEvent(EventKind.CONFLICT, MIN, MIN, 7, 5, 0, 1, (5,)),)
    assert result.micro.tolist() == [7, 2]


def test_readings_without_a_value_do_not_count() -> None:
    counter = CounterSeries.of([0, MIN, 2 * MIN], [0, 99, 4], [0, int(Quality.INVALID), 0])
    assert interval_energies(counter, rules(), step_ns=MIN).micro.tolist() == [2, 2]


# -- intervals ------------------------------------------------------------------------------------------------------
def test_boundaries_between_readings_are_interpolated_on_the_read_time() -> None:
    # 14:30 into a rise of 2 kWh over one minute from 14:30 to 15:30
    counter = CounterSeries.of([0, 870 * S, 930 * S], [0, 10 * KWH, 12 * KWH])
    result = interval_energies(counter, rules(max_gap_ns=900 * S), step_ns=QUARTER)
    assert result.micro.tolist() == [11 * KWH, 1 * KWH]
    assert result.coverage.tolist() == [1.0, pytest.approx(30 / 900)]


def test_a_gap_is_one_true_total_with_an_estimated_split() -> None:
    counter = CounterSeries.of([0, QUARTER, 4 * QUARTER, 5 * QUARTER], [0, 1 * KWH, 10 * KWH, 11 * KWH])
    result = interval_energies(counter, rules(max_gap_ns=QUARTER), step_ns=QUARTER)
    assert (result.micro / KWH).tolist() == [1.0, 3.0, 3.0, 3.0, 1.0]
    assert [bool(bits & Quality.ESTIMATED) for bits in result.quality.tolist()] == [False, True, True, True, False]
    assert result.coverage.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]


def test_an_interval_nobody_knows_is_absent_not_zero() -> None:
    counter = CounterSeries.of([2 * QUARTER, 3 * QUARTER], [5, 6])
    result = interval_energies(counter, rules(), boundaries_ns=np.arange(6) * QUARTER)
    assert result.has_energy.tolist() == [False, False, True, False, False]
    assert np.isnan(result.u_micro[0])


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_readings(count: int) -> None:
    counter = CounterSeries.of(np.arange(count), np.arange(count))
    assert len(interval_energies(counter, rules(), step_ns=QUARTER)) == 0
    asked = interval_energies(counter, rules(), boundaries_ns=np.arange(3) * QUARTER)
    assert asked.quality.tolist() == [int(Quality.MISSING)] * 2


def test_either_a_step_or_boundaries() -> None:
    with pytest.raises(SeriesError):
        interval_energies(minutes([1, 2]), rules())


def test_uncertainty_of_place_is_zero_at_readings_and_greatest_in_the_middle() -> None:
    # GUM 4.3.7: an energy E that lies anywhere in [0, E] has u = E / sqrt(12); that is the middle of a gap
    counter = CounterSeries.of([0, QUARTER, 3 * QUARTER, 4 * QUARTER], [0, 1 * KWH, 7 * KWH, 8 * KWH])
    result = interval_energies(counter, rules(max_gap_ns=QUARTER), step_ns=QUARTER)
    assert result.u_micro[1] == pytest.approx(6 * KWH / 12**0.5, rel=1e-6)
    assert result.u_micro[0] == pytest.approx((1 / 6) ** 0.5)


def test_local_days_of_23_and_25_hours() -> None:
    # Berlin 2024: 31 March has 23 hours, 27 October 25; one kWh an hour
    zone = ZoneInfo("Europe/Berlin")
    for first, after, hours in (((3, 31), (4, 1), 23), ((10, 27), (10, 28), 25)):
        edges = np.array([int(datetime(2024, *day, tzinfo=zone).timestamp()) * S for day in (first, after)])
        t = np.arange(int(edges[0]) - 3600 * S, int(edges[1]) + 3600 * S, QUARTER)
        counter = CounterSeries.of(t, np.arange(t.size) * KWH // 4)
        day_energy = interval_energies(counter, rules(max_gap_ns=QUARTER), boundaries_ns=edges)
        assert day_energy.micro.tolist() == [hours * KWH]


def test_roll_up_is_exact_and_keeps_doubt() -> None:
    counter = CounterSeries.of(
        np.array([0, 1, 2, 3, 7, 8, 9, 10, 11, 12]) * QUARTER, np.array([0, 1, 3, 4, 11, 12, 13, 14, 15, 17]) * KWH
    )
    fine = interval_energies(counter, rules(max_gap_ns=QUARTER), step_ns=QUARTER)
    hours = roll_up(fine, np.arange(5) * 4 * QUARTER)
    assert hours.total_micro == fine.total_micro == 17 * KWH
    assert (hours.micro / KWH).tolist() == [5.75, 6.25, 5.0, 0.0]
    assert hours.coverage.tolist() == [0.75, 0.25, 1.0, 0.0]
    assert [bool(b & Quality.ESTIMATED) for b in hours.quality.tolist()] == [True, True, False, False]
    assert hours.has_energy.tolist() == [True, True, True, False]


def test_roll_up_refuses_to_cut_an_interval() -> None:
    fine = interval_energies(minutes([1, 2, 3, 4]), rules(), step_ns=MIN)
    with pytest.raises(SeriesError, match="cuts"):
        roll_up(fine, np.array([0, MIN // 2, 3 * MIN]))


# -- laws -----------------------------------------------------------------------------------------------------------
@st.composite
def clean_counters(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Times and values of a counter without breaks, at irregular times."""
    steps = draw(st.lists(st.tuples(st.integers(1, 5 * QUARTER), st.integers(0, 10**9)), min_size=1, max_size=30))
    t, m = [draw(st.integers(0, 10**18))], [draw(st.integers(0, 10**15))]
    for dt, rise in steps:
        t.append(t[-1] + dt)
        m.append(m[-1] + rise)
    return t, m


def reference(t: list[int], m: list[int], boundaries: list[int]) -> list[int]:
    """Interval energies by exact rational interpolation, one boundary at a time, written from the definition."""

    def at(boundary: int) -> int:
        if boundary <= t[0]:
            return m[0]
        if boundary >= t[-1]:
            return m[-1]
        for (t0, m0), (t1, m1) in pairwise(zip(t, m, strict=True)):
            if t0 <= boundary < t1:
                exact = m0 + Fraction(boundary - t0, t1 - t0) * (m1 - m0) + Fraction(1, 2)
                return exact.numerator // exact.denominator
        raise AssertionError("unreachable")

    values = [at(boundary) for boundary in boundaries]
    return [after - before for before, after in pairwise(values)]


@given(clean_counters(), st.sampled_from([QUARTER, 4 * QUARTER, 7 * S]))
@settings(max_examples=150, deadline=None)
def test_agrees_with_exact_rational_arithmetic(counter: tuple[list[int], list[int]], step: int) -> None:
    t, m = counter
    if (t[-1] - t[0]) // step > 500:
        step = (t[-1] - t[0]) // 500
    result = interval_energies(
        CounterSeries.of(t, m), CounterRules(max_gap_ns=QUARTER, max_rate=None, wraps_at=None), step_ns=step
    )
    assert result.micro.tolist() == reference(t, m, result.boundaries_ns.tolist())
    assert result.total_micro == m[-1] - m[0]


FAULTS = ("none", "glitch", "zero", "gap", "wrap", "reset", "jump", "stale", "duplicate", "backwards")


@st.composite
def troubled_counters(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """A plant's counter with everything that happens to counters, planted at random; modulus 10 000 kWh."""
    wrap = 10_000 * KWH
    value = draw(st.integers(0, wrap - 1))
    t: list[int] = []
    shown: list[int] = []
    now = draw(st.integers(0, 10**6)) * S
    for fault in draw(st.lists(st.sampled_from(FAULTS), min_size=1, max_size=8)):
        for _ in range(draw(st.integers(3, 8))):
            now += draw(st.integers(50, 70)) * S
            value = (value + draw(st.integers(0, int(1.5 * KWH)))) % wrap
            t.append(now)
            shown.append(value)
        count = draw(st.integers(1, 5))
        if fault == "gap":
            now += draw(st.integers(1, 5)) * 3600 * S
        elif fault == "reset":
            value = 0
        elif fault == "jump":
            value = draw(st.integers(0, wrap - 1))
        elif fault == "wrap":
            value = wrap - draw(st.integers(0, KWH))
        elif fault == "duplicate":
            t.append(now)
            shown.append(draw(st.sampled_from([value, 0])))
        elif fault == "backwards":
            for _ in range(count):
                now += MIN
                value = max(0, value - KWH)
                t.append(now)
                shown.append(value)
        elif fault != "none":
            for _ in range(count):
                now += MIN
                t.append(now)
                shown.append({"glitch": draw(st.integers(0, 10**12)), "zero": 0, "stale": shown[-1]}[fault])
    return np.array(t), np.array(shown), wrap


@given(troubled_counters(), st.sampled_from([None, 2 * KWH / 60]), st.randoms())
@settings(max_examples=250, deadline=None)
def test_the_account_closes_whatever_happens(
    troubled: tuple[np.ndarray, np.ndarray, int], rate: float | None, random: object
) -> None:
    t, shown, wrap = troubled
    known = rules(max_rate=rate, wraps_at=wrap)
    counter = CounterSeries.of(t, shown)
    track = follow_track(counter, known)
    corrections = sum(event.correction_micro for event in track.events)
    result = interval_energies(counter, known, step_ns=QUARTER)

    assert result.total_micro == int(track.micro[-1] - track.micro[0]) + corrections
    assert int(track.account[-1] - track.account[0]) == result.total_micro
    assert not (result.micro < 0).any()
    assert not result.micro[~result.has_energy].any()
    assert ((result.coverage >= 0) & (result.coverage <= 1)).all()
    days = roll_up(result, np.array([result.boundaries_ns[0], result.boundaries_ns[-1]]))
    assert days.total_micro == result.total_micro

    order = list(range(t.size))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = interval_energies(CounterSeries.of(t[order], shown[order]), known, step_ns=QUARTER)
    assert again.micro.tolist() == result.micro.tolist()
    assert again.events == result.events


@st.composite
def disturbed_counters(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """A counter whose true energy is known although the readings are disturbed; modulus 10 000 kWh.

    Wrong readings are at least 4 000 kWh off, which no load reaches in the longest gap here (5 h at 120 kW).
    """
    wrap = 10_000 * KWH
    value = draw(st.integers(0, wrap - 1))
    true, now = 0, 0
    t: list[int] = []
    shown: list[int] = []
    faults = draw(st.lists(st.sampled_from(["none", "glitch", "gap", "stale", "repeat"]), min_size=1, max_size=8))
    for fault in [*faults, "none"]:
        for _ in range(draw(st.integers(3, 8))):
            now += draw(st.integers(50, 70)) * S
            rise = draw(st.integers(0, int(1.5 * KWH)))
            true += rise if t else 0
            value = (value + rise) % wrap
            t.append(now)
            shown.append(value)
        if fault == "gap":
            now += draw(st.integers(1, 5)) * 3600 * S
            rise = draw(st.integers(0, 100 * KWH))
            true, value = true + rise, (value + rise) % wrap
        elif fault == "repeat":
            t.append(now)
            shown.append(value)
        elif fault != "none":
            for _ in range(draw(st.integers(1, 5))):
                now += MIN
                rise = draw(st.integers(0, KWH))
                true, value = true + rise, (value + rise) % wrap
                t.append(now)
                odd = (value + draw(st.integers(4_000 * KWH, 6_000 * KWH))) % wrap
                shown.append(odd if fault == "glitch" else shown[-1])
    return np.array(t), np.array(shown), wrap, true


@given(disturbed_counters())
@settings(max_examples=250, deadline=None)
def test_wrong_readings_gaps_repeats_and_roll_overs_cost_no_energy(
    disturbed: tuple[np.ndarray, np.ndarray, int, int],
) -> None:
    t, shown, wrap, true = disturbed
    result = interval_energies(CounterSeries.of(t, shown), rules(wraps_at=wrap), step_ns=QUARTER)
    assert result.total_micro == true
    assert result.has_energy.all()


def test_a_rating_wrong_by_a_tenth_holds_everything_back_and_says_so() -> None:
    result = energies([0, 30, 60, 90, 120])
    assert kinds(result) == ["unconfirmed"]
    assert len(result) == 0


def test_rate_of_power() -> None:
    assert rate_of_power(3600.0) == 1e6  # 3600 kW are one kWh a second


@pytest.mark.slow
def test_a_million_readings_take_less_than_a_second() -> None:
    n = 1_000_000
    rise = np.random.default_rng(7).integers(0, KWH, n)
    counter = CounterSeries.of(np.arange(n) * MIN + 137 * 10**6, np.cumsum(rise))
    start = perf_counter()
    result = interval_energies(counter, rules(wraps_at=10**15), step_ns=QUARTER)
    assert perf_counter() - start < 1.0
    assert result.total_micro == int(rise[1:].sum())


@pytest.mark.parametrize("minutes_without", [0, 20])
def test_an_exchange_goes_on_where_the_old_meter_ended(minutes_without: int) -> None:
    """By hand: the old one counts 50 + 2, the new one 1 + 30; nothing is known of the time between."""
    minute = 60 * 10**9
    removed, installed = 51 * minute, (51 + minutes_without) * minute
    t = [*range(0, 51 * minute, minute), *range(installed + minute, installed + 32 * minute, minute)]
    shown = [900_000 + n for n in range(51)] + [5 + n for n in range(1, 32)]
    counter = CounterSeries.of(t, np.array(shown) * 10**6)
    exchange = Exchange(removed, installed, 900_052 * 10**6, 5 * 10**6)
    rules = CounterRules(max_gap_ns=5 * minute, max_rate=rate_of_power(200.0), exchanges=(exchange,))
    edges = [0, 51 * minute, *([installed] if minutes_without else []), t[-1]]
    result = interval_energies(counter, rules, boundaries_ns=np.array(edges))
    assert (result.micro / 1e6).tolist() == ([52.0, 0.0, 31.0] if minutes_without else [52.0, 31.0])
    assert result.total_micro == 83 * 10**6
    (event,) = result.events
    assert event.kind is EventKind.EXCHANGE
    assert event.correction_micro == 83 * 10**6 - (shown[-1] - shown[0]) * 10**6
    assert bool(result.quality[0] & Quality.MAINTENANCE)
    if minutes_without:
        assert bool(result.quality[1] & Quality.SUSPECT), "whatever was used then is not in it"


@pytest.mark.parametrize("old_end", [None, 900_049, 990_000])
def test_an_exchange_that_nobody_wrote_down_rightly_is_unknown_energy(old_end: int | None) -> None:
    minute = 60 * 10**9
    t = [*range(0, 51 * minute, minute), *range(52 * minute, 82 * minute, minute)]
    shown = [900_000 + n for n in range(51)] + [5 + n for n in range(30)]
    exchange = Exchange(51 * minute, 51 * minute, None if old_end is None else old_end * 10**6, 5 * 10**6)
    rules = CounterRules(max_gap_ns=5 * minute, max_rate=rate_of_power(200.0), exchanges=(exchange,))
    counter = CounterSeries.of(t, np.array(shown) * 10**6)
    result = interval_energies(counter, rules, boundaries_ns=np.array([0, 50 * minute, 52 * minute, 81 * minute]))
    assert (result.micro / 1e6).tolist() == [50.0, 0.0, 29.0]
    assert bool(result.quality[1] & Quality.SUSPECT)
    assert [event.kind for event in result.events] == [EventKind.EXCHANGE]


def test_read_at_both_its_ends_an_interval_is_measured_however_long() -> None:
    """What a meter remembers of every quarter of an hour is no estimate, though it was asked each minute before."""
    minute = 60 * 10**9
    t = [*range(0, 30 * minute, minute), *range(30 * minute, 121 * minute, 15 * minute)]
    counter = CounterSeries.of(t, np.array([n * 10**6 for n in range(len(t))]))
    rules = CounterRules(max_gap_ns=5 * minute, max_rate=rate_of_power(200.0))
    quarters = interval_energies(counter, rules, step_ns=15 * minute)
    assert quarters.coverage.tolist() == [1.0] * 8
    assert not quarters.quality.any()
    inside = interval_energies(counter, rules, boundaries_ns=np.arange(0, 121, 10) * minute)
    assert bool(inside.quality[4] & Quality.ESTIMATED), "the split of a quarter is one"
