"""A meter's readings as arrays: rows as they arrived, repeated ones included; `rx` is the gateway's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analytics.series import SECOND_NS, FloatArray, IntArray, SeriesError

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
