"""How long it is worth waiting for a meter, learnt from how long it has taken.

A meter that answers within 20 ms and then says nothing will say nothing for the rest of the half second that any meter
may take: waiting for it is time taken from the others. So a meter is given four times what it needs, but never less
than a tenth of a second nor more than its protocol allows. Where that proves hasty, it is given more.
"""

from __future__ import annotations

from collections import deque

TIMES_P95 = 4.0
LEAST_S = 0.1
ENOUGH = 20
"""Answers before what has been seen is believed."""
KEPT = 128
CALM_AFTER = 200
"""Answers in time, until one doubling for haste is taken back."""


class LearntPatience:
    """What one meter needs to begin its answers."""

    __slots__ = ("_calm", "_count", "_doublings", "_p95_s", "_took_s")

    def __init__(self) -> None:
        self._took_s: deque[float] = deque(maxlen=KEPT)
        self._count = self._calm = self._doublings = 0
        self._p95_s = 0.0

    def took(self, seconds: float) -> None:
        """It began an answer after this time. [s]"""
        self._took_s.append(max(seconds, 0.0))
        self._count += 1
        if self._count % ENOUGH == 0:
            self._p95_s = sorted(self._took_s)[len(self._took_s) * 95 // 100]
        self._calm += 1
        if self._calm >= CALM_AFTER and self._doublings:
            self._calm, self._doublings = 0, self._doublings - 1

    def hasty(self) -> None:
        """It was given up, and answered nevertheless: wait twice as long from now on."""
        self._calm = 0
        self._doublings = min(self._doublings + 1, 6)

    @property
    def within_s(self) -> float | None:
        """How long to wait for the begin of its answer; None while too little is known. [s]"""
        if self._count < ENOUGH:
            return None
        return max(TIMES_P95 * self._p95_s, LEAST_S) * 2.0**self._doublings
