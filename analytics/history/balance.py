"""The metering tree as a witness: main meters against their sub-meters, poll by poll.

What a main counts beyond its sub-meters is losses, which grow with the load, and a little unmetered load, which is
there all the time. Both are learnt. What then remains is near zero, however wildly the plant works, until

- load appears that no sub-meter sees (``sum_mismatch``): the rest is there whatever any sub-meter does;
- one sub-meter counts too little or too much by a factor (``theft``, ``ratio_change``): the rest follows *that* meter;
- the main does: the rest follows the main.

Who is behind an open balance is decided in `analytics.history.causes`.
"""

from __future__ import annotations

import numpy as np

from analytics.history.causes import RING, UNIT_KW, Walk
from analytics.history.planes import FleetFacts
from analytics.history.robust import row_quantile
from analytics.series import FloatArray

LEARN_DAYS = 14
"""No judgement before so many days."""
LOOK_BACK_DAYS = 28
SCATTER = 6.0
"""A rest beyond so many robust standard deviations of the usual rest ..."""
OF_MAIN = 0.01
"""... and beyond this part of the main's usual load (two meters of class 0.5 in opposite directions) is no chance."""
TERMS = 4
"""Losses in proportion to the load; unmetered load: constant, and by time of day (two terms)."""
FEWEST_DAYS = 3
RIDGE = 1e-9


class Balances:
    """All main meters of a fleet with their sub-meters.

    Attributes
    ----------
    main : (p,) int64
        Row of each main meter in the fleet.
    members : list of (k + 1,) int64
        Rows of each one's sub-meters, then its own.
    rest_kw, band_kw
        What the main counts beyond the expected, and how much of that is usual. [kW]
    """

    def __init__(self, facts: FleetFacts, times_usual: float = 1.0) -> None:
        self.facts, self.times_usual = facts, times_usual
        rows = {fact.meter: k for k, fact in enumerate(facts.meters)}
        subs: dict[int, list[int]] = {}
        for k, fact in enumerate(facts.meters):
            parent = rows.get(fact.parent or "")
            if parent is not None and parent != k:
                subs.setdefault(parent, []).append(k)
        self.main = np.array(sorted(subs), np.int64)
        self.members = [np.array([*subs[int(k)], int(k)], np.int64) for k in self.main]
        p = self.main.size
        self._flat_subs = np.concatenate([m[:-1] for m in self.members]) if p else np.zeros(0, np.int64)
        sizes = np.array([m.size - 1 for m in self.members], np.int64)
        self._starts = np.concatenate(([0], np.cumsum(sizes)[:-1])) if p else np.zeros(0, np.int64)
        self.fit: FloatArray = np.zeros((p, TERMS))
        self.band: FloatArray = np.full(p, np.inf)
        self.days_seen = 0
        self.gram = np.zeros((p, LOOK_BACK_DAYS, TERMS, TERMS + 1), np.float32)
        self.clean_polls = np.zeros((p, LOOK_BACK_DAYS), np.int32)
        self.usual_rest = np.full((p, LOOK_BACK_DAYS), np.nan, np.float32)
        self.usual_main = np.full((p, LOOK_BACK_DAYS), np.nan, np.float32)
        self._flat = np.concatenate(self.members) if p else np.zeros(0, np.int64)
        ends = np.cumsum(sizes + 1)
        self._own = [slice(int(end - size - 1), int(end)) for end, size in zip(ends, sizes, strict=True)]
        self._plant = np.repeat(np.arange(p), sizes + 1)
        self.everyone = np.full((self._flat.size, RING), np.nan, np.float16)
        self.rests = np.full((p, RING), np.nan, np.float32)
        self.least = np.full((self._flat.size, LOOK_BACK_DAYS), np.nan, np.float32)
        self.walks = [Walk(self.everyone[own], rest) for own, rest in zip(self._own, self.rests, strict=True)]
        self.open: set[int] = set()
        """Balances with causes that stand."""
        self.ended: set[int] = set()
        """Balances with causes that ended today."""

    def take(self, first: int, counted_kw: FloatArray) -> FloatArray:
        """(p, b) float64: the rest of each balance; polls are entered into the walks' memory. [kW]

        Parameters
        ----------
        first : int
            Slot of the first column.
        counted_kw : (m, b) float64
            Mean power by the counters, NaN where not believed. [kW]
        """
        width = counted_kw.shape[1]
        total = np.add.reduceat(counted_kw[self._flat_subs], self._starts, axis=0)
        terms = self._terms(first, total)
        rest = counted_kw[self.main] - total - np.einsum("pk,pkb->pb", self.fit, terms)
        at = np.arange(first, first + width) % RING
        self.everyone[:, at] = np.clip(counted_kw[self._flat] / UNIT_KW, -6e4, 6e4)
        self.rests[:, at] = rest
        return np.asarray(rest)

    def _terms(self, first: int, total: FloatArray) -> FloatArray:
        angle = 2.0 * np.pi * (np.arange(first, first + total.shape[1]) % self.facts.per_day) / self.facts.per_day
        one = np.ones(total.shape)
        return np.stack([total, one, one * np.cos(angle), one * np.sin(angle)], axis=1)

    @property
    def judging(self) -> bool:
        """Whether enough days were seen."""
        return self.days_seen >= LEARN_DAYS

    def end_day(self, day: int, last: int) -> None:
        """A day is over: losses, unmetered load and what is usual, from now on.

        Parameters
        ----------
        day : int
        last : int
            Its last slot.
        """
        p, per_day = self.main.size, self.facts.per_day
        if not p:
            return
        first = last - per_day + 1
        at = np.arange(first, last + 1) % RING
        counted = self.everyone[:, at].astype(np.float64) * UNIT_KW
        is_main = np.array([own.stop - 1 for own in self._own])
        main = counted[is_main]
        subs = np.ones(len(counted), bool)
        subs[is_main] = False
        total = np.add.reduceat(counted[subs], self._starts, axis=0)
        terms = self._terms(first, total)
        rest = main - total - np.einsum("pk,pkb->pb", self.fit, terms)
        with np.errstate(invalid="ignore"):
            clean = np.isfinite(rest) & (np.abs(rest) <= self.band[:, None])
        if self.judging:
            clean[list(self.open)] = False
        place = day % LOOK_BACK_DAYS
        x = np.where(clean[:, None, :], terms, 0.0)
        y = np.where(clean, main - total, 0.0)
        self.gram[:, place, :, :TERMS] = np.einsum("pib,pjb->pij", x, x)
        self.gram[:, place, :, TERMS] = np.einsum("pib,pb->pi", x, y)
        polls = clean.sum(axis=1)
        self.clean_polls[:, place] = polls
        enough = polls >= per_day // 4
        self.usual_main[:, place] = np.where(enough, row_quantile(np.where(clean, main, np.nan), 0.5), np.nan)
        least = row_quantile(np.where(clean[self._plant], counted, np.nan), 0.01)
        self.least[:, place] = np.where(enough[self._plant], least, np.nan)
        self.days_seen += 1
        self._fit()
        # how far this day would have been from what is expected from now on
        again = np.where(clean, np.abs(main - total - np.einsum("pk,pkb->pb", self.fit, terms)), np.nan)
        self.usual_rest[:, place] = np.where(enough, row_quantile(again, 0.5), np.nan)
        self._bands()

    def _fit(self) -> None:
        """Least squares over the clean polls of four weeks."""
        whole = self.gram.sum(axis=1, dtype=np.float64)
        fit = self.clean_polls.sum(axis=1) >= FEWEST_DAYS * self.facts.per_day
        if not fit.any():
            return
        left, right = whole[fit, :, :TERMS], whole[fit, :, TERMS]
        size = np.sqrt(np.maximum(np.einsum("pii->pi", left), 1e-30))
        scaled = left / size[:, :, None] / size[:, None, :] + RIDGE * np.eye(TERMS)
        self.fit[fit] = np.linalg.solve(scaled, (right / size)[:, :, None])[:, :, 0] / size

    def _bands(self) -> None:
        usual = row_quantile(self.usual_rest, 0.5)
        load = row_quantile(self.usual_main, 0.5)
        band = self.times_usual * np.maximum(SCATTER * 1.4826 * usual, OF_MAIN * load)
        known = np.isfinite(band) & (self.clean_polls.sum(axis=1) >= FEWEST_DAYS * self.facts.per_day)
        self.band = np.where(known, band, self.band)
        self.hand_out_bands()

    def hand_out_bands(self) -> None:
        """Tell the walks what is usual."""
        floor = row_quantile(self.least, 0.1)
        for walk, own, band in zip(self.walks, self._own, self.band.tolist(), strict=True):
            walk.band = band
            walk.floor = floor[own]
