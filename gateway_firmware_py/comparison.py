"""Does the journal tell the same story as the head-end? Asked for each epoch before the first batch of a connection.

A card put back from an old copy numbers on from where the copy ended, and the head-end already holds other batches
under those numbers. Batches of an epoch are chained, so one equal digest proves that everything up to it is equal. The
question goes first to the highest number stored; where that differs, the search narrows down to the last equal one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from meterline.ranges import RangeSet
from meterline.wire import MOST_ASKED, Ack


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out.

    Attributes
    ----------
    parted_at
        The first number that is not the same there and here; None where everything stored there is the same here.
    """

    parted_at: int | None


class Comparison:
    """One epoch of one connection. Pure: it makes questions and takes answers.

    Parameters
    ----------
    digest
        Of a number here, or None where nothing here knows it.
    held
        The numbers that can be read here.
    last
        The highest number this epoch ever gave away here.
    differs_at
        A number known to differ (a batch was refused for it).
    """

    def __init__(
        self,
        digest: Callable[[int], bytes | None],
        held: Callable[[], RangeSet],
        last: Callable[[], int],
        *,
        differs_at: int | None = None,
    ) -> None:
        self._digest, self._held, self._last = digest, held, last
        self._same, self._other = 0, differs_at  # equal up to here; different at and after this number
        self._points: tuple[int, ...] = ()
        if differs_at is not None:
            self._points = self._between(differs_at)
        self.nonce = secrets.token_hex(8)
        self.asked_s: float | None = None
        """When the current question was published, monotonic; None if it has not been. [s]"""

    @property
    def points(self) -> tuple[int, ...]:
        """Numbers whose digests the current question wants."""
        return self._points

    def take(self, ack: Ack) -> Verdict | None:
        """Take an answer to the current question; None means that another question is to be asked."""
        theirs, last = dict(ack.digests), self._last()
        top = max(theirs, default=0)
        beyond = ack.received[-1][1] > last if ack.received else False
        for seq, digest in sorted(theirs.items()):
            mine = self._digest(seq) if seq <= last else None
            if mine is None:
                continue
            if mine == digest:
                self._same = max(self._same, seq)
            else:
                self._other = seq if self._other is None else min(self._other, seq)
        if self._other is None and beyond:
            self._other = last + 1
        if self._other is None and self._same >= top:
            return Verdict(None)
        # Without a known difference: the highest number stored there cannot be looked up here any more.
        asked, self._points = self._points, self._between(self._other or top + 1)
        if not self._points or self._points == asked:
            return Verdict(None if self._other is None else self._same + 1)
        self.nonce = secrets.token_hex(8)
        self.asked_s = None
        return None

    def _between(self, end: int) -> tuple[int, ...]:
        """Up to `MOST_ASKED` numbers held here, evenly spread over what is neither proved equal nor different."""
        ranges = self._held().within(self._same + 1, end - 1)
        count = sum(last - first + 1 for first, last in ranges)
        if count == 0:
            return ()
        wanted = {count - 1 - k * count // MOST_ASKED for k in range(MOST_ASKED)}
        points: list[int] = []
        before = 0
        for first, last in ranges:
            size = last - first + 1
            points += [first + k - before for k in sorted(wanted) if before <= k < before + size]
            before += size
        return tuple(points)
