"""Load shape and specific energy: numbers from hand-made cases, and refusals with names."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.benchmarks import Grade, LoadShape, Quota, SpecificEnergy, load_shape, specific_energy
from analytics.counter_model import CounterRules
from analytics.counters import IntervalEnergies, interval_energies
from analytics.fitness import NotFit
from analytics.series import CounterSeries

QUARTER = 900 * 10**9


def quarters(kw: list[float], *, without: slice | None = None) -> IntervalEnergies:
    """A counter that integrates these quarter-hour means."""
    micro = np.concatenate(([0], np.cumsum(np.array(kw) / 4 * 1e6))).round().astype(np.int64)
    keep = np.ones(micro.size, bool)
    if without is not None:
        keep[without] = False
    return interval_energies(
        CounterSeries.of((np.arange(micro.size) * QUARTER)[keep], micro[keep]), CounterRules(max_gap_ns=QUARTER),
        step_ns=QUARTER,
    )  # fmt: skip


def refused(answer: object) -> list[str]:
    assert isinstance(answer, NotFit)
    return [reason.code for reason in answer.reasons]


def test_load_shape_of_a_two_level_day() -> None:
    # 12 h at 10 kW, 12 h at 30 kW, one quarter at 50 kW: mean (48*10 + 47*30 + 50) / 96
    shape = load_shape(quarters([10.0] * 48 + [30.0] * 47 + [50.0]))
    assert isinstance(shape, LoadShape)
    assert shape.mean_kw == pytest.approx(1940 / 96)
    assert shape.peak_kw == pytest.approx(50.0)
    assert shape.peak_start_ns == 95 * QUARTER
    assert shape.load_factor == pytest.approx(1940 / 96 / 50)
    assert shape.base_kw == pytest.approx(10.0)
    assert shape.base_share == pytest.approx(960 / 1940)
    assert shape.energy_kwh == pytest.approx(485.0)


def test_a_constant_load_has_load_factor_one() -> None:
    shape = load_shape(quarters([40.0] * 96))
    assert isinstance(shape, LoadShape)
    assert shape.load_factor == pytest.approx(1.0)
    assert shape.base_share == pytest.approx(1.0)


def test_a_short_outage_does_not_make_the_base_load_zero() -> None:
    shape = load_shape(quarters([40.0] * 94 + [0.0] * 2))
    assert isinstance(shape, LoadShape)
    assert shape.base_kw == pytest.approx(40.0)


def test_an_estimated_split_makes_no_peak() -> None:
    load = [10.0] * 200
    load[100] = 500.0  # inside the gap, so nobody saw when
    shape = load_shape(quarters(load, without=slice(96, 106)))
    assert isinstance(shape, LoadShape)
    assert shape.peak_kw == pytest.approx(10.0)
    assert shape.coverage == pytest.approx(189 / 200)


def test_load_shape_refuses_by_name() -> None:
    assert refused(load_shape(quarters([10.0] * 20))) == ["too-short"]
    assert refused(load_shape(quarters([10.0] * 100, without=slice(10, 60)))) == ["coverage"]
    assert refused(load_shape(quarters([0.0] * 96))) == ["no-load"]
    assert refused(load_shape(quarters([]))) == ["no-data"]


# GB 16780-2021 cement clinker: advanced 100, entry 107, limit 117 kgce/t (facts/factors/benchmark_levels.yaml)
CLINKER = Quota(117.0, 107.0, 100.0, "kgce/t", "GB 16780-2021")


@pytest.mark.parametrize(
    ("per_t", "grade", "to_next"),
    [
        (99.0, Grade.ADVANCED, None),
        (100.0, Grade.ADVANCED, None),
        (104.0, Grade.ENTRY, 4.0),
        (107.5, Grade.LIMIT, 0.5),
        (117.0, Grade.LIMIT, 10.0),
        (120.0, Grade.OVER_LIMIT, 3.0),
    ],
)
def test_grades(per_t: float, grade: Grade, to_next: float | None) -> None:
    result = specific_energy(per_t * 500, "kgce", 500.0, "t", CLINKER)
    assert isinstance(result, SpecificEnergy)
    assert result.grade is grade
    assert result.to_next == (None if to_next is None else pytest.approx(to_next))


def test_processes_that_give_energy_back() -> None:
    # GB 21256-2025 converter: -30, -28, -12 kgce/t
    converter = Quota(-12.0, -28.0, -30.0, "kgce/t", "GB 21256-2025")
    result = specific_energy(-29_000.0, "kgce", 1000.0, "t", converter)
    assert isinstance(result, SpecificEnergy)
    assert (result.value, result.grade) == (-29.0, Grade.ENTRY)


def test_a_missing_level_stays_missing() -> None:
    result = specific_energy(50.0, "kWh", 1.0, "t", Quota(60.0, None, None, "kWh/t", "own"))
    assert isinstance(result, SpecificEnergy)
    assert (result.grade, result.to_next) == (Grade.WITHIN_LIMIT, None)


def test_without_a_quota_there_is_no_grade() -> None:
    result = specific_energy(50.0, "kWh", 2.0, "piece", None)
    assert isinstance(result, SpecificEnergy)
    assert (result.value, result.unit, result.grade) == (25.0, "kWh/piece", None)


def test_specific_energy_lists_every_reason() -> None:
    assert refused(specific_energy(float("nan"), "kWh", 0.0, "t", CLINKER, coverage=0.5)) == [
        "no-data", "no-output", "coverage", "unit",
    ]  # fmt: skip
