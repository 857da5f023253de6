"""A column of numbers as the meters gave them, turned into arrays without losing a digit.

`meterline.readings.to_micro` says what is right, one number at a time; this is the same for a column, and a test holds
the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meterline.readings import MICRO, Number, to_micro

_INT64 = np.iinfo(np.int64)


def values_of(numbers: Sequence[Number | None], exponent: int) -> NDArray[np.float64]:
    """(n,) float64 in the canonical unit: the nearest float to ``number * 10**exponent``; NaN where there is none."""
    plain = np.array([np.nan if n is None else n for n in numbers], dtype=np.float64)
    # dividing by a power of ten rounds once, multiplying by its inverse rounds twice
    return plain * 10.0**exponent if exponent >= 0 else plain / 10.0**-exponent


def micros_of(numbers: Sequence[Number | None], exponent: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Whole millionths of the canonical unit, exactly as `to_micro` gives them.

    Returns
    -------
    micro : (n,) int64
        0 where there is none.
    fits : (n,) bool
        False where there is no number or it does not fit 64 bits (no counter shows 9.2e12 units).
    """
    there = np.array([n is not None for n in numbers], dtype=bool)
    if not there.any():
        return np.zeros(there.size, np.int64), there
    if any(isinstance(n, float) for n in numbers):
        return _of_floats(numbers, exponent, there)
    shift = exponent + MICRO
    most = max(abs(n) for n in numbers if n is not None)
    if shift < 0 or most * 10**shift > _INT64.max:
        return _one_by_one(numbers, exponent, there)
    return np.array([n or 0 for n in numbers], dtype=np.int64) * 10**shift, there


def _of_floats(
    numbers: Sequence[Number | None], exponent: int, there: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rounding the product is right unless it lies so close to a half that the product's own error could decide."""
    shift = exponent + MICRO
    plain = np.array([0 if n is None else n for n in numbers], dtype=np.float64)
    scaled = plain * 10.0**shift if shift >= 0 else plain / 10.0**-shift
    size = np.abs(scaled)
    fraction = size - np.floor(size)
    unsure = (size >= 2.0**50) | (np.abs(fraction - 0.5) <= size * 1e-15 + 1e-300) | ~np.isfinite(scaled)
    micro = np.where(unsure, 0.0, np.rint(scaled)).astype(np.int64)
    fits = there.copy()
    for k in np.flatnonzero(unsure & there).tolist():
        exact = to_micro(numbers[k] or 0, exponent)
        fits[k] = _INT64.min <= exact <= _INT64.max
        micro[k] = exact if fits[k] else 0
    return micro, fits


def _one_by_one(
    numbers: Sequence[Number | None], exponent: int, there: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    exact = [0 if n is None else to_micro(n, exponent) for n in numbers]
    fits = there & np.array([_INT64.min <= e <= _INT64.max for e in exact], dtype=bool)
    return np.array([e if fit else 0 for e, fit in zip(exact, fits, strict=True)], dtype=np.int64), fits
