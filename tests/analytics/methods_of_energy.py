"""Worked examples of the pages about energy accounts, recomputed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from analytics.counter_model import CounterRules
from analytics.energy_account import energy_account, periods
from analytics.series import CounterSeries
from analytics.validation import Reason, completeness, days_against_month

Given = dict[str, Any]
HOUR = 3600 * 10**9
DAY = 24 * HOUR
MONDAY = 4 * DAY
KWH = 10**6


def validation(given: Given) -> Given:
    t = np.arange(given["hours"] + 1) * HOUR
    rise = np.full(given["hours"], given["hourly_kwh"] * KWH)
    rise[slice(*given["stands_still"])] = 0
    counter = CounterSeries.of(t, np.concatenate(([0], np.cumsum(rise))))
    account = energy_account(counter, CounterRules(max_gap_ns=HOUR), t)
    first, last = given["lost_readings"]
    found = completeness(np.delete(t, np.arange(first, last + 1)), np.arange(0, t[-1] + 1, DAY), HOUR)
    return {
        "standstill": np.flatnonzero(account.reasons & int(Reason.STANDSTILL)).tolist(),
        "share": found.share.tolist(),
        "meets": found.meets().tolist(),
        "days_against_month": days_against_month(np.array(given["days_kwh"]), given["month_kwh"]),
    }


def estimation(given: Given) -> Given:
    kwh = np.ones((35, 6))
    for week, monday in enumerate(given["mondays_kwh"]):
        kwh[week * 7, 1:] = np.full(5, given["total_kwh"] / 5) if monday is None else monday
    t = MONDAY + np.arange(35 * 6 + 1) * 4 * HOUR
    shown = np.concatenate(([0], np.cumsum(np.rint(kwh.ravel() * KWH)))).astype(np.int64)
    gone = given["mondays_kwh"].index(None) * 42 + np.arange(2, 6)
    counter = CounterSeries.of(np.delete(t, gone), np.delete(shown, gone))
    (one,) = energy_account(counter, CounterRules(max_gap_ns=4 * HOUR), t).filled.fills
    return {
        "method": str(one.method),
        "energy_kwh": (one.micro / KWH).tolist(),
        "u_first_kwh": one.within(one.first, one.first + 1)[1] / KWH,
        "u_whole_kwh": one.within(one.first, one.last)[1],
    }


def daily_energy(given: Given) -> Given:
    def u(offset_ns: int) -> tuple[float, float]:
        t = np.arange(-1, 75) * HOUR + offset_ns
        counter = CounterSeries.of(t, np.arange(t.size) * given["power_kw"] * KWH)
        rules = CounterRules(max_gap_ns=HOUR, resolution=round(given["digit_kwh"] * KWH))
        day = periods(energy_account(counter, rules, np.arange(73) * HOUR), np.array([DAY, 2 * DAY]))
        return float(day.micro[0] / KWH), float(day.expanded_micro[0] / KWH)

    return {"kwh": u(0)[0], "u_half_hour_kwh": u(HOUR // 2)[1], "u_on_the_hour_kwh": u(0)[1]}


ENERGY: dict[str, Callable[[Given], Given]] = {
    "validation": validation,
    "estimation": estimation,
    "daily-energy": daily_energy,
}
