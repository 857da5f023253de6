"""What to doubt about interval energies, and why: the V of validation, estimation and editing (VEE).

Every interval that is not simply measured carries its reasons; none is ever silently replaced. The rules are the rows
of ``docs/methods/validation.md``; limits of completeness come from the on-line monitoring rules and are arguments here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from analytics.counters import IntervalEnergies
from analytics.series import SECOND_NS, BoolArray, FloatArray, IntArray, runs
from meterline.readings import Quality

LEAST_STANDSTILL = 4
"""Fewest intervals of nothing at all that count as a standstill."""
USUAL_ZEROS = 0.01
"""A meter that shows nothing in a greater share of its other intervals is allowed to stand still."""
LEAST_COMPLETENESS = 0.90
"""Received of expected readings of a day or month (rules for on-line monitoring of key energy users)."""
DAY_AGAINST_MONTH = 0.05
"""Greatest difference between the sum of days and the month's own difference of readings (the same rule)."""
DAY_BOUNDARY_NS = 60 * SECOND_NS
"""A day begins and ends on readings within this of its boundary (the same rule). [ns]"""


class Reason(IntFlag):
    """Why an interval's energy is not simply measured."""

    NONE = 0
    ABSENT = 1
    """No reading says anything about part of the interval."""
    GAP = 2
    """Part of a gap: the total over the gap is true, its split is an estimate."""
    RESET = 4
    """The counter went back to zero: what it counted between the last reading and the reset is not in the account."""
    UNEXPLAINED = 8
    """The display jumped, dropped or ran backwards: the energy of that step is not in the account."""
    ABOVE_RATING = 16
    """Faster than the connection's rating allows, believed."""
    STANDSTILL = 32
    """Not a digit moved for an hour or more at a meter that otherwise always counts."""
    DOUBTFUL = 64
    """Uses a reading that was marked doubtful on its way (clock, plausibility, maintenance, substituted)."""


_DOUBTS = int(Quality.CLOCK_UNSYNC | Quality.CLOCK_STEP | Quality.MAINTENANCE | Quality.SUBSTITUTED)
_UNKNOWN = ("jump", "drop", "backwards")


def validate(energies: IntervalEnergies, energised: BoolArray | None = None) -> IntArray:
    """The reasons of each interval.

    Parameters
    ----------
    energies : IntervalEnergies
        As measured, on an even grid; the longer the record, the better a standstill is told from a habit.
    energised : (m,) bool, optional
        Whether there was voltage; without it a dead line looks like a standstill.

    Returns
    -------
    (m,) int64
        `Reason` bits.
    """
    reasons = np.zeros(len(energies), np.int64)
    quality = energies.quality
    if bool(quality.any()):
        reasons[~energies.has_energy] |= int(Reason.ABSENT)
        reasons[(quality & int(Quality.ESTIMATED)) != 0] |= int(Reason.GAP)
        reasons[(quality & int(Quality.RESET)) != 0] |= int(Reason.RESET)
        reasons[(quality & _DOUBTS) != 0] |= int(Reason.DOUBTFUL)
    for event in energies.events:
        if event.kind not in _UNKNOWN and event.kind != "over_rate":
            continue
        first = max(int(np.searchsorted(energies.boundaries_ns, event.t_before_ns, side="right")) - 1, 0)
        last = int(np.searchsorted(energies.boundaries_ns, event.t_after_ns, side="left"))
        reasons[first:last] |= int(Reason.ABOVE_RATING if event.kind == "over_rate" else Reason.UNEXPLAINED)
    partly = (energies.coverage < 0.999) & (reasons == 0)
    reasons[partly] |= int(Reason.ABSENT)
    for first, last in standstills(energies, reasons == 0, energised):
        reasons[first:last] |= int(Reason.STANDSTILL)
    return reasons


def standstills(
    energies: IntervalEnergies, measured: BoolArray, energised: BoolArray | None = None
) -> list[tuple[int, int]]:
    """Runs of at least four measured intervals without a digit, at a meter that otherwise nearly always counts.

    Returns
    -------
    list of (int, int)
        Half-open index pairs.
    """
    zero = measured & (energies.micro == 0)
    if np.count_nonzero(zero) < LEAST_STANDSTILL:
        return []
    if energised is not None:
        zero &= energised
    found = [run for run in runs(zero) if run[1] - run[0] >= LEAST_STANDSTILL]
    if not found:
        return []
    odd = sum(last - first for first, last in found)
    rest = int(measured.sum()) - odd
    short = int(zero.sum()) - odd
    # habits first: if standing still is common, or most of the record stands still, it is how this load is used
    if rest < odd or short > USUAL_ZEROS * rest or len(found) > max(1.0, USUAL_ZEROS * rest / LEAST_STANDSTILL):
        return []
    return found


@dataclass(frozen=True)
class Completeness:
    """How complete days (or months) are against the monitoring rules.

    Attributes
    ----------
    received, expected : (d,) int64
        Readings that arrived, one a slot at most, and slots of the period.
    on_boundary : (d,) bool
        Readings within the allowed time of both ends of the period.
    """

    received: IntArray
    expected: IntArray
    on_boundary: BoolArray

    @property
    def share(self) -> FloatArray:
        """(d,) float64: received of expected; 1 where nothing was expected."""
        return np.where(self.expected > 0, self.received / np.maximum(self.expected, 1), 1.0)

    def meets(self, least: float = LEAST_COMPLETENESS) -> BoolArray:
        """(d,) bool: complete enough, and on the boundary."""
        fits: BoolArray = (self.share >= least) & self.on_boundary
        return fits


def completeness(
    t_ns: IntArray, boundaries_ns: IntArray, interval_ns: int, *, boundary_ns: int = DAY_BOUNDARY_NS
) -> Completeness:
    """Count the slots of each period in which a reading arrived.

    Parameters
    ----------
    t_ns : (n,) int64
        When readings were read, in any order; repeated ones count once a slot. [ns]
    boundaries_ns : (d + 1,) int64
        Local days or months. [ns]
    interval_ns : int
        The reading interval. A reading serves the slot that it ends, one that comes up to half an interval late
        included. [ns]
    boundary_ns : int
        How near to the period's ends there must be a reading. [ns]
    """
    t = np.sort(t_ns)
    slots = np.unique(np.rint((t - boundaries_ns[0]) / interval_ns).astype(np.int64))
    edges = np.ceil((boundaries_ns - boundaries_ns[0]) / interval_ns).astype(np.int64)
    at = np.searchsorted(slots, edges, side="right")  # the reading at a period's start belongs to the period before
    near = np.zeros(boundaries_ns.size, bool)
    if t.size:
        after = np.clip(np.searchsorted(t, boundaries_ns), 0, t.size - 1)
        before = np.maximum(after - 1, 0)
        near = np.minimum(np.abs(t[after] - boundaries_ns), np.abs(t[before] - boundaries_ns)) <= boundary_ns
    return Completeness(np.diff(at), np.diff(edges), near[:-1] & near[1:])


def days_against_month(days_micro: IntArray, month_micro: int) -> float:
    """Difference between the sum of days and the month, as a share of the month; the rule allows 5 %.

    The month is the difference of two readings a month apart, so it knows what missing days do not. A month of nothing
    agrees with days of nothing (0) and with nothing else (infinity).
    """
    difference = abs(int(days_micro.sum()) - month_micro)
    if month_micro == 0:
        return 0.0 if difference == 0 else float("inf")
    return difference / abs(month_micro)
