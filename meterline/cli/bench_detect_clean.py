"""Clean series for ``meterline bench detect --clean``: real meters in which nobody planted anything.

What is found there is false, or it really happened: docs/methods/README.md lists each finding with a person's verdict.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from analytics.findings import Finding
from analytics.history import MeterFacts, MeterRecord, examine_plant
from analytics.series import FloatArray, IntArray
from meterline.cli.bench import Figure
from meterline.errors import ConfigError, Problem

S = 10**9
QUARTER, HOUR = 900 * S, 3600 * S
MONTH_NS = 30.4375 * 86_400 * S
RATED_KW = 100.0
"""SimBench gives each load relative to its own greatest."""
GERMANY_2016 = (
    "01-01", "03-25", "03-28", "05-01", "05-05", "05-16", "05-26", "10-03", "11-01", "12-24", "12-25", "12-26", "12-31",
)  # fmt: skip
"""Public holidays, those of the catholic states included, and the two half days; SimBench."""
KOREA_2018 = (
    "01-01", "02-15", "02-16", "02-17", "03-01", "05-01", "05-05", "05-07", "05-22", "06-06", "06-13", "08-15", "09-23",
    "09-24", "09-25", "09-26", "10-03", "10-09", "12-25",
)  # fmt: skip
"""Public holidays, the election day and Labour Day; steel."""
SHUT_2018 = ("06-02", "08-25", "11-24")
"""Saturdays on which the steel plant, which works on Saturdays, stood still all day."""
SHUT_2016 = ("10-31",)
"""The bridge day before All Saints."""
UNITED_STATES = ("01-01", "07-04", "11-11", "12-25")


def clean(folder: Path) -> list[Figure]:
    """False findings a meter-month on the sound series of a folder.

    Raises
    ------
    ConfigError
        The folder has none of the series.
    """
    figures: list[Figure] = []
    total, months = 0, 0.0
    found: list[Finding] = []
    for name, records, closed, weather in series(folder):
        said = examine_plant(records, closed, weather=weather)
        span = sum(float(record.rx_ns[-1] - record.rx_ns[0]) for record in records) / MONTH_NS
        figures.append(Figure(f"clean.{name}.findings_per_meter_month", len(said) / span, "1", "lower", 0.0))
        total, months = total + len(said), months + span
        found += said
    if not months:
        raise ConfigError(
            [Problem(str(folder), "", "has none of the clean series", "see meterline bench detect --help")]
        )
    figures.append(Figure("clean.meter_months", months, "1", "higher"))
    figures.append(Figure("clean.findings_per_meter_month", total / months, "1", "lower", 0.0))
    for kind in sorted({finding.kind for finding in found}):
        count = sum(finding.kind == kind for finding in found)
        figures.append(Figure(f"clean.kind.{kind}.findings", count, "1", "lower", 0.0))
    return figures


def series(folder: Path) -> Iterator[tuple[str, list[MeterRecord], frozenset[int], dict[int, float]]]:
    """(name, records, closed days, temperatures) of each set that lies in the folder, corrected as its README says."""
    if (folder / "steel_industry_15min.csv.gz").is_file():
        rows = _rows(folder / "steel_industry_15min.csv.gz")
        kwh = _column(rows, "Usage_kWh")
        # the last interval of a day is stamped 00:00 of the same day: the order of the rows is right
        start = _instant("2018-01-01T00:15:00")
        yield "steel", [_record("steel", start, kwh / 0.25, QUARTER)], _days(2018, KOREA_2018 + SHUT_2018), {}
    if (folder / "simbench_15min.csv.gz").is_file():
        rows = _rows(folder / "simbench_15min.csv.gz")
        names = [name[:-2] for name in rows[0] if name.endswith("_p")]
        start = _instant("2016-01-01T00:15:00")
        records = [_record(name, start, _column(rows, f"{name}_p") * RATED_KW, QUARTER) for name in names]
        yield "simbench", records, _days(2016, GERMANY_2016 + SHUT_2016), {}
    for path in sorted((folder / "eemeter").glob("*-hourly.csv.gz")):
        rows = _rows(path)
        kwh = _column(rows, "value")
        begin = next(iter(rows))["start"].replace(" ", "T")[:19]
        first = int(np.datetime64(begin, "Y").astype(int)) + 1970
        closed = frozenset().union(*(_days(year, UNITED_STATES) for year in range(first, first + 4)))
        # its hours are noise on purpose: what counts is the day
        days = kwh[: kwh.size // 24 * 24].reshape(-1, 24)
        mean = np.repeat(np.nanmean(days, axis=1), 24)
        name = path.name[: -len("-hourly.csv.gz")]
        yield f"eemeter-{name}", [_record(name, _instant(begin) + HOUR, mean, HOUR)], closed, _weather(folder, name)


def _weather(folder: Path, name: str) -> dict[int, float]:
    """Mean temperature of each day. [degC]"""
    own = folder / "eemeter" / f"{name}-tempF.csv.gz"
    rows = _rows(own if own.is_file() else folder / "eemeter" / "il-tempF.csv.gz")
    by_day: dict[int, list[float]] = {}
    for row in rows:
        if row["tempF"] not in ("", "nan"):
            by_day.setdefault(int(np.datetime64(row["dt"][:10]).astype(int)), []).append(float(row["tempF"]))
    return {day: (float(np.mean(temps)) - 32.0) / 1.8 for day, temps in by_day.items()}


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _column(rows: list[dict[str, str]], name: str) -> FloatArray:
    return np.array([float(row[name]) if row[name] not in ("", "nan") else np.nan for row in rows])


def _instant(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def _record(name: str, start_ns: int, mean_kw: FloatArray, interval_ns: int) -> MeterRecord:
    """A power channel and a counter of one hundredth of a kWh, as a meter would have shown them."""
    rx: IntArray = start_ns + np.arange(mean_kw.size, dtype=np.int64) * interval_ns
    there = np.isfinite(mean_kw)
    counter = 1000.0 + np.cumsum(np.nan_to_num(mean_kw)) * (interval_ns / HOUR)
    columns = {"p": mean_kw.round(2)[there], "e_imp": (np.floor(counter / 0.01) * 0.01).round(2)[there]}
    return MeterRecord(MeterFacts(name, interval_ns, None, 1e9, None, name), rx[there], rx[there], columns)


def _days(year: int, days: tuple[str, ...]) -> frozenset[int]:
    epoch = date(1970, 1, 1)
    return frozenset((date(year, int(day[:2]), int(day[3:])) - epoch) // timedelta(days=1) for day in days)
