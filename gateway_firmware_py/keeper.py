"""Where a batch gets its number, its link in the chain and its signature, and is made to last.

With a disk that works that means the journal, before anybody hears of the batch. With a disk that does not (full, read
only, dying), live data goes on from memory: under an epoch of its own, so that whatever the disk may still hold after
a restart, no number is ever used for two different batches. As soon as the disk is back, what is in memory moves there
and the epoch goes on.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway_firmware_py.audit import HourBook
from gateway_firmware_py.frames import FrameRing
from gateway_firmware_py.journal import Journal, new_epoch
from gateway_firmware_py.state import State
from meterline.clock import NS, Clock
from meterline.errors import JournalError, WireError
from meterline.ranges import RangeSet
from meterline.readings import MissingSpan, Poll
from meterline.wire import GENESIS, Batch, HourDigest, LostRange, Sealed, ShapeCache, frames_digest, seal, unseal

MEMORY_BYTES = 8 << 20
"""What may wait in memory while the disk does not work: at 4 B a reading about two million readings. [bytes]"""
PACKED_BYTES = 16 << 10
"""A batch that packs to more is split. [bytes]"""
RECENT = 256
"""So many batches just kept are read from memory."""
MOST_LOSSES = 200
"""Losses declared in one batch; the next one declares the next."""
RENUMBERED = 100
"""Batches renumbered in one commit."""
RECOVER_S = 5.0
"""Between attempts to get the disk back. [s]"""
_QUARTER_NS = 900 * NS
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Draft:
    """What one batch will say, before it has a number."""

    polls: tuple[Poll, ...]
    missing: tuple[MissingSpan, ...] = ()
    lost: tuple[LostRange, ...] = ()
    hours: tuple[HourDigest, ...] = ()
    redated_ms: int = 0
    frames_sha256: bytes = b""
    """Of the frames where they are kept under another number; empty: of the polls' own."""

    @property
    def worth_keeping(self) -> bool:
        """Whether it belongs to the class kept for half a year: quarter-hour values, silences, losses, hours stated."""
        return bool(self.missing or self.lost or self.hours or self.redated_ms) or any(
            poll.slot_ns % _QUARTER_NS == 0 for poll in self.polls
        )


class Keeper:
    """One thread keeps; any thread reads.

    Parameters
    ----------
    open_journal
        Opens the journal; called at the start and again whenever the disk is tried anew.
    room
        Gives up what is not needed when the disk does not take more.
    kept
        Told of batches that may be sent, in order.
    now_ns
        When batches are formed, where that is better known than by the clock, UTC. [ns]
    """

    def __init__(
        self,
        *,
        gateway: str,
        key: Ed25519PrivateKey,
        clock: Clock,
        software: str,
        open_journal: Callable[[], Journal],
        state: State,
        frames: FrameRing | None = None,
        room: Callable[[Journal], object] = lambda journal: None,
        kept: Callable[[Sequence[Sealed]], None] = lambda batches: None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        self._now_ns = now_ns or clock.now_ns
        self._gateway, self._key, self._clock, self._software = gateway, key, clock, software
        self._open_journal, self._state, self._frames = open_journal, state, frames
        self._room, self._kept = room, kept
        self._lock = threading.RLock()
        self._shapes = ShapeCache()
        self._hours = HourBook()
        self._recent: dict[tuple[str, int], bytes] = {}
        self._memory: deque[Sealed] = deque()
        self._memory_bytes = 0
        self._retry_s = 0.0
        self.trouble = ""
        """Why the disk is not in use, or empty; while it says something, batches live in memory."""
        self.journal: Journal | None = None
        """Still read from while nothing can be written; None until it could be opened once."""
        self.epoch, self.next_seq, self.head = new_epoch(), 1, GENESIS
        try:
            self._start()
        except (OSError, JournalError) as error:
            self._to_memory(error)

    # --- keeping ---------------------------------------------------------------------------------------------------

    def keep(self, drafts: Sequence[Draft]) -> list[Sealed]:
        """Number, seal and keep; what is returned may be sent.

        Never raises for a disk that does not work: see `trouble`.
        """
        now_ns = self._now_ns()
        losses, hours = self._state.undeclared()[:MOST_LOSSES], self._hours.due(self.epoch, now_ns)
        drafts = list(drafts)
        if losses or hours:
            drafts[:0] = [Draft((), (), losses, hours)]
        if not drafts:
            return []
        batches = self._on_disk(drafts, now_ns) if not self.trouble else []
        if not batches:
            batches = self._in_memory(drafts, now_ns)
        if not batches:
            return []
        with self._lock:
            self.next_seq, self.head = batches[-1].seq + 1, batches[-1].digest
            self._recent |= {(batch.epoch, batch.seq): batch.message for batch in batches}
            for key in list(self._recent)[: max(0, len(self._recent) - RECENT)]:
                del self._recent[key]
        self._state.note_used(self.epoch, self.next_seq)
        if losses:
            self._state.declare(losses, self.epoch, batches[0].seq)
        self._hours.stated(hours)
        self._kept(batches)
        return batches

    def renumber(self, epoch: str, first: int) -> tuple[int, int]:
        """From `first` on the head-end holds other batches of `epoch`: an old copy of the disk was put back.

        What is here under those numbers gets new ones, in a fresh epoch if it was the growing one, and the old numbers
        are declared ``forked``. A crash on the way leaves at most `RENUMBERED` batches with two numbers.

        Returns
        -------
        (int, int)
            Closed range of the numbers that are void: they must not be sent any more.

        Raises
        ------
        OSError
            They cannot be read now.
        """
        growing = epoch == self.epoch
        mine = self.held(epoch)
        last = self.next_seq - 1 if growing else (mine.last if mine else 0)
        lost = self._state.lost(epoch)  # not what was acknowledged: under these numbers that was the other batch
        todo = [seq for a, b in mine.within(first, last) for seq in range(a, b + 1) if seq not in lost]
        read = {seq: self.read(epoch, seq) for seq in (todo if self.trouble else todo[:RENUMBERED])}
        self._hours.void(epoch, first)
        if growing:
            self._state.count("epochs:forked")
            self._begin_anew()
        for k in range(0, len(todo), RENUMBERED):
            part = todo[k : k + RENUMBERED]
            drafts: list[Draft] = []
            for seq in part:
                message = read.get(seq) or self.read(epoch, seq)
                if message is not None:
                    batch = unseal(message)
                    true = tuple(hour for hour in batch.hours if hour.epoch != epoch or hour.last < first)
                    drafts.append(Draft(batch.polls, batch.missing, (), true, batch.redated_ms, batch.frames_sha256))
            self.keep(drafts)
            for a, b in RangeSet((seq, seq) for seq in part):
                self._state.lose(LostRange(epoch, a, b, "forked"))
        return first, last

    def recover(self) -> bool:
        """Try to get the disk back, at most every few seconds; returns whether it works."""
        if not self.trouble:
            return True
        if self._clock.monotonic_s() < self._retry_s:
            return False
        self._retry_s = self._clock.monotonic_s() + RECOVER_S
        try:
            self._make_room()
            journal = self._open_journal()
            self._check_past(journal, grows=False)
            journal.begin_epoch(
                self.epoch,
                next_seq=self.next_seq,
                head=self.head,
                batches=list(self._memory),
                day=_day(self._now_ns()),
            )
        except (OSError, JournalError) as error:
            self.trouble = _words(error)
            return False
        with self._lock:
            self.journal = journal
            self.trouble = ""
            self._memory.clear()
            self._memory_bytes = 0
        return True

    def write_frames(self) -> None:
        """Raw frames that wait in memory go to the disk."""
        if self._frames is not None:
            self._frames.flush()

    def check_disk(self) -> None:
        """Notice a journal whose files were removed or whose disk was taken away under it."""
        if self.journal is not None and not self.trouble and not self.journal.still_there():
            self._to_memory(JournalError("the journal's files are gone"))

    def newest_ns(self) -> int:
        """When the youngest batch on the disk was formed, UTC; 0 if there is none or it cannot be read. [ns]"""
        for epoch in reversed(self.epochs):
            held = self.held(epoch)
            try:
                message = self.read(epoch, held.last) if held else None
            except OSError:
                return 0
            if message is not None:
                return unseal(message, self._shapes).at_ns
        return 0

    # --- reading ---------------------------------------------------------------------------------------------------

    def read(self, epoch: str, seq: int) -> bytes | None:
        """A kept batch, or None if it is kept no more.

        Raises
        ------
        OSError
            The disk cannot be read now.
        """
        with self._lock:
            if (recent := self._recent.get((epoch, seq))) is not None:
                return recent
            if self.trouble and epoch == self.epoch:
                return next((b.message for b in self._memory if b.seq == seq), None)
            journal = self.journal
        if journal is None:
            raise OSError(self.trouble)
        return journal.read(epoch, seq)

    def held(self, epoch: str) -> RangeSet:
        """The numbers of an epoch that `read` can give."""
        with self._lock:
            numbers = self.journal.held(epoch) if self.journal is not None else RangeSet()
            if self.trouble and epoch == self.epoch:
                for batch in self._memory:
                    numbers.add(batch.seq)
            return numbers

    @property
    def epochs(self) -> tuple[str, ...]:
        """Known epochs, oldest first."""
        with self._lock:
            on_disk = self.journal.epochs if self.journal is not None else ()
            return tuple(dict.fromkeys((*self._state.epochs, *on_disk, self.epoch)))

    @property
    def waiting_in_memory(self) -> int:
        """Bytes of batches that are in memory only. [bytes]"""
        return self._memory_bytes

    # --- inside ----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        journal = self._open_journal()
        self._check_past(journal)
        self.journal = journal
        self._take_over(journal.epoch, journal.next_seq, journal.head)
        self._take_up_hours(journal)

    def _take_up_hours(self, journal: Journal) -> None:
        epoch, next_seq = journal.epoch, journal.next_seq
        if next_seq == 1 and len(journal.epochs) > 1:  # the last hour of the epoch before is not stated yet
            epoch = journal.epochs[-2]
            held = journal.held(epoch)
            next_seq = held.last + 1 if held else 1
        self._hours.take_up(epoch, next_seq, journal.read)

    def _begin_anew(self) -> None:
        """Leave the growing epoch for a fresh one."""
        if self.journal is not None and not self.trouble:
            try:
                self._take_over(self.journal.begin_epoch(), 1, GENESIS)
            except (OSError, JournalError) as error:
                self._to_memory(error)
        else:
            self._to_memory(JournalError(self.trouble))

    def _take_over(self, epoch: str, next_seq: int, head: bytes) -> None:
        with self._lock:
            self.epoch, self.next_seq, self.head = epoch, next_seq, head

    def _check_past(self, journal: Journal, *, grows: bool = True) -> None:
        """Name everything the journal should hold and does not; leave an epoch whose numbers cannot be trusted."""
        epoch, next_seq = journal.epoch, journal.next_seq
        used = self._state.used(epoch)
        if journal.tail_damaged or used > next_seq:
            reason = "bitrot" if journal.tail_damaged else "regression"
            last = max(used, next_seq + journal.unnamed) - 1
            for first, end in self._state.accounted(epoch).gaps(next_seq, last):
                self._state.lose(LostRange(epoch, first, end, reason))
            if grows:
                journal.begin_epoch()
        reason = "bitrot" if journal.damage else "missing"
        for name in journal.epochs:
            if not journal.damage and not self._state.knows(name):
                # state.db is gone, the journal is whole: what it does not hold was acknowledged and pruned. The
                # head-end is asked on connecting, and what it does not hold either becomes a loss then.
                self._state.acknowledge(name, journal.holes(name, RangeSet()))
            for first, end in journal.holes(name, self._state.accounted(name)):
                self._state.lose(LostRange(name, first, end, reason))
        for name in self._state.epochs:  # an epoch that lived in memory only, or whose folder is gone
            if name not in journal.epochs and (grows or name != self.epoch):
                for first, end in self._state.accounted(name).gaps(1, self._state.used(name) - 1):
                    self._state.lose(LostRange(name, first, end, "missing"))

    def _on_disk(self, drafts: Sequence[Draft], now_ns: int) -> list[Sealed]:
        """Nothing is returned when the disk does not take them."""
        assert self.journal is not None
        pairs = self._seal_all(drafts, now_ns)
        batches = [batch for _, batch in pairs]
        keep, day = any(draft.worth_keeping for draft in drafts), _day(now_ns)
        try:
            try:
                self.journal.commit(batches, keep=keep, day=day)
            except JournalError:
                # Once more, in a new file: one bad spot of the medium is not a dead disk.
                self._make_room()
                self.journal.commit(batches, keep=keep, day=day)
        except (OSError, JournalError) as error:  # on a read-only disk it is making room that fails
            if self.journal.end_in_doubt:
                # The bytes may surface after a restart; declared void now, they mislead nobody then.
                self._state.lose(LostRange(self.epoch, batches[0].seq, batches[-1].seq, "resealed"))
            self._to_memory(error)
            return []
        for draft, batch in pairs:
            self._hours.add(batch, now_ns, draft.polls)
            if self._frames is not None:
                self._frames.add(batch.epoch, batch.seq, draft.polls, keep=keep, day=day)
        return batches

    def _in_memory(self, drafts: Sequence[Draft], now_ns: int) -> list[Sealed]:
        pairs = self._seal_all(drafts, now_ns)
        batches = [batch for _, batch in pairs]
        with self._lock:
            for draft, batch in pairs:
                self._hours.add(batch, now_ns, draft.polls)
                self._memory.append(batch)
                self._memory_bytes += len(batch.message)
            acked, lost = self._state.acked(self.epoch), RangeSet()
            while self._memory_bytes > MEMORY_BYTES or (self._memory and self._memory[0].seq in acked):
                oldest = self._memory.popleft()
                self._memory_bytes -= len(oldest.message)
                if oldest.seq not in acked:
                    lost.add(oldest.seq)
            for first, last in lost:
                self._state.lose(LostRange(self.epoch, first, last, "disk-trouble"))
        return batches

    def _to_memory(self, error: Exception) -> None:
        self.trouble = _words(error)
        self._retry_s = self._clock.monotonic_s() + RECOVER_S
        if self.journal is not None:
            self.journal.close()
        with self._lock:
            self._memory.clear()
            self._memory_bytes = 0
            self._take_over(new_epoch(), 1, GENESIS)

    def _make_room(self) -> None:
        if self.journal is not None:
            self._room(self.journal)

    def _seal_all(self, drafts: Iterable[Draft], now_ns: int) -> list[tuple[Draft, Sealed]]:
        pairs: list[tuple[Draft, Sealed]] = []
        seq, head = self.next_seq, self.head
        todo = deque(drafts)
        while todo:
            draft = todo.popleft()
            try:
                sealed = self._seal(draft, seq, head, now_ns)
                unseal(sealed.message, self._shapes)  # what the head-end would refuse must not get a number
                too_big = len(sealed.message) > PACKED_BYTES
            except WireError as error:
                if len(draft.polls) <= 1:
                    todo.extendleft(self._without_the_unsendable(draft, error))
                    continue
                too_big = True
            if too_big and len(draft.polls) > 1:
                half = len(draft.polls) // 2
                todo.appendleft(Draft(draft.polls[half:], redated_ms=draft.redated_ms))
                todo.appendleft(replace(draft, polls=draft.polls[:half]))
                continue
            pairs.append((draft, sealed))
            seq, head = seq + 1, sealed.digest
        return pairs

    def _without_the_unsendable(self, draft: Draft, error: WireError) -> list[Draft]:
        """A poll the contract cannot carry (a decoder's mistake) becomes a silence that says so, and is counted."""
        self._state.count(f"unsendable:{error.reason}")
        if not draft.polls:
            return []
        poll = draft.polls[0]
        span = MissingSpan(poll.meter, poll.slot_ns, poll.slot_ns + _MS, "gateway-unsendable")
        return [replace(draft, polls=(), missing=(*draft.missing, span))]

    def _seal(self, draft: Draft, seq: int, head: bytes, now_ns: int) -> Sealed:
        return seal(
            Batch(
                gateway=self._gateway,
                epoch=self.epoch,
                seq=seq,
                prev=head,
                at_ns=now_ns,
                simulated=self._clock.simulated,
                polls=draft.polls,
                missing=draft.missing,
                lost=draft.lost,
                hours=draft.hours,
                redated_ms=draft.redated_ms,
                frames_sha256=draft.frames_sha256 or frames_digest(draft.polls),
                software=self._software,
            ),
            self._key,
        )


def _day(now_ns: int) -> str:
    return dt.datetime.fromtimestamp(now_ns // NS, dt.UTC).date().isoformat()


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}"
    return str(error)
