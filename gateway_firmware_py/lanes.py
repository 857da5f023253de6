"""Which batch next: what was just measured first, but never only that.

After an outage of a month the page must be fresh within seconds, and the month must still arrive. So the newest unsent
live batch goes first, and of every five sent at least one is the oldest of the backlog while there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable

from meterline.ranges import RangeSet

Key = tuple[str, int]
"""Epoch and sequence number."""


FRESH = 4
"""Batches that stay live over a broken connection, so that what was read last arrives first."""


class Lanes:
    """The unsent batches of a gateway, in two lanes. Pure: it knows nothing of time, disk or network.

    Parameters
    ----------
    every
        One of so many picks goes to the backlog, if there is one.
    live_most
        More live batches than this waiting is no live lane any more; the oldest join the backlog.
    """

    def __init__(self, *, every: int = 5, live_most: int = 64) -> None:
        self._every, self._live_most = every, live_most
        self._live: deque[Key] = deque()
        self._backlog: dict[str, RangeSet] = {}  # epochs in the order they were made
        self._since_backlog = 0

    def add_live(self, key: Key) -> None:
        """A batch has just been kept."""
        self._live.append(key)
        if len(self._live) > self._live_most:
            epoch, seq = self._live.popleft()
            self.add_backlog(epoch, [(seq, seq)])

    def add_backlog(self, epoch: str, ranges: Iterable[tuple[int, int]]) -> None:
        """Batches that were not sent, or must be sent again. Epochs are to be named first in their order of age."""
        waiting = self._backlog.setdefault(epoch, RangeSet())
        for first, last in ranges:
            waiting.add(first, last)

    def remove(self, epoch: str, ranges: Iterable[tuple[int, int]]) -> None:
        """These need not be sent (any more)."""
        ranges = tuple(ranges)
        waiting = self._backlog.get(epoch)
        if waiting is not None:
            for first, last in ranges:
                waiting.remove(first, last)
        if self._live:
            gone = RangeSet(ranges)
            self._live = deque(key for key in self._live if key[0] != epoch or key[1] not in gone)

    def fold(self) -> None:
        """The connection is gone: what was live is backlog by the time it returns, but for the newest few."""
        while len(self._live) > FRESH:
            epoch, seq = self._live.popleft()
            self.add_backlog(epoch, [(seq, seq)])

    def take(self, held_back: Container[str] = ()) -> Key | None:
        """The batch to send next, no longer waiting; None if nothing is. Epochs in `held_back` wait on."""
        oldest = self._oldest(held_back)
        if (
            self._live
            and self._live[-1][0] not in held_back
            and (oldest is None or self._since_backlog < self._every - 1)
        ):
            self._since_backlog = 0 if oldest is None else self._since_backlog + 1
            return self._live.pop()
        if oldest is None:
            return None
        self._since_backlog = 0
        epoch, seq = oldest
        self._backlog[epoch].remove(seq)
        return oldest

    def waiting(self, key: Key) -> bool:
        """Whether the batch is in a lane."""
        return key in self._live or key[1] in self._backlog.get(key[0], ())

    @property
    def live(self) -> int:
        """How many are in the live lane."""
        return len(self._live)

    @property
    def backlog(self) -> int:
        """How many are in the backlog."""
        return sum(len(waiting) for waiting in self._backlog.values())

    @property
    def epochs(self) -> tuple[str, ...]:
        """Epochs of which anything waits."""
        waiting = dict.fromkeys(epoch for epoch, numbers in self._backlog.items() if numbers)
        return tuple(waiting | dict.fromkeys(epoch for epoch, _ in self._live))

    def _oldest(self, held_back: Container[str]) -> Key | None:
        for epoch, waiting in self._backlog.items():
            if waiting and epoch not in held_back:
                return epoch, waiting.first
        return None
