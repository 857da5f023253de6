"""Scores worked out by hand on a handful of events."""

from __future__ import annotations

import math

import pytest

from analytics.scoring import Label, Said, bootstrap, score, wilson

H = 3600.0
LABELS = [
    Label("a", "stuck", 100 * H, 110 * H),
    Label("a", "leak", 200 * H, 300 * H),
    Label("b", "zero", 100 * H, 120 * H, frozenset({"stuck"})),
    Label("b", "gap", 400 * H, 410 * H),
    Label("main", "stuck", 100 * H, 110 * H, ignore=True),
]


def said(meter: str, kind: str, start_h: float, end_h: float) -> Said:
    return Said(meter, kind, start_h * H, end_h * H, (start_h + 1) * H)


def test_found_named_missed_false() -> None:
    findings = [
        said("a", "stuck", 100, 110),  # right
        said("a", "base_load", 210, 290),  # found, wrong name
        said("b", "stuck", 101, 120),  # right by its other name
        said("b", "spike", 600, 601),  # false
        said("main", "theft", 100, 110),  # an echo: neither
    ]
    scores = score(LABELS, findings)
    assert [(o.label.kind, o.found, o.named) for o in scores.outcomes] == [
        ("stuck", True, True), ("leak", True, False), ("zero", True, True), ("gap", False, False),
    ]  # fmt: skip
    assert [f.kind for f in scores.false] == ["spike"]
    assert scores.f1 == pytest.approx(3 / 4)  # precision 3 of 4, recall 3 of 4
    assert scores.strict_f1 == pytest.approx(1 / 2)  # 2 named, 1 false and 1 misnamed: 2 of 4; recall 2 of 4
    assert scores.outcomes[0].delay_s == H
    assert math.isnan(scores.outcomes[3].delay_s)


def test_an_alarm_over_everything_matches_nothing_short() -> None:
    scores = score(LABELS, [said("a", "stuck", 0, 1000)])
    assert scores.recall == 0.0
    assert len(scores.false) == 1


def test_fragments_within_an_hour_are_one_and_never_pay_twice() -> None:
    pieces = [said("a", "leak", h, h + 0.5) for h in range(200, 300)]
    scores = score(LABELS, pieces)
    assert sum(o.found for o in scores.outcomes) == 1
    assert scores.false == ()


def test_only_some_kinds() -> None:
    findings = [said("a", "stuck", 100, 110), said("a", "noise", 700, 705)]
    scores = score(LABELS, findings, frozenset({"leak"}))
    assert [o.label.kind for o in scores.outcomes] == ["leak"]
    assert scores.false == ()


def test_wilson_interval_by_hand() -> None:
    # 8 of 10, z**2 = 3.8415: middle (0.8 + 0.19207) / 1.38415 = 0.7167, half 1.41601 * sqrt(0.016 + 0.0096) = 0.2266
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.4901, abs=2e-4)
    assert high == pytest.approx(0.9433, abs=2e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_bootstrap_brackets_the_score_and_repeats() -> None:
    scores = score(LABELS, [said("a", "stuck", 100, 110), said("b", "zero", 100, 120)])
    low, high = bootstrap(scores, ["a", "b"])["f1"]
    assert low <= scores.f1 <= high
    assert bootstrap(scores, ["a", "b"]) == bootstrap(scores, ["a", "b"])
