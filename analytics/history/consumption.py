"""How the plant uses energy, day by day against what is expected: level, shape, missing cycles, off-hours, floor.

Each question has its own statistic, and each statistic is judged against its own past at this meter: a plant that
often works at night makes no finding of it, one that never does, does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analytics.baselines.expected_day import DayBook, Expected
from analytics.findings import Evidence, thinned
from analytics.history.record import Mark
from analytics.history.robust import middle, quantile
from analytics.series import FloatArray, runs

HOURS = 24
LEAST_LEVEL = 0.2
"""A day is worth a finding when it lies this far above the expected, at nearly all hours."""
ONE_FACTOR = 1.25
"""... and nearly by the same factor: where hours differ by more, something was on or off instead."""
SIGMAS = 4.0
WORKING = 0.3
"""A day has a cycle if its busy hours stand above its quiet ones by this part of the mean."""
A_CYCLE = 0.5
"""... and half as much as the busiest days' do."""
CYCLE_MISSING, CYCLE_THERE = 0.25, 0.6
"""Share of the expected cycle's energy below which a working day did not happen, and above which it did."""
SAME_DAY = 0.4
"""A shifted day is the expected one again, but for this part of its difference."""
LEAST_SHIFT, MOST_SHIFT = 2, 8
"""[h]"""
LEAST_SHAPE = 0.15
IDLE_BELOW, BUSY_ABOVE = 0.25, 0.33
"""Shares of the way from idle to work: below is idle time, above is work in idle time."""
LEAST_OFF = 4
"""Hours of work in idle time worth a finding: half a shift."""
SELDOM = 2.0
"""Work in idle time must stand twice as high as it did in any night of the weeks before."""
RARE, HABIT_DAYS = 1, 28
"""As often as this in four weeks is the plant's habit; nothing is called rare before four weeks were watched."""
FLOOR_HOURS = 8
LEAST_FLOOR = 0.03
"""A raised floor is worth a finding from this part of the mean load."""
OF_IDLE = 0.2
"""... and from this part of the idle load."""
FLOOR_SIGMAS, FLOOR_EVIDENCE = 2.5, 9.0
"""Every day in a row is above the first; their mean, times the root of their number, above the second [sigma]. Nights
in a row resemble each other, so that the root promises too much: 9 stands where 4.5 would do for independent ones."""
STEADY = 0.5
"""What leaks, leaks every day: the least day's excess is at least this part of the mean."""
SAME_AT_WORK = 0.25
"""A leak runs at work, too; what is raised only in quiet hours is a base load."""
FLOOR_DAYS, FLOOR_DAYS_MOST = 4, 7
FLOOR_GIVE_UP = 28
"""After four weeks a raised floor is the new normal."""
BEGINNINGS = ("unusual_level", "off_hours")
"""What the first days of a raised floor look like."""
MEMORY = 28
LAGS = np.array([lag for lag in range(-MOST_SHIFT, MOST_SHIFT + 1) if abs(lag) >= LEAST_SHIFT])
SHIFTED = (np.arange(HOURS) - LAGS[:, None]) % HOURS
"""(lags, 24): where each hour of a day shifted by a lag comes from."""


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What a day showed against its expectation.

    Attributes
    ----------
    level, level_high : float
        What 4 of 5 hours exceed, and what 1 of 5 hours does, as a multiple of the expected.
    apart : float
        Mean distance from the expected, as a share of its mean.
    shifted, lag : float, int
        The same after the best shift, and that shift. [h]
    cycle : float
        Share of the expected energy above idle; NaN on days without a cycle.
    floor, busy : float
        Median excess in the quiet and in the busy hours. [kW]
    """

    level: float
    level_high: float
    apart: float
    shifted: float
    lag: int
    cycle: float
    floor: float
    busy: float


def compare(hours: FloatArray, expected: Expected, reach: tuple[float, float]) -> DayFacts | None:
    """A day against its expectation; None if a third of its hours is not known.

    Parameters
    ----------
    hours : (24,) float64
        [kW]
    expected : Expected
    reach : (float, float)
        Idle and working level of the whole week: a Saturday's small bump is no cycle. [kW]
    """
    known = np.isfinite(hours)
    if known.sum() < 16:
        return None
    e, x, mean = expected.hours, hours, max(expected.mean, 1e-9)
    times = x[known] / np.maximum(e[known], 1e-3 * mean)
    level, level_high = quantile(times, 0.2), quantile(times, 0.8)
    apart = float(np.mean(np.abs(x - e)[known])) / mean
    distances = np.abs(x - e[SHIFTED])[:, known].mean(axis=1) / mean
    best = int(np.argmin(distances))
    shifted, lag = float(distances[best]), int(LAGS[best])
    idle, work = expected.idle, expected.work
    cycle = np.nan
    if work - idle > WORKING * mean:
        above = float(np.sum(np.maximum(e - idle, 0.0)[known]))
        cycle = float(np.sum(np.maximum(x - idle, 0.0)[known])) / max(above, 1e-9)
        if work - idle < A_CYCLE * (reach[1] - reach[0]):
            cycle = np.nan
    order = np.argsort(e, kind="stable")
    quiet, busy = order[:FLOOR_HOURS], order[-FLOOR_HOURS:]
    return DayFacts(level, level_high, apart, shifted, lag, cycle, _median((x - e)[quiet]), _median((x - e)[busy]))


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return middle(known) if known.size >= 3 else np.nan


@dataclass
class Past:
    """The last weeks of one statistic, for its usual value and spread."""

    values: deque[float] = field(default_factory=lambda: deque(maxlen=MEMORY))

    def add(self, value: float) -> None:
        if np.isfinite(value):
            self.values.append(value)

    def usual(self, least: float) -> tuple[float, float]:
        """Median and robust standard deviation, never below `least`."""
        if len(self.values) < 5:
            return 0.0, np.inf
        known = np.array(self.values)
        usual = middle(known)
        spread = max(1.4826 * middle(np.abs(known - usual)), least)
        return usual, spread * (1.0 + 4.0 / len(self.values))  # few days may show less than there is


@dataclass
class _Floor:
    """A raised floor that lasts."""

    first: int
    kw: float
    busy_kw: float
    back: int = 0


class ConsumptionWatch:
    """Judges the days of one meter in order; holds what it has learnt (some kilobytes).

    Days are numbers since the epoch; hours are means [kW], NaN where the meter is not to be believed.
    """

    def __init__(self) -> None:
        self.book = DayBook()
        self.level: dict[bool, Past] = {False: Past(), True: Past()}
        self.floor = Past()
        self.watched = 0
        self.heights: deque[tuple[int, float]] = deque(maxlen=HABIT_DAYS)
        self.evening: tuple[int, FloatArray, FloatArray, FloatArray] | None = None
        self.missing: list[int] = []
        self.shut = False
        self.candidate: tuple[int, DayFacts, Expected, FloatArray] | None = None
        self.raised: deque[tuple[int, float, float]] = deque(maxlen=FLOOR_DAYS_MOST)
        self.lasting: _Floor | None = None
        self.marks: list[Mark] = []
        self.recent: deque[tuple[int, FloatArray]] = deque(maxlen=2 * FLOOR_DAYS + 8)

    def day(self, day: int, hours: FloatArray, *, peers_off: bool = False) -> None:
        """Judge one whole day, given those before it.

        Parameters
        ----------
        day : int
        hours : (24,) float64
            [kW]
        peers_off : bool
            Other meters of the plant had no cycle either: a holiday.
        """
        expected = self.book.expected(day)
        if expected is None:
            self.book.learn(day, hours)
            return
        facts = compare(hours, expected, self.book.range)
        if facts is None:
            return
        cyclic = bool(np.isfinite(facts.cycle))
        self.recent.append((day, hours))
        self.watched += 1
        learn = hours
        said = self._floor(day, facts, expected)
        if self.lasting is not None:
            learn = (
                hours - max(self.lasting.kw, 0.0) if self.lasting.busy_kw > 0.5 * self.lasting.kw else hours * np.nan
            )
        if self._shape(day, facts, expected, hours) or (not said and self._level(day, facts, expected, hours, cyclic)):
            learn = hours * np.nan
            self.evening = None
        else:
            self._off_hours(day, hours, expected, quiet=not said)
        self._cycle(day, facts, expected, hours, peers_off)
        if cyclic and facts.cycle < CYCLE_MISSING:
            learn = hours * np.nan
        self.level[cyclic].add(facts.level)
        self.book.learn(day, learn)

    # -- a day like no other -------------------------------------------------------------------------------------
    def _level(self, day: int, facts: DayFacts, expected: Expected, hours: FloatArray, cyclic: bool) -> bool:
        usual, sigma = self.level[cyclic].usual(0.02)
        if facts.level_high > ONE_FACTOR * facts.level or facts.level <= max(1.0 + LEAST_LEVEL, usual + SIGMAS * sigma):
            return False
        kwh = float(np.nansum(hours - expected.hours))
        self._say("unusual_level", day, 0, day, HOURS - 1, day, 0.7, hours, expected, {"times": facts.level}, kwh)
        return True

    def _shape(self, day: int, facts: DayFacts, expected: Expected, hours: FloatArray) -> bool:
        if facts.apart < LEAST_SHAPE or facts.shifted > SAME_DAY * facts.apart:
            return False
        self._say("unusual_shape", day, 0, day, HOURS - 1, day, 0.8, hours, expected, {"shifted_h": facts.lag}, None)
        return True

    def _cycle(self, day: int, facts: DayFacts, expected: Expected, hours: FloatArray, peers_off: bool) -> None:
        """A working day that did not happen between days that did; longer is a shutdown, with others a holiday."""
        if not np.isfinite(facts.cycle):
            return
        if self.candidate is not None and facts.cycle >= CYCLE_THERE:
            day0, facts0, expected0, hours0 = self.candidate
            habit = sum(1 for other in self.missing if day - HABIT_DAYS <= other < day0)
            if self.watched > MEMORY and habit < RARE and day - day0 <= 3:
                kwh = float(np.nansum(hours0 - expected0.hours))
                evidence = {"share_of_cycle": facts0.cycle}
                self._say("missing_cycle", day0, 0, day0, HOURS - 1, day, 0.7, hours0, expected0, evidence, kwh)
            self.missing.append(day0)
            self.candidate = None
        if facts.cycle < CYCLE_MISSING:
            if peers_off or self.shut or self.candidate is not None:
                self.candidate, self.shut = None, True
            else:
                self.candidate = (day, facts, expected, hours)
        elif facts.cycle >= CYCLE_THERE:
            self.shut = False

    # -- the floor ------------------------------------------------------------------------------------------------
    def _floor(self, day: int, facts: DayFacts, expected: Expected) -> bool:
        """Whether a raised floor lasts on this day."""
        if not np.isfinite(facts.floor):
            return self.lasting is not None
        usual, sigma = self.floor.usual(0.01 * expected.mean)
        excess = facts.floor - usual
        if self.lasting is not None:
            # compared with the floor it had before: what is learnt has the excess taken off
            if excess < 0.4 * self.lasting.kw:
                self.lasting.back += 1
            else:
                self.lasting.back = 0
            mark = self.marks[-1] if self.marks else None
            if day - self.lasting.first > FLOOR_GIVE_UP:
                self.book.relearn(list(self.recent))
                self.floor = Past()
            if self.lasting.back >= 2 or day - self.lasting.first > FLOOR_GIVE_UP:
                self.lasting = None
                return False
            index = max(k for k, m in enumerate(self.marks) if m.kind in ("leak", "base_load"))
            mark = self.marks[index]
            if self.lasting.back == 0:
                self.marks[index] = replace(mark, last=(day + 1) * HOURS - 1)
            return True
        if excess > max(LEAST_FLOOR * expected.mean, FLOOR_SIGMAS * sigma):
            self.raised.append((day, excess, facts.busy))
        else:
            self.raised.clear()
            self.floor.add(facts.floor)
        kw = float(np.mean([excess for _, excess, _ in self.raised])) if self.raised else 0.0
        days = len(self.raised)
        steady = days >= FLOOR_DAYS and min(excess for _, excess, _ in self.raised) > STEADY * kw
        if steady and kw > max(OF_IDLE * expected.idle, FLOOR_EVIDENCE * sigma / np.sqrt(days)):
            first = self.raised[0][0]
            busy = float(np.nanmedian([b for _, _, b in self.raised]))
            self.lasting = _Floor(first, kw, busy)
            kind = "leak" if busy > SAME_AT_WORK * kw else "base_load"
            evidence: Evidence = {
                "excess_kw": kw, "usual_spread_kw": sigma, "excess_in_busy_hours_kw": busy,
            }  # fmt: skip
            self.marks.append(
                Mark(
                    kind,
                    first * HOURS,
                    (day + 1) * HOURS - 1,
                    (day + 1) * HOURS - 1,
                    0.7,
                    evidence,
                    kw * HOURS * days,
                )
            )
            self.raised.clear()
            # days called unusual one by one were the beginning of this
            self.marks[:-1] = [m for m in self.marks[:-1] if m.kind not in BEGINNINGS or m.first < first * HOURS]
            return True
        return False

    # -- work in idle time ----------------------------------------------------------------------------------------
    def _off_hours(self, day: int, hours: FloatArray, expected: Expected, *, quiet: bool) -> None:
        """Hours of work in hours in which this plant never works, whatever the weekday."""
        idle, work = self.book.range
        room = work - idle
        before = self.evening if self.evening is not None and self.evening[0] == day - 1 else None
        height = (hours - idle) / max(room, 1e-9)
        height[self.book.busiest > idle + IDLE_BELOW * room] = np.nan  # an extra shift at working hours is no waste
        self.evening = (day, hours, expected.hours, height)
        if room < WORKING * max(expected.mean, 1e-9):
            return
        x, e = hours, expected.hours
        if before is not None:
            x, e, height = (np.concatenate((old, new)) for old, new in zip(before[1:], (x, e, height), strict=True))
        offset = day * HOURS - (x.size - HOURS)
        best = 0.0
        for a in range(max(x.size - HOURS - LEAST_OFF + 1, 0), x.size - LEAST_OFF + 1):
            lowest = float(height[a : a + LEAST_OFF].min())
            best = max(best, lowest) if np.isfinite(lowest) else best
        habit = max((other for when, other in self.heights if when >= day - HABIT_DAYS), default=0.0)
        rare = self.watched > MEMORY and best > max(BUSY_ABOVE, SELDOM * habit)
        if not (rare and quiet):
            self.heights.append((day, best))
        if not rare or not quiet:
            return
        for a, b in runs(np.nan_to_num(height) > max(BUSY_ABOVE, SELDOM * habit)):
            if b - a < LEAST_OFF or offset + b <= day * HOURS:
                continue
            kwh = float(np.nansum((x - e)[a:b]))
            first, last = offset + a, offset + b - 1
            mark = self.marks[-1] if self.marks else None
            if mark is not None and mark.kind == "off_hours" and mark.last >= first:
                self.marks[-1] = replace(mark, last=last, energy_kwh=kwh)
                continue
            evidence: dict[str, float | int] = {"idle_kw": idle, "work_kw": work, "usual_height": habit}
            night = replace(expected, hours=e[a:b])
            self._say("off_hours", 0, first, 0, last, day, 0.6, x[a:b], night, evidence, kwh)

    def _say(
        self, kind: str, day: int, hour: int, last_day: int, last_hour: int, seen_day: int, confidence: float,
        hours: FloatArray, expected: Expected, more: dict[str, float | int], kwh: float | None,
    ) -> None:  # fmt: skip
        evidence = {"seen_kw": thinned(hours), "expected_kw": thinned(expected.hours), **more}
        self.marks.append(
            Mark(
                kind,
                day * HOURS + hour,
                last_day * HOURS + last_hour,
                (seen_day + 1) * HOURS - 1,
                confidence,
                evidence,
                kwh,
            )
        )


def peers_without_cycle(books: Sequence[DayFacts | None]) -> list[bool]:
    """For each meter, whether at least one other, and at least half of the others with a cycle, had none."""
    missing = [facts is not None and facts.cycle < CYCLE_MISSING for facts in books]
    cyclic = [facts is not None and bool(np.isfinite(facts.cycle)) for facts in books]
    answer = []
    for k in range(len(books)):
        others = sum(cyclic) - cyclic[k]
        off = sum(missing) - missing[k]
        answer.append(others > 0 and 2 * off >= others)
    return answer


def hourly(load_kw: FloatArray, first_slot: int, per_day: int) -> tuple[FloatArray, int]:
    """Hourly means by whole days, and the number of the first day since the epoch.

    A reading covers the slot before it arrives: what arrives at midnight belongs to the day that ends.
    """
    per_hour = max(per_day // HOURS, 1)
    lead = (first_slot - 1) % per_day
    size = -(-(lead + load_kw.size) // per_day) * per_day
    slots = np.full(size, np.nan)
    slots[lead : lead + load_kw.size] = load_kw
    quarters = slots[: size // per_day * per_hour * HOURS].reshape(-1, HOURS, per_hour)
    there = np.isfinite(quarters).sum(axis=2)
    total = np.nansum(quarters, axis=2)
    return np.where(2 * there >= per_hour, total / np.maximum(there, 1), np.nan), (first_slot - 1) // per_day
