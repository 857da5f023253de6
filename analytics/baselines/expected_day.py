"""The expected hours of a day, learnt from the days before that were like it; no calendar is needed.

Weekdays that look alike are pooled (most plants have working days, Saturdays, Sundays; some work through), so that a
few weeks are enough. What was judged an anomaly is not learnt; medians keep out what was not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.series import BoolArray, FloatArray, IntArray

HOURS = 24
WEEKDAYS, KEPT = 7, 6
"""Of each weekday the last six days that were learnt are kept."""
FEWEST = 3
"""Days of the same kind needed before anything is expected."""
FEWEST_DAYS = 14
POOLED_DAYS = 15
"""The latest so many days of one kind are used: three weeks of working days; seasons move on."""
ALIKE = 0.12
"""Weekdays whose median days differ by less than this part of the mean are one kind."""
FEWEST_HOURS = 20
NO_DAY = 0


@dataclass(frozen=True)
class Expected:
    """What is expected of a day at many meters.

    Attributes
    ----------
    there : (m,) bool
        Enough was learnt to expect anything.
    hours : (m, 24) float64
        Median of each hour over the days of this kind. [kW]
    mean, idle, work : (m,) float64
        Mean, and the levels of the quiet and of the busy hours. [kW]
    low, high : (m,) float64
        Idle and working level of the whole week. [kW]
    busiest : (m, 24) float64
        Each hour on the busiest kind of day. [kW]
    days : (m, 15) int32
        The days it rests on, since the epoch; `NO_DAY` for none.
    """

    there: BoolArray
    hours: FloatArray
    mean: FloatArray
    idle: FloatArray
    work: FloatArray
    low: FloatArray
    high: FloatArray
    busiest: FloatArray
    days: NDArray[np.int32]


class DayBooks:
    """The days that the expectations of many meters are learnt from.

    Attributes
    ----------
    hours : (m, 7, 6, 24) float16
        By weekday, in units of each meter's `unit`: a power of two that leaves three to four digits.
    index : (m, 7, 6) uint16
        Number of each day since the epoch, `NO_DAY` for none.
    typical : (m, 7, 24) float16
        Median day of each weekday, in the same units.
    """

    def __init__(self, m: int) -> None:
        self.hours = np.full((m, WEEKDAYS, KEPT, HOURS), np.nan, np.float16)
        self.index: NDArray[np.uint16] = np.full((m, WEEKDAYS, KEPT), NO_DAY, np.uint16)
        self.typical = np.full((m, WEEKDAYS, HOURS), np.nan, np.float16)
        self.unit: FloatArray = np.full(m, np.nan)
        self.low: FloatArray = np.full(m, np.nan)
        self.high: FloatArray = np.full(m, np.nan)

    def _reach(self, all_of_them: bool, there: BoolArray) -> None:
        """Idle and working level of the whole week, once a week: 10 and 90 % quantiles of all hours."""
        rows = np.flatnonzero(there & (all_of_them | np.isnan(self.low)))
        if not rows.size:
            return
        hours = np.sort(self.hours[rows].reshape(rows.size, -1).astype(np.float32), axis=1)
        last = np.isfinite(hours).sum(axis=1) - 1
        each = np.arange(rows.size)
        for share, level in ((0.1, self.low), (0.9, self.high)):
            level[rows] = hours[each, np.round(share * last).astype(np.int64)] * self.unit[rows]

    def learn(self, day: int, hours: FloatArray, which: BoolArray) -> None:
        """Add a day that was judged sound; one with more than four unknown hours teaches nothing.

        Parameters
        ----------
        day : int
        hours : (m, 24) float64
            [kW]
        which : (m,) bool
            Meters that learn it.
        """
        weekday = day % WEEKDAYS
        known = np.isfinite(hours)
        fill = np.where(known, hours, self.typical[:, weekday] * self.unit[:, None])
        rows = np.flatnonzero(which & (known.sum(axis=1) >= FEWEST_HOURS) & np.isfinite(fill).all(axis=1))
        if not rows.size:
            return
        fresh = rows[np.isnan(self.unit[rows])]
        mean = np.abs(fill[fresh]).mean(axis=1)
        self.unit[fresh] = np.exp2(np.floor(np.log2(np.where(mean > 0.0, mean, 1.0))) - 4.0)
        place = np.argmin(self.index[rows, weekday], axis=1)
        self.hours[rows, weekday, place] = np.clip(fill[rows] / self.unit[rows, None], -6e4, 6e4)
        self.index[rows, weekday, place] = day
        self.typical[rows, weekday] = _medians(self.hours[rows, weekday].astype(np.float32))

    def forget(self, m: int) -> None:
        """Begin again: a new normal."""
        self.hours[m] = np.nan
        self.index[m] = NO_DAY
        self.typical[m] = np.nan
        self.low[m] = self.high[m] = np.nan

    def add(self, m: int, kw: float, since: int) -> None:
        """Raise the days learnt since a day by an amount that turned out to be normal. [kW]"""
        late = self.index[m] >= since
        self.hours[m][late] += np.float16(kw / self.unit[m])
        for weekday in np.flatnonzero(late.any(axis=1)).tolist():
            self.typical[m, weekday] = _medians(self.hours[m, weekday].astype(np.float32)[None])[0]

    def expected(self, day: int) -> Expected:
        """What is expected of a day at every meter."""
        weekday = day % WEEKDAYS
        typical = self.typical.astype(np.float32)
        mine = typical[:, weekday]
        there = ((self.index != NO_DAY).sum(axis=(1, 2)) >= FEWEST_DAYS) & np.isfinite(mine[:, 0])
        with np.errstate(invalid="ignore"):
            means = typical.mean(axis=2)
            known = np.isfinite(means)
            scale = np.where(known, means, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            distance = np.abs(typical - mine[:, None]).mean(axis=2)
            kin = distance <= ALIKE * np.maximum(scale, 1e-9)[:, None]
        days = np.where(kin[:, :, None], self.index, NO_DAY).astype(np.int32).reshape(len(mine), -1)
        latest: IntArray = np.argsort(-days, axis=1, kind="stable")[:, :POOLED_DAYS]
        rows = np.arange(len(mine))[:, None]
        chosen = self.hours.reshape(len(mine), -1, HOURS)[rows, latest].astype(np.float32)
        chosen[days[rows, latest] == NO_DAY] = np.nan
        there &= (days != NO_DAY).sum(axis=1) >= FEWEST
        hours = (_medians(chosen) * self.unit[:, None]).astype(np.float64)
        ordered = np.sort(hours, axis=1)
        self._reach(weekday == 0, there)
        with np.errstate(invalid="ignore"):
            busiest = np.fmax.reduce(typical, axis=1) * self.unit[:, None]
        return Expected(
            there, hours, hours.mean(axis=1),
            ordered[:, 2] * 0.7 + ordered[:, 3] * 0.3, ordered[:, 20] * 0.3 + ordered[:, 21] * 0.7,
            self.low, self.high, busiest.astype(np.float64), days[rows, latest],
        )  # fmt: skip


def _medians(days: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> FloatArray:
    """(m, 24): median over the days that are there; a day is there with all its hours or not at all."""
    ordered = np.sort(days, axis=1)
    count = np.isfinite(ordered[:, :, 0]).sum(axis=1)
    rows = np.arange(len(days))
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, days.shape[1] - 1)
    return np.asarray(0.5 * (ordered[rows, low] + ordered[rows, high]), np.float64)
