"""Overload: more power than the connection is made for, and for longer than a start-up."""

from __future__ import annotations

import numpy as np

from analytics.detectors.view import View
from analytics.findings import Finding, Severity, thinned
from analytics.fitness import NotFit
from analytics.series import SECOND_NS, FloatArray, IntArray, runs

ENTER, LEAVE, ALARM = 1.1, 1.0, 1.2
"""Shares of the rating at which an overload begins, ends, and becomes an alarm (1.2: DL/T 698.45 event 0x3008)."""
LONGEST_START_NS = 600 * SECOND_NS


def find_overload(
    power_kw: FloatArray, rated_kw: float, *, enter: float = ENTER, leave: float = LEAVE
) -> list[tuple[int, int]]:
    """Runs of samples above the rating, with hysteresis.

    Parameters
    ----------
    power_kw : (n,) float64
        NaN neither starts nor ends a run. [kW]
    rated_kw : float
        [kW]
    enter, leave : float
        A run begins above ``enter * rated_kw`` and lasts until a sample below ``leave * rated_kw``.

    Returns
    -------
    list of (first, after last) sample indices
    """
    known = np.flatnonzero(np.isfinite(power_kw))
    state = np.zeros(known.size, np.int8)
    state[power_kw[known] > enter * rated_kw] = 1
    state[power_kw[known] < leave * rated_kw] = -1
    marks = np.flatnonzero(state)
    held = np.zeros(known.size, bool)
    if marks.size:
        last = np.searchsorted(marks, np.arange(known.size), side="right") - 1
        held = (last >= 0) & (state[marks[np.maximum(last, 0)]] == 1)
    return [(int(known[a]), int(known[b - 1]) + 1) for a, b in runs(held)]


def detect(view: View) -> list[Finding] | NotFit:
    """A finding per overload of at least ten minutes and three samples."""
    context, power = view.context, view.load
    if context.rated_kw is None:
        return NotFit.because("no-rating", "the rated power of the connection", "none")
    if power is None:
        return NotFit.because("no-power", "power or a counter", "none in the window")
    slots, poll = view.slot_ns, context.poll_ns
    found: list[Finding] = []
    for a, b in find_overload(power, context.rated_kw):
        over: IntArray = np.flatnonzero(power[a:b] > ENTER * context.rated_kw)
        if (b - a) * poll < LONGEST_START_NS or over.size < 3:
            continue
        seen = power[a:b]
        peak = float(np.nanmax(seen))
        excess = float(np.nansum(np.maximum(seen - context.rated_kw, 0.0))) * poll / 3.6e12
        lasts = not bool(np.isfinite(power[b:]).any())
        found.append(
            Finding(
                "overload",
                context.meter,
                int(slots[a]),
                None if lasts else int(slots[b - 1]) + poll,
                Severity.ALARM if peak > ALARM * context.rated_kw else Severity.WARNING,
                0.9,
                {
                    "rated_kw": context.rated_kw,
                    "peak_kw": peak,
                    "t_ns": thinned(slots[a:b]),
                    "seen_kw": thinned(seen),
                },
                energy_kwh=excess,
                detected_ns=int(
                    slots[a + max(int(over[2]), LONGEST_START_NS // poll - 1)] if b - a > int(over[2]) else slots[b - 1]
                ),
            )
        )
    return found
