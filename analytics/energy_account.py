"""The account of one counter: measured, estimated, doubted and summed, each number with its expanded uncertainty.

`energy_account` is the whole way from readings to a fine grid; `periods` sums that grid to days or months. In a day's
uncertainty: the display's last digit and the place in time of the readings at both ends, the clock, gaps that cross a
boundary, estimated amounts, and what a counter that stood still may have missed. **Not** in it: the accuracy class of
meter and transformers, which is the same for every day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.counter_model import CounterRules, Track
from analytics.counter_track import follow_track
from analytics.counters import IntervalEnergies, locate, spread, sums
from analytics.estimation import FEWEST_DAYS, REACH_DAYS, Filled, fill, weekdays_of_grid
from analytics.series import (
    SECOND_NS,
    BoolArray,
    CounterSeries,
    FloatArray,
    IntArray,
    SeriesError,
    check_boundaries,
    runs,
)
from analytics.validation import Reason, validate

CLOCK_NS = 2 * SECOND_NS
"""How far a reading's time may be off without anyone saying so: delay on the bus and of the gateway's clock. [ns]"""


@dataclass(frozen=True)
class EnergyAccount:
    """A counter on a fine, even grid.

    Attributes
    ----------
    measured : IntervalEnergies
        What the counter says, untouched.
    filled : Filled
        The same with estimates beside it.
    reasons : (m,) int64
        `Reason` bits.
    track : Track
    rules : CounterRules
    clock_ns : int
        Half width of the time error assumed. [ns]
    """

    measured: IntervalEnergies
    filled: Filled
    reasons: IntArray
    track: Track
    rules: CounterRules
    day_type: IntArray | None
    clock_ns: int


@dataclass(frozen=True)
class PeriodEnergies:
    """Days or months of an account.

    Attributes
    ----------
    boundaries_ns : (d + 1,) int64
    micro : (d,) int64
        With estimates; meaningless where `known` is false. [1e-6 unit]
    expanded_micro : (d,) float64
        Expanded uncertainty U, k = 2, without the class of the instruments; NaN where `known` is false. [1e-6 unit]
    estimated_share : (d,) float64
        Energy that is in this period only by estimate, of the period's energy. A gap wholly inside counts nothing: its
        total is true.
    coverage : (d,) float64
        Share of the period between readings not too far apart.
    known : (d,) bool
        Whether there is a number for the whole period.
    flags : tuple of tuple of str
        Sorted words: reasons, breaks of the counter, methods of estimates.
    """

    boundaries_ns: IntArray
    micro: IntArray
    expanded_micro: FloatArray
    estimated_share: FloatArray
    coverage: FloatArray
    known: BoolArray
    flags: tuple[tuple[str, ...], ...]


def energy_account(
    counter: CounterSeries,
    rules: CounterRules,
    boundaries_ns: IntArray,
    *,
    day_type: IntArray | None = None,
    energised: BoolArray | None = None,
    related: FloatArray | None = None,
    clock_ns: int = CLOCK_NS,
) -> EnergyAccount:
    """Everything a counter's readings say about an even grid, doubts and estimates included.

    Parameters
    ----------
    counter, rules
        As for `analytics.counters.interval_energies`.
    boundaries_ns : (m + 1,) int64
        An even grid whose step divides a day. [ns]
    day_type : (m,) int64, optional
        Equal numbers for days of one kind; weekdays (UTC) where nobody knows better.
    energised : (m,) bool, optional
        Whether there was voltage.
    related : (m,) float64, optional
        Energies of a meter with the same habits.
    clock_ns : int
        Half width of the time error of a reading. [ns]

    Raises
    ------
    SeriesError
        ``boundaries``: not an even grid, or its step does not divide a day.
    """
    boundaries = check_boundaries(boundaries_ns)
    step = int(boundaries[1] - boundaries[0])
    day_ns = 86_400 * SECOND_NS
    if day_ns % step or not bool((np.diff(boundaries) == step).all()):
        raise SeriesError("boundaries", "estimates need an even grid whose step divides a day")
    track = follow_track(counter, rules)
    measured = spread(track, rules, boundaries)
    reasons = validate(measured, energised)
    filled = fill(track, rules, measured, reasons == 0, day_type, day_ns // step, related)
    return EnergyAccount(measured, filled, reasons, track, rules, day_type, clock_ns)


def periods(account: EnergyAccount, boundaries_ns: IntArray) -> PeriodEnergies:
    """Sum an account to days, months or any coarser periods.

    Parameters
    ----------
    account : EnergyAccount
    boundaries_ns : (d + 1,) int64
        Each one of the fine grid's boundaries.

    Raises
    ------
    SeriesError
        ``boundaries``: one is not on the fine grid.
    """
    coarse = check_boundaries(boundaries_ns)
    fine = account.measured.boundaries_ns
    at = np.searchsorted(fine, coarse)
    if int(at[-1]) >= fine.size or not bool((fine[np.minimum(at, fine.size - 1)] == coarse).all()):
        raise SeriesError("boundaries", "a period does not begin and end on the fine grid")
    micro = sums(account.filled.micro, at)
    covered = sums(account.measured.coverage, at) / np.diff(at)
    known = sums((~account.filled.complete).astype(np.int64), at) == 0
    variance, estimated = _ends(account, coarse)
    words: list[set[str]] = [set() for _ in range(coarse.size - 1)]
    for one in account.filled.fills:
        low = max(int(np.searchsorted(at, one.first, side="right")) - 1, 0)
        high = min(int(np.searchsorted(at, one.last, side="left")), coarse.size - 1)
        for k in range(low, high):
            part, u = one.within(int(at[k]), int(at[k + 1]))
            inside = at[k] <= one.first and one.last <= at[k + 1]
            if one.total_known and inside:
                continue
            words[k].add(str(one.method))
            variance[k] += u**2
            estimated[k] += part
    variance += _missed(account, at)
    _say_why(account, coarse, at, words)
    for k in np.flatnonzero(~known).tolist():
        words[k].add("missing")
    share = np.divide(estimated, micro, out=np.zeros(micro.size), where=micro > 0)
    expanded = np.where(known, 2.0 * np.sqrt(variance), np.nan)
    return PeriodEnergies(
        coarse, micro, expanded, np.clip(share, 0.0, 1.0), covered, known, tuple(tuple(sorted(w)) for w in words)
    )


def _ends(account: EnergyAccount, coarse: IntArray) -> tuple[FloatArray, FloatArray]:
    """Variance from both ends of each period, for boundaries that no estimate covers; and room for estimates."""
    t = account.track.t_ns
    count = coarse.size - 1
    if t.size < 2:
        return np.zeros(count), np.zeros(count)
    _, step, into = locate(t, coarse)
    dt = account.track.dt[step]
    rise = account.track.rise[step].astype(np.float64)
    share = into / dt
    place = rise**2 * share * (1 - share) / 3.0
    for one in account.filled.fills:
        place[(coarse >= one.from_ns) & (coarse <= one.to_ns)] = 0.0  # the estimate's own spread says it
    late = (rise / dt * account.clock_ns) ** 2 / 3.0
    each = place + late + account.rules.resolution**2 / 12.0
    return each[:-1] + each[1:], np.zeros(count)


def _missed(account: EnergyAccount, at: IntArray) -> FloatArray:
    """What a counter that stood still may have missed: anything up to what similar days used, rectangular."""
    variance = np.zeros(at.size - 1)
    micro, reasons = account.measured.micro, account.reasons
    clean = reasons == 0
    per_day = int(86_400 * SECOND_NS // (account.measured.boundaries_ns[1] - account.measured.boundaries_ns[0]))
    if not bool(reasons.any()):
        return variance
    kinds = account.day_type
    if kinds is None:
        kinds = weekdays_of_grid(account.measured.boundaries_ns, per_day)
    for first, last in runs((reasons & int(Reason.STANDSTILL)) != 0):
        expected = _usual(micro, clean, kinds, first, last, per_day)
        for k in range(at.size - 1):
            a, b = max(first, int(at[k])), min(last, int(at[k + 1]))
            if a < b:
                variance[k] += float(expected[a - first : b - first].sum()) ** 2 / 3.0
    return variance


def _usual(micro: IntArray, clean: BoolArray, day_type: IntArray, first: int, last: int, per_day: int) -> FloatArray:
    """Mean energy of intervals ``[first, last)`` at the same times of similar days around. [1e-6 unit]"""
    total, count = np.zeros(last - first), np.zeros(last - first)
    here = np.arange(first, last)
    for days in range(-REACH_DAYS, REACH_DAYS + 1):
        index = here + days * per_day
        usable = (index >= 0) & (index < micro.size)
        usable[usable] &= clean[index[usable]] & (day_type[index[usable]] == day_type[here[usable]])
        total[usable] += micro[index[usable]]
        count += usable
    mean = float(micro[clean].mean()) if bool(clean.any()) else 0.0
    return np.where(count >= FEWEST_DAYS, total / np.maximum(count, 1), mean)


_WORDS = {
    Reason.GAP: "gap",
    Reason.RESET: "reset",
    Reason.STANDSTILL: "standstill",
    Reason.DOUBTFUL: "doubtful",
    Reason.ABOVE_RATING: "above_rating",
}


def _say_why(account: EnergyAccount, coarse: IntArray, at: IntArray, words: list[set[str]]) -> None:
    reasons = account.reasons
    for k in np.flatnonzero(sums((reasons != 0).astype(np.int64), at)).tolist():
        bits = int(np.bitwise_or.reduce(reasons[at[k] : at[k + 1]]))
        words[k].update(word for reason, word in _WORDS.items() if bits & reason)
    for event in account.measured.events:
        low = max(int(np.searchsorted(coarse, event.t_before_ns, side="right")) - 1, 0)
        high = min(int(np.searchsorted(coarse, event.t_after_ns, side="left")), coarse.size - 1)
        for k in range(low, max(high, low + 1)):
            if k < len(words):
                words[k].add(str(event.kind))
