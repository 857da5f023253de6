"""Polls to feed a gateway with, each with a number that tells where it came from."""

from __future__ import annotations

from meterline.readings import ClockState, Column, Exchange, Poll, Shape

T0_NS = 1_795_392_000_000_000_000  # 2026-11-23 00:00 UTC, a quarter-hour
SHAPE = Shape(
    "test-meter@1",
    (Column("energy.active.import", -2), Column("power.active.total", -3), Column("voltage.l1n", 0, is_float=True)),
)


def poll(number: int, *, meter: str = "m1", slot_ns: int | None = None, frames: bool = False) -> Poll:
    """The poll with this number as its energy; its slot is `number` seconds after T0 unless given."""
    slot = T0_NS + number * 1_000_000_000 if slot_ns is None else slot_ns
    asked = (Exchange(b"\x01\x04\x00\x00\x00\x06", number.to_bytes(8, "big"), slot, slot + 20_000_000),)
    return Poll(
        meter, SHAPE, slot, (20,), ClockState.SIMULATED, (number, 1000 + number % 7, 230.1), exchanges=asked * frames
    )
