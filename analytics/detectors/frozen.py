"""Frozen values: a meter, or the box in front of it, that repeats old numbers.

A steady load is not a frozen meter. Three kinds of evidence tell them apart:

- *everything repeats*: mains voltage always moves a little, so all channels standing still together is no plant;
- *power against counter*: power stands still at a level the counter does not show (or the counter alone goes on);
- *current against power* (and the other way round): one stands still while the other, which follows the same load,
  moves by more than a last digit could hide.
"""

from __future__ import annotations

import math

import numpy as np

from analytics.detectors.view import PHASES, View
from analytics.findings import Finding, thinned
from analytics.fitness import NotFit
from analytics.kinds import KINDS
from analytics.series import SECOND_NS, BoolArray, FloatArray, runs

FALSE_ALARM = 1e-6
"""Accepted chance that a living channel shows such a run within the window."""
SHORTEST_NS = 600 * SECOND_NS
FEWEST = 4
STEADY = 0.15
"""Power and counter within this share of each other tell the same load."""


def repeated(values: FloatArray) -> BoolArray:
    """Whether each sample repeats the last known one before it.

    Parameters
    ----------
    values : (k, n) float64
        Channels of one group on common slots; NaN is no sample.

    Returns
    -------
    (n,) bool
        Every channel that has a sample here repeats, and at least one has. False at a channel's first sample.
    """
    same = np.zeros(values.shape, bool)
    there = np.isfinite(values)
    for row, known, out in zip(values, there, same, strict=True):
        at = np.flatnonzero(known)
        out[at[1:]] = row[at[1:]] == row[at[:-1]]
    return np.asarray((same | ~there).all(axis=0) & there.any(axis=0))


def find_frozen(values: FloatArray, *, fewest: int = FEWEST, false_alarm: float = FALSE_ALARM) -> list[tuple[int, int]]:
    """Runs in which a group of channels repeats itself longer than chance allows.

    Parameters
    ----------
    values : (k, n) float64
        Channels of one group on common slots; NaN is no sample and neither breaks nor lengthens a run.
    fewest : int
        Fewest samples in a run.
    false_alarm : float
        How likely the longest run of a living group may be to reach this length by chance.

    Returns
    -------
    list of (first, after last) slot indices

    Notes
    -----
    With r the share of repeats *outside* the run (rule of succession, so that few data do not make it 0), a
    living group shows a run of m repeats somewhere among n samples with a probability below ``n r**m`` (union bound).
    """
    at = np.flatnonzero(np.isfinite(values).any(axis=0))
    repeats = repeated(values)[at]
    total, found = int(repeats.sum()), list[tuple[int, int]]()
    for a, b in runs(repeats):
        length = b - a
        share = (total - length + 1) / (repeats.size - length + 2)
        if length + 1 >= fewest and math.log(max(at.size, 1)) + length * math.log(share) < math.log(false_alarm):
            found.append((int(at[a - 1]) if a else int(at[a]), int(at[b - 1]) + 1))
    return found


def detect(view: View) -> list[Finding] | NotFit:
    """Whole-meter freezes, power that contradicts the counter, currents that contradict the power."""
    power, voltages, currents = view.power, view.voltages, view.currents
    if power is None and voltages is None and currents is None:
        return NotFit.because("no-gauges", "power, voltages or currents", "none in the window")
    found = _whole_meter(view)
    if power is not None:
        found += _power_against_counter(view, power)
        if currents is not None:
            found += _one_against_other(view, "current", currents, power[None, :])
            found += _one_against_other(view, "power", power[None, :], currents)
    return found


def _whole_meter(view: View) -> list[Finding]:
    rows = [row for row in (view.power, view.gauge("power.reactive.total")) if row is not None]
    if view.voltages is None:
        return []
    rows += [*view.voltages, *(view.currents if view.currents is not None else ())]
    values = np.stack(rows)
    alive = np.nan_to_num(view.voltages).max(axis=0) > 0.0  # a mains outage repeats zeros
    found: list[Finding] = []
    for a, b in find_frozen(values):
        if bool(alive[a:b].any()) and (b - a) * view.context.poll_ns >= SHORTEST_NS:
            found.append(_finding(view, a, b, 0.97, "all", view.voltages[0], {"channels": len(rows)}))
    return found


def _power_against_counter(view: View, power: FloatArray) -> list[Finding]:
    context = view.context
    resolution = view.resolution_kwh
    at = np.flatnonzero(np.isfinite(power))
    found: list[Finding] = []
    for a, b in runs(repeated(power[None, :])[at]):
        first, last = int(at[max(a - 1, 0)]), int(at[b - 1]) + 1
        length_ns = (last - 1 - first) * context.poll_ns
        counted = view.displayed_kwh(first, last)
        if b - a + 1 < FEWEST or length_ns < SHORTEST_NS or counted is None or counted < 0.0:
            continue
        expected = float(power[first]) * length_ns / 3.6e12
        slack = (
            STEADY * max(abs(expected), counted) + 2.0 * resolution + context.power_resolution_kw * length_ns / 3.6e12
        )
        if expected > 0.0 and abs(counted - expected) > slack and max(expected, counted) > 5.0 * resolution:
            confidence = 0.9 if counted <= resolution else 0.75
            extra = {"counted_kwh": counted, "expected_kwh": expected}
            found.append(_finding(view, first, last, confidence, "power", power, extra))
    return found


def _one_against_other(view: View, name: str, still: FloatArray, moving: FloatArray) -> list[Finding]:
    """Frozen `still` channels while `moving` ones, which follow the same load, move by more than a digit could hide."""
    found: list[Finding] = []
    for a, b in find_frozen(still):
        level = np.nan_to_num(np.abs(still[:, a:b]).max(axis=0))
        other = np.abs(moving[:, a:b]).sum(axis=0)
        other = other[np.isfinite(other)]
        if other.size < FEWEST or (b - a) * view.context.poll_ns < SHORTEST_NS or float(level.max()) == 0.0:
            continue
        low, high = np.quantile(other, (0.05, 0.95))
        moved = float(high - low) / max(float(high), 1e-9)
        steps = np.abs(np.diff(still[np.isfinite(still)]))
        digit = float(steps[steps > 0].min()) if bool((steps > 0).any()) else 0.0
        if moved * float(level.max()) > 3.0 * digit and moved > 0.05:
            found.append(_finding(view, a, b, 0.9, name, still[0], {"other_moved_share": moved}))
    return found


def _finding(
    view: View, a: int, b: int, confidence: float, channel: str, row: FloatArray, extra: dict[str, float | int]
) -> Finding:
    slots, poll = view.slot_ns, view.context.poll_ns
    lasts = not bool(np.isfinite(row[b:]).any())
    power = view.power
    doubt = None if power is None else float(np.nansum(np.abs(power[a:b]))) * poll / 3.6e12
    evidence: dict[str, float | int | str | tuple[float | None, ...]] = {
        "channel": channel, "t_ns": thinned(slots[a:b]), "seen": thinned(row[a:b]), **extra,
    }  # fmt: skip
    for name, phase in zip(PHASES, view.voltages if view.voltages is not None else (), strict=False):
        evidence[f"voltage_{name}"] = thinned(phase[a:b])
    at = min(a + max(FEWEST - 1, SHORTEST_NS // poll), b - 1)
    return Finding(
        "stuck", view.context.meter, int(slots[a]), None if lasts else int(slots[b - 1]) + poll,
        KINDS["stuck"].severity, confidence, evidence, energy_kwh=doubt, detected_ns=int(slots[at]),
    )  # fmt: skip
