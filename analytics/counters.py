"""From readings of a cumulative counter to interval energies whose sum is exact.

```
 readings        r0         r1    r2                        r3      r4
 display        100        112   118                       190     201
 boundaries  |---------|---------|---------|---------|---------|---------|
 interval      partial    full      gap: a true total of 72, its split estimated
```

The account (`counter_track`) is read at every boundary by straight interpolation between the read times on both sides,
rounded to a whole 1e-6 unit. An interval is the difference of two boundary values, so neighbours cancel and the sum of
all intervals is ``last - first`` plus the corrections of the named events, whatever happened in between.

Not zero but *absent*: an interval about which no reading says anything has the bit MISSING and no energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from analytics.counter_model import CounterEvent, CounterRules, Track
from analytics.counter_track import follow_track
from analytics.series import (
    BitArray,
    BoolArray,
    CounterSeries,
    FloatArray,
    IntArray,
    SeriesError,
    check_boundaries,
    grid,
)
from meterline.readings import Quality

_Number = TypeVar("_Number", np.int64, np.float64)

QUARTER_NS = 900 * 1_000_000_000


@dataclass(frozen=True)
class IntervalEnergies:
    """Energies of consecutive intervals of one counter, oldest first.

    Attributes
    ----------
    boundaries_ns : (m + 1,) int64
        Interval k is ``[boundaries_ns[k], boundaries_ns[k + 1])``, UTC. [ns]
    micro : (m,) int64
        Energy (or volume, mass ...); 0 and meaningless where `has_energy` is false. [1e-6 unit]
    u_micro : (m,) float64
        Standard uncertainty (k = 1) of the *place in time* of this energy: the display's last digit and the
        interpolation at both boundaries. The meter's own class is not in it. [1e-6 unit]
    coverage : (m,) float64
        Share of the interval between believed readings not further apart than the longest gap; 1 is fully measured.
    quality : (m,) int32
        `Quality` bits: MISSING (no energy at all), ESTIMATED (part of a gap's total), ROLLOVER, RESET (counts only what
        was displayed after it), SUSPECT (touches an unexplained step, whose energy is not in it), and the doubts of the
        readings used.
    events : tuple of CounterEvent
        Breaks of the counter's track, in order of time.
    """

    boundaries_ns: IntArray
    micro: IntArray
    u_micro: FloatArray
    coverage: FloatArray
    quality: BitArray
    events: tuple[CounterEvent, ...] = ()

    def __len__(self) -> int:
        return int(self.micro.size)

    @property
    def start_ns(self) -> IntArray:
        return self.boundaries_ns[:-1]

    @property
    def end_ns(self) -> IntArray:
        return self.boundaries_ns[1:]

    @property
    def has_energy(self) -> BoolArray:
        """(m,) bool: the interval has an energy (which may be partial: see `coverage`)."""
        has: BoolArray = (self.quality & int(Quality.MISSING)) == 0
        return has

    @property
    def mean_per_hour(self) -> FloatArray:
        """(m,) float64: the mean rate, for kWh the mean power [kW]; NaN unless the interval is fully covered."""
        hours = np.diff(self.boundaries_ns) / 3.6e12
        whole = self.has_energy & (self.coverage >= 0.999)
        return np.where(whole, self.micro / 1e6 / hours, np.nan)

    @property
    def total_micro(self) -> int:
        """The exact sum. [1e-6 unit]"""
        return int(self.micro.sum())


def interval_energies(
    counter: CounterSeries,
    rules: CounterRules,
    *,
    step_ns: int | None = None,
    boundaries_ns: IntArray | None = None,
) -> IntervalEnergies:
    """What a counter counted in each interval; the sum over all is exact.

    Parameters
    ----------
    counter : CounterSeries
        Readings in any order, at any times. For a series that goes on from earlier ones give also the last believed
        reading *before* the first interval wanted, or that interval comes out partial.
    rules : CounterRules
        Longest gap, greatest rate, modulus, resolution.
    step_ns : int, optional
        A grid aligned to the epoch (900 s, an hour) from the first to the last reading. [ns]
    boundaries_ns : (m + 1,) int64, optional
        Or these boundaries, such as local days of 23 or 25 hours. [ns]

    Returns
    -------
    IntervalEnergies
        With `step_ns`: intervals that enclose all believed readings (none for fewer than two). With `boundaries_ns`:
        exactly those intervals; readings outside only help at the edges.

    Raises
    ------
    SeriesError
        Neither or both of `step_ns` and `boundaries_ns`, or boundaries that do not increase.

    Notes
    -----
    Boundary values are ``account[i] + floor((b - t[i]) (account[i+1] - account[i]) / (t[i+1] - t[i]) + 1/2)``, exactly.
    Method page: ``docs/methods/counter-energy.md``.
    """
    if (step_ns is None) == (boundaries_ns is None):
        raise SeriesError("boundaries", "give either step_ns or boundaries_ns")
    track = follow_track(counter, rules)
    if boundaries_ns is not None:
        boundaries = check_boundaries(boundaries_ns)
    elif track.t_ns.size < 2:
        nothing = np.zeros(0)
        return IntervalEnergies(
            np.zeros(1, np.int64), nothing.astype(np.int64), nothing, nothing, nothing.astype(np.int32), track.events
        )
    else:
        boundaries = grid(int(track.t_ns[0]), int(track.t_ns[-1]), step_ns or 0)
    return spread(track, rules, boundaries)


def spread(track: Track, rules: CounterRules, boundaries: IntArray) -> IntervalEnergies:
    """Read the account at every boundary and take differences."""
    t, account = track.t_ns, track.account
    count = boundaries.size - 1
    if t.size < 2:
        absent = np.full(count, int(Quality.MISSING), np.int32)
        return IntervalEnergies(
            boundaries, np.zeros(count, np.int64), np.full(count, np.nan), np.zeros(count), absent, track.events
        )
    clipped, step, into = locate(t, boundaries)
    dt, width, rise = track.dt, track.dt[step], track.rise[step]
    share = into / width
    micro = np.diff(account[step] + _share(share, into, rise, width))

    inside = np.diff(clipped)
    covered_ns = inside if bool(track.covered.all()) else _time_in(track.covered, dt, step, into)
    known_ns = inside if bool(track.known.all()) else _time_in(track.known, dt, step, into)
    coverage = covered_ns / np.diff(boundaries)

    quality = _bits_over(track.flags, step, into, clipped)
    if covered_ns is not inside:
        # Read at both its ends an interval is measured, however long it is: nothing of it is split by estimate.
        on_reading = ((into == 0) | (into == width)) & (clipped == boundaries)
        whole = on_reading[:-1] & on_reading[1:] & (known_ns == inside)
        whole &= (quality & int(Quality.RESET)) == 0  # there it is only a lower bound
        coverage[whole] = 1.0
        quality[whole] &= ~np.int32(Quality.ESTIMATED)
    absent = known_ns == 0
    quality[absent] = int(Quality.MISSING) | (quality[absent] & int(Quality.SUSPECT))
    u = _boundary_uncertainty(share, rise, step, rules.resolution)
    u[absent] = np.nan
    return IntervalEnergies(boundaries, micro, u, coverage, quality, track.events)


def locate(t_ns: IntArray, instants_ns: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Sorted instants clipped to the track, the step each falls into, and how far into it. [ns]"""
    clipped = instants_ns
    if instants_ns[0] < t_ns[0] or instants_ns[-1] > t_ns[-1]:
        clipped = np.clip(instants_ns, t_ns[0], t_ns[-1])
    step = np.clip(_how_many_until(t_ns, clipped) - 1, 0, t_ns.size - 2)
    return clipped, step, clipped - t_ns[step]


def _how_many_until(t_ns: IntArray, instants_ns: IntArray) -> IntArray:
    """``searchsorted(t_ns, instants_ns, "right")`` for sorted instants.

    One reading an interval is the rule: then the count grows by one from instant to instant, give or take the readings
    that come just before or just after, and comparing slices is several times faster than searching.
    """
    n, count = t_ns.size, instants_ns.size
    middle = count // 2
    least = int(np.searchsorted(t_ns, instants_ns[middle], side="right")) - middle - 1  # allow one fewer, one more
    before, after = max(1 - least, 0), max(least + count + 2 - n, 0)
    if before + after > count // 4:
        return np.searchsorted(t_ns, instants_ns, side="right")
    limits = np.iinfo(np.int64)
    t = t_ns[max(least - 1, 0) : least + count + 2]
    t = np.concatenate((np.full(before, limits.min), t, np.full(after, limits.max)))  # t[i] is reading least - 1 + i
    found = np.arange(least, least + count)
    found += t[1 : count + 1] <= instants_ns
    found += t[2 : count + 2] <= instants_ns
    if bool((t[:count] <= instants_ns).all() and (t[3 : count + 3] > instants_ns).all()):
        return found
    return np.searchsorted(t_ns, instants_ns, side="right")


def account_at(track: Track, instants_ns: IntArray) -> IntArray:
    """The account at sorted instants, by straight lines between readings; held before the first and after the last.

    Parameters
    ----------
    track : Track
        Of at least two readings.
    instants_ns : (n,) int64
    """
    first = max(int(np.searchsorted(track.t_ns, instants_ns[0])) - 1, 0)
    first = min(first, track.t_ns.size - 2)
    last = max(int(np.searchsorted(track.t_ns, instants_ns[-1])) + 1, first + 2)
    t, account = track.t_ns[first:last], track.account[first:last]
    _, step, into = locate(t, instants_ns)
    width = np.diff(t)[step]
    return account[step] + _share(into / width, into, np.diff(account)[step], width)


def _share(share: FloatArray, into: IntArray, rise: IntArray, dt: IntArray) -> IntArray:
    """``floor(into * rise / dt + 1/2)`` without overflow and without rounding error; `share` is ``into / dt``.

    The product does not fit 64 bits, so the quotient comes from floats and is put right by its remainder, which does:
    integer arithmetic modulo 2**64 gives it exactly.
    """
    estimate = share * rise
    estimate += 0.5
    quotient = np.floor(estimate, out=estimate).astype(np.int64)
    with np.errstate(over="ignore"):
        remainder = into * rise - quotient * dt  # true value within a few dt: exact although the products wrap
    twice = 2 * remainder
    wrong = np.flatnonzero((twice < -dt) | (twice >= dt))
    if wrong.size:
        quotient[wrong] += (twice[wrong] + dt[wrong]) // (2 * dt[wrong])
    return quotient


def _time_in(steps: BoolArray, dt: IntArray, step: IntArray, into: IntArray) -> IntArray:
    """Time spent in the marked steps between neighbouring boundaries. [ns]"""
    counted = np.where(steps, dt, 0)
    before = np.concatenate(([0], np.cumsum(counted)))
    return np.diff(before[step] + np.where(steps[step], into, 0))


def _bits_over(flags: BitArray, step: IntArray, into: IntArray, clipped: IntArray) -> BitArray:
    """OR of the flags of all steps that overlap each interval."""
    count = step.size - 1
    if not bool(flags.any()):
        return np.zeros(count, np.int32)
    first = step[:-1]
    last = step[1:] - (into[1:] == 0)  # a boundary exactly on a reading does not touch the step that starts there
    last = np.maximum(last, first)
    padded = np.concatenate((flags, [0])).astype(np.int32)
    pairs = np.empty(2 * count, np.int64)
    pairs[0::2], pairs[1::2] = first, last + 1
    bits = np.bitwise_or.reduceat(padded, pairs)[0::2]
    bits[clipped[:-1] == clipped[1:]] = 0  # wholly before the first or after the last reading
    return bits


def _boundary_uncertainty(share: FloatArray, rise: IntArray, step: IntArray, resolution: int) -> FloatArray:
    """Standard uncertainty of each interval from the last digit and from interpolation. [1e-6 unit]

    Between two readings the energy's place in time is taken as a Dirichlet process with concentration 2: a piece that
    is expected to hold the share g of a step's energy E has the variance ``E^2 g (1 - g) / 3``, which at the middle is
    that of "anywhere between nothing and all" (GUM 4.3.7, rectangular) and at a reading is zero. The last digit is
    rectangular at both ends: ``2 resolution^2 / 12``.
    """
    energy = rise.astype(np.float64)
    alone = share * share
    np.subtract(share, alone, out=alone)
    alone *= energy
    alone *= energy
    variance = alone[:-1] + alone[1:]
    same = np.flatnonzero(step[:-1] == step[1:])
    if same.size:
        inside = share[same + 1] - share[same]
        variance[same] = energy[same] ** 2 * inside * (1.0 - inside)
    variance *= 1.0 / 3.0
    variance += resolution**2 / 6.0
    return np.sqrt(np.maximum(variance, 0.0, out=variance), out=variance)


def roll_up(fine: IntervalEnergies, boundaries_ns: IntArray) -> IntervalEnergies:
    """Sum fine intervals into coarser ones: quarters to hours, hours to local days.

    Parameters
    ----------
    fine : IntervalEnergies
    boundaries_ns : (m + 1,) int64, strictly increasing
        Every boundary that lies within the fine ones must be one of them. [ns]

    Returns
    -------
    IntervalEnergies
        Exact sums; `coverage` is the share of the coarse interval that was covered, time without any fine interval
        counting as not covered; `quality` the OR of the parts that have energy, MISSING only if none has. Uncertainties
        add as squares, which overstates them where parts share a gap: compute from readings where that matters.

    Raises
    ------
    SeriesError
        ``boundaries``: a coarse boundary cuts a fine interval.
    """
    coarse = check_boundaries(boundaries_ns)
    edges = fine.boundaries_ns
    inside = coarse[(coarse >= edges[0]) & (coarse <= edges[-1])]
    cuts = inside[edges[np.searchsorted(edges, inside)] != inside] if len(fine) else inside[:0]
    if cuts.size:
        raise SeriesError("boundaries", f"{int(cuts[0])} cuts an interval of the finer grid")
    at = np.searchsorted(fine.start_ns, coarse)
    has = fine.has_energy
    micro = sums(np.where(has, fine.micro, 0), at)
    covered = sums(fine.coverage * np.diff(edges), at)
    variance = sums(np.where(has, fine.u_micro, 0.0) ** 2, at)
    quality = np.zeros(coarse.size - 1, np.int32)
    bits = np.where(has, fine.quality, 0)
    for k in np.flatnonzero(sums((bits != 0).astype(np.int64), at)).tolist():
        quality[k] = np.bitwise_or.reduce(bits[at[k] : at[k + 1]])
    absent = sums(has.astype(np.int64), at) == 0
    quality[absent] |= int(Quality.MISSING)
    return IntervalEnergies(
        coarse, micro, np.where(absent, np.nan, np.sqrt(variance)), covered / np.diff(coarse), quality, fine.events
    )


def sums(values: NDArray[_Number], at: IntArray) -> NDArray[_Number]:
    """Sum of ``values[at[k]:at[k + 1]]`` for each k; nothing for an empty piece."""
    total = np.zeros(at.size - 1, values.dtype)
    filled = np.flatnonzero(np.diff(at) > 0)
    if filled.size:
        total[filled] = np.add.reduceat(values[: at[-1]], at[filled])
    return total
