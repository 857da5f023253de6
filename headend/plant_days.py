"""Days of the plant: from midnight to midnight of its own local time, 23, 24 or 25 hours long."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from meterline.clock import NS


def midnight_ns(zone: ZoneInfo, day: dt.date) -> int:
    """When a day begins, UTC. [ns]"""
    return int(dt.datetime.combine(day, dt.time(), tzinfo=zone).timestamp()) * NS


def day_of(zone: ZoneInfo, t_ns: int) -> dt.date:
    """The plant's date at a moment."""
    return dt.datetime.fromtimestamp(t_ns // NS, tz=zone).date()


def day_edges(zone: ZoneInfo, start_ns: int, end_ns: int) -> list[int]:
    """Midnights of all days that touch the half-open span, the one after the last included. [ns]"""
    day = day_of(zone, start_ns)
    edges = [midnight_ns(zone, day)]
    while edges[-1] < end_ns or len(edges) < 2:
        day += dt.timedelta(days=1)
        edges.append(midnight_ns(zone, day))
    return edges
