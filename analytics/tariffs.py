"""Energy by price band, and what it costs: interval by interval, with the edition that says so."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np

from analytics.fitness import NotFit
from analytics.series import HOUR_NS, SECOND_NS, BoolArray, IntArray
from meterline.tariffs import PowerFactorTable, Price, Tariff

MINUTE_NS = 60 * SECOND_NS


@dataclass(frozen=True, slots=True)
class BandUse:
    """The use of one band.

    Attributes
    ----------
    micro : int
        [1e-6 kWh]
    yuan : float or None
        Energy charge; None where a price is missing for part of it.
    """

    band: str
    micro: int
    yuan: float | None


@dataclass(frozen=True, slots=True)
class TariffBill:
    """The energy charge of a period.

    Attributes
    ----------
    bands : tuple of BandUse
        In the tariff's order, unused ones included.
    micro : int
        All of the period that is known. [1e-6 kWh]
    yuan : float or None
        None where a price is missing.
    unpriced_micro : int
        Energy of days without a price. [1e-6 kWh]
    missing : int
        Intervals without energy: they are in no band and cost nothing here, which is not the same as free.
    """

    bands: tuple[BandUse, ...]
    micro: int
    yuan: float | None
    unpriced_micro: int
    missing: int
    edition: str


def bands_of(tariff: Tariff, start_ns: IntArray) -> IntArray:
    """Which band each instant is in.

    Parameters
    ----------
    start_ns : (m,) int64
        UTC. [ns]

    Returns
    -------
    (m,) int64
        Index into ``tariff.bands``.
    """
    month, minute, _ = _local(tariff, start_ns)
    number = {band.id: k for k, band in enumerate(tariff.bands)}
    table = np.zeros((13, 24 * 60), np.int64)
    for season in tariff.seasons:
        for start, end, band in season.minutes():
            for m in season.months:
                table[m, start:end] = number[band]
    return table[month, minute]


def _local(tariff: Tariff, t_ns: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Month, minute of the day and ordinal date of instants on the tariff's clock (hours share an offset)."""
    hours, back = np.unique(t_ns // HOUR_NS, return_inverse=True)
    zone = tariff.zone
    local = [dt.datetime.fromtimestamp(int(h) * 3600, tz=zone) for h in hours.tolist()]
    month = np.array([x.month for x in local], np.int64)[back]
    ordinal = np.array([x.toordinal() for x in local], np.int64)[back]
    first = np.array([x.hour * 60 + x.minute for x in local], np.int64)[back]
    minute = first + (t_ns % HOUR_NS) // MINUTE_NS
    return month, np.minimum(minute, 24 * 60 - 1), ordinal


def bill(tariff: Tariff, start_ns: IntArray, micro: IntArray, known: BoolArray) -> TariffBill | NotFit:
    """Split interval energies by band and price them.

    Parameters
    ----------
    start_ns : (m,) int64
        Start of each interval; none crosses a window's edge (windows lie on quarters). [ns]
    micro : (m,) int64
        [1e-6 kWh]
    known : (m,) bool
        Whether there is an energy at all.

    Returns
    -------
    TariffBill or NotFit
        ``edition``: a day lies outside the tariff's validity.
    """
    start = np.asarray(start_ns, np.int64)
    _, _, ordinal = _local(tariff, start)
    for edge in (int(ordinal.min(initial=10**6)), int(ordinal.max(initial=1))):
        if start.size and not tariff.holds_on(dt.date.fromordinal(edge)):
            have = f"{dt.date.fromordinal(edge)}; {tariff.tariff} holds from {tariff.valid_from} to {tariff.valid_to}"
            return NotFit.because("edition", "a tariff in force on every day", have)
    band = bands_of(tariff, start)
    amount = np.where(known, micro, 0)
    days, back = np.unique(ordinal, return_inverse=True)
    prices = [tariff.price_on(dt.date.fromordinal(int(day))) for day in days.tolist()]
    priced = np.array([price is not None for price in prices], bool)[back] if days.size else np.zeros(0, bool)
    rows = []
    for k, one in enumerate(tariff.bands):
        inside = band == k
        yuan: float | None = None
        if bool(priced[inside & (amount != 0)].all()):
            per_day = np.zeros(days.size, np.int64)
            np.add.at(per_day, back[inside], amount[inside])
            yuan = math.fsum(
                int(m) / 1e6 * yuan_per_kwh(price, one.float_pct)
                for m, price in zip(per_day.tolist(), prices, strict=True)
                if price is not None
            )
        rows.append(BandUse(one.id, int(amount[inside].sum()), yuan))
    costs = [row.yuan for row in rows]
    return TariffBill(
        tuple(rows),
        int(amount.sum()),
        None if None in costs else math.fsum(cost for cost in costs if cost is not None),
        int(amount[~priced].sum()),
        int((~np.asarray(known, bool)).sum()),
        tariff.edition,
    )


def yuan_per_kwh(price: Price, float_pct: float) -> float:
    """Floating part raised or lowered by the band, and the fixed part. [yuan/kWh]"""
    return price.floating * (1.0 + float_pct / 100.0) + price.fixed


def power_factor(active: float, reactive: float) -> float | None:
    """Power factor of a period from its energies; None for no energy at all.

    Parameters
    ----------
    active
        [kWh]
    reactive
        Import and export added without sign, as the bill counts them. [kvarh]
    """
    apparent = math.hypot(active, reactive)
    return active / apparent if apparent else None


def adjustment(table: PowerFactorTable, active: float, reactive: float, charge: float) -> tuple[float, float] | None:
    """Power-factor adjustment of a month's bill: percent and yuan; None for a month without energy.

    Parameters
    ----------
    charge
        Basic and energy charge that it applies to, funds and surcharges left out. [yuan]
    """
    pf = power_factor(active, reactive)
    if pf is None:
        return None
    percent = table.adjustment(pf)
    return percent, charge * percent / 100.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Largest mean power over a sliding window.

    Attributes
    ----------
    kw : float
        [kW]
    start_ns : int
        When the window began. [ns]
    indicative : bool
        Ours from polls, not the meter's own maximum-demand register, which is what a bill goes by.
    """

    kw: float
    start_ns: int
    indicative: bool = True


def sliding_demand(
    t_ns: IntArray, micro: IntArray, *, window_ns: int = 900 * SECOND_NS, step_ns: int = MINUTE_NS
) -> Demand | NotFit:
    """Maximum demand from a counter's readings: mean over 15 minutes, moved by a minute.

    Parameters
    ----------
    t_ns : (n,) int64
        Times of believed readings, rising. [ns]
    micro : (n,) int64
        The account at them. [1e-6 kWh]

    Returns
    -------
    Demand or NotFit
        ``no-data``: no window is covered by readings at most half a window apart.
    """
    t, account = np.asarray(t_ns, np.int64), np.asarray(micro, np.int64)
    if t.size < 2 or t[-1] - t[0] < window_ns:
        return NotFit.because("no-data", f"readings over {window_ns / 60 / SECOND_NS:g} minutes", f"{t.size} readings")
    first = -(-int(t[0]) // step_ns) * step_ns
    starts = np.arange(first, int(t[-1]) - window_ns + 1, step_ns)
    if not starts.size:
        return NotFit.because("no-data", "a whole window between readings", "none")
    # Times relative to the first, so that double precision keeps them to well below a microsecond.
    x = (t - t[0]).astype(np.float64)
    y = (account - account[0]).astype(np.float64)
    energy = np.interp(starts + window_ns - t[0], x, y) - np.interp(starts - t[0], x, y)
    wide = np.diff(t) > window_ns // 2
    holes = np.concatenate(([0], np.cumsum(wide)))
    low = np.searchsorted(t, starts, side="right") - 1
    high = np.searchsorted(t, starts + window_ns, side="left")
    energy[holes[high] - holes[low] > 0] = -1.0
    best = int(np.argmax(energy))
    if energy[best] < 0:
        return NotFit.because("no-data", "readings at most half a window apart", "wider everywhere")
    return Demand(float(energy[best]) / 1e6 / (window_ns / HOUR_NS), int(starts[best]))
