"""Dataset folders: what is read exactly, and what is refused with its place."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from headend.dataset_folders import read_meters, read_rows
from meterline.errors import ConfigError
from meterline.readings import Quality

METERS = "meter,plant,interval_s,register_modulus_kwh,start\nm1,p,900,1000000.0,2024-04-01T00:00:00\n"
ROWS = (
    "rx,ts,p_kw,e_imp_kwh\n"
    "2024-04-01T00:15:02,2024-04-01T00:15:00,4.5,12.34\n"
    "2024-04-01T00:30:01,2024-04-01T00:30:00,,1e30\n"
)


def folder(path: Path, meters: str = METERS, rows: str = ROWS) -> Path:
    (path / "readings").mkdir()
    (path / "meters.csv").write_text(meters, encoding="utf-8")
    (path / "readings" / "m1.csv.gz").write_bytes(gzip.compress(rows.encode()))
    return path


def problem_of(error: ConfigError) -> str:
    return "; ".join(str(problem) for problem in error.problems)


def test_a_folder_is_read_exactly(tmp_path: Path) -> None:
    where = folder(tmp_path)
    (meter,) = read_meters(where)
    assert (meter.meter, meter.plant, meter.interval_ns, meter.modulus) == ("m1", "p", 900 * 10**9, 1e6)
    assert meter.start_ns == 1_711_929_600 * 10**9
    rows = read_rows(where, meter)
    assert (rows.rx_ns // 10**9 - 1_711_929_600).tolist() == [902, 1801]
    assert rows.values["p_kw"][0] == 4.5
    assert np.isnan(rows.values["p_kw"][1])
    counter = rows.counter("e_imp_kwh")
    assert counter.micro.tolist() == [12_340_000, 0]
    assert counter.quality.tolist() == [0, int(Quality.INVALID)]
    assert len(rows.counter("e_exp_kwh")) == 0


@pytest.mark.parametrize(
    ("meters", "said"),
    [
        ("", "names no meter"),
        ("meter\nm1\n", "no column interval_s"),
        ("meter,interval_s\nm1,7\n", "row 2: interval_s '7' does not divide a day"),
        ("meter,interval_s\nm1,x\n", "row 2: interval_s 'x' is no number"),
        ("meter,interval_s\n../m1,900\n", "row 2: '../m1' is no name"),
        ("meter,interval_s\nm1,900\nm1,900\n", "row 3: meter 'm1' twice"),
        ("meter,interval_s\nm2,900\n", "no readings/m2.csv.gz"),
        ("meter,interval_s,start\nm1,900,spring\n", "row 2: start 'spring' is no time"),
    ],
)
def test_a_wrong_list_of_meters_is_refused(tmp_path: Path, meters: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_meters(folder(tmp_path, meters))
    assert said in problem_of(caught.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("ts,e_imp_kwh\n", "no column rx"),
        ("rx,e_imp_kwh\nyesterday,1\n", "row 2: rx 'yesterday' is no time"),
        ("rx,e_imp_kwh\n2024-04-01T00:00:00,1\n2024-04-01T00:15:00\n", "row 3: has not 2 cells"),
        ("", "cannot be read"),
    ],
)
def test_wrong_readings_are_refused_with_their_row(tmp_path: Path, rows: str, said: str) -> None:
    where = folder(tmp_path, rows=rows)
    with pytest.raises(ConfigError) as caught:
        read_rows(where, read_meters(where)[0])
    assert said in problem_of(caught.value)


def test_no_folder_no_gzip(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_meters(tmp_path / "nowhere")
    where = folder(tmp_path)
    (where / "readings" / "m1.csv.gz").write_text("plain", encoding="utf-8")
    with pytest.raises(ConfigError):
        read_rows(where, read_meters(where)[0])
