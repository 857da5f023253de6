"""What every check starts from: the polls of a block, what came before them, and runs that cross from block to block.

Whether a fleet is fed poll by poll or week by week, each number here is the same: that is what makes one code of the
two speeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analytics.findings import Evidence
from analytics.history.block import Block
from analytics.history.claims import NEAR, Ledger
from analytics.history.record import CHANNELS, MeterFacts
from analytics.series import BoolArray, FloatArray, IntArray

LAG = 8
"""The metering tree and the use of energy are judged so many polls behind the meters: what is found wrong with a
reading within two hours (of quarters) spoils nothing that follows."""
BEFORE, AFTER = 2, 2
"""Polls beside a wrong stretch that are not believed either."""
LOAD_IS_RIGHT = (
    "duplicate_ts", "clock_jump", "dst_shift", "counter_reset", "counter_rollover", "counter_backwards", "gap",
    "spike", "noise",
)  # fmt: skip
"""Findings that leave the load believable: it is what the counter counted."""


class FleetFacts:
    """The meters of a fleet as arrays.

    Attributes
    ----------
    meters : tuple of MeterFacts
        All with the same interval.
    per_day : int
        Polls a day.
    hours : float
        Length of a slot. [h]
    nominal_v, wraps_at_kwh : (m,) float64
        NaN where not known.
    plant : (m,) int64
        Number of the plant of each meter.
    """

    def __init__(self, meters: Sequence[MeterFacts]) -> None:
        self.meters = tuple(meters)
        self.interval_ns = meters[0].interval_ns
        self.per_day = max(1, round(86_400 * 10**9 / self.interval_ns))
        self.hours = self.interval_ns / 3.6e12
        self.nominal_v = np.array([np.nan if f.nominal_v is None else f.nominal_v for f in meters])
        self.wraps_at_kwh = np.array([np.nan if f.wraps_at_kwh is None else f.wraps_at_kwh for f in meters])
        names: dict[str, int] = {}
        self.plant = np.array([names.setdefault(f.plant or f.parent or f.meter, len(names)) for f in meters])

    def __len__(self) -> int:
        return len(self.meters)


@dataclass
class Now:
    """A block with what stands around it, as the checks of a meter against itself take it.

    Attributes
    ----------
    before : dict of channel to (m, 1) float64
        The poll before the block.
    has : dict of channel to (m,) bool
        Whether the meter sends the channel at all, as known this morning.
    counted_kw : (m, b) float64
        Mean power by the counter; NaN where it is not known. [kW]
    """

    facts: FleetFacts
    block: Block
    ledger: Ledger
    before: dict[str, FloatArray]
    has: dict[str, BoolArray]
    spoil: Spoil
    counted_kw: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    said: list[tuple[int, Callable[[], object]]] = field(default_factory=list)

    def values(self, channel: str) -> FloatArray | None:
        """(m, b) float64, None where no meter of the fleet sends it."""
        return self.block.values.get(channel)

    def shifted(self, channel: str) -> FloatArray:
        """(m, b) float64: the poll before each."""
        return np.concatenate((self.before[channel], self.block.values[channel][:, :-1]), axis=1)

    def claim(
        self,
        meter: int,
        kind: str,
        first: int,
        last: int,
        seen: int,
        confidence: float,
        evidence: Evidence,
        *,
        kwh: float | None = None,
        near: int = NEAR,
        trace: Mapping[str, float] | None = None,
        whole: bool = True,
    ) -> None:
        """Claim something of a meter; `seen` is a slot of this block. `whole` is False if its load stays believable.

        Claims are entered by `settle` in the order in which they became certain, whatever check made them: two checks
        may speak of one thing.
        """

        def enter() -> None:
            self.ledger.claim(
                meter, kind, first, last, seen, self.arrival(meter, seen), confidence, evidence,
                kwh=kwh, near=near, trace=trace,
            )  # fmt: skip
            if whole and kind not in LOAD_IS_RIGHT:
                self.spoil.add(meter, first, last, seen)

        self.said.append((seen, enter))

    def correct(self, meter: int, kind: str, last: int, seen: int) -> None:
        """The latest claim of a kind reaches no further than a slot, as a reading in the slot `seen` shows."""

        def enter() -> None:
            mark = self.ledger.latest.get((meter, kind))
            if mark is not None:
                mark.last = min(mark.last, last)

        self.said.append((seen, enter))

    def settle(self) -> None:
        """Enter the claims of the block."""
        for _, enter in sorted(self.said, key=lambda said: said[0]):
            enter()
        self.said.clear()

    def arrival(self, meter: int, slot: int) -> int:
        """When a slot's reading arrived; the slot's end where none did. [ns]"""
        rx = int(self.block.rx_ns[meter, slot - self.block.first])
        return rx if rx else (slot + 1) * self.facts.interval_ns


@dataclass
class Spoil:
    """Which polls of a meter are not to be believed.

    Attributes
    ----------
    stretches : list of (meter, first, last, seen)
        Of this block, in slots.
    until : (m,) int64
        Up to which slot each meter is known to be wrong.
    """

    until: IntArray
    stretches: list[tuple[int, int, int, int]] = field(default_factory=list)

    def add(self, meter: int, first: int, last: int, seen: int) -> None:
        self.stretches.append((meter, first - BEFORE, last + AFTER, seen))
        self.until[meter] = max(int(self.until[meter]), last + AFTER)


def run_lengths(flag: BoolArray, carry: IntArray) -> IntArray:
    """(m, b) int64: for how many polls in a row, this one included, a flag has stood.

    Parameters
    ----------
    flag : (m, b) bool
    carry : (m,) int64
        The same before the block; it is moved to the block's end.
    """
    if flag.shape[1] == 1:
        length = np.where(flag, carry[:, None] + 1, 0)
    else:
        index = np.arange(flag.shape[1])
        last = np.maximum.accumulate(np.where(flag, -1, index), axis=1)
        length = np.where(last < 0, index + 1 + carry[:, None], index - last)
    carry[:] = length[:, -1]
    return length


def columns_before(m: int) -> dict[str, FloatArray]:
    """(m, 1) of nothing, for every channel."""
    return {name: np.full((m, 1), np.nan) for name in CHANNELS}
