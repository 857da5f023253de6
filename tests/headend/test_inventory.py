"""The ledger of instruments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from headend.catalogue import Catalogue
from headend.inventory import inventory, overdue
from headend.queries import Queries
from headend.stores.memory import MemoryStore
from meterline.plant import Plant
from meterline.readings import MissingSpan
from meterline.site import Certificate
from tests.headend.gateway_twin import FLOAT, MINUTE, Twin, poll
from tests.headend.small_plant import T0, small_plant, small_site

TODAY = dt.date(2026, 3, 2)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    made = Catalogue(tmp_path)
    yield made
    made.close()


def test_who_answers_and_who_does_not(catalogue: Catalogue) -> None:
    store, twin = MemoryStore(), Twin()
    silences = [
        MissingSpan("m-p1", T0 + MINUTE, None, "silent"),
        MissingSpan("m-p2", T0 - MINUTE, None, "garbled"),  # its end was never told, but it has answered since
        MissingSpan("m-p3", T0 - MINUTE, None, "line-down"),
    ]
    store.append([twin.block(*(poll(m, T0, 1.0, 2.0, shape=FLOAT) for m in ("m-p1", "m-p2")), missing=silences)])
    rows = {row.meter: row for row in inventory(Queries(small_plant(), store, catalogue), T0 + 2 * MINUTE)}
    assert list(rows) == ["m-main", "m-p1", "m-p2", "m-p3", "m-c1", "m-c2"]
    assert (rows["m-p1"].silent_since_ns, rows["m-p1"].cause) == (T0 + MINUTE, "silent")
    assert rows["m-p1"].last_good_ns == T0 + 100_000_000
    assert (rows["m-p2"].silent_since_ns, rows["m-p2"].cause) == (None, "")
    assert (rows["m-p3"].last_good_ns, rows["m-p3"].cause) == (None, "line-down")


@pytest.mark.parametrize(
    ("until", "state"),
    [
        (None, "unknown"),
        (TODAY - dt.timedelta(days=1), "overdue"),
        (TODAY, "due"),
        (TODAY + dt.timedelta(days=60), "due"),
        (TODAY + dt.timedelta(days=61), "valid"),
    ],
)
def test_a_certificate_runs_out_after_its_last_day(catalogue: Catalogue, until: dt.date | None, state: str) -> None:
    site = small_site()
    meters = tuple(m.model_copy(update={"certificate": Certificate(valid_until=until)}) for m in site.meters)
    plant = Plant(site.model_copy(update={"meters": meters}), small_plant().profiles)
    rows = inventory(Queries(plant, MemoryStore(), catalogue), T0)
    assert {row.certificate for row in rows} == {state}
    assert len(overdue(rows)) == (len(rows) if state == "overdue" else 0)
