"""Sets of sequence numbers as ranges: a month of batches acknowledged is one pair of numbers, not millions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Ranges = tuple[tuple[int, int], ...]
"""Sequence numbers as closed ranges, ascending, not touching: ``((1, 40), (43, 43))``."""


class RangeSet:
    """A set of whole numbers kept as closed, ascending ranges that do not touch."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int | None = None) -> None:
        """Put in `first` .. `last` (`first` alone without it).

        Raises
        ------
        ValueError
            `last` is below `first`.
        """
        last = first if last is None else last
        if last < first:
            raise ValueError(f"range {first}..{last} runs backwards")
        # Everything that overlaps or touches melts into one.
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def remove(self, first: int, last: int | None = None) -> None:
        """Take out `first` .. `last`; what is not there is no matter."""
        last = first if last is None else last
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        if low >= high:
            return
        kept: list[tuple[int, int]] = []
        if self._firsts[low] < first:
            kept.append((self._firsts[low], first - 1))
        if self._lasts[high - 1] > last:
            kept.append((last + 1, self._lasts[high - 1]))
        self._firsts[low:high] = [a for a, _ in kept]
        self._lasts[low:high] = [b for _, b in kept]

    def gaps(self, first: int, last: int) -> Ranges:
        """What of `first` .. `last` is not in the set."""
        found: list[tuple[int, int]] = []
        for a, b in self.within(first, last):
            if a > first:
                found.append((first, a - 1))
            first = b + 1
        if first <= last:
            found.append((first, last))
        return tuple(found)

    def within(self, first: int, last: int) -> Ranges:
        """What of `first` .. `last` is in the set."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        return tuple((max(self._firsts[i], first), min(self._lasts[i], last)) for i in range(low, high))

    def holds_all(self, first: int, last: int) -> bool:
        """Whether every number of `first` .. `last` is in the set."""
        i = bisect_right(self._firsts, first) - 1
        return i >= 0 and self._lasts[i] >= last

    def reaches(self, first: int = 1) -> int:
        """The highest number up to which everything from `first` on is in the set; ``first - 1`` if `first` is not."""
        i = bisect_right(self._firsts, first) - 1
        return self._lasts[i] if i >= 0 and self._lasts[i] >= first else first - 1

    @property
    def first(self) -> int:
        """The lowest number. Raises IndexError on an empty set."""
        return self._firsts[0]

    @property
    def last(self) -> int:
        """The highest number. Raises IndexError on an empty set."""
        return self._lasts[-1]

    @property
    def ranges(self) -> Ranges:
        """All ranges."""
        return tuple(zip(self._firsts, self._lasts, strict=True))

    def copy(self) -> RangeSet:
        """A set of its own with the same numbers."""
        other = RangeSet()
        other._firsts, other._lasts = self._firsts.copy(), self._lasts.copy()
        return other

    def __contains__(self, number: int) -> bool:
        return self.holds_all(number, number)

    def __len__(self) -> int:
        """How many numbers."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, ascending."""
        return iter(self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and self.ranges == other.ranges

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RangeSet({list(self.ranges)})"
