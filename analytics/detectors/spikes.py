"""Impossible values: beyond what the connection can carry, or alone against everything that could confirm them."""

from __future__ import annotations

import numpy as np

from analytics.detectors.view import View
from analytics.findings import Finding, thinned
from analytics.fitness import NotFit
from analytics.kinds import KINDS
from analytics.series import BoolArray, FloatArray, runs

HALF_WIDTH = 6
LONGEST = 3
BEYOND = 3.0
"""Times the rating (or the greatest power ever learnt) that no load reaches, not even a starting motor on the mean."""
HIGH_VOLTAGE = 1.3
"""Times nominal: beyond the 120 % of an over-voltage event; a transient that high does not last to the next poll."""


def find_outliers(
    value: FloatArray, *, half_width: int = HALF_WIDTH, longest: int = LONGEST, floor: float = 0.0
) -> BoolArray:
    """Samples far from both sides of their neighbourhood.

    Parameters
    ----------
    value : (n,) float64
        NaN is skipped.
    half_width : int
        Neighbours on each side that make the local median and spread.
    longest : int
        Longer runs of far samples are a new level, not a spike.
    floor : float
        The least distance that counts, in the unit of `value`.

    Returns
    -------
    (n,) bool

    References
    ----------
    Hampel identifier: F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974); here 8
    scaled median absolute deviations, and at least half of the neighbourhood's own level.
    """
    marked = np.zeros(value.shape, bool)
    at = np.flatnonzero(np.isfinite(value))
    x = value[at]
    if x.size < 2 * half_width + 1:
        return marked
    padded = np.concatenate((np.full(half_width, np.nan), x, np.full(half_width, np.nan)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half_width + 1)
    middle = np.nanmedian(windows, axis=1)
    scale = 1.4826 * np.nanmedian(np.abs(windows - middle[:, None]), axis=1)
    far = np.abs(x - middle) > np.maximum(np.maximum(8.0 * scale, 0.5 * np.abs(middle)), floor)
    for a, b in runs(far):
        if b - a <= longest and b < x.size:  # the newest sample has no right neighbour yet: wait for it
            marked[at[a:b]] = True
    return marked


def impossible_power(view: View, power: FloatArray) -> BoolArray:
    """(n,) bool: power that the rating, the history, the sign or the counter excludes."""
    context, learnt = view.context, view.context.learnt
    ceiling = context.rated_kw or (learnt.peak_kw if learnt is not None else None)
    alone = find_outliers(power, floor=3.0 * context.power_resolution_kw)
    with np.errstate(invalid="ignore"):
        wrong = np.zeros(power.shape, bool)
        if ceiling is not None:
            wrong |= np.abs(power) > BEYOND * ceiling
            wrong |= alone & (np.abs(power) > 1.2 * ceiling)
        if not context.may_run_backwards and ceiling is not None:
            wrong |= alone & (power < -0.05 * ceiling)
    if view.track is not None:
        wrong |= _counter_denies(view, power, alone)
    return wrong


def _counter_denies(view: View, power: FloatArray, asked: BoolArray) -> BoolArray:
    """(n,) bool: of the samples asked, those of which the counter saw less than half over the polls around them."""
    poll, resolution = view.context.poll_ns, view.resolution_kwh
    denied = np.zeros(power.shape, bool)
    typical = float(np.nanmedian(np.abs(power)))
    for k in np.flatnonzero(asked):
        if abs(power[k]) < 3.0 * typical:
            continue
        start = int(view.slot_ns[k])
        counted = view.counted_kwh(start - poll, start + poll)
        claimed = abs(float(power[k])) * poll / 3.6e12
        denied[k] = counted is not None and claimed > 5.0 * resolution and counted < 0.5 * claimed
    return denied


def detect(view: View) -> list[Finding] | NotFit:
    """A finding per run of impossible samples, power and voltage apart."""
    context, power, voltages = view.context, view.power, view.voltages
    if power is None and voltages is None:
        return NotFit.because("no-gauges", "power or voltages", "none in the window")
    found: list[Finding] = []
    if power is not None:
        found += _findings(view, "power", power[None, :], impossible_power(view, power))
    if voltages is not None and context.nominal_v is not None:
        with np.errstate(invalid="ignore"):
            wrong = np.asarray(((voltages > HIGH_VOLTAGE * context.nominal_v) | (voltages < 0.0)).any(axis=0))
        found += _findings(view, "voltage", voltages, wrong)
    return found


def _findings(view: View, channel: str, rows: FloatArray, wrong: BoolArray) -> list[Finding]:
    slots, poll = view.slot_ns, view.context.poll_ns
    found: list[Finding] = []
    for a, b in runs(wrong):
        around = slice(max(a - 4, 0), b + 4)
        worst = rows[np.nanargmax(np.nan_to_num(np.abs(rows[:, a:b])).max(axis=1))]
        found.append(
            Finding(
                "spike",
                view.context.meter,
                int(slots[a]),
                int(slots[b - 1]) + poll,
                KINDS["spike"].severity,
                0.85,
                {
                    "channel": channel,
                    "seen": float(worst[a:b][np.nanargmax(np.abs(worst[a:b]))]),
                    "expected": float(np.nanmedian(np.where(wrong[around], np.nan, worst[around])))
                    if bool(np.isfinite(np.where(wrong[around], np.nan, worst[around])).any())
                    else 0.0,
                    "t_ns": thinned(slots[around]),
                    "around": thinned(worst[around]),
                },
                detected_ns=int(slots[min(b, slots.size - 1)]),
            )
        )
    return found
