"""``meterline energy --dataset``: the table that checks rely on (DESIGN §13)."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from meterline.cli.energy import COLUMNS, energy_of_dataset
from meterline.cli.screen import Screen
from meterline.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two days of a meter that counts 1 kWh a quarter; three readings around midnight are lost."""
    (tmp_path / "readings").mkdir()
    (tmp_path / "meters.csv").write_text(
        "meter,interval_s,register_modulus_kwh,start,end\nm1,900,100,2024-04-01T00:00:00,2024-04-03T00:00:00\n",
        encoding="utf-8",
    )
    start = np.datetime64("2024-04-01T00:00:00")
    rows = [f"{start + np.timedelta64(900 * k, 's')},{(50 + k) % 100}.00" for k in range(193) if k not in (95, 96, 97)]
    text = "rx,e_imp_kwh\n" + "\n".join(rows) + "\n"
    (tmp_path / "readings" / "m1.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "labels.csv").write_text("not, to be\nread", encoding="utf-8")
    return tmp_path


def test_days(folder: Path) -> None:
    out = folder / "days.csv"
    out.write_text("old", encoding="utf-8")
    energy_of_dataset(Screen(), folder, "day", out)
    rows = list(csv.reader(out.open(encoding="utf-8")))
    assert tuple(rows[0]) == COLUMNS
    assert [row[:3] for row in rows[1:]] == [["m1", "2024-04-01", "96.000000"], ["m1", "2024-04-02", "96.000000"]]
    assert [row[5] for row in rows[1:]] == ["flat|gap|rollover", "flat|gap|rollover"]
    assert [float(row[4]) for row in rows[1:]] == pytest.approx([2 / 96, 2 / 96], abs=1e-4)
    assert not (folder / "days.csv.part").exists()


def test_months_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    energy_of_dataset(Screen(as_json=True), folder, "month", None)
    said = json.loads(capsys.readouterr().out)
    assert said["u"] == {"k": 2, "class_of_instruments": False}
    assert [(row["date"], row["kwh"]) for row in said["rows"]] == [("2024-04-01", "192.000000")]


def test_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(ConfigError):
        energy_of_dataset(Screen(), folder / "nowhere", "day", folder / "x.csv")
    with pytest.raises(ConfigError):
        energy_of_dataset(Screen(), folder, "day", folder / "nowhere" / "x.csv")
    (folder / "readings" / "m1.csv.gz").write_bytes(gzip.compress(b"rx,e_imp_kwh\n"))
    with pytest.raises(ConfigError):
        energy_of_dataset(Screen(), folder, "day", folder / "x.csv")
    assert not (folder / "x.csv").exists()
