"""Energies where the counter alone does not say them: the E of validation, estimation and editing (VEE).

```
 readings     r0    r1                                    r2    r3
 grid      |-----|-----|-----|-----|-----|-----|-----|-----|-----|
 gap               [ total is true: only its split is estimated ]
 unknown   [ no total: the amount itself is estimated; before the first reading, at a jump, at a reset ]
```

The ladder: the meter's own memory (it arrives as readings and leaves no gap) → straight line over up to two missing
readings → mean of similar days → a related meter's shape → straight line, said so. A split is scaled to the true total,
so the account still closes to the last digit. Estimates stand beside the measured energies, never in their place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from analytics.counter_model import CounterRules, Track
from analytics.counters import IntervalEnergies, account_at
from analytics.series import BoolArray, FloatArray, IntArray
from meterline.readings import Quality

DAY_NS = 86_400 * 10**9
SIMILAR_DAYS = 4
"""Similar days that are averaged (electricity market metering rules: mean of 4 similar days)."""
FEWEST_DAYS = 3
"""With fewer the spread says nothing."""
REACH_DAYS = 35
"""How far similar days are looked for, to both sides. [d]"""
SHORT_GAP = 2
"""Missing readings over which a straight line is drawn (same source)."""
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}
"""Two-sided 95 % of Student's t by number of days (n - 1 degrees of freedom)."""
NORMAL = 1.96
MOST_TRIED = 2_000
"""Places, evenly over the record, at which a straight line is tried where the truth is known."""
FLAT_ERROR = float(np.sqrt(1 / 12))
"""Of a straight split nobody can check: anywhere between nothing and all, relative to the whole (GUM 4.3.7)."""


class Method(StrEnum):
    """The rung of the ladder an estimate stands on."""

    INTERPOLATED = "interpolated"
    SIMILAR_DAYS = "similar_days"
    RELATED = "related"
    FLAT = "flat"


@dataclass(frozen=True)
class Fill:
    """One estimated stretch.

    Attributes
    ----------
    from_ns, to_ns : int
        Its span. [ns]
    first : int
        The first interval it touches.
    micro : (k,) int64
        Estimated energy in each interval touched. [1e-6 unit]
    total_known : bool
        Whether the sum is a true total.
    method : Method
    samples : (n, k) float64
        The same stretch on similar days, scaled to the total where that is known; empty for other methods. [1e-6 unit]
    relative : float
        For the other methods: standard uncertainty (k = 1) of a part, relative to the whole.
    """

    from_ns: int
    to_ns: int
    first: int
    micro: IntArray
    total_known: bool
    method: Method
    samples: FloatArray
    relative: float

    @property
    def last(self) -> int:
        """The interval after the last one touched."""
        return self.first + int(self.micro.size)

    def within(self, first: int, last: int) -> tuple[int, float]:
        """Energy of this stretch in intervals ``[first, last)`` and its standard uncertainty. [1e-6 unit]

        A stretch with a true total that lies inside has no uncertainty at all.
        """
        a, b = max(first - self.first, 0), min(last - self.first, self.micro.size)
        if a >= b:
            return 0, 0.0
        part = int(self.micro[a:b].sum())
        if self.total_known and a == 0 and b == self.micro.size:
            return part, 0.0
        if len(self.samples) >= FEWEST_DAYS:
            n = len(self.samples)
            spread = float(self.samples[:, a:b].sum(axis=1).std(ddof=1))
            return part, spread * np.sqrt(1.0 + 1.0 / n) * STUDENT[n] / NORMAL
        return part, self.relative * abs(float(self.micro.sum()))


@dataclass(frozen=True)
class Filled:
    """Measured and estimated energies side by side.

    Attributes
    ----------
    micro : (m,) int64
        Measured, with splits of gaps put into shape and unknown amounts added. [1e-6 unit]
    estimated_micro : (m,) int64
        How much of it is estimated. [1e-6 unit]
    complete : (m,) bool
        Whether the whole interval is known or estimated.
    fills : tuple of Fill
    """

    micro: IntArray
    estimated_micro: IntArray
    complete: BoolArray
    fills: tuple[Fill, ...]


def weekdays(start_ns: IntArray, utc_offset_ns: int = 0) -> IntArray:
    """0 for Monday; the day type where no calendar is known."""
    return ((start_ns + utc_offset_ns) // DAY_NS + 3) % 7


def weekdays_of_grid(boundaries_ns: IntArray, per_day: int) -> IntArray:
    """`weekdays` of the intervals of an even grid whose step divides a day, without dividing for each of them."""
    count = boundaries_ns.size - 1
    day, into = divmod(int(boundaries_ns[0]), DAY_NS)
    skipped = into // (DAY_NS // per_day)
    days = np.arange(day + 3, day + 4 + (skipped + count) // per_day) % 7
    return np.repeat(days, per_day)[skipped : skipped + count]


def fill(
    track: Track,
    rules: CounterRules,
    measured: IntervalEnergies,
    clean: BoolArray,
    day_type: IntArray | None,
    per_day: int,
    related: FloatArray | None = None,
) -> Filled:
    """Estimate what the counter does not say.

    Parameters
    ----------
    track, rules, measured
        The believed readings, and the energies read from them on an even grid.
    clean : (m,) bool
        Intervals that may serve as an example: fully measured, nothing doubted.
    day_type : (m,) int64, optional
        Equal numbers for days of one kind: the plant's calendar. Weekdays (UTC) where nobody knows better.
    per_day : int
        Intervals a day.
    related : (m,) float64, optional
        Energies of a meter whose load goes the same way; NaN where it knows nothing.

    Returns
    -------
    Filled
        ``micro.sum()`` is ``measured.total_micro`` plus what was added for unknown stretches.
    """
    boundaries = measured.boundaries_ns
    estimated = np.zeros(measured.micro.size, np.int64)
    stretches = _stretches(track, rules, boundaries)
    if not stretches:
        return Filled(measured.micro, estimated, measured.coverage >= 0.999, ())
    micro = measured.micro.copy()
    fills: list[Fill] = []
    kinds = weekdays_of_grid(boundaries, per_day) if day_type is None else day_type
    example = _Examples(measured, clean, kinds, per_day, related)
    for from_ns, to_ns, total, least in stretches:
        first = max(int(np.searchsorted(boundaries, from_ns, side="right")) - 1, 0)
        last = min(int(np.searchsorted(boundaries, to_ns, side="left")), micro.size)
        if last <= first or (total is not None and last - first == 1):
            continue  # outside, or a gap inside one interval: nothing to split
        edges = np.clip(boundaries[first : last + 1], from_ns, to_ns)
        done = example.estimate(first, last, edges, total, least)
        if done is None:
            continue
        if total is not None:
            micro[first:last] -= np.diff(account_at(track, edges))
        micro[first:last] += done.micro
        estimated[first:last] += done.micro
        fills.append(done)
    complete = measured.coverage >= 0.999
    for one in fills:
        complete[one.first : one.last] = True
    return Filled(micro, estimated, complete, tuple(fills))


def _stretches(track: Track, rules: CounterRules, boundaries: IntArray) -> list[tuple[int, int, int | None, int]]:
    """From, to, the true total if there is one, and the least it can be."""
    t = track.t_ns
    if t.size < 2:
        return []
    odd = track.dt > rules.max_gap_ns
    if track.events:
        odd |= ~track.known | ((track.flags & int(Quality.RESET)) != 0)
    found: list[tuple[int, int, int | None, int]] = []
    if boundaries[0] < t[0]:
        found.append((int(boundaries[0]), int(t[0]), None, 0))
    for k in np.flatnonzero(odd).tolist():
        rise = int(track.account[k + 1] - track.account[k])
        reset = bool(track.flags[k] & int(Quality.RESET))
        total = rise if track.known[k] and not reset else None
        found.append((int(t[k]), int(t[k + 1]), total, rise if reset else 0))
    if boundaries[-1] > t[-1]:
        found.append((int(t[-1]), int(boundaries[-1]), None, 0))
    return found


@dataclass(frozen=True)
class _Examples:
    """What the meter's own record, or a related one, teaches about a stretch."""

    measured: IntervalEnergies
    clean: BoolArray
    day_type: IntArray
    per_day: int
    related: FloatArray | None
    errors: dict[tuple[int, bool], float] = field(default_factory=dict)
    """Of straight lines already judged."""

    def estimate(self, first: int, last: int, edges: IntArray, total: int | None, least: int) -> Fill | None:
        """Walk down the ladder; None if no rung holds (an unknown amount without any example)."""
        width = np.diff(self.measured.boundaries_ns[first : last + 1])
        share = np.diff(edges) / width
        long = round(int(edges[-1] - edges[0]) / int(width[0]))  # in intervals
        samples = np.zeros((0, last - first))
        beside = self._beside(first, last)
        if total is not None and long <= SHORT_GAP + 1:
            method, relative, weight = Method.INTERPOLATED, self._straight_line_error(long, True), share
        elif total is None and long <= SHORT_GAP and beside is not None:
            method, relative, weight = Method.INTERPOLATED, self._straight_line_error(long, False), share * beside
        else:
            relative = FLAT_ERROR
            samples = self._similar(first, last) * share
            related = None if self.related is None else self.related[first:last] * share
            if len(samples) >= FEWEST_DAYS:
                method, weight = Method.SIMILAR_DAYS, samples.mean(axis=0)
            elif total is None:
                return None
            elif related is not None and bool(np.isfinite(related).all()) and float(related.sum()) > 0:
                method, weight = Method.RELATED, related
            else:
                method, weight = Method.FLAT, share
        amount = total
        if amount is None:  # at a reset the display has already booked part of it
            amount = max(round(float(weight.sum())) - least, 0)
        if method is not Method.SIMILAR_DAYS:
            samples = samples[:0]
        elif total is not None:
            sums = samples.sum(axis=1, keepdims=True)
            samples = samples * np.divide(total, sums, out=np.zeros_like(sums), where=sums > 0)
        parts = _split(amount, weight, share)
        return Fill(int(edges[0]), int(edges[-1]), first, parts, total is not None, method, samples, relative)

    def _similar(self, first: int, last: int) -> FloatArray:
        """The same stretch on the nearest similar days, all of it clean, nearest first."""
        found: list[FloatArray] = []
        here = self.day_type[first:last]
        for days in range(1, REACH_DAYS + 1):
            for shift in (-days * self.per_day, days * self.per_day):
                a, b = first + shift, last + shift
                if a < 0 or b > self.clean.size or not bool(self.clean[a:b].all()):
                    continue
                if bool((self.day_type[a:b] == here).all()):
                    found.append(self.measured.micro[a:b].astype(np.float64))
                if len(found) == SIMILAR_DAYS:
                    return np.array(found)
        return np.array(found).reshape(len(found), last - first)

    def _beside(self, first: int, last: int) -> FloatArray | None:
        """Straight line between the intervals on both sides; the only one there is, held."""
        left = float(self.measured.micro[first - 1]) if first > 0 and self.clean[first - 1] else None
        right = float(self.measured.micro[last]) if last < self.clean.size and self.clean[last] else None
        count = last - first
        if left is None:
            return None if right is None else np.full(count, right)
        if right is None:
            return np.full(count, left)
        return left + (right - left) * np.arange(1, count + 1) / (count + 1)

    def _straight_line_error(self, count: int, total_known: bool) -> float:
        """How wrong the straight line was where the truth is known: 95 % of errors, as k = 1, relative to the whole."""
        known = self.errors.get((count, total_known))
        if known is None:
            known = self.errors[count, total_known] = self._look_back(count, total_known)
        return known

    def _look_back(self, count: int, total_known: bool) -> float:
        reach = count if total_known else count + 2
        if self.clean.size < reach + 1:
            return FLAT_ERROR
        doubted = np.concatenate(([0], np.cumsum(~self.clean)))
        usable = np.flatnonzero(doubted[reach:] == doubted[:-reach])
        usable = usable[:: max(usable.size // MOST_TRIED, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(self.measured.micro, reach)[usable].astype(np.float64)
        if total_known:
            whole = windows.sum(axis=1)
            wrong = np.abs(windows[:, : max(count // 2, 1)].sum(axis=1) - whole * max(count // 2, 1) / count)
        else:
            whole = windows[:, 1:-1].sum(axis=1)
            wrong = np.abs((windows[:, 0] + windows[:, -1]) / 2 * count - whole)
        counts = whole > 0
        if int(counts.sum()) < 20:
            return FLAT_ERROR
        return float(np.quantile(wrong[counts] / whole[counts], 0.95)) / NORMAL


def _split(total: int, weight: FloatArray, share: FloatArray) -> IntArray:
    """`total` in whole parts as `weight` says (evenly in time if it says nothing); the parts add up exactly."""
    usable = weight if float(weight.sum()) > 0 and bool((weight >= 0).all()) else share
    cumulative = np.cumsum(usable) / float(usable.sum())
    upto = np.floor(total * cumulative + 0.5).astype(np.int64)
    upto[-1] = total
    return np.diff(upto, prepend=np.int64(0))
