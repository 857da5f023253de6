"""Validation, estimation and the sums of an account: what is doubted, what is estimated, and that nothing is lost."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.counter_model import CounterRules, rate_of_power
from analytics.counter_track import follow_track, greatest_usual_rate
from analytics.counters import _how_many_until, account_at
from analytics.energy_account import EnergyAccount, energy_account, periods
from analytics.estimation import Method
from analytics.series import CounterSeries, SeriesError
from analytics.validation import Reason, completeness, days_against_month, validate
from meterline.readings import Quality

S = 10**9
QUARTER = 900 * S
HOUR = 3600 * S
DAY = 86_400 * S
KWH = 10**6
MONDAY = 4 * DAY  # 1970-01-05


def hourly(kwh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counter readings on the hour from a Monday on."""
    t = MONDAY + np.arange(kwh.size + 1) * HOUR
    return t, np.concatenate(([0], np.cumsum(np.rint(kwh * KWH).astype(np.int64))))


def account(t: np.ndarray, micro: np.ndarray, days: int, **more: object) -> EnergyAccount:
    rules = CounterRules(max_gap_ns=HOUR, max_rate=rate_of_power(1000))
    boundaries = MONDAY + np.arange(days * 24 + 1) * HOUR
    return energy_account(CounterSeries.of(t, micro), rules, boundaries, **more)  # type: ignore[arg-type]


def weeks(count: int, seed: int = 1) -> np.ndarray:
    """Hourly energies with a daily shape, weekends at a third, 10 % noise. [kWh]"""
    hour = np.arange(count * 168)
    level = np.where(hour // 24 % 7 < 5, 1.0, 0.33) * (20 + 60 * np.exp(-(((hour % 24) - 12) ** 2) / 18))
    return level * np.random.default_rng(seed).normal(1.0, 0.1, hour.size)  # type: ignore[no-any-return]


def days(result: EnergyAccount) -> np.ndarray:
    boundaries: np.ndarray = result.measured.boundaries_ns[::24]
    return boundaries


# -- estimates ------------------------------------------------------------------------------------------------------
def test_a_long_gap_takes_the_shape_of_similar_days_and_keeps_its_true_total() -> None:
    kwh = weeks(6)
    t, micro = hourly(kwh)
    gone = np.arange(24 * 16 + 20, 24 * 17 + 9)  # a Wednesday evening to Thursday 08:00
    kept = np.setdiff1d(np.arange(t.size), gone)
    result = account(t[kept], micro[kept], 42)
    assert result.filled.micro.sum() == micro[-1] - micro[0]
    (one,) = result.filled.fills
    assert one.method is Method.SIMILAR_DAYS
    truth = np.diff(micro)
    shaped = np.abs(result.filled.micro - truth)[one.first : one.last].sum()
    straight = np.abs(result.measured.micro - truth)[one.first : one.last].sum()
    assert shaped < straight / 2
    table = periods(result, days(result))
    assert table.flags[16] == ("gap", "similar_days")
    assert 0 < table.estimated_share[16] < 0.2
    true_days = truth.reshape(42, 24).sum(axis=1)
    assert (np.abs(table.micro - true_days) <= table.expanded_micro + 1)[[16, 17]].all()


def test_a_gap_inside_a_day_leaves_the_day_true() -> None:
    t, micro = hourly(weeks(5))
    kept = np.setdiff1d(np.arange(t.size), np.arange(24 * 9 + 5, 24 * 9 + 15))
    result = account(t[kept], micro[kept], 35)
    table = periods(result, days(result))
    assert table.micro[9] == micro[24 * 10] - micro[24 * 9]
    assert table.estimated_share[9] == 0
    assert table.flags[9] == ("gap",)


def test_two_lost_readings_are_a_straight_line() -> None:
    t, micro = hourly(weeks(5))
    kept = np.setdiff1d(np.arange(t.size), [24 * 9, 24 * 9 + 1])
    (one,) = account(t[kept], micro[kept], 35).filled.fills
    assert one.method is Method.INTERPOLATED
    assert np.ptp(one.micro) <= 1


def test_a_related_meter_gives_the_shape_where_there_are_no_similar_days() -> None:
    kwh = weeks(1)
    t, micro = hourly(kwh)
    kept = np.setdiff1d(np.arange(t.size), np.arange(30, 40))
    result = account(t[kept], micro[kept], 7, related=kwh * 3.0)
    (one,) = result.filled.fills
    assert one.method is Method.RELATED
    expected = kwh[29:40] / kwh[29:40].sum() * one.micro.sum()
    assert one.micro == pytest.approx(expected, abs=1.0)
    assert account(t[kept], micro[kept], 7).filled.fills[0].method is Method.FLAT


def test_an_unknown_amount_is_estimated_beside_the_account() -> None:
    t, micro = hourly(weeks(6))
    jumped = micro + np.where(np.arange(micro.size) >= 24 * 20 + 6, 10**12, 0)
    result = account(t, jumped, 42)
    assert result.measured.total_micro == micro[-1] - np.diff(micro)[24 * 20 + 5]
    table = periods(result, days(result))
    assert table.flags[20] == ("interpolated", "jump")
    true_day = int(np.diff(micro)[24 * 20 : 24 * 21].sum())
    assert abs(int(table.micro[20]) - true_day) <= table.expanded_micro[20]


def test_before_the_first_reading_nothing_is_known_without_examples() -> None:
    t, micro = hourly(weeks(1))
    result = account(t[12:], micro[12:], 7)
    table = periods(result, days(result))
    assert table.known.tolist() == [False] + [True] * 6
    assert np.isnan(table.expanded_micro[0])
    assert "missing" in table.flags[0]


def test_no_reading_at_all_is_missing() -> None:
    table = periods(account(np.zeros(0, np.int64), np.zeros(0, np.int64), 2), MONDAY + np.arange(3) * DAY)
    assert not table.known.any()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_estimates_never_change_the_total(data: st.DataObject) -> None:
    kwh = weeks(5, seed=data.draw(st.integers(0, 99)))
    t, micro = hourly(kwh)
    inner = st.tuples(st.integers(1, t.size - 60), st.integers(1, 58))
    lost = [np.arange(a, a + n) for a, n in data.draw(st.lists(inner, max_size=6))]
    kept = np.setdiff1d(np.arange(t.size), np.concatenate([np.zeros(0, np.int64), *lost]))
    result = account(t[kept], micro[kept], 35)
    assert int(result.filled.micro.sum()) == int(micro[-1] - micro[0])
    assert (result.filled.micro >= 0).all()
    table = periods(result, days(result))
    assert int(table.micro.sum()) == int(micro[-1] - micro[0])
    assert (table.expanded_micro >= 0).all()
    at_readings = np.isin(result.measured.boundaries_ns, t[kept])
    upto = np.concatenate(([0], np.cumsum(result.filled.micro)))
    assert (upto[at_readings] == micro[np.isin(t, t[kept])]).all()


def test_split_days_are_covered_as_often_as_promised() -> None:
    """Gaps over midnight at random places of random loads: 90 to 99 % of the split days lie within U (k = 2)."""
    draw = np.random.default_rng(11)
    covered = []
    for trial in range(60):
        t, micro = hourly(weeks(6, seed=1000 + trial))
        night = 24 * int(draw.integers(15, 28))
        gone = np.arange(night - int(draw.integers(2, 10)), night + int(draw.integers(2, 10)))
        kept = np.setdiff1d(np.arange(t.size), gone)
        table = periods(account(t[kept], micro[kept], 42), MONDAY + np.arange(43) * DAY)
        day = night // 24
        covered.append(abs(int(table.micro[day] - (micro[night + 24] - micro[night]))) <= table.expanded_micro[day])
    assert 0.90 <= np.mean(covered) <= 0.99


# -- validation -----------------------------------------------------------------------------------------------------
def test_a_standstill_is_doubted_and_its_uncertainty_says_so() -> None:
    kwh = weeks(5)
    kwh[24 * 10 + 8 : 24 * 10 + 16] = 0.0
    t, micro = hourly(kwh)
    result = account(t, micro, 35)
    assert set(np.flatnonzero(result.reasons & int(Reason.STANDSTILL))) == set(range(24 * 10 + 8, 24 * 10 + 16))
    table = periods(result, days(result))
    usual = float(np.median(table.micro[[3, 17, 24]]))
    missed = usual - float(table.micro[10])
    assert missed < float(table.expanded_micro[10]) < 1.5 * missed
    assert float(table.expanded_micro[9]) < 0.01 * usual


def test_standing_still_is_no_fault_where_it_is_a_habit_or_the_line_is_dead() -> None:
    kwh = weeks(5)
    kwh[24 * 10 + 8 : 24 * 10 + 16] = 0.0
    t, micro = hourly(kwh)
    alive = np.ones(35 * 24, bool)
    alive[24 * 10 + 8 : 24 * 10 + 16] = False
    assert not (account(t, micro, 35, energised=alive).reasons & int(Reason.STANDSTILL)).any()
    nightly = np.where(np.arange(kwh.size) % 24 < 6, 0.0, kwh)
    t, micro = hourly(nightly)
    assert not (account(t, micro, 35).reasons & int(Reason.STANDSTILL)).any()


def test_each_break_has_its_reason() -> None:
    t, micro = hourly(np.full(100, 10.0))
    micro[50:] -= micro[49]  # reset
    micro[80:] += 10**11  # jump
    quality = np.zeros(t.size, np.int32)
    quality[20] = int(Quality.CLOCK_STEP)
    rules = CounterRules(max_gap_ns=HOUR, max_rate=rate_of_power(100))
    counter = CounterSeries.of(np.delete(t, 30), np.delete(micro, 30), np.delete(quality, 30))
    reasons = validate(energy_account(counter, rules, MONDAY + np.arange(121) * HOUR).measured)
    assert reasons[49] == Reason.RESET
    assert reasons[79] == Reason.UNEXPLAINED | Reason.ABSENT
    assert reasons[29] == reasons[30] == Reason.GAP
    assert reasons[19] == reasons[20] == Reason.DOUBTFUL
    assert (reasons[100:] == Reason.ABSENT).all()
    assert np.flatnonzero(reasons[:100]).tolist() == [19, 20, 29, 30, 49, 79]


def test_completeness_counts_slots_once_and_looks_at_the_boundary() -> None:
    edges = np.arange(4) * DAY
    t = np.arange(1, 2 * 96 + 1) * QUARTER + 2 * S
    t = np.concatenate((t[:10], t[20:], t[30:33]))  # ten lost on the first day, three repeated
    found = completeness(np.concatenate(([0], t)), edges, QUARTER)
    assert found.expected.tolist() == [96, 96, 96]
    assert found.received.tolist() == [86, 96, 0]
    assert found.on_boundary.tolist() == [True, True, False]
    assert found.meets().tolist() == [False, True, False]
    assert found.meets(0.85).tolist() == [True, True, False]


def test_days_against_month() -> None:
    assert days_against_month(np.array([40, 55]), 100) == pytest.approx(0.05)
    assert days_against_month(np.array([0]), 0) == 0
    assert days_against_month(np.array([1]), 0) == float("inf")


# -- grids and rates ------------------------------------------------------------------------------------------------
def test_uneven_grids_and_foreign_periods_are_refused() -> None:
    counter = CounterSeries.of([0, HOUR], [0, KWH])
    rules = CounterRules(max_gap_ns=HOUR)
    for boundaries in ([0, HOUR, 3 * HOUR], [0, 7 * HOUR]):
        with pytest.raises(SeriesError):
            energy_account(counter, rules, np.array(boundaries))
    with pytest.raises(SeriesError):
        periods(energy_account(counter, rules, np.arange(25) * HOUR), np.array([0, 30 * 60 * S]))


def test_the_greatest_usual_rate_ignores_what_is_no_rate() -> None:
    t, micro = hourly(weeks(5))
    clean = greatest_usual_rate(CounterSeries.of(t, micro))
    assert clean == pytest.approx(float(np.diff(micro).max()) / 3600)
    wrong = micro.copy()
    wrong[[100, 300]] = 10**13
    wrong[500:] -= wrong[499]
    assert greatest_usual_rate(CounterSeries.of(t, wrong)) == pytest.approx(clean, rel=0.02)
    assert greatest_usual_rate(CounterSeries.of([0, HOUR], [5, 5])) is None


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=40),
    st.lists(st.integers(0, 3000), min_size=1, max_size=40),
    st.booleans(),
)
def test_counting_by_slices_is_searching(readings: list[int], instants: list[int], even: bool) -> None:
    t = np.arange(len(readings)) * 900 + np.array(readings) // 1000 if even else np.unique(readings)
    at = np.arange(len(instants)) * 900 if even else np.sort(instants)
    assert _how_many_until(t, at).tolist() == np.searchsorted(t, at, side="right").tolist()


@given(st.lists(st.integers(-50, 350), min_size=1, max_size=10))
def test_the_account_at_any_instant_is_exact(instants: list[int]) -> None:
    t = np.array([0, 100, 130, 300]) * S
    track = follow_track(CounterSeries.of(t, [0, 7, 1000, 1001]), CounterRules(max_gap_ns=HOUR))
    at = np.sort(instants)
    by_hand = []
    for second in at.tolist():
        inside = min(max(second, 0), 300)
        k = 0 if inside < 100 else 1 if inside < 130 else 2
        rise, dt = int(track.account[k + 1] - track.account[k]), int(t[k + 1] - t[k]) // S
        by_hand.append(int(track.account[k]) + floor(Fraction((inside - int(t[k]) // S) * rise, dt) + Fraction(1, 2)))
    assert account_at(track, at * S).tolist() == by_hand
