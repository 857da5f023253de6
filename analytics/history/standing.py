"""What stands still: a silent meter, frozen values, nothing where there always is something."""

from __future__ import annotations

import numpy as np

from analytics.history.chance import FALSE_ALARM, Runs
from analytics.history.planes import Now, run_lengths
from analytics.series import BoolArray, FloatArray, IntArray

SILENT_POLLS = 5
"""A few lost polls are daily life."""
ALIVE = 0.5
"""Below this share of nominal on all phases the mains is gone, not the meter."""
APART = 0.2
"""A frozen power differs from the counter's by this part of itself."""
FEWEST = 2
RESOLVED = 20.0
"""A current below so many of its last digits repeats because it is read so coarsely."""
VOLTS, AMPS = ("v1", "v2", "v3"), ("i1", "i2", "i3")


class Standing:
    """What stands still in a fleet."""

    def __init__(self, m: int, per_day: int, false_alarm: float = FALSE_ALARM) -> None:
        self.whole = Runs(m, 2, false_alarm, per_day)
        self.amps = Runs(m, 2, false_alarm, per_day)
        self.zero_seen = Runs(m, 2, false_alarm, per_day)
        self.silent = np.zeros(m, np.int64)
        self.born = np.zeros(m, bool)
        self.lying = np.zeros(m, np.int64)
        self.held = np.zeros(m, np.int64)
        self.moving = np.zeros(m, np.int64)

    def look(self, now: Now, counter_digit: FloatArray, power_digit: FloatArray, current_digit: FloatArray) -> None:
        """Claim gaps, frozen values and zeros."""
        self._gaps(now)
        whole = self._whole(now)
        self._amps(now, whole, current_digit)
        self._power(now, whole, counter_digit, power_digit)
        self._counter(now, whole, counter_digit)
        self._zero(now, counter_digit)

    def _gaps(self, now: Now) -> None:
        block = now.block
        born = self.born[:, None] | (np.maximum.accumulate(block.present, axis=1))
        silent = run_lengths(~block.present & block.over & born, self.silent)
        self.born = born[:, -1].copy()
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(silent >= SILENT_POLLS)), strict=True):
            slot = block.first + j
            # known when the gateway's clock shows that the poll is over
            now.claim(m, "gap", slot - int(silent[m, j]) + 1, slot, slot, 0.97, {"silent_after": SILENT_POLLS})

    def _whole(self, now: Now) -> BoolArray:
        """Voltages, currents and power all repeat: the meter, or the gateway before it, is frozen."""
        power = now.values("p")
        none = np.zeros(now.block.present.shape, bool)
        if power is None or any(now.values(v) is None for v in VOLTS):
            return none
        still, known, live = ~none, ~none, none.copy()
        for channel in (*VOLTS, "p", *AMPS):
            values = now.values(channel)
            if values is None:
                continue
            needless = ~now.has[channel][:, None] if channel in AMPS else False
            before = now.shifted(channel)
            still &= (values == before) | needless
            known &= (np.isfinite(values) & np.isfinite(before)) | needless
            if channel in VOLTS:
                live |= values > 0.0
        length = self.whole.take(still & live, known)
        whole = length >= self.whole.need[:, None]
        first_volt = now.block.values["v1"]
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(whole)), strict=True):
            slot = now.block.first + j
            first = slot - int(length[m, j]) + 1
            now.claim(
                m, "stuck", first, slot, slot, 0.97, {"channel": "all"}, trace={"seen_v": float(first_volt[m, j])}
            )
        return whole

    def _amps(self, now: Now, whole: BoolArray, digit: FloatArray) -> None:
        """The currents repeat while the power moves."""
        power = now.values("p")
        if power is None or any(now.values(i) is None for i in AMPS):
            return
        still = ~whole
        known = ~whole
        carries = np.zeros(whole.shape, bool)
        for channel in AMPS:
            values, before = now.block.values[channel], now.shifted(channel)
            still = still & (values == before)
            known = known & np.isfinite(values) & np.isfinite(before)
            carries |= values > RESOLVED * digit[:, None]
        claim = still & carries
        length = self.amps.take(claim, known)
        with np.errstate(invalid="ignore"):
            moved = (power != now.shifted("p")) & claim & known
        moves = _count_in_run(moved, length, self.moving)
        frozen = (length >= self.amps.need[:, None]) & (2 * moves >= length)
        seen = now.block.values["i1"]
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(frozen)), strict=True):
            slot = now.block.first + j
            first = slot - int(length[m, j]) + 1
            evidence = {"channel": "current"}
            now.claim(m, "stuck", first, slot, slot, 0.93, evidence, trace={"seen_a": float(seen[m, j])}, whole=False)

    def _power(self, now: Now, whole: BoolArray, counter_digit: FloatArray, power_digit: FloatArray) -> None:
        """The power says one thing, the counter another, and the power does not move."""
        power, counted = now.values("p"), now.counted_kw
        if power is None:
            return
        digits = (2.0 * counter_digit / now.facts.hours + 2.0 * power_digit)[:, None]
        with np.errstate(invalid="ignore"):
            apart = np.abs(power - counted) > np.maximum(APART * np.abs(power), digits)
            lying = (power == now.shifted("p")) & ~whole & apart & (power > 0.0)
        length = run_lengths(lying, self.lying)
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(length >= FEWEST)), strict=True):
            slot = now.block.first + j
            trace = {"seen_kw": float(power[m, j]), "counted_kw": float(counted[m, j])}
            first = slot - int(length[m, j]) + 1
            now.claim(m, "stuck", first, slot, slot, 0.9, {"channel": "power"}, trace=trace)

    def _counter(self, now: Now, whole: BoolArray, counter_digit: FloatArray) -> None:
        """The counter stands still under load."""
        shown, power = now.values("e_imp"), now.values("p")
        if shown is None or power is None:
            return
        with np.errstate(invalid="ignore"):
            held = (shown == now.shifted("e_imp")) & ~whole
            held &= power * now.facts.hours > 3.0 * counter_digit[:, None]
        length = run_lengths(held, self.held)
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(length >= FEWEST)), strict=True):
            slot = now.block.first + j
            first = slot - int(length[m, j]) + 1
            now.claim(m, "stuck", first, slot, slot, 0.9, {"channel": "counter"}, trace={"seen_kw": float(power[m, j])})

    def _zero(self, now: Now, counter_digit: FloatArray) -> None:
        """Nothing is shown or counted, under voltage, for longer than this meter's load ever was nothing."""
        power, counted = now.values("p"), now.counted_kw
        seen = counted if power is None else np.where(now.has["p"][:, None], power, counted)
        known = np.isfinite(seen)
        with np.errstate(invalid="ignore"):
            nothing = known & (seen == 0.0) & ~(counted * now.facts.hours > 3.0 * counter_digit[:, None])
        under_voltage = np.zeros(len(known), bool)
        if all(now.values(v) is not None for v in VOLTS):
            under_voltage = now.has["v1"] & np.isfinite(now.facts.nominal_v)
            most = np.fmax(np.fmax(now.block.values["v1"], now.block.values["v2"]), now.block.values["v3"])
            with np.errstate(invalid="ignore"):
                nothing &= (most > ALIVE * now.facts.nominal_v[:, None]) | ~under_voltage[:, None]
        length = self.zero_seen.take(nothing, known)
        # without voltages, half an hour may have been a mains outage
        need = np.maximum(self.zero_seen.need, np.where(under_voltage, 2, 3))
        for m, j in zip(*(axis.tolist() for axis in np.nonzero(length >= need[:, None])), strict=True):
            slot = now.block.first + j
            first = slot - int(length[m, j]) + 1
            now.claim(
                m, "zero", first, slot, slot, 0.9, {"expected_above_kw": 0.0}, trace={"seen_kw": float(seen[m, j])}
            )

    def end_day(self, day: int, per_day: int) -> None:
        """A day is over: how often things repeat by chance, from now on."""
        for runs in (self.whole, self.amps, self.zero_seen):
            runs.end_day(day, per_day)


def _count_in_run(flag: BoolArray, length: IntArray, carry: IntArray) -> IntArray:
    """(m, b) int64: how many polls of the run that stands at each poll carry a flag."""
    total = np.cumsum(flag, axis=1)
    begin = np.arange(flag.shape[1]) - length  # the column before the run's first
    rows = np.arange(len(flag))[:, None]
    base = np.where(begin >= 0, total[rows, np.maximum(begin, 0)], -carry[:, None])
    count = np.where(length > 0, total - base, 0)
    carry[:] = count[:, -1]
    return count
