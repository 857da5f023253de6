"""Garbage words: a 32-bit float whose two words were exchanged, recognised by exchanging them back."""

from __future__ import annotations

import numpy as np

from analytics.series import BoolArray, FloatArray

TINY, HUGE = 1e-6, 1e9
"""No measurand of a factory is smaller (but zero) or larger than this in its canonical unit."""


def swapped(values: FloatArray) -> FloatArray:
    """What the values would be if the two 16-bit words of their float32 had been read in the other order."""
    with np.errstate(over="ignore", invalid="ignore"):
        words = values.astype(">f4").view(">u2").reshape(-1, 2)[:, ::-1]
        return np.ascontiguousarray(words).view(">f4").ravel().astype(np.float64)


def sensible(value: float) -> bool:
    """Whether a number can be a value at all."""
    return value == 0.0 or TINY <= abs(value) <= HUGE


def absurd(values: FloatArray) -> BoolArray:
    """(n,) bool: not zero, and too small or too large for anything a meter measures."""
    size = np.abs(values)
    odd: BoolArray = np.isfinite(values) & (size > 0.0) & ((size < TINY) | (size > HUGE))
    return odd
