"""Shortened addresses find every meter there is, none that is not, and ask no more than they must."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.address_tree import AddressTree, mask_of

ADDRESSES = st.sets(st.from_regex(r"\A[0-9]{12}\Z"), min_size=0, max_size=40)


def search(there: list[str], lucky: float = 0.0, deaf: float = 0.0, seed: int = 0) -> AddressTree:
    """Play a line: one meter is heard, several collide; `lucky` collisions let one frame through, `deaf` asks fail."""
    dice = random.Random(seed)
    tree = AddressTree()
    while (suffix := tree.next()) is not None:
        assert tree.asked < 20_000, "the search runs away"
        hit = [address for address in there if address.endswith(suffix)]
        if len(hit) == 1 and dice.random() < deaf:
            hit = []
        if len(hit) < 2:
            tree.heard(suffix, hit, collided=False)
        else:
            tree.heard(suffix, hit[:1] if dice.random() < lucky else [], collided=True)
    return tree


def test_a_mask_leaves_the_high_digits_open() -> None:
    # DL/T 645-2007, 5.2.3: the low bytes are given, the others are AA
    assert mask_of("") == "AAAAAAAAAAAA"
    assert mask_of("34") == "AAAAAAAAAA34"
    assert mask_of("220641537708") == "220641537708"


@given(ADDRESSES, st.floats(0, 1), st.integers(0, 5))
def test_every_meter_is_found_and_no_other(there: set[str], lucky: float, seed: int) -> None:
    tree = search(sorted(there), lucky, seed=seed)
    assert set(tree.found) == there
    assert len(tree.found) == len(there)
    assert tree.doubled == []


@settings(max_examples=25)
@given(ADDRESSES.filter(lambda found: len(found) > 2), st.integers(0, 5))
def test_two_meters_of_one_address_are_named(there: set[str], seed: int) -> None:
    twice = sorted(there)[seed % len(there)]
    tree = search([*sorted(there), twice], seed=seed)
    assert tree.doubled == [twice]
    assert set(tree.found) | {twice} == there


def test_a_line_that_is_silent_costs_one_question() -> None:
    assert search([]).asked == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_full_line_from_one_box_costs_a_hundred_questions_a_collision(seed: int) -> None:
    there = [f"21030012{n:04d}" for n in random.Random(seed).sample(range(10_000), 32)]
    tree = search(there)
    assert set(tree.found) == set(there)
    last_two = Counter(address[-2:] for address in there)
    collisions = sum(1 for count in last_two.values() if count > 1)
    assert tree.asked == 1 + 100 * (1 + collisions)


@pytest.mark.parametrize("seed", range(5))
def test_a_missed_answer_below_a_collision_is_asked_for_again(seed: int) -> None:
    there = ["210300120107", "210300120207"]  # collide in the last two digits
    tree = search(there, deaf=0.3, seed=seed)
    assert len(tree.found) >= 1
    if len(tree.found) < 2:
        assert tree.asked > 200  # the silent hundred was asked twice before it was given up


def test_late_answers_of_others_are_kept() -> None:
    tree = AddressTree()
    tree.heard("", [], collided=True)
    tree.heard("00", ["220641537708"], collided=False)  # an answer to an earlier question
    assert tree.found == ["220641537708"]
    assert tree.left == 99
