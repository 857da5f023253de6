"""Values in time: order, absence, gaps, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.series import (
    CounterSeries,
    Series,
    SeriesError,
    Span,
    check_boundaries,
    coverage,
    gaps,
    grid,
    runs,
    time_weighted_mean,
)
from meterline.readings import Quality

MIN = 60 * 10**9


def test_time_must_increase_and_the_message_names_the_place() -> None:
    with pytest.raises(SeriesError, match="after sample 1: 20 then 20") as caught:
        Series.of([10, 20, 20], [1.0, 2.0, 3.0])
    assert caught.value.reason == "order"


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(SeriesError) as caught:
        Series.of([1, 2], [1.0])
    assert caught.value.reason == "shape"


def test_a_counter_must_be_whole_numbers() -> None:
    with pytest.raises(SeriesError) as caught:
        CounterSeries.of([1, 2], [1.0, 2.0])
    assert caught.value.reason == "dtype"


def test_missing_and_nan_are_no_values_but_suspect_is_one() -> None:
    series = Series.of([1, 2, 3, 4], [1.0, np.nan, 3.0, 4.0], [0, 0, int(Quality.MISSING), int(Quality.SUSPECT)])
    assert series.has_value.tolist() == [True, False, False, True]
    assert series.known().value.tolist() == [1.0, 4.0]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3), st.sampled_from([0, 4, 8])), min_size=1), st.randoms())
def test_readings_in_any_order_make_the_same_series(readings: list[tuple[int, int, int]], random: object) -> None:
    def build(rows: list[tuple[int, int, int]]) -> Series:
        return Series.from_readings([r[0] for r in rows], [float(r[1]) for r in rows], [r[2] for r in rows])

    once = build(readings)
    shuffled = list(readings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = build(shuffled)
    assert once.t_ns.tolist() == again.t_ns.tolist()
    assert once.value.tolist() == again.value.tolist()
    best = {t: min((q, v) for u, v, q in readings if u == t) for t, _, _ in readings}
    assert list(zip(once.quality.tolist(), once.value.tolist(), strict=True)) == [best[t] for t in sorted(best)]


def test_between_is_half_open() -> None:
    series = Series.of([10, 20, 30], [1.0, 2.0, 3.0])
    assert series.between(10, 30).t_ns.tolist() == [10, 20]


def test_gaps_run_from_the_last_sample_to_the_next() -> None:
    t = np.array([0, 1, 2, 10, 11]) * MIN
    assert gaps(t, 5 * MIN) == [Span(2 * MIN, 10 * MIN)]


def test_coverage_counts_time_between_near_samples_only() -> None:
    t = np.array([0, 5, 10, 40, 45]) * MIN
    assert coverage(t, Span(0, 60 * MIN), 15 * MIN) == pytest.approx(15 / 60)
    assert coverage(t, Span(5 * MIN, 10 * MIN), 15 * MIN) == 1.0
    assert coverage(t[:1], Span(0, MIN), MIN) == 0.0


def test_runs() -> None:
    assert runs(np.array([True, False, True, True])) == [(0, 1), (2, 4)]
    assert runs(np.zeros(0, bool)) == []


def test_grid_encloses_and_aligns() -> None:
    assert grid(16 * MIN, 44 * MIN, 15 * MIN).tolist() == [15 * MIN, 30 * MIN, 45 * MIN]
    assert grid(15 * MIN, 30 * MIN, 15 * MIN).tolist() == [15 * MIN, 30 * MIN]
    assert grid(15 * MIN, 15 * MIN, 15 * MIN).tolist() == [15 * MIN, 30 * MIN]


@pytest.mark.parametrize("wrong", [[5], [5, 5], [6, 5]])
def test_boundaries_must_be_a_grid(wrong: list[int]) -> None:
    with pytest.raises(SeriesError) as caught:
        check_boundaries(wrong)
    assert caught.value.reason == "boundaries"


def test_mean_weighs_by_time_and_does_not_reach_into_a_gap() -> None:
    # 10 kW for 10 min, then 40 kW for 5 min: 20 kW; the next quarter has one sample that may stand for 5 min only
    t = np.array([0, 10, 15]) * MIN
    mean = time_weighted_mean(t, np.array([10.0, 40.0, 7.0]), np.array([0, 15, 30]) * MIN, 10 * MIN)
    assert mean[0] == pytest.approx(20.0)
    assert np.isnan(mean[1])


def test_mean_of_nothing_is_nothing() -> None:
    assert np.isnan(time_weighted_mean(np.zeros(0, np.int64), np.zeros(0), np.array([0, MIN]), MIN)).all()
