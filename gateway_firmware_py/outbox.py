"""What there is to send, what is under way, and what has come back: the uplink's view of the journal.

Batches leave the gateway's care only here, and only on the head-end's acknowledgement.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway_firmware_py.lanes import Key, Lanes
from gateway_firmware_py.state import State
from gateway_firmware_py.window import Window
from meterline.ranges import RangeSet
from meterline.wire import Ack, LostRange, Sealed


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

    Parameters
    ----------
    conflict
        Called when the head-end holds numbers of the growing epoch that were never used here.
    """

    def __init__(
        self,
        gateway: str,
        state: State,
        *,
        lanes: Lanes | None = None,
        window: Window | None = None,
        conflict: Callable[[], None] = lambda: None,
    ) -> None:
        self._gateway, self._state, self._conflict = gateway, state, conflict
        self._lock = threading.RLock()
        self._lanes = lanes or Lanes()
        self.window = window or Window()
        self._kept: Kept | None = None
        self.acks_seen = 0

    def attach(self, kept: Kept) -> None:
        """Begin with everything that is kept and not acknowledged."""
        with self._lock:
            self._kept = kept
            for epoch in kept.epochs:
                unsent = kept.held(epoch)
                for first, last in self._state.accounted(epoch):
                    unsent.remove(first, last)
                self._lanes.add_backlog(epoch, unsent)

    def announce(self, batches: Sequence[Sealed]) -> None:
        """These have just been kept."""
        with self._lock:
            if self._kept is None:
                return  # attach() will find them
            for batch in batches:
                self._lanes.add_live((batch.epoch, batch.seq))

    def take(self, now_s: float) -> tuple[Key, bytes] | None:
        """The next batch to publish, now under way; None if there is none or the window is full.

        Raises
        ------
        OSError
            The disk cannot be read; the batch waits on.
        """
        with self._lock:
            while self._kept is not None and self.window.has_room():
                key = self._lanes.take()
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
                return key, message
            return None

    def confirmed(self, key: Key) -> None:
        """The broker has taken it. Nothing is deleted for that."""
        with self._lock:
            self.window.confirmed(key)

    def discard(self, epoch: str, first: int, last: int) -> None:
        """These numbers are void; whatever waits or is under way of them is forgotten."""
        with self._lock:
            self._lanes.remove(epoch, [(first, last)])
            for key in self.window.batches():
                if key[0] == epoch and first <= key[1] <= last:
                    self.window.forget(key)

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

    def tick(self, now_s: float) -> int:
        """Put what was not acknowledged in time back into the lanes; returns how many."""
        with self._lock:
            late = self.window.overdue(now_s)
            for epoch, seq in late:
                self._lanes.add_backlog(epoch, [(seq, seq)])
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
            self.acks_seen += 1
            limit = kept.next_seq - 1 if ack.epoch == kept.epoch else (1 << 62)
            if ack.received and ack.received[-1][1] > limit:
                self._conflict()
                return 0
            news = self._state.acknowledge(ack.epoch, ack.received)
            received = RangeSet(ack.received)
            for key in self.window.batches():
                if key[0] == ack.epoch and key[1] in received:
                    self.window.acknowledged(key, now_s)
            self._lanes.remove(ack.epoch, ack.received)
            if ack.wanted:
                self._send_again(ack, kept, min(limit, ack.received[-1][1] if ack.received else limit), now_s)
            return news

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
                for key in self.window.batches():
                    if key[0] == ack.epoch and key[1] in again:
                        if self.window.stale(key, now_s):
                            self.window.forget(key)
                        else:
                            again.remove(key[1])
                self._lanes.remove(ack.epoch, again)
                self._lanes.add_backlog(ack.epoch, again)

    @property
    def live(self) -> int:
        """Batches in the live lane."""
        return self._lanes.live

    @property
    def backlog(self) -> int:
        """Batches waiting behind it."""
        return self._lanes.backlog
