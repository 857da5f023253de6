"""Which sequence numbers are here, which are wanted, and whether the chain between them holds.

Each batch of an epoch names the digest of the one before it, so a batch that was changed, left out or slipped in shows
as a link that does not fit, whoever did it and wherever: on the gateway's disk, on the way, or in our own files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meterline.wire import GENESIS, Ranges


class SeqSet:
    """Sequence numbers as closed ranges that neither overlap nor touch, ascending."""

    __slots__ = ("_first", "_last")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int | None = None) -> bool:
        """Take in ``first`` to ``last`` (both included); whether any of them was new."""
        last = first if last is None else last
        if last < first:
            raise ValueError(f"a range from {first} to {last}")
        low = bisect_right(self._first, first)
        if low and self._last[low - 1] >= last:
            return False
        if low and self._last[low - 1] >= first - 1:  # grows the range before
            low -= 1
            first = self._first[low]
        high = bisect_right(self._first, last + 1)
        if high > low:
            last = max(last, self._last[high - 1])
        self._first[low:high] = [first]
        self._last[low:high] = [last]
        return True

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._first, seq)
        return at > 0 and self._last[at - 1] >= seq

    def __len__(self) -> int:
        """How many numbers are in the set."""
        return sum(self._last) - sum(self._first) + len(self._first)

    @property
    def ranges(self) -> Ranges:
        """What is in the set."""
        return tuple(zip(self._first, self._last, strict=True))

    @property
    def holes(self) -> Ranges:
        """What is missing below the highest number, counted from 1."""
        starts = [1, *(last + 1 for last in self._last)]
        return tuple((low, first - 1) for low, first in zip(starts, self._first, strict=False) if low < first)


def union(*many: Ranges) -> Ranges:
    """The numbers that are in any of them."""
    together = SeqSet()
    for first, last in sorted(pair for ranges in many for pair in ranges):
        together.add(first, last)
    return together.ranges


@dataclass(frozen=True, slots=True)
class Link:
    """One batch's place in the chain of its epoch.

    Attributes
    ----------
    prev, digest
        What the batch calls its predecessor, and what it is itself.
    """

    seq: int
    prev: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class ChainBreak:
    """A batch whose predecessor is not the one it names: something between the two was changed.

    Attributes
    ----------
    expected
        The digest of the stored predecessor; zeros where the batch is the first of its epoch.
    found
        What the batch says instead.
    """

    seq: int
    expected: bytes
    found: bytes


def chain_breaks(links: Iterable[Link], before: Link | None = None) -> Iterator[ChainBreak]:
    """Check neighbours among the links, ascending by number; a gap breaks no link, it is the ledger's business.

    Parameters
    ----------
    before
        The last link checked earlier, so that the seam is checked too.
    """
    for link in links:
        if link.seq == 1 and link.prev != GENESIS:
            yield ChainBreak(1, GENESIS, link.prev)
        elif before is not None and before.seq == link.seq - 1 and before.digest != link.prev:
            yield ChainBreak(link.seq, before.digest, link.prev)
        before = link


def intersection(one: Ranges, other: Ranges) -> Ranges:
    """The numbers that are in both."""
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(one) and j < len(other):
        first, last = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if first <= last:
            found.append((first, last))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)
