"""Many floats at once come out as one by one; and one by one as numpy prints a 32-bit float."""

from __future__ import annotations

import math
import random
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.float32 import shortest_float32, shortest_float32s

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def f32(x: float) -> float:
    value: float = struct.unpack(">f", struct.pack(">f", x))[0]
    return value


def by_numpy(x: float) -> float:
    """numpy's own shortest digits (the Dragon4 algorithm), another implementation."""
    return float(np.format_float_scientific(np.float32(x), unique=True))


@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_many_at_once_are_each_as_short_as_alone(values: list[float]) -> None:
    assert shortest_float32s(tuple(values)) == [shortest_float32(x) for x in values]


@given(st.lists(st.floats(2.0**-9, 9_999_999, width=32).flatmap(lambda x: st.sampled_from([x, -x])), min_size=1))
def test_the_quick_way_is_numpys_way(values: list[float]) -> None:
    assert shortest_float32s(tuple(values)) == [by_numpy(x) for x in values]


def test_around_every_power_of_two_and_ten_where_spacings_change() -> None:
    values = []
    for base in [2.0**n for n in range(-12, 26)] + [10.0**n for n in range(-4, 8)]:
        bits = struct.unpack(">I", struct.pack(">f", base))[0]
        values += [struct.unpack(">f", struct.pack(">I", bits + step))[0] for step in range(-40, 41)]
    for begin in range(0, len(values), 30):
        some = tuple(values[begin : begin + 30])
        assert shortest_float32s(some) == [by_numpy(x) for x in some]
        for x in some:
            assert shortest_float32s((x,)) == [by_numpy(x)]


def test_what_meters_send() -> None:
    dice = random.Random(2)
    voltages = tuple(f32(round(dice.uniform(215, 240), 1)) for _ in range(30))
    assert all(len(repr(x)) <= 5 for x in shortest_float32s(voltages))
    assert shortest_float32s((f32(230.1), float("nan"), f32(-0.0), float("inf"))) == [230.1, None, -0.0, None]
    computed = tuple(f32(dice.uniform(0, 1e6)) for _ in range(60))
    found = shortest_float32s(computed)
    assert all(number is not None and f32(number) == x for number, x in zip(found, computed, strict=True))
    (zero,) = shortest_float32s((-0.0,))
    assert zero is not None
    assert math.copysign(1.0, zero) == -1.0
