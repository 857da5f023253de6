"""Energy used outside working hours beyond what this meter's idle load is."""

from __future__ import annotations

import numpy as np

from analytics.detectors.view import Learnt, View
from analytics.findings import Finding, thinned
from analytics.fitness import NotFit
from analytics.kinds import KINDS
from analytics.series import SECOND_NS, BoolArray, FloatArray, runs

SHORTEST_NS = 3600 * SECOND_NS


def idle_threshold(
    declared_kw: float | None, learnt: Learnt | None, rated_kw: float | None
) -> tuple[float, float] | None:
    """What is normal outside working time, and above which level it is worth someone's walk.

    Returns
    -------
    (expected, threshold) or None
        Declared beats learnt. The threshold is the largest of: half as much again as expected; four robust standard
        deviations of the quiet nights; a tenth of the way from idle to working level; 2 % of the rating. None if
        neither is known. [kW]
    """
    if declared_kw is not None:
        expected, spread = declared_kw, 0.0
    elif learnt is not None and learnt.idle_kw is not None:
        expected, spread = learnt.idle_kw, learnt.idle_spread_kw or 0.0
    else:
        return None
    steps = [1.5 * expected, expected + 4.0 * spread]
    if learnt is not None and learnt.work_kw is not None:
        steps.append(expected + 0.1 * (learnt.work_kw - expected))
    if rated_kw is not None:
        steps.append(expected + 0.02 * rated_kw)
    return expected, max(steps)


def find_idle_use(power_kw: FloatArray, off: BoolArray, threshold_kw: float, *, shortest: int) -> list[tuple[int, int]]:
    """Runs of off-hours samples whose level is above the threshold.

    Parameters
    ----------
    power_kw : (n,) float64
        NaN counts for nothing. [kW]
    off : (n,) bool
        Outside working time.
    shortest : int
        Fewest samples.

    Notes
    -----
    A compressor that cycles crosses any threshold all night: the *running mean* over `shortest` samples is compared,
    not the sample.
    """
    level = np.where(off & np.isfinite(power_kw), power_kw, 0.0)
    weight = (off & np.isfinite(power_kw)).astype(np.float64)
    total = np.concatenate(([0.0], np.cumsum(level)))
    count = np.concatenate(([0.0], np.cumsum(weight)))
    if level.size < shortest:
        return []
    seen = count[shortest:] - count[:-shortest]
    mean = (total[shortest:] - total[:-shortest]) / np.maximum(seen, 1.0)
    starts = np.flatnonzero((mean > threshold_kw) & (seen >= 0.75 * shortest))
    depth = np.zeros(level.size + 1, np.int64)
    np.add.at(depth, starts, 1)
    np.add.at(depth, starts + shortest, -1)
    high = np.cumsum(depth[:-1]) > 0
    found: list[tuple[int, int]] = []
    for a, b in runs(high & off):
        above = np.flatnonzero(power_kw[a:b] > threshold_kw)  # the mean's window reaches beyond the use itself
        if above.size and above[-1] - above[0] + 1 >= shortest:
            found.append((a + int(above[0]), a + int(above[-1]) + 1))
    return found


def detect(view: View) -> list[Finding] | NotFit:
    """A finding per stretch of at least an hour; affected energy is what went beyond the idle load."""
    context = view.context
    if not view.window.off_hours:
        return NotFit.because("no-off-hours", "shifts in the plant's calendar", "a plant that never stops")
    if view.load is None:
        return NotFit.because("no-power", "power or a counter", "none in the window")
    limits = idle_threshold(context.idle_kw, context.learnt, context.rated_kw)
    if limits is None:
        return NotFit.because("no-idle-level", "a declared idle power or four quiet nights of history", "neither")
    expected, threshold = limits
    slots, poll, power = view.slot_ns, context.poll_ns, view.load
    off = view.in_spans(view.window.off_hours)
    found: list[Finding] = []
    for a, b in find_idle_use(power, off, threshold, shortest=max(SHORTEST_NS // poll, 2)):
        seen = power[a:b]
        lasts = not bool((np.isfinite(power[b:]) | ~off[b:]).any())
        excess = float(np.nansum(np.maximum(seen - expected, 0.0))) * poll / 3.6e12
        found.append(
            Finding(
                "off_hours",
                context.meter,
                int(slots[a]),
                None if lasts else int(slots[b - 1]) + poll,
                KINDS["off_hours"].severity,
                0.8 if context.idle_kw is not None else 0.7,
                {
                    "expected_kw": expected,
                    "threshold_kw": threshold,
                    "mean_kw": float(np.nanmean(seen)),
                    "t_ns": thinned(slots[a:b]),
                    "seen_kw": thinned(seen),
                },
                energy_kwh=excess,
                detected_ns=int(slots[min(a + SHORTEST_NS // poll, b) - 1]),
            )
        )
    return found
