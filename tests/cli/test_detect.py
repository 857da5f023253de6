"""`meterline detect` on a folder of recorded readings: the columns it promises, and only the readings are read."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from analytics.history import MeterRecord
from analytics.planted import PER_DAY, Planted, make_plant
from meterline.cli.detect import read_closed_days
from tests.cli.running import Result

Cli = Callable[..., Result]
NAMES = {"p": "p_kw", "q": "q_kvar", "e_imp": "e_imp_kwh", "e_exp": "e_exp_kwh"}
FAULT = Planted("p-s1", "stuck", 32 * PER_DAY, 32 * PER_DAY + 20, 1.0)


def write_folder(folder: Path, records: list[MeterRecord]) -> None:
    (folder / "readings").mkdir()
    with (folder / "meters.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["meter", "plant", "role", "parent", "nominal_v", "interval_s", "register_modulus_kwh"])
        for record in records:
            facts = record.facts
            writer.writerow([facts.meter, facts.plant, "sub", facts.parent or "", 230, 900, facts.wraps_at_kwh])
    for record in records:
        assert record.ts_ns is not None
        times = [np.datetime_as_string(ns.astype("datetime64[ns]"), "s") for ns in (record.rx_ns, record.ts_ns)]
        with gzip.open(folder / "readings" / f"{record.facts.meter}.csv.gz", "wt", newline="") as packed:
            rows = csv.writer(packed)
            rows.writerow(["rx", "ts", *(NAMES.get(name, name) for name in record.columns)])
            rows.writerows(zip(*times, *record.columns.values(), strict=True))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_folder(folder, make_plant("p", 4, 35, [FAULT], subs=1)[1:])
    return folder


def test_findings_and_scores_in_the_promised_columns(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    out, points = tmp_path / "f.csv", tmp_path / "p.csv"
    result = cli("detect", str(dataset), "--out", str(out), "--points", str(points), "--json")
    assert result.code == 0, result.err
    assert result.json["kinds"] == {"stuck": 1}
    with out.open() as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["meter", "start", "end", "kind", "score", "detected_at"]
    assert (row["meter"], row["kind"]) == ("p-s1", "stuck")
    assert row["start"].startswith("2024-02-02T00:00")  # day 32 after the first of January
    assert row["end"].startswith("2024-02-02T05:00")
    with points.open() as file:
        scores = list(csv.DictReader(file))
    assert len(scores) == 35 * PER_DAY
    assert sum(float(score["score"]) > 0.5 for score in scores) == 21


def test_labels_beside_the_readings_are_not_read(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    (dataset / "labels.csv").mkdir()  # whoever opens it fails
    (dataset / "truth_daily.csv.gz").mkdir()
    assert cli("detect", str(dataset), "--out", str(tmp_path / "f.csv")).code == 0


def test_a_folder_without_meters_is_refused_before_anything_is_written(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "f.csv"
    result = cli("detect", str(tmp_path), "--out", str(out))
    assert result.code == 2
    assert "meters.csv" in result.err
    assert not out.exists()


def test_closed_days_are_dates_and_every_wrong_line_is_named(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    closed, out = tmp_path / "closed.txt", str(tmp_path / "f.csv")
    closed.write_text("# works holiday\n2024-02-09  # eve\n\n", encoding="utf-8")
    assert cli("detect", str(dataset), "--out", out, "--closed", str(closed)).code == 0
    closed.write_text("2024-13-01\n2024-02-09\nyesterday\n", encoding="utf-8")
    result = cli("detect", str(dataset), "--out", out, "--closed", str(closed))
    assert result.code == 2
    assert "line 1" in result.err
    assert "line 3" in result.err


def test_where_the_result_cannot_go_is_said_first(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    result = cli("detect", str(dataset), "--out", str(tmp_path / "nowhere" / "f.csv"))
    assert result.code == 2
    assert "nowhere" in result.err


def test_shipped_calendars_have_holidays_and_make_up_days() -> None:
    """Days counted in the notices of the State Council: 28 holidays in 2025, 33 in 2026."""
    folder = Path(__file__).parents[2] / "config" / "calendars"
    days_2025, days_2026 = (read_closed_days(folder / f"cn-{year}.txt") for year in (2025, 2026))
    assert (len(days_2025), len(days_2026)) == (28 + 5, 33 + 6)
    assert (date(2026, 2, 14) - date(1970, 1, 1)).days in days_2026
