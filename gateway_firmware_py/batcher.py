"""Polls come in from the buses; about once a second they leave as one group commit.

The buses never wait for a disk: they only append to a list. One thread of its own takes the list to the `Keeper`, and
does the other slow things there too: saving the state, pruning, trying a broken disk again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway_firmware_py.health import MeterBook, Troubles
from gateway_firmware_py.keeper import Draft, Keeper
from gateway_firmware_py.state import State
from gateway_firmware_py.timekeeping import Timekeeper
from meterline.clock import Clock
from meterline.readings import NO_VALUE, ClockState, MissingSpan, Poll, Quality, Source
from meterline.wire import MAX_READINGS

WAITING_MOST = 400_000
"""Readings that may wait for a disk that has stopped answering; then the oldest are given up, as named silences."""
HELD_MOST = WAITING_MOST // 2
"""Readings that may wait for the clock to be set; then they are dated as well as it goes."""
SAVE_S, SAVE_ACKS, SAVE_MOST_S = 30.0, 200, 1800.0
"""State is saved half a minute after something that nobody else knows, or after so many acknowledgements, which the
head-end would tell again; and now and then in any case: each time costs a flash card some pages."""
_DOUBTS = {ClockState.UNSYNCED: int(Quality.CLOCK_UNSYNC), ClockState.STEPPED: int(Quality.CLOCK_STEP)}
_MS = 1_000_000
CHECK_S = 5.0
PRUNE_S = 60.0
FRAMES_S = 300.0


class Batcher:
    """The collector's sink, and the thread that commits.

    Parameters
    ----------
    commit_s
        Longest time a poll waits, in real time. [s]
    prune
        Called now and then to keep the disk within its quota.
    """

    def __init__(
        self,
        keeper: Keeper,
        state: State,
        clock: Clock,
        timekeeper: Timekeeper,
        book: MeterBook,
        troubles: Troubles,
        *,
        commit_s: float,
        prune: Callable[[], None] = lambda: None,
    ) -> None:
        self._keeper, self._state, self._clock, self._timekeeper = keeper, state, clock, timekeeper
        self._book, self._troubles, self._commit_s, self._prune = book, troubles, commit_s, prune
        self._wake = threading.Condition()
        self._polls: list[Poll] = []
        self._redated: dict[int, list[Poll]] = {}  # correction in ms -> polls stamped by a clock nobody had set
        self._held: list[tuple[Poll | MissingSpan, int]] = []  # with the clock's era
        self._held_readings = 0
        self._missing: list[MissingSpan] = []
        self._readings = 0
        self._open = state.silences()
        self._errands: list[Callable[[], None]] = []
        self._saved_s = self._pruned_s = self._checked_s = self._framed_s = clock.monotonic_s()
        self._turned_away: dict[str, tuple[int, int]] = {}  # meter -> first and last slot, while the quota is full
        self._ending = False
        self.full = False
        """The quota is full of what nobody has acknowledged, and the settings say to take nothing new."""
        self.stopped_ns = keeper.newest_ns()
        """When the gateway last kept something before this start; 0 if it never did. [ns]"""
        self.commits = 0
        self.slowest_commit_s = 0.0
        self.progress_s = clock.monotonic_s()

    # --- the collector's side --------------------------------------------------------------------------------------

    def poll(self, poll: Poll) -> None:
        """Take one poll; returns at once."""
        answered = self._book.poll(poll)
        if poll.source is Source.METER_MEMORY:  # a moment by the meter's own clock, no sign of life
            self._take(_marked(poll, self._timekeeper.state), answered=False)
        elif self._timekeeper.holding or self._timekeeper.shift_ns:
            self._hold(poll, poll.slot_ns + max(poll.delays_ms, default=0) * _MS, len(poll.numbers))
        else:
            self._take(_marked(poll, self._timekeeper.state), answered)

    def missing(self, span: MissingSpan) -> None:
        """Take the beginning or the end of a meter's silence; returns at once."""
        self._book.missing(span)
        if self._timekeeper.holding or self._timekeeper.shift_ns:
            self._hold(span, span.start_ns if span.end_ns is None else span.end_ns, 1)
        else:
            self._take_silence(span)

    def _hold(self, item: Poll | MissingSpan, stamped_ns: int, readings: int) -> None:
        era = self._timekeeper.era_of(stamped_ns)
        with self._wake:
            self._held.append((item, era))
            self._held_readings += readings
            if self._held_readings >= HELD_MOST:
                self._timekeeper.give_up_waiting()

    def _release(self) -> None:
        """The clock is set: date what waited for it, in the order it came."""
        with self._wake:
            held, self._held, self._held_readings = self._held, [], 0
        for item, era in held:
            by_ns = self._timekeeper.correction_ns(era)
            if isinstance(item, MissingSpan):
                end_ns = None if item.end_ns is None else item.end_ns + by_ns
                self._take_silence(replace(item, start_ns=item.start_ns + by_ns, end_ns=end_ns))
                continue
            answered = any(not bits & NO_VALUE for bits in item.qualities) or not item.qualities
            if by_ns == 0:
                self._take(_marked(item, self._timekeeper.state), answered)
            else:
                poll = _marked(replace(item, slot_ns=item.slot_ns + by_ns), ClockState.UNSYNCED)
                self._take(poll, answered, redated_ms=by_ns // _MS)

    def _take(self, poll: Poll, answered: bool, *, redated_ms: int = 0) -> None:
        with self._wake:
            if self.full:
                first_ns, last_ns = self._turned_away.get(poll.meter, (poll.slot_ns, poll.slot_ns))
                self._turned_away[poll.meter] = min(first_ns, poll.slot_ns), max(last_ns, poll.slot_ns)
                self._state.count("polls-turned-away")
                return
            span = self._open.get(poll.meter)
            if span is not None and answered:
                # A silence that had begun before a restart ends with the first answer after it.
                self._end(replace(span, end_ns=poll.slot_ns))
            if redated_ms:
                self._redated.setdefault(redated_ms, []).append(poll)
                return
            self._polls.append(poll)
            self._readings += len(poll.numbers)
            if self._readings >= WAITING_MOST:
                self._give_up_oldest()
            if len(self._polls) == 1 or self._readings >= MAX_READINGS:
                self._wake.notify()

    def _take_silence(self, span: MissingSpan) -> None:
        with self._wake:
            known = self._open.get(span.meter)
            if span.end_ns is None:
                if known is not None:  # it was silent before the restart, and still is
                    return
                self._open[span.meter] = span
                self._state.note_silence(span)
                self._missing.append(span)
            else:
                self._end(span if known is None else replace(known, end_ns=max(span.end_ns, known.start_ns)))
            self._wake.notify()

    def errand(self, what: Callable[[], None]) -> None:
        """Have something done by the committing thread."""
        with self._wake:
            self._errands.append(what)
            self._wake.notify()

    @property
    def held_readings(self) -> int:
        """How many wait for the clock to be set."""
        return self._held_readings

    # --- the committing side ---------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Commit until told to stop, then once more."""
        while not stop.is_set():
            with self._wake:
                if not (self._polls or self._missing or self._errands):
                    self._wake.wait(timeout=min(self._commit_s, 1.0))
                deadline_s = self._clock.monotonic_s() + self._commit_s
                while (
                    self._polls
                    and self._readings < MAX_READINGS
                    and not self._errands
                    and not stop.is_set()
                    and (left_s := deadline_s - self._clock.monotonic_s()) > 0
                ):
                    self._wake.wait(timeout=min(left_s, 1.0))
            self.flush()
            self.keep_house()
        self._timekeeper.give_up_waiting()
        self._ending = True
        self.flush()
        self.save()

    def flush(self) -> None:
        """Commit everything that waits."""
        with self._wake:
            errands, self._errands = self._errands, []
        for errand in errands:
            errand()
        self._keeper.recover()
        waits = self._timekeeper.holding
        self._troubles.set("clock", "not set yet: what is read waits until it is" if waits else "")
        if waits:
            self.progress_s = self._clock.monotonic_s()
            return
        if self._held:
            self._release()
        with self._wake:
            if self._turned_away and (not self.full or self._ending):
                for meter, (first_ns, last_ns) in self._turned_away.items():
                    self._missing.append(MissingSpan(meter, first_ns, last_ns + _MS, "gateway-full"))
                self._turned_away.clear()
            polls, self._polls = self._polls, []
            redated, self._redated = self._redated, {}
            missing, self._missing = self._missing, []
            self._readings = 0
        began_s = self._clock.monotonic_s()
        waiting = drafts(polls, missing)
        for by_ms, group in redated.items():
            waiting += [replace(draft, redated_ms=by_ms) for draft in drafts(group, [])]
        if self._keeper.keep(waiting):
            self.commits += 1
            took_s = self._clock.monotonic_s() - began_s
            self.slowest_commit_s = max(self.slowest_commit_s, took_s)
            self._troubles.set("disk-slow", f"a commit took {took_s:.1f} s" if took_s > 1.0 else "")
        self._troubles.set("journal", self._keeper.trouble)
        self._troubles.set("quota", "full of what nobody has acknowledged; nothing new is taken" if self.full else "")
        self.progress_s = self._clock.monotonic_s()

    def save(self) -> None:
        """Write the cursors down."""
        try:
            self._state.save()
            self._troubles.set("state", "")
        except sqlite3.Error as error:
            self._troubles.set("state", str(error))
        self._saved_s = self._clock.monotonic_s()

    def keep_house(self) -> None:
        """What is due now and then: save the cursors, look after the disk, give up what is not needed."""
        now_s = self._clock.monotonic_s()
        waited_s = now_s - self._saved_s
        due = self._state.pressing or self._state.unsaved_acks >= SAVE_ACKS
        if (waited_s >= SAVE_S and due) or waited_s >= SAVE_MOST_S:
            self.save()
        if now_s - self._checked_s >= CHECK_S:
            self._checked_s = now_s
            self._keeper.check_disk()
        if now_s - self._framed_s >= FRAMES_S:
            self._framed_s = now_s
            self._keeper.write_frames()
        if now_s - self._pruned_s >= PRUNE_S:
            self._pruned_s = now_s
            try:
                self._prune()
                self._troubles.set("prune", "")
            except OSError as error:
                self._troubles.set("prune", f"{error.strerror or error}")

    def _end(self, span: MissingSpan) -> None:
        self._open.pop(span.meter, None)
        self._state.note_silence(span)
        self._missing.append(span)

    def _give_up_oldest(self) -> None:
        half = len(self._polls) // 2
        given_up, self._polls = self._polls[:half], self._polls[half:]
        self._readings = sum(len(poll.numbers) for poll in self._polls)
        spans: dict[str, list[int]] = {}
        for poll in given_up:
            spans.setdefault(poll.meter, []).append(poll.slot_ns)
        for meter, slots in spans.items():
            self._missing.append(MissingSpan(meter, min(slots), max(slots) + 1_000_000, "gateway-overrun"))
        self._state.count("polls-given-up", len(given_up))


def _marked(poll: Poll, state: ClockState) -> Poll:
    """With the doubt about its stamps: in the clock state, and on every number."""
    clock = state if poll.clock is ClockState.SYNCED else poll.clock
    doubt = _DOUBTS.get(clock)
    if doubt is None:
        return poll
    before = poll.qualities or (0,) * len(poll.numbers)
    return replace(poll, clock=clock, qualities=tuple(bits | doubt for bits in before))


def drafts(polls: Sequence[Poll], missing: Sequence[MissingSpan]) -> list[Draft]:
    """Cut polls into batches of at most `MAX_READINGS`; polls of one shape stand together, as they will be sent."""
    shapes: dict[str, list[Poll]] = {}
    for poll in polls:
        shapes.setdefault(poll.shape.id, []).append(poll)
    made: list[Draft] = []
    batch: list[Poll] = []
    readings = 0
    for group in shapes.values():
        for poll in group:
            if batch and readings + len(poll.numbers) > MAX_READINGS:
                made.append(Draft(tuple(batch)))
                batch, readings = [], 0
            batch.append(poll)
            readings += len(poll.numbers)
    if batch or missing:
        made.append(Draft(tuple(batch), tuple(missing)))
    return made
