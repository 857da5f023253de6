"""Worked examples of the pages about instruments, money and balances, recomputed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from analytics.energy_balance import Balance, Term, balance
from analytics.losses import Transformer
from analytics.meter_errors import MeterErrors, meter_errors
from analytics.tariffs import TariffBill, adjustment, bill
from analytics.uncertainty import Amount, MeteringPoint, energy_amount, metering_point
from meterline.accuracy import load_accuracy
from meterline.paths import accuracy_dir, tariffs_dir
from meterline.tariffs import Price, load_power_factor, load_tariff

Given = dict[str, Any]
CLASSES = load_accuracy(accuracy_dir() / "electricity.yaml")


def amount(name: str, accuracy_class: str, kwh: float, pf: float = 0.9, **more: Any) -> Amount:
    point = metering_point(name, accuracy_class, CLASSES, **more)
    assert isinstance(point, MeteringPoint)
    return energy_amount(point, [kwh], power_factor=pf)


def uncertainty(given: Given) -> Given:
    def one(name: str, ct_key: str = "") -> Amount:
        kwh, pf = float(given["kwh"]), given["power_factor"]
        return amount(name, given["meter_class"], kwh, pf, ct_class=given["ct_class"], ct_key=ct_key)

    return {
        "one_pct": 100 * one("a").relative,
        "sum_own_ct_kwh": (one("a") + one("b")).expanded,
        "sum_shared_ct_kwh": (one("a", "t") + one("b", "t")).expanded,
        "difference_shared_ct_kwh": (one("a", "t") - one("b", "t")).expanded,
    }


def tariffs(given: Given) -> Given:
    price = Price(valid_from=dt.date(2025, 1, 1), floating=given["floating"], fixed=given["fixed"], source="page")
    tariff = load_tariff(tariffs_dir() / "shandong-agency.yaml").model_copy(update={"prices": (price,)})
    midnight = dt.datetime(2026, 1, 15, tzinfo=ZoneInfo("Asia/Shanghai"))
    start = int(midnight.timestamp()) * 10**9 + np.arange(96) * 900 * 10**9
    found = bill(tariff, start, np.full(96, given["kw"] * 250_000), np.ones(96, bool))
    assert isinstance(found, TariffBill)
    table = load_power_factor(tariffs_dir() / "power-factor-215.yaml").table(given["standard"])
    assert table is not None
    percent, yuan = adjustment(table, found.micro / 1e6, given["kvarh"], found.yuan or 0.0) or (0.0, 0.0)
    hours = {use.band: use.micro / 1e6 / given["kw"] for use in found.bands}
    return {"hours": hours, "yuan": found.yuan, "adjustment_pct": percent, "adjustment_yuan": yuan}


def energy_balance(given: Given) -> Given:
    transformer = Transformer("t", given["p0_kw"], given["pk_kw"], given["rated_kva"])
    loss = transformer.loss(np.full(96, given["kw"] / 4), 0.25, 0.9)
    main = Term("main", 1, amount("main", "0.5S", given["in_kwh"]))
    one, two = (Term(f"m{n}", -1, amount(f"m{n}", "1", kwh)) for n, kwh in enumerate(given["below_kwh"]))
    wrong = Term("m1", -1, amount("m1", "1", given["below_kwh"][1] * 150 / 200))
    right, other = balance("t", [main, one, two], [loss]), balance("t", [main, one, wrong], [loss])
    assert isinstance(right, Balance)
    assert isinstance(other, Balance)
    return {
        "loss_kwh": loss.value,
        "U_kwh": right.residual.expanded,
        "wrong_shows_kwh": wrong.amount.value,
        "residual_kwh": other.residual.value,
    }


def errors_of_meters(given: Given) -> Given:
    slots = np.arange(given["days"] * 96)
    loads = np.array([np.where(slots // period % 2 == 0, 10.0, 4.0) for period in given["periods_in_quarters"]])
    shown = loads * (1 + np.array(given["errors"]))[:, None]
    found = meter_errors(loads.sum(axis=0), shown, np.full(len(loads), given["permitted"]))
    assert isinstance(found, MeterErrors)
    return {"relative": np.round(found.relative, 4).tolist(), "verdicts": [str(v) for v in found.verdicts]}


ACCOUNTS: dict[str, Callable[[Given], Given]] = {
    "uncertainty": uncertainty,
    "tariffs": tariffs,
    "energy-balance": energy_balance,
    "meter-errors": errors_of_meters,
}
