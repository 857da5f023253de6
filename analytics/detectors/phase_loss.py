"""A phase lost to the meter: its voltage or its current gone while the other phases work."""

from __future__ import annotations

import numpy as np

from analytics.detectors.view import PHASES, View
from analytics.findings import Finding, thinned
from analytics.fitness import NotFit
from analytics.kinds import KINDS
from analytics.series import SECOND_NS, FloatArray, runs

VOLTAGE_LOST, VOLTAGE_BACK = 0.78, 0.85
"""Shares of the nominal voltage: voltage-loss event of State Grid meters (DL/T 698.45 object 0x3000), default."""
SHARE_LOST = 0.5
"""A phase whose share of the current falls below this part of its normal share is lost."""
SHORTEST_NS = 60 * SECOND_NS


def find_voltage_loss(voltage_v: FloatArray, nominal_v: float) -> list[tuple[int, int, int]]:
    """Runs in which one phase is below 78 % of nominal while another is above 85 %.

    Parameters
    ----------
    voltage_v : (3, n) float64
        Phase to neutral; NaN claims nothing. [V]
    nominal_v : float
        [V]

    Returns
    -------
    list of (phase index, first, after last)
        At least two samples. A dip or outage of all phases is none.
    """
    low = voltage_v < VOLTAGE_LOST * nominal_v
    healthy = voltage_v > VOLTAGE_BACK * nominal_v
    found: list[tuple[int, int, int]] = []
    for phase in range(3):
        others = np.delete(healthy, phase, axis=0).any(axis=0)
        found += [(phase, a, b) for a, b in runs(low[phase] & others) if b - a >= 2]
    return found


def find_current_loss(
    current_a: FloatArray, normal_share: tuple[float, float, float], under_load_a: float
) -> list[tuple[int, int, int]]:
    """Runs in which one phase carries less than half of its normal share of the current.

    Parameters
    ----------
    current_a : (3, n) float64
        [A]
    normal_share : 3 floats
        Each phase's usual share of the sum; a phase below 0.15 has no load to lose and is not judged.
    under_load_a : float
        The other two phases together must carry at least this. [A]

    Returns
    -------
    list of (phase index, first, after last)
        At least four samples in a row under load. The share is against the *other two* phases, so that the loss itself
        does not move the yardstick.
    """
    found: list[tuple[int, int, int]] = []
    magnitude = np.abs(current_a)
    for phase in range(3):
        share = normal_share[phase]
        if share < 0.15:
            continue
        others = np.delete(magnitude, phase, axis=0).sum(axis=0)
        expected = others * share / (1.0 - share)
        lost = (magnitude[phase] < SHARE_LOST * expected) & (others >= under_load_a)
        found += [(phase, a, b) for a, b in runs(lost) if b - a >= 4]
    return found


def detect(view: View) -> list[Finding] | NotFit:
    """Voltage and current losses; a current loss is not said where the voltage loss explains it."""
    context, voltages, currents = view.context, view.voltages, view.currents
    if voltages is None and currents is None:
        return NotFit.because("no-phases", "three phase voltages or currents", "neither in the window")
    found: list[Finding] = []
    without_voltage = np.zeros((3, view.slot_ns.size), bool)
    if voltages is not None and context.nominal_v is not None:
        for phase, a, b in find_voltage_loss(voltages, context.nominal_v):
            without_voltage[phase, a:b] = True
            if (b - a) * context.poll_ns > SHORTEST_NS:
                found.append(_finding(view, "phase_voltage_loss", phase, a, b, voltages, "v", context.nominal_v, 0.95))
    learnt = context.learnt
    if currents is not None and learnt is not None and learnt.current_share is not None:
        typical = float(np.nanmedian(np.abs(currents).sum(axis=0)))
        for phase, a, b in find_current_loss(currents, learnt.current_share, 0.3 * typical):
            if not bool(without_voltage[phase, a:b].any()):
                expected = learnt.current_share[phase]
                found.append(_finding(view, "phase_current_loss", phase, a, b, currents, "a", expected, 0.85))
    return found


def _finding(
    view: View, kind: str, phase: int, a: int, b: int, rows: FloatArray, unit: str, expected: float, confidence: float
) -> Finding:
    slots, poll = view.slot_ns, view.context.poll_ns
    lasts = not bool(np.isfinite(rows[:, b:]).any())
    power = view.power
    missed = None
    if power is not None:
        # the two healthy phases are counted: about half of what they show is missing
        missed = 0.5 * float(np.nansum(np.maximum(power[a:b], 0.0))) * poll / 3.6e12
    return Finding(
        kind,
        view.context.meter,
        int(slots[a]),
        None if lasts else int(slots[b - 1]) + poll,
        KINDS[kind].severity,
        confidence,
        {
            "phase": PHASES[phase],
            ("expected_v" if unit == "v" else "expected_share"): expected,
            "t_ns": thinned(slots[a:b]),
            **{f"seen_{name}_{unit}": thinned(rows[k, a:b]) for k, name in enumerate(PHASES)},
        },
        energy_kwh=missed,
        detected_ns=int(slots[min(a + (1 if unit == "v" else 3), b - 1)]),
    )
