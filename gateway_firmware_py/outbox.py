"""What there is to send, what is under way, and what has come back: the uplink's view of the journal.

Batches leave the gateway's care only here, and only on the head-end's acknowledgement.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway_firmware_py.comparison import Comparison
from gateway_firmware_py.lanes import Key, Lanes
from gateway_firmware_py.state import State
from gateway_firmware_py.window import Window
from meterline.errors import WireError
from meterline.ranges import RangeSet
from meterline.wire import Ack, Ask, LostRange, Refusal, Sealed, refusal_digest, unseal

MOST_RANGES = 2000
"""An acknowledgement with so many ranges may be cut short: what it does not name may still be there."""
ASK_S = 5.0
"""A question nobody has answered is asked again after this. [s]"""
REFUSED_WAITS_S = (60.0, 600.0)
"""A refused batch is tried again after these; refused once more it is declared lost. [s]"""
REFUSED_IN_A_ROW = 8
"""More than so many batches refused and none stored between them: the head-end is at fault, not the batches."""
NOT_THE_BATCH = ("signature", "unknown-gateway", "gateway", "version", "topic")
"""Reasons that every batch of ours would meet: a person has to set something right, and nothing is given up."""
_REMEMBERED = 512
"""Digests of sent batches kept to recognise a refusal."""


class Kept(Protocol):
    """Where batches are kept (the `Keeper`)."""

    @property
    def epochs(self) -> tuple[str, ...]:
        """Known epochs, oldest first."""
        ...

    epoch: str
    next_seq: int

    def held(self, epoch: str) -> RangeSet:
        """The numbers of an epoch that can be read."""
        ...

    def read(self, epoch: str, seq: int) -> bytes | None:
        """A batch message."""
        ...


class Outbox:
    """Thread-safe: the keeper announces, the uplink takes, acknowledges and gives back.

    No batch of an epoch leaves before the head-end's chain and ours have been compared (see `comparison`).

    Parameters
    ----------
    parted
        Called with an epoch and a number from which on the head-end holds other batches than the journal; what is here
        from there on must be numbered anew, and `renumbered` be called.
    """

    def __init__(
        self,
        gateway: str,
        state: State,
        *,
        lanes: Lanes | None = None,
        window: Window | None = None,
        parted: Callable[[str, int], None] = lambda epoch, first: None,
    ) -> None:
        self._gateway, self._state, self._parted = gateway, state, parted
        self._lock = threading.RLock()
        self._lanes = lanes or Lanes()
        self.window = window or Window()
        self._kept: Kept | None = None
        self._held_back: set[str] = set()
        self._known: set[str] = set()
        self._comparisons: dict[str, Comparison] = {}
        self._parting: set[str] = set()
        self._digests: dict[bytes, Key] = {}
        self._parked: dict[Key, float] = {}
        self._refusals: dict[Key, int] = {}
        self._in_a_row = 0
        self.stored = 0
        """Batches the head-end has newly acknowledged in this life."""

    def attach(self, kept: Kept) -> None:
        """Begin with everything that is kept and not acknowledged."""
        with self._lock:
            self._kept = kept
            for epoch in kept.epochs:
                unsent = kept.held(epoch)
                for first, last in self._state.accounted(epoch):
                    unsent.remove(first, last)
                self._lanes.add_backlog(epoch, unsent)
                self._hold_back(epoch)

    def announce(self, batches: Sequence[Sealed]) -> None:
        """These have just been kept."""
        with self._lock:
            if self._kept is None:
                return  # attach() will find them
            for batch in batches:
                if batch.epoch not in self._known:
                    self._hold_back(batch.epoch)
                self._lanes.add_live((batch.epoch, batch.seq))

    def questions(self, now_s: float) -> list[Ask]:
        """What is to be asked now, before anything (more) of these epochs may be sent."""
        with self._lock:
            for epoch in self._held_back - self._parting - self._comparisons.keys():
                self._compare(epoch)
            due: list[Ask] = []
            for epoch, comparison in self._comparisons.items():
                if comparison.asked_s is None or now_s - comparison.asked_s >= ASK_S:
                    comparison.asked_s = now_s
                    due.append(Ask(self._gateway, epoch, comparison.nonce, comparison.points))
            return due

    def audit(self) -> None:
        """Compare every epoch again; batches go on meanwhile. Finds what was lost behind the acknowledgement."""
        with self._lock:
            for epoch in self._kept.epochs if self._kept is not None else ():
                if epoch not in self._comparisons and epoch not in self._parting:
                    self._compare(epoch)

    @property
    def compared(self) -> bool:
        """Whether everything that waits may be sent: the head-end has answered, and holds the same batches."""
        with self._lock:
            return not self._held_back

    def take(self, now_s: float) -> tuple[Key, bytes] | None:
        """The next batch to publish, now under way; None if there is none or the window is full.

        Raises
        ------
        OSError
            The disk cannot be read; the batch waits on.
        """
        with self._lock:
            while self._kept is not None and self.window.has_room():
                key = self._lanes.take(self._held_back)
                if key is None:
                    return None
                try:
                    message = self._kept.read(*key)
                except OSError:
                    self._lanes.add_backlog(key[0], [(key[1], key[1])])
                    raise
                if message is None:
                    self._state.lose(LostRange(key[0], key[1], key[1], "bitrot"))
                    continue
                self.window.sent(key, now_s)
                self._remember(refusal_digest(message), key)
                return key, message
            return None

    def confirmed(self, key: Key) -> None:
        """The broker has taken it. Nothing is deleted for that."""
        with self._lock:
            self.window.confirmed(key)

    def renumbered(self, epoch: str, first: int, last: int) -> None:
        """These numbers are void (an empty range: none is); the rest of the epoch may be sent."""
        with self._lock:
            if last >= first:
                self._lanes.remove(epoch, [(first, last)])
            for key in self.window.batches():
                if key[0] == epoch and first <= key[1] <= last:
                    self.window.forget(key)
            self._parting.discard(epoch)
            self._held_back.discard(epoch)

    def not_renumbered(self, epoch: str) -> None:
        """It could not be done now; the question comes up again."""
        with self._lock:
            self._parting.discard(epoch)

    def give_back(self, key: Key, now_s: float, *, slower: bool = False) -> None:
        """It was not taken; it waits for another turn."""
        with self._lock:
            if slower:
                self.window.refused(key, now_s)
            else:
                self.window.forget(key)
            self._lanes.add_backlog(key[0], [(key[1], key[1])])

    def connected(self, receive_maximum: int) -> None:
        """A new connection begins; what was under way on the old one waits again."""
        with self._lock:
            self._lanes.fold()
            for epoch, seq in self.window.restart(receive_maximum):
                self._lanes.add_backlog(epoch, [(seq, seq)])
            self._comparisons.clear()
            if self._kept is not None:
                self._held_back = set(self._kept.epochs)
                self._known = set(self._held_back)

    def tick(self, now_s: float) -> int:
        """Put what was not acknowledged in time back into the lanes; returns how many."""
        with self._lock:
            late = self.window.overdue(now_s)
            for epoch, seq in late:
                self._lanes.add_backlog(epoch, [(seq, seq)])
            for key in [key for key, until_s in self._parked.items() if now_s >= until_s]:
                del self._parked[key]
                self._lanes.add_backlog(key[0], [(key[1], key[1])])
            return len(late)

    def acknowledge(self, ack: Ack, now_s: float) -> int:
        """Take the head-end's word; returns how many batches it newly holds."""
        with self._lock:
            kept = self._kept
            if kept is None or ack.gateway != self._gateway:
                self._state.count("acks-foreign")
                return 0
            if ack.epoch not in kept.epochs:
                self._state.count("acks-unknown-epoch")
                return 0
            comparison = self._comparisons.get(ack.epoch)
            if comparison is not None and ack.answers == comparison.nonce:
                verdict = comparison.take(ack)
                if verdict is None:
                    return 0
                del self._comparisons[ack.epoch]
                if verdict.parted_at is not None and self._has_other(ack.epoch, verdict.parted_at):
                    self._hold_back(ack.epoch)
                    self._parting.add(ack.epoch)
                    self._parted(ack.epoch, verdict.parted_at)
                    return 0
                self._held_back.discard(ack.epoch)
                self._reclaim(ack, kept)
            elif ack.epoch in self._held_back:
                return 0  # a word from before the question, such as the retained one
            limit = kept.next_seq - 1 if ack.epoch == kept.epoch else (1 << 62)
            if ack.received and ack.received[-1][1] > limit:
                self._hold_back(ack.epoch)
                return 0
            news = self._state.acknowledge(ack.epoch, ack.received)
            received = RangeSet(ack.received)
            for key in self.window.batches():
                if key[0] == ack.epoch and key[1] in received:
                    self.window.acknowledged(key, now_s)
            self._lanes.remove(ack.epoch, ack.received)
            for key in [key for key in self._parked if key[0] == ack.epoch and key[1] in received]:
                del self._parked[key]
            self.stored += news
            if news:
                self._in_a_row = 0
            if ack.wanted:
                self._send_again(ack, kept, self._last(ack.epoch), now_s)
            return news

    def refused(self, refusal: Refusal, now_s: float) -> bool:
        """Take the head-end's word that it could not take a batch.

        Returns
        -------
        bool
            Whether other batches would fare the same: nothing more should be sent for a while, and a person told.
        """
        with self._lock:
            key = self._digests.get(refusal.digest) if refusal.gateway == self._gateway else None
            if key is None or self._kept is None or key[1] in self._state.acked(key[0]):
                self._state.count("refusals-foreign")
                return False
            epoch, seq = key
            self.window.forget(key)
            self._state.count(f"refused:{refusal.reason}"[:40])
            if refusal.reason == "conflict":
                self._lanes.add_backlog(epoch, [(seq, seq)])
                self._hold_back(epoch)
                if epoch not in self._parting:
                    self._compare(epoch, differs_at=seq)
                return False
            self._in_a_row += refusal.reason not in NOT_THE_BATCH
            if refusal.reason in NOT_THE_BATCH or self._in_a_row > REFUSED_IN_A_ROW:
                self._lanes.add_backlog(epoch, [(seq, seq)])
                return True
            times = self._refusals[key] = self._refusals.get(key, 0) + 1
            if times <= len(REFUSED_WAITS_S):
                self._parked[key] = now_s + REFUSED_WAITS_S[times - 1]
            else:
                del self._refusals[key]
                self._state.lose(LostRange(epoch, seq, seq, "refused"))
            return False

    # --- inside ----------------------------------------------------------------------------------------------------

    def _hold_back(self, epoch: str) -> None:
        self._known.add(epoch)
        self._held_back.add(epoch)

    def _last(self, epoch: str) -> int:
        """The highest number that was ever given away here."""
        kept = self._kept
        assert kept is not None
        if epoch == kept.epoch:
            return kept.next_seq - 1
        held, accounted = kept.held(epoch), self._state.accounted(epoch)
        return max(self._state.used(epoch) - 1, held.last if held else 0, accounted.last if accounted else 0)

    def _has_other(self, epoch: str, first: int) -> bool:
        """Whether anything from `first` on is to be numbered anew; what has been so already is declared."""
        kept = self._kept
        assert kept is not None
        if epoch == kept.epoch:
            return True  # at least the next number is taken
        lost = self._state.lost(epoch)
        return any(lost.gaps(a, b) for a, b in kept.held(epoch).within(first, self._last(epoch)))

    def _compare(self, epoch: str, *, differs_at: int | None = None) -> None:
        kept = self._kept
        assert kept is not None

        def digest(seq: int) -> bytes | None:
            """From the batch itself, or where it is gone from the batch after, which names it."""
            try:
                message = kept.read(epoch, seq)
                if message is not None:
                    return refusal_digest(message)
                after = kept.read(epoch, seq + 1)
                return None if after is None else unseal(after).prev
            except (OSError, WireError):
                return None

        self._comparisons[epoch] = Comparison(
            digest, lambda: kept.held(epoch), lambda: self._last(epoch), differs_at=differs_at
        )

    def _remember(self, digest: bytes, key: Key) -> None:
        self._digests[digest] = key
        if len(self._digests) > _REMEMBERED:
            del self._digests[next(iter(self._digests))]

    def _reclaim(self, ack: Ack, kept: Kept) -> None:
        """What had been acknowledged and is not there any more (a wiped or restored store) is sent again."""
        gone = self._state.acked(ack.epoch)
        for first, last in ack.received:
            gone.remove(first, last)
        if not gone or len(ack.received) >= MOST_RANGES:
            return
        self._state.retract(ack.epoch, gone)
        self._state.count("retracted", len(gone))
        held, lost = kept.held(ack.epoch), self._state.accounted(ack.epoch)
        for first, last in gone:
            self._lanes.add_backlog(ack.epoch, held.within(first, last))
            for a, b in held.gaps(first, last):
                for c, d in lost.gaps(a, b):
                    self._state.lose(LostRange(ack.epoch, c, d, "pruned"))

    def _send_again(self, ack: Ack, kept: Kept, limit: int, now_s: float) -> None:
        held, lost = kept.held(ack.epoch), RangeSet()
        for first, last in self._state.accounted(ack.epoch):
            lost.add(first, last)
        acked = self._state.acked(ack.epoch)
        for first, last in acked:
            lost.remove(first, last)
        for first, last in ack.wanted:
            last = min(last, limit)
            if last < first:
                continue
            # Acknowledged once and wanted again: the store behind the acknowledgement was lost or restored.
            retracted = acked.within(first, last)
            if retracted:
                self._state.retract(ack.epoch, retracted)
                self._state.count("retracted", sum(b - a + 1 for a, b in retracted))
            known = held.copy()
            for a, b in lost:
                known.add(a, b)
            for a, b in known.gaps(first, last):
                self._state.lose(LostRange(ack.epoch, a, b, "pruned" if acked.within(a, b) else "missing"))
            for a, b in held.within(first, last):
                again = RangeSet([(a, b)])
                for c, d in lost.within(a, b):
                    again.remove(c, d)
                for epoch, seq in self._parked:
                    if epoch == ack.epoch:
                        again.remove(seq)
                for key in self.window.batches():
                    if key[0] == ack.epoch and key[1] in again:
                        if self.window.stale(key, now_s):
                            self.window.forget(key)
                        else:
                            again.remove(key[1])
                self._lanes.remove(ack.epoch, again)
                self._lanes.add_backlog(ack.epoch, again)

    @property
    def parked(self) -> int:
        """Batches that were refused and wait for another try."""
        return len(self._parked)

    @property
    def live(self) -> int:
        """Batches in the live lane."""
        return self._lanes.live

    @property
    def backlog(self) -> int:
        """Batches waiting behind it."""
        return self._lanes.backlog
