"""What a meter says of itself becomes a finding: opened, programmed, a clock that is off, another meter."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.detectors import MeterContext, MeterWindow, examine
from analytics.detectors.own_word import detect
from analytics.detectors.view import View
from analytics.findings import Finding
from analytics.fitness import NotFit
from analytics.series import Series
from meterline.readings import Quality

HOUR = 3600 * 10**9
START = 1_779_062_400 * 10**9
CONTEXT = MeterContext("m1", 60 * 10**9)


def said(seen: MeterWindow) -> list[Finding]:
    """What the detector says, when asked with all the others."""
    findings = examine(CONTEXT, seen)["own-word"]
    assert not isinstance(findings, NotFit)
    return findings


def window(**states: Series) -> MeterWindow:
    named = {name.replace("__", "."): series for name, series in states.items()}
    return MeterWindow(START, START + 24 * HOUR, states=named)


def hourly(*values: float | None, doubted: tuple[int, ...] = ()) -> Series:
    t = [START + n * HOUR for n in range(len(values))]
    quality = [int(Quality.SUSPECT) if n in doubted else 0 for n in range(len(values))]
    return Series.of(t, [np.nan if v is None else v for v in values], np.array(quality, np.int32))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("events__cover_open", "cover_opened"), ("events__terminal_cover_open", "cover_opened"),
        ("events__programming", "meter_changed"), ("events__meter_clear", "meter_changed"),
    ],
)  # fmt: skip
def test_a_count_that_rises_is_one_finding(name: str, kind: str) -> None:
    (found,) = said(window(**{name: hourly(4, 4, 5, 5, 5)}))
    assert (found.kind, found.start_ns, found.end_ns) == (kind, START + HOUR, START + 2 * HOUR)
    assert found.detected_ns == START + 2 * HOUR
    assert found.evidence["count_after"] == 5


def test_the_meters_own_record_says_when_it_was() -> None:
    opened = START + HOUR + 17 * 60 * 10**9
    last = Series.of([opened], [20_260_518_091_700.0])
    (found,) = said(window(events__cover_open=hourly(4, 4, 5), events__cover_open__last=last))
    assert found.start_ns == opened


def test_no_rise_no_finding() -> None:
    assert said(window(events__cover_open=hourly(4, None, 4, 0, 0))) == []
    assert said(window(events__voltage_loss__l1=hourly(4, 9))) == [], "phase-loss says it"


def test_a_clock_that_is_off_lasts_until_it_is_set() -> None:
    (found,) = said(window(clock__time=hourly(80_000, 90_300, 100_300, doubted=(1, 2))))
    assert (found.kind, found.start_ns, found.end_ns) == ("clock_drift", START + HOUR, None)
    (found,) = said(window(clock__time=hourly(80_300, 90_300, 100_000, doubted=(0, 1))))
    assert found.end_ns == START + 2 * HOUR


def test_another_number_is_another_meter() -> None:
    (found,) = said(window(identity__number=hourly(4711, doubted=(0,))))
    assert (found.kind, found.end_ns) == ("other_meter", None)
    assert found.evidence["seen"] == 4711


def test_a_meter_that_says_nothing_of_itself_is_not_judged() -> None:
    assert isinstance(detect(View(CONTEXT, window())), NotFit)
