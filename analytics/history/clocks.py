"""Clocks that lie: time stamps that repeat, a meter's clock that is off, and one that is off by whole hours.

The gateway's clock is the yardstick: what a meter stamps must lie within its answer's delay of what the gateway saw.
"""

from __future__ import annotations

import numpy as np

from analytics.history.planes import Now
from analytics.series import FloatArray

OFF_S = 120.0
"""A stamp this far from the gateway's clock is wrong: twice the longest delay (a minute) of a late answer. [s]"""
HOUR_S = 3600.0
NEAR = 12
"""Repeats within so many polls of each other are one event (three hours of quarters)."""


class Clocks:
    """Stamps of a fleet, followed.

    Attributes
    ----------
    waiting_s : (m,) float64
        A stamp that is off and not yet confirmed by the next row: one that then repeats is another fault. [s]
    """

    def __init__(self, m: int) -> None:
        self.waiting_s: FloatArray = np.full(m, np.nan)
        self.waiting_slot = np.zeros(m, np.int64)

    def look(self, now: Now) -> None:
        """Say which meters' stamps repeat or are off."""
        block = now.block
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(block.again)), strict=True):
            slot = block.first + j
            now.claim(m, "duplicate_ts", slot, slot, slot, 0.95, {}, near=NEAR)
        wrong = np.abs(block.off_s) > OFF_S
        for m in np.flatnonzero(wrong.any(axis=1) | np.isfinite(self.waiting_s)).tolist():
            self._follow(m, now)

    def _follow(self, m: int, now: Now) -> None:
        block = now.block
        for j in np.flatnonzero(block.again[m] | np.isfinite(block.off_s[m])).tolist():
            slot, off = block.first + j, float(block.off_s[m, j])
            if block.again[m, j]:
                self.waiting_s[m] = np.nan  # a stamp that stands still is another fault
                continue
            if np.isfinite(self.waiting_s[m]):
                was, at = float(self.waiting_s[m]), int(self.waiting_slot[m])
                kind = "dst_shift" if abs(abs(was) - HOUR_S) <= OFF_S else "clock_jump"
                now.claim(m, kind, at, at, slot, 0.95, {"off_by_s": was}, trace={"seen_off_s": was})
            self.waiting_s[m] = off if abs(off) > OFF_S else np.nan
            self.waiting_slot[m] = slot
