"""Coal equivalent and carbon: factors chosen by name, date and purpose; every line with its edition."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from analytics.carbon import Purpose, carbon_account, choose_grid_factor
from analytics.coal_equivalent import Basis, choose_coal_factor, measured_coal_factor, water_use
from analytics.conversion import Use, choose, convert
from analytics.fitness import NotFit
from meterline.errors import ConfigError
from meterline.factors import Factor, load_factors
from meterline.paths import factors_dir

FACTORS = load_factors(factors_dir())
TODAY = dt.date(2026, 11, 23)


def code(answer: Factor | NotFit) -> str:
    return answer.reasons[0].code if isinstance(answer, NotFit) else "factor"


def value(answer: Factor | NotFit) -> float:
    assert isinstance(answer, Factor), str(answer)
    assert answer.value is not None
    return answer.value


# -- the shipped files ----------------------------------------------------------------------------------------------
# GB/T 2589-2020 as two or more independent sources quote it (facts/standards.md, section 2)
PUBLISHED_COAL = {
    "fuel.raw_coal": 0.7143,
    "fuel.cleaned_coal": 0.9,
    "fuel.coke": 0.9714,
    "fuel.diesel": 1.4571,
    "fuel.gasoline": 1.4714,
    "fuel.fuel_oil": 1.4286,
    "fuel.blast_furnace_gas": 0.1286,
    "medium.fresh_water": 0.2571,
    "electricity": 0.1229,
    "heat": 0.03412,
}


@pytest.mark.parametrize("carrier", PUBLISHED_COAL)
def test_shipped_coal_coefficients(carrier: str) -> None:
    assert value(choose_coal_factor(FACTORS, carrier, Basis.CURRENT, TODAY)) == PUBLISHED_COAL[carrier]


def test_combustion_is_computed_from_its_parts() -> None:
    # natural gas 2.1622 kg/m3 and diesel 3.0959 kg/kg are printed by an independent tool (source E12 of the file)
    assert value(choose(FACTORS, "combustion", "fuel.natural_gas", TODAY)) == pytest.approx(2.1622, abs=5e-5)
    assert value(choose(FACTORS, "combustion", "fuel.diesel", TODAY)) == pytest.approx(3.0959, abs=5e-5)


def test_what_stands_on_memory_is_switched_off() -> None:
    assert len(FACTORS) > 100
    assert all(factor.indicative for factor in FACTORS if factor.confidence == "memory")
    assert all(factor.edition and factor.source for factor in FACTORS)


# -- choosing -------------------------------------------------------------------------------------------------------
def test_the_purpose_decides_the_grid_factor() -> None:
    assert value(choose_grid_factor(FACTORS, Purpose.ENTERPRISE_REPORT, None, TODAY)) == 0.5306
    assert value(choose_grid_factor(FACTORS, Purpose.REGIONAL_INVENTORY, "shandong", TODAY)) == 0.6191
    assert code(choose_grid_factor(FACTORS, Purpose.REGIONAL_INVENTORY, None, TODAY)) == "no-region"
    assert code(choose_grid_factor(FACTORS, Purpose.REGIONAL_INVENTORY, "national", TODAY)) == "wrong-purpose"
    assert value(choose_grid_factor(FACTORS, Purpose.PRODUCT, "national", TODAY)) == 0.5306


def test_the_latest_published_vintage_applies_and_an_older_one_can_be_named() -> None:
    before = dt.date(2025, 6, 1)
    assert value(choose_grid_factor(FACTORS, Purpose.REGIONAL_INVENTORY, "shandong", before)) == 0.641
    named = choose_grid_factor(FACTORS, Purpose.REGIONAL_INVENTORY, "shandong", TODAY, data_year=2022)
    assert value(named) == 0.641
    assert (
        code(choose_grid_factor(FACTORS, Purpose.REGIONAL_INVENTORY, "shandong", dt.date(2020, 1, 1)))
        == "not-valid-then"
    )


def test_memory_values_need_a_decision_and_mark_the_result() -> None:
    refused = choose_grid_factor(FACTORS, Purpose.ENTERPRISE_REPORT, None, TODAY, data_year=2022)
    assert code(refused) == "switched-off"
    taken = choose_grid_factor(FACTORS, Purpose.ENTERPRISE_REPORT, None, TODAY, data_year=2022, allow_indicative=True)
    assert value(taken) == 0.5366
    account = carbon_account([], [Use("electricity", 1000.0, "kWh", taken)])
    assert account.indicative
    assert account.total_t == pytest.approx(0.5366)


def test_ranges_and_rules_are_no_numbers() -> None:
    assert code(choose_coal_factor(FACTORS, "natural_gas", Basis.CURRENT, TODAY)) == "range"
    assert code(choose_coal_factor(FACTORS, "heat", Basis.PRIMARY, TODAY)) == "rule-only"
    assert code(choose_coal_factor(FACTORS, "electricity", Basis.PRIMARY, TODAY)) == "switched-off"
    assert code(choose_coal_factor(FACTORS, "fuel.unicorn", Basis.CURRENT, TODAY)) == "unknown-factor"


def test_a_measured_heating_value_goes_before_the_annex() -> None:
    # 35 544 kJ/m3 was the field-gas value of 2008, 1.2143 kgce/m3 on the 29 271 basis; on 29 307.6 it is 1.2128
    measured = measured_coal_factor(FACTORS, "fuel.natural_gas", 35544.0, "laboratory, certificate 17")
    assert value(measured) == pytest.approx(1.2128, abs=5e-5)
    assert isinstance(measured, Factor)
    assert "measured" in measured.edition
    assert code(measured_coal_factor(FACTORS, "fuel.natural_gas", 3554.4, "a lost digit")) == "implausible"


# -- converting -----------------------------------------------------------------------------------------------------
def test_a_table_of_carriers() -> None:
    power = choose_coal_factor(FACTORS, "electricity", Basis.CURRENT, TODAY)
    heat = choose_coal_factor(FACTORS, "heat", Basis.CURRENT, TODAY)
    water = choose_coal_factor(FACTORS, "water", Basis.CURRENT, TODAY)
    table = convert(
        [Use("electricity", 1_000_000.0, "kWh", power), Use("heat", 100.0, "GJ", heat), water_use(1000.0, water)],
        "kgce",
    )
    # by hand: 122.9 + 100 000 MJ * 0.03412 / 1000 + 1000 t * 0.2571 / 1000
    assert [line.result_t for line in table.lines] == pytest.approx([122.9, 3.412, 0.2571])
    assert table.total_t == pytest.approx(126.5691)
    assert table.editions == ("GB/T 2589-2020",)
    assert table.complete
    assert not table.indicative


def test_what_cannot_be_converted_is_refused_by_name() -> None:
    gas = choose_coal_factor(FACTORS, "natural_gas", Basis.CURRENT, TODAY)
    power = choose_coal_factor(FACTORS, "electricity", Basis.CURRENT, TODAY)
    table = convert(
        [Use("gas", 10.0, "m3", gas), Use("power", 5.0, "GJ", power), Use("power", float("nan"), "kWh", power)], "kgce"
    )
    assert table.lines == ()
    assert [reasons.reasons[0].code for _, reasons in table.refused] == ["range", "unit", "no-data"]
    assert not table.complete


def test_a_carbon_factor_does_not_make_coal() -> None:
    grid = choose_grid_factor(FACTORS, Purpose.ENTERPRISE_REPORT, None, TODAY)
    assert convert([Use("electricity", 1.0, "kWh", grid)], "kgce").refused[0][1].reasons[0].code == "unit"


# -- wrong files ----------------------------------------------------------------------------------------------------
GOOD = """\
kind: coal_equivalent
edition: "test"
valid_from: 2021-04-01
sources: {A: "somebody"}
factors:
  - id: fuel.x
    name: {en: x, zh: "某"}
    value: 0.7143
    unit: kgce/kg
    heating_value: 20934.0
    heating_value_unit: kJ/kg
    confidence: confirmed
    sources: [A]
"""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("0.7143", "0.4173"), "contradicts the heating value, which gives 0.7143"),
        (("[A]", "[B]"), "source 'B' is not explained"),
        (("confidence: confirmed", "confidence: memory"), "set enabled: false"),
        (("confidence: confirmed", "confidance: confirmed"), "did you mean 'confidence'"),
        (("    value: 0.7143\n", ""), "neither a value nor a rule"),
        (("kgce/kg", "kgce/m3"), "heating value in 'kJ/kg'"),
        (("kind: coal", "kind: goal"), "did you mean 'coal_equivalent'"),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_remedy(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    (tmp_path / "x.yaml").write_text(GOOD.replace(*change), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_factors(tmp_path)
    assert complaint in str(caught.value)
    assert "x.yaml" in str(caught.value)


def test_two_values_for_one_day_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(ConfigError, match="stands twice"):
        load_factors(tmp_path)
