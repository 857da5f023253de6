"""The metering tree as a witness: main meter against its sub-meters, poll by poll.

What the main counts beyond its sub-meters is losses, which grow with the load, and a little unmetered load, which is
there all the time. Both are learnt. What then remains is near zero, however wildly the plant works, until

- load appears that no sub-meter sees (``sum_mismatch``): the rest is there whatever any sub-meter does;
- one sub-meter counts too little or too much by a factor (``theft``, ``ratio_change``): the rest follows *that* meter;
- the main does: the rest follows the main.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analytics.findings import Evidence, thinned
from analytics.history.record import Mark
from analytics.series import FloatArray, IntArray

LEARN_DAYS = 14
"""No judgement before so many days."""
LOOK_BACK_DAYS = 28
SCATTER = 6.0
"""A rest beyond so many robust standard deviations of the usual rest ..."""
OF_MAIN = 0.01
"""... and beyond this part of the main's usual load (two meters of class 0.5 in opposite directions) is no chance."""
OF, FEWEST = 8, 6
"""6 of 8 polls to one side begin or end a cause."""
DECIDE = 96
"""After a day of polls the likeliest cause is named; earlier if it is twice as likely as the next."""
SURE = 0.5
OWN_SCATTER = 0.35
"""A cause may vary by this part of itself (load that nobody meters is no constant)."""
LOSS_SPAN = (0.15, 0.7)
"""A loss of 15 to 70 % that is no step of a transformer ratio looks like a bypass."""
RECONSIDERED, EXPLAINS = 4, 0.9
"""One cause that explains nine tenths of the polls of up to four days is likelier than two."""
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
    """

    start: int
    who: int | None = -1
    size: float = 0.0
    scatter: float = 0.0
    collapsed: bool = False
    decided: int | None = None
    end: int | None = None
    slots: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Balance:
    """What the balance of a plant says.

    Attributes
    ----------
    causes : list of Cause
        Decided ones.
    lacking : (k + 1, m) float64
        Part of its own reading that each column (sub-meters, then the main) lacks in each slot; 0 where it is right.
    rest : (m,) float64
        What the main counts beyond the expected. [kW]
    band : (m,) float64
        How much of it is usual. [kW]
    """

    causes: list[Cause]
    lacking: FloatArray
    rest: FloatArray
    band: FloatArray


def judge(main_kw: FloatArray, subs_kw: FloatArray, per_day: int, first_of_day: int = 0) -> Balance:
    """Follow the rest of the balance and name what opens it.

    Parameters
    ----------
    main_kw : (m,) float64
        Mean power by the main's counter in each slot, NaN where not known. [kW]
    subs_kw : (k, m) float64
        The same of each sub-meter. [kW]
    per_day : int
        Slots a day.
    first_of_day : int
        Slot of the day of the first slot.

    Returns
    -------
    Balance
        Only the past of a slot is used to judge it.
    """
    m = main_kw.size
    everyone = np.vstack([subs_kw, main_kw])
    total = subs_kw.sum(axis=0)
    angle = 2.0 * np.pi * ((np.arange(m) + first_of_day) % per_day) / per_day
    terms = np.stack([total, np.ones(m), np.cos(angle), np.sin(angle)])
    open_kw = main_kw - total
    known = np.isfinite(open_kw)
    rest, band = np.full(m, np.nan), np.full(m, np.nan)
    clean = np.zeros(m, bool)
    walk = _Walk(everyone, rest, band)
    for day in range(-(-m // per_day)):
        cut = slice(day * per_day, min((day + 1) * per_day, m))
        if day < LEARN_DAYS:
            clean[cut] = known[cut]
            continue
        past = slice(max(0, (day - LOOK_BACK_DAYS) * per_day), day * per_day)
        use = np.flatnonzero(clean[past]) + past.start
        if use.size >= 3 * per_day:
            fit, width = _fit(terms[:, use], open_kw[use])
            width = max(SCATTER * width, OF_MAIN * float(np.median(main_kw[use])))
            walk.floor = np.quantile(everyone[:, use], 0.01, axis=1)
        rest[cut] = open_kw[cut] - fit @ terms[:, cut]
        band[cut] = width
        walk.day(cut)
        inside = np.abs(rest[cut]) <= band[cut]
        clean[cut] = known[cut] & inside & (not walk.active)
    lacking = np.zeros(everyone.shape)
    for cause in walk.causes:
        if cause.who is not None and cause.who >= 0:
            lacking[cause.who, cause.start : cause.end] = cause.size
    return Balance([cause for cause in walk.causes if cause.decided is not None], lacking, rest, band)


def _fit(terms: FloatArray, open_kw: FloatArray) -> tuple[FloatArray, float]:
    """Losses and unmetered load by least squares, a second time without the farthest tenth; and the scatter. [kW]"""
    use = np.ones(open_kw.size, bool)
    for _ in range(2):
        fit = np.linalg.lstsq(terms[:, use].T, open_kw[use], rcond=None)[0]
        apart = np.abs(open_kw - fit @ terms)
        use = apart <= np.quantile(apart, 0.9)
    return np.asarray(fit), 1.4826 * float(np.median(apart))


class _Walk:
    """Goes through the slots, opening, naming and closing causes; nothing but the past of a slot is looked at."""

    def __init__(self, everyone: FloatArray, rest: FloatArray, band: FloatArray) -> None:
        self.everyone, self.rest, self.band = everyone, rest, band
        self.main = len(everyone) - 1
        self.floor = np.full(len(everyone), np.nan)
        """The least each meter counts in the weeks before. [kW]"""
        self.causes: list[Cause] = []
        self.active: list[Cause] = []

    def day(self, cut: slice) -> None:
        """Judge a day's slots."""
        known = np.flatnonzero(np.isfinite(self.rest[cut])) + cut.start
        if not self.active and bool((np.abs(self.rest[known]) <= self.band[known]).all()):
            return
        for slot in known.tolist():
            self._slot(slot)

    # -- what a cause explains ------------------------------------------------------------------------------------
    def _explained(self, cause: Cause, slots: IntArray) -> FloatArray:
        if cause.decided is None:
            return np.zeros(slots.size)
        if cause.who is None:
            return np.full(slots.size, cause.size)
        return cause.size * self._own(cause.who, slots)

    def _own(self, who: int, slots: IntArray) -> FloatArray:
        own = np.nan_to_num(self.everyone[who, slots])
        return np.asarray(-own if who == self.main else own)

    def _left(self, slots: IntArray, causes: list[Cause]) -> FloatArray:
        return self.rest[slots] - sum((self._explained(c, slots) for c in causes), np.zeros(slots.size))

    def _room(self, slots: IntArray, causes: list[Cause]) -> FloatArray:
        return self.band[slots] + sum((self._slack(c, slots) for c in causes), np.zeros(slots.size))

    def _slack(self, cause: Cause, slots: IntArray) -> FloatArray:
        own = OWN_SCATTER * np.abs(self._explained(cause, slots))
        return own if cause.who is not None else np.minimum(own, 4.0 * cause.scatter)

    # -- a slot ---------------------------------------------------------------------------------------------------
    def _slot(self, slot: int) -> None:
        if not self.active and abs(self.rest[slot]) <= self.band[slot]:
            return
        for cause in self.active:
            if cause.decided is None:
                cause.slots.append(slot)
        recent = self._recent(slot)
        if recent.size < OF:
            return
        collapsed = next((cause for cause in self.active if cause.collapsed), None)
        if collapsed is not None and collapsed.who is not None:
            # a meter that counts next to nothing says nothing about the others until it is back
            if bool((self.everyone[collapsed.who, recent] >= COLLAPSED * self.floor[collapsed.who]).all()):
                collapsed.end = int(recent[0])
                self.active.remove(collapsed)
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

    def _recent(self, slot: int) -> IntArray:
        window = np.arange(max(0, slot - 4 * OF), slot + 1)
        return window[np.isfinite(self.rest[window])][-OF:]

    def _changed(self, start: int, out: IntArray, recent: IntArray) -> None:
        """The causes no longer explain the rest: some have ended, or there is a new one."""
        if bool((np.abs(self.rest[out]) <= self.band[out]).all()):
            gone = list(self.active)
        else:
            gone = [cause for cause in self.active if self._fits(out, [c for c in self.active if c is not cause])][:1]
        for cause in gone:
            cause.end = max(start, cause.start + 1)
            self.active.remove(cause)
        if not gone:
            cause = Cause(start, slots=recent[recent >= start].tolist())
            self.causes.append(cause)
            self.active.append(cause)

    def _fits(self, slots: IntArray, causes: list[Cause]) -> bool:
        return float(np.mean(np.abs(self._left(slots, causes)) <= self._room(slots, causes))) >= 0.75

    def _pending(self, cause: Cause, recent: IntArray, slot: int) -> None:
        others = [c for c in self.active if c is not cause]
        slots = np.array(cause.slots)
        if slots.size >= OF + FEWEST:
            options = self._options(slots[:-OF], others)
            usual = np.abs(self._left(recent, others)) <= self._room(recent, others)
            against = np.abs(self._left(recent, others) - options[0].explained(self, recent)) > self._room(
                recent, others
            )
            if bool(usual.all()) and int(against.sum()) >= FEWEST:
                self._name(cause, options[0], slot)
                if cause in self.active:
                    cause.end = int(recent[0])
                    self.active.remove(cause)
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
            slots = np.arange(max(earlier.start, slot - RECONSIDERED * DECIDE), slot + 1)
            slots = slots[np.isfinite(self.rest[slots])]
            others = [c for c in self.active if c is not cause and c is not earlier]
            best = self._options(slots, others)[0]
            if best.unexplained < 0.0 or best.who == earlier.who:
                continue
            apart = np.abs(self._left(slots, others) - best.explained(self, slots))
            room = self._room(slots, others) + OWN_SCATTER * np.abs(best.explained(self, slots))
            if float(np.mean(apart <= room)) >= EXPLAINS:
                earlier.who, earlier.size, earlier.scatter = best.who, best.size, best.unexplained
                earlier.decided = slot
                self.active.remove(cause)
                self.causes.remove(cause)
                return True
        return False

    def _name(self, cause: Cause, option: Option, slot: int) -> None:
        if self._reconsider(cause, slot):
            return
        cause.who, cause.size, cause.scatter = option.who, option.size, abs(option.unexplained)
        cause.decided, cause.collapsed = slot, option.unexplained < 0.0
        self._absorb(cause)

    def _absorb(self, cause: Cause) -> None:
        """What was called unseen load while a meter idled may have been that meter's error from the beginning."""
        if cause.who is None or cause.collapsed:
            return
        for earlier in [c for c in self.active if c is not cause and c.who is None]:
            slots = np.arange(earlier.start, cause.start)
            slots = slots[np.isfinite(self.rest[slots])]
            if not slots.size or cause.decided is None:
                continue
            others = [c for c in self.active if c is not cause and c is not earlier]
            grown = replace(cause, size=cause.size + earlier.size / self._level(cause.who, cause.slots))
            for candidate in (cause, grown):
                left = np.abs(self._left(slots, others) - self._explained(candidate, slots))
                if float(np.mean(left <= self._room(slots, others) + self._slack(candidate, slots))) >= 0.75:
                    cause.size, cause.start = candidate.size, earlier.start
                    self.active.remove(earlier)
                    self.causes.remove(earlier)
                    break

    def _level(self, who: int, slots: list[int]) -> float:
        return max(float(np.mean(np.abs(self._own(who, np.array(slots))))), 1e-9)

    def _options(self, slots: IntArray, others: list[Cause]) -> list[Option]:
        """Who could be behind it, the likeliest first."""
        left = self._left(slots, others)
        for who in range(self.main):
            level = float(np.median(self.everyone[who, slots]))
            lacks = float(np.median(left))
            if level < COLLAPSED * self.floor[who] and lacks > COLLAPSED * self.floor[who]:
                # it counts less than it ever did even when idle
                return [Option(-1.0, who, lacks / max(level, 1e-9))]
        # a bend in the middle (a start that is not quite right, an end) must not decide
        unseen = float(np.median(left))
        options = [Option(float(np.mean(np.abs(left - unseen))), None, unseen)]
        for who in range(len(self.everyone)):
            own = self._own(who, slots)
            power = float(own @ own)
            part = float(own @ left) / power if power > 0.0 else -1.0
            if part > -0.95:
                options.append(Option(float(np.mean(np.abs(left - part * own))), who, part))
        return sorted(options, key=lambda option: option.unexplained)


@dataclass(frozen=True, slots=True)
class Option:
    """A cause that may be: what it leaves unexplained on average [kW], who, and how much."""

    unexplained: float
    who: int | None
    size: float

    def explained(self, walk: _Walk, slots: IntArray) -> FloatArray:
        """What it would explain. [kW]"""
        return np.full(slots.size, self.size) if self.who is None else self.size * walk._own(self.who, slots)


def as_marks(
    balance: Balance, meters: Sequence[str], subs: int, hours: float, everyone: FloatArray
) -> dict[str, list[Mark]]:
    """The causes as claims at the meters they concern.

    Parameters
    ----------
    balance : Balance
    meters : sequence of str
        Sub-meters, then the main, as in the balance.
    subs : int
    hours : float
        Length of a slot. [h]
    everyone : (k + 1, m) float64
        What each meter counted. [kW]
    """
    said: dict[str, list[Mark]] = {meter: [] for meter in meters}
    size = balance.rest.size
    for cause in balance.causes:
        last = (cause.end or size) - 1
        if cause.decided is None or last - cause.start < OF - 1:
            continue
        span = slice(cause.start, last + 1)
        evidence: Evidence = {"rest_kw": thinned(balance.rest[span]), "usual_kw": float(np.nanmax(balance.band[span]))}
        if cause.who is None:
            if cause.size > 0:
                kwh = cause.size * hours * (last + 1 - cause.start)
                said[meters[subs]].append(
                    Mark(
                        "sum_mismatch",
                        cause.start,
                        last,
                        cause.decided,
                        0.9,
                        {**evidence, "unseen_kw": cause.size},
                        kwh,
                    )
                )
            continue
        lost = cause.size * everyone[cause.who, span]
        if cause.collapsed:
            # what it lacks is the rest itself, without what else was open at the time
            unseen = np.zeros(size)
            for other in balance.causes:
                if other.who is None:
                    unseen[other.start : other.end] += other.size
            lost = (balance.rest - unseen)[span]
        known = lost[np.isfinite(lost)]
        kwh = float(known.mean()) * lost.size * hours if known.size else 0.0
        counted = float(np.nanmean(everyone[cause.who, span])) * lost.size * hours
        factor = counted / max(counted + kwh, 1e-9)
        kind = name_of_factor(factor)
        mark = Mark(kind, cause.start, last, cause.decided, 0.9, {**evidence, "factor": factor}, kwh)
        said[meters[cause.who]].append(mark)
    return said


def name_of_factor(factor: float) -> str:
    """What a wrong factor looks like: a step of a transformer ratio, or a loss like that of a bypass."""
    low, high = LOSS_SPAN
    near_step = any(abs(factor / step - 1.0) < 0.02 for step in STEPS)
    return "theft" if low <= 1.0 - factor <= high and not near_step else "ratio_change"
