"""What people and programs are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headend.catalogue import Catalogue
from headend.queries import FRESH_NS, Queries
from headend.rollup import Rollup
from headend.stores.api import Span
from headend.stores.memory import MemoryStore
from headend.supervise import Supervisor
from meterline.errors import StoreUnavailable
from meterline.readings import Quality
from meterline.wire import Health
from tests.headend.gateway_twin import ENERGY, FLOAT, MINUTE, POWER, Twin, poll
from tests.headend.small_plant import HOUR, T0, small_plant


class Told:
    def __init__(self, folder: Path) -> None:
        self.plant, self.store, self.catalogue = small_plant(), MemoryStore(), Catalogue(folder)
        self.queries = Queries(self.plant, self.store, self.catalogue)
        self.twin = Twin()

    def feed(self, meters: tuple[str, ...], first: int, last: int, kw: float = 60.0) -> None:
        for k in range(first, last):
            slot = T0 + k * MINUTE
            polls = [poll(m, slot, 500 + kw * k / 60, kw * 1000, shape=FLOAT, delays=(0,)) for m in meters]
            self.store.append([self.twin.block(*polls, at_ns=slot)])

    def roll(self, minute: int) -> int:
        now = T0 + minute * MINUTE
        Rollup(self.plant, self.store, self.catalogue).run(now, Supervisor().isolated)
        return now


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.catalogue.close()


def test_an_energy_user_is_what_its_top_meters_measure(told: Told) -> None:
    told.feed(("m-main", "m-p1", "m-p2"), 0, 61)
    now = told.roll(60)
    users = {user.user: user for user in told.queries.overview(now)}
    (works,) = users["works"].carriers
    assert (works.power, works.fresh, works.meters) == (60.0, 1, 1), "the incomer alone, not its sub-meters again"
    assert works.today == pytest.approx(60.0)
    assert works.today_coverage == pytest.approx(60 / (16 * 60 + 60), abs=1e-3), "midnight to 16:00 was not measured"
    (press,) = users["press"].carriers
    assert (press.power, press.fresh, press.meters) == (120.0, 2, 3)
    assert users["works"].silent == ("m-p3", "m-c1", "m-c2")
    assert users["works"].ok == 3


def test_an_old_value_is_not_now(told: Told) -> None:
    told.feed(("m-main",), 0, 10)
    now = T0 + 9 * MINUTE + FRESH_NS
    (works,) = told.queries.overview(now)[0].carriers
    assert (works.power, works.power_age_s) == (60.0, FRESH_NS / 10**9)
    (works,) = told.queries.overview(now + 1)[0].carriers
    assert (works.power, works.power_age_s, works.fresh, works.today) == (None, None, 0, None)


def test_a_thinned_curve_hides_neither_peaks_nor_gaps(told: Told) -> None:
    told.feed(("m-main",), 0, 300)
    told.feed(("m-main",), 300, 301, kw=240.0)
    told.feed(("m-main",), 301, 600)
    told.feed(("m-main",), 700, 1000)
    curve = told.queries.curve("m-main", POWER, Span(T0, T0 + 1000 * MINUTE), most=50)
    assert curve.t_ns.size <= 51
    assert curve.step_ns == 30 * MINUTE
    assert (curve.t_ns % curve.step_ns == 15 * MINUTE).all()
    assert np.nanmax(curve.high) == 240.0
    assert np.nanmin(curve.low) == 60.0
    inside = (curve.t_ns > T0 + 620 * MINUTE) & (curve.t_ns < T0 + 690 * MINUTE)
    assert inside.sum() >= 2
    assert np.isnan(curve.value[inside]).all()
    assert (curve.quality[inside] == int(Quality.MISSING)).all()


def test_a_line_breaks_where_nothing_was_measured(told: Told) -> None:
    told.feed(("m-main",), 0, 10)
    told.feed(("m-main",), 20, 30)
    curve = told.queries.curve("m-main", POWER, Span(T0, T0 + HOUR))
    assert (curve.step_ns, curve.t_ns.size) == (0, 21)
    assert np.flatnonzero(np.isnan(curve.value)).tolist() == [10]
    counter = told.queries.curve("m-main", ENERGY, Span(T0, T0 + HOUR))
    assert counter.value[0] == 500.0
    assert told.queries.curve("nobody", POWER, Span(T0, T0 + HOUR)).t_ns.size == 0


def test_the_state_of_everything_is_json(told: Told) -> None:
    told.feed(("m-main", "stranger"), 0, 5)
    told.feed(("m-main",), 6, 7)
    told.catalogue.put_health(Health("gw-1", told.twin.epoch, "running", T0, figures={"backlog": 3.0}), T0)
    told.catalogue.quarantine(T0, "ml1/up/gw-9/batch", "unknown-gateway", "gw-9", b"...")
    now = T0 + 7 * MINUTE
    status = json.loads(json.dumps(told.queries.status(now)))
    gateway = status["gateways"]["gw-1"]
    assert gateway["received"] == {told.twin.epoch: [[1, 6]]}
    assert gateway["holes"] == {told.twin.epoch: []}
    assert (gateway["state"], gateway["heard_s_ago"], gateway["figures"]) == ("running", 420.0, {"backlog": 3.0})
    assert status["store"] == {"batches": 6, "readings": 22, "last_slot_ns": T0 + 6 * MINUTE, "lag_s": 60.0}
    assert status["quarantine"] == {"unknown-gateway": 1}
    assert status["unknown_meters"] == ["stranger"]
    assert status["meters"]["silent"] == ["m-p1", "m-p2", "m-p3", "m-c1", "m-c2"]
    assert status["findings"] == {"info": 0, "warning": 0, "alarm": 0}


def test_before_the_first_start_there_is_nothing_to_ask(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="has not run yet"):
        Catalogue(tmp_path, write=False)


def test_a_catalogue_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    with catalogue.transaction() as db:
        db.execute("UPDATE schema_versions SET version = 99 WHERE name = 'catalogue'")
    catalogue.close()
    with pytest.raises(StoreUnavailable, match="version 99"):
        Catalogue(tmp_path)
