"""``meterline findings``: plots in characters, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics.findings import Severity
from headend.causes import Scope
from headend.entries import Condition, Entry
from meterline.cli.app import app
from meterline.cli.findings import PLOT_HEIGHT, curves, plotted, unit_of_curve
from tests.headend.small_plant import HOUR, T0


def entry(**evidence: tuple[float | None, ...] | float) -> Entry:
    return Entry(
        1, "unusual_level", Scope.METER, "m-p1", ("m-p1",), Condition.OVER, T0, T0 + HOUR, T0, T0 + HOUR, T0,
        Severity.INFO, 0.7, evidence,
    )  # fmt: skip


def test_what_was_seen_stands_above_what_was_expected() -> None:
    seen, expected = curves(entry(expected_kw=(10.0, 10.0), seen_kw=(20.0, 20.0), times=2.0))
    assert (seen, expected) == ([20.0, 20.0], [10.0, 10.0])
    lines = plotted(seen, expected)
    assert len(lines) == PLOT_HEIGHT
    assert lines[0] == "20 ┤●●"
    assert sum("·" in line for line in lines) == 1


def test_a_gap_in_the_curve_stays_a_gap() -> None:
    lines = plotted([5.0, None, 5.0], [])
    assert lines[0].endswith("● ●")
    assert plotted([None], []) == []


@pytest.mark.parametrize("words", [["list"], ["show", "1"], ["explain", "1"]])
def test_a_missing_head_end_file_is_wrong_input(words: list[str], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["findings", *words, "--headend", str(tmp_path / "none.yaml")])
    assert result.exit_code != 0


@pytest.mark.parametrize(("key", "unit"), [("seen_kw", "kW"), ("seen_v", "V"), ("odd_kwh", "kWh"), ("values", "")])
def test_the_curve_has_the_unit_of_its_evidence(key: str, unit: str) -> None:
    assert unit_of_curve(entry(**{key: (1.0, 2.0)})) == unit
