"""Tariffs: windows against an independent writing of them, money by hand, and files that are refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import yaml

from analytics.fitness import NotFit
from analytics.tariffs import Demand, TariffBill, adjustment, bands_of, bill, power_factor, sliding_demand
from meterline.errors import ConfigError
from meterline.paths import tariffs_dir
from meterline.tariffs import Price, Tariff, load_power_factor, load_tariff

NS = 10**9
HOUR, QUARTER, MINUTE = 3600 * NS, 900 * NS, 60 * NS
SHANGHAI = ZoneInfo("Asia/Shanghai")
SHIPPED = load_tariff(tariffs_dir() / "shandong-agency.yaml")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "methods" / "tariffs.md").read_text(encoding="utf-8")
EXAMPLE: dict[str, Any] = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])

# One letter an hour, as a calendar of the notice writes them: sharp, peak, flat, valley, deep valley.
HOURS = {
    1: "FFVVVVFPPFVDDDVFSSSPPFFF",
    4: "FFFFFFFFFFVDDDVFFSSSPPFF",
    6: "FFFFFFFVVVVVFFFFPSSSSSPF",
    8: "FVVVVVFFFFFFFFFFPSSSSSPF",
    10: "FFFFFFFFFFVDDDVFPSSPPFFF",
}
LETTER = {"sharp": "S", "peak": "P", "flat": "F", "valley": "V", "deep_valley": "D"}


def midnight(day: dt.date, zone: ZoneInfo = SHANGHAI) -> int:
    return int(dt.datetime.combine(day, dt.time(), tzinfo=zone).timestamp()) * NS


def priced(**more: float) -> Tariff:
    price = Price(valid_from=dt.date(2025, 1, 1), source="page", **({"floating": 0.40, "fixed": 0.20} | more))
    return SHIPPED.model_copy(update={"prices": (price,)})


@pytest.mark.parametrize("month", HOURS)
def test_the_windows_of_the_notice(month: int) -> None:
    hours = midnight(dt.date(2026, month, 15)) + np.arange(24) * HOUR
    for minute in (0, 30, 59):
        found = [LETTER[SHIPPED.bands[k].id] for k in bands_of(SHIPPED, hours + minute * MINUTE)]
        assert "".join(found) == HOURS[month]


def test_the_worked_example() -> None:
    start = midnight(dt.date(2026, 1, 15)) + np.arange(96) * QUARTER
    micro = np.full(96, EXAMPLE["kw"] * 250_000)
    found = bill(priced(floating=EXAMPLE["floating"], fixed=EXAMPLE["fixed"]), start, micro, np.ones(96, bool))
    assert isinstance(found, TariffBill)
    want = EXAMPLE["expected"]
    assert {use.band: use.micro / 1e6 / EXAMPLE["kw"] for use in found.bands} == want["hours"]
    assert found.yuan == pytest.approx(want["yuan"])
    table = load_power_factor(tariffs_dir() / "power-factor-215.yaml").table(EXAMPLE["standard"])
    assert table is not None
    percent, yuan = adjustment(table, found.micro / 1e6, EXAMPLE["kvarh"], found.yuan or 0) or (0, 0)
    assert percent == pytest.approx(want["adjustment_pct"])
    assert yuan == pytest.approx(want["adjustment_yuan"])


def test_what_is_not_known_costs_nothing_and_says_so() -> None:
    start = midnight(dt.date(2026, 1, 15)) + np.arange(96) * QUARTER
    known = np.arange(96) >= 4
    found = bill(priced(), start, np.full(96, 250_000), known)
    assert isinstance(found, TariffBill)
    assert (found.missing, found.micro) == (4, 92 * 250_000)
    bare = bill(SHIPPED, start, np.full(96, 250_000), known)
    assert isinstance(bare, TariffBill)
    assert bare.yuan is None
    assert bare.unpriced_micro == bare.micro == found.micro


def test_a_price_that_changes_holds_from_its_day() -> None:
    cheap, dear = (
        Price(valid_from=dt.date(2026, 1, day), floating=price, source="page") for day, price in ((1, 0.1), (16, 1.0))
    )
    tariff = SHIPPED.model_copy(update={"prices": (cheap, dear)})
    start = midnight(dt.date(2026, 1, 15)) + np.arange(192) * QUARTER
    one, two = (bill(tariff, s, np.full(96, 10**6), np.ones(96, bool)) for s in (start[:96], start[96:]))
    both = bill(tariff, start, np.full(192, 10**6), np.ones(192, bool))
    assert isinstance(one, TariffBill)
    assert isinstance(two, TariffBill)
    assert isinstance(both, TariffBill)
    assert two.yuan == pytest.approx(10 * (one.yuan or 0))
    assert both.yuan == pytest.approx(11 * (one.yuan or 0))


def test_a_day_outside_the_edition_is_refused() -> None:
    start = midnight(dt.date(2026, 12, 31)) + np.arange(192) * QUARTER
    found = bill(SHIPPED, start, np.full(192, 1), np.ones(192, bool))
    assert isinstance(found, NotFit)
    assert "2027-01-01" in str(found)


def test_the_clock_of_a_tariff_follows_its_zone() -> None:
    """A zone with summer time: the night of the change has 25 hours, and every band the wall clock's windows."""
    berlin = SHIPPED.model_copy(update={"timezone": "Europe/Berlin"})
    start = midnight(dt.date(2026, 10, 25), ZoneInfo("Europe/Berlin"))
    letters = "".join(LETTER[SHIPPED.bands[k].id] for k in bands_of(berlin, start + np.arange(25) * HOUR))
    assert letters == HOURS[10][:3] + HOURS[10][2] + HOURS[10][3:]


@pytest.mark.parametrize(
    ("power_factor", "standard", "percent"),
    [
        # the printed table: 0.15 per 0.01 upwards, 0.5, 1 and 2 per 0.01 downwards
        (1.0, 0.90, -0.75), (0.945, 0.90, -0.6), (0.904, 0.90, 0.0), (0.80, 0.90, 5.0), (0.65, 0.90, 15.0),
        (0.60, 0.90, 25.0), (0.45, 0.90, 55.0), (0.93, 0.85, -0.95), (0.60, 0.85, 15.0), (0.55, 0.80, 15.0),
    ],
)  # fmt: skip
def test_the_power_factor_tables(power_factor: float, standard: float, percent: float) -> None:
    table = load_power_factor(tariffs_dir() / "power-factor-215.yaml").table(standard)
    assert table is not None
    assert table.adjustment(power_factor) == pytest.approx(percent)


def test_power_factor_of_a_month() -> None:
    assert power_factor(3.0, 4.0) == pytest.approx(0.6)
    assert power_factor(0.0, 0.0) is None


def test_demand_is_the_steepest_quarter_of_an_hour() -> None:
    t = np.arange(0, 121) * MINUTE
    kw = np.full(120, 60.0)
    kw[37:52] = 240.0  # a quarter of an hour that begins off the clock's quarters
    account = np.concatenate(([0], np.cumsum(np.rint(kw / 60 * 1e6)))).astype(np.int64)
    found = sliding_demand(t, account)
    assert found == Demand(240.0, 37 * MINUTE)
    assert found.indicative
    gone = np.delete(np.arange(121), np.arange(40, 52))
    less = sliding_demand(t[gone], account[gone])
    assert isinstance(less, Demand)
    assert less.kw < 240.0, "a hole makes no demand"
    assert isinstance(sliding_demand(t[:5], account[:5]), NotFit)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("\"03:00-07:00\"", "\"04:00-07:00\""), "nothing is said for 03:00-04:00"),
        (("\"03:00-07:00\"", "\"02:00-07:00\""), "02:00-03:00 belongs to two bands"),
        (("\"07:00-24:00\"", "\"07:00-23:00\""), "nothing is said for 23:00-24:00"),
        (("[11, 12]", "[11]"), "month 12 belongs to no season"),
        (("night:", "nacht:"), "no band 'nacht'"),
    ],
)  # fmt: skip
def test_a_tariff_with_a_hole_is_refused_with_its_place(change: tuple[str, str], says: str, tmp_path: Path) -> None:
    text = (
        'tariff: mine\ntitle: {en: Mine, zh: "我的"}\nedition: contract\nvalid_from: 2026-01-01\nvalid_to: 2027-01-01\n'
        "confidence: single\nsources: [contract]\n"
        'bands: [{id: day, title: {en: d, zh: d}}, {id: night, title: {en: n, zh: n}}]\nseasons:\n'
        "  - {months: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], hours: {day: [\"00:00-24:00\"]}}\n"
        '  - {months: [11, 12], hours: {day: ["00:00-03:00", "07:00-24:00"], night: ["03:00-07:00"]}}\n'
    )  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_tariff(path).bands[1].id == "night"
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_tariff(path)
    assert says in str(error.value)
    assert "line" in str(error.value)
