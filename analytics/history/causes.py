"""Who is behind an open balance: causes are opened, named, renamed and closed, poll by poll.

```
 rest   ______________▁▁▁▁▁▁▁▁▁______         stays, whatever any sub-meter does  → unseen load at the main
        ______________▃▁▃▅▁▃▅▁______         follows s2                         → s2 lacks a constant part of its load
```
Nothing but the past of a poll is looked at, and of that not more than `RING` polls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from analytics.history.claims import Mark
from analytics.series import FloatArray, IntArray

RING = 384
"""Polls a balance remembers (four days of quarters); a day more than it looks back."""
UNIT_KW = 64.0
"""Loads are remembered in half precision, in this unit: from watts to gigawatts. [kW]"""
REACH = RING - 96
OF, FEWEST = 8, 6
"""6 of 8 polls to one side begin or end a cause."""
DECIDE = 96
"""After a day of polls the likeliest cause is named; earlier if it is twice as likely as the next."""
SURE = 0.5
OWN_SCATTER = 0.35
"""A cause may vary by this part of itself (load that nobody meters is no constant)."""
LOSS_SPAN = (0.15, 0.7)
"""A loss of 15 to 70 % that is no step of a transformer ratio looks like a bypass."""
EXPLAINS = 0.9
"""One cause that explains nine tenths of the polls is likelier than two."""
COLLAPSED = 0.5
"""A meter below this part of the least it counted in weeks has not just gone idle."""
STEPS = (0.5, 2.0 / 3.0, 0.75, 0.8, 0.001, 0.01, 0.1, 0.2, 0.25, 0.4, 0.6)
"""Usual ratios of neighbouring CT sizes, and of forgotten factors of ten."""


@dataclass
class Cause:
    """Something that makes the balance open.

    Attributes
    ----------
    start : int
        Slot in which it begins.
    who : int or None
        Column of the meter that counts wrongly (the main is the last), None for load that no sub-meter sees,
        -1 while undecided.
    size : float
        kW of unseen load, or the part of its own reading that a meter lacks.
    last : int
        The last poll it was seen to stand.
    sums, polls : (k + 2,) float64, (k + 2,) int64
        What each member counted since the start, and the rest: for the energy. [kW polls]
    """

    start: int
    who: int | None = -1
    size: float = 0.0
    scatter: float = 0.0
    collapsed: bool = False
    decided: int | None = None
    end: int | None = None
    slots: list[int] = field(default_factory=list)
    sums: FloatArray = field(default_factory=lambda: np.zeros(0))
    polls: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """A cause that may be: what it leaves unexplained on average [kW], who, and how much."""

    unexplained: float
    who: int | None
    size: float

    def explained(self, walk: Walk, slots: IntArray) -> FloatArray:
        """What it would explain. [kW]"""
        return np.full(slots.size, self.size) if self.who is None else self.size * walk.own(self.who, slots)


class Walk:
    """Goes through the polls of one balance.

    Attributes
    ----------
    everyone : (k + 1, RING) float16
        What each sub-meter, then the main, counted in the last polls. [UNIT_KW]
    rest : (RING,) float32
        [kW]
    band : float
        How much rest is usual. [kW]
    floor : (k + 1,) float64
        The least each meter counts in the weeks before. [kW]
    changed : list of Cause
        Causes that were named, renamed or ended since someone looked.
    """

    def __init__(self, everyone: NDArray[np.float16], rest: NDArray[np.float32]) -> None:
        members = len(everyone)
        self.everyone, self.rest = everyone, rest
        self.band = np.inf
        self.floor: FloatArray = np.full(members, np.nan)
        self.main = members - 1
        self.active: list[Cause] = []
        self.changed: list[Cause] = []
        self.dropped: list[Cause] = []
        self.ended_today: list[Cause] = []

    # -- what is remembered ---------------------------------------------------------------------------------------
    def rests(self, slots: IntArray) -> FloatArray:
        """(n,) float64: the rest in some slots. [kW]"""
        return np.asarray(self.rest[slots % RING], np.float64)

    def _counted(self, who: int, slots: IntArray) -> FloatArray:
        return np.asarray(self.everyone[who, slots % RING].astype(np.float64) * UNIT_KW)

    def _known(self, first: int, last: int) -> IntArray:
        slots = np.arange(max(first, last - REACH + 1), last + 1)
        return slots[np.isfinite(self.rest[slots % RING])]

    # -- what a cause explains ------------------------------------------------------------------------------------
    def _explained(self, cause: Cause, slots: IntArray) -> FloatArray:
        if cause.decided is None:
            return np.zeros(slots.size)
        if cause.who is None:
            return np.full(slots.size, cause.size)
        return cause.size * self.own(cause.who, slots)

    def own(self, who: int, slots: IntArray) -> FloatArray:
        """(n,) float64: a meter's own reading as it enters the rest. [kW]"""
        own = np.nan_to_num(self._counted(who, slots))
        return np.asarray(-own if who == self.main else own)

    def _left(self, slots: IntArray, causes: list[Cause]) -> FloatArray:
        return self.rests(slots) - sum((self._explained(c, slots) for c in causes), np.zeros(slots.size))

    def _room(self, slots: IntArray, causes: list[Cause]) -> FloatArray:
        return self.band + sum((self._slack(c, slots) for c in causes), np.zeros(slots.size))

    def _slack(self, cause: Cause, slots: IntArray) -> FloatArray:
        own = OWN_SCATTER * np.abs(self._explained(cause, slots))
        return own if cause.who is not None else np.minimum(own, 4.0 * cause.scatter)

    # -- a slot ---------------------------------------------------------------------------------------------------
    def step(self, slot: int) -> None:
        """Judge one poll whose rest is known."""
        at = slot % RING
        rest = float(self.rest[at])
        if not self.active and abs(rest) <= self.band:
            return
        for cause in self.active:
            self._count(cause, slot)
            if cause.decided is None:
                cause.slots.append(slot)
                del cause.slots[:-DECIDE]
        recent = self._recent(slot)
        if recent.size < OF:
            return
        collapsed = next((cause for cause in self.active if cause.collapsed), None)
        if collapsed is not None and collapsed.who is not None:
            # a meter that counts next to nothing says nothing about the others until it is back
            if bool((self._counted(collapsed.who, recent) >= COLLAPSED * self.floor[collapsed.who]).all()):
                self._end(collapsed, int(recent[0]))
            return
        pending = next((cause for cause in self.active if cause.decided is None), None)
        if pending is not None:
            self._pending(pending, recent, slot)
            return
        left, room = self._left(recent, self.active), self._room(recent, self.active)
        for sign in (1.0, -1.0):
            out = sign * left > room
            if int(out.sum()) >= FEWEST:
                start = int(recent[np.flatnonzero(out)[0]])
                self._changed(start, recent[out], recent)
                return

    def _count(self, cause: Cause, slot: int) -> None:
        counted = self.everyone[:, slot % RING].astype(np.float64) * UNIT_KW
        values = np.append(counted, float(self.rest[slot % RING]))
        if not cause.sums.size:
            cause.sums, cause.polls = np.zeros(values.size), np.zeros(values.size, np.int64)
        cause.sums += np.nan_to_num(values)
        cause.polls += np.isfinite(values)

    def _recount(self, cause: Cause, slot: int) -> None:
        cause.sums = np.zeros(0)
        for other in self._known(cause.start, slot).tolist():
            self._count(cause, other)

    def _end(self, cause: Cause, slot: int) -> None:
        cause.end = max(slot, cause.start + 1)
        self.active.remove(cause)
        if cause.decided is not None:
            self.changed.append(cause)
            self.ended_today.append(cause)

    def _recent(self, slot: int) -> IntArray:
        return self._known(slot - 4 * OF, slot)[-OF:]

    def _changed(self, start: int, out: IntArray, recent: IntArray) -> None:
        """The causes no longer explain the rest: some have ended, or there is a new one."""
        if bool((np.abs(self.rests(out)) <= self.band).all()):
            gone = list(self.active)
        else:
            gone = [cause for cause in self.active if self._fits(out, [c for c in self.active if c is not cause])][:1]
        for cause in gone:
            self._end(cause, start)
        if not gone:
            cause = Cause(start, slots=recent[recent >= start].tolist())
            self._recount(cause, int(recent[-1]))
            self.active.append(cause)

    def _fits(self, slots: IntArray, causes: list[Cause]) -> bool:
        return float(np.mean(np.abs(self._left(slots, causes)) <= self._room(slots, causes))) >= 0.75

    def _pending(self, cause: Cause, recent: IntArray, slot: int) -> None:
        others = [c for c in self.active if c is not cause]
        slots = np.array(cause.slots)
        slots = slots[slots > slot - REACH]
        if slots.size >= OF + FEWEST:
            options = self._options(slots[:-OF], others)
            usual = np.abs(self._left(recent, others)) <= self._room(recent, others)
            apart = np.abs(self._left(recent, others) - options[0].explained(self, recent))
            against = apart > self._room(recent, others)
            if bool(usual.all()) and int(against.sum()) >= FEWEST:
                self._name(cause, options[0], slot)
                if cause in self.active:
                    self._end(cause, int(recent[0]))
                return
        if slots.size < OF:
            return
        options = self._options(slots, others)
        clear = len(options) < 2 or options[0].unexplained < SURE * options[1].unexplained
        if slots.size >= DECIDE or (clear and slots.size >= 2 * OF) or options[0].unexplained < 0.0:
            self._name(cause, options[0], slot)

    def _reconsider(self, cause: Cause, slot: int) -> bool:
        """Whether the new departure only shows that an active cause was named wrongly; if so, that one is renamed."""
        for earlier in [c for c in self.active if c is not cause and c.decided is not None and not c.collapsed]:
            slots = self._known(earlier.start, slot)
            others = [c for c in self.active if c is not cause and c is not earlier]
            best = self._options(slots, others)[0]
            if best.unexplained < 0.0 or best.who == earlier.who:
                continue
            apart = np.abs(self._left(slots, others) - best.explained(self, slots))
            room = self._room(slots, others) + OWN_SCATTER * np.abs(best.explained(self, slots))
            if float(np.mean(apart <= room)) >= EXPLAINS:
                earlier.who, earlier.size, earlier.scatter = best.who, best.size, best.unexplained
                earlier.decided = slot
                self.changed.append(earlier)
                self._forget(cause)
                return True
        return False

    def _forget(self, cause: Cause) -> None:
        self.active.remove(cause)
        self.dropped.append(cause)

    def _name(self, cause: Cause, option: Option, slot: int) -> None:
        if self._reconsider(cause, slot):
            return
        cause.who, cause.size, cause.scatter = option.who, option.size, abs(option.unexplained)
        cause.decided, cause.collapsed = slot, option.unexplained < 0.0
        self._absorb(cause, slot)
        cause.slots.clear()
        self.changed.append(cause)

    def _absorb(self, cause: Cause, slot: int) -> None:
        """What was called unseen load while a meter idled may have been that meter's error from the beginning."""
        if cause.who is None or cause.collapsed:
            return
        for earlier in [c for c in self.active if c is not cause and c.who is None]:
            slots = self._known(earlier.start, min(cause.start - 1, slot))
            slots = slots[slots > slot - REACH]
            if not slots.size:
                continue
            others = [c for c in self.active if c is not cause and c is not earlier]
            grown = replace(cause, size=cause.size + earlier.size / self._level(cause.who, cause.slots))
            for candidate in (cause, grown):
                left = np.abs(self._left(slots, others) - self._explained(candidate, slots))
                if float(np.mean(left <= self._room(slots, others) + self._slack(candidate, slots))) >= 0.75:
                    cause.size, cause.start = candidate.size, earlier.start
                    cause.sums, cause.polls = earlier.sums, earlier.polls
                    self._forget(earlier)
                    break

    def _level(self, who: int, slots: list[int]) -> float:
        return max(float(np.mean(np.abs(self.own(who, np.array(slots))))), 1e-9)

    def _options(self, slots: IntArray, others: list[Cause]) -> list[Option]:
        """Who could be behind it, the likeliest first."""
        left = self._left(slots, others)
        lacks = float(np.median(left))
        for who in range(self.main):
            level = float(np.median(self._counted(who, slots)))
            if level < COLLAPSED * self.floor[who] and lacks > COLLAPSED * self.floor[who]:
                # it counts less than it ever did even when idle
                return [Option(-1.0, who, lacks / max(level, 1e-9))]
        # a bend in the middle (a start that is not quite right, an end) must not decide
        options = [Option(float(np.mean(np.abs(left - lacks))), None, lacks)]
        for who in range(self.main + 1):
            own = self.own(who, slots)
            power = float(own @ own)
            part = float(own @ left) / power if power > 0.0 else -1.0
            if part > -0.95:
                options.append(Option(float(np.mean(np.abs(left - part * own))), who, part))
        return sorted(options, key=lambda option: option.unexplained)

    def excuse(self, who: int, first: int) -> None:
        """A member is known to be wrong by itself since a slot: what began with it was its echo."""
        for cause in [c for c in self.active if c.start >= first - OF and c.who in (who, -1)]:
            self._forget(cause)


def factor_of(cause: Cause, hours: float, others: Sequence[Cause] = ()) -> tuple[float, float]:
    """What a meter counts as a part of what flows through it, and what it lacks a poll on average. [1, kWh]

    Parameters
    ----------
    others : sequence of Cause
        What else opens the balance: load that nobody meters is not what a collapsed meter lacks.
    """
    if cause.who is None or not cause.sums.size:
        return 1.0, 0.0
    polls = max(int(cause.polls[cause.who]), 1)
    counted = float(cause.sums[cause.who]) / polls
    lost = cause.size * counted
    if cause.collapsed:
        # what it lacks is the rest itself
        unseen = sum(other.size for other in others if other.who is None)
        lost = float(cause.sums[-1]) / max(int(cause.polls[-1]), 1) - unseen
    return counted / max(counted + lost, 1e-9), lost * hours


def name_of_factor(factor: float) -> str:
    """What a wrong factor looks like: a step of a transformer ratio, or a loss like that of a bypass."""
    low, high = LOSS_SPAN
    near_step = any(abs(factor / step - 1.0) < 0.02 for step in STEPS)
    return "theft" if low <= 1.0 - factor <= high and not near_step else "ratio_change"
