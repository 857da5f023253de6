"""Uncertainty against published values, against hand computation, and against drawn errors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from analytics.fitness import NotFit
from analytics.uncertainty import (
    Amount,
    Influence,
    MeteringPoint,
    budget,
    energy_amount,
    limits_pct,
    metering_point,
    total,
)
from meterline.accuracy import MeterLimit, load_accuracy
from meterline.errors import ConfigError
from meterline.paths import accuracy_dir

CLASSES = load_accuracy(accuracy_dir() / "electricity.yaml")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "methods" / "uncertainty.md").read_text(encoding="utf-8")
EXAMPLE: dict[str, Any] = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])


def point(meter: str, ct: str = "", vt: str = "", name: str = "m", **more: Any) -> MeteringPoint:
    found = metering_point(name, meter, CLASSES, ct_class=ct, vt_class=vt, **more)
    assert isinstance(found, MeteringPoint)
    return found


def at_pf_1(p: MeteringPoint) -> MeteringPoint:
    """The published table takes the meter's limit at power factor 1 throughout."""
    assert isinstance(p.limit, MeterLimit)
    return replace(p, limit=p.limit.model_copy(update={"at_other_pf": p.limit.at_pf_1}))


@pytest.mark.parametrize("row", EXAMPLE["table_pct"], ids=lambda row: f"{row['meter']}-{row['ct']}")
def test_the_published_table(row: dict[str, Any]) -> None:
    p = at_pf_1(point(row["meter"], row["ct"], row["vt"]))
    found = energy_amount(p, [100.0], power_factor=0.9)
    assert found.expanded == pytest.approx(row["U"], abs=0.0061)  # the table rounds the phase term first


def test_the_worked_example() -> None:
    want, e = EXAMPLE["expected"], [float(EXAMPLE["kwh"])]

    def amount(name: str, ct_key: str = "") -> Amount:
        p = point(EXAMPLE["meter_class"], EXAMPLE["ct_class"], name=name, ct_key=ct_key)
        return energy_amount(p, e, power_factor=EXAMPLE["power_factor"])

    assert 100 * amount("a").relative == pytest.approx(want["one_pct"], abs=5e-4)
    assert (amount("a") + amount("b")).expanded == pytest.approx(want["sum_own_ct_kwh"], abs=2e-3)
    assert (amount("a", "t1") + amount("b", "t1")).expanded == pytest.approx(want["sum_shared_ct_kwh"], abs=2e-3)
    assert (amount("a", "t1") - amount("b", "t1")).expanded == pytest.approx(want["difference_shared_ct_kwh"], abs=2e-3)


def test_low_load_and_low_power_factor_cost_certainty() -> None:
    p = point("0.5S", "0.5S", rated=100.0)
    by_load = limits_pct(p, np.array([0.01, 0.04, 0.2, 1.0]))
    assert by_load["meter", "m"].tolist() == [1.0, 1.0, 0.5, 0.5]
    assert by_load["current transformer", "m ct"].tolist() == pytest.approx([1.5, 0.9375, 0.5, 0.5])
    assert float(by_load["phase displacement", "m ct phase"].max()) == 0.0  # at power factor 1
    half = limits_pct(p, 1.0, 0.5)["phase displacement", "m ct phase"]
    assert float(half) == pytest.approx(0.0291 * 30 * math.tan(math.acos(0.5)), rel=1e-3)
    assert energy_amount(p, [0.5] * 96).relative > energy_amount(p, [20.0] * 96).relative


def test_a_day_is_no_surer_than_its_quarters() -> None:
    p = point("1")
    quarters = [energy_amount(p, [10.0]) for _ in range(96)]
    assert total(quarters).relative == pytest.approx(quarters[0].relative)


@given(
    st.lists(st.floats(0.1, 1e4), min_size=1, max_size=6),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=6, max_size=6),
)
def test_shared_errors_never_make_a_sum_surer(us: list[float], keys: list[str]) -> None:
    shared = Amount(1.0, tuple(Influence("x", key, u) for u, key in zip(us, keys, strict=False)))
    own = Amount(1.0, tuple(Influence("x", f"{key}{n}", u) for n, (u, key) in enumerate(zip(us, keys, strict=False))))
    assert own.standard <= shared.standard * (1 + 1e-12) <= sum(us) * (1 + 1e-9)
    assert (shared - shared).standard == pytest.approx(0.0, abs=1e-9)


def test_an_indicator_is_as_unsure_as_both_its_parts() -> None:
    energy = Amount(1000.0, (Influence("meter", "m", 10.0),))
    tonnes = Amount(50.0, (Influence("scale", "s", 0.25),))
    found = energy.over(tonnes)
    assert found.value == 20.0
    assert found.standard == pytest.approx(20.0 * math.hypot(0.01, 0.005))
    assert energy.over(energy).standard == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ZeroDivisionError):
        energy.over(Amount(0.0))


def test_the_budget_names_what_dominates() -> None:
    p = point("2", "0.5S")
    rows = budget(energy_amount(p, [100.0] * 96, power_factor=0.9, independent={"last digit": 0.02}))
    assert [row.name for row in rows] == ["meter", "current transformer", "phase displacement", "last digit"]
    assert rows[0].share == pytest.approx(4.0 / 4.4286, rel=1e-3)
    assert sum(row.share for row in rows) == pytest.approx(1.0)


@pytest.mark.parametrize("shared", [False, True])
def test_drawn_errors_lie_inside(shared: bool) -> None:
    """Fleets whose errors are drawn from their classes: the statement holds for totals and for differences."""
    rng = np.random.default_rng(20261124)
    fleets, inside = 400, {"total": 0, "difference": 0}
    points = [point("1", "0.5S", name=f"m{n}", ct_key="t" if shared else "") for n in range(4)]
    pf, energies = 0.9, rng.uniform(50, 500, size=(4, 20))
    amounts = [energy_amount(p, e, power_factor=pf) for p, e in zip(points, energies, strict=True)]
    for _ in range(fleets):
        errors: dict[str, float] = {}
        seen = []
        for p, e in zip(points, energies, strict=True):
            for (_, key), limit in limits_pct(p, 1.0, pf).items():
                errors.setdefault(key, float(rng.uniform(-1, 1)) * float(limit) / 100)
            seen.append(float(e.sum()) * (1 + sum(errors[key] for _, key in limits_pct(p, 1.0, pf))))
        true = energies.sum(axis=1)
        inside["total"] += abs(sum(seen) - true.sum()) <= total(amounts).expanded
        difference = amounts[0] - amounts[1]
        inside["difference"] += abs(seen[0] - seen[1] - difference.value) <= difference.expanded
    assert min(inside.values()) >= 0.95 * fleets - 2.5 * math.sqrt(0.95 * 0.05 * fleets)
    assert total(amounts).expanded < 0.03 * float(energies.sum()), "not so wide that everything is inside"


def test_without_a_class_nothing_is_said() -> None:
    for accuracy_class, ct in (("", ""), ("7", ""), ("1", "0.9X")):
        found = metering_point("m", accuracy_class, CLASSES, ct_class=ct)
        assert isinstance(found, NotFit)
        assert found.reasons[0].code == "no-class"
    water = metering_point("w", "2.5", None)
    assert isinstance(water, MeteringPoint)
    assert energy_amount(water, [100.0]).expanded == pytest.approx(2 * 2.5 / math.sqrt(3))


def test_a_file_of_classes_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    row = '{class: "1", at_pf_1: 1.0, at_other_pf: 1.0, low_at_pf_1: 1.5, low_at_other_pf: 1.5, transition: 0.05,'
    bad = tmp_path / "electricity.yaml"
    bad.write_text(
        "carrier: electricity\nsources: {A: x}\n"
        f"meters:\n  - {row} confidence: single, sources: [A]}}\n  - {row} confidence: single, sources: [B]}}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as error:
        load_accuracy(bad)
    assert "stands twice" in str(error.value)
    assert "'B' is not explained" in str(error.value)
