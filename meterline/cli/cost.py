"""``meterline cost``: electricity by price band, its largest quarter-hour and its power factor."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterline.cli.plant_energy import accounted_span, open_catalogue, subjects_of, whole_days
from meterline.cli.screen import Screen
from meterline.cli.texts import text
from meterline.clock import NS
from meterline.errors import ConfigError, Problem
from meterline.measurands import Carrier
from meterline.paths import tariffs_dir
from meterline.plant import Meter
from meterline.settings import load_headend
from meterline.tariffs import Tariff, load_power_factor, load_tariff

if TYPE_CHECKING:
    from headend.plant_cost import Cost


def cost(
    screen: Screen,
    names: tuple[str, ...],
    tariff_name: str,
    standard: float | None,
    first: str | None,
    last: str | None,
    headend: Path,
) -> None:
    """Print the energy charge of a period.

    Raises
    ------
    ConfigError
        An unknown subject, day, tariff or power-factor standard.
    Unreachable
        The head-end has never run here.
    """
    from analytics.fitness import NotFit
    from headend.plant_cost import cost_of

    settings = load_headend(headend)
    plant, zone = settings.plant, settings.plant.site.site.zone
    tariff = _tariff(tariff_name)
    table = None
    if standard is not None:
        tables = load_power_factor(tariffs_dir() / "power-factor-215.yaml")
        table = tables.table(standard)
        if table is None:
            there = ", ".join(f"{t.standard:.2f} ({t.applies_to})" for t in tables.tables)
            raise ConfigError([Problem("--power-factor", "", f"no table for {standard}", f"there are: {there}")])
    meters, users = subjects_of(plant, names)
    asked: list[tuple[str, tuple[Meter, ...]]] = [(meter.id, (meter,)) for meter in meters]
    asked += [(user.id, plant.top_meters(user.id, Carrier.ELECTRICITY)) for user in users]
    with open_catalogue(settings, headend) as catalogue:
        accounted = accounted_span(catalogue, settings)
        span = whole_days(zone, first, last, accounted, "day")
        span = type(span)(max(span.start_ns, accounted.start_ns), min(span.end_ns, accounted.end_ns))
        found = [(subject, cost_of(plant, catalogue, subject, of, span, tariff, table)) for subject, of in asked]
    screen.json(
        {
            "tariff": tariff.tariff, "edition": tariff.edition, "confidence": tariff.confidence,
            "from": dt.datetime.fromtimestamp(span.start_ns / NS, zone).isoformat(),
            "to": dt.datetime.fromtimestamp(span.end_ns / NS, zone).isoformat(),
            "costs": [
                {"subject": subject, "refused": str(one)} if isinstance(one, NotFit) else _json(one)
                for subject, one in found
            ],
        }
    )  # fmt: skip
    screen.say("cost.head", "bold", title=getattr(tariff.title, screen.lang), edition=tariff.edition)
    for subject, one in found:
        if isinstance(one, NotFit):
            screen.say("cost.refused", "yellow", subject=subject, reason=one)
        else:
            _print(screen, tariff, one, zone)


def _tariff(name: str) -> Tariff:
    path = Path(name)
    if path.suffix != ".yaml":
        path = tariffs_dir() / f"{name}.yaml"
        if not path.is_file():
            there = sorted(p.stem for p in tariffs_dir().glob("*.yaml") if not p.stem.startswith("power-factor"))
            hint = f"shipped: {', '.join(there)}; or give a file, copied from one of them, with your prices"
            raise ConfigError([Problem("--tariff", "", f"no tariff {name!r}", hint)])
    return load_tariff(path)


def _print(screen: Screen, tariff: Tariff, one: Cost, zone: dt.tzinfo) -> None:
    from analytics.tariffs import TariffBill

    begin, end = (dt.datetime.fromtimestamp(t / NS, zone) for t in (one.span.start_ns, one.span.end_ns))
    screen.line("")
    screen.say(
        "cost.subject", "bold", subject=one.subject, begin=f"{begin:%Y-%m-%d %H:%M}", end=f"{end:%Y-%m-%d %H:%M}"
    )
    if not isinstance(one.bill, TariffBill):
        screen.say("cost.refused", "yellow", subject=one.subject, reason=one.bill)
        return
    titles = {band.id: getattr(band.title, screen.lang) for band in tariff.bands}
    rows: list[tuple[object, ...]] = [
        (
            titles[use.band], f"{use.micro / 1e6:,.3f}", f"{use.micro / one.bill.micro:.1%}" if one.bill.micro else "-",
            "-" if use.yuan is None else f"{use.yuan:,.2f}",
        )
        for use in one.bill.bands
    ]  # fmt: skip
    total = "-" if one.bill.yuan is None else f"{one.bill.yuan:,.2f}"
    rows.append((text("cost.sum", screen.lang), f"{one.bill.micro / 1e6:,.3f}", "", total))
    screen.table(["cost.band", "cost.kwh", "cost.part", "cost.yuan"], rows, right=(1, 2, 3))
    if one.bill.missing:
        screen.say("cost.missing", "yellow", quarters=one.bill.missing)
    if one.bill.unpriced_micro:
        screen.say("cost.unpriced", "yellow", kwh=f"{one.bill.unpriced_micro / 1e6:,.1f}")
    if one.peak_kw is not None and one.peak_ns is not None:
        when = dt.datetime.fromtimestamp(one.peak_ns / NS, zone)
        screen.say("cost.peak", None, kw=f"{one.peak_kw:,.1f}", at=f"{when:%Y-%m-%d %H:%M}")
    if one.power_factor is not None:
        screen.say("cost.pf", None, pf=f"{one.power_factor:.3f}")
    if one.adjustment_pct is not None:
        yuan = "-" if one.adjustment_yuan is None else f"{one.adjustment_yuan:+,.2f}"
        screen.say("cost.adjustment", None, pct=f"{one.adjustment_pct:+.2f}", yuan=yuan)


def _json(one: Cost) -> dict[str, Any]:
    from analytics.tariffs import TariffBill

    body: dict[str, Any] = {
        "subject": one.subject, "meters": list(one.meters), "peak_kw": one.peak_kw, "peak_ns": one.peak_ns,
        "peak_indicative": True, "power_factor": one.power_factor, "adjustment_pct": one.adjustment_pct,
        "adjustment_yuan": one.adjustment_yuan,
    }  # fmt: skip
    if not isinstance(one.bill, TariffBill):
        return {**body, "refused": str(one.bill)}
    return {
        **body, "kwh": one.bill.micro / 1e6, "yuan": one.bill.yuan, "missing_quarters": one.bill.missing,
        "unpriced_kwh": one.bill.unpriced_micro / 1e6,
        "bands": [{"band": u.band, "kwh": u.micro / 1e6, "yuan": u.yuan} for u in one.bill.bands],
    }  # fmt: skip
