"""Powers that cannot be: single wild readings, a noisy channel, garbage words; the counter is the witness.

What the counter counted over a poll is the mean power of it. A power that leaves the counter's by more than it usually
does (digits, sampling, both channels' classes) is wrong, whatever it looks like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.findings import Evidence, thinned
from analytics.history.chance import WEEKS
from analytics.history.garbled import absurd, swapped
from analytics.history.record import Mark, MeterRecord, resolution
from analytics.history.robust import middle, row_quantile
from analytics.series import BoolArray, FloatArray, runs

LEAST_REL = 0.02
"""Power and counter of one meter may always differ by so much: two channels of class 1."""
TIMES_USUAL = 3.0
SPIKE_OUT_OF, SPIKE_MOST = 2.0, 3
"""A spike is beyond twice what the counter says (or of the other sign), for at most three readings."""
BESIDE = 4
"""A wild reading within so many polls of garbage words is one of them."""
NOISE_OF, NOISE_FEWEST = 8, 4
"""A channel is noisy when 4 of 8 readings leave the counter's power, to both sides."""


@dataclass(frozen=True)
class PowerCheck:
    """The power against its witness.

    Attributes
    ----------
    power_kw : (m,) float64
        The power, NaN where it is wrong.
    wrong : (m,) bool
    marks : tuple of Mark
    """

    power_kw: FloatArray
    wrong: BoolArray
    marks: tuple[Mark, ...]


def clean_power(record: MeterRecord) -> FloatArray | None:
    """(m,) float64: the power without what is absurd or out of all proportion, before the counter is asked. [kW]"""
    power = record.slots("p")
    if power is None:
        return None
    typical = float(np.nanquantile(np.abs(power[: 28 * record.per_day]), 0.99)) if np.isfinite(power).any() else 0.0
    return np.where(absurd(power) | (np.abs(power) > 20.0 * max(typical, 1e-3)), np.nan, power)


def garbage(record: MeterRecord) -> list[Mark]:
    """Readings of any gauge that only make sense with their words exchanged, or not at all."""
    bad = np.zeros(record.size, bool)
    for channel in ("p", "q", "v1", "v2", "v3", "i1", "i2", "i3"):
        values = record.slots(channel)
        if values is not None:
            bad |= absurd(values)
    power = record.slots("p")
    marks = []
    for a, b in _joined(bad, 2):
        seen = np.full(0, np.nan) if power is None else power[a:b]
        evidence = {"seen": thinned(seen), "words_exchanged": thinned(swapped(seen))}
        marks.append(Mark("word_swap", a, b - 1, a, 0.97, evidence))
    return marks


def check_power(record: MeterRecord, counted_kw: FloatArray | None, counter_digit_kwh: float) -> PowerCheck | None:
    """Spikes, noise and garbage words of the power channel.

    Parameters
    ----------
    record : MeterRecord
    counted_kw : (m,) float64 or None
        Mean power by the counter, NaN where it is not known. [kW]
    counter_digit_kwh : float
        [kWh]
    """
    power = record.slots("p")
    if power is None:
        return None
    odd = absurd(power)
    if counted_kw is None:
        return PowerCheck(np.where(odd, np.nan, power), odd, ())
    digits = 2.0 * counter_digit_kwh / record.hours + resolution(power)
    witness = np.isfinite(counted_kw) & np.isfinite(power) & ~odd
    apart = np.where(witness, power - counted_kw, 0.0)
    level = np.maximum(np.abs(counted_kw), 1e-9)
    rel = np.where(witness, np.maximum(np.abs(apart) - digits, 0.0) / np.maximum(level, digits), 0.0)
    usual = _usual(rel, witness, record.per_day)
    out = witness & (rel > np.maximum(LEAST_REL, TIMES_USUAL * usual))
    still = np.concatenate(([False], power[1:] == power[:-1]))
    noisy = out & ~still
    marks: list[Mark] = []
    noise = np.zeros(power.size, bool)
    for a, b, seen in _noisy_stretches(noisy, apart):
        noise[a:b] = True
        scatter = float(np.std(apart[a:b][witness[a:b]] / np.maximum(level[a:b][witness[a:b]], digits)))
        evidence: Evidence = {"scatter": scatter, "usual": float(usual[a]), "seen_kw": thinned(power[a:b]),
                    "counted_kw": thinned(counted_kw[a:b])}  # fmt: skip
        marks.append(Mark("noise", a, b - 1, seen, 0.9, evidence))
    wild = out & ~noise & ((np.abs(power) > SPIKE_OUT_OF * level + digits) | (power * counted_kw < 0)) & ~still
    near = np.convolve(odd, np.ones(2 * BESIDE + 1), "same") > 0.5
    for a, b in runs(wild):
        if bool(near[a:b].any()):  # a swapped word may look sensible by chance
            marks.append(Mark("word_swap", a, b - 1, a, 0.9, {"seen": thinned(power[a:b])}))
        elif b - a <= SPIKE_MOST and counted_kw[a] > 0:
            swap = swapped(power[a:b])
            kind = "word_swap" if bool((np.abs(swap - counted_kw[a:b]) < 0.1 * level[a:b] + digits).all()) else "spike"
            evidence = {"seen_kw": thinned(power[a:b]), "counted_kw": thinned(counted_kw[a:b])}
            marks.append(Mark(kind, a, b - 1, a, 0.95, evidence))
    wrong = odd | noise | wild
    return PowerCheck(np.where(wrong, np.nan, power), wrong, tuple(marks))


def _usual(rel: FloatArray, witness: BoolArray, per_day: int) -> FloatArray:
    """(m,) float64: how far the power usually is from the counter's: the 98 % quantile of the weeks before, by day."""
    days = -(-rel.size // per_day)
    padded = np.full(days * per_day, np.nan)
    padded[: rel.size] = np.where(witness, rel, np.nan)
    by_day = padded.reshape(days, per_day)
    top = row_quantile(by_day, 0.98)
    usual = np.zeros(days)
    for day in range(1, days):
        past = top[max(0, day - WEEKS) : day]
        past = past[np.isfinite(past)]
        usual[day] = middle(past) if past.size else 0.0
    return np.repeat(usual, per_day)[: rel.size]


def _noisy_stretches(out: BoolArray, apart: FloatArray) -> list[tuple[int, int, int]]:
    """(first, after last, slot in which it became certain) of stretches with many readings out to both sides."""
    at = np.flatnonzero(out)
    if at.size < NOISE_FEWEST:
        return []
    close = at[NOISE_FEWEST - 1 :] - at[: -NOISE_FEWEST + 1] < NOISE_OF
    up = np.cumsum(np.concatenate(([0], apart[at] > 0)))
    among = up[NOISE_FEWEST:] - up[:-NOISE_FEWEST]
    certain = close & (among > 0) & (among < NOISE_FEWEST)
    found: list[tuple[int, int, int]] = []
    for k in np.flatnonzero(certain).tolist():
        a, b = int(at[k]), int(at[k + NOISE_FEWEST - 1]) + 1
        if found and a - found[-1][1] < NOISE_OF:
            found[-1] = (found[-1][0], b, found[-1][2])
        else:
            found.append((a, b, b - 1))
    return found


def _joined(claim: BoolArray, within: int) -> list[tuple[int, int]]:
    """Runs of True that are at most `within` slots apart, as one."""
    joined: list[tuple[int, int]] = []
    for a, b in runs(claim):
        if joined and a - joined[-1][1] <= within:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    return joined
