"""The closed list agrees with itself and with the codes of IEC 62056-6-1 and DL/T 645-2007."""

from __future__ import annotations

import re

import pytest

from meterline.measurands import ACCOUNT, MEASURANDS, POWER_LIKE, Carrier, Kind, nearest
from meterline.units import CANONICAL, EXPONENT, shift_to_canonical


def test_every_measurand_is_kept_in_a_canonical_unit() -> None:
    assert len(MEASURANDS) >= 60
    for name, row in MEASURANDS.items():
        assert CANONICAL[row.unit] == row.unit, name
        assert shift_to_canonical(row.unit) == 0, name
        assert row.en, name
        assert row.zh, name
        assert set(row.ratio) <= {"c", "v"}, name


def test_codes_have_their_form_and_belong_to_one_measurand_only() -> None:
    obis = [row.obis for row in MEASURANDS.values() if row.obis]
    dlt645 = [row.dlt645 for row in MEASURANDS.values() if row.dlt645]
    assert all(re.fullmatch(r"[0-9]-0:[0-9]{1,3}\.[0-9]+\.[0-9]+", code) for code in obis)
    assert all(re.fullmatch(r"[0-9A-F]{8}", code) for code in dlt645)
    assert len(set(obis)) == len(obis)
    assert len(set(dlt645)) == len(dlt645)


@pytest.mark.parametrize(
    ("name", "dlt645"),
    [
        # facts/protocols.md B3, after DL/T 645-2007 annex A
        ("energy.active.import", "00010000"),
        ("energy.active.export", "00020000"),
        ("energy.active.import.t1", "00010100"),
        ("voltage.l1n", "02010100"),
        ("current.l3", "02020300"),
        ("power.active.total", "02030000"),
        ("power_factor.total", "02060000"),
        ("frequency", "02800002"),
    ],
)
def test_published_data_identifiers(name: str, dlt645: str) -> None:
    assert MEASURANDS[name].dlt645 == dlt645


@pytest.mark.parametrize(
    ("name", "obis"),
    [
        # the codes every smart meter interface prints (IEC 62056-6-1)
        ("energy.active.import", "1-0:1.8.0"),
        ("energy.active.export", "1-0:2.8.0"),
        ("power.active.total", "1-0:16.7.0"),
        ("voltage.l1n", "1-0:32.7.0"),
        ("voltage.l2n", "1-0:52.7.0"),
        ("voltage.l3n", "1-0:72.7.0"),
        ("current.l1", "1-0:31.7.0"),
        ("power.active.l3", "1-0:76.7.0"),
    ],
)
def test_published_obis_codes(name: str, obis: str) -> None:
    assert MEASURANDS[name].obis == obis


def test_every_carrier_has_an_account_and_a_momentary_use() -> None:
    for carrier in Carrier:
        assert all(MEASURANDS[name].kind is Kind.COUNTER for name in ACCOUNT[carrier])
        assert all(MEASURANDS[name].kind is Kind.GAUGE for name in POWER_LIKE[carrier])


def test_ratio_of_energy_follows_from_power() -> None:
    """Power and energy scale with both transformers, voltage and current with one each."""
    assert MEASURANDS["energy.active.import"].ratio == MEASURANDS["power.active.total"].ratio == "cv"
    assert MEASURANDS["voltage.l1n"].ratio == "v"
    assert MEASURANDS["current.l1"].ratio == "c"
    assert MEASURANDS["power_factor.total"].ratio == ""


def test_a_typo_finds_its_neighbour() -> None:
    assert nearest("energy.activ.import") == "energy.active.import"
    assert nearest("%%%") is None


@pytest.mark.parametrize(("unit", "exponent"), [("W", -3), ("MWh", 3), ("kWh", 0), ("L", -3), ("kPa", -3), ("bar", -1)])
def test_conversions_are_powers_of_ten(unit: str, exponent: int) -> None:
    assert shift_to_canonical(unit) == exponent
    assert set(EXPONENT) <= set(CANONICAL)


def test_the_page_of_words_holds_the_list_as_it_is() -> None:
    from scripts.nomenclature import PAGE, page_with, table

    assert PAGE.read_text(encoding="utf-8") == page_with(table()), "run: python -m scripts.nomenclature --write"
