"""The clock inside a meter: its digits as a moment, and how far it is from ours.

A meter shows plant time without a zone and, mostly, without a century. Where its date is not known, it is taken for
right to the day: the nearest moment with that time of day.
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from meterline.clock import NS

DAY_S = 86_400
DRIFT_S = 60
"""A meter this far off has its midnight in another minute (reporting rules: day boundary 00:00 +-1 min). [s]"""


def moment_ns(digits: int, zone: ZoneInfo) -> int | None:
    """The moment of fourteen digits YYYYMMDDhhmmss of plant time, UTC; None where they are no date. [ns]"""
    text = f"{digits:014d}"
    if len(text) != 14:
        return None
    fields = [int(text[:4]), *(int(text[n : n + 2]) for n in range(4, 14, 2))]
    try:
        local = dt.datetime(fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], tzinfo=zone)
    except ValueError:
        return None
    return int(local.timestamp()) * NS


def digits_of(at_ns: int, zone: ZoneInfo) -> int:
    """A moment as the fourteen digits YYYYMMDDhhmmss of plant time: the inverse of `moment_ns`."""
    return int(f"{dt.datetime.fromtimestamp(at_ns // NS, zone):%Y%m%d%H%M%S}")


def offset_s(date: int | None, time: int, at_ns: int, zone: ZoneInfo) -> float | None:
    """How far the meter's clock is ahead of ours. [s]

    Parameters
    ----------
    date
        Digits YYYYMMDD; None if it is not known.
    time
        Digits hhmmss.
    at_ns
        When the answer was complete, by our clock, UTC. [ns]

    Returns
    -------
    float or None
        Negative: the meter is behind. None where the digits are no time.
    """
    if date is not None:
        shown_ns = moment_ns(date * 1_000_000 + time, zone)
        return None if shown_ns is None else (shown_ns - at_ns) / NS
    today = dt.datetime.fromtimestamp(at_ns // NS, zone).date()
    found = [
        (shown_ns - at_ns) / NS
        for days in (-1, 0, 1)
        if (shown_ns := moment_ns(int(f"{today + dt.timedelta(days=days):%Y%m%d}") * 1_000_000 + time, zone))
        is not None
    ]
    return min(found, key=abs, default=None)
