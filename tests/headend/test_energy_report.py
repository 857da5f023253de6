"""The plant's figures against sums made by hand of what the simulated meters were told to use."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient

from analytics.benchmarks.load_shape import LoadShape
from analytics.benchmarks.specific_energy import Grade, SpecificEnergy
from analytics.carbon import CarbonAccount, Purpose
from analytics.fitness import NotFit
from headend.energy_report import PURPOSES, EnergyReport, energy_report
from meterline.factors import load_factors
from meterline.paths import factors_dir
from meterline.plant import Plant
from meterline.site import Benchmark, Output, Product
from tests.headend.seeded import NOW, Seeded, load_kw, seed
from tests.headend.small_plant import HOUR, MINUTE, small_plant

TODAY, YESTERDAY = dt.date(2026, 3, 2), dt.date(2026, 3, 1)
MIDNIGHT = NOW - 18 * HOUR
KGCE_PER_KWH = 0.1229  # GB/T 2589-2020, electricity, current value (facts/factors)
KGCO2_PER_KWH = 0.5306  # national grid 2023, MEE/NBS notice 2025 no. 47 (facts/factors)
KGCO2_PER_KWH_SHANDONG = 0.6191  # province of Shandong 2023


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    seeded = seed(tmp_path_factory.mktemp("report"), hours=43)
    yield seeded
    seeded.close()


def report(seeded: Seeded, first: dt.date, last: dt.date, **change: object) -> EnergyReport:
    given: dict[str, object] = {"purpose": Purpose.ENTERPRISE_REPORT, "plant": seeded.plant, **change}
    plant = given.pop("plant")
    assert isinstance(plant, Plant)
    factors = load_factors(factors_dir())
    return energy_report(seeded.queries, plant, factors, first=first, last=last, now_ns=NOW, **given)  # type: ignore[arg-type]


def used_kwh(meter: str, start: int, end: int) -> float:
    return sum(load_kw(meter, t) / 60 for t in range(start, end, MINUTE))


def test_coal_and_carbon_of_a_whole_day(seeded: Seeded) -> None:
    found = report(seeded, YESTERDAY, YESTERDAY)
    kwh = used_kwh("m-main", MIDNIGHT - 24 * HOUR, MIDNIGHT)
    (electricity,) = found.carriers
    assert electricity.amount == pytest.approx(kwh, abs=2.0)
    assert electricity.meters == ("m-main",), "what the feeder measures is not counted again below it"
    assert electricity.coverage == pytest.approx(1.0, abs=0.001)
    assert found.coal.total_t == pytest.approx(kwh * KGCE_PER_KWH / 1000, rel=1e-3)
    assert isinstance(found.carbon, CarbonAccount)
    assert found.carbon.total_t == pytest.approx(kwh * KGCO2_PER_KWH / 1000, rel=1e-3)
    assert found.carbon.scope1.total_t == 0


def test_the_purpose_decides_the_grid_factor_and_has_no_default(seeded: Seeded) -> None:
    assert isinstance(report(seeded, YESTERDAY, YESTERDAY, purpose=None).carbon, NotFit)
    site = seeded.plant.site.model_copy(
        update={"site": seeded.plant.site.site.model_copy(update={"region": "shandong"})}
    )
    shandong = Plant(site, seeded.plant.profiles)
    found = report(seeded, YESTERDAY, YESTERDAY, plant=shandong, purpose=PURPOSES["province"]).carbon
    kwh = used_kwh("m-main", MIDNIGHT - 24 * HOUR, MIDNIGHT)
    assert isinstance(found, CarbonAccount)
    assert found.total_t == pytest.approx(kwh * KGCO2_PER_KWH_SHANDONG / 1000, rel=1e-3)
    without = report(seeded, YESTERDAY, YESTERDAY, purpose=PURPOSES["province"]).carbon
    assert isinstance(without, CarbonAccount)
    assert not without.complete, "a province's factor without a province is refused, not guessed"


def test_load_factor_and_base_load_of_a_whole_day(seeded: Seeded) -> None:
    load = report(seeded, YESTERDAY, YESTERDAY).load
    assert isinstance(load, LoadShape)
    quarters = [
        np.mean([load_kw("m-main", t) for t in range(q, q + 15 * MINUTE, MINUTE)])
        for q in range(MIDNIGHT - 24 * HOUR, MIDNIGHT, 15 * MINUTE)
    ]
    assert load.mean_kw == pytest.approx(np.mean(quarters), rel=0.01)
    assert load.peak_kw == pytest.approx(max(quarters), rel=0.02)
    assert load.load_factor == pytest.approx(np.mean(quarters) / max(quarters), rel=0.02)
    assert load.base_kw == pytest.approx(np.percentile(quarters, 5), rel=0.05)


def test_a_day_that_runs_counts_what_has_passed(seeded: Seeded) -> None:
    found = report(seeded, TODAY, TODAY)
    assert found.carriers[0].amount == pytest.approx(used_kwh("m-main", MIDNIGHT, NOW), abs=3.0)
    assert found.carriers[0].coverage > 0.99
    assert isinstance(found.load, NotFit)
    assert found.load.reasons[0].code == "too-short"


def test_days_before_the_first_reading_are_not_measured(seeded: Seeded) -> None:
    week = report(seeded, dt.date(2026, 2, 23), YESTERDAY)
    assert week.carriers[0].coverage == pytest.approx(25 / 24 / 7, abs=0.01)
    nothing = report(seeded, dt.date(2026, 1, 1), dt.date(2026, 1, 2))
    assert nothing.carriers[0].amount is None
    assert nothing.coal.total_t == 0
    assert not nothing.coal.complete, "nothing known is not nothing used"


def test_a_period_that_ends_before_it_begins_is_refused(seeded: Seeded) -> None:
    with pytest.raises(ValueError, match="before it begins"):
        report(seeded, TODAY, YESTERDAY)


def plant_with(*outputs: Output, benchmark: Benchmark | None) -> Plant:
    plant = small_plant()
    product = Product.model_validate(
        {"id": "parts", "name": {"en": "Parts", "zh": "零件"}, "energy_user": "press", "benchmark": benchmark,
         "output": outputs}
    )  # fmt: skip
    return Plant(plant.site.model_copy(update={"products": (product,)}), plant.profiles)


def output(start: dt.date, end: dt.date, amount: float) -> Output:
    return Output.model_validate({"from": start, "to": end, "amount": amount})


def test_specific_energy_against_a_benchmark(seeded: Seeded) -> None:
    kwh = sum(used_kwh(m, MIDNIGHT - 24 * HOUR, MIDNIGHT) for m in ("m-p1", "m-p2", "m-p3"))
    made = 10.0
    per_ton = kwh / made
    quota = Benchmark(limit=per_ton * 1.2, entry=per_ton * 1.05, advanced=per_ton * 0.9, unit="kWh/t", source="test")
    plant = plant_with(output(YESTERDAY, YESTERDAY, made), benchmark=quota)
    (use,) = report(seeded, YESTERDAY, YESTERDAY, plant=plant).products
    assert isinstance(use.result, SpecificEnergy)
    assert use.result.value == pytest.approx(per_ton, rel=2e-3)
    assert use.result.grade is Grade.ENTRY
    assert use.result.to_next == pytest.approx(per_ton * 0.1, rel=0.03)
    in_coal = plant_with(output(YESTERDAY, YESTERDAY, made), benchmark=None)
    (use,) = report(seeded, YESTERDAY, YESTERDAY, plant=in_coal).products
    assert isinstance(use.result, SpecificEnergy)
    assert use.result.value == pytest.approx(per_ton * KGCE_PER_KWH, rel=2e-3)
    assert (use.result.unit, use.result.grade) == ("kgce/t", None)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (output(TODAY, TODAY, 10), "not-over"),
        (output(dt.date(2026, 2, 20), dt.date(2026, 2, 28), 10), "coverage"),
        (output(YESTERDAY, YESTERDAY, 0), "no-output"),
    ],
)
def test_a_specific_energy_that_cannot_be_had_is_a_reason(seeded: Seeded, entry: Output, code: str) -> None:
    plant = plant_with(entry, benchmark=None)
    (use,) = report(seeded, dt.date(2026, 2, 20), TODAY, plant=plant).products
    assert isinstance(use.result, NotFit)
    assert code in [reason.code for reason in use.result.reasons]


def test_the_page_and_the_json_say_the_same(seeded: Seeded) -> None:
    client = TestClient(seeded.app, base_url="http://127.0.0.1", headers={"Accept-Language": "en"})
    data = client.get("/api/energy?first=2026-03-01").json()
    kwh = used_kwh("m-main", MIDNIGHT - 24 * HOUR, MIDNIGHT)
    assert data["coal_t"] == pytest.approx(kwh * KGCE_PER_KWH / 1000, rel=1e-3)
    assert data["coal"][0]["edition"].startswith("GB/T 2589-2020")
    page = client.get("/energy?period=yesterday").text
    assert f"{data['coal_t']:.4g}".rstrip("0") in page
    assert "GB/T 2589-2020" in page
    for period in ("today", "week", "month", "nonsense"):
        assert client.get(f"/energy?period={period}&lang=zh").status_code == 200
    assert client.get("/api/energy?first=2026-03-02&last=2026-03-01").status_code == 422
