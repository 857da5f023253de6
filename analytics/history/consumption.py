"""How the plant uses energy, day by day against what is expected: level, shape, missing cycles, off-hours, floor.

Each question has its own statistic, and each statistic is judged against its own past at this meter: a plant that
often works at night makes no finding of it, one that never does, does. Most days are like others: they are learnt for
all meters at once, and only the days that may be odd are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from analytics.baselines.expected_day import HOURS, DayBooks, Expected
from analytics.findings import Evidence, thinned
from analytics.history.claims import Ledger, Mark
from analytics.history.days import WORKING, DayFacts, compare
from analytics.history.planes import FleetFacts
from analytics.history.robust import row_quantile
from analytics.series import BoolArray, FloatArray, runs

LEAST_LEVEL = 0.2
"""A day is worth a finding when it lies this far above the expected, at nearly all hours."""
ONE_FACTOR = 1.25
"""... and nearly by the same factor: where hours differ by more, something was on or off instead."""
SIGMAS = 4.0
AS_BEFORE = 1.25
"""A day is unusual when it stands out by a quarter more than any of the last four weeks did."""
CYCLE_MISSING, CYCLE_THERE = 0.25, 0.6
"""Share of the expected cycle's energy below which a working day did not happen, and above which it did."""
SAME_DAY = 0.4
"""A shifted day is the expected one again, but for this part of its difference."""
LEAST_SHAPE = 0.15
IDLE_BELOW, BUSY_ABOVE = 0.25, 0.33
"""Shares of the way from idle to work: below is idle time, above is work in idle time."""
LEAST_OFF = 4
"""Hours of work in idle time worth a finding: half a shift."""
SELDOM = 2.0
"""Work in idle time must stand twice as high as it did in any night of the weeks before."""
RARE, HABIT_DAYS = 1, 28
"""As often as this in four weeks is the plant's habit; nothing is called rare before four weeks were watched."""
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
AT_WORK = (-1.0, 2.5)
"""Busy hours that fell by as much, or rose by far more, say that work has changed, not the floor."""
OTHER_WEATHER_K = 5.0
"""A day this much warmer or colder than those it is compared with is no witness of a floor or a level. [K]"""
FLOOR_DAYS, FLOOR_DAYS_MOST = 4, 7
FLOOR_GIVE_UP = 28
"""After four weeks a raised floor is the new normal."""
BEGINNINGS = ("unusual_level", "off_hours")
"""What the first days of a raised floor look like."""
FLOORS = ("leak", "base_load")
MEMORY = 28
MOST_HALF = 6e4
"""Half precision ends here."""
FEWEST_PAST = 5
NONE = -(2**40)


class Past:
    """The last four weeks of one statistic at many meters, for its usual value and spread."""

    def __init__(self, m: int, kept: type[np.float16 | np.float32] = np.float32) -> None:
        self.values = np.full((m, MEMORY), np.nan, kept)
        self.count = np.zeros(m, np.int32)
        self.most = MOST_HALF if kept is np.float16 else np.inf

    def add(self, values: FloatArray, which: BoolArray) -> None:
        """Add one value for some meters."""
        rows = np.flatnonzero(which & np.isfinite(values))
        self.values[rows, self.count[rows] % MEMORY] = np.clip(values[rows], -self.most, self.most)
        self.count[rows] += 1

    def usual(self, least: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(m,) median and robust standard deviation, never below `least`; infinite after too few values."""
        values = self.values.astype(np.float64)
        usual = row_quantile(values, 0.5)
        spread = np.maximum(1.4826 * row_quantile(np.abs(values - usual[:, None]), 0.5), least)
        n = np.minimum(self.count, MEMORY)
        spread = spread * (1.0 + 4.0 / np.maximum(n, 1))  # few days may show less than there is
        return np.where(n >= FEWEST_PAST, usual, 0.0), np.where(n >= FEWEST_PAST, spread, np.inf)

    def forget(self, m: int) -> None:
        """Begin again."""
        self.values[m] = np.nan
        self.count[m] = 0


@dataclass
class _Day:
    """The day that is judged, with what is usual."""

    number: int
    hours: FloatArray
    expected: Expected
    facts: DayFacts
    cyclic: BoolArray
    peers_off: BoolArray
    level: tuple[FloatArray, FloatArray]
    floor: tuple[FloatArray, FloatArray]
    height: FloatArray
    best: FloatArray
    habit: FloatArray
    seen: int
    arrival: Callable[[int], int]


class Consumption:
    """The use of energy of a fleet.

    Parameters
    ----------
    facts : FleetFacts
    ends : (m,) bool
        Meters that no other subdivides: a main's use is its sub-meters' and would be said twice.
    strict : float
        How much stronger than by default evidence must be (the sensitivity).
    weather : mapping of int to float
        Mean temperature of days, as far as it is known. [degC]
    """

    def __init__(
        self, facts: FleetFacts, ends: BoolArray, ledger: Ledger, strict: float = 1.0,
        weather: Mapping[int, float] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        m = len(facts)
        self.weather = weather
        self.facts, self.ends, self.ledger, self.strict = facts, ends, ledger, strict
        self.books = DayBooks(m)
        self.levels = (Past(m, np.float16), Past(m, np.float16))
        self.floors = Past(m)
        self.watched = np.zeros(m, np.int32)
        self.heights = np.full((m, HABIT_DAYS), np.nan, np.float16)
        self.evening = np.full((m, 3, HOURS), np.nan, np.float16)
        """Hours, expected hours [units of the books] and heights of the day before; NaN when it does not count."""
        self.missed = np.full(m, NONE, np.int64)
        self.shut = np.zeros(m, bool)
        self.candidate = np.full(m, NONE, np.int64)
        self.candidate_hours = np.full((m, 2, HOURS), np.nan, np.float16)
        self.raised = np.full((m, FLOOR_DAYS_MOST, 2), np.nan, np.float32)
        self.raised_days = np.zeros(m, np.int32)
        self.raised_since = np.full(m, NONE, np.int64)
        self.lasting = np.full(m, NONE, np.int64)
        self.lasting_kw = np.zeros(m)
        self.lasting_busy = np.zeros(m)
        self.lasting_back = np.zeros(m, np.int32)

    def day(self, number: int, hours: FloatArray, seen: int, arrival: Callable[[int], int]) -> None:
        """Judge one whole day, given those before it.

        Parameters
        ----------
        number : int
            Of the day, since the epoch.
        hours : (m, 24) float64
            Means; NaN where the meter is not to be believed. [kW]
        seen : int
            The slot in which the day is judged.
        arrival : function of a row
            When the plant's last reading of that slot arrived. [ns]
        """
        hours = np.where(self.ends[:, None], hours, np.nan)
        expected = self.books.expected(number)
        self.heights[:, number % HABIT_DAYS] = np.nan
        facts = compare(hours, expected)
        self.books.learn(number, hours, ~expected.there)
        there = facts.there
        self.watched += there
        cyclic = there & np.isfinite(facts.cycle)
        usual = [level.usual(np.full(len(hours), 0.02)) for level in self.levels]
        level = tuple(np.where(cyclic, usual[1][k], usual[0][k]) for k in range(2))
        height, best = self._heights(hours, expected)
        with np.errstate(invalid="ignore"):
            habit = np.nan_to_num(np.fmax.reduce(self.heights, axis=1)).astype(np.float64)
            peers = self._peers_without_cycle(facts, cyclic)
            floor = self.floors.usual(0.01 * np.nan_to_num(expected.mean))
        day = _Day(
            number, hours, expected, facts, cyclic, peers, (level[0], level[1]), floor, height, best, habit, seen,
            arrival,
        )  # fmt: skip
        odd = there & self._may_be_odd(day)
        odd &= ~(self._other_weather(day) & (self.lasting == NONE) & (self.candidate == NONE))
        plain = there & ~odd
        self.floors.add(facts.floor, plain)
        for kind, past in enumerate(self.levels):
            past.add(facts.level, plain & (cyclic == bool(kind)))
        self.heights[plain, number % HABIT_DAYS] = np.minimum(best[plain], MOST_HALF)
        unit = self.books.unit[:, None]
        evening = np.stack([hours / unit, expected.hours / unit, height], axis=1)
        self.evening[plain] = np.clip(evening[plain], -MOST_HALF, MOST_HALF)
        self.books.learn(number, hours, plain)
        learnt = np.full(hours.shape, np.nan)
        for m in np.flatnonzero(odd).tolist():
            learnt[m] = self._one(m, day)
        self.books.learn(number, learnt, odd)
        self.evening[~there] = np.nan

    def _heights(self, hours: FloatArray, expected: Expected) -> tuple[FloatArray, FloatArray]:
        """How far each idle hour stood on the way from idle to work, and the best four hours' least."""
        room = expected.high - expected.low
        with np.errstate(invalid="ignore"):
            height = (hours - expected.low[:, None]) / np.maximum(room, 1e-9)[:, None]
            # an extra shift at working hours is no waste
            height[expected.busiest > (expected.low + IDLE_BELOW * room)[:, None]] = np.nan
            both = np.concatenate((self.evening[:, 2, -LEAST_OFF + 1 :], height), axis=1)
            four = both[:, : -LEAST_OFF + 1].copy()
            for k in range(1, LEAST_OFF):
                four = np.minimum(four, both[:, k : both.shape[1] - LEAST_OFF + 1 + k])
            best = np.maximum(np.nan_to_num(np.fmax.reduce(four, axis=1)), 0.0)
            best[~(room >= WORKING * np.maximum(expected.mean, 1e-9))] = np.nan
        return height, best

    def _peers_without_cycle(self, facts: DayFacts, cyclic: BoolArray) -> BoolArray:
        """(m,) bool: at least one other meter of the plant, and half of the others with a cycle, had none."""
        with np.errstate(invalid="ignore"):
            missing = cyclic & (facts.cycle < CYCLE_MISSING)
        plant = self.facts.plant
        many = int(plant.max()) + 1
        others = np.bincount(plant, cyclic, many)[plant] - cyclic
        off = np.bincount(plant, missing, many)[plant] - missing
        return np.asarray((others > 0) & (2 * off >= others))

    def _other_weather(self, day: _Day) -> BoolArray:
        """(m,) bool: it was much warmer or colder than on the days that give the expectation."""
        if day.number not in self.weather:
            return np.zeros(len(day.hours), bool)
        days = day.expected.days
        known = {int(d): self.weather.get(int(d), np.nan) for d in np.unique(days)}
        then = np.vectorize(known.__getitem__, otypes=[np.float64])(days)
        usual = row_quantile(then, 0.5)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(self.weather[day.number] - usual) > OTHER_WEATHER_K)

    def _may_be_odd(self, day: _Day) -> BoolArray:
        """(m,) bool: something may be claimed, or something is open."""
        facts = day.facts
        with np.errstate(invalid="ignore"):
            return np.asarray(
                (self.lasting != NONE)
                | (self.raised_days > 0)
                | (self.candidate != NONE)
                | self.shut
                | (facts.floor - day.floor[0] > FLOOR_SIGMAS * day.floor[1])
                | ((facts.apart >= LEAST_SHAPE) & (facts.shifted <= SAME_DAY * facts.apart))
                | (facts.level > 1.0 + LEAST_LEVEL)
                | (facts.cycle < CYCLE_THERE)
                | (day.best > BUSY_ABOVE)
            )

    # -- a day of one meter that may be odd ---------------------------------------------------------------------------
    def _one(self, m: int, day: _Day) -> FloatArray:
        """Judge it; gives what is to be learnt of it (NaN for nothing)."""
        facts, hours = day.facts, np.asarray(day.hours[m])
        learn: FloatArray = hours
        said = self._floor(m, day)
        if self.lasting[m] != NONE:
            leaks = self.lasting_busy[m] > 0.5 * self.lasting_kw[m]
            learn = hours - max(float(self.lasting_kw[m]), 0.0) if leaks else hours * np.nan
        if self._shape(m, day) or (not said and self._level(m, day)):
            learn = hours * np.nan
            self.evening[m] = np.nan
        else:
            self._off_hours(m, day, quiet=not said)
        self._cycle(m, day)
        if day.cyclic[m] and facts.cycle[m] < CYCLE_MISSING:
            learn = hours * np.nan
        past = self.levels[int(day.cyclic[m])]
        only = np.zeros(len(day.hours), bool)
        only[m] = True
        past.add(facts.level, only)
        return learn

    def _level(self, m: int, day: _Day) -> bool:
        usual, sigma = float(day.level[0][m]), float(day.level[1][m])
        level = float(day.facts.level[m])
        least = max(1.0 + LEAST_LEVEL * self.strict, usual + SIGMAS * self.strict * sigma)
        past = self.levels[int(day.cyclic[m])].values[m].astype(np.float64)
        habit = float(np.nan_to_num(np.fmax.reduce(past)))
        if level - 1.0 <= AS_BEFORE * (habit - 1.0):
            return False  # as it was within the last four weeks already
        if day.facts.level_high[m] > ONE_FACTOR * level or not level > least:
            return False
        kwh = float(np.nansum(day.hours[m] - day.expected.hours[m]))
        self._say("unusual_level", m, day, 0, HOURS - 1, 0.7, {"times": level}, kwh)
        return True

    def _shape(self, m: int, day: _Day) -> bool:
        facts = day.facts
        if facts.apart[m] < LEAST_SHAPE * self.strict or facts.shifted[m] > SAME_DAY * facts.apart[m]:
            return False
        self._say("unusual_shape", m, day, 0, HOURS - 1, 0.8, {"shifted_h": int(facts.lag[m])}, None)
        return True

    def _cycle(self, m: int, day: _Day) -> None:
        """A working day that did not happen between days that did; longer is a shutdown, with others a holiday."""
        cycle = float(day.facts.cycle[m])
        if not np.isfinite(cycle):
            return
        if self.candidate[m] != NONE and cycle >= CYCLE_THERE:
            was = int(self.candidate[m])
            habit = 0 if self.missed[m] == NONE else int(day.number - HABIT_DAYS <= self.missed[m] < was)
            if self.watched[m] > MEMORY and habit < RARE and day.number - was <= 3:
                seen, expected = self.candidate_hours[m].astype(np.float64) * self.books.unit[m]
                kwh = float(np.nansum(seen - expected))
                evidence = {"seen_kw": thinned(seen), "expected_kw": thinned(expected)}
                self._put("missing_cycle", m, day, was * HOURS, was * HOURS + HOURS - 1, 0.7, evidence, kwh)
            self.missed[m] = was
            self.candidate[m] = NONE
        if cycle < CYCLE_MISSING:
            if day.peers_off[m] or self.shut[m] or self.candidate[m] != NONE:
                self.candidate[m], self.shut[m] = NONE, True
            else:
                self.candidate[m] = day.number
                both = np.stack([day.hours[m], day.expected.hours[m]]) / self.books.unit[m]
                self.candidate_hours[m] = np.clip(both, -MOST_HALF, MOST_HALF)
        elif cycle >= CYCLE_THERE:
            self.shut[m] = False

    # -- the floor ------------------------------------------------------------------------------------------------
    def _floor(self, m: int, day: _Day) -> bool:
        """Whether a raised floor lasts on this day."""
        floor, busy = float(day.facts.floor[m]), float(day.facts.busy[m])
        if not np.isfinite(floor):
            return bool(self.lasting[m] != NONE)
        usual, sigma = float(day.floor[0][m]), float(day.floor[1][m])
        excess = floor - usual
        if self.lasting[m] != NONE:
            return self._lasts(m, day, excess)
        if excess > max(LEAST_FLOOR * day.expected.mean[m], FLOOR_SIGMAS * self.strict * sigma):
            if self.raised_days[m] == 0:
                self.raised_since[m] = day.number
            if self.raised_days[m] >= FLOOR_DAYS_MOST:
                self.raised[m, :-1] = self.raised[m, 1:].copy()
                self.raised_since[m] += 1
                self.raised_days[m] -= 1
            self.raised[m, self.raised_days[m]] = excess, busy
            self.raised_days[m] += 1
        else:
            self.raised_days[m] = 0
            only = np.zeros(len(day.hours), bool)
            only[m] = True
            self.floors.add(day.facts.floor, only)
        days = int(self.raised_days[m])
        if days < FLOOR_DAYS:
            return False
        above = self.raised[m, :days, 0].astype(np.float64)
        kw = float(above.mean())
        enough = kw > max(OF_IDLE * float(day.expected.idle[m]), FLOOR_EVIDENCE * self.strict * sigma / np.sqrt(days))
        at_work = float(np.nanmedian(self.raised[m, :days, 1]))
        moved = not AT_WORK[0] * kw <= at_work <= AT_WORK[1] * kw
        if float(above.min()) <= STEADY * kw or moved or not enough:
            return False
        self._raise(m, day, kw, at_work, sigma, days)
        return True

    def _raise(self, m: int, day: _Day, kw: float, busy: float, sigma: float, days: int) -> None:
        """Claim a floor that has been raised for days."""
        first = int(self.raised_since[m])
        self.lasting[m], self.lasting_kw[m], self.lasting_busy[m], self.lasting_back[m] = first, kw, busy, 0
        self.raised_days[m] = 0
        kind = "leak" if busy > SAME_AT_WORK * kw else "base_load"
        evidence: Evidence = {
            "excess_kw": kw, "usual_spread_kw": sigma, "excess_in_busy_hours_kw": busy,
            "seen_kw": thinned(day.hours[m]), "expected_kw": thinned(day.expected.hours[m]),
        }  # fmt: skip
        mark = self._put(kind, m, day, first * HOURS, day.number * HOURS + HOURS - 1, 0.7, evidence, kw * HOURS * days)
        for beginning in BEGINNINGS:  # days called unusual one by one were the beginning of this
            for other in self.ledger.marks:
                if other.meter == m and other.kind == beginning and other.first >= mark.first:
                    other.withdrawn = True

    def _lasts(self, m: int, day: _Day, excess: float) -> bool:
        # compared with the floor it had before: what is learnt has the excess taken off
        below = excess < 0.4 * self.lasting_kw[m]
        self.lasting_back[m] = self.lasting_back[m] + 1 if below else 0
        too_long = day.number - self.lasting[m] > FLOOR_GIVE_UP
        if too_long:
            if self.lasting_busy[m] > 0.5 * self.lasting_kw[m]:
                self.books.add(m, float(self.lasting_kw[m]), int(self.lasting[m]))
            else:
                self.books.forget(m)
            self.floors.forget(m)
        if self.lasting_back[m] >= 2 or too_long:
            self.lasting[m] = NONE
            return False
        kinds = [self.ledger.latest[m, kind] for kind in FLOORS if (m, kind) in self.ledger.latest]
        if kinds and not below:
            mark = max(kinds, key=lambda one: one.first)
            last = self._slot((day.number + 1) * HOURS) - 1
            mark.energy_kwh = (mark.energy_kwh or 0.0) + float(self.lasting_kw[m]) * HOURS
            mark.last = max(mark.last, last)
        return True

    # -- work in idle time ----------------------------------------------------------------------------------------
    def _off_hours(self, m: int, day: _Day, *, quiet: bool) -> None:
        """Hours of work in hours in which this plant never works, whatever the weekday."""
        x, e, height = day.hours[m], day.expected.hours[m], day.height[m]
        unit = float(self.books.unit[m])
        before = self.evening[m].astype(np.float64) * np.array([[unit], [unit], [1.0]])
        self.evening[m] = np.clip(np.stack([x / unit, e / unit, height]), -MOST_HALF, MOST_HALF)
        best, habit = float(day.best[m]), float(day.habit[m])
        if not np.isfinite(best):
            return
        least = max(BUSY_ABOVE * self.strict, SELDOM * habit)
        rare = self.watched[m] > MEMORY and best > least
        if not (rare and quiet):
            self.heights[m, day.number % HABIT_DAYS] = min(best, MOST_HALF)
            return
        begin = day.number * HOURS
        if np.isfinite(before[0]).any():
            x, e, height = (np.concatenate((old, new)) for old, new in zip(before, (x, e, height), strict=True))
            begin -= HOURS
        for a, b in runs(np.nan_to_num(height) > least):
            if b - a < LEAST_OFF or begin + b <= day.number * HOURS:
                continue
            kwh = float(np.nansum((x - e)[a:b]))
            evidence: Evidence = {"idle_kw": float(day.expected.low[m]), "work_kw": float(day.expected.high[m]),
                        "usual_height": habit, "seen_kw": thinned(x[a:b]), "expected_kw": thinned(e[a:b])}  # fmt: skip
            self._put("off_hours", m, day, begin + a, begin + b - 1, 0.6, evidence, kwh)

    # -- saying it ------------------------------------------------------------------------------------------------
    def _slot(self, hour: int) -> int:
        """The slot that covers the beginning of an hour: a reading covers the slot before it arrives."""
        return hour * (self.facts.per_day // HOURS) + 1

    def _say(
        self, kind: str, m: int, day: _Day, a: int, b: int, confidence: float, more: Evidence, kwh: float | None
    ) -> None:
        evidence = {"seen_kw": thinned(day.hours[m]), "expected_kw": thinned(day.expected.hours[m]), **more}
        self._put(kind, m, day, day.number * HOURS + a, day.number * HOURS + b, confidence, evidence, kwh)

    def _put(
        self, kind: str, m: int, day: _Day, first_hour: int, last_hour: int, confidence: float, evidence: Evidence,
        kwh: float | None,
    ) -> Mark:  # fmt: skip
        first, last = self._slot(first_hour), self._slot(last_hour + 1) - 1
        return self.ledger.claim(m, kind, first, last, day.seen, day.arrival(m), confidence, evidence, kwh=kwh, near=0)
