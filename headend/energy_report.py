"""The plant's efficiency at a glance: amounts per carrier, coal equivalent, carbon, load shape, specific energy.

Every figure stands beside its edition, its coverage and what it leaves out; one that cannot be had is a named reason.
Only what the top meters measure is in it: what is fed by another meter of the plant is counted there already.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.benchmarks.load_shape import LoadShape, load_shape
from analytics.benchmarks.specific_energy import Quota, SpecificEnergy, specific_energy
from analytics.carbon import CarbonAccount, Purpose, carbon_account, choose_grid_factor
from analytics.coal_equivalent import Basis, choose_coal_factor
from analytics.conversion import Conversion, Use, choose, convert
from analytics.counters import QUARTER_NS, IntervalEnergies
from analytics.fitness import NotFit
from headend.intervals import Interval
from headend.metered import account_of
from headend.plant_days import midnight_ns
from headend.queries import Queries
from headend.stores.api import Span
from meterline.factors import Factor
from meterline.measurands import MEASURANDS, Carrier
from meterline.plant import Meter, Plant
from meterline.readings import Quality
from meterline.site import Output, Product

PURPOSES: Mapping[str, Purpose] = {
    "enterprise": Purpose.ENTERPRISE_REPORT,
    "province": Purpose.REGIONAL_INVENTORY,
    "product": Purpose.PRODUCT,
}
"""The word in headend.yaml -> what it means."""
MADE_ON_SITE = (Carrier.WATER, Carrier.COMPRESSED_AIR)
"""Media that count only if they were bought: what is pumped or compressed on site is in the electricity already."""
KG_PER_T = 1000.0


@dataclass(frozen=True, slots=True)
class CarrierUse:
    """What one energy user used of one carrier in a period.

    Attributes
    ----------
    amount : float or None
        In `unit`; None if nothing is known.
    coverage : float
        Share of the period, up to now, that was measured; the least over the meters.
    quality : int
        `Quality` bits of all intervals.
    """

    carrier: Carrier
    amount: float | None
    unit: str
    coverage: float
    quality: int
    meters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProductUse:
    """Energy of one product over the span of one entry of output."""

    product: Product
    output: Output
    result: SpecificEnergy | NotFit


@dataclass(frozen=True, slots=True)
class EnergyReport:
    """A period of whole days of the plant.

    Attributes
    ----------
    first, last : date
        Both included; of the last day only what has passed.
    coal : Conversion
        Comprehensive energy consumption, electricity at its current value (当量值). [tce]
    carbon : CarbonAccount or NotFit
        Not there without a purpose, which decides the grid's factor.
    load : LoadShape or NotFit
        Of the plant's whole electricity, from quarters.
    """

    first: dt.date
    last: dt.date
    carriers: tuple[CarrierUse, ...]
    coal: Conversion
    carbon: CarbonAccount | NotFit
    load: LoadShape | NotFit
    products: tuple[ProductUse, ...]


def energy_report(
    queries: Queries,
    plant: Plant,
    factors: Sequence[Factor],
    *,
    first: dt.date,
    last: dt.date,
    now_ns: int,
    purpose: Purpose | None,
) -> EnergyReport:
    """The figures of a period.

    Raises
    ------
    ValueError
        The last day is before the first.
    """
    if last < first:
        raise ValueError(f"the period ends ({last}) before it begins ({first})")
    period = _period(plant, first, last, now_ns)
    roots = [user.id for user in plant.site.energy_users if user.parent is None]
    carriers = tuple(
        use
        for carrier in Carrier
        if (meters := _top(plant, roots, carrier)) and (use := _use(queries, plant, carrier, meters, period))
    )
    return EnergyReport(
        first=first,
        last=last,
        carriers=carriers,
        coal=convert([_coal_use(use, factors, last) for use in carriers], "kgce"),
        carbon=_carbon(carriers, factors, plant, purpose, _today(plant, now_ns)),
        load=_load(queries, plant, _top(plant, roots, Carrier.ELECTRICITY), period),
        products=tuple(
            ProductUse(product, output, _specific(queries, plant, factors, product, output, now_ns))
            for product in plant.site.products
            for output in product.output
            if output.start <= last and output.end >= first
        ),
    )


def _period(plant: Plant, first: dt.date, last: dt.date, now_ns: int) -> Span:
    zone = plant.site.site.zone
    start_ns = midnight_ns(zone, first)
    return Span(start_ns, max(start_ns + 1, min(midnight_ns(zone, last + dt.timedelta(days=1)), now_ns)))


def _today(plant: Plant, now_ns: int) -> dt.date:
    return dt.datetime.fromtimestamp(now_ns / 1e9, tz=plant.site.site.zone).date()


def _top(plant: Plant, users: Sequence[str], carrier: Carrier) -> tuple[Meter, ...]:
    found = {meter.id: meter for user in users for meter in plant.top_meters(user, carrier)}
    return tuple(found.values())


# --- amounts


def _use(queries: Queries, plant: Plant, carrier: Carrier, meters: Sequence[Meter], period: Span) -> CarrierUse | None:
    accounts = [(meter, name) for meter in meters if (name := account_of(plant, meter))]
    if not accounts:
        return None
    micro, quality, coverage, known = 0, 0, 1.0, False
    for meter, name in accounts:
        days = [day for day in queries.intervals(meter.id, "day", period, name) if day.has_energy]
        measured_ns = sum(day.coverage * (day.end_ns - day.start_ns) for day in days)
        coverage = min(coverage, measured_ns / (period.end_ns - period.start_ns))
        micro += sum(day.micro for day in days)
        known = known or bool(days)
        for day in days:
            quality |= day.quality
    return CarrierUse(
        carrier=carrier,
        amount=micro / 1e6 if known else None,
        unit=MEASURANDS[accounts[0][1]].unit,
        coverage=min(1.0, coverage) if known else 0.0,
        quality=quality if known else int(Quality.MISSING),
        meters=tuple(meter.id for meter, _ in accounts),
    )


def _as_use(use: CarrierUse, factor: Factor | NotFit) -> Use:
    if use.amount is None:
        factor = NotFit.because("no-data", "an amount of the period", "none")
    return Use(use.carrier.value, use.amount or 0.0, use.unit, factor, use.coverage)


def _coal_use(use: CarrierUse, factors: Sequence[Factor], on: dt.date) -> Use:
    if use.carrier in MADE_ON_SITE:
        return _as_use(use, NotFit.because("bought-or-made", "whether it was bought", "not entered"))
    return _as_use(use, choose_coal_factor(factors, use.carrier.value, Basis.CURRENT, on))


# --- carbon


def _carbon(
    carriers: Sequence[CarrierUse],
    factors: Sequence[Factor],
    plant: Plant,
    purpose: Purpose | None,
    today: dt.date,
) -> CarbonAccount | NotFit:
    if purpose is None:
        return NotFit.because("no-purpose", "the purpose of the figures (headend.yaml, purpose)", "none")
    burnt: list[Use] = []
    bought: list[Use] = []
    for use in carriers:
        match use.carrier:
            case Carrier.ELECTRICITY:
                factor = choose_grid_factor(factors, purpose, plant.site.site.region or None, today)
                bought.append(_as_use(use, factor))
            case Carrier.HEAT | Carrier.STEAM:
                bought.append(_as_use(use, choose(factors, "heat", "heat.bought", today)))
            case Carrier.NATURAL_GAS:
                burnt.append(_as_use(use, choose(factors, "combustion", "fuel.natural_gas", today)))
            case Carrier.WATER | Carrier.COMPRESSED_AIR:
                continue
    return carbon_account(burnt, bought)


# --- load


def _load(queries: Queries, plant: Plant, meters: Sequence[Meter], period: Span) -> LoadShape | NotFit:
    """The sum of the top meters, quarter by quarter; a quarter that one of them lacks is not used."""
    count = (period.end_ns - period.start_ns) // QUARTER_NS
    if not meters or not count:
        return NotFit.because("no-data", "quarters of the plant's electricity", "none")
    micro, coverage = np.zeros(count, np.int64), np.ones(count)
    quality = np.zeros(count, np.int32)
    for meter in meters:
        rows: dict[int, Interval] = {
            row.start_ns: row for row in queries.intervals(meter.id, "15min", period) if not row.open
        }
        for n in range(count):
            row = rows.get(period.start_ns + n * QUARTER_NS)
            if row is None:
                quality[n] |= int(Quality.MISSING)
                coverage[n] = 0.0
            else:
                micro[n] += row.micro
                coverage[n] = min(coverage[n], row.coverage)
                quality[n] |= row.quality
    boundaries = period.start_ns + QUARTER_NS * np.arange(count + 1, dtype=np.int64)
    return load_shape(IntervalEnergies(boundaries, micro, np.full(count, np.nan), coverage, quality))


# --- products


def _specific(
    queries: Queries, plant: Plant, factors: Sequence[Factor], product: Product, output: Output, now_ns: int
) -> SpecificEnergy | NotFit:
    """Energy of a product's user over the days of one entry of output, in the unit of its benchmark."""
    if midnight_ns(plant.site.site.zone, output.end + dt.timedelta(days=1)) > now_ns:
        return NotFit.because("not-over", f"the days up to {output.end}", "not over yet")
    period = _period(plant, output.start, output.end, now_ns)
    benchmark = product.benchmark
    wanted = benchmark.unit.partition("/")[0] if benchmark else "kgce"
    uses = [
        use
        for carrier in Carrier
        if (meters := plant.top_meters(product.energy_user, carrier))
        and (use := _use(queries, plant, carrier, meters, period))
    ]
    coverage = min((use.coverage for use in uses), default=0.0)
    if wanted == "kWh":
        energy = sum(use.amount or 0.0 for use in uses if use.carrier is Carrier.ELECTRICITY)
    else:
        coal = convert([_coal_use(use, factors, output.end) for use in uses], "kgce")
        # without a carrier the figure would be too good; media are left out on purpose
        for carrier, refusal in coal.refused:
            if Carrier(carrier) not in MADE_ON_SITE:
                return refusal
        energy = coal.total_t * KG_PER_T
    quota = (
        Quota(benchmark.limit, benchmark.entry, benchmark.advanced, benchmark.unit, benchmark.source)
        if benchmark
        else None
    )
    return specific_energy(energy, wanted, output.amount, product.unit, quota, coverage=coverage)
