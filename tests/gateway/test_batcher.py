"""Polls in, batches out: nothing waits for the disk, nothing is dropped without a word."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from gateway_firmware_py.batcher import Batcher, drafts
from gateway_firmware_py.health import MeterBook, Troubles
from gateway_firmware_py.state import State
from gateway_firmware_py.timekeeping import Machine, Timekeeper
from meterline.clock import ManualClock
from meterline.readings import ClockState, MissingSpan, Quality, Source
from meterline.wire import MAX_READINGS, Batch, unseal
from tests.gateway.memory_files import MemoryFiles
from tests.gateway.polls import SHAPE, T0_NS, poll
from tests.gateway.rig import Rig, numbers_of
from tests.servers.waiting import wait_until

SET = Machine(synchronised=lambda: True)


class Bench:
    """A batcher on a keeper on a disk in memory."""

    def __init__(self, state: State | None = None, clock: Any = None) -> None:
        self.rig = Rig(MemoryFiles(), state, segment_bytes=1 << 20)
        self.said: list[str] = []
        self.book, self.troubles = MeterBook(), Troubles(self.said.append)
        self.timekeeper = Timekeeper(clock or ManualClock(T0_NS), SET)
        self.batcher = Batcher(
            self.rig.keeper, self.rig.state, self.rig.clock, self.timekeeper, self.book, self.troubles, commit_s=0.02
        )

    def batches(self) -> list[Batch]:
        return [unseal(sealed.message) for sealed in self.rig.sent]


def test_what_waits_becomes_one_group_commit() -> None:
    bench = Bench()
    for n in range(1, 6):
        bench.batcher.poll(poll(n))
    assert bench.rig.sent == []
    bench.batcher.flush()
    assert [b.seq for b in bench.batches()] == [1]
    assert numbers_of(bench.rig.sent) == [1, 2, 3, 4, 5]
    bench.batcher.flush()
    assert len(bench.rig.sent) == 1, "nothing new, nothing kept"


def test_a_batch_holds_at_most_so_many_readings_and_shapes_stand_together() -> None:
    other = replace(SHAPE, profile="other@1")
    polls = [poll(n) if n % 2 else replace(poll(n), shape=other) for n in range(400)]
    made = drafts(polls, [])
    assert all(sum(len(p.numbers) for p in draft.polls) <= MAX_READINGS for draft in made)
    flat = [p for draft in made for p in draft.polls]
    assert sorted(flat, key=lambda p: p.slot_ns) == polls
    assert [p.shape.profile for p in flat] == ["other@1"] * 200 + ["test-meter@1"] * 200
    assert len(made) == 3


def test_the_thread_commits_in_time_and_once_more_at_the_end() -> None:
    bench = Bench()
    bench.rig.clock = ManualClock(T0_NS)
    stop = threading.Event()
    thread = threading.Thread(target=bench.batcher.run, args=(stop,))
    # real time here: the thread waits on a condition, and that is what is tested
    bench.batcher._clock = _RealClock()
    thread.start()
    try:
        bench.batcher.poll(poll(1))
        wait_until(lambda: numbers_of(bench.rig.sent) == [1], within=3, what="the first commit")
        bench.batcher._commit_s = 30.0
        bench.batcher.poll(poll(2))
    finally:
        stop.set()
        bench.batcher.errand(lambda: None)
        thread.join(5)
    assert numbers_of(bench.rig.sent) == [1, 2]


class _RealClock(ManualClock):
    def monotonic_s(self) -> float:
        import time

        return time.monotonic()


def test_a_full_batch_does_not_wait_for_the_clock() -> None:
    bench = Bench()
    bench.batcher._commit_s = 3600.0
    bench.batcher._clock = _RealClock()
    stop = threading.Event()
    thread = threading.Thread(target=bench.batcher.run, args=(stop,))
    thread.start()
    try:
        for n in range(170):
            bench.batcher.poll(poll(n))
        wait_until(lambda: len(bench.rig.sent) >= 1, within=3, what="a commit of a full batch")
    finally:
        stop.set()
        bench.batcher.errand(lambda: None)
        thread.join(5)


def test_a_silence_has_one_beginning_and_one_end() -> None:
    bench = Bench()
    begun, ended = MissingSpan("m1", T0_NS, None, "silent"), MissingSpan("m1", T0_NS, T0_NS + 60_000_000_000, "silent")
    bench.batcher.missing(begun)
    bench.batcher.flush()
    assert bench.rig.state.silences() == {"m1": begun}
    assert bench.book.meters()["m1"][1] == "silent"
    bench.batcher.missing(ended)
    bench.batcher.flush()
    assert [span for batch in bench.batches() for span in batch.missing] == [begun, ended]
    assert bench.rig.state.silences() == {}
    assert bench.book.meters()["m1"][1] == ""


def test_a_silence_that_outlasts_a_restart_stays_one() -> None:
    state = State()
    state.note_silence(MissingSpan("m1", T0_NS, None, "silent"))
    bench = Bench(state)
    bench.batcher.missing(MissingSpan("m1", T0_NS + 120_000_000_000, None, "silent"))  # the new process notices it, too
    bench.batcher.flush()
    assert bench.rig.sent == []
    bench.batcher.missing(MissingSpan("m1", T0_NS + 120_000_000_000, T0_NS + 180_000_000_000, "silent"))
    bench.batcher.flush()
    (span,) = bench.batches()[0].missing
    assert span == MissingSpan("m1", T0_NS, T0_NS + 180_000_000_000, "silent")


def test_the_first_answer_after_a_restart_ends_the_silence_before_it() -> None:
    state = State()
    state.note_silence(MissingSpan("m1", T0_NS, None, "silent"))
    bench = Bench(state)
    bench.batcher.poll(poll(300))
    bench.batcher.flush()
    assert bench.batches()[0].missing == (MissingSpan("m1", T0_NS, T0_NS + 300_000_000_000, "silent"),)
    assert state.silences() == {}


def test_an_answer_without_a_value_ends_nothing() -> None:
    state = State()
    state.note_silence(MissingSpan("m1", T0_NS, None, "silent"))
    bench = Bench(state)
    empty = replace(poll(1), numbers=(None, None, None), qualities=(int(Quality.INVALID),) * 3)
    bench.batcher.poll(empty)
    bench.batcher.flush()
    assert bench.batches()[0].missing == ()
    assert bench.book.readings_without_value == 3


def test_a_restart_knows_when_it_stopped() -> None:
    """So that what the meters remember of the time between can be asked for."""
    bench = Bench()
    assert bench.batcher.stopped_ns == 0
    bench.batcher.poll(poll(1))
    bench.batcher.flush()
    kept_ns = unseal(bench.rig.sent[-1].message).at_ns
    again = Batcher(
        bench.rig.keeper, bench.rig.state, bench.rig.clock, bench.timekeeper, bench.book, bench.troubles, commit_s=0.02
    )
    assert again.stopped_ns == kept_ns > 0


def test_what_a_meter_remembered_is_no_sign_of_life() -> None:
    """A silence is ended by an answer of now, and a meter's last slot is not yesterday's midnight."""
    bench = Bench()
    bench.batcher.missing(MissingSpan("m1", T0_NS, None, "silent"))
    bench.batcher.poll(replace(poll(7), meter="m1", source=Source.METER_MEMORY))
    bench.batcher.flush()
    (batch,) = bench.batches()
    assert [p.source for p in batch.polls] == [Source.METER_MEMORY]
    assert [span.end_ns for span in batch.missing] == [None]
    assert bench.book.meters()["m1"][0] == 0


def test_a_disk_that_never_answers_costs_named_silences_not_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_firmware_py.batcher.WAITING_MOST", 300)
    bench = Bench()
    for n in range(150):
        bench.batcher.poll(poll(n))
    assert bench.batcher._readings < 300
    bench.batcher.flush()
    kept = set(numbers_of(bench.rig.sent))
    spans = [span for batch in bench.batches() for span in batch.missing]
    assert {span.cause for span in spans} == {"gateway-overrun"}
    for n in range(150):
        slot = poll(n).slot_ns
        assert (n in kept) != any(span.start_ns <= slot < (span.end_ns or 0) for span in spans)
    assert bench.rig.state.counters()["polls-given-up"] == 150 - len(kept)


def test_stamps_of_an_unsynchronised_clock_are_marked() -> None:
    bench = Bench()
    bench.timekeeper.state = ClockState.UNSYNCED
    bench.batcher.poll(replace(poll(1), clock=ClockState.SYNCED))
    bench.batcher.poll(replace(poll(2), clock=ClockState.STEPPED))
    bench.batcher.flush()
    assert [p.clock for p in bench.batches()[0].polls] == [ClockState.UNSYNCED, ClockState.STEPPED]


def test_a_slow_commit_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    keep = bench.rig.keeper.keep

    def slow(what: Any) -> Any:
        bench.rig.clock.advance(2.5)
        return keep(what)

    monkeypatch.setattr(bench.rig.keeper, "keep", slow)
    for n in range(3):
        bench.batcher.poll(poll(n))
        bench.batcher.flush()
    assert bench.said == ["disk-slow: a commit took 2.5 s"]
    monkeypatch.undo()
    bench.batcher.poll(poll(4))
    bench.batcher.flush()
    assert bench.said[-1] == "disk-slow: over"


def test_what_a_full_quota_turns_away_is_one_named_silence_per_meter() -> None:
    bench = Bench()
    bench.batcher.full = True
    for n in range(1, 6):
        bench.batcher.poll(poll(n))
        bench.batcher.poll(poll(n, meter="m2"))
        bench.batcher.flush()
    assert bench.rig.sent == []
    assert any("quota" in text for text in bench.troubles.now())
    bench.batcher.full = False
    bench.batcher.poll(poll(6))
    bench.batcher.flush()
    (batch,) = bench.batches()
    ends = T0_NS + 5_000_000_000 + 1_000_000
    assert batch.missing == tuple(MissingSpan(m, T0_NS + 1_000_000_000, ends, "gateway-full") for m in ("m1", "m2"))
    assert numbers_of(bench.rig.sent) == [6]
    assert bench.troubles.now() == ()
    assert bench.rig.state.counters()["polls-turned-away"] == 10


def test_what_was_turned_away_is_named_at_the_end_at_the_latest() -> None:
    bench = Bench()
    bench.batcher.full = True
    bench.batcher.poll(poll(1))
    stop = threading.Event()
    stop.set()
    bench.batcher.run(stop)
    assert [span.cause for batch in bench.batches() for span in batch.missing] == ["gateway-full"]
