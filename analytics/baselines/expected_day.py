"""The expected hours of a day, learnt from the days before that were like it; no calendar is needed.

Weekdays that look alike are pooled (most plants have working days, Saturdays, Sundays; some work through), so that a
few weeks are enough. What was judged an anomaly is not learnt; medians keep out what was not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analytics.series import FloatArray

KEPT_DAYS = 42
FEWEST = 3
"""Days of the same kind needed before anything is expected."""
POOLED_DAYS = 15
"""The latest so many days of one kind are used: three weeks of working days; seasons move on."""
ALIKE = 0.12
"""Weekdays whose median days differ by less than this part of the mean are one kind."""


@dataclass(frozen=True)
class Expected:
    """What is expected of a day.

    Attributes
    ----------
    hours : (24,) float64
        Median of each hour over the days of this kind. [kW]
    """

    hours: FloatArray

    @cached_property
    def _sorted(self) -> FloatArray:
        return np.sort(self.hours)

    @cached_property
    def mean(self) -> float:
        return float(self.hours.mean())

    @property
    def idle(self) -> float:
        """Level of the quiet hours. [kW]"""
        return float(self._sorted[2] * 0.7 + self._sorted[3] * 0.3)

    @property
    def work(self) -> float:
        """Level of the busy hours. [kW]"""
        return float(self._sorted[20] * 0.3 + self._sorted[21] * 0.7)


@dataclass
class DayBook:
    """The days a meter's expectation is learnt from; at most `KEPT_DAYS` of 24 hours (8 kB)."""

    days: list[FloatArray] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    _typical: dict[int, FloatArray] = field(default_factory=dict)
    _asked: tuple[int, Expected | None] | None = None
    _range: tuple[float, float] | None = None

    def learn(self, day: int, hours: FloatArray) -> None:
        """Add a day that was judged sound; one with more than four unknown hours teaches nothing."""
        known = np.isfinite(hours)
        if known.sum() < 20:
            return
        if not bool(known.all()):
            typical = self._typical.get(day % 7)
            if typical is None:
                return
            hours = np.where(known, hours, typical)
        self.days.append(hours)
        self.index.append(day)
        gone = self.index[0] % 7
        if len(self.days) > KEPT_DAYS:
            del self.days[0], self.index[0]
        for weekday in {day % 7, gone}:
            own = [h for h, other in zip(self.days, self.index, strict=True) if other % 7 == weekday]
            if own:
                self._typical[weekday] = np.median(np.array(own), axis=0)
        self._asked = self._range = None

    def relearn(self, days: list[tuple[int, FloatArray]]) -> None:
        """Begin again from these days: a new normal."""
        self.days.clear()
        self.index.clear()
        self._typical.clear()
        for day, hours in days:
            self.learn(day, hours)

    @property
    def range(self) -> tuple[float, float]:
        """Idle and working level over all days in the book (10 and 90 % quantiles of hours). [kW]"""
        if self._range is None:
            low, high = np.quantile(np.array(self.days), (0.1, 0.9))
            self._range = float(low), float(high)
        return self._range

    @property
    def busiest(self) -> FloatArray:
        """(24,) float64: what each hour is like on the busiest kind of day. [kW]"""
        return np.asarray(np.max(np.array(list(self._typical.values())), axis=0))

    def expected(self, day: int) -> Expected | None:
        """What is expected of a day, or None while there is too little to learn from."""
        if self._asked is None or self._asked[0] != day:
            self._asked = (day, self._expect(day))
        return self._asked[1]

    def _expect(self, day: int) -> Expected | None:
        mine = self._typical.get(day % 7)
        if len(self.days) < 2 * 7 or mine is None:
            return None
        scale = max(float(np.mean([typical.mean() for typical in self._typical.values()])), 1e-9)
        kin = {w for w, other in self._typical.items() if float(np.abs(other - mine).mean()) <= ALIKE * scale}
        use = [k for k, other in enumerate(self.index) if other % 7 in kin][-POOLED_DAYS:]
        if len(use) < FEWEST:
            return None
        chosen = np.array([self.days[k] for k in use])
        return Expected(np.median(chosen, axis=0))
