"""Whether the intervals of the catalogue add up to what the display counted (invariant I9), to the last millionth.

The counter at a boundary is interpolated here, from readings that the checker has compared with the meters' journal, in
fractions; the sum of the product's intervals has to be the difference of two such places, whatever happened in between.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

from tests.faults.evidence import Message

MICRO = 1_000_000
QUARTER_NS = 900 * 1_000_000_000
IMPORT = "energy.active.import"


def counter_track(messages: Iterable[Message], meter: str) -> list[tuple[int, Fraction]]:
    """(read at [ns], displayed) of the import counter, in order of time, without doubtful values."""
    track: dict[int, Fraction] = {}
    for message in messages:
        for poll in message.polls:
            if poll.meter != meter or IMPORT not in poll.measurands:
                continue
            column = poll.measurands.index(IMPORT)
            number = poll.numbers[column]
            if number is not None and not poll.qualities[column]:
                track[poll.read_ns(column)] = Fraction(str(number)) * Fraction(10) ** poll.exponents[column]
    return sorted(track.items())


def intervals(store: Path, meter: str, start_ns: int, end_ns: int) -> tuple[int, int]:
    """Sum [1e-6 kWh] and number of the catalogue's quarter hours that start in [start, end)."""
    with closing(sqlite3.connect(f"file:{store}/catalogue.sqlite?mode=ro", uri=True, timeout=5)) as db:
        row = db.execute(
            "SELECT coalesce(sum(micro), 0), count(*) FROM intervals WHERE meter = ? AND measurand = ?"
            " AND resolution = '15min' AND start_ns >= ? AND start_ns < ?",
            (meter, IMPORT, start_ns, end_ns),
        ).fetchone()
    return int(row[0]), int(row[1])


def kwh_error(store: Path, messages: Iterable[Message], meter: str, ratio: int, start_ns: int) -> tuple[float, int]:
    """|sum of intervals - (last - counter at the boundary)|, from the boundary after `start_ns` to the last reading.

    Returns
    -------
    (float, int)
        The error [kWh], less the rounding of the boundary to a millionth, and how many intervals were summed.
    """
    track = counter_track(messages, meter)
    boundary = -(-start_ns // QUARTER_NS) * QUARTER_NS
    after = bisect_right(track, boundary, key=lambda row: row[0])
    if not 0 < after < len(track):
        return 0.0, 0
    (t0, v0), (t1, v1) = track[after - 1], track[after]
    at_boundary = v0 + (v1 - v0) * Fraction(boundary - t0, t1 - t0)
    wanted = (track[-1][1] - at_boundary) * ratio * MICRO
    summed, count = intervals(store, meter, boundary, 1 << 62)
    difference = abs(summed - wanted)
    return float(max(Fraction(0), difference - 1)) / MICRO, count
