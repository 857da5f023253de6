"""What a meter's or an energy user's electricity costs: quarter-hours by price band, demand, power factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytics.fitness import NotFit
from analytics.tariffs import TariffBill, bill, power_factor
from headend.catalogue import Catalogue
from headend.metered import account_of
from headend.stores.api import Span
from meterline.plant import Meter, Plant
from meterline.tariffs import PowerFactorTable, Tariff

QUARTER_NS = 900 * 10**9
REACTIVE = ("energy.reactive.import", "energy.reactive.export")


@dataclass(frozen=True, slots=True)
class Cost:
    """The bill of a period, as far as the meters say it.

    Attributes
    ----------
    bill : TariffBill or NotFit
    peak_kw, peak_ns : float or None, int or None
        Largest of the clock's quarter-hours, and when it began. Indicative: a bill goes by the meter's own register.
    power_factor : float or None
        Of the period; None where no reactive energy is counted.
    adjustment_pct, adjustment_yuan : float or None
        Of the power factor, on the energy charge.
    """

    subject: str
    meters: tuple[str, ...]
    span: Span
    bill: TariffBill | NotFit
    peak_kw: float | None
    peak_ns: int | None
    power_factor: float | None
    adjustment_pct: float | None
    adjustment_yuan: float | None


def cost_of(
    plant: Plant,
    catalogue: Catalogue,
    subject: str,
    meters: Sequence[Meter],
    span: Span,
    tariff: Tariff,
    table: PowerFactorTable | None,
) -> Cost | NotFit:
    """Price a period of whole quarter-hours.

    Returns
    -------
    Cost or NotFit
        ``no-data``: nothing was accounted.
    """
    count = (span.end_ns - span.start_ns) // QUARTER_NS
    start = span.start_ns + QUARTER_NS * np.arange(count, dtype=np.int64)
    micro, missing = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for meter in meters:
        name = account_of(plant, meter)
        there = np.zeros(count, bool)
        for row in catalogue.intervals(meter.id, name, "15min", span) if name else ():
            at = (row.start_ns - span.start_ns) // QUARTER_NS
            if row.has_energy and not row.open and 0 <= at < count:
                micro[at] += row.micro
                there[at] = True
        missing += ~there
    known = missing == 0
    if not meters or not bool(known.any()):
        return NotFit.because("no-data", "a quarter-hour known on every meter", f"{subject}: none")
    priced = bill(tariff, start, micro, known)
    best = int(np.argmax(np.where(known, micro, -1)))
    pf = _power_factor(plant, catalogue, meters, span)
    adjustment = None if table is None or pf is None else table.adjustment(pf)
    yuan = priced.yuan if isinstance(priced, TariffBill) else None
    return Cost(
        subject,
        tuple(meter.id for meter in meters),
        span,
        priced,
        float(micro[best]) / 1e6 * 4.0,
        int(start[best]),
        pf,
        adjustment,
        None if adjustment is None or yuan is None else yuan * adjustment / 100.0,
    )


def _power_factor(plant: Plant, catalogue: Catalogue, meters: Sequence[Meter], span: Span) -> float | None:
    """From active and reactive energy; None unless every meter has counted both all the time."""
    active = reactive = 0.0
    for meter in meters:
        profile = plant.profile_of(meter)
        counted = [name for name in REACTIVE if profile.point(name) is not None]
        name = account_of(plant, meter)
        if not counted or name is None:
            return None
        mine = _amounts(catalogue, meter, name, span)
        others = [_amounts(catalogue, meter, one, span) for one in counted]
        if any(other.keys() != mine.keys() for other in others):
            return None
        active += sum(mine.values())
        reactive += sum(sum(other.values()) for other in others)
    return power_factor(active, reactive)


def _amounts(catalogue: Catalogue, meter: Meter, measurand: str, span: Span) -> dict[int, int]:
    rows = catalogue.intervals(meter.id, measurand, "15min", span)
    return {row.start_ns: row.micro for row in rows if row.has_energy and not row.open}
