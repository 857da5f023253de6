"""The statement of an hour: written down from the contract's page alone, with none of our code, it is the same."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from meterline.readings import ClockState, Column, Poll, Shape
from meterline.wire import HourDigest, HourTally, hour_of

EPOCH = "00112233445566ff"
COUNTER = Shape("a@1", (Column("power.active.total", -3), Column("energy.active.import", -2)))
FLOATS = Shape("b@1", (Column("energy.active.import", 0, is_float=True),))
OTHER = Shape("c@1", (Column("volume", -3),))


def poll(meter: str, shape: Shape, *numbers: float | int | None) -> Poll:
    return Poll(meter, shape, 0, (0,), ClockState.SYNCED, numbers)


def test_an_hour_worked_out_by_hand() -> None:
    tally = HourTally(EPOCH, 0, 41)
    first, second = bytes(range(32)), bytes(32)
    tally.batch(first)
    tally.polls([poll("m1", COUNTER, 5, 1_000_00), poll("m2", FLOATS, 20.25), poll("w", OTHER, 9)])
    tally.batch(second)
    tally.polls([poll("m1", COUNTER, 5, 1_003_50), poll("m1", COUNTER, 5, None), poll("m2", FLOATS, 20.75)])
    # 3.50 kWh and 0.5 kWh; nine numbers, one of them absent
    folded = hashlib.sha256(hashlib.sha256(bytes(32) + first).digest() + second).digest()
    assert tally.result() == HourDigest(EPOCH, 0, 41, 42, folded, 9, 4_000_000)
    assert tally.result().count == 2


def test_a_meter_seen_once_and_an_hour_without_polls_advance_nothing() -> None:
    tally = HourTally(EPOCH, 0, 1)
    tally.batch(bytes(32))
    assert (tally.result().readings, tally.result().advance_micro) == (0, 0)
    tally.polls([poll("m1", COUNTER, 5, 77)])
    assert (tally.result().readings, tally.result().advance_micro) == (2, 0)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=5))
def test_whatever_a_meter_shows_the_statement_fits_64_bits(numbers: list[int]) -> None:
    tally = HourTally(EPOCH, 0, 1)
    tally.batch(bytes(32))
    tally.polls([poll("m1", Shape("x@1", (Column("energy.active.import", 30),)), number) for number in numbers])
    assert -(1 << 63) <= tally.result().advance_micro < 1 << 63


def test_hours_begin_on_the_hour() -> None:
    assert hour_of(1_795_392_061_000_000_000) == 1_795_392_000_000_000_000
