"""Folders of recorded readings without a site: ``meters.csv`` and ``readings/METER.csv.gz`` (DESIGN §13).

Only these two are ever opened: labels and true energies may lie beside them, and a command that judges readings must
not see them.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analytics.series import SECOND_NS, CounterSeries
from meterline.errors import ConfigError, Problem
from meterline.readings import Quality

NEEDED = ("meter", "interval_s")
TIMES = ("rx", "ts")
LARGEST = 9e9
"""A counter beyond this is no counter: its micro-units would not be exact in a float. [canonical unit]"""


@dataclass(frozen=True, slots=True)
class DatasetMeter:
    """One row of ``meters.csv``; what the file does not say is None or empty.

    Attributes
    ----------
    modulus : float or None
        The counter's modulus. [kWh]
    start_ns, end_ns : int or None
        The period the folder covers for this meter. [ns]
    """

    meter: str
    interval_ns: int
    plant: str = ""
    role: str = ""
    parent: str = ""
    nominal_v: float | None = None
    ct_ratio: float | None = None
    view: str = ""
    modulus: float | None = None
    start_ns: int | None = None
    end_ns: int | None = None


@dataclass(frozen=True)
class DatasetRows:
    """The rows of one ``readings/METER.csv.gz``, in order of arrival.

    Attributes
    ----------
    rx_ns, ts_ns : (n,) int64
        The gateway's (trusted) and the meter's clock. [ns]
    values : dict of str to (n,) float64
        The other columns by name; NaN where a cell is empty or no number.
    """

    rx_ns: NDArray[np.int64]
    ts_ns: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return int(self.rx_ns.size)

    def counter(self, column: str) -> CounterSeries:
        """A counter column as readings of the account, by the gateway's clock; absurd values are INVALID."""
        value = self.values.get(column)
        if value is None:
            return CounterSeries.empty()
        there = np.isfinite(value)
        sane = there & (value >= 0) & (value <= LARGEST)
        micro = np.rint(np.where(sane, value, 0.0) * 1e6).astype(np.int64)
        quality = np.where(sane, 0, int(Quality.INVALID)).astype(np.int32)
        return CounterSeries(self.rx_ns[there], micro[there], quality[there])


def read_meters(folder: Path) -> list[DatasetMeter]:
    """The meters of a dataset folder, in the file's order.

    Raises
    ------
    ConfigError
        No ``meters.csv``, a column missing, a cell that cannot be read, a meter twice or without a readings file.
    """
    path = folder / "meters.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse(path, "", f"cannot be read: {error}", "give a folder with meters.csv and readings/") from error
    columns = set(rows[0]) if rows else set()
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise _refuse(path, "", f"has no column {', '.join(missing)}" if rows else "names no meter", "see DESIGN §13")
    meters: list[DatasetMeter] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows, 2):
        try:
            meter = _meter(row)
        except ValueError as error:
            problems.append(Problem(str(path), f"row {number}", str(error), "correct the cell"))
            continue
        if any(meter.meter == other.meter for other in meters):
            problems.append(Problem(str(path), f"row {number}", f"meter {meter.meter!r} twice", "remove one"))
        elif not readings_path(folder, meter).is_file():
            name = readings_path(folder, meter).name
            problems.append(Problem(str(path), f"row {number}", f"there is no readings/{name}", "add it"))
        meters.append(meter)
    if problems:
        raise ConfigError(problems)
    return meters


def readings_path(folder: Path, meter: DatasetMeter) -> Path:
    """Where the readings of a meter lie."""
    return folder / "readings" / f"{meter.meter}.csv.gz"


def read_rows(folder: Path, meter: DatasetMeter) -> DatasetRows:
    """The readings of one meter.

    Raises
    ------
    ConfigError
        No such file, no gzip, no ``rx`` column, or a time that cannot be read (its row is named).
    """
    path = readings_path(folder, meter)
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
    except (OSError, EOFError, UnicodeDecodeError, ValueError, csv.Error, zlib.error) as error:
        raise _refuse(path, "", f"cannot be read: {error or 'empty'}", "give a gzipped CSV file") from error
    if "rx" not in head:
        raise _refuse(path, "row 1", "has no column rx", "rx is the gateway's clock, ISO 8601, UTC")
    uneven = [number for number, row in enumerate(rows, 2) if len(row) != len(head)]
    if uneven:
        raise _refuse(path, f"row {uneven[0]}", f"has not {len(head)} cells as the head line", "correct the row")
    columns = dict(zip(head, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(head, ())
    rx = _times(path, "rx", columns["rx"])
    ts = _times(path, "ts", columns["ts"]) if "ts" in columns else rx
    return DatasetRows(rx, ts, {name: _numbers(cells) for name, cells in columns.items() if name not in TIMES})


def _meter(row: dict[str, str]) -> DatasetMeter:
    name = row["meter"]
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"{name!r} is no name of a meter")
    interval = _optional(row, "interval_s")
    if interval is None or interval <= 0 or interval > 86_400 or 86_400 % interval:
        raise ValueError(f"interval_s {row['interval_s']!r} does not divide a day")
    return DatasetMeter(
        name,
        int(interval * SECOND_NS),
        row.get("plant") or "",
        row.get("role") or "",
        row.get("parent") or "",
        _optional(row, "nominal_v"),
        _optional(row, "ct_ratio"),
        row.get("view") or "",
        _optional(row, "register_modulus_kwh"),
        _instant(row, "start"),
        _instant(row, "end"),
    )


def _optional(row: dict[str, str], column: str) -> float | None:
    text = row.get(column) or ""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is no number") from None
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"{column} {text!r} is not above zero")
    return number


def _instant(row: dict[str, str], column: str) -> int | None:
    text = row.get(column) or ""
    if not text:
        return None
    try:
        return int(np.datetime64(text, "ns").astype(np.int64))
    except ValueError:
        raise ValueError(f"{column} {text!r} is no time such as 2024-04-01T00:00:00") from None


def _times(path: Path, column: str, cells: Sequence[str]) -> NDArray[np.int64]:
    try:
        times = np.array(cells, dtype="datetime64[ns]")
    except ValueError:
        times = None
    if times is not None and not bool(np.isnat(times).any()):
        return times.astype(np.int64)
    for number, text in enumerate(cells, 2):
        try:
            fine = not np.isnat(np.datetime64(text, "ns"))
        except ValueError:
            fine = False
        if not fine:
            raise _refuse(path, f"row {number}", f"{column} {text!r} is no time", "ISO 8601, UTC, without a zone")
    return np.zeros(0, np.int64)


def _numbers(cells: Sequence[str]) -> NDArray[np.float64]:
    try:
        return np.array([float(text) if text else math.nan for text in cells])
    except ValueError:
        return np.array([_number(text) for text in cells])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _refuse(path: Path, place: str, problem: str, hint: str) -> ConfigError:
    return ConfigError([Problem(str(path), place, problem, hint)])
