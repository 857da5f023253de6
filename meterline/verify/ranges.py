"""Closed ranges of numbers, as short as this package needs them."""

from __future__ import annotations

from collections.abc import Iterable

Ranges = list[tuple[int, int]]


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ascending, overlapping and touching ones joined."""
    found: Ranges = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def minus(ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> Ranges:
    """What of the first is not in the second."""
    left: Ranges = []
    away = merged(taken)
    for first, last in merged(ranges):
        for a, b in away:
            if b < first or a > last:
                continue
            if a > first:
                left.append((first, a - 1))
            first = max(first, b + 1)
        if first <= last:
            left.append((first, last))
    return left


def both(ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Ranges:
    """What is in the first and in the second."""
    mine = merged(ranges)
    return minus(mine, minus(mine, others))
