"""How long it is worth waiting for a meter."""

from __future__ import annotations

import random

from collector.patience import LEAST_S, LearntPatience
from collector.turns import ProbeBudget


def test_nothing_is_learnt_from_too_little() -> None:
    one = LearntPatience()
    for _ in range(19):
        one.took(0.02)
    assert one.within_s is None


def test_four_times_the_ninety_fifth_percentile_within_bounds() -> None:
    dice = random.Random(1)
    one = LearntPatience()
    for _ in range(200):
        one.took(0.2 if dice.random() < 0.02 else dice.uniform(0.05, 0.06))
    assert one.within_s is not None
    assert 4 * 0.058 <= one.within_s <= 4 * 0.0601
    quick = LearntPatience()
    for _ in range(100):
        quick.took(0.003)
    assert quick.within_s == LEAST_S


def test_haste_is_unlearnt_at_once_and_comes_back_slowly() -> None:
    one = LearntPatience()
    for _ in range(100):
        one.took(0.05)
    before = one.within_s
    assert before is not None
    one.hasty()
    assert one.within_s == 2 * before
    for _ in range(199):
        one.took(0.05)
    assert one.within_s == 2 * before
    one.took(0.05)
    assert one.within_s == before


def test_probes_have_a_twentieth_of_the_line_between_them() -> None:
    budget, spent, now_s = ProbeBudget(0.0), 0.0, 0.0
    while now_s < 600.0:
        if budget.allows(now_s):
            budget.spend(0.5)
            spent += 0.5
            now_s += 0.5
        else:
            now_s += 0.1
    assert 0.04 * 600 <= spent <= 0.05 * 600 + ProbeBudget.MOST_S + 0.5
