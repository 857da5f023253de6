"""Every slot of the plan is received, or one thing explains its absence; late data changes days that were over."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.catalogue import Catalogue
from headend.completeness import Completeness, CompletenessLedger, MeterDay
from headend.completeness_book import CompletenessBook, DayBits, Rates
from headend.plant_days import midnight_ns
from headend.stores.api import Block
from headend.stores.embedded import EmbeddedStore
from meterline.readings import Column, MissingSpan, Shape
from meterline.wire import Health, LostRange
from tests.headend.gateway_twin import FLOAT, MINUTE, POWER, Twin, poll
from tests.headend.small_plant import HOUR, small_plant

PLANT = small_plant()
ZONE = PLANT.site.site.zone
DAY = dt.date(2026, 3, 2)
START = midnight_ns(ZONE, DAY)
END = START + 24 * HOUR
METERS = ("m-main", "m-p1", "m-p2", "m-p3")
FIGURES = {"fast_s": 60.0, "normal_s": 60.0, "slow_s": 900.0}


class Plant:
    def __init__(self, folder: Path) -> None:
        self.plant, self.store, self.catalogue = PLANT, EmbeddedStore(folder), Catalogue(folder)
        self.book = CompletenessBook(self.catalogue.path)
        self.job = Completeness(self.plant, self.store, self.catalogue, self.book)
        self.ledger = CompletenessLedger(self.plant, self.store, self.catalogue, self.book)
        self.twin = Twin("gw-1")
        self.now_ns = END + HOUR
        self.health()

    def health(self, **figures: float) -> None:
        said = Health("gw-1", self.twin.epoch, "running", START, 1, self.twin.seq + 1, self.twin.seq, "", False,
                      FIGURES | figures)  # fmt: skip
        self.catalogue.put_health(said, START)

    def batches(
        self,
        first: int,
        last: int,
        *,
        meters: Sequence[str] = METERS,
        missing: Sequence[MissingSpan] = (),
        step: int = 1,
    ) -> list[Block]:
        """Polls of a minute of the day to before another, a batch a quarter of an hour."""
        made = []
        slots = [START + k * MINUTE for k in range(first, last, step)]
        for k, (_, quarter) in enumerate(itertools.groupby(slots, lambda slot: slot // (15 * MINUTE))):
            part = list(quarter)
            polls = [poll(m, slot, 100.0 + slot / HOUR, 5000.0, shape=FLOAT) for slot in part for m in meters]
            made.append(self.twin.block(*polls, at_ns=part[-1] + MINUTE // 60, missing=() if k else missing))
        return made

    def feed(self, blocks: Sequence[Block]) -> None:
        self.store.append(blocks)
        self.job.once(self.now_ns)

    def day(self, meter: str, day: dt.date = DAY) -> MeterDay:
        (found,) = [one for one in self.ledger.days(day, day, self.now_ns) if one.meter == meter]
        return found

    def close(self) -> None:
        self.book.close()
        self.catalogue.close()
        self.store.close()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    yield made
    made.close()


def test_a_whole_day(at: Plant) -> None:
    at.feed(at.batches(-5, 1445))
    one = at.day("m-p1")
    assert (one.expected, one.received, one.share, one.complete, one.boundary) == (1440, 1440, 1.0, True, True)
    assert (one.late, one.empty, one.silent, one.lost, one.coming, one.off, one.unexplained) == (0, 0, {}, {}, 0, 0, 0)
    assert one.period_s == 60


def test_a_day_that_runs_expects_what_was_due(at: Plant) -> None:
    at.now_ns = START + 10 * HOUR
    at.feed(at.batches(0, 600))
    one = at.day("m-p1")
    assert one.expected == one.received == 600 - 2
    assert one.boundary is None
    assert at.ledger.days(DAY + dt.timedelta(days=1), DAY + dt.timedelta(days=9), at.now_ns) == []


def test_a_silent_meter_is_explained_by_its_gateway(at: Plant) -> None:
    span = MissingSpan("m-p2", START + 60 * MINUTE, START + 90 * MINUTE, "silent")
    lasting = MissingSpan("m-p3", START + 1000 * MINUTE, None, "line-down")
    at.feed([
        *at.batches(0, 60), *at.batches(60, 90, meters=("m-main", "m-p1", "m-p3"), missing=(span,)),
        *at.batches(90, 1000), *at.batches(1000, 1440, meters=("m-main", "m-p1", "m-p2"), missing=(lasting,)),
    ])  # fmt: skip
    two, three = at.day("m-p2"), at.day("m-p3")
    assert (two.received, two.silent, two.unexplained, two.complete) == (1410, {"silent": 30}, 0, True)
    assert (three.received, three.silent, three.complete) == (1000, {"line-down": 440}, False)
    assert at.day("m-main").received == 1440


def test_answers_without_a_value_are_no_values(at: Plant) -> None:
    blocks = at.batches(0, 100)
    slot = START + 100 * MINUTE
    empty = poll("m-p1", slot, None, 1.0, shape=FLOAT, qualities=(2, 0))
    blocks.append(at.twin.block(empty, *[poll(m, slot, 1.0, 1.0, shape=FLOAT) for m in METERS if m != "m-p1"]))
    at.feed([*blocks, *at.batches(101, 1440)])
    assert (at.day("m-p1").received, at.day("m-p1").empty, at.day("m-p1").unexplained) == (1439, 1, 0)


def test_a_gateway_that_was_off(at: Plant) -> None:
    at.feed([*at.batches(0, 300), *at.batches(420, 1440)])
    one = at.day("m-main")
    assert (one.received, one.off, one.unexplained, one.complete) == (1320, 120, 0, True)


def test_what_is_lost_carries_its_reason(at: Plant) -> None:
    blocks = at.batches(0, 600)
    at.batches(600, 700)  # numbers 41 to 47 are made, and never arrive
    lost = LostRange(at.twin.epoch, 41, 47, "quota")
    blocks += at.batches(700, 1440)
    at.feed([*blocks, at.twin.block(lost=(lost,), at_ns=END)])
    one = at.day("m-p1")
    assert (one.received, one.lost, one.unexplained) == (1340, {"quota": 100}, 0)


def test_what_has_not_come_yet_is_on_its_way_and_then_late(at: Plant) -> None:
    early, held_back, rest = at.batches(0, 600), at.batches(600, 700), at.batches(700, 1440)
    at.feed([*early, *rest])
    one = at.day("m-p1")
    assert (one.received, one.coming, one.unexplained) == (1340, 100, 0)
    at.feed([Block(b.message, b.digest, b.batch, END) for b in held_back])
    one = at.day("m-p1")
    assert (one.received, one.late, one.coming) == (1440, 100, 0), "a day that was over has changed"


def test_the_unsent_end_of_a_gateway_is_on_its_way(at: Plant) -> None:
    at.feed(at.batches(0, 1200))
    at.batches(1200, 1440)
    at.health()
    assert (at.day("m-p1").coming, at.day("m-p1").off) == (240, 0)


def test_what_nothing_explains_is_said_so(at: Plant) -> None:
    at.feed([*at.batches(0, 100), *at.batches(100, 110, meters=("m-main",)), *at.batches(110, 1440)])
    assert (at.day("m-p1").unexplained, at.day("m-main").unexplained) == (10, 0)


def test_a_meter_is_expected_from_its_first_poll_on(at: Plant) -> None:
    at.feed([*at.batches(0, 720, meters=("m-main",)), *at.batches(720, 1440)])
    assert (at.day("m-p1").expected, at.day("m-p1").received) == (720, 720)
    assert at.day("m-main").expected == 1440
    assert [d.meter for d in at.ledger.days(DAY - dt.timedelta(days=3), DAY, at.now_ns)] == list(METERS)


def test_a_meter_of_the_site_file_that_never_answers_is_expected_too(at: Plant) -> None:
    at.now_ns = START + HOUR
    at.feed(at.batches(0, 50, meters=("m-main",)))
    at.now_ns = END + HOUR
    at.feed(at.batches(50, 1440, meters=("m-main",)))
    one = at.day("m-p1")
    assert (one.expected, one.received, one.unexplained) == (1380, 0, 1380), "from when it was in the site file"


def test_what_the_audit_found_gone_is_no_longer_received(at: Plant) -> None:
    blocks = at.batches(0, 1440)
    at.feed(blocks)
    at.store.forget("gw-1", at.twin.epoch, list(range(1, 21)))
    at.job.reread("2026-03-01")
    at.job.once(at.now_ns)
    assert (at.day("m-p1").received, at.day("m-p1").coming) == (1140, 300)
    at.feed(blocks)
    assert at.day("m-p1").received == 1440


def test_another_rate_counts_from_when_it_was_told(at: Plant) -> None:
    at.feed(at.batches(0, 720))
    said = Health(
        "gw-1", at.twin.epoch, "running", START + 720 * MINUTE, 1, 1, 0, "", False, FIGURES | {"normal_s": 300.0}
    )
    at.catalogue.put_health(said, START)
    at.feed(at.batches(720, 1440, step=5))
    one = at.day("m-p1")
    assert (one.expected, one.received, one.period_s) == (720 + 144, 720 + 144, 300)


def test_without_a_word_of_the_gateway_the_usual_distance_counts(tmp_path: Path) -> None:
    at = Plant(tmp_path)
    at.catalogue.put_health(Health("gw-1", at.twin.epoch, "running", START), START)
    at.feed([*at.batches(0, 300, step=5), *at.batches(310, 1440, step=5)])
    assert (at.day("m-p1").expected, at.day("m-p1").received) == (288, 286)
    at.close()


def test_a_meter_without_a_counter_is_counted_by_its_power_and_polls_of_other_points_do_not_count(at: Plant) -> None:
    only_power = Shape("eastron-sdm630@2", (Column(POWER, -3),))
    slots = [START + k * MINUTE for k in range(1, 1440)]
    at.feed([*at.batches(0, 1), at.twin.block(*[poll("m-p1", slot, 5, shape=only_power) for slot in slots])])
    assert at.day("m-p1").received == 1


def test_the_boundary_wants_a_value_within_a_minute_of_both_midnights(at: Plant) -> None:
    at.feed(at.batches(3, 1440))
    assert at.day("m-p1").boundary is False
    other = Twin("gw-1", "00000000000000bb")
    at.store.append([other.block(poll("m-p1", START - MINUTE, 1.0, 1.0, shape=FLOAT), at_ns=START)])
    at.job.once(at.now_ns)
    assert at.day("m-p1").boundary is True


def test_a_day_of_23_hours(at: Plant) -> None:
    """Jinan has none; bits follow the day's own length."""
    bits = DayBits.none(23 * 3600)
    bits.seen[::60] = True
    at.book.add({("m-p1", DAY): bits}, {})
    (found,) = at.book.days(DAY, DAY).values()
    assert found.seen.size == 82_800
    assert int(found.seen.sum()) == 1380


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 86_399), unique=True, max_size=60), st.randoms(use_true_random=False))
def test_bits_add_up_in_any_order_and_however_often(
    tmp_path_factory: pytest.TempPathFactory, slots: list[int], rng: object
) -> None:
    folder = tmp_path_factory.mktemp("bits")
    catalogue = Catalogue(folder)
    book = CompletenessBook(catalogue.path)
    parts = [slots[::2], slots[1::2], slots[::3]]
    for part in parts:
        bits = DayBits.none(86_400)
        bits.seen[np.array(part, int)] = True
        book.add({("m", DAY): bits}, {"x": 1})
    ((_, found),) = book.days(DAY, DAY).items()
    assert sorted(np.flatnonzero(found.seen).tolist()) == sorted(slots)
    book.close()
    catalogue.close()


def test_a_rate_told_again_is_no_change(at: Plant) -> None:
    at.job.once(at.now_ns)
    at.job.once(at.now_ns)
    assert at.book.rates("gw-1") == [Rates(0, 60.0, 60.0, 900.0)]


def test_a_store_that_was_read_is_not_read_again(at: Plant) -> None:
    at.feed(at.batches(0, 10))
    before = at.book.cursor()
    at.job.once(at.now_ns)
    assert at.book.cursor() == before
