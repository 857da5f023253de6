"""The columns' arithmetic is that of one number at a time (`meterline.readings.to_micro`)."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headend.stores.exact import micros_of, values_of
from meterline.readings import to_micro

INT64 = 2**63
EXPONENTS = st.integers(-12, 6)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.floats(-1e9, 1e9),
    st.decimals(-100000, 100000, places=7).map(float),  # many that end exactly in a half millionth
)


@given(st.lists(st.one_of(st.none(), st.integers(-INT64, INT64 - 1))), EXPONENTS)
def test_integers(numbers: list[int | None], exponent: int) -> None:
    micro, fits = micros_of(numbers, exponent)
    for number, got, fit in zip(numbers, micro.tolist(), fits.tolist(), strict=True):
        wanted = None if number is None else to_micro(number, exponent)
        assert (got if fit else None) == (
            wanted if wanted is not None and -INT64 < wanted < INT64 else None
        ) or wanted == -INT64


@given(st.lists(st.one_of(st.none(), FLOATS)), EXPONENTS)
def test_floats(numbers: list[float | None], exponent: int) -> None:
    micro, fits = micros_of(numbers, exponent)
    for number, got, fit in zip(numbers, micro.tolist(), fits.tolist(), strict=True):
        wanted = None if number is None else to_micro(number, exponent)
        assert (got if fit else None) == (wanted if wanted is not None and -INT64 <= wanted < INT64 else None)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53))), EXPONENTS)
def test_values_are_the_nearest_floats(numbers: list[int | None], exponent: int) -> None:
    for number, got in zip(numbers, values_of(numbers, exponent).tolist(), strict=True):
        if number is None:
            assert math.isnan(got)
        else:
            assert got == float(Decimal(number).scaleb(exponent))


def test_an_empty_column_is_an_empty_array() -> None:
    micro, fits = micros_of([], 0)
    assert (micro.size, fits.size, values_of([], 0).size) == (0, 0, 0)
    assert micro.dtype == np.int64
