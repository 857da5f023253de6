"""A site file is a tree that holds together, or it is refused with the place."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from meterline.errors import ConfigError
from meterline.measurands import Carrier
from meterline.paths import profiles_dir
from meterline.plant import Calendar, Plant, Shift, load_plant, parse_ratio

NAME = {"en": "x", "zh": "某"}


def site() -> dict[str, Any]:
    meter = {"name": NAME, "profile": "acrel-dtsd1352", "bus": "line-1"}
    return {
        "site": {"id": "plant", "name": NAME},
        "energy_users": [
            {"id": "works", "name": NAME, "level": "organisation"},
            {"id": "press", "name": NAME, "level": "sub_unit", "parent": "works"},
        ],
        "buses": [{"id": "line-1", "kind": "rtu-over-tcp", "gateway": "gw1", "host": "127.0.0.1", "port": 4001}],
        "meters": [
            {**meter, "id": "main", "energy_user": "works", "address": "1"},
            {**meter, "id": "sub", "energy_user": "press", "address": "2", "fed_by": "main",
             "ratios": [{"valid_from": "2024-01-01", "ct": "200/5"},
                        {"valid_from": "2025-07-01", "ct": "400/5", "vt": "10000/100"}]},
        ],
    }  # fmt: skip


def load(tmp_path: Path, document: dict[str, Any]) -> Plant:
    path = tmp_path / "site.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    return load_plant(path, profiles_dir())


def test_a_sound_site_loads(tmp_path: Path) -> None:
    plant = load(tmp_path, site())
    assert plant.gateways() == ("gw1",)
    assert [m.id for m in plant.meters_on("line-1")] == ["main", "sub"]
    assert plant.users_below("works") == {"works", "press"}
    assert [m.id for m in plant.top_meters("works", Carrier.ELECTRICITY)] == ["main"]
    assert [m.id for m in plant.top_meters("press", Carrier.ELECTRICITY)] == ["sub"]


def test_a_ratio_touches_nothing_before_its_date(tmp_path: Path) -> None:
    plant = load(tmp_path, site())
    sub = plant.meters["sub"]
    by_day = {
        day: plant.primary_factor(sub, "energy.active.import", day)
        for day in (dt.date(2023, 12, 31), dt.date(2024, 1, 1), dt.date(2025, 6, 30), dt.date(2025, 7, 1))
    }
    assert list(by_day.values()) == [1, 40, 40, 8000]
    assert plant.primary_factor(sub, "voltage.l1n", dt.date(2025, 7, 1)) == 100
    assert plant.primary_factor(sub, "current.l1", dt.date(2025, 7, 1)) == 80
    assert plant.primary_factor(sub, "frequency", dt.date(2025, 7, 1)) == 1


def module_site(**inputs: dict[str, Any]) -> dict[str, Any]:
    """Meters on the inputs of one module: one address, different words."""
    document = site()
    document["meters"] = [
        {"id": name, "name": NAME, "energy_user": "works", "bus": "line-1", "address": "7"} | rest
        for name, rest in inputs.items()
    ]
    return document


WATER = {"profile": "pulse-input-32", "first_word": 2, "ratios": [{"valid_from": "2026-01-01", "pulses": "450"}]}
GAS = {"profile": "pulse-input-32", "first_word": 4, "ratios": [{"valid_from": "2026-01-01", "pulses": "1/10"}]}
FLOW = {
    "profile": "analog-input-16", "first_word": 9,
    "ratios": [{"valid_from": "2026-01-01", "span": {"raw": [4000, 20000], "value": [0, 250]}}],
}  # fmt: skip


def test_inputs_of_a_module_are_meters_with_words_and_factors_of_their_own(tmp_path: Path) -> None:
    plant = load(tmp_path, module_site(water=WATER, gas=GAS, flow=FLOW))
    day = dt.date(2026, 3, 1)
    at = {name: [p.at for p in plant.profile_of(meter).points] for name, meter in plant.meters.items()}  # type: ignore[attr-defined]
    assert at == {"water": [2], "gas": [4], "flow": [9]}
    assert plant.profile_of(plant.meters["water"]).id == "pulse-input-32.at-2@1"
    water, gas, flow = plant.meters.values()
    assert plant.primary_factor(water, "volume", day) * 900 == 2
    assert plant.primary_factor(gas, "volume", day) * 3 == 30
    shown = {
        raw: plant.primary_factor(flow, "flow.volume", day) * raw + plant.primary_offset(flow, "flow.volume", day)
        for raw in (4000, 12000, 20000)
    }
    assert shown == {4000: 0, 12000: 125, 20000: 250}
    assert plant.primary_offset(water, "volume", day) == 0


@pytest.mark.parametrize(
    ("meter", "says"),
    [
        (WATER | {"ratios": []}, "nothing says what one is"),
        (WATER | {"ratios": [{"valid_from": "2026-01-01", "ct": "200/5"}]}, "pulses is missing"),
        (WATER | {"ratios": [{"valid_from": "2026-01-01", "pulses": "0"}]}, "contains a zero"),
        (WATER | {"first_word": 65535}, "addresses end at 65535"),
        (FLOW | {"ratios": WATER["ratios"]}, "is not scaled by pulses"),
        (FLOW | {"ratios": [{"valid_from": "2026-01-01", "span": {"raw": [4, 4], "value": [0, 1]}}]}, "are the same"),
        (WATER | {"profile": "acrel-dtsd1352"}, "is not scaled by pulses"),
        (WATER | {"profile": "dlt645-2007-three-phase", "address": "000012345678"}, "has no word addresses"),
    ],
)
def test_an_input_without_its_meaning_is_refused(meter: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, module_site(one=meter))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("exchanges", "says"),
    [
        ([{"removed": "2026-05-03T10:20", "installed": "2026-05-03T09:00"}], "installed before the old one is removed"),
        ([{"removed": "2026-05-03T10:20"}, {"removed": "2026-05-03T10:20"}], "before the exchange above it was over"),
        (
            [
                {"removed": "2026-05-03T10:20", "installed": "2026-05-03T12:00"},
                {"removed": "2026-05-03T11:00", "installed": "2026-05-03T13:00"},
            ],
            "before the exchange above it was over",
        ),
    ],
)
def test_exchanges_that_overlap_are_refused(exchanges: list[dict[str, str]], says: str, tmp_path: Path) -> None:
    document = site()
    document["meters"][0]["exchanges"] = exchanges
    with pytest.raises(ConfigError) as error:
        load(tmp_path, document)
    assert says in str(error.value)


def test_two_inputs_on_the_same_words_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, module_site(one=WATER, two=WATER))
    assert "both have address '7'" in str(error.value)


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        here: Any = document
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (_set("meters", 1, "address", to="1"), "meters[1].address", "sub and main both have address '1'"),
        (_set("meters", 1, "address", to=2), "meters[1].address", "put it in quotes"),
        (_set("meters", 1, "address", to="248"), "meters[1].address", 'use "1" to "247"'),
        (_set("meters", 1, "profile", to="acrel-dtsd135"), "meters[1].profile", "did you mean 'acrel-dtsd1352'?"),
        (_set("meters", 1, "bus", to="line-2"), "meters[1].bus", "did you mean 'line-1'?"),
        (_set("meters", 1, "energy_user", to="pres"), "meters[1].energy_user", "did you mean 'press'?"),
        (_set("meters", 1, "fed_by", to="mian"), "meters[1].fed_by", "did you mean 'main'?"),
        (_set("meters", 0, "fed_by", to="sub"), "meters", "runs in a circle"),
        (_set("energy_users", 0, "parent", to="press"), "energy_users", "runs in a circle"),
        (_set("meters", 1, "id", to="main"), "meters[0].id", "used twice"),
        (_set("meters", 1, "ratios", 0, "ct", to="200/0"), "meters[1].ratios[0].ct", "contains a zero"),
        (_set("meters", 1, "ratios", 0, "ct", to="200:5"), "meters[1].ratios[0].ct", "as on the plate"),
        (_set("meters", 1, "ratios", 1, "valid_from", to="2024-01-01"), "meters[1].ratios", "2 ratios are valid from"),
        (_set("meters", 1, "profile", to="eastron-sdm630"), "meters[1].ratios", "count twice"),
        (_set("buses", 0, "kind", to="serial"), "buses[0]", "needs 'device'"),
        (_set("site", "timezone", to="Asia/Jinan"), "site.timezone", "unknown time zone"),
    ],
)
def test_what_does_not_hold_together_is_refused_with_its_place(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], place: str, says: str
) -> None:
    document = site()
    change(document)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, document)
    assert any(p.place.startswith(place) and says in f"{p.problem}; {p.hint}" for p in caught.value.problems), (
        caught.value
    )


def test_a_ratio_without_a_date_is_refused(tmp_path: Path) -> None:
    document = site()
    del document["meters"][1]["ratios"][0]["valid_from"]
    with pytest.raises(ConfigError, match="'valid_from' is missing"):
        load(tmp_path, document)


@pytest.mark.parametrize(("text", "value"), [("200/5", 40), ("1", 1), ("10000/100", 100), ("7.5/5", Fraction(3, 2))])
def test_ratios_are_read_as_on_the_plate(text: str, value: Fraction) -> None:
    assert parse_ratio(text) == value


def test_night_shift_make_up_day_and_holiday() -> None:
    calendar = Calendar(
        shifts=(
            Shift.model_validate({"from": "08:00", "to": "16:00"}),
            Shift.model_validate({"from": "22:00", "to": "06:00"}),
        ),
        holidays=(dt.date(2026, 10, 1),),  # a Thursday, National Day
        workdays=(dt.date(2026, 10, 10),),  # a Saturday, worked to make up for it
    )  # fmt: skip

    def working(text: str) -> bool:
        return calendar.working(dt.datetime.fromisoformat(text))

    assert working("2026-09-28 08:00")
    assert not working("2026-09-28 16:00")
    assert working("2026-09-29 05:59")  # Monday's night shift
    assert not working("2026-09-28 05:00")  # no night shift began on Sunday
    assert not working("2026-10-01 09:00")
    assert working("2026-10-01 03:00")  # Wednesday's night shift ends on the holiday
    assert working("2026-10-10 09:00")
    assert not working("2026-10-11 09:00")


def test_no_shifts_means_never_idle() -> None:
    assert Calendar().working(dt.datetime(2026, 10, 1, 3))
