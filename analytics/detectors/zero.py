"""A meter that reads nothing although it is alive and its load never was nothing."""

from __future__ import annotations

import numpy as np

from analytics.detectors.view import View
from analytics.findings import Finding, thinned
from analytics.fitness import NotFit
from analytics.kinds import KINDS
from analytics.series import FloatArray, runs

FEWEST = 3


def find_zero(power_kw: FloatArray, voltage_v: FloatArray | None, nominal_v: float | None) -> list[tuple[int, int]]:
    """Runs of exactly zero power while the voltage is there.

    Parameters
    ----------
    power_kw : (n,) float64
        [kW]
    voltage_v : (3, n) float64 or None
        With it, samples whose voltage is gone too are a mains outage and no finding. [V]
    """
    nothing = power_kw == 0.0
    if voltage_v is not None and nominal_v is not None:
        nothing &= np.nan_to_num(voltage_v).max(axis=0) > 0.5 * nominal_v
    return [(a, b) for a, b in runs(nothing) if b - a >= FEWEST]


def detect(view: View) -> list[Finding] | NotFit:
    """A finding per run, if this meter's history says that its power is never near zero and the counter held still."""
    context, learnt = view.context, view.context.learnt
    if learnt is None or learnt.floor_kw is None:
        return NotFit.because("no-history", "two weeks of history", "none learnt")
    if learnt.floor_kw <= 3.0 * view.load_resolution_kw or learnt.floor_kw <= 0.0:
        return NotFit.because("idles-at-zero", "a load that never is zero", f"a floor of {learnt.floor_kw:g} kW")
    slots, poll = view.slot_ns, context.poll_ns
    power = view.load
    if power is None:
        return NotFit.because("no-power", "power or a counter", "none in the window")
    found: list[Finding] = []
    for a, b in find_zero(power, view.voltages, context.nominal_v):
        counted = view.displayed_kwh(a, b)
        hours = (b - a) * poll / 3.6e12
        if counted is not None and counted > 0.5 * learnt.floor_kw * hours:
            continue  # the counter went on: the power channel lies, which is another finding
        found.append(
            Finding(
                "zero",
                context.meter,
                int(slots[a]),
                int(slots[b - 1]) + poll if bool(np.isfinite(power[b:]).any()) else None,
                KINDS["zero"].severity,
                0.9 if view.voltages is not None else 0.6,
                {"expected_at_least_kw": learnt.floor_kw, "t_ns": thinned(slots[a:b]), "seen_kw": thinned(power[a:b])},
                energy_kwh=learnt.floor_kw * hours,
                detected_ns=int(slots[min(a + FEWEST, b) - 1]),
            )
        )
    return found
