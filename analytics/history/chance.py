"""How often a living channel does a thing by chance, learnt from the weeks before, day by day."""

from __future__ import annotations

import numpy as np

from analytics.history.planes import run_lengths
from analytics.series import BoolArray, IntArray

WEEKS = 28
"""Days looked back on."""
FALSE_ALARM = 1e-3
"""Accepted chance, per channel and month, that a living channel shows such a run."""
NEVER = 2**30
LONGEST = 960
"""Longest run asked for; a channel that needs more is not judged by its runs. [polls]"""


class Runs:
    """How long a claim (this value repeats the one before) must stand before chance is no explanation.

    With r the larger of the share of claims and the share of claims that follow a claim (an idle load repeats itself in
    bouts), a run of k has a chance below ``n r**k`` somewhere among the n polls of a month (union bound); k is chosen
    so that this is `FALSE_ALARM` (times the sensitivity). Both shares by the rule of succession.

    Attributes
    ----------
    need : (m,) int64
        Polls in a row, as of this morning; `NEVER` where no run would prove anything.
    """

    def __init__(self, m: int, least: int, false_alarm: float = FALSE_ALARM, per_day: int = 96) -> None:
        self.least, self.false_alarm = least, false_alarm
        self.need: IntArray = np.full(m, NEVER, np.int64)
        self.length = np.zeros(m, np.int64)
        self.claimed_before = np.zeros(m, bool)
        self.today = np.zeros((4, m), np.int16)
        self.days = np.zeros((4, m, WEEKS), np.uint8 if per_day < 256 else np.int16)

    def take(self, claim: BoolArray, known: BoolArray) -> IntArray:
        """(m, b) int64: how long the claim has stood at each poll of a block; the block is counted for later days."""
        claim = claim & known
        after = np.concatenate((self.claimed_before[:, None], claim[:, :-1]), axis=1) & known
        for row, counted in zip(self.today, (claim, known, after, claim & after), strict=True):
            row += counted.sum(axis=1, dtype=np.int16)
        self.claimed_before = claim[:, -1].copy()
        return run_lengths(claim, self.length)

    def end_day(self, day: int, per_day: int) -> None:
        """A day is over: what is usual from now on."""
        self.days[:, :, day % WEEKS] = self.today
        self.today[:] = 0
        hit, seen, led, both = self.days.sum(axis=2, dtype=np.float64)
        share = (hit + 1) / (seen + 2)
        again = np.where(led > 8, (both + 1) / (led + 2), share)
        worst = np.clip(np.maximum(share, again), 1e-9, 1.0 - 1e-9)
        month = max(30 * per_day, 1)
        length = np.ceil(np.log(self.false_alarm / month) / np.log(worst))
        fit = (seen >= per_day) & (length <= LONGEST)
        need = np.where(fit, np.maximum(length, self.least), NEVER).astype(np.int64)
        # a run that is certain stays certain: what it does today is no habit of the meter
        self.need = np.where(self.length >= self.need, self.need, need)
