"""Values in time as arrays: `Series` for gauges, `CounterSeries` for counters, half-open spans, gaps and coverage.

```
 t_ns      |--v0-----v1-----v2------------------v3-----v4--|      strictly increasing, UTC
 steps        [  0  ][  1  ][        2         ][  3  ]           step k lies between reading k and reading k+1
 gap                         [=================)                  a step longer than `max_gap_ns`
 coverage of a span = the share of it that lies inside steps which are no gap
```

A missing value is NaN (gauge) or absent (counter), never 0. Doubt travels in `quality`, the bits of
`meterline.readings.Quality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meterline.errors import MeterlineError
from meterline.readings import NO_VALUE

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BitArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS


class SeriesError(MeterlineError, ValueError):
    """Arrays that are no series; the caller has mixed something up.

    Attributes
    ----------
    reason : str
        Stable word: ``shape`` (lengths differ), ``order`` (time does not strictly increase), ``dtype`` (a float or an
        object where integers must be), ``boundaries`` (an interval grid that is none).
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open piece of time, ``start_ns <= t < end_ns``, UTC. [ns]"""

    start_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        return max(0, self.end_ns - self.start_ns)

    def overlaps(self, other: Span) -> bool:
        return self.start_ns < other.end_ns and other.start_ns < self.end_ns


@dataclass(frozen=True)
class Series:
    """A gauge in time.

    Attributes
    ----------
    t_ns : (n,) int64, strictly increasing
        When each value was read, UTC. [ns]
    value : (n,) float64
        In the measurand's canonical unit; NaN where there is none.
    quality : (n,) int32
        `Quality` bits; 0 is good.

    Raises
    ------
    SeriesError
        The arrays differ in length or time does not strictly increase; `from_readings` puts readings in order.
    """

    t_ns: IntArray
    value: FloatArray
    quality: BitArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "t_ns", _integers("t_ns", self.t_ns))
        object.__setattr__(self, "value", np.asarray(self.value, dtype=np.float64))
        object.__setattr__(self, "quality", np.asarray(self.quality, dtype=np.int32))
        _same_length(self.t_ns, self.value, self.quality)
        _strictly_increasing(self.t_ns)

    @classmethod
    def of(cls, t_ns: ArrayLike, value: ArrayLike, quality: ArrayLike | None = None) -> Self:
        """A series from anything array-like; without `quality` every value is good."""
        t = np.asarray(t_ns)
        return cls(t, np.asarray(value), np.zeros(t.shape, np.int32) if quality is None else np.asarray(quality))

    @classmethod
    def from_readings(cls, t_ns: ArrayLike, value: ArrayLike, quality: ArrayLike | None = None) -> Self:
        """A series from readings in any order, duplicates included.

        Of several readings of one instant the least doubtful counts (fewest reasons, as the number of the bit set),
        then the smaller value: a rule that does not depend on the order of arrival.
        """
        t = _integers("t_ns", np.asarray(t_ns))
        v = np.asarray(value, dtype=np.float64)
        q = np.zeros(t.shape, np.int32) if quality is None else np.asarray(quality, dtype=np.int32)
        _same_length(t, v, q)
        if t.size > 1 and not bool(np.all(t[1:] > t[:-1])):
            order = np.lexsort((v, q, t))
            first = np.concatenate(([True], np.diff(t[order]) > 0))
            keep = order[first]
            t, v, q = t[keep], v[keep], q[keep]
        return cls(t, v, q)

    @classmethod
    def empty(cls) -> Self:
        return cls.of(np.zeros(0, np.int64), np.zeros(0))

    def __len__(self) -> int:
        return int(self.t_ns.size)

    @property
    def has_value(self) -> BoolArray:
        """(n,) bool: a number is there, whatever the doubt."""
        return np.isfinite(self.value) & ~is_no_value(self.quality)

    def between(self, start_ns: int, end_ns: int) -> Self:
        """The part inside the half-open span."""
        i, j = np.searchsorted(self.t_ns, (start_ns, end_ns))
        return type(self)(self.t_ns[i:j], self.value[i:j], self.quality[i:j])

    def known(self) -> Self:
        """Only the samples that have a number."""
        keep = self.has_value
        return type(self)(self.t_ns[keep], self.value[keep], self.quality[keep])


@dataclass(frozen=True)
class CounterSeries:
    """Readings of one cumulative counter, as they came: in any order, duplicates and wrong readings included.

    Attributes
    ----------
    t_ns : (n,) int64
        When each reading was *read* (`read_ns`, never the nominal slot), UTC. [ns]
    micro : (n,) int64
        The display in millionths of the canonical unit, primary side. Ignored where `quality` says there is no value.
    quality : (n,) int32
        `Quality` bits; 0 is good.

    Raises
    ------
    SeriesError
        The arrays differ in length or are not whole numbers.
    """

    t_ns: IntArray
    micro: IntArray
    quality: BitArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "t_ns", _integers("t_ns", self.t_ns))
        object.__setattr__(self, "micro", _integers("micro", self.micro))
        object.__setattr__(self, "quality", np.asarray(self.quality, dtype=np.int32))
        _same_length(self.t_ns, self.micro, self.quality)

    @classmethod
    def of(cls, t_ns: ArrayLike, micro: ArrayLike, quality: ArrayLike | None = None) -> Self:
        """Readings from anything array-like; without `quality` every reading is good."""
        t = np.asarray(t_ns)
        return cls(t, np.asarray(micro), np.zeros(t.shape, np.int32) if quality is None else np.asarray(quality))

    @classmethod
    def empty(cls) -> Self:
        return cls.of(np.zeros(0, np.int64), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return int(self.t_ns.size)

    def between(self, start_ns: int, end_ns: int) -> Self:
        """The readings inside the half-open span."""
        keep = (self.t_ns >= start_ns) & (self.t_ns < end_ns)
        return type(self)(self.t_ns[keep], self.micro[keep], self.quality[keep])


def gaps(t_ns: IntArray, max_gap_ns: int) -> list[Span]:
    """Steps between neighbouring samples that are longer than `max_gap_ns`.

    Returns
    -------
    list of Span
        From the last sample before the silence to the first one after it.
    """
    at = np.flatnonzero(np.diff(t_ns) > max_gap_ns)
    return [Span(int(t_ns[k]), int(t_ns[k + 1])) for k in at]


def coverage(t_ns: IntArray, span: Span, max_gap_ns: int) -> float:
    """Share of `span` that lies between samples not further apart than `max_gap_ns`; 0 for an empty series."""
    if t_ns.size < 2 or span.length_ns == 0:
        return 0.0
    start = np.clip(t_ns[:-1], span.start_ns, span.end_ns)
    end = np.clip(t_ns[1:], span.start_ns, span.end_ns)
    inside = (end - start)[np.diff(t_ns) <= max_gap_ns]
    return float(inside.sum() / span.length_ns)


def runs(claim: BoolArray) -> list[tuple[int, int]]:
    """Unbroken runs of True as half-open index pairs, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], claim, [False]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def time_weighted_mean(t_ns: IntArray, value: FloatArray, boundaries_ns: IntArray, max_gap_ns: int) -> FloatArray:
    """Mean of a gauge over each interval, each sample holding until the next one.

    Parameters
    ----------
    t_ns : (n,) int64, strictly increasing
    value : (n,) float64
        NaN does not count, and neither does the time after a sample beyond `max_gap_ns`.
    boundaries_ns : (m + 1,) int64, strictly increasing
    max_gap_ns : int
        The longest time a sample may stand for.

    Returns
    -------
    (m,) float64
        NaN where less than half of the interval is covered.
    """
    boundaries = check_boundaries(boundaries_ns)
    if t_ns.size == 0:
        return np.full(boundaries.size - 1, np.nan)
    hold = np.minimum(np.diff(t_ns, append=t_ns[-1]), max_gap_ns)
    good = np.isfinite(value)
    hold = np.where(good, hold, 0)
    # piecewise linear integrals of "value" and of "1" over covered time, evaluated at the boundaries
    t0 = t_ns.astype(np.float64) - float(boundaries[0])
    knots = np.empty(2 * t_ns.size)
    knots[0::2], knots[1::2] = t0, t0 + hold
    area = np.repeat(np.cumsum(np.where(good, value, 0.0) * hold), 2)
    area[0::2] = np.concatenate(([0.0], area[1:-1:2]))
    time = np.repeat(np.cumsum(hold.astype(np.float64)), 2)
    time[0::2] = np.concatenate(([0.0], time[1:-1:2]))
    at = boundaries.astype(np.float64) - float(boundaries[0])
    covered = np.diff(np.interp(at, knots, time))
    total = np.diff(np.interp(at, knots, area))
    enough = covered >= 0.5 * np.diff(at)
    return np.where(enough, total / np.where(enough, covered, 1.0), np.nan)


def check_boundaries(boundaries_ns: IntArray | Sequence[int]) -> IntArray:
    """`boundaries_ns` as int64, at least two, strictly increasing.

    Raises
    ------
    SeriesError
        ``boundaries``: fewer than two, or not increasing.
    """
    boundaries = _integers("boundaries_ns", np.asarray(boundaries_ns))
    if boundaries.ndim != 1 or boundaries.size < 2 or not bool(np.all(np.diff(boundaries) > 0)):
        raise SeriesError("boundaries", "an interval grid needs at least two strictly increasing instants")
    return boundaries


def grid(first_ns: int, last_ns: int, step_ns: int) -> IntArray:
    """Boundaries aligned to the epoch that enclose ``[first_ns, last_ns]``.

    Days of a time zone are not a grid (23 or 25 hours): the caller gives those boundaries himself.
    """
    if step_ns <= 0 or last_ns < first_ns:
        raise SeriesError("boundaries", f"no grid from {first_ns} to {last_ns} by {step_ns}")
    low = first_ns // step_ns
    high = max(-(-last_ns // step_ns), low + 1)
    return np.arange(low, high + 1, dtype=np.int64) * step_ns


def is_no_value(quality: BitArray) -> BoolArray:
    """Whether the bits say that there is no number at all."""
    marked: BoolArray = (quality & int(NO_VALUE)) != 0
    return marked


def _integers(name: str, array: NDArray[np.generic]) -> IntArray:
    array = np.asarray(array)
    if array.dtype.kind not in "iu" and array.size:
        raise SeriesError("dtype", f"{name} must hold integers, not {array.dtype}")
    return array.astype(np.int64, copy=False)


def _same_length(*arrays: NDArray[np.generic]) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise SeriesError("shape", f"columns of different or wrong shape: {sorted(shapes)}")


def _strictly_increasing(t_ns: IntArray) -> None:
    wrong = np.flatnonzero(np.diff(t_ns) <= 0)
    if wrong.size:
        k = int(wrong[0])
        raise SeriesError("order", f"time does not increase after sample {k}: {int(t_ns[k])} then {int(t_ns[k + 1])}")
