"""Energies of a dataset folder: what is not declared there (rating, last digit) is taken from the readings."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analytics.counter_model import CounterRules
from analytics.counter_track import follow_track, greatest_usual_rate
from analytics.energy_account import EnergyAccount, PeriodEnergies, energy_account, periods
from analytics.series import SECOND_NS, CounterSeries
from headend.dataset_folders import DatasetMeter, DatasetRows, read_rows
from meterline.errors import ConfigError, Problem

Period = Literal["day", "month"]
COUNTER = "e_imp_kwh"
DAY_NS = 86_400 * SECOND_NS
HEADROOM = 1.5
"""How far above the fastest usual step a counter may run: what a declared rating would be multiplied by, too."""


def dataset_account(folder: Path, meter: DatasetMeter) -> EnergyAccount:
    """The account of one meter over the folder's whole period.

    Raises
    ------
    ConfigError
        Its readings cannot be read, or hold no counter.
    """
    rows = read_rows(folder, meter)
    counter = rows.counter(COUNTER)
    there = counter.quality == 0
    if int(there.sum()) < 2:
        path = folder / "readings" / f"{meter.meter}.csv.gz"
        raise ConfigError([Problem(str(path), COUNTER, "fewer than two readings", "leave the meter out of meters.csv")])
    start, end = period_of(meter, counter)
    boundaries = np.arange(start, end + 1, meter.interval_ns)
    return energy_account(counter, rules_of(counter, meter), boundaries, energised=_energised(rows, meter, boundaries))


def dataset_periods(account: EnergyAccount, period: Period) -> PeriodEnergies:
    """Days or months (UTC) of an account."""
    fine = account.measured.boundaries_ns
    days = np.arange(int(fine[0]), int(fine[-1]) + 1, DAY_NS)
    if period == "day":
        return periods(account, days)
    starts = days.view("datetime64[ns]").astype("datetime64[D]")
    first = starts == starts.astype("datetime64[M]").astype("datetime64[D]")
    first[0] = first[-1] = True  # a month that the folder cuts is summed as far as it goes
    return periods(account, days[first])


def period_of(meter: DatasetMeter, counter: CounterSeries) -> tuple[int, int]:
    """Whole days that hold the declared period, or else the readings. [ns]"""
    start = int(counter.t_ns.min()) if meter.start_ns is None else meter.start_ns
    end = int(counter.t_ns.max()) if meter.end_ns is None else meter.end_ns
    low = start // DAY_NS * DAY_NS
    return low, max(-(-(end - meter.interval_ns // 2) // DAY_NS) * DAY_NS, low + DAY_NS)


def rules_of(counter: CounterSeries, meter: DatasetMeter) -> CounterRules:
    """Rules for a counter of which only the readings and the modulus are known."""
    rate = greatest_usual_rate(counter)
    rules = CounterRules(
        max_gap_ns=meter.interval_ns * 3 // 2,
        max_rate=None if rate is None else HEADROOM * rate,
        wraps_at=None if meter.modulus is None else round(meter.modulus * 1e6),
    )
    digits = np.diff(follow_track(counter, rules).micro)
    last_digit = int(np.gcd.reduce(np.abs(digits))) if digits.size else 0
    return CounterRules(rules.max_gap_ns, rules.max_rate, rules.wraps_at, max(last_digit, 1))


def date_of(start_ns: int) -> dt.date:
    """The date on which a period begins."""
    return dt.datetime.fromtimestamp(start_ns // SECOND_NS, dt.UTC).date()


def _energised(rows: DatasetRows, meter: DatasetMeter, boundaries: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Whether any phase had half its voltage in each interval; true where nobody says."""
    volts = [rows.values[name] for name in ("v1", "v2", "v3") if name in rows.values]
    if not volts or meter.nominal_v is None:
        return None
    highest = np.fmax.reduce(volts)
    said = np.isfinite(highest)
    live = np.ones(boundaries.size - 1, bool)
    slot = np.rint((rows.rx_ns - boundaries[0]) / meter.interval_ns).astype(np.int64) - 1  # a reading ends its interval
    inside = said & (slot >= 0) & (slot < live.size)
    live[slot[inside]] = highest[inside] > 0.5 * meter.nominal_v
    return live
