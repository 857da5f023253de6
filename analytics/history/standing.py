"""What stands still: a silent meter, frozen values, nothing where there always is something."""

from __future__ import annotations

import numpy as np

from analytics.findings import Evidence, thinned
from analytics.history.chance import long_runs, longest_run
from analytics.history.record import Mark, MeterRecord, resolution
from analytics.series import BoolArray, FloatArray, runs

SILENT_POLLS = 5
"""A few lost polls are daily life."""
ALIVE = 0.5
"""Below this share of nominal on all phases the mains is gone, not the meter."""


def find_gaps(record: MeterRecord) -> list[Mark]:
    """Stretches without any reading, the last one up to the time the gateway is known to have listened."""
    marks = []
    size = record.size
    if not size:
        return []
    listened = size
    if record.until_ns is not None:
        listened = max(size, int(record.until_ns // record.facts.interval_ns) - record.first_slot + 1)
    silent = np.concatenate((~record.arrived, np.ones(listened - size, bool)))
    for a, b in runs(silent):
        if b - a >= SILENT_POLLS:
            marks.append(Mark("gap", a, b - 1, a + SILENT_POLLS - 1, 0.97, {"missed_polls": b - a}))
    return marks


def _still(rows: list[FloatArray]) -> tuple[BoolArray, BoolArray]:
    """Whether all channels repeat their last value, and whether all have one and had one."""
    same = np.ones(rows[0].size, bool)
    known = np.ones(rows[0].size, bool)
    for row in rows:
        same[1:] &= row[1:] == row[:-1]
        known[1:] &= np.isfinite(row[1:]) & np.isfinite(row[:-1])
    same[0] = known[0] = False
    return same & known, known


def find_frozen(record: MeterRecord, counted_kw: FloatArray | None, digit_kwh: float) -> list[Mark]:
    """Frozen values of the whole meter, of its currents, of its power, of its counter."""
    power, volts, amps = record.slots("p"), record.three("v"), record.three("i")
    shown = record.slots("e_imp")
    marks: list[Mark] = []
    whole = np.zeros(record.size, bool)
    if volts is not None and power is not None:
        rows = [*volts, power, *(amps if amps is not None else ())]
        still, known = _still(rows)
        still &= np.nan_to_num(volts).max(axis=0) > 0.0
        for a, b, seen in long_runs(still, longest_run(still, known, record.per_day, 2)):
            whole[a:b] = True
            marks.append(Mark("stuck", a, b - 1, seen, 0.97, {"channel": "all", "seen": thinned(volts[0, a:b])}))
    if amps is not None and power is not None:
        still, known = _still(list(amps))
        still &= ~whole & (np.nan_to_num(amps).max(axis=0) > 0.0)
        moving = np.concatenate(([False], power[1:] != power[:-1]))
        need = longest_run(still, known & ~whole, record.per_day, 2)
        for a, b, seen in long_runs(still, need):
            if bool(moving[a:b].mean() >= 0.5):
                marks.append(Mark("stuck", a, b - 1, seen, 0.93, {"channel": "current", "seen": thinned(amps[0, a:b])}))
    if power is not None and counted_kw is not None:
        still, known = _still([power])
        digits = 2.0 * digit_kwh / record.hours + 2.0 * resolution(power)
        apart = np.abs(power - counted_kw) > np.maximum(0.2 * np.abs(power), digits)
        # the power says one thing, the counter another, and the power does not move
        lying = still & ~whole & apart & (power > 0.0) & np.isfinite(counted_kw)
        for a, b in runs(lying):
            if b - a >= 2:
                evidence: Evidence = {
                    "channel": "power",
                    "seen": thinned(power[a:b]),
                    "counted_kw": thinned(counted_kw[a:b]),
                }
                marks.append(Mark("stuck", a, b - 1, a + 1, 0.9, evidence))
    if shown is not None and power is not None:
        held = np.concatenate(([False], shown[1:] == shown[:-1])) & ~whole
        heavy = held & (np.nan_to_num(power) * record.hours > 3.0 * digit_kwh)
        for a, b in runs(heavy):
            overlap = any(mark.first <= a <= mark.last + 1 for mark in marks)
            if b - a >= 2 and not overlap:
                evidence = {"channel": "counter", "seen_kw": thinned(power[a:b])}
                marks.append(Mark("stuck", a, b - 1, a + 1, 0.9, evidence))
    return marks


def find_zero(record: MeterRecord, counted_kw: FloatArray | None, digit_kwh: float) -> list[Mark]:
    """Nothing is shown or counted, under voltage, for longer than this meter's load ever was nothing."""
    power, volts = record.slots("p"), record.three("v")
    seen_kw = power if power is not None else counted_kw
    if seen_kw is None:
        return []
    known = np.isfinite(seen_kw)
    nothing = known & (seen_kw == 0.0)
    if counted_kw is not None:
        nothing &= ~(counted_kw * record.hours > 3.0 * digit_kwh)
    if volts is not None and record.facts.nominal_v is not None:
        nothing &= np.nan_to_num(volts).max(axis=0) > ALIVE * record.facts.nominal_v
    # without voltages, half an hour may have been a mains outage
    need = longest_run(nothing, known, record.per_day, 2 if volts is not None else 3)
    return [
        Mark(
            "zero", a, b - 1, seen, 0.9, {"expected_above_kw": 0.0, "readings": b - a, "seen_kw": thinned(seen_kw[a:b])}
        )
        for a, b, seen in long_runs(nothing, need)
    ]
