"""``meterline bench analytics --json``: the object that checks rely on (DESIGN §13), and days judged by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from meterline.cli.bench_analytics import bench_analytics
from meterline.cli.screen import Screen
from meterline.errors import ConfigError


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three days at 4 kWh an hour; the truth says 96, 100 and (with a fault that loses energy) 960 kWh."""
    (tmp_path / "readings").mkdir()
    (tmp_path / "meters.csv").write_text(
        "meter,interval_s,start,end\nm1,900,2024-04-01T00:00:00,2024-04-04T00:00:00\n", encoding="utf-8"
    )
    start = np.datetime64("2024-04-01T00:00:00")
    rows = "".join(f"{start + np.timedelta64(900 * k, 's')},{k}.00\n" for k in range(289))
    (tmp_path / "readings" / "m1.csv.gz").write_bytes(gzip.compress(("rx,e_imp_kwh\n" + rows).encode()))
    (tmp_path / "labels.csv").write_text(
        "meter,start,end,kind,ignore\nm1,2024-04-03T01:00:00,2024-04-03T02:00:00,theft,\n", encoding="utf-8"
    )
    truth = "meter,date,kwh_true\nm1,2024-04-01,96\nm1,2024-04-02,100\nm1,2024-04-03,960\n"
    (tmp_path / "truth_daily.csv.gz").write_bytes(gzip.compress(truth.encode()))
    return tmp_path


def test_the_contract(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_analytics(Screen(as_json=True), labelled, 1, 1)
    said = json.loads(capsys.readouterr().out)
    assert said["bench"] == "analytics"
    assert set(said) == {"bench", "machine", "parameters", "figures"}
    value = {figure["name"]: figure["value"] for figure in said["figures"]}
    assert value["counter engine, VEE and days, one core"] > 0
    assert value["meter-days judged"] == 2
    assert value["weighted absolute error of daily energy"] == pytest.approx(100 * 4 / 196)
    assert value["meter-days off by more than 2 %"] == 50
    assert value["clean days within U"] == 50


def test_a_folder_without_truth_is_refused(labelled: Path) -> None:
    (labelled / "truth_daily.csv.gz").unlink()
    with pytest.raises(ConfigError):
        bench_analytics(Screen(as_json=True), labelled, 1, 1)
