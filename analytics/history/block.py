"""A stretch of polls of many meters at once: what detectors are fed, one poll or weeks at a time.

```
           slot  first   +1    +2            one row a meter, one column a poll
 meter 0        [ 12.1   12.4   NaN ]        NaN: nothing arrived, or no such channel
 meter 1        [  3.0    3.0   3.1 ]
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.history.record import CHANNELS, MeterRecord
from analytics.series import BoolArray, FloatArray, IntArray

CHUNK_DAYS = 28


@dataclass(frozen=True)
class Block:
    """Polls of a fleet.

    Attributes
    ----------
    first : int
        Slot of the first column, counted from the epoch.
    values : mapping of channel to (m, b) float64
        Some of `CHANNELS`; NaN where there is no value.
    present : (m, b) bool
        Something arrived.
    over : (m, b) bool
        The slot is over and the gateway listened: what is not there will not come.
    again : (m, b) bool
        A row came whose time stamp repeats the one before.
    off_s : (m, b) float64
        By how much the meter's clock was ahead of the gateway's, in the last row with a new stamp; NaN without. [s]
    rx_ns : (m, b) int64
        Arrival of the slot's last row, 0 where none. [ns]
    """

    first: int
    values: Mapping[str, FloatArray]
    present: BoolArray
    over: BoolArray
    again: BoolArray
    off_s: FloatArray
    rx_ns: IntArray

    @property
    def width(self) -> int:
        """Polls in it."""
        return int(self.present.shape[1])

    def cut(self, a: int, b: int) -> Block:
        """Its columns ``[a, b)``."""
        return Block(
            self.first + a,
            {name: values[:, a:b] for name, values in self.values.items()},
            self.present[:, a:b],
            self.over[:, a:b],
            self.again[:, a:b],
            self.off_s[:, a:b],
            self.rx_ns[:, a:b],
        )


class Rows:
    """The records of a fleet, cut into blocks.

    Parameters
    ----------
    records : sequence of MeterRecord
        All with the same interval.
    """

    def __init__(self, records: Sequence[MeterRecord]) -> None:
        self.records = records
        self.interval_ns = records[0].facts.interval_ns
        self.channels = [name for name in CHANNELS if any(name in record.columns for record in records)]
        self._per_chunk = CHUNK_DAYS * max(records[0].per_day, 1)
        self._slot = [record.rx_ns // self.interval_ns for record in records]
        self._again: list[BoolArray] = []
        self._off: list[FloatArray] = []
        for record in records:
            stamps = record.ts_ns
            again = np.zeros(len(record), bool)
            off = np.full(len(record), np.nan)
            if stamps is not None:
                again[1:] = np.diff(stamps) == 0
                off = np.where(again, np.nan, (stamps - record.rx_ns) / 1e9)
            self._again.append(again)
            self._off.append(off)
        begins = [int(slot[0]) for slot in self._slot if slot.size]
        self.first = min(begins, default=0)
        self.until = max((self._until(k) for k in range(len(records))), default=0)
        self._chunk: Block | None = None

    def _until(self, k: int) -> int:
        """The slot in which the gateway was last heard."""
        record, slot = self.records[k], self._slot[k]
        last = int(slot[-1]) if slot.size else -1
        return last if record.until_ns is None else max(last, record.until_ns // self.interval_ns)

    def block(self, first: int, width: int) -> Block:
        """The polls of the slots ``[first, first + width)``."""
        chunk = self._chunk
        if chunk is None or first < chunk.first or first + width > chunk.first + chunk.width:
            chunk = self._chunk = self._fill(first, max(self._per_chunk, width))
        return chunk.cut(first - chunk.first, first - chunk.first + width)

    def _fill(self, first: int, width: int) -> Block:
        shape = (len(self.records), width)
        values = {name: np.full(shape, np.nan) for name in self.channels}
        present, again, over = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, bool)
        off, rx = np.full(shape, np.nan), np.zeros(shape, np.int64)
        for k, record in enumerate(self.records):
            over[k, : max(self._until(k) - first, 0)] = True
            a, b = np.searchsorted(self._slot[k], (first, first + width))
            if a == b:
                continue
            at = self._slot[k][a:b] - first
            leads = np.diff(at, prepend=-1) > 0  # a repeated row adds nothing
            present[k, at] = True
            rx[k, at] = record.rx_ns[a:b]
            again[k, at[self._again[k][a:b]]] = True
            fresh = np.isfinite(self._off[k][a:b])
            off[k, at[fresh]] = self._off[k][a:b][fresh]
            for name, column in record.columns.items():
                values[name][k, at[leads]] = column[a:b][leads]
        return Block(first, values, present, over, again, off, rx)
