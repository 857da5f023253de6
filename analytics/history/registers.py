"""The counter as a track: reset, roll-over, a display that went back, garbage, and what each step counted.

A counter can only do what the load lets it: each step is between zero and the most this meter has ever shown in a poll.
What breaks this is named by where the display goes next.
"""

from __future__ import annotations

import numpy as np

from analytics.history.digits import Digits
from analytics.history.garbled import sensible, swapped
from analytics.history.planes import Now
from analytics.series import BoolArray, FloatArray, IntArray

MOST = 3.0
"""A step of up to so many times the greatest load seen so far is believed: a new machine, not a wrong digit."""
FIRST_POLLS = 48
"""Steps of a first day that give the first idea of the load."""
TRACK_LOST = 24
"""After so many polls (six hours of quarters) away from the old track the display is on a new one."""
LONGEST_STAND = 960
"""A display that stood still for up to so many polls (ten days of quarters) may catch up in one step."""
LEAP = 3.0
"""A load that leaps goes on with at least this part of its leap in the next poll."""
WORDS_KEEP = 2e-3
"""A float32 whose low word is read first keeps its value but for the digits after the third or so."""
SOUND, LEAPT, BACKWARDS, SPIKE, SWAPPED = range(5)
KINDS = {BACKWARDS: "counter_backwards", SPIKE: "spike", SWAPPED: "word_swap"}


class Registers:
    """The import counters of a fleet, followed.

    Attributes
    ----------
    shown, at : (m,) float64, int64
        The last believed display and its slot. [kWh]
    greatest : (m,) float64
        The most it ever counted in a poll; NaN before the first day is over. [kWh]
    state : (m,) int8
        `SOUND`, or how the track was left.
    """

    def __init__(self, m: int) -> None:
        self.digits = Digits(m)
        self.shown: FloatArray = np.full(m, np.nan)
        self.at: IntArray = np.zeros(m, np.int64)
        self.moved_at: IntArray = np.zeros(m, np.int64)
        self.greatest: FloatArray = np.full(m, np.nan)
        self.at_dawn: FloatArray = np.full(m, np.nan)
        self.carried: FloatArray = np.zeros(m)
        self.state = np.zeros(m, np.int8)
        self.left_at: IntArray = np.zeros(m, np.int64)
        self.left_shown: FloatArray = np.full(m, np.nan)
        self.left_most: FloatArray = np.full(m, np.nan)
        self.odd_shown: FloatArray = np.full(m, np.nan)

    def look(self, now: Now) -> FloatArray:
        """(m, b) float64: mean power by the counter, NaN where not known. [kW] Breaks are claimed."""
        shown = now.values("e_imp")
        block = now.block
        if shown is None:
            return np.full(block.present.shape, np.nan)
        self.digits.take(shown)
        known = np.isfinite(shown)
        index = np.arange(block.width)
        last = np.maximum.accumulate(np.where(known, index, -1), axis=1)
        past = np.concatenate((np.full((len(shown), 1), -1), last[:, :-1]), axis=1)
        rows = np.arange(len(shown))[:, None]
        before = np.where(past < 0, self.shown[:, None], shown[rows, past])
        polls = np.where(past < 0, block.first + index - self.at[:, None], index - past)
        step = shown - before
        by_power = self._by_power(now, known, past)
        with np.errstate(invalid="ignore"):
            per_poll = step / polls
            high = known & (per_poll > self.greatest[:, None])
            odd = known & ((step < -1e-9) | (per_poll > MOST * self.greatest[:, None]))
        to_follow = odd.any(axis=1) | (self.state != SOUND)
        # most new maxima are just that
        risen = np.flatnonzero(high.any(axis=1) & ~to_follow)
        self.greatest[risen] = np.where(high[risen], per_poll[risen], 0.0).max(axis=1)
        odd |= high
        counted = np.where(polls == 1, step / now.facts.hours, np.nan)
        for m in np.flatnonzero(to_follow).tolist():
            self._follow(m, now, shown[m], known[m], odd[m], polls[m], before[m], by_power[m], step[m], counted[m])
        with np.errstate(invalid="ignore"):
            moves = np.abs(step) > 0
        latest = block.first + block.width - 1 - np.argmax(moves[:, ::-1], axis=1)
        self.moved_at = np.where(moves.any(axis=1), latest, self.moved_at)
        there = last[:, -1] >= 0
        self.shown = np.where(there, shown[rows[:, 0], last[:, -1]], self.shown)
        self.at = np.where(there, block.first + last[:, -1], self.at)
        return counted

    def _by_power(self, now: Now, known: BoolArray, past: IntArray) -> FloatArray:
        """(m, b) float64: twice what the power shown over each step would count. [kWh]"""
        power = now.values("p")
        if power is None:
            return np.zeros(known.shape)
        far = 20.0 * MOST * self.at_dawn[:, None] / now.facts.hours
        with np.errstate(invalid="ignore"):
            believed = np.where(np.isfinite(power) & ~(power > far) & (power > 0.0), power, 0.0) * now.facts.hours
        total = np.cumsum(believed, axis=1) + self.carried[:, None]
        rows = np.arange(len(power))[:, None]
        base = np.where(past < 0, 0.0, total[rows, past])
        ends = np.flatnonzero(known.any(axis=1))
        tail = total[:, -1].copy()
        last = known.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
        tail[ends] -= total[ends, last[ends]]
        self.carried = tail
        return 2.0 * (total - base)

    def end_day(self, steps_kwh: FloatArray) -> None:
        """A day is over; a meter without an idea of its load gets it from the day's steps.

        Parameters
        ----------
        steps_kwh : (m, per_day) float64
            What was used in each poll. [kWh]
        """
        self.digits.end_day()
        fresh = np.isnan(self.greatest) & (np.isfinite(steps_kwh).sum(axis=1) >= FIRST_POLLS)
        for m in np.flatnonzero(fresh).tolist():
            known = steps_kwh[m][np.isfinite(steps_kwh[m])]
            self.greatest[m] = float(np.quantile(known, 0.9))
        self.at_dawn = self.greatest.copy()

    # -- one meter, poll by poll, from where its track is broken ---------------------------------------------------
    def _follow(
        self, m: int, now: Now, shown: FloatArray, known: BoolArray, odd: BoolArray, polls: IntArray,
        before: FloatArray, by_power: FloatArray, step: FloatArray, counted: FloatArray,
    ) -> None:  # fmt: skip
        first = now.block.first
        j = 0
        while j < shown.size:
            if self.state[m] == SOUND:
                rest = np.flatnonzero(odd[j:])
                if not rest.size:
                    return
                j += int(rest[0])
                most = (MOST * self.greatest[m] + 2.0 * self.digits.digit[m]) * polls[j]
                most = float(np.maximum(most, by_power[j]))
                if not self._believe(m, float(step[j]), int(polls[j]), most):
                    counted[j] = np.nan
                    self._leave(m, now, j, float(before[j]), float(shown[j]), int(polls[j]), most, step)
            elif known[j]:
                counted[j] = np.nan
                self._lost(m, now, first + j, float(shown[j]))
            j += 1

    def _believe(self, m: int, step: float, polls: int, most: float) -> bool:
        """Whether a step can be; one that is the greatest yet, but no leap, raises what can be."""
        if not (-1e-9 <= step <= most or (np.isnan(most) and step >= 0)):
            return False
        if step <= MOST * self.greatest[m] * polls:
            self.greatest[m] = max(float(self.greatest[m]), step / polls)
        return True

    def _leave(
        self, m: int, now: Now, j: int, before: float, after: float, polls: int, most: float, steps: FloatArray
    ) -> None:
        """Name a step that cannot be, or wait for what comes next."""
        slot = now.block.first + j
        step = after - before
        per_poll = most / polls
        modulus = float(now.facts.wraps_at_kwh[m])
        wraps_within = most
        if np.isnan(most):  # the first day: nothing is known of the load yet
            most, per_poll, wraps_within = 0.0, 0.0, 1e-3 * modulus
        evidence = {"before_kwh": before, "after_kwh": after}
        trace = {"odd_kwh": after}
        if before < modulus and 0.0 <= after + modulus - before <= wraps_within:
            now.claim(m, "counter_rollover", slot, slot, slot, 0.95, evidence, trace=trace)
            return
        restored = float(swapped(np.array([after]))[0])
        garbled = not sensible(after) or abs(restored - before) <= max(most, WORDS_KEEP * abs(before))
        if not garbled and 0.0 <= after <= most < before:
            now.claim(m, "counter_reset", slot, slot, slot, 0.95, evidence, trace=trace)
            return
        if not garbled and step > 0:
            with np.errstate(invalid="ignore"):
                moves = np.flatnonzero(np.abs(steps[: max(j - polls + 1, 0)]) > 0)
            moved_at = now.block.first + int(moves[-1]) if moves.size else int(self.moved_at[m])
            stood = slot - polls - moved_at
            if 0 < stood <= LONGEST_STAND and step <= per_poll * (polls + stood):
                return  # a display that stood still and now catches up
        self.left_at[m], self.left_shown[m], self.left_most[m] = slot - polls, before, per_poll
        self.odd_shown[m] = after
        if garbled:
            self.state[m] = SWAPPED
        elif step > 0:
            # a leap of the load goes on, a wrong reading does not; the next reading tells
            self.state[m] = LEAPT
            return
        else:
            self.state[m] = BACKWARDS
        now.claim(m, KINDS[int(self.state[m])], slot, slot, slot, 0.95, evidence, trace=trace)

    def _lost(self, m: int, now: Now, slot: int, shown: float) -> None:
        """A poll while the display is off its track."""
        polls = slot - int(self.left_at[m])
        evidence = {"before_kwh": float(self.left_shown[m]), "after_kwh": float(self.odd_shown[m])}
        returned = 0.0 <= shown - self.left_shown[m] <= self.left_most[m] * polls
        if self.state[m] == LEAPT:
            leap = float(self.odd_shown[m] - self.left_shown[m])
            following = shown - float(self.odd_shown[m])
            odd_at = slot - 1
            if not returned and following >= 0 and following * LEAP >= leap / max(polls - 1, 1):
                self.greatest[m] = max(float(self.greatest[m]), following)
                self.state[m] = SOUND
                return
            now.claim(m, "spike", odd_at, odd_at, slot, 0.95, evidence, trace={"odd_kwh": float(self.odd_shown[m])})
            self.state[m] = SOUND if returned else SPIKE
            return
        kind = KINDS[int(self.state[m])]
        if returned:
            self.state[m] = SOUND
        elif polls > TRACK_LOST:
            self.state[m] = SOUND
            # a new track, not a stretch of wrong readings
            now.correct(m, kind, int(self.left_at[m]) + 1, slot)
        else:
            now.claim(m, kind, slot, slot, slot, 0.95, evidence, trace={"odd_kwh": shown}, near=TRACK_LOST)
