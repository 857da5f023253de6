"""A number keeps what the meter gave; doubt and absence travel with it."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline.readings import ClockState, Column, Poll, Quality, Shape, exact, to_micro

SHAPE = Shape("x@1", (Column("voltage.l1n", -1), Column("energy.active.import", -2, request=1)))


def test_a_poll_shows_each_number_as_a_reading_with_its_own_arrival() -> None:
    poll = Poll("m1", SHAPE, 1_000_000_000_000, (12, 48), ClockState.SYNCED, (2301, 123_456), (0, int(Quality.SUSPECT)))
    voltage, energy = poll.readings()
    assert voltage.value == Decimal("230.1")
    assert energy.value == Decimal("1234.56")
    assert (voltage.read_ns, energy.read_ns) == (1_000_012_000_000, 1_000_048_000_000)
    assert energy.quality is Quality.SUSPECT
    assert voltage.quality is Quality.GOOD


def test_a_missing_number_has_no_value() -> None:
    poll = Poll("m1", SHAPE, 0, (1, 1), ClockState.SYNCED, (None, 1), (int(Quality.MISSING), 0))
    assert next(poll.readings()).value is None


def test_shapes_with_equal_columns_are_one_and_know_their_requests() -> None:
    again = Shape("x@1", (Column("voltage.l1n", -1), Column("energy.active.import", -2, request=1)))
    assert again == SHAPE
    assert again.id == SHAPE.id
    assert again.requests == 2
    assert Shape("x@2", SHAPE.columns).id != SHAPE.id


def test_quality_bits_are_the_published_ones() -> None:
    """The bits are on the wire and in every store: renumbering them would rewrite history."""
    assert [int(q) for q in Quality] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


@given(st.integers(-(10**15), 10**15), st.integers(-6, 3))
def test_whole_counters_become_micro_units_exactly(number: int, exponent: int) -> None:
    assert to_micro(number, exponent) == Decimal(number) * Decimal(10) ** (exponent + 6)


@given(st.floats(0, 1e9, width=32))
def test_a_float32_counter_is_read_as_its_decimal_to_the_millionth(value: float) -> None:
    assert struct.unpack(">f", struct.pack(">f", value))[0] == value
    assert abs(Decimal(to_micro(value, 0)) - exact(value, 6)) <= Decimal("0.5")


def test_below_a_millionth_rounds_half_even_once() -> None:
    assert [to_micro(n, -7) for n in (5, 15, 25, -15)] == [0, 2, 2, -2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_counter_never_shows_what_is_no_number(value: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        to_micro(value, 0)
