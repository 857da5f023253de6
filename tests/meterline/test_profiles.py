"""A profile page is a legal description of a meter, or every fault of it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from meterline.errors import ConfigError
from meterline.profiles import ModbusProfile, Rate, load_profile, load_profiles, power_of_ten

PAGE: dict[str, Any] = {
    "profile": "maker-model",
    "revision": 1,
    "title": {"en": "Meter", "zh": "表"},
    "protocol": "modbus",
    "carrier": "electricity",
    "source": "invented for this test",
    "evidence": "unverified",
    "value_reference": "primary",
    "limits": {"max_words": 20, "align": 2},
    "points": [
        {"measurand": "voltage.l1n", "at": 0, "type": "uint32", "unit": "V", "scale": 0.1},
        {"measurand": "energy.active.import", "unit": "Wh", "type": "uint32", "sum_of": [{"at": 2}, {"at": 4}]},
        {"measurand": "frequency", "at": 6, "type": "float32", "order": "CDAB", "unit": "Hz", "rate": "slow"},
    ],
}


def load(tmp_path: Path, **changes: Any) -> ModbusProfile:
    path = tmp_path / "maker-model.yaml"
    path.write_text(yaml.safe_dump({**PAGE, **changes}), encoding="utf-8")
    profile = load_profile(path)
    assert isinstance(profile, ModbusProfile)
    return profile


def test_points_know_unit_cells_and_rate(tmp_path: Path) -> None:
    profile = load(tmp_path)
    voltage, energy, frequency = profile.points
    assert (voltage.exponent, energy.exponent, frequency.exponent) == (-1, -3, 0)
    assert [cell.at for cell in profile.cells_of(energy)] == [2, 4]
    assert profile.cells_of(frequency)[0].order == "CDAB"
    assert [profile.rate_of(p) for p in profile.points] == [Rate.FAST, Rate.NORMAL, Rate.SLOW]
    assert profile.id == "maker-model@1"


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([{"measurand": "voltage.l1", "at": 0, "type": "uint32", "unit": "V"}], "unknown measurand 'voltage.l1'"),
        ([{"measurand": "voltage.l1n", "at": 0, "type": "uint32", "unit": "kWh"}], "is kept in V"),
        ([{"measurand": "voltage.l1n", "at": 0, "type": "uint32", "unit": "volt"}], "unknown unit"),
        ([{"measurand": "voltage.l1n", "at": 0, "type": "uint32", "unit": "V", "scale": 0.3}], "no power of ten"),
        ([{"measurand": "voltage.l1n", "type": "uint32", "unit": "V"}], "either 'at' or 'sum_of'"),
        ([{"measurand": "voltage.l1n", "at": 0, "type": "flaot32", "unit": "V"}], "did you mean 'float32'?"),
        ([{"measurand": "voltage.l1n", "at": 1, "type": "uint32", "unit": "V"}], "limits.align is 2"),
        ([{"measurand": "voltage.l1n", "at": 0xFFFE, "type": "uint64", "unit": "V"}], "leaves no room"),
        (
            [
                {"measurand": "voltage.l1n", "at": 0, "type": "uint32", "unit": "V"},
                {"measurand": "voltage.l2n", "at": 0, "type": "uint32", "unit": "V"},
            ],
            "also belongs to points[0]",
        ),
        (
            [
                {"measurand": "voltage.l1n", "at": 0, "type": "uint32", "unit": "V"},
                {"measurand": "voltage.l1n", "at": 2, "type": "uint32", "unit": "V"},
            ],
            "is also points[0]",
        ),
    ],
)
def test_impossible_points_are_refused(tmp_path: Path, points: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, points=points)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([{"at": 0}, {"at": 200}], "its parts span 202 words, one answer holds 20"),
        ([{"at": 0}, {"at": 2, "table": "input"}], "its parts lie in two tables"),
    ],
)
def test_a_sum_no_answer_can_hold_is_refused(tmp_path: Path, parts: list[dict[str, Any]], says: str) -> None:
    point = {"measurand": "energy.active.import", "sum_of": parts, "type": "uint32", "unit": "kWh"}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, points=[point])
    assert says in str(caught.value)


def test_the_file_is_named_after_the_profile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name it other\.yaml"):
        load(tmp_path, profile="other")


def test_a_value_longer_than_one_request_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs 2 words, the meter gives 1"):
        load(tmp_path, limits={"max_words": 1})


def test_all_pages_are_read_and_all_problems_told(tmp_path: Path) -> None:
    load(tmp_path)
    for name in ("b", "c"):
        (tmp_path / f"{name}.yaml").write_text(
            yaml.safe_dump({**PAGE, "profile": name, "revision": 0}), encoding="utf-8"
        )
    with pytest.raises(ConfigError) as caught:
        load_profiles(tmp_path)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(("scale", "exponent"), [(1, 0), (0.1, -1), (0.001, -3), (10, 1), (1e-9, -9)])
def test_scales(scale: float, exponent: int) -> None:
    assert power_of_ten(scale) == exponent
