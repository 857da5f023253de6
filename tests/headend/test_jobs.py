"""The rounds: intervals, chain, detectors; one meter's failure is its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analytics.detectors import run_detectors
from headend import jobs as rounds
from headend.catalogue import Catalogue
from headend.findings import FindingsBook
from headend.jobs import Jobs
from headend.ledger import Link
from headend.stores.api import Span
from headend.stores.memory import MemoryStore
from headend.supervise import FIRST_PAUSE_S, Supervisor
from headend.windows import off_hours_of, window_of
from meterline.clock import ManualClock
from meterline.plant import Plant
from meterline.readings import MissingSpan
from meterline.wire import GENESIS
from tests.headend.gateway_twin import ENERGY, FLOAT, MINUTE, POWER, Twin, poll
from tests.headend.small_plant import HOUR, T0, small_plant, small_site

METERS = ("m-main", "m-p1", "m-p2", "m-p3")
"""Those of gw-1."""


class Round:
    """A plant whose first gateway delivers every minute."""

    def __init__(self, folder: Path) -> None:
        self.plant: Plant = small_plant()
        self.store, self.catalogue = MemoryStore(), Catalogue(folder)
        self.book = FindingsBook(self.catalogue.path, self.plant)
        self.clock, self.supervisor = ManualClock(T0), Supervisor()
        self.twin, self.heard = Twin(), {"gw-1": T0}
        self.jobs = Jobs(
            self.plant, self.store, self.catalogue, self.book, self.clock, self.supervisor, heard=lambda: self.heard
        )

    def feed(self, first: int, last: int, *, without: tuple[str, ...] = ()) -> None:
        for k in range(first, last):
            slot = T0 + k * MINUTE
            # every meter draws a little differently, or the detectors would rightly call it frozen
            polls = [
                poll(m, slot, 1000 + k * 0.5 + n * 100, 30_000.0 + 250 * ((k * (n + 7)) % 11), shape=FLOAT)
                for n, m in enumerate(METERS)
                if m not in without
            ]
            self.store.append([self.twin.block(*polls, at_ns=slot)])
        self.heard["gw-1"] = T0 + last * MINUTE

    def round(self, minute: float) -> None:
        self.clock.t_ns = T0 + round(minute * MINUTE)
        self.jobs.once(self.clock.t_ns)

    def open_kinds(self) -> dict[str, tuple[str, ...]]:
        return {entry.kind: entry.meters for entry in self.book.entries(now_ns=self.clock.t_ns)}

    def close(self) -> None:
        self.book.close()
        self.catalogue.close()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Round]:
    made = Round(tmp_path)
    yield made
    made.close()


def test_a_plant_that_begins_has_missed_nothing(at: Round) -> None:
    at.round(0)
    at.feed(0, 30)
    at.round(30)
    assert at.supervisor.troubles.now == {}
    assert at.open_kinds() == {}
    assert len(at.catalogue.intervals("m-p1", ENERGY, "15min", Span(0, 2**62))) == 2


def test_what_is_still_on_the_way_is_not_missing(at: Round) -> None:
    """The uplink is 40 minutes behind, but the gateway is heard: nothing is silent."""
    at.feed(0, 60)
    at.heard["gw-1"] = T0 + 100 * MINUTE
    at.round(100)
    assert at.open_kinds() == {}


def test_a_meter_that_stops_among_others_is_silent(at: Round) -> None:
    at.feed(0, 30)
    at.feed(30, 60, without=("m-p2",))
    at.round(60)
    assert at.open_kinds() == {"gap": ("m-p2",)}


def test_a_gateway_that_is_away_is_one_finding(at: Round) -> None:
    at.feed(0, 60)
    at.round(60)
    at.round(120)
    assert at.open_kinds() == {"gap": METERS}
    (entry,) = at.book.entries(now_ns=at.clock.t_ns)
    assert (entry.scope, entry.subject) == ("gateway", "gw-1")


def test_one_meter_that_fails_is_alone(at: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    at.feed(0, 30)
    at.feed(30, 60, without=("m-p2",))
    real = run_detectors

    def fails(context: object, window: object) -> object:
        if getattr(context, "meter", "") == "m-p1":
            raise ZeroDivisionError("of a detector")
        return real(context, window)  # type: ignore[arg-type]

    monkeypatch.setattr(rounds, "run_detectors", fails)
    at.round(60)
    assert set(at.supervisor.troubles.now) == {"detectors of m-p1"}
    assert "ZeroDivisionError" in at.supervisor.troubles.now["detectors of m-p1"]
    assert at.open_kinds() == {"gap": ("m-p2",)}
    monkeypatch.undo()
    at.round(61)
    assert at.supervisor.troubles.now == {}


def test_a_broken_chain_is_written_down_once(at: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    at.feed(0, 5)
    at.round(5)
    assert at.catalogue.chain_breaks() == []
    real = at.store.links

    def tampered(gateway: str, epoch: str, after: int, most: int) -> list[Link]:
        links = real(gateway, epoch, after, most)
        return [replace(link, digest=bytes(32)) if link.seq == 7 else link for link in links]

    monkeypatch.setattr(at.store, "links", tampered)
    at.feed(5, 10)
    at.round(10)
    at.round(11)
    assert at.catalogue.chain_breaks() == [("gw-1", at.twin.epoch, 8)]


def test_a_chain_waits_for_its_holes(at: Round) -> None:
    blocks = [at.twin.block(poll("m-p1", T0 + k * MINUTE, 1.0, 1.0, shape=FLOAT)) for k in range(5)]
    assert blocks[0].batch.prev == GENESIS
    at.store.append([blocks[0], blocks[3], blocks[4]])
    at.round(1)
    assert str(at.catalogue.mark("chain", f"gw-1/{at.twin.epoch}")).startswith("1 ")
    at.store.append(blocks[1:3])
    at.round(2)
    assert str(at.catalogue.mark("chain", f"gw-1/{at.twin.epoch}")).startswith("5 ")
    assert at.catalogue.chain_breaks() == []


def test_the_last_step_of_a_round_gets_its_time(tmp_path: Path) -> None:
    made = Round(tmp_path)
    told: list[int] = []
    Jobs(
        made.plant, made.store, made.catalogue, made.book, made.clock, made.supervisor,
        heard=dict, after=told.append,
    ).once(T0 + 5)  # fmt: skip
    assert told == [T0 + 5]
    made.close()


# --- what detectors are shown ---------------------------------------------------------------------------------------


def test_a_window_is_primary_and_knows_the_silences(at: Round) -> None:
    at.feed(0, 10)
    at.store.append([at.twin.block(at_ns=T0, missing=[MissingSpan("m-p1", T0 + 10 * MINUTE, None, "silent")])])
    context, window = window_of(at.plant, at.store, at.plant.meters["m-p1"], Span(T0, T0 + 20 * MINUTE))
    assert (context.poll_ns, context.counter_name, context.power_name, context.rated_kw) == (MINUTE, ENERGY, POWER, 250)
    assert window.gauges[POWER].value[:2].tolist() == [30.0, 30.0 + 0.25 * 8]
    assert window.counters[ENERGY].micro[:2].tolist() == [1_100_000_000, 1_100_500_000]
    assert [(s.start_ns, s.end_ns) for s in window.silent] == [(T0 + 10 * MINUTE, T0 + 20 * MINUTE)]


def test_off_hours_are_what_the_shifts_leave(at: Round) -> None:
    """Monday to Friday 08:00-20:00 in Jinan; T0 is Monday 16:00 there."""
    document = small_site().model_dump(by_alias=True)
    document["site"]["calendar"]["shifts"] = (
        {"days": ("mon", "tue", "wed", "thu", "fri"), "from": "08:00", "to": "20:00"},
    )
    plant = Plant(type(small_site()).model_validate(document, strict=False), at.plant.profiles)
    spans = off_hours_of(plant, Span(T0, T0 + 36 * HOUR))
    assert [((s.start_ns - T0) / HOUR, (s.end_ns - T0) / HOUR) for s in spans] == [(4, 16), (28, 36)]
    friday = T0 + 4 * 24 * HOUR
    (weekend,) = off_hours_of(plant, Span(friday, friday + 72 * HOUR))[:1]
    assert ((weekend.start_ns - friday) / HOUR, (weekend.end_ns - friday) / HOUR) == (4, 64)
    assert off_hours_of(at.plant, Span(T0, T0 + 36 * HOUR)) == ()


# --- supervision ----------------------------------------------------------------------------------------------------


def test_a_thread_that_fails_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    supervisor, runs, done = Supervisor(), list[int](), threading.Event()

    def run() -> None:
        runs.append(1)
        if len(runs) < 2:
            raise RuntimeError("first time")
        done.set()
        supervisor.stopping.wait()

    supervisor.start("worker", run)
    assert done.wait(FIRST_PAUSE_S + 5)
    assert supervisor.stop(5) == []
    assert len(runs) == 2
    assert "RuntimeError: first time" in caplog.text


def test_a_trouble_is_said_once_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor()

    def fail() -> None:
        raise ValueError("same")

    for _ in range(5):
        assert isinstance(supervisor.attempt("work", fail), ValueError)
    assert len(caplog.records) == 1
    assert supervisor.attempt("work", lambda: None) is None
    assert supervisor.troubles.now == {}
    with pytest.raises(ValueError, match="same"):
        supervisor.attempt("work", fail, but=(ValueError,))
