"""Phases that are lost to the meter, or counted backwards, over weeks of history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.detectors.phase_loss import find_voltage_loss
from analytics.findings import Evidence, thinned
from analytics.history.chance import WEEKS
from analytics.history.record import Mark, MeterRecord, resolution
from analytics.history.robust import middle, quantile, row_quantile
from analytics.series import BoolArray, FloatArray, runs

NAMES = ("l1", "l2", "l3")
HALF = 0.5
"""A phase that carries less than half of its usual share is lost, unless it often does so."""
LEAST_LOAD = 0.1
"""The other phases must carry this part of their usual current."""
BELOW_ALL = 0.8
"""... and below this part of the least it was in the weeks before."""
PHASE_USED = 0.15
"""A phase that carries less than this, of what the other two carry, has no load to lose."""
FEWEST = 2
JOIN = 4
"""Up to so many readings between (too little load to see it) do not end it."""


def find_lost_voltages(record: MeterRecord) -> list[Mark]:
    """One phase's voltage gone while another is there."""
    volts, nominal = record.three("v"), record.facts.nominal_v
    if volts is None or nominal is None:
        return []
    amps, power = record.three("i"), record.slots("p")
    marks: list[Mark] = []
    for phase, a, b in find_voltage_loss(volts, nominal):
        evidence: Evidence = {"phase": NAMES[phase], "expected_v": nominal, "seen_v": thinned(volts[phase, a:b])}
        missing = None
        if amps is not None and power is not None:
            v, i = volts[:, a:b], np.abs(amps[:, a:b])
            sound = np.delete(v, phase, axis=0).mean(axis=0)
            missing = _energy(power[a:b], (sound - v[phase]) * i[phase], (v * i).sum(axis=0), record.hours)
        marks.append(Mark("phase_voltage_loss", a, b - 1, a + 1, 0.97, evidence, missing))
    return marks


def _energy(power_kw: FloatArray, lacking: FloatArray, seen: FloatArray, hours: float) -> float:
    """Energy that was not counted, where the seen power stands for `seen` and misses `lacking`. [kWh]"""
    known = np.isfinite(power_kw) & np.isfinite(lacking) & (np.nan_to_num(seen) > 0.0)
    return float(np.sum(power_kw[known] * lacking[known] / seen[known])) * hours


def find_lost_currents(record: MeterRecord, spoilt: BoolArray) -> list[Mark]:
    """One phase's current far below what the other two say it should be."""
    amps = record.three("i")
    if amps is None:
        return []
    power = record.slots("p")
    size = np.abs(amps)
    digit = resolution(amps[0])
    marks: list[Mark] = []
    total = np.where(spoilt, np.nan, size.sum(axis=0))
    typical = np.repeat(DayLevels.of(total, record.per_day).usual, record.per_day)[: record.size]
    for phase in range(3):
        others = np.delete(size, phase, axis=0).sum(axis=0)
        loaded = others >= np.maximum(LEAST_LOAD * typical * 2.0 / 3.0, 20.0 * digit)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(loaded & ~spoilt, size[phase] / others, np.nan)
        lost, usual = _lost_days(ratio, record.per_day)
        for a, b in _joined(lost, JOIN):
            if b - a >= FEWEST:
                evidence: Evidence = {
                    "phase": NAMES[phase],
                    "expected_share": float(usual[a]),
                    "seen_a": thinned(amps[phase, a:b]),
                }
                missing = None
                if power is not None:
                    lacking = usual[a:b] * others[a:b] - size[phase, a:b]
                    missing = _energy(power[a:b], lacking, (others + size[phase])[a:b], record.hours)
                marks.append(Mark("phase_current_loss", a, b - 1, a + FEWEST - 1, 0.93, evidence, missing))
    return marks


def _lost_days(ratio: FloatArray, per_day: int) -> tuple[BoolArray, FloatArray]:
    """Slots whose ratio is far below the usual one of the weeks before, lost slots kept out of what is usual."""
    days = -(-ratio.size // per_day)
    lost = np.zeros(days * per_day, bool)
    usual = np.full(days * per_day, np.nan)
    levels = DayLevels.of(ratio, per_day)
    by_day = _by_day(ratio, per_day)
    for day in range(days):
        cut = slice(day * per_day, (day + 1) * per_day)
        usual[cut] = levels.usual[day]
        if not levels.usual[day] > PHASE_USED:
            continue
        low = by_day[day] < min(HALF * levels.usual[day], BELOW_ALL * levels.lowest[day])
        if bool(low.any()):
            lost[cut] = low
            levels.replace_day(day, np.where(low, np.nan, by_day[day]))
    return lost[: ratio.size], usual[: ratio.size]


def find_reversed(record: MeterRecord) -> list[Mark]:
    """Energy goes to the export counter of a meter that never exported, while import goes on: one CT turned round."""
    out = record.slots("e_exp")
    amps, volts, power = record.three("i"), record.three("v"), record.slots("p")
    if out is None:
        return []
    # an export counter that never moved has no last digit to see; the import counter's is the same
    shown = record.slots("e_imp")
    digit = resolution(shown if shown is not None else out)
    rise = np.diff(out, prepend=np.nan)
    exports = np.nan_to_num(rise) > 2.0 * digit
    exports &= np.nan_to_num(rise) < 1e6
    claim = exports & _unusual(exports, record.per_day)
    if amps is not None and volts is not None and power is not None:
        # with a turned CT the phases' powers cancel: much less than volts times amperes
        apparent = (volts * np.abs(amps)).sum(axis=0) / 1000.0
        claim &= np.nan_to_num(power, nan=np.inf) < 0.8 * np.nan_to_num(apparent)
    marks = []
    for a, b in _joined(claim, JOIN):
        if b - a >= FEWEST:
            # the turned phase's energy stands in the export counter instead of the import counter
            exported = float(np.nansum(rise[a:b]))
            evidence: Evidence = {"exported_kwh": exported, "rise_kwh": thinned(rise[a:b])}
            marks.append(Mark("phase_reversal", a, b - 1, a + FEWEST - 1, 0.93, evidence, exported))
    return marks


@dataclass
class DayLevels:
    """What a ratio usually is, from a middle and a low value of each day of the weeks before.

    Attributes
    ----------
    usual, lowest : (d,) float64
        Median of the days' medians, and least of the days' 1 % quantiles, before each day; NaN without a day.
    """

    middle: FloatArray
    low: FloatArray
    usual: FloatArray
    lowest: FloatArray

    @classmethod
    def of(cls, values: FloatArray, per_day: int) -> DayLevels:
        by_day = _by_day(values, per_day)
        enough = np.isfinite(by_day).sum(axis=1) >= per_day // 8
        centre = np.where(enough, row_quantile(by_day, 0.5), np.nan)
        low = np.where(enough, row_quantile(by_day, 0.01), np.nan)
        levels = cls(centre, low, np.full(len(by_day), np.nan), np.full(len(by_day), np.nan))
        levels._look_back(range(1, len(by_day)))
        return levels

    def replace_day(self, day: int, values: FloatArray) -> None:
        """Judge the days after `day` by other values of it."""
        known = values[np.isfinite(values)]
        enough = known.size >= values.size // 8
        self.middle[day] = middle(known) if enough else np.nan
        self.low[day] = quantile(known, 0.01) if enough else np.nan
        self._look_back(range(day + 1, min(day + 1 + WEEKS, self.middle.size)))

    def _look_back(self, days: range) -> None:
        for day in days:
            past = slice(max(0, day - WEEKS), day)
            known = np.isfinite(self.middle[past])
            if bool(known.any()):
                self.usual[day] = middle(self.middle[past][known])
                self.lowest[day] = float(self.low[past][known].min())


def _by_day(values: FloatArray, per_day: int) -> FloatArray:
    days = -(-values.size // per_day)
    padded = np.full(days * per_day, np.nan)
    padded[: values.size] = values
    return padded.reshape(days, per_day)


def _unusual(exports: BoolArray, per_day: int) -> BoolArray:
    """Whether export was no part of this meter's life in the weeks before (a meter behind own generation exports)."""
    days = -(-exports.size // per_day)
    some = np.pad(exports, (0, days * per_day - exports.size)).reshape(days, per_day).any(axis=1)
    # a fault lasts; what counts is whether there was a time without: five days are enough
    quiet = np.concatenate(([0], np.cumsum(~some)))[:-1]
    return np.repeat(quiet >= np.minimum(np.arange(days), 5), per_day)[: exports.size]


def _joined(claim: BoolArray, within: int) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for a, b in runs(claim):
        if joined and a - joined[-1][1] <= within and joined[-1][1] - joined[-1][0] >= 1:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    return joined
