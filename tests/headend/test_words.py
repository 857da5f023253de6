"""Findings in words: both languages, people's numbers and units, nothing forgotten."""

from __future__ import annotations

import re
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.findings import KINDS, Evidence, Severity
from headend import words
from headend.causes import Scope
from headend.entries import Condition, Entry
from meterline.texts import Texts, choose_language
from tests.headend.small_plant import HOUR, MINUTE, T0, small_plant

PLANT = small_plant()
ENTRY = Entry(
    id=1, kind="overload", scope=Scope.METER, subject="m-p1", meters=("m-p1",), condition=Condition.ACTIVE,
    start_ns=T0, end_ns=None, since_ns=T0, last_seen_ns=T0 + HOUR, opened_ns=T0, severity=Severity.WARNING,
    confidence=0.9, evidence={"rated_kw": 60.0},
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.0, "0"), (4.2, "4.2"), (0.123456, "0.1235"), (123.456, "123.5"), (12345.678, "12,346"),
        (604955.0, "604,955"), (8.16e10, "81,600,000,000"), (0.00012, "0.00012"), (-3.14159, "-3.142"),
        (float("nan"), "–"), (float("inf"), "–"), ("ABC", "ABC"), (True, "True"),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(value: object, text: str) -> None:
    assert words.number(value) == text


@given(st.floats(min_value=-1e18, max_value=1e18))
def test_a_number_in_words_is_near_the_number(value: float) -> None:
    assert float(words.number(value).replace(",", "")) == pytest.approx(value, rel=5e-3, abs=1e-200)


def test_times_and_lengths() -> None:
    zone = ZoneInfo("Asia/Shanghai")
    assert words.local(T0, zone) == "2026-03-02 16:00:00"
    assert words.zone_words(T0, zone) == "Asia/Shanghai, UTC+08:00"
    assert words.zone_words(T0 + 90 * 24 * HOUR, ZoneInfo("Europe/Berlin")) == "Europe/Berlin, UTC+02:00"
    assert [words.duration(n, "en") for n in (0, MINUTE, 3 * HOUR + 20 * MINUTE, 49 * HOUR)] == [
        "0 s", "1 min", "3 h 20 min", "2 d 1 h",
    ]  # fmt: skip
    assert words.duration(3 * HOUR + 20 * MINUTE, "zh") == "3 小时 20 分钟"
    assert words.duration(-5, "en") == "0 s"


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_and_scope_has_its_words(kind: str, scope: Scope) -> None:
    subject = {Scope.METER: "m-p1", Scope.BUS: "line-1", Scope.GATEWAY: "gw-1", Scope.PLANT: "jinan"}[scope]
    entry = replace(ENTRY, kind=kind, scope=scope, subject=subject)
    for language in ("en", "zh"):
        said = [words.heading(entry, language), words.meaning(entry, language), *words.checks(entry, language)]
        assert len(said) >= 3
        assert all(text and "{" not in text for text in said)
        if language == "zh":
            assert all(re.search(r"[\u4e00-\u9fff]", text) for text in said)
        assert words.about(entry, PLANT, language)


def test_evidence_in_words() -> None:
    evidence: Evidence = {
        "phase": "l2", "expected_v": 230.0, "t_ns": (T0, T0 + MINUTE), "seen_l1_v": (231.0, 229.0),
        "seen_l2_v": (1.0, 3.0), "seen_l3_v": (230.0, None), "recorded_silent": 1, "last_seen_ns": T0,
        "counted_kwh": (1.0, 2.5), "odd_kwh": (7.0, None, 8.5), "voltage_l1": (229.0, 231.0), "new_thing": 3,
        "channel": "voltage.l2n", "around": (1.0, 2.0),
    }  # fmt: skip
    facts = words.facts(replace(ENTRY, evidence=evidence), PLANT, "en")
    assert [(f.label, f.value, f.unit) for f in facts] == [
        ("phase", "L2", ""),
        ("expected", "230", "V"),
        ("seen L2", "2", "V"),
        ("the gateway asked in vain", "yes", ""),
        ("last answer", "2026-03-02 16:00:00", ""),
        ("counted", "3.5", "kWh"),
        ("odd readings", "7, 8.5", "kWh"),
        ("voltage L1", "230", "V"),
        ("new thing", "3", ""),
        ("channel", "voltage L2-N", ""),
    ]
    chinese = words.facts(replace(ENTRY, evidence=evidence), PLANT, "zh")
    assert [f.label for f in chinese][:3] == ["相别", "期望值", "实测 B相"]


def test_units_as_people_write_them() -> None:
    assert [words.unit_words(u) for u in ("m3", "m3/h", "degC", "1", "kWh", "kgCO2/m3")] == [
        "m³", "m³/h", "°C", "", "kWh", "kgCO₂/m³",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wishes", "language"),
    [
        ((None, None, None), "en"), (("zh", None, "en"), "zh"), ((None, "zh", "en"), "zh"),
        ((None, None, "zh-CN,zh;q=0.9,en;q=0.8"), "zh"), ((None, None, "de,en;q=0.5,zh;q=0.4"), "en"),
        ((None, None, "de-DE,fr;q=0.5"), "en"), ((None, None, "en;q=0,zh;q=0.1"), "zh"),
        (("klingon", None, "zh"), "zh"), ((None, None, ";;;,q=,zh;q=nonsense"), "zh"), ((None, None, "ZH-hans"), "zh"),
    ],
)  # fmt: skip
def test_the_language_is_the_first_wish_that_can_be_met(wishes: tuple[str | None, ...], language: str) -> None:
    assert choose_language(*wishes) == language


@given(st.text(max_size=60))
def test_any_header_gives_a_language(header: str) -> None:
    assert choose_language(None, header) in ("en", "zh")


def test_a_translation_that_loses_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="lost"):
        Texts({"lost": ("{count} of {total}", "{count}")})
    texts = Texts({"a": ("{name} is silent", "{name}无应答")})
    assert texts("a", "zh", name="{evil}") == "{evil}无应答", "a value is text, never a format"
    assert "b" not in texts
