"""Powers that cannot be: single wild readings, a noisy channel, garbage words; the counter is the witness.

What the counter counted over a poll is the mean power of it. A power that leaves the counter's by more than it usually
does (digits, sampling, both channels' classes) is wrong, whatever it looks like.
"""

from __future__ import annotations

import numpy as np

from analytics.history.chance import WEEKS
from analytics.history.digits import Digits
from analytics.history.garbled import absurd, swapped
from analytics.history.planes import Now
from analytics.history.robust import row_quantile
from analytics.series import BoolArray, FloatArray

LEAST_REL = 0.02
"""Power and counter of one meter may always differ by so much: two channels of class 1."""
MOST_REL = 1e3
TIMES_USUAL = 3.0
SPIKE_OUT_OF, SPIKE_MOST = 2.0, 3
"""A spike is beyond twice what the counter says (or of the other sign), for at most three readings."""
NOISE_OF, NOISE_FEWEST = 8, 4
"""A channel is noisy when 4 of 8 readings leave the counter's power, to both sides."""
GAUGES = ("p", "q", "v1", "v2", "v3", "i1", "i2", "i3")


class Values:
    """The power channels of a fleet against their counters.

    Attributes
    ----------
    usual : (m,) float64
        How far the power usually is from the counter's, as a share: the median of the days' 98 % quantiles.
    """

    def __init__(self, m: int, per_day: int, times_usual: float = TIMES_USUAL) -> None:
        self.digits = Digits(m)
        self.times_usual = times_usual
        self.usual: FloatArray = np.full(m, np.inf)
        self.today = np.full((m, per_day), np.nan, np.float16)
        self.days = np.full((m, WEEKS), np.nan, np.float16)
        self.out_at = np.full((m, NOISE_FEWEST), -(2**40), np.int64)
        self.out_up = np.zeros((m, NOISE_FEWEST), bool)
        self.wild_run = np.zeros(m, np.int64)
        self.wild_at = np.zeros(m, np.int64)
        self.wild_kw = np.full((m, SPIKE_MOST, 2), np.nan)

    def look(self, now: Now, position: int) -> tuple[BoolArray, FloatArray]:
        """Claim spikes, noise and garbage.

        Parameters
        ----------
        position : int
            Poll of the day of the block's first column.

        Returns
        -------
        (m, b) bool, (m, b) float64
            The power is wrong; the power where it is not. [kW]
        """
        self._garbage(now)
        power = now.values("p")
        if power is None:
            nothing = np.full(now.block.present.shape, np.nan)
            return np.zeros(nothing.shape, bool), nothing
        self.digits.take(power)
        odd = absurd(power)
        counted = now.counted_kw
        digits = (2.0 * self.counter_digit / now.facts.hours + self.digits.digit)[:, None]
        witness = np.isfinite(counted) & np.isfinite(power) & ~odd
        with np.errstate(invalid="ignore"):
            apart = np.where(witness, power - counted, 0.0)
            level = np.abs(counted)
            rel = np.maximum(np.abs(apart) - digits, 0.0) / np.maximum(level, digits)
            rel = np.where(witness, rel, np.nan)
            self.today[:, position : position + power.shape[1]] = np.minimum(rel, MOST_REL)
            still = power == now.shifted("p")
            out = (rel > np.maximum(LEAST_REL, self.times_usual * self.usual)[:, None]) & ~still
            wild = out & ((np.abs(power) > SPIKE_OUT_OF * level + digits) | (power * counted < 0))
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(out)), strict=True):
            self._noise(m, j, now, float(apart[m, j]), power, counted)
        for m in np.flatnonzero(wild.any(axis=1) | (self.wild_run > 0)).tolist():
            self._spikes(m, now, wild[m], power[m], counted[m], float(digits[m, 0]))
        wrong = odd | wild
        return wrong, np.where(wrong, np.nan, power)

    counter_digit: FloatArray = np.zeros(0)

    def _garbage(self, now: Now) -> None:
        bad = np.zeros(now.block.present.shape, bool)
        for channel in GAUGES:
            values = now.values(channel)
            if values is not None:
                bad |= absurd(values)
        if not bad.any():
            return
        power = now.values("p")
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(bad)), strict=True):
            slot = now.block.first + j
            seen = np.nan if power is None else float(power[m, j])
            trace = {"seen": seen, "words_exchanged": float(swapped(np.array([seen]))[0])}
            now.claim(m, "word_swap", slot, slot, slot, 0.97, {"exchanged": 1}, trace=trace)

    def _noise(self, m: int, j: int, now: Now, apart: float, power: FloatArray, counted: FloatArray) -> None:
        slot = now.block.first + j
        at, up = self.out_at[m], self.out_up[m]
        at[:-1], up[:-1] = at[1:].copy(), up[1:].copy()
        at[-1], up[-1] = slot, apart > 0
        if slot - at[0] < NOISE_OF and 0 < int(up.sum()) < NOISE_FEWEST:
            trace = {"seen_kw": float(power[m, j]), "counted_kw": float(counted[m, j])}
            usual = float(self.usual[m])
            now.claim(m, "noise", int(at[0]), slot, slot, 0.9, {"usual": usual}, trace=trace)

    def _spikes(self, m: int, now: Now, wild: BoolArray, power: FloatArray, counted: FloatArray, digits: float) -> None:
        """Runs of wild readings; a run is a spike once it is over and was short."""
        for j in np.flatnonzero(np.isfinite(power)).tolist():
            run = int(self.wild_run[m])
            if wild[j]:
                if run < SPIKE_MOST:
                    self.wild_kw[m, run] = power[j], counted[j]
                if run == 0:
                    self.wild_at[m] = now.block.first + j
                self.wild_run[m] = run + 1
            elif run:
                self.wild_run[m] = 0
                seen, by_counter = self.wild_kw[m, : min(run, SPIKE_MOST)].T
                if run > SPIKE_MOST or not by_counter[0] > 0:
                    continue
                swap = swapped(seen)
                same = np.abs(swap - by_counter) < 0.1 * np.abs(by_counter) + digits
                kind = "word_swap" if bool(same.all()) else "spike"
                first = int(self.wild_at[m])
                for k in range(run):
                    trace = {"seen_kw": float(seen[k]), "counted_kw": float(by_counter[k])}
                    slot = first + k
                    usual = {"usual": float(self.usual[m])}
                    now.claim(m, kind, slot, slot, now.block.first + j, 0.95, usual, trace=trace)

    def end_day(self, day: int) -> None:
        """A day is over: how far the power usually is from the counter's, from now on."""
        self.digits.end_day()
        self.days[:, day % WEEKS] = row_quantile(self.today, 0.98)
        self.today[:] = np.nan
        usual = row_quantile(self.days, 0.5)
        self.usual = np.where(np.isfinite(usual), usual, np.inf)
