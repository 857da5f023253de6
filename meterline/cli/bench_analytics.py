"""``meterline bench analytics``: how fast a fleet's accounts are made, and how true the days of a labelled folder."""

from __future__ import annotations

import csv
import gzip
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.counter_model import CounterRules, rate_of_power
from analytics.energy_account import energy_account, periods
from analytics.series import CounterSeries
from headend.dataset_energy import dataset_account, dataset_periods, date_of
from headend.dataset_folders import read_meters
from meterline.cli.bench import Figure, report
from meterline.cli.screen import Screen
from meterline.errors import ConfigError, Problem

NS = 1_000_000_000
YEAR = 35_040
LOSES = frozenset({"ratio_change", "theft", "phase_voltage_loss", "phase_current_loss", "phase_reversal"})
"""Labelled faults during which the counter itself misses energy: the account books what it says."""


def bench_analytics(screen: Screen, labelled: Path | None, meters: int, scale: int) -> None:
    """Measure and print.

    Raises
    ------
    ConfigError
        The labelled folder cannot be used.
    """
    parameters: dict[str, Any] = {"meters": meters * scale, "values_per_meter": YEAR, "scale": scale}
    figures = _speed(meters * scale)
    if labelled is not None:
        parameters |= {"labelled": labelled.name, "u": "k = 2, without the instruments' class"}
        figures += _truth(labelled)
    report(screen, "analytics", parameters, figures)


def _speed(meters: int) -> list[Figure]:
    """Counter engine, validation, estimation and days of a year of quarter-hours, meter by meter, on one core."""
    np.empty(4_000_000)  # lets the allocator keep what it gets: without it each array is fetched and cleared anew
    draw = np.random.default_rng(1)
    grid = np.arange(YEAR + 1) * 900 * NS
    rules = CounterRules(1350 * NS, rate_of_power(200.0), 10**13, 10_000)
    clean = _rate([_readings(draw, grid, odd=False) for _ in range(8)], meters, rules, grid)
    odd = _rate([_readings(draw, grid, odd=True) for _ in range(8)], max(meters // 10, 8), rules, grid)
    figures = [
        Figure("counter engine, VEE and days, one core", clean, "M values/s", "higher"),
        Figure("the same for 10 000 meters and a year", 10_000 * YEAR / clean / 1e6, "s", "lower"),
        Figure("meters with 20 wrong readings, 10 gaps and a reset", odd, "M values/s", "higher"),
    ]
    if sys.platform == "linux":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        figures.append(Figure("largest memory of the process", peak, "MiB", "lower"))
    return figures


def _rate(pool: list[CounterSeries], meters: int, rules: CounterRules, grid: NDArray[np.int64]) -> float:
    """Million values a second of processor time; what is made is let go at once."""
    energy_account(pool[0], rules, grid)
    begun = time.process_time()
    for meter in range(meters):
        periods(energy_account(pool[meter % len(pool)], rules, grid), grid[::96])
    return meters * YEAR / (time.process_time() - begun) / 1e6


def _readings(draw: np.random.Generator, grid: NDArray[np.int64], odd: bool) -> CounterSeries:
    """A year of quarter-hours with reading delays; an odd one also with wrong readings, a reset and gaps."""
    t = grid + draw.integers(0, 3 * NS, grid.size)
    shown = 10**9 + np.cumsum(draw.integers(0, 2_000, grid.size)) * 10_000
    if odd:
        shown[draw.integers(100, YEAR, 20)] = 0
        shown[20_000:] -= shown[20_000]
        keep = np.ones(t.size, bool)
        for first in draw.integers(100, YEAR - 200, 10).tolist():
            keep[first : first + int(draw.integers(1, 100))] = False
        t, shown = t[keep], shown[keep]
    return CounterSeries.of(t, shown)


def _truth(folder: Path) -> list[Figure]:
    """Daily energies against the true ones; the method has not seen them."""
    true = {(row["meter"], row["date"]): float(row["kwh_true"]) for row in _table(folder / "truth_daily.csv.gz")}
    faults = _fault_days(folder / "labels.csv")
    rows = []
    for meter in read_meters(folder):
        days = dataset_periods(dataset_account(folder, meter), "day")
        for k, start in enumerate(days.boundaries_ns[:-1].tolist()):
            key = meter.meter, date_of(start).isoformat()
            kinds = faults.get(key, frozenset())
            if key in true and not kinds & LOSES:
                there = bool(days.known[k])
                rows.append((
                    true[key], days.micro[k] / 1e6 if there else 0.0, days.expanded_micro[k] / 1e6,
                    days.estimated_share[k], not kinds, there,
                ))  # fmt: skip
    if not rows:
        raise ConfigError([Problem(str(folder), "", "no day has a true energy", "give the folder with truth_daily")])
    kwh, found, u, share = (np.array([row[k] for row in rows], dtype=float) for k in range(4))
    clean, known = (np.array([row[k] for row in rows], dtype=bool) for k in (4, 5))
    wrong = np.abs(found - kwh)
    within, width = wrong <= u, u / np.maximum(kwh, 1e-9)
    split = share > 0

    def percent(name: str, values: NDArray[Any], better: str) -> Figure:
        value = 100.0 * float(values.mean()) if values.size else float("nan")
        return Figure(name, value, "%", "higher" if better == "higher" else "lower")

    return [
        Figure("meter-days judged", float(kwh.size), "days", "higher"),
        Figure("weighted absolute error of daily energy", 100.0 * float(wrong.sum() / kwh.sum()), "%", "lower"),
        percent("meter-days off by more than 2 %", wrong > 0.02 * kwh, "lower"),
        Figure("negative days", float((found < 0).sum()), "days", "lower"),
        Figure("days without a number", float((~known).sum()), "days", "lower"),
        percent("clean days within U", within[clean & known], "higher"),
        percent("mean U of clean days", width[clean & known], "lower"),
        Figure("days with an estimated share", float(split.sum()), "days", "lower"),
        percent("days with an estimated share within U", within[split], "higher"),
        percent("mean U of days with an estimated share", width[split], "lower"),
    ]


def _fault_days(path: Path) -> Mapping[tuple[str, str], frozenset[str]]:
    """Kinds of faults at each meter and day; what is only seen there because of another meter does not count."""
    days: dict[tuple[str, str], set[str]] = {}
    for row in _table(path):
        if row["ignore"] == "1":
            continue
        first, last = np.datetime64(row["start"][:10]), np.datetime64(row["end"][:10])
        for day in np.arange(first, last + 1):
            days.setdefault((row["meter"], str(day)), set()).add(row["kind"])
    return {key: frozenset(kinds) for key, kinds in days.items()}


def _table(path: Path) -> list[dict[str, str]]:
    try:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error}", "give a labelled folder")]) from error
    return list(csv.DictReader(text.splitlines()))
