"""The last digit of a channel, seen in its values: the coarsest of 10, 1, 0.1 ... they all fit on."""

from __future__ import annotations

import numpy as np

from analytics.series import FloatArray

STEPS = np.array([10.0, 1.0, 0.1, 0.01, 0.001])
FINEST = 1e-4
ENOUGH = 2000
"""After so many values the last digit is known."""
FIT = 0.995
LARGEST = 1e9


class Digits:
    """The last digit of one channel of each meter of a fleet.

    Attributes
    ----------
    digit : (m,) float64
        As known this morning; `FINEST` for values that fit on nothing.
    """

    def __init__(self, m: int) -> None:
        self.digit: FloatArray = np.full(m, FINEST)
        self.count = np.zeros(m, np.int32)
        self.fits = np.zeros((m, STEPS.size), np.int32)
        self.settled = False

    def take(self, values: FloatArray) -> None:
        """Look at the values of a block."""
        if self.settled:
            return
        known = np.isfinite(values) & (np.abs(values) < LARGEST) & (self.count < ENOUGH)[:, None]
        known_values = np.where(known, values, 0.5e-4)
        for k, step in enumerate(STEPS):
            scaled = known_values / step
            self.fits[:, k] += (known & (np.abs(scaled - np.round(scaled)) < 1e-4)).sum(axis=1, dtype=np.int32)
        self.count += known.sum(axis=1, dtype=np.int32)

    def end_day(self) -> None:
        """A day is over: what was seen so far counts from now on."""
        if self.settled:
            return
        fits = (self.fits > FIT * self.count[:, None]) & (self.count > 0)[:, None]
        first = np.argmax(fits, axis=1)
        self.digit = np.where(fits.any(axis=1), STEPS[first], FINEST)
        self.settled = bool((self.count >= ENOUGH).all())
