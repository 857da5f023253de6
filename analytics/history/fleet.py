"""All questions to all meters of a fleet, poll by poll or weeks at a time: the same answers either way.

The order matters: what a meter's clock, counter and values say about themselves comes first; what the metering tree
says about the meters comes second, `LAG` polls later, from values that were not found wrong by then; how the plant
uses energy comes last, day by day, from loads that nobody doubts.

```
 block  ──► clocks, registers, values, standing, phases ──► claims
              │ counted power, `LAG` polls held back
              ▼
            balances ──► causes ──► claims
              │ load of the day
              ▼
            consumption ──► claims              end of day: everyone learns what is usual
```
What is learnt changes once a day and is fixed in between; what crosses the edge of a block is carried over. So the cut
of the stream into blocks changes nothing, and what is kept of a meter is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from analytics.history.balance import Balances
from analytics.history.block import Block
from analytics.history.causes import Cause, factor_of, name_of_factor
from analytics.history.chance import FALSE_ALARM
from analytics.history.claims import Ledger
from analytics.history.clocks import Clocks
from analytics.history.consumption import Consumption
from analytics.history.phases import Phases
from analytics.history.planes import LAG, FleetFacts, Now, Spoil, columns_before
from analytics.history.record import CHANNELS, MeterFacts
from analytics.history.registers import Registers
from analytics.history.standing import Standing
from analytics.history.values import TIMES_USUAL, Values
from analytics.series import BoolArray, FloatArray, IntArray, SeriesError

HOURS = 24


class Fleet:
    """The meters of one or more plants, all with the same interval, and what has been learnt of them.

    Parameters
    ----------
    meters : sequence of MeterFacts
    closed_days : frozenset of int
        Holidays and shutdowns, as days since the epoch: how energy is used on them is neither judged nor learnt.
    sensitivity : float
        The one setting: evidence must be 1/sensitivity times as strong as by default. What physics sets (a clock, a
        counter, a missing voltage) does not move.
    weather : mapping of int to float
        Mean temperature of days since the epoch, as far as it is known. [degC]

    Raises
    ------
    SeriesError
        ``sensitivity``: not between 0.1 and 10.
    """

    def __init__(
        self,
        meters: Sequence[MeterFacts],
        closed_days: frozenset[int] = frozenset(),
        sensitivity: float = 1.0,
        weather: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        if not 0.1 <= sensitivity <= 10.0:
            raise SeriesError("sensitivity", f"a sensitivity of {sensitivity} is not between 0.1 and 10")
        strict = 1.0 / sensitivity
        self.facts = FleetFacts(meters)
        self.closed_days = closed_days
        m, per_day = len(meters), self.facts.per_day
        self.ledger = Ledger()
        self.clocks = Clocks(m)
        self.registers = Registers(m)
        self.values = Values(m, per_day, TIMES_USUAL * strict)
        self.standing = Standing(m, per_day, FALSE_ALARM * sensitivity)
        self.phases = Phases(m, per_day)
        self.balances = Balances(self.facts, strict)
        ends = np.ones(m, bool)
        ends[self.balances.main] = False
        self.consumption = Consumption(self.facts, ends, self.ledger, strict, weather)
        self.before = columns_before(m)
        self.has: dict[str, BoolArray] = {name: np.zeros(m, bool) for name in CHANNELS}
        self.seen_today: dict[str, BoolArray] = {name: np.zeros(m, bool) for name in CHANNELS}
        self.spoiled_until: IntArray = np.full(m, -(2**40), np.int64)
        self.held_counted: FloatArray = np.full((m, LAG), np.nan)
        self.held_load: FloatArray = np.full((m, LAG), np.nan)
        self.load_today = np.full((m, per_day), np.nan, np.float32)
        self.unsure_hours = np.zeros((m, HOURS), bool)
        self._excuses: list[tuple[int, int, int]] = []

    # -- the day of a slot: it ends `LAG` polls after midnight, when the last reading before midnight is settled -------
    def day_of(self, slot: int) -> int:
        """The day, since the epoch, to which a poll that arrives in a slot is counted."""
        return (slot - 1 - LAG) // self.facts.per_day

    def first_of_day(self, day: int) -> int:
        """The first slot of a day."""
        return day * self.facts.per_day + 1 + LAG

    def feed(self, block: Block) -> None:
        """Take in polls: those after the ones before, none left out, however many at a time."""
        a = 0
        while a < block.width:
            day = self.day_of(block.first + a)
            b = min(block.width, self.first_of_day(day + 1) - block.first)
            self._part(block.cut(a, b) if (a, b) != (0, block.width) else block, day)
            a = b

    def _part(self, block: Block, day: int) -> None:
        """Polls of one day."""
        position = block.first - self.first_of_day(day)
        spoil = Spoil(self.spoiled_until)
        now = Now(self.facts, block, self.ledger, self.before, self.has, spoil)
        until = self.spoiled_until.copy()
        load = self._meters(now, position)
        self._release(now, position, load, until, spoil)
        for name, values in block.values.items():
            self.before[name] = values[:, -1:].copy()
            self.seen_today[name] |= np.isfinite(values).any(axis=1)
        if position + block.width == self.facts.per_day:
            self._end_day(day, block)

    def _meters(self, now: Now, position: int) -> FloatArray:
        """What each meter says about itself; gives the load as far as the meter's own channels agree. [kW]"""
        self.clocks.look(now)
        now.counted_kw = self.registers.look(now)
        digit = self.registers.digits.digit
        self.values.counter_digit = digit
        wrong, power = self.values.look(now, position)
        self.standing.look(now, digit, self.values.digits.digit, self.phases.digits.digit)
        self.phases.look(now, position, wrong, digit)
        now.settle()
        return np.where(np.isfinite(now.counted_kw), now.counted_kw, power)

    def _release(self, now: Now, position: int, load: FloatArray, until: IntArray, spoil: Spoil) -> None:
        """Leave out what is not to be believed and pass on the polls of `LAG` ago."""
        block = now.block
        begin = block.first - LAG
        counted = np.concatenate((self.held_counted, now.counted_kw), axis=1)
        load = np.concatenate((self.held_load, load), axis=1)
        slots = begin + np.arange(counted.shape[1])
        known_wrong = (slots >= block.first)[None, :] & (slots[None, :] <= until[:, None])
        counted[known_wrong] = np.nan
        load[known_wrong] = np.nan
        midnight = self.first_of_day(self.day_of(block.first)) - LAG
        per_hour = max(self.facts.per_day // HOURS, 1)
        for m, first, last, seen in spoil.stretches:
            lo = max(first, seen - LAG)
            counted[m, lo - begin : last - begin + 1] = np.nan
            load[m, lo - begin : last - begin + 1] = np.nan
            if first < lo and lo > midnight:
                a = (max(first, midnight) - midnight) // per_hour
                self.unsure_hours[m, a : (lo - 1 - midnight) // per_hour + 1] = True
            self._excuses.append((seen, m, first))
        self.held_counted, self.held_load = counted[:, -LAG:].copy(), load[:, -LAG:].copy()
        width = block.width
        if self.balances.main.size:
            self._balance(block, begin, counted[:, :width])
        self._excuses.clear()
        self.load_today[:, position : position + width] = load[:, :width]

    # -- the metering tree ----------------------------------------------------------------------------------------
    def _balance(self, block: Block, begin: int, counted: FloatArray) -> None:
        rest = self.balances.take(begin, counted)
        if not self.balances.judging:
            return
        known = np.isfinite(rest)
        with np.errstate(invalid="ignore"):
            out = np.asarray(np.abs(rest) > self.balances.band[:, None])
        hot = np.asarray(out.any(axis=1))
        hot[list(self.balances.open)] = True
        for p in np.flatnonzero(hot).tolist():
            walk = self.balances.walks[p]
            members = self.balances.members[p]
            excuses = sorted(e for e in self._excuses if e[1] in members)
            columns = np.flatnonzero(known[p])
            k = 0
            while k < columns.size:
                j = int(columns[k])
                if not walk.active:
                    later = np.flatnonzero(out[p, j:])
                    if not later.size:
                        break
                    j += int(later[0])
                    k = int(np.searchsorted(columns, j))
                slot = begin + j
                while excuses and excuses[0][0] <= slot + LAG:
                    _, m, first = excuses.pop(0)
                    walk.excuse(int(np.flatnonzero(members == m)[0]), first)
                walk.step(slot)
                self._say_causes(p, slot + LAG, block)
                k += 1
            for _, m, first in excuses:
                walk.excuse(int(np.flatnonzero(members == m)[0]), first)
            self._say_causes(p, block.first + block.width - 1, block)
            for cause in walk.active:
                self._grow(cause, begin + int(columns[-1]) if columns.size else None, p)
            (self.balances.open.add if walk.active else self.balances.open.discard)(p)

    def _say_causes(self, p: int, now: int, block: Block) -> None:
        walk = self.balances.walks[p]
        for cause in walk.changed:
            self._say_cause(cause, p, now, block)
        for cause in walk.dropped:
            if cause.mark is not None:
                cause.mark.withdrawn = True
        if walk.ended_today:
            self.balances.ended.add(p)
        walk.changed.clear()
        walk.dropped.clear()

    def _say_cause(self, cause: Cause, p: int, now: int, block: Block) -> None:
        """Claim a cause that was named, or correct the claim of one that was renamed or is over."""
        members = self.balances.members[p]
        walk = self.balances.walks[p]
        main = int(members[-1])
        last = (cause.end if cause.end is not None else now - LAG + 1) - 1
        if cause.who is None:
            meter, kind = main, "sum_mismatch"
        else:
            meter, kind = int(members[cause.who]), name_of_factor(factor_of(cause, self.facts.hours)[0])
        short = last - cause.start < 7 or (cause.who is None and cause.size <= 0.0)
        renamed = cause.mark is not None and (cause.mark.meter, cause.mark.kind) != (meter, kind)
        if cause.mark is not None and renamed and (cause.end is None or short):
            cause.mark.withdrawn = True
            cause.mark = None
        if short:
            if cause.mark is not None:
                cause.mark.withdrawn = True
            return
        if cause.mark is None:
            evidence = {"usual_kw": walk.band, "size": cause.size}
            arrival = self._plant_arrival(block, meter, now)
            cause.mark = self.ledger.claim(
                meter, kind, cause.start, last, now, arrival, 0.9, evidence, near=-(2**50)
            )  # fmt: skip
        self._grow(cause, last, p)

    def _grow(self, cause: Cause, last: int | None, p: int) -> None:
        """Let a claim follow its cause: end, energy, evidence."""
        mark = cause.mark
        if mark is None or last is None:
            return
        mark.last = last
        length = last + 1 - cause.start
        if cause.who is None:
            mark.energy_kwh = cause.size * self.facts.hours * length
            mark.evidence["unseen_kw"] = cause.size
        else:
            others = [c for c in self.balances.walks[p].active if c is not cause and c.decided is not None]
            factor, lost = factor_of(cause, self.facts.hours, others)
            mark.energy_kwh = lost * length
            mark.evidence["factor"] = factor
        walk = self.balances.walks[p]
        slots = np.arange(max(cause.start, last - 95), last + 1)
        mark.traces = {"rest_kw": walk.rests(slots).tolist()}

    def _plant_arrival(self, block: Block, meter: int, slot: int) -> int:
        """When the plant's last reading in a slot arrived; the slot's end where none did. [ns]"""
        rows = self.facts.plant == self.facts.plant[meter]
        rx = int(block.rx_ns[rows, slot - block.first].max())
        return rx if rx else (slot + 1) * self.facts.interval_ns

    # -- the day ----------------------------------------------------------------------------------------------------
    def _end_day(self, day: int, block: Block) -> None:
        last = self.first_of_day(day + 1) - 1
        if day not in self.closed_days and self.facts.per_day % HOURS == 0:
            self.consumption.day(day, self._hours(last), last, lambda m: self._plant_arrival(block, m, last))
        self.registers.end_day(self.load_today.astype(np.float64) * self.facts.hours)
        self.load_today[:] = np.nan
        self.unsure_hours[:] = False
        self.balances.end_day(day, last - LAG)
        self.values.end_day(day)
        self.standing.end_day(day, self.facts.per_day)
        self.phases.end_day(day, self.facts.per_day)
        for name, seen in self.seen_today.items():
            self.has[name] |= seen

    def _hours(self, last: int) -> FloatArray:
        """(m, 24) float64: the day's hourly means; NaN where half an hour or more is not known. [kW]"""
        per_hour = self.facts.per_day // HOURS
        quarters = self.load_today.reshape(len(self.facts), HOURS, per_hour).astype(np.float64)
        there = np.isfinite(quarters).sum(axis=2)
        hours = np.where(2 * there >= per_hour, np.nansum(quarters, axis=2) / np.maximum(there, 1), np.nan)
        hours[self.unsure_hours] = np.nan
        midnight = last - LAG - self.facts.per_day + 1
        for p in self.balances.open | self.balances.ended:
            walk, members = self.balances.walks[p], self.balances.members[p]
            for cause in (*walk.active, *walk.ended_today):
                if cause.decided is not None and cause.who is not None and cause.who >= 0:
                    a = max(cause.start - midnight, 0) // per_hour
                    b = HOURS if cause.end is None else -(-(cause.end - midnight) // per_hour)
                    hours[int(members[cause.who]), a : max(b, 0)] = np.nan
            walk.ended_today.clear()
        self.balances.ended.clear()
        return hours

    def state_bytes(self) -> int:
        """What is kept between two polls, in memory. [bytes]"""
        return sum(array.nbytes for array in _arrays(self))


def _arrays(thing: object, depth: int = 0) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """Every array that is kept, wherever it hangs."""
    if isinstance(thing, np.ndarray):
        if thing.base is None:  # a view is kept by its owner
            yield thing
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from _arrays(value, depth + 1)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from _arrays(value, depth + 1)
    elif type(thing).__module__.startswith("analytics.") and depth < 6 and hasattr(thing, "__dict__"):
        for value in vars(thing).values():
            yield from _arrays(value, depth + 1)
