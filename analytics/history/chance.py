"""How often a living channel does a thing by chance, learnt from the weeks before, day by day."""

from __future__ import annotations

import numpy as np

from analytics.series import BoolArray, FloatArray, IntArray

WEEKS = 28
"""Days looked back on."""
FALSE_ALARM = 1e-3
"""Accepted chance, per channel and month, that a living channel shows such a run."""
NEVER = 2**40
LONGEST = 960
"""Longest run asked for; a channel that needs more is not judged by its runs. [polls]"""


def longest_run(claim: BoolArray, known: BoolArray, per_day: int, least: int) -> IntArray:
    """How long a run of `claim` must be before chance is no explanation, for each slot, from the days before it.

    Parameters
    ----------
    claim : (m,) bool
        For instance: this value repeats the one before.
    known : (m,) bool
        Slots that count (there is a value, no other finding spoils it).
    per_day : int
        Slots a day.
    least : int
        Never fewer. [slots]

    Returns
    -------
    (m,) int64
        Slots in a row; `NEVER` where no run would prove anything.

    Notes
    -----
    With r the larger of the share of claims and the share of claims that follow a claim (an idle load repeats itself in
    bouts), a run of k has a chance below ``n r**k`` somewhere among the n slots of a month (union bound); k is chosen
    so that this is `FALSE_ALARM`. Both shares by the rule of succession.
    """
    days = -(-claim.size // per_day)
    pad = days * per_day - claim.size
    c = np.pad(claim & known, (0, pad)).reshape(days, per_day)
    n = np.pad(known, (0, pad)).reshape(days, per_day)
    after = np.pad((claim & known)[:-1], (1, pad)).reshape(days, per_day) & n if claim.size else c
    both = (c & after).sum(axis=1)
    hit, seen, led = before(c.sum(axis=1)), before(n.sum(axis=1)), before(after.sum(axis=1))
    share = (hit + 1) / (seen + 2)
    again = np.where(led > 8, (before(both) + 1) / (led + 2), share)
    worst = np.clip(np.maximum(share, again), 1e-9, 1.0 - 1e-9)
    month = max(30 * per_day, 1)
    length = np.ceil(np.log(FALSE_ALARM / month) / np.log(worst))
    length = np.where((seen >= per_day) & (length <= LONGEST), np.maximum(length, least), NEVER).astype(np.int64)
    return np.repeat(length, per_day)[: claim.size]


def before(per_day_count: FloatArray | IntArray) -> FloatArray:
    """(d,) float64: the sum over the `WEEKS` days before each day, itself not included."""
    total = np.concatenate(([0.0], np.cumsum(per_day_count, dtype=np.float64)))
    day = np.arange(per_day_count.size)
    return total[day] - total[np.maximum(day - WEEKS, 0)]


def long_runs(claim: BoolArray, need: IntArray) -> list[tuple[int, int, int]]:
    """Runs of `claim` at least as long as `need` says at their start: (first, after last, slot that made it long)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], claim, [False]))))
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= need[np.minimum(starts, need.size - 1)] if need.size else np.zeros(0, bool)
    return [(int(a), int(b), int(a + need[a] - 1)) for a, b in zip(starts[long], ends[long], strict=True)]
