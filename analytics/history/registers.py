"""The counter as a track over weeks: reset, roll-over, a display that went back, garbage, and what each step counted.

A counter can only do what the load lets it: each step is between zero and the most this meter has ever shown in a poll.
What breaks this is named by where the display goes next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.findings import Evidence
from analytics.history.garbled import sensible, swapped
from analytics.history.record import Mark, MeterRecord, resolution
from analytics.series import BoolArray, FloatArray, IntArray

MOST = 3.0
"""A step of up to so many times the greatest load seen so far is believed: a new machine, not a wrong digit."""
WEEK_POLLS = 96
TRACK_LOST = 24
"""After so many polls (six hours of quarters) away from the old track the display is on a new one."""
LONGEST_STAND = 960
"""A display that stood still for up to so many polls (ten days of quarters) may catch up in one step."""
LEAP = 3.0
"""A load that leaps goes on with at least this part of its leap in the next poll."""
WORDS_KEEP = 2e-3
"""A float32 whose low word is read first keeps its value but for the digits after the third or so."""


@dataclass(frozen=True)
class CounterSteps:
    """What the counter counted poll by poll.

    Attributes
    ----------
    kwh : (m,) float64
        Energy of the poll's slot; over missing slots the true total, spread evenly; NaN where it is not known. [kWh]
    exact : (m,) bool
        The slot's energy is the difference of two believed readings one poll apart.
    marks : tuple of Mark
    digit : float
        The counter's last digit. [kWh]
    """

    kwh: FloatArray
    exact: BoolArray
    marks: tuple[Mark, ...]
    digit: float


def follow(record: MeterRecord, power_kw: FloatArray | None) -> CounterSteps | None:
    """Walk along the import counter and name every break.

    Parameters
    ----------
    record : MeterRecord
    power_kw : (m,) float64 or None
        Power on the slots, freed from impossible values; with it a step is also bounded by the load shown. [kW]

    Returns
    -------
    CounterSteps or None
        None without a counter.
    """
    shown = record.slots("e_imp")
    if shown is None:
        return None
    at = np.flatnonzero(np.isfinite(shown))
    kwh = np.full(record.size, np.nan)
    digit = resolution(shown)
    if at.size < 2:
        return CounterSteps(kwh, np.zeros(record.size, bool), (), digit)
    value = shown[at]
    cap = _greatest_step(np.diff(value), np.diff(at)) + 2.0 * digit
    modulus = record.facts.wraps_at_kwh
    step, polls = np.diff(value), np.diff(at)
    cap = np.maximum(cap[:-1] * polls, _carried(power_kw, at, record.hours))
    odd = np.flatnonzero((step < -1e-9) | (step > cap) | ~np.isfinite(step))
    booked, whole = step.copy(), polls == 1
    marks: list[Mark] = []
    done = -1
    for k in odd.tolist():
        if k < done:
            continue
        verdict = _judge(at, value, k, cap, modulus)
        back = verdict.back
        booked[k:back] = verdict.kwh * polls[k:back] / float(at[back] - at[k])
        whole[k:back] = False
        done = back
        last = max(back - 1, k + 1)
        if verdict.kind:
            evidence: Evidence = {
                "before_kwh": float(value[k]),
                "after_kwh": float(value[min(back, value.size - 1)]),
                "odd_kwh": tuple(float(x) for x in value[k + 1 : min(last + 1, k + 9)]),
            }
            marks.append(Mark(verdict.kind, int(at[k + 1]), int(at[last]), int(at[verdict.seen]), 0.95, evidence))
    owner = np.repeat(np.arange(polls.size), polls)
    kwh[at[0] + 1 : at[-1] + 1] = booked[owner] / polls[owner]
    exact = np.zeros(record.size, bool)
    exact[at[0] + 1 : at[-1] + 1] = whole[owner]
    return CounterSteps(kwh, exact, tuple(marks), digit)


def _carried(power_kw: FloatArray | None, at: IntArray, hours: float) -> FloatArray:
    """(n - 1,) float64: twice what the power shown over each step would count; 0 where none is shown. [kWh]"""
    if power_kw is None:
        return np.zeros(at.size - 1)
    area = np.concatenate(([0.0], np.cumsum(np.nan_to_num(power_kw)))) * hours
    return 2.0 * np.maximum(area[at[1:] + 1] - area[at[:-1] + 1], 0.0)


def _greatest_step(step: FloatArray, polls: IntArray) -> FloatArray:
    """(n,) float64: the most a poll may add at each reading, from what was counted before it. [kWh]"""
    per_poll = np.where(step >= 0, step / np.maximum(polls, 1), 0.0)
    first = per_poll[:WEEK_POLLS]
    start = MOST * (float(np.quantile(first, 0.9)) if first.size else 0.0)
    # believe a step only if it is no leap itself; what was believed raises the bound from then on
    believed = np.empty(per_poll.size + 1)
    believed[0] = start
    greatest = start / MOST
    leaps = np.flatnonzero(per_poll > greatest)
    bound = np.full(per_poll.size + 1, start)
    for k in leaps.tolist():
        if greatest < per_poll[k] <= MOST * greatest:
            greatest = float(per_poll[k])
            bound[k + 1 :] = MOST * greatest
    return bound


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a break was: its name ('' for a load that leapt), the next believed reading, its energy, what showed it."""

    kind: str
    back: int
    kwh: float
    seen: int


def _judge(at: IntArray, value: FloatArray, k: int, cap: FloatArray, modulus: float | None) -> _Verdict:
    """Name the step from the believed reading `k`."""
    before, after = float(value[k]), float(value[k + 1])
    per_poll = float(cap[k]) / int(at[k + 1] - at[k])
    most = float(cap[k])
    if modulus is not None and before < modulus and 0.0 <= after + modulus - before <= most:
        return _Verdict("counter_rollover", k + 1, after + modulus - before, k + 1)
    restored = float(swapped(np.array([after]))[0])
    garbled = not sensible(after) or abs(restored - before) <= max(most, WORDS_KEEP * abs(before))
    if not garbled and 0.0 <= after <= most < before:
        return _Verdict("counter_reset", k + 1, after, k + 1)
    back = k + 2
    while back < at.size and at[back] - at[k] <= TRACK_LOST:
        if 0.0 <= float(value[back]) - before <= per_poll * int(at[back] - at[k]):
            break
        back += 1
    if not garbled and after > before:
        # a display that stood still and now catches up
        moved = np.flatnonzero(np.diff(value[max(0, k - LONGEST_STAND) : k + 1]))
        stood = k - (int(moved[-1]) + 1 + max(0, k - LONGEST_STAND)) if moved.size else 0
        if stood and after - before <= per_poll * (int(at[k + 1] - at[k - stood])):
            return _Verdict("", k + 1, after - before, k + 1)
    returned = back < at.size and at[back] - at[k] <= TRACK_LOST
    kind, seen = ("counter_backwards" if after < before else "spike"), k + 1
    if garbled:
        kind = "word_swap"
    elif after > before:
        # upwards: a leap of the load goes on, a wrong reading does not; the next reading tells
        seen = k + 2
        if seen >= at.size:
            return _Verdict("", k + 1, np.nan, k + 1)
        following = float(value[seen]) - after
        if following * LEAP >= (after - before) / int(at[k + 1] - at[k]):
            return _Verdict("", k + 1, after - before, k + 1)
    if returned:
        return _Verdict(kind, back, float(value[back]) - before, seen)
    if back >= at.size and at[-1] - at[k] <= TRACK_LOST:
        return _Verdict(kind, at.size - 1, np.nan, seen)
    return _Verdict(kind, k + 1, np.nan, seen)
