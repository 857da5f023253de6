"""Electricity of a plant by price band, against the loads that were played and a calendar written by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from analytics.fitness import NotFit
from analytics.tariffs import TariffBill
from headend.catalogue import Catalogue
from headend.plant_cost import Cost, cost_of
from headend.stores.api import Span
from meterline.paths import tariffs_dir
from meterline.tariffs import Price, load_power_factor, load_tariff
from tests.headend.seeded import NOW, Seeded, load_kw, seed
from tests.headend.small_plant import HOUR, MINUTE

QUARTER = 15 * MINUTE
MARCH = "FFFFFFFFFFVDDDVFFSSSPPFF"
"""Hours of a March day in Shandong as the notice has them, one letter each."""
BAND = {"S": "sharp", "P": "peak", "F": "flat", "V": "valley", "D": "deep_valley"}
FACTOR = {"S": 2.0, "P": 1.7, "F": 1.0, "V": 0.3, "D": 0.1}
DAY = Span(NOW - 19 * HOUR, NOW - HOUR)
TARIFF = load_tariff(tariffs_dir() / "shandong-agency.yaml").model_copy(
    update={"prices": (Price(valid_from=dt.date(2026, 1, 1), floating=0.5, fixed=0.1, source="by hand"),)}
)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    seeded = seed(tmp_path_factory.mktemp("works"))
    yield seeded
    seeded.close()


def costs(works: Seeded, *meters: str, span: Span = DAY) -> Cost | NotFit:
    catalogue = Catalogue(works.folder, write=False)
    table = load_power_factor(tariffs_dir() / "power-factor-215.yaml").table(0.90)
    try:
        of = [works.plant.meters[name] for name in meters]
        return cost_of(works.plant, catalogue, "works", of, span, TARIFF, table)
    finally:
        catalogue.close()


def test_bands_and_money_of_a_day(works: Seeded) -> None:
    found = costs(works, "m-main")
    assert isinstance(found, Cost)
    assert isinstance(found.bill, TariffBill)
    kwh, yuan = dict.fromkeys(BAND.values(), 0.0), 0.0
    for t in range(DAY.start_ns, DAY.end_ns, MINUTE):
        letter = MARCH[dt.datetime.fromtimestamp(t / 1e9, ZoneInfo("Asia/Shanghai")).hour]
        energy = load_kw("m-main", t + MINUTE) / 60  # a reading has the minute that follows in it already
        kwh[BAND[letter]] += energy
        yuan += energy * (0.5 * FACTOR[letter] + 0.1)
    assert {use.band: use.micro / 1e6 for use in found.bill.bands} == pytest.approx(kwh, rel=2e-3, abs=0.5)
    assert found.bill.yuan == pytest.approx(yuan, rel=2e-3)
    assert found.bill.missing == 0


def test_the_peak_is_the_largest_quarter(works: Seeded) -> None:
    found = costs(works, "m-main")
    assert isinstance(found, Cost)
    quarters = {
        t: sum(load_kw("m-main", t + n * MINUTE) for n in range(1, 16)) / 15
        for t in range(DAY.start_ns, DAY.end_ns, QUARTER)
    }
    best = max(quarters, key=quarters.__getitem__)
    assert found.peak_ns == best
    assert found.peak_kw == pytest.approx(quarters[best], rel=5e-3)


def test_quarters_that_one_meter_lacks_are_nobodys(works: Seeded) -> None:
    both = costs(works, "m-p1", "m-c2")
    assert isinstance(both, NotFit), "nothing is stored of m-c2"
    future = costs(works, "m-p1", span=Span(NOW - HOUR, NOW + HOUR))
    assert isinstance(future, Cost)
    assert isinstance(future.bill, TariffBill)
    assert future.bill.missing >= 4
    assert future.power_factor is None, "reactive energy was never read: that is not a power factor of one"
