"""Ranges of numbers behave as the plain set of them would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline.ranges import RangeSet

STEPS = st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(0, 12)), max_size=25)


def numbers(ranges: tuple[tuple[int, int], ...]) -> set[int]:
    return {n for first, last in ranges for n in range(first, last + 1)}


def build(steps: list[tuple[bool, int, int]]) -> tuple[RangeSet, set[int]]:
    ranges, model = RangeSet(), set[int]()
    for put, first, count in steps:
        span = set(range(first, first + count + 1))
        if put:
            ranges.add(first, first + count)
            model |= span
        else:
            ranges.remove(first, first + count)
            model -= span
    return ranges, model


@given(STEPS)
def test_it_is_the_set_and_its_ranges_ascend_without_touching(steps: list[tuple[bool, int, int]]) -> None:
    ranges, model = build(steps)
    assert numbers(ranges.ranges) == model
    assert len(ranges) == len(model)
    assert bool(ranges) == bool(model)
    for (_, before), (after, _) in zip(ranges.ranges, ranges.ranges[1:], strict=False):
        assert after > before + 1
    assert RangeSet(ranges) == ranges == ranges.copy()


@given(STEPS, st.integers(1, 50), st.integers(0, 15))
def test_questions_about_a_part_of_it(steps: list[tuple[bool, int, int]], first: int, count: int) -> None:
    ranges, model = build(steps)
    span = set(range(first, first + count + 1))
    assert numbers(ranges.within(first, first + count)) == model & span
    assert numbers(ranges.gaps(first, first + count)) == span - model
    assert ranges.holds_all(first, first + count) == (span <= model)
    assert (first in ranges) == (first in model)
    end = first - 1
    while end + 1 in model:
        end += 1
    assert ranges.reaches(first) == end


def test_ends_and_wrong_ways() -> None:
    ranges = RangeSet([(4, 6), (1, 1)])
    assert (ranges.first, ranges.last) == (1, 6)
    assert repr(ranges) == "RangeSet([(1, 1), (4, 6)])"
    with pytest.raises(ValueError, match="backwards"):
        ranges.add(5, 4)
    with pytest.raises(IndexError):
        _ = RangeSet().first
