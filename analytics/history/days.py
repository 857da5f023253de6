"""What a day showed against its expectation, for many meters at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.baselines.expected_day import HOURS, Expected
from analytics.history.robust import row_quantile
from analytics.series import FloatArray, IntArray

WORKING = 0.3
"""A day has a cycle if its busy hours stand above its quiet ones by this part of the mean."""
A_CYCLE = 0.5
"""... and half as much as the busiest days' do."""
LEAST_SHIFT, MOST_SHIFT = 2, 8
"""[h]"""
FEWEST_HOURS = 16
FLOOR_HOURS = 8
LAGS = np.array([lag for lag in range(-MOST_SHIFT, MOST_SHIFT + 1) if abs(lag) >= LEAST_SHIFT])
SHIFTED = (np.arange(HOURS) - LAGS[:, None]) % HOURS
"""(lags, 24): where each hour of a day shifted by a lag comes from."""


@dataclass(frozen=True)
class DayFacts:
    """What a day showed against its expectation, one value a meter.

    Attributes
    ----------
    there : (m,) bool
        At least two thirds of the hours are known, and something is expected.
    level, level_high : (m,) float64
        What 4 of 5 hours exceed, and what 1 of 5 hours does, as a multiple of the expected.
    apart : (m,) float64
        Mean distance from the expected, as a share of its mean.
    shifted, lag : (m,) float64, int64
        The same after the best shift, and that shift. [h]
    cycle : (m,) float64
        Share of the expected energy above idle; NaN on days without a cycle.
    floor, busy : (m,) float64
        Median excess in the quiet and in the busy hours. [kW]
    """

    there: np.ndarray[tuple[int], np.dtype[np.bool_]]
    level: FloatArray
    level_high: FloatArray
    apart: FloatArray
    shifted: FloatArray
    lag: IntArray
    cycle: FloatArray
    floor: FloatArray
    busy: FloatArray


def compare(x: FloatArray, expected: Expected) -> DayFacts:
    """Days against their expectation.

    Parameters
    ----------
    x : (m, 24) float64
        [kW]
    expected : Expected
    """
    known = np.isfinite(x)
    there = expected.there & (known.sum(axis=1) >= FEWEST_HOURS)
    e, mean = expected.hours, np.maximum(expected.mean, 1e-9)
    with np.errstate(invalid="ignore"):
        times = x / np.maximum(e, 1e-3 * mean[:, None])
        level, level_high = row_quantile(times, 0.2), row_quantile(times, 0.8)
        count = np.maximum(known.sum(axis=1), 1)
        apart = np.where(known, np.abs(x - e), 0.0).sum(axis=1) / count / mean
        best, lag = np.full(len(x), np.inf), np.zeros(len(x), np.int64)
        wide = np.flatnonzero(there & (apart >= 0.1))  # only days far off can be shifted ones
        if wide.size:
            distances = (
                np.where(known[wide, None], np.abs(x[wide, None] - e[wide][:, SHIFTED]), 0.0).sum(axis=2)
                / (count * mean)[wide, None]
            )
            place = np.argmin(distances, axis=1)
            best[wide], lag[wide] = distances[np.arange(wide.size), place], LAGS[place]
        above = np.where(known, np.maximum(e - expected.idle[:, None], 0.0), 0.0).sum(axis=1)
        worked = np.where(known, np.maximum(x - expected.idle[:, None], 0.0), 0.0).sum(axis=1)
        room = expected.work - expected.idle
        cyclic = (room > WORKING * mean) & (room >= A_CYCLE * (expected.high - expected.low))
        cycle = np.where(cyclic, worked / np.maximum(above, 1e-9), np.nan)
        order = np.argsort(e, axis=1, kind="stable")
        excess = np.take_along_axis(x - e, order, axis=1)
        floor = row_quantile(excess[:, :FLOOR_HOURS], 0.5, 3)
        busy = row_quantile(excess[:, -FLOOR_HOURS:], 0.5, 3)
    return DayFacts(there, level, level_high, apart, best, lag, cycle, floor, busy)
