"""Medians and quantiles for many short arrays: the same numbers as numpy's, several times faster on twenty values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.series import FloatArray


def middle(values: FloatArray) -> float:
    """Median of known values."""
    n = values.size
    half = n // 2
    if n % 2:
        return float(np.partition(values, half)[half])
    two = np.partition(values, (half - 1, half))
    return 0.5 * float(two[half - 1] + two[half])


def quantile(values: FloatArray, q: float) -> float:
    """Quantile of known values, interpolated linearly between neighbours."""
    at = q * (values.size - 1)
    low = int(at)
    high = min(low + 1, values.size - 1)
    two = np.partition(values, (low, high))
    return float(two[low] + (at - low) * (two[high] - two[low]))


def row_quantile(rows: NDArray[np.floating[Any]], q: float, fewest: int = 1) -> FloatArray:
    """(n,) float64: quantile of the known values of each row, NaN for a row with fewer than `fewest`.

    Parameters
    ----------
    rows : (n, m) float64
        NaN is not known.
    """
    ordered = np.sort(rows, axis=1)  # NaN last
    known = np.isfinite(rows).sum(axis=1)
    at = q * np.maximum(known - 1, 0)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, np.maximum(known - 1, 0))
    row = np.arange(len(rows))
    lower, upper = ordered[row, low].astype(np.float64), ordered[row, high].astype(np.float64)
    enough = known >= fewest
    with np.errstate(invalid="ignore"):  # a NaN of half precision may be a signalling one
        return np.where(enough, lower + (at - low) * (upper - lower), np.nan)
