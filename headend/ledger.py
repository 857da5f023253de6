"""Which sequence numbers are here, which are wanted, and whether the chain between them holds.

Each batch of an epoch names the digest of the one before it, so a batch that was changed, left out or slipped in shows
as a link that does not fit, whoever did it and wherever: on the gateway's disk, on the way, or in our own files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meterline.ranges import Ranges, RangeSet
from meterline.wire import GENESIS


def holes(ranges: Ranges) -> Ranges:
    """What is missing below the highest number, counted from 1."""
    return RangeSet(ranges).gaps(1, ranges[-1][1]) if ranges else ()


def union(*many: Ranges) -> Ranges:
    """The numbers that are in any of them."""
    return RangeSet(pair for ranges in many for pair in ranges).ranges


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
