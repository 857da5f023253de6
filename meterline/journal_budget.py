"""How much disk a gateway needs for what it must keep: refused at `check`, not noticed in month five.

What must be kept are quarter-hour values with their raw frames, for `keep_days`. The rest (fast samples, their frames,
whatever is not acknowledged) takes what is left of the quota. Figures per reading and commit are those of
``meterline bench delivery``, rounded up.
"""

from __future__ import annotations

from meterline.plant import Plant

READING_BYTES = 6
"""A reading in the journal. [bytes]"""
COMMIT_BYTES = 500
"""Signature, header and record around the readings of one commit. [bytes]"""
FRAME_BYTES, POLL_FRAME_BYTES = 5, 40
"""Raw frames of a reading, and of a poll around them, packed. [bytes]"""
MOST_COMMITS = 60
"""A sweep over the meters is cut into at most so many commits; longer ones do not fit between two polls."""
QUARTERS = 96


def kept_bytes_per_day(plant: Plant, gateway: str) -> int:
    """What one day's quarter-hour values of all meters of a gateway take. [bytes]"""
    meters = [meter for bus in plant.site.buses if bus.gateway == gateway for meter in plant.meters_on(bus.id)]
    readings = sum(sum(point.enabled for point in plant.profile_of(meter).points) for meter in meters)
    commits = min(len(meters), MOST_COMMITS)
    journal = readings * READING_BYTES + commits * COMMIT_BYTES
    frames = readings * FRAME_BYTES + len(meters) * POLL_FRAME_BYTES
    return QUARTERS * (journal + frames)


def needed_mb(plant: Plant, gateway: str, keep_days: int) -> int:
    """The least quota that holds them for `keep_days`. [MB]"""
    return -(-kept_bytes_per_day(plant, gateway) * keep_days // 1_000_000)
