"""A meter's history as arrays: rows as they arrived, and the same on the grid of its polls.

```
 rows     r0   r1   r2 r2'        r3      in order of arrival, repeated rows included; `rx` is the gateway's clock
 slots   |----|----|----|----|----|       one column a poll; NaN where nothing arrived
```

Detectors of clocks look at rows; all others look at slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analytics.findings import Evidence
from analytics.series import SECOND_NS, BoolArray, FloatArray, IntArray, SeriesError

DAY_NS = 86_400 * SECOND_NS
CHANNELS = ("v1", "v2", "v3", "i1", "i2", "i3", "p", "q", "e_imp", "e_exp")
"""Phase voltages [V], phase currents [A], active power [kW], reactive power [kvar], import and export counter [kWh]."""


@dataclass(frozen=True, slots=True)
class MeterFacts:
    """What is known of a meter besides its readings.

    Attributes
    ----------
    meter : str
    interval_ns : int
        Time between two readings. [ns]
    nominal_v : float or None
        Phase to neutral. [V]
    wraps_at_kwh : float or None
        The counter's modulus.
    parent : str or None
        The meter that also sees this one's load.
    plant : str
    """

    meter: str
    interval_ns: int
    nominal_v: float | None = None
    wraps_at_kwh: float | None = None
    parent: str | None = None
    plant: str = ""


@dataclass(frozen=True)
class MeterRecord:
    """The readings of one meter over weeks.

    Attributes
    ----------
    facts : MeterFacts
    rx_ns : (n,) int64, not decreasing
        When each reading arrived, by the gateway's trusted clock, UTC. [ns]
    ts_ns : (n,) int64 or None
        What the meter's own clock said. [ns]
    columns : mapping of channel to (n,) float64
        Some of `CHANNELS`; NaN where there is no value, a channel without any value is absent.
    until_ns : int or None
        Up to when the gateway is known to have listened, for a meter that fell silent. [ns]

    Raises
    ------
    SeriesError
        ``order``: arrivals go back in time; ``shape``: columns of different lengths.
    """

    facts: MeterFacts
    rx_ns: IntArray
    ts_ns: IntArray | None
    columns: Mapping[str, FloatArray] = field(default_factory=dict)
    until_ns: int | None = None

    def __post_init__(self) -> None:
        if any(column.shape != self.rx_ns.shape for column in self.columns.values()):
            raise SeriesError("shape", f"columns of different lengths at {self.facts.meter}")
        if self.rx_ns.size > 1 and bool((np.diff(self.rx_ns) < 0).any()):
            raise SeriesError("order", f"arrivals of {self.facts.meter} go back in time")

    def __len__(self) -> int:
        return int(self.rx_ns.size)

    def until(self, now_ns: int) -> MeterRecord:
        """What was known at `now_ns`."""
        n = int(np.searchsorted(self.rx_ns, now_ns, side="right"))
        ts = None if self.ts_ns is None else self.ts_ns[:n]
        columns = {name: column[:n] for name, column in self.columns.items()}
        known = now_ns if self.until_ns is None else min(self.until_ns, now_ns)
        return MeterRecord(self.facts, self.rx_ns[:n], ts, columns, known)

    @cached_property
    def per_day(self) -> int:
        """Polls a day."""
        return max(1, round(DAY_NS / self.facts.interval_ns))

    @cached_property
    def hours(self) -> float:
        """Length of a slot. [h]"""
        return self.facts.interval_ns / 3.6e12

    @cached_property
    def first_slot(self) -> int:
        """Slots since the epoch of the first one here; the grid is aligned to the epoch."""
        return int(self.rx_ns[0] // self.facts.interval_ns) if len(self) else 0

    @cached_property
    def row_slot(self) -> IntArray:
        """(n,) int64: the slot in which each row arrived, counted from `first_slot`."""
        return self.rx_ns // self.facts.interval_ns - self.first_slot

    @cached_property
    def size(self) -> int:
        """How many slots."""
        return int(self.row_slot[-1]) + 1 if len(self) else 0

    @cached_property
    def _first_rows(self) -> IntArray:
        """The first row of each slot that has one (a repeated row adds nothing)."""
        return np.flatnonzero(np.diff(self.row_slot, prepend=-1) > 0)

    @cached_property
    def arrived(self) -> BoolArray:
        """(m,) bool: something arrived in this slot."""
        there = np.zeros(self.size, bool)
        there[self.row_slot[self._first_rows]] = True
        return there

    @cached_property
    def slot_rx_ns(self) -> IntArray:
        """(m,) int64: when the slot's reading arrived, its start where none did. [ns]"""
        when = (np.arange(self.size, dtype=np.int64) + self.first_slot) * self.facts.interval_ns
        when[self.row_slot[self._first_rows]] = self.rx_ns[self._first_rows]
        return when

    @cached_property
    def _grids(self) -> dict[str, FloatArray | None]:
        return {}

    def slots(self, channel: str) -> FloatArray | None:
        """(m,) float64: a channel on the grid, NaN where there is no value; None if the meter does not send it."""
        if channel not in self._grids:
            column = self.columns.get(channel)
            grid = None
            if column is not None and self.size:
                grid = np.full(self.size, np.nan)
                grid[self.row_slot[self._first_rows]] = column[self._first_rows]
            self._grids[channel] = grid
        return self._grids[channel]

    def three(self, prefix: str) -> FloatArray | None:
        """(3, m) float64: the three phases of ``v`` [V] or ``i`` [A]; None unless all are there."""
        rows = [self.slots(f"{prefix}{phase}") for phase in (1, 2, 3)]
        found = [row for row in rows if row is not None]
        return np.stack(found) if len(found) == 3 else None


@dataclass(frozen=True, slots=True)
class Mark:
    """A claim in slots, before it becomes a finding.

    Attributes
    ----------
    kind : str
    first, last : int
        First and last affected slot.
    seen : int
        The slot whose reading made the claim possible.
    confidence : float
        0..1.
    evidence : mapping
        Numbers and short arrays.
    energy_kwh : float or None
    """

    kind: str
    first: int
    last: int
    seen: int
    confidence: float
    evidence: Evidence
    energy_kwh: float | None = None


def resolution(values: FloatArray, most: float = 10.0) -> float:
    """The last digit of a channel, from the values themselves: the coarsest of 1, 0.1, 0.01 ... they all fit on.

    Returns
    -------
    float
        A power of ten between 1e-4 and `most`; 1e-4 for values that fit on none.
    """
    known = values[np.isfinite(values) & (np.abs(values) < 1e9)][:2000]
    step = most
    while step > 1e-4 and known.size:
        scaled = known / step
        if float(np.mean(np.abs(scaled - np.round(scaled)) < 1e-4)) > 0.995:
            return step
        step /= 10.0
    return 1e-4
