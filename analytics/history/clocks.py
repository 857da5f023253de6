"""Clocks that lie: time stamps that repeat, a meter's clock that is off, and one that is off by whole hours.

The gateway's clock is the yardstick: what a meter stamps must lie within its answer's delay of what the gateway saw.
"""

from __future__ import annotations

import numpy as np

from analytics.history.record import Mark, MeterRecord
from analytics.series import SECOND_NS, runs

OFF_NS = 120 * SECOND_NS
"""A stamp this far from the gateway's clock is wrong: twice the longest delay (a minute) of a late answer."""
HOUR_NS = 3600 * SECOND_NS
NEAR = 12
"""Repeats within so many readings of each other are one event (three hours of quarters)."""


def find_repeats(record: MeterRecord) -> list[Mark]:
    """Stretches in which a meter's time stamp repeats, with new values under it or with the whole row again."""
    if record.ts_ns is None or len(record) < 2:
        return []
    again = np.flatnonzero(np.diff(record.ts_ns) == 0) + 1
    if not again.size:
        return []
    groups = np.split(again, np.flatnonzero(np.diff(again) > NEAR) + 1)
    marks = []
    for rows in groups:
        a, b = (int(record.row_slot[row]) for row in (rows[0], rows[-1]))
        evidence = {"repeats": int(rows.size), "stamp_s": int(record.ts_ns[rows[0]] // SECOND_NS)}
        marks.append(Mark("duplicate_ts", a, b, a, 0.95, evidence))
    return marks


def find_shifts(record: MeterRecord) -> list[Mark]:
    """Stretches in which the meter's clock is off by more than an answer's delay.

    A deviation of a whole hour (daylight saving, a time zone typed in wrongly by one) is ``dst_shift``.
    """
    if record.ts_ns is None or not len(record):
        return []
    # stamps that stand still are another fault
    fresh = np.flatnonzero(np.diff(record.ts_ns, prepend=np.iinfo(np.int64).min) != 0)
    # ... and so is a stamp that comes right and then repeats, after a reading that was lost
    held = np.diff(fresh, append=len(record)) > 1
    off = np.where(held, 0, record.ts_ns[fresh] - record.rx_ns[fresh])
    marks = []
    for a, b in runs(np.abs(off) > OFF_NS):
        # one deviation, one mark: the clock may be set wrongly a second time
        cuts = np.flatnonzero(np.abs(np.diff(off[a:b])) > OFF_NS) + a + 1
        for lo, hi in zip([a, *cuts.tolist()], [*cuts.tolist(), b], strict=True):
            first = int(off[lo])
            kind = "dst_shift" if abs(abs(first) - HOUR_NS) <= OFF_NS else "clock_jump"
            rows = fresh[[lo, hi - 1]]
            slots = record.row_slot[rows]
            evidence = {"off_by_s": first / 1e9, "readings": int(hi - lo)}
            marks.append(Mark(kind, int(slots[0]), int(slots[1]), int(slots[0]), 0.95, evidence))
    return marks
