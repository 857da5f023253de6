"""Which readings of a counter to believe, and what happened where they cannot simply be subtracted.

A counter's readings form a track: each is a little above the one before. Where the track breaks, the readings *after*
the break say what it was:

```
 glitch     120 121 (0) (0) 122 123     comes back to the old track           -> the odd readings are set aside
 roll-over  998 999   1   2   3         lost exactly one modulus              -> + modulus
 reset      120 121   0   1   2         goes on from zero                     -> counts what is shown since
 drop/jump  120 121  47  48  49         goes on from anywhere else            -> the energy of that step is unknown
 stale      120 120 120 126 127         stood still, then caught up           -> the repeats are set aside, a true total
 backwards  120 121 120 119 120         a plausible rate, but downwards       -> unknown, unless it may run backwards
 over rate  120 121 130 131 139         a bit more than the rating allows     -> believed, SUSPECT
```

The account, ``account[k]``, is the display freed from these breaks; ``account[-1] - account[0]`` is
``micro[-1] - micro[0]`` plus the corrections of the events, to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from analytics.counter_exchange import follow_over
from analytics.counter_model import CounterEvent, CounterRules, EventKind, Track
from analytics.series import SECOND_NS, BitArray, BoolArray, CounterSeries, IntArray, is_no_value
from meterline.readings import Quality

CARRIED = int(
    Quality.SUSPECT
    | Quality.LATE
    | Quality.ESTIMATED
    | Quality.CLOCK_UNSYNC
    | Quality.CLOCK_STEP
    | Quality.SUBSTITUTED
    | Quality.MAINTENANCE
)
"""Doubts of a reading that also taint the energy computed from it."""

CONFIRM = 2
"""Readings that must agree before a new track is believed."""
SHORT = 3
"""Up to so many odd readings in a row are called wrong readings although a counter could physically have moved so."""
MILD = 4
"""Up to so many times the greatest rate is called "above rating" rather than "impossible"."""


def greatest_usual_rate(counter: CounterSeries) -> float | None:
    """How fast a counter runs when it runs fastest, taken from its own readings. [1e-6 unit / s]

    For counters whose connection nobody rated. Wrong readings, resets and roll-overs are far outside and do not count:
    a step counts if it is not above four times what all but one in a hundred of the moving steps stay below.

    Returns
    -------
    float or None
        None if the counter never moved forwards.
    """
    t, m, _, _ = _in_order(counter)
    seconds = np.diff(t) / SECOND_NS
    rate = np.diff(m) / np.maximum(seconds, 1.0)
    moving = rate[rate > 0]
    if not moving.size:
        return None
    usual = moving <= 4.0 * float(np.quantile(moving, 0.99))
    return float(moving[usual].max())


def follow_track(counter: CounterSeries, rules: CounterRules) -> Track:
    """Decide which readings count and what each break of the track was.

    Parameters
    ----------
    counter : CounterSeries
        In any order; the result does not depend on it. Readings without a value are left out. Of several readings of
        one instant the least doubtful counts, then the smallest.
    rules : CounterRules

    Returns
    -------
    Track
        Empty arrays for fewer than one usable reading.
    """
    if rules.exchanges and counter.t_ns.size:
        first, last = int(counter.t_ns.min()), int(counter.t_ns.max())
        inside = [x for x in rules.exchanges if first < x.installed_ns and x.removed_ns <= last]
        if inside:
            return follow_over(counter, rules, inside, follow_one_meter)
    return follow_one_meter(counter, rules)


def follow_one_meter(counter: CounterSeries, rules: CounterRules) -> Track:
    """`follow_track` between two exchanges."""
    t, m, q, events = _in_order(counter)
    steps = max(t.size - 1, 0)
    corrections = np.zeros(steps, np.int64)
    extra = np.zeros(steps, np.int32)
    known = np.ones(steps, bool)
    if steps and not _all_plausible(t, m, rules):
        walk = _Walk(t, m, rules)
        if walk.odd_steps.size:
            walk.run()
            events += walk.events
            keep = np.flatnonzero(walk.keep)
            t, m, q = t[keep], m[keep], q[keep]
            corrections, extra, known = walk.correction[keep[1:]], walk.flags[keep[1:]], walk.known[keep[1:]]
    dt = np.diff(t)
    account = m.copy()
    if events:
        account[1:] += np.cumsum(corrections)
    flags = extra | ((q[:-1] | q[1:]) & CARRIED) if bool(q.any()) else extra
    is_gap = dt > rules.max_gap_ns
    covered = known
    if bool(is_gap.any()) or events:
        flags[is_gap & known] |= int(Quality.ESTIMATED)
        covered = known & ~is_gap & ((extra & int(Quality.RESET)) == 0)
    events.sort(key=lambda event: (event.t_before_ns, event.t_after_ns))
    return Track(t, m, account, known, covered, flags, tuple(events))


def _all_plausible(t: IntArray, m: IntArray, rules: CounterRules) -> bool:
    """Whether the greatest rise would be allowed even in the shortest step, and nothing fell: the usual day."""
    rise = np.diff(m)
    return int(rise.min()) >= 0 and int(rise.max()) <= int(rules.limit(np.diff(t).min()))


def _in_order(counter: CounterSeries) -> tuple[IntArray, IntArray, BitArray, list[CounterEvent]]:
    t, m, q = counter.t_ns, counter.micro, counter.quality
    empty = is_no_value(q)
    if bool(empty.any()):
        t, m, q = t[~empty], m[~empty], q[~empty]
    events: list[CounterEvent] = []
    if t.size > 1 and not bool(np.all(t[1:] > t[:-1])):
        order = np.lexsort((m, q, t))
        t, m, q = t[order], m[order], q[order]
        repeated = np.concatenate(([False], t[1:] == t[:-1]))
        differ = np.flatnonzero(repeated[1:] & (m[1:] != m[:-1])) + 1
        at, other = t[differ].tolist(), m[differ].tolist()
        events += [
            CounterEvent(EventKind.CONFLICT, now, now, before, odd, 0, 1, (odd,))
            for now, before, odd in zip(at, m[differ - 1].tolist(), other, strict=True)
        ]
        t, m, q = t[~repeated], m[~repeated], q[~repeated]
    return t, m, q, events


@dataclass
class _Walk:
    """Goes from break to break; everything between breaks is believed without looking."""

    t: IntArray
    m: IntArray
    rules: CounterRules
    events: list[CounterEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = self.t.size
        self.d = np.diff(self.m)
        self.limits = self.rules.limit(np.diff(self.t))
        lowest = -self.limits if self.rules.may_run_backwards else np.int64(0)
        self.odd = (self.d < lowest) | (self.d > self.limits)
        self.odd_steps = np.flatnonzero(self.odd)
        self.keep = np.ones(n, bool)
        self.correction = np.zeros(n, np.int64)  # of the step that ends at reading k
        self.flags = np.zeros(n, np.int32)
        self.known = np.ones(n, bool)
        self.floor = 0  # no look-back behind the last break

    def run(self) -> None:
        believed = 0
        for step in self.odd_steps.tolist():
            if step >= believed:
                believed = self._settle(step)

    # -- questions about the track ---------------------------------------------------------------------------------
    def _plausible(self, a: int, b: IntArray) -> BoolArray:
        """Whether the readings `b` may directly follow reading `a`, counting one roll-over."""
        rise = self.m[b] - self.m[a]
        limit = self.rules.limit(self.t[b] - self.t[a])
        lowest = -limit if self.rules.may_run_backwards else np.zeros_like(limit)
        fits: BoolArray = ((rise >= lowest) & (rise <= limit)) | self._wraps(a, b)
        return fits

    def _wraps(self, a: int, b: IntArray) -> BoolArray:
        modulus = self.rules.wraps_at
        if modulus is None:
            return np.zeros(b.shape, bool)
        rise = self.m[b] - self.m[a] + modulus
        if self.rules.max_rate is None:
            near_end = (self.m[a] >= modulus - modulus // 10) & (self.m[b] <= modulus // 10)
        else:
            near_end = (rise >= 0) & (rise <= self.rules.limit(self.t[b] - self.t[a]))
        wraps: BoolArray = near_end & (self.m[b] < self.m[a]) & (self.m[a] < modulus)
        return wraps

    def _confirmed(self, j: int) -> bool | None:
        """Whether the readings from `j` on form a track; None if there are too few to say."""
        last = j + CONFIRM - 1
        if bool(self.odd[j : min(last, self.d.size)].any()):
            return False
        return None if last >= self.t.size else True

    def _return_to_track(self, i: int) -> int | None:
        """The first later reading that fits reading `i` while the ones between do not."""
        stop = int(np.searchsorted(self.t, self.t[i] + self.rules.glitch_max_ns, side="right"))
        if self.rules.max_rate is None:
            stop = min(stop, i + 2 + SHORT)
        later = np.arange(i + 2, min(stop, self.t.size))
        if not later.size:
            return None
        fits = self._plausible(i, later)
        if bool(self._wraps(i, later[:1] - 1)[0]):
            fits &= self.m[later] >= self.m[i]  # the step itself is a roll-over: only the old side of it is a return
        back = self.d[i + 1 : later[-1]]
        if self.d[i] > 0:  # went up: coming back is a fall
            broke = np.logical_or.accumulate(back < 0)
            if self._stale_since(i, i + 1) < i and self._confirmed(i + 1):
                return None  # a catch-up that goes on well: whatever falls later is another matter
        else:  # went down: coming back is a leap, or a short dip that cannot be a restart from zero
            broke = np.logical_or.accumulate(self.odd[i + 1 : later[-1]])
            if self.rules.max_rate is None:
                broke |= True
            elif self.m[i + 1] > self.limits[i]:
                broke[:SHORT] = True
            fits &= back > 0
        hits = np.flatnonzero(fits & broke)
        return int(later[hits[0]]) if hits.size else None

    # -- what a break was ------------------------------------------------------------------------------------------
    def _settle(self, i: int) -> int:
        """Judge the step after the believed reading `i`; returns the next believed reading."""
        back = self._return_to_track(i)
        if back is not None:
            return self._accept(EventKind.GLITCH, i, back)
        j = i + 1
        while True:
            verdict = self._judge(i, j)
            if verdict is not None:
                return verdict
            # j belongs to no track: look for the first reading that does
            later = np.flatnonzero(~self.odd[j + 1 :])
            if not later.size:
                return self._hold_back(i)
            j = j + 1 + int(later[0])

    def _judge(self, i: int, j: int) -> int | None:
        """Name the step from `i` to `j`, or None if `j` is on no track."""
        rise = int(self.m[j] - self.m[i])
        limit = int(self.rules.limit(self.t[j : j + 1] - self.t[i])[0])
        after = np.array([j])
        confirmed = self._confirmed(j)
        fell = rise < 0
        if bool(self._wraps(i, after)[0]) and (confirmed or self.rules.max_rate is not None):
            return self._accept(EventKind.ROLLOVER if j == i + 1 else EventKind.GLITCH, i, j)
        if not fell and rise <= limit:
            return self._accept(EventKind.GLITCH, i, j)
        if not fell and rise <= MILD * limit and j == i + 1:
            stale = self._stale_since(i, j)
            return self._accept(EventKind.STALE, stale, j) if stale < i else self._accept(EventKind.OVER_RATE, i, j)
        if confirmed is None:
            return self._hold_back(i)
        if fell and j == i + 1:
            blip = self._blip_since(i, j) if confirmed else i
            if blip < i:
                return self._accept(EventKind.GLITCH, blip, j)
            if self.rules.max_rate is not None and -rise <= limit and int(self.m[j]) > limit:
                return self._accept(EventKind.BACKWARDS, i, j)
        if not confirmed:
            return None
        stale = self._stale_since(i, j)
        if not fell:
            return self._accept(EventKind.STALE, stale, j) if stale < i else self._accept(EventKind.JUMP, i, j)
        if stale < i and bool(self._wraps(stale, after)[0]):  # stood still while it rolled over
            return self._accept(EventKind.ROLLOVER, stale, j)
        if self.rules.max_rate is None:
            from_zero = int(self.m[j]) * 10 <= int(self.m[i])
            little = -rise * 10 <= int(self.m[i])
            return self._accept(
                EventKind.RESET if from_zero else EventKind.BACKWARDS if little else EventKind.DROP, i, j
            )
        return self._accept(EventKind.RESET if int(self.m[j]) <= limit else EventKind.DROP, i, j)

    def _stale_since(self, i: int, j: int) -> int:
        """The reading from which the display stood still until `i`, if `j` may follow it; otherwise `i`."""
        moved = np.flatnonzero(self.d[self.floor : i] != 0)
        k = self.floor + int(moved[-1]) + 1 if moved.size else self.floor
        return k if k < i and bool(self._plausible(k, np.array([j]))[0]) else i

    def _blip_since(self, i: int, j: int) -> int:
        """The reading before up to three too high ones that end at `i`, if `j` may follow it; otherwise `i`."""
        for k in range(i - 1, max(self.floor, i - SHORT) - 1, -1):
            rise = int(self.m[j] - self.m[k])
            if 0 <= rise <= int(self.rules.limit(self.t[j : j + 1] - self.t[k])[0]):
                return k
        return i

    def _accept(self, kind: EventKind, i: int, j: int) -> int:
        """Book the step from `i` to `j` as `kind`; the readings between do not count."""
        self.keep[i + 1 : j] = False
        odd = self.m[i + 1 : j]
        fall_or_rise = int(self.m[j] - self.m[i])
        correction = 0
        if fall_or_rise < 0 and kind in (EventKind.ROLLOVER, EventKind.GLITCH) and self.rules.wraps_at is not None:
            correction = self.rules.wraps_at
            self.flags[j] |= int(Quality.ROLLOVER)
            kind = EventKind.ROLLOVER
        elif kind is EventKind.RESET:
            correction = int(self.m[i])
            self.flags[j] |= int(Quality.RESET)
        elif kind in (EventKind.JUMP, EventKind.DROP, EventKind.BACKWARDS):
            correction = -fall_or_rise
            self.known[j] = False
            self.flags[j] |= int(Quality.SUSPECT)
        elif kind is EventKind.OVER_RATE:
            self.flags[j] |= int(Quality.SUSPECT)
        self.correction[j] = correction
        self._note(
            CounterEvent(
                kind, int(self.t[i]), int(self.t[j]), int(self.m[i]), int(self.m[j]), correction, odd.size,
                tuple(odd[:8].tolist()),
            )
        )  # fmt: skip
        self.floor = j
        return j

    def _note(self, event: CounterEvent) -> None:
        """A reverse run or an overload of many steps is one event."""
        last = self.events[-1] if self.events else None
        grows = (EventKind.BACKWARDS, EventKind.OVER_RATE)
        if last and event.kind in grows and last.kind is event.kind and last.t_after_ns == event.t_before_ns:
            self.events[-1] = replace(
                last, t_after_ns=event.t_after_ns, after_micro=event.after_micro,
                correction_micro=last.correction_micro + event.correction_micro,
            )  # fmt: skip
        else:
            self.events.append(event)

    def _hold_back(self, i: int) -> int:
        odd = self.m[i + 1 :]
        self.keep[i + 1 :] = False
        self.events.append(
            CounterEvent(
                EventKind.UNCONFIRMED, int(self.t[i]), int(self.t[-1]), int(self.m[i]), int(self.m[-1]), 0, odd.size,
                tuple(odd[:8].tolist()),
            )
        )  # fmt: skip
        return int(self.t.size)
