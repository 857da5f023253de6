"""Phases that are lost to the meter, or counted backwards."""

from __future__ import annotations

import numpy as np

from analytics.findings import Evidence
from analytics.history.chance import WEEKS
from analytics.history.digits import Digits
from analytics.history.planes import Now
from analytics.history.robust import row_quantile
from analytics.series import BoolArray, FloatArray

NAMES = ("l1", "l2", "l3")
VOLTS, AMPS = ("v1", "v2", "v3"), ("i1", "i2", "i3")
VOLTAGE_LOST, VOLTAGE_BACK = 0.78, 0.85
"""Shares of the nominal voltage: voltage-loss event of State Grid meters (DL/T 698.45 object 0x3000), default."""
HALF = 0.5
"""A phase that carries less than half of its usual share is lost, unless it often does so."""
LEAST_LOAD = 0.1
"""The other phases must carry this part of their usual current."""
BELOW_ALL = 0.8
"""... and below this part of the least it was in the weeks before."""
PHASE_USED = 0.15
"""A phase that carries less than this, of what the other two carry, has no load to lose."""
FEWEST, JOIN = 2, 4
"""Two readings; up to so many between them (too little load to see it) do not end it."""
QUIET_DAYS = 5
"""A meter that did not export on five days does not export."""
APPARENT = 0.8
"""With a turned current transformer the phases' powers cancel: power is below this part of volts times amperes."""
GLITCH_KWH = 1e6
NO_SLOT = -(2**30)
MOST_HALF = 6e4
"""Shares and currents are remembered in half precision, which ends here."""


class Phases:
    """The phases of a fleet.

    Attributes
    ----------
    usual, lowest : (m, 3) float64
        What each phase carries of what the other two carry: the median of the days' medians, and the least of their
        1 % quantiles.
    typical_a : (m,) float64
        Median sum of the three currents. [A]
    """

    def __init__(self, m: int, per_day: int) -> None:
        self.usual: FloatArray = np.full((m, 3), np.nan)
        self.lowest: FloatArray = np.full((m, 3), np.nan)
        self.typical_a: FloatArray = np.full(m, np.nan)
        self.today = np.full((m, 4, per_day), np.nan, np.float16)
        self.days = np.full((m, 4, 2, WEEKS), np.nan, np.float16)
        self.low_v = Pairs(m, 3, join=0)
        self.low_i = Pairs(m, 3, join=JOIN)
        self.reversed = Pairs(m, 1, join=JOIN)
        self.digits = Digits(m)
        self.quiet = np.zeros(m, np.int16)
        self.exported_today = np.zeros(m, bool)
        self.days_seen = 0

    def look(self, now: Now, position: int, wrong: BoolArray, counter_digit: FloatArray) -> None:
        """Claim lost voltages, lost currents and turned transformers.

        Parameters
        ----------
        position : int
            Poll of the day of the block's first column.
        wrong : (m, b) bool
            The power is wrong: so may be the currents.
        """
        if all(now.values(v) is not None for v in VOLTS):
            self._voltages(now)
        if all(now.values(i) is not None for i in AMPS):
            self._currents(now, position, wrong)
        if now.values("e_exp") is not None:
            self._reversal(now, counter_digit)

    def _voltages(self, now: Now) -> None:
        volts = np.stack([now.block.values[v] for v in VOLTS], axis=1)
        nominal = now.facts.nominal_v[:, None, None]
        with np.errstate(invalid="ignore"):
            low = np.asarray(volts < VOLTAGE_LOST * nominal)
            healthy = np.asarray(volts > VOLTAGE_BACK * nominal)
        lost = low & np.any(healthy, axis=1)[:, None, :]
        for m, phase, first, slot, j in self.low_v.pairs(lost, now.block.first):
            evidence: Evidence = {"phase": NAMES[phase], "expected_v": float(now.facts.nominal_v[m])}
            missing = 0.0
            power, amps = now.values("p"), [now.values(i) for i in AMPS]
            if power is not None and all(a is not None for a in amps):
                i = np.array([abs(float(now.block.values[a][m, j])) for a in AMPS])
                v = volts[m, :, j]
                sound = float(np.delete(v, phase).mean())
                missing = _energy(
                    float(power[m, j]), (sound - float(v[phase])) * i[phase], float((v * i).sum()), now.facts.hours
                )
            trace = {"seen_v": float(volts[m, phase, j])}
            # the first of two was not yet certain: it lacked as much
            times = 2.0 if first == slot - 1 else 1.0
            now.claim(m, "phase_voltage_loss", first, slot, slot, 0.97, evidence, kwh=times * missing, trace=trace)

    def _currents(self, now: Now, position: int, wrong: BoolArray) -> None:
        size = np.abs(np.stack([now.block.values[i] for i in AMPS], axis=1))
        total = size.sum(axis=1)
        others = total[:, None, :] - size
        digit = self.digits.digit
        self.digits.take(now.block.values["i1"])
        with np.errstate(invalid="ignore", divide="ignore"):
            least = np.maximum(LEAST_LOAD * self.typical_a * 2.0 / 3.0, 20.0 * digit)
            loaded = (
                np.asarray(others >= np.where(np.isfinite(least), least, 20.0 * digit)[:, None, None])
                & ~wrong[:, None, :]
            )
            ratio = np.where(loaded, size / others, np.nan)
            bound = np.minimum(HALF * self.usual, BELOW_ALL * self.lowest)
            bound[~(self.usual > PHASE_USED)] = -1.0
            lost = ratio < bound[:, :, None]
        cut = slice(position, position + now.block.width)
        self.today[:, :3, cut] = np.minimum(np.where(lost, np.nan, ratio), MOST_HALF)
        self.today[:, 3, cut] = np.minimum(np.where(wrong, np.nan, total), MOST_HALF)
        power = now.values("p")
        for m, phase, first, slot, j in self.low_i.pairs(lost, now.block.first):
            usual = float(self.usual[m, phase])
            shares: Evidence = {"phase": NAMES[phase], "expected_share": usual}
            missing = 0.0
            if power is not None:
                beside, own = float(others[m, phase, j]), float(size[m, phase, j])
                missing = _energy(float(power[m, j]), usual * beside - own, beside + own, now.facts.hours)
            trace = {"seen_a": float(size[m, phase, j])}
            times = 2.0 if first == slot - 1 else 1.0
            now.claim(m, "phase_current_loss", first, slot, slot, 0.93, shares, kwh=times * missing, trace=trace)

    def _reversal(self, now: Now, counter_digit: FloatArray) -> None:
        rise = now.block.values["e_exp"] - now.shifted("e_exp")
        with np.errstate(invalid="ignore"):
            exports = (rise > 2.0 * counter_digit[:, None]) & (rise < GLITCH_KWH)
        self.exported_today |= exports.any(axis=1)
        unusual = self.quiet >= min(self.days_seen, QUIET_DAYS)
        claim = exports & (unusual & (self.days_seen > 0))[:, None]
        power = now.values("p")
        if power is not None and all(now.values(c) is not None for c in (*VOLTS, *AMPS)):
            apparent = (
                sum(
                    (now.block.values[v] * np.abs(now.block.values[i]) for v, i in zip(VOLTS, AMPS, strict=True)),
                    np.zeros(rise.shape),
                )
                / 1000.0
            )
            with np.errstate(invalid="ignore"):
                claim &= (power < APPARENT * apparent) | ~(now.has["i1"] & now.has["p"])[:, None]
        for m, _, first, slot, j in self.reversed.pairs(claim[:, None, :], now.block.first):
            # the turned phase's energy stands in the export counter instead of the import counter
            gone = float(rise[m, j])
            times = 2.0 if first == slot - 1 else 1.0
            now.claim(m, "phase_reversal", first, slot, slot, 0.93, {"exported_kwh": gone}, kwh=times * gone,
                      trace={"rise_kwh": gone})  # fmt: skip

    def end_day(self, day: int, per_day: int) -> None:
        """A day is over: what each phase usually carries, from now on."""
        self.digits.end_day()
        self.days_seen += 1
        self.quiet += ~self.exported_today
        self.exported_today[:] = False
        if not np.isfinite(self.today).any() and not np.isfinite(self.days).any():
            return
        m = len(self.usual)
        flat = self.today.reshape(4 * m, per_day)
        fewest = max(per_day // 8, 1)
        for k, share in enumerate((0.5, 0.01)):
            self.days[:, :, k, day % WEEKS] = row_quantile(flat, share, fewest).reshape(m, 4)
        self.today[:] = np.nan
        middle = row_quantile(self.days[:, :, 0].reshape(4 * m, WEEKS), 0.5).reshape(m, 4)
        self.usual, self.typical_a = middle[:, :3].astype(np.float64), middle[:, 3].astype(np.float64)
        low = np.fmin.reduce(self.days[:, :3, 1], axis=2)
        self.lowest = low.astype(np.float64)


class Pairs:
    """Readings that claim something, joined over short pauses; two are needed.

    Attributes
    ----------
    first, last : (m, k) int32
        The stretch that stands.
    """

    def __init__(self, m: int, k: int, join: int) -> None:
        self.join = join
        self.first = np.full((m, k), NO_SLOT, np.int32)
        self.last = np.full((m, k), NO_SLOT, np.int32)

    def pairs(self, claim: BoolArray, first: int) -> list[tuple[int, int, int, int, int]]:
        """(row, place, first slot, slot, column) for each reading from the second of a stretch on."""
        said = []
        for m, j, k in zip(*(axis.tolist() for axis in np.nonzero(claim.transpose(0, 2, 1))), strict=True):
            slot = first + j
            if slot - int(self.last[m, k]) > self.join + 1:
                self.first[m, k] = slot
            self.last[m, k] = slot
            if slot - self.first[m, k] + 1 >= FEWEST:
                said.append((m, k, int(self.first[m, k]), slot, j))
        return said


def _energy(power_kw: float, lacking: float, seen: float, hours: float) -> float:
    """Energy that was not counted, where the seen power stands for `seen` and misses `lacking`. [kWh]"""
    if not (np.isfinite(power_kw) and np.isfinite(lacking) and seen > 0.0):
        return 0.0
    return power_kw * lacking / seen * hours
