"""Findings: words for every kind, evidence, and what is one thing."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.findings import KINDS, MOST_POINTS, Finding, Severity, merge, thinned


def finding(start: int, end: int | None, kind: str = "gap", meter: str = "m1", **more: object) -> Finding:
    return Finding(kind, meter, start, end, Severity.ALARM, 1.0, {"missed_polls": 7}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_words_in_both_languages_and_something_to_do(name: str) -> None:
    kind = KINDS[name]
    for words in (kind.title, kind.meaning, *kind.check_first):
        assert words.en.isascii()
        assert any("\u4e00" <= letter <= "\u9fff" for letter in words.zh)
    assert kind.check_first
    assert kind.about in ("meter", "use", "comm")


def test_no_finding_without_evidence_or_of_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="evidence"):
        Finding("gap", "m1", 0, 1, Severity.INFO, 1.0)
    with pytest.raises(ValueError, match="no kind"):
        finding(0, 1, "gremlins")


def test_what_touches_is_one_thing() -> None:
    one = merge([finding(0, 10, energy_kwh=5.0), finding(8, 20, energy_kwh=9.0), finding(40, None)], within_ns=2)
    assert [(f.start_ns, f.end_ns, f.energy_kwh) for f in one] == [(0, 20, 9.0), (40, None, None)]


def test_what_lasts_swallows_what_follows_but_not_other_meters_or_kinds() -> None:
    merged = merge([finding(0, None), finding(50, 60), finding(50, 60, meter="m2"), finding(50, 60, "stuck")])
    assert [(f.meter, f.kind, f.start_ns, f.end_ns) for f in merged] == [
        ("m1", "gap", 0, None), ("m1", "stuck", 50, 60), ("m2", "gap", 50, 60),
    ]  # fmt: skip


def test_evidence_is_short_keeps_its_ends_and_says_none_for_nan() -> None:
    values = np.arange(1000.0)
    values[0] = np.nan
    short = thinned(values)
    assert len(short) == MOST_POINTS
    assert (short[0], short[-1]) == (None, 999.0)
