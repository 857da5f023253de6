"""Counter against power: over hours both must tell the same energy."""

from __future__ import annotations

import itertools

import numpy as np

from analytics.detectors.view import View
from analytics.findings import Finding, thinned
from analytics.fitness import NotFit
from analytics.kinds import KINDS
from analytics.series import HOUR_NS, FloatArray, runs

BLOCK_NS = 2 * HOUR_NS
IN_A_ROW = 3
TOLERANCE = 0.1
"""Share by which integral and counter may differ: meter class, sampling between polls, and a margin."""


def compare_blocks(
    counted_kwh: FloatArray, integrated_kwh: FloatArray, sampling_kwh: FloatArray, resolution_kwh: float
) -> FloatArray:
    """How far counter and power differ, in units of what may be expected; above 1 is a contradiction.

    Parameters
    ----------
    counted_kwh, integrated_kwh : (n,) float64
        Per block; NaN where either is unknown. [kWh]
    sampling_kwh : (n,) float64
        Three standard errors of the integral from a sampled power. [kWh]
    resolution_kwh : float
        The counter's last digit. [kWh]

    Returns
    -------
    (n,) float64
        NaN where unknown.
    """
    larger = np.maximum(np.abs(counted_kwh), np.abs(integrated_kwh))
    allowed = TOLERANCE * larger + sampling_kwh + 2.0 * resolution_kwh
    return np.abs(counted_kwh - integrated_kwh) / np.where(allowed > 0.0, allowed, np.inf)


def detect(view: View) -> list[Finding] | NotFit:
    """A finding per run of at least three two-hour blocks that contradict."""
    context, power = view.context, view.power
    if power is None:
        return NotFit.because("no-power", "power readings", "none in the window")
    if context.counted_per_hour is None:
        names = f"{context.counter_name} and {context.power_name}"
        return NotFit.because("units", "a counter and a power of one thing", names)
    if view.track is None:
        return NotFit.because("no-counter", "readings of the counter", "none in the window")
    per = max(BLOCK_NS // context.poll_ns, 1)
    count = power.size // per
    if per < 4 or count < IN_A_ROW:
        return NotFit.because("too-short", f"{IN_A_ROW} blocks of two hours with 4 polls each", f"{count} blocks")
    slots = view.slot_ns[-count * per :]
    blocks = power[-count * per :].reshape(count, per)
    there = np.isfinite(blocks).sum(axis=1)
    enough = there >= 0.9 * per
    hours = per * context.poll_ns / 3.6e12
    filled = np.where(np.isfinite(blocks), blocks, 0.0)
    mean = filled.sum(axis=1) / np.maximum(there, 1)
    spread = np.sqrt(
        np.where(np.isfinite(blocks), (blocks - mean[:, None]) ** 2, 0.0).sum(axis=1) / np.maximum(there, 1)
    )
    edges = [*slots[::per].tolist(), int(slots[-1]) + context.poll_ns]
    counted = np.array(
        [np.nan if (kwh := view.counted_kwh(a, b)) is None else kwh for a, b in itertools.pairwise(edges)]
    )
    counted[~enough] = np.nan
    ratio = compare_blocks(counted, mean * hours, 3.0 * spread / np.sqrt(per) * hours, view.resolution_kwh)
    found: list[Finding] = []
    for a, b in runs(ratio > 1.0):
        if b - a < IN_A_ROW:
            continue
        found.append(
            Finding(
                "register_mismatch",
                context.meter,
                edges[a],
                edges[b] if b < count else None,
                KINDS["register_mismatch"].severity,
                0.8,
                {
                    "t_ns": thinned(np.array(edges[a:b])),
                    "counted_kwh": thinned(counted[a:b]),
                    "integrated_kwh": thinned(mean[a:b] * hours),
                },
                energy_kwh=float(np.abs(counted[a:b] - mean[a:b] * hours).sum()),
                detected_ns=edges[a + IN_A_ROW],
            )
        )
    return found
