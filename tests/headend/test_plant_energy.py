"""Amounts of a plant with their uncertainty, and the balance of its tree, against the loads that were played."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from analytics.energy_balance import Balance
from analytics.fitness import NotFit
from headend.catalogue import Catalogue
from headend.plant_energy import balances, meter_rows, user_rows
from headend.stores.api import Span
from meterline.measurands import Carrier
from meterline.plant import Plant
from meterline.readings import Quality
from tests.headend.seeded import NOW, SILENT, Seeded, load_kw, seed
from tests.headend.small_plant import HOUR, MINUTE, small_plant

HOURS = 20
MAIN = Span(NOW - 4 * HOUR, NOW - HOUR)


def with_classes(**changes: object) -> Plant:
    site = small_plant().site
    body = site.model_dump(mode="json", by_alias=True)
    for meter in body["meters"]:
        meter |= {"accuracy_class": "1"} | changes
        if meter["id"] == "m-c2":
            meter["fed_by"] = None  # it was never installed: nothing is stored of it
    return Plant(type(site).model_validate(body, strict=False), small_plant().profiles)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    seeded = seed(tmp_path_factory.mktemp("works"), hours=HOURS, plant=with_classes())
    yield seeded
    seeded.close()


@pytest.fixture
def catalogue(works: Seeded) -> Iterator[Catalogue]:
    opened = Catalogue(works.folder, write=False)
    yield opened
    opened.close()


def played(meter: str, span: Span) -> float:
    """Energy of the load that was played, in steps of a minute. [kWh]"""
    return sum(load_kw(meter, t) / 60 for t in range(span.start_ns, span.end_ns, MINUTE))


def test_amounts_are_what_was_played_within_the_stated_uncertainty(works: Seeded, catalogue: Catalogue) -> None:
    rows = list(meter_rows(works.plant, catalogue, [works.plant.meters["m-main"]], "hour", MAIN, NOW))
    assert len(rows) == 3
    for row in rows:
        assert row.amount is not None
        true = played("m-main", Span(row.start_ns, row.end_ns))
        assert abs(row.amount.value - true) <= row.amount.expanded
        assert row.coverage == pytest.approx(1.0)
        assert row.class_known
        # class 1 with CT-less direct connection: 2 * 1 % / sqrt(3), and a little for the boundaries
        assert row.amount.relative == pytest.approx(0.02 / math.sqrt(3), rel=0.25)
        assert row.without_class < row.amount.expanded


def test_three_hours_are_no_surer_than_one_but_place_counts_only_at_the_ends(
    works: Seeded, catalogue: Catalogue
) -> None:
    meter = [works.plant.meters["m-main"]]
    hours = list(meter_rows(works.plant, catalogue, meter, "hour", MAIN, NOW))
    (whole,) = meter_rows(works.plant, catalogue, meter, "all", MAIN, NOW)
    assert whole.amount is not None
    assert whole.amount.value == pytest.approx(sum(h.amount.value for h in hours if h.amount))
    assert whole.amount.relative == pytest.approx(0.02 / math.sqrt(3), rel=0.05)
    assert whole.without_class < sum(h.without_class for h in hours)


def test_a_silent_hour_is_missing_not_zero(works: Seeded, catalogue: Catalogue) -> None:
    inside = Span(SILENT[0], SILENT[1])
    (row,) = meter_rows(works.plant, catalogue, [works.plant.meters["m-p2"]], "all", inside, NOW)
    assert row.coverage < 0.1
    assert row.amount is not None, "the counter knows what went through; only when is estimated"
    assert row.quality & Quality.ESTIMATED
    (never,) = meter_rows(works.plant, catalogue, [works.plant.meters["m-c2"]], "all", MAIN, NOW)
    assert never.amount is None
    assert never.quality == Quality.MISSING


def test_a_user_with_an_unknown_meter_is_unknown(works: Seeded, catalogue: Catalogue) -> None:
    users = [works.plant.energy_users[name] for name in ("press", "paint")]
    press, paint = user_rows(works.plant, catalogue, users, Carrier.ELECTRICITY, "all", MAIN, NOW)
    assert press.amount is not None
    assert press.meters == ("m-p1", "m-p2", "m-p3")
    assert press.amount.value == pytest.approx(sum(played(m, MAIN) for m in press.meters), rel=0.01)
    assert press.amount.relative < 0.02 / math.sqrt(3), "three meters of their own are surer together"
    assert paint.amount is None
    assert paint.coverage == 0.0


def test_the_balance_of_the_tree(works: Seeded, catalogue: Catalogue) -> None:
    """Main 210 kW against 70 + 55 + 30 + 40: fifteen are metered by nobody. m-p2 was silent for an hour of the span."""
    span = Span(NOW - 3 * HOUR, NOW - HOUR)
    (found,) = balances(works.plant, catalogue, "all", span, NOW)
    assert found.node.id == "m-main"
    assert set(found.below) == {"m-p1", "m-p2", "m-p3", "m-c1"}
    assert isinstance(found.result, Balance)
    true = played("m-main", span) - sum(played(m, span) for m in found.below)
    assert found.result.residual.value == pytest.approx(true, abs=2.0)
    assert found.result.open == (abs(found.result.residual.value) > found.result.residual.expanded)
    wider = Span(SILENT[0] - HOUR, NOW - HOUR)
    (refused,) = balances(works.plant, catalogue, "all", wider, NOW)
    assert isinstance(refused.result, NotFit)
    assert "m-p2" in str(refused.result)


def test_without_a_class_it_is_said(works: Seeded, catalogue: Catalogue) -> None:
    plant = small_plant()
    (row,) = meter_rows(plant, catalogue, [plant.meters["m-main"]], "all", MAIN, NOW)
    assert row.amount is not None
    assert not row.class_known
    assert row.amount.expanded == pytest.approx(row.without_class)
