"""What a meter normally does, from weeks of its own history: the yardstick several detectors need.

Robust by construction (medians over nights, quantiles over samples), so that a fault of some hours or nights inside the
history moves it little. Called once a day by a job; cold start is said, not guessed.
"""

from __future__ import annotations

import warnings

import numpy as np

from analytics.detectors.view import Learnt, MeterContext, MeterWindow, View
from analytics.fitness import NotFit, Reason
from analytics.series import HOUR_NS, FloatArray, Span

FEWEST_NIGHTS = 4
FEWEST_HOURS = 14 * 24
DAY_NS = 24 * HOUR_NS


def quiet_nights(
    power_kw: FloatArray, slot_ns: np.ndarray[tuple[int], np.dtype[np.int64]], off_hours: tuple[Span, ...]
) -> FloatArray:
    """Median power of each off-hours span of at least two hours that is at least half there. [kW]"""
    levels: list[float] = []
    for span in off_hours:
        a, b = np.searchsorted(slot_ns, (span.start_ns, span.end_ns))
        inside = power_kw[a:b]
        if span.length_ns >= 2 * HOUR_NS and inside.size and np.isfinite(inside).mean() >= 0.5:
            levels.append(float(np.nanmedian(inside)))
    return np.array(levels)


def learn(context: MeterContext, window: MeterWindow) -> tuple[Learnt, NotFit | None]:
    """Learn from a window of (usually) the last four weeks.

    Parameters
    ----------
    context : MeterContext
        Its `learnt` is not used.
    window : MeterWindow
        Weeks instead of hours; `off_hours` gives the nights.

    Returns
    -------
    (Learnt, NotFit or None)
        What could be learnt, and the reasons for what could not.
    """
    view = View(context, window)
    power, reasons = view.load, list[Reason]()
    idle = spread = work = floor = peak = None
    if power is None:
        reasons.append(Reason("no-power", "power or a counter", "none in the history"))
    else:
        known = power[np.isfinite(power)]
        hours = known.size * context.poll_ns / HOUR_NS
        if hours < FEWEST_HOURS:
            reasons.append(Reason("too-short", f"{FEWEST_HOURS} h of power", f"{hours:.0f} h"))
        else:
            floor, peak = (float(q) for q in np.quantile(known, (0.001, 0.999)))
        nights = quiet_nights(power, view.slot_ns, window.off_hours)
        if nights.size < FEWEST_NIGHTS:
            reasons.append(Reason("few-nights", f"{FEWEST_NIGHTS} off-hours spans", f"{nights.size}"))
        else:
            # the quieter half: a plant that forgets a machine every other night must not teach that it is normal
            quiet = np.sort(nights)[: max(nights.size // 2, FEWEST_NIGHTS - 1)]
            idle = float(np.median(quiet))
            spread = 1.4826 * float(np.median(np.abs(quiet - idle)))
            working = power[~view.in_spans(window.off_hours)]
            work = float(np.nanmedian(working)) if bool(np.isfinite(working).any()) else None
    share = _current_share(view.currents)
    if share is None:
        reasons.append(Reason("no-currents", "a week of three phase currents under load", "less"))
    learnt = Learnt(idle, spread, work, floor, peak, share)
    return learnt, NotFit(tuple(reasons)) if reasons else None


def _current_share(currents: FloatArray | None) -> tuple[float, float, float] | None:
    if currents is None:
        return None
    magnitude = np.abs(currents)
    total = magnitude.sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN columns are simply not used
        loaded = total > 0.3 * np.nanmedian(total)
    if int(loaded.sum()) < 100:
        return None
    shares = np.median(magnitude[:, loaded] / total[loaded], axis=1)
    return float(shares[0]), float(shares[1]), float(shares[2])
