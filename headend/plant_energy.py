"""Amounts of a plant's meters and energy users, period by period, with everything that makes them unsure.

The amounts are the catalogue's interval energies; what the class of the instruments adds is worked out here from the
load of every quarter-hour, because a class permits more at low load. What two amounts share (a meter, a transformer)
carries the same key, so that sums and balances come out right.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from analytics.energy_balance import Balance, Term, balance
from analytics.fitness import NotFit
from analytics.uncertainty import Amount, Influence, MeteringPoint, energy_amount, metering_point, total
from headend.catalogue import Catalogue
from headend.intervals import Interval
from headend.metered import account_of
from headend.plant_days import day_of, midnight_ns
from headend.stores.api import Span
from meterline.accuracy import AccuracyFile, load_accuracy
from meterline.measurands import MEASURANDS, Carrier
from meterline.paths import accuracy_dir
from meterline.plant import EnergyUser, Meter, Plant
from meterline.readings import Quality

Period = Literal["15min", "hour", "day", "month", "all"]
POWER_FACTOR = 0.9
"""Taken for the limits of an electricity meter's class: those at 1 are better, below 0.5 none are given."""


@dataclass(frozen=True, slots=True)
class Row:
    """One amount.

    Attributes
    ----------
    subject : str
        Id of the meter or energy user.
    amount : Amount or None
        In `unit`; None where nothing is known.
    without_class : float
        Expanded uncertainty without the instruments' class, k = 2.
    class_known : bool
        Whether the class of every meter in it is on record; if not, the uncertainty leaves it out.
    coverage : float
        Share of the period, up to now, between readings not too far apart; of several meters the least.
    quality : int
        `Quality` bits of all intervals.
    meters : tuple of str
    """

    subject: str
    start_ns: int
    end_ns: int
    amount: Amount | None
    unit: str
    without_class: float
    class_known: bool
    coverage: float
    quality: int
    meters: tuple[str, ...]


def meter_rows(
    plant: Plant, catalogue: Catalogue, meters: Sequence[Meter], period: Period, span: Span, now_ns: int
) -> Iterator[Row]:
    """Each meter's account, period by period, oldest first."""
    for meter in meters:
        name = account_of(plant, meter)
        if name is None:
            continue
        fine = catalogue.intervals(meter.id, name, "15min", span)
        unit = MEASURANDS[name].unit
        for start, end in _periods(plant, period, span):
            if start < now_ns:
                yield _row(plant, meter, [i for i in fine if start <= i.start_ns < end], start, min(end, now_ns), unit)


def user_rows(
    plant: Plant,
    catalogue: Catalogue,
    users: Sequence[EnergyUser],
    carrier: Carrier,
    period: Period,
    span: Span,
    now_ns: int,
) -> Iterator[Row]:
    """Each energy user's whole use of a carrier: the sum of its top meters."""
    for user in users:
        meters = plant.top_meters(user.id, carrier)
        rows: dict[tuple[int, int], list[Row]] = {}
        for row in meter_rows(plant, catalogue, meters, period, span, now_ns):
            rows.setdefault((row.start_ns, row.end_ns), []).append(row)
        for (start, end), group in sorted(rows.items()):
            yield summed(user.id, start, end, group, len(meters))


def summed(subject: str, start_ns: int, end_ns: int, rows: Sequence[Row], meters: int) -> Row:
    """Several meters' rows of one period as one; unknown as soon as one of them is."""
    known = [row.amount for row in rows if row.amount is not None]
    whole = len(known) == meters
    return Row(
        subject,
        start_ns,
        end_ns,
        total(known) if whole and known else None,
        rows[0].unit,
        float(np.sqrt(sum(row.without_class**2 for row in rows))),
        all(row.class_known for row in rows),
        min((row.coverage for row in rows), default=0.0) if whole else 0.0,
        int(np.bitwise_or.reduce([row.quality for row in rows])),
        tuple(meter for row in rows for meter in row.meters),
    )


@dataclass(frozen=True, slots=True)
class NodeBalance:
    """One metered node of the tree over one period."""

    node: Meter
    start_ns: int
    end_ns: int
    below: tuple[str, ...]
    result: Balance | NotFit


def balances(
    plant: Plant, catalogue: Catalogue, period: Literal["day", "month", "all"], span: Span, now_ns: int
) -> Iterator[NodeBalance]:
    """Every meter that feeds others, against the sum of those, over whole periods."""
    below: dict[str, list[Meter]] = {}
    for meter in plant.site.meters:
        if meter.fed_by is not None:
            below.setdefault(meter.fed_by, []).append(meter)
    for node_id, subs in below.items():
        node = plant.meters[node_id]
        same = [m for m in subs if plant.carrier_of(m) == plant.carrier_of(node)]
        rows: dict[tuple[int, int], dict[str, Row]] = {}
        for row in meter_rows(plant, catalogue, [node, *same], period, span, now_ns):
            rows.setdefault((row.start_ns, row.end_ns), {})[row.subject] = row
        for (start, end), group in sorted(rows.items()):
            if period != "all" and end >= now_ns:
                continue  # a period that still runs has no balance
            terms = [
                Term(name, 1 if name == node_id else -1, row.amount or Amount(0.0), row.coverage if row.amount else 0.0)
                for name, row in group.items()
            ]
            yield NodeBalance(node, start, end, tuple(m.id for m in same), balance(node_id, terms))


def point_of(plant: Plant, meter: Meter, day: dt.date) -> MeteringPoint | NotFit:
    """The instruments of a meter on a day, as site and nameplate say."""
    carrier = plant.carrier_of(meter)
    ratio = meter.ratio_at(day)
    return metering_point(
        meter.id,
        meter.accuracy_class,
        _classes(carrier),
        ct_class=ratio.ct_class if ratio else "",
        vt_class=ratio.vt_class if ratio else "",
        rated=meter.rated,
    )


@cache
def _classes(carrier: Carrier) -> AccuracyFile | None:
    path: Path = accuracy_dir() / f"{carrier.value}.yaml"
    return load_accuracy(path) if path.is_file() else None


def _row(plant: Plant, meter: Meter, fine: Sequence[Interval], start_ns: int, end_ns: int, unit: str) -> Row:
    known = [one for one in fine if one.has_energy]
    if not known:
        return Row(meter.id, start_ns, end_ns, None, unit, 0.0, False, 0.0, int(Quality.MISSING), (meter.id,))
    micro = np.array([one.micro for one in known], np.float64) / 1e6
    place = _place_in_time(known)
    measured_ns = sum(one.coverage * (one.end_ns - one.start_ns) for one in known)
    quality = int(np.bitwise_or.reduce([one.quality for one in known]))
    if len(known) < len(fine) or known[0].start_ns > start_ns or known[-1].end_ns < end_ns - 900 * 10**9:
        quality |= int(Quality.MISSING)
    point = point_of(plant, meter, day_of(plant.site.site.zone, start_ns))
    own = Influence("place in time", f"{meter.id} {start_ns}", place)
    if isinstance(point, NotFit):
        amount = Amount(float(micro.sum()), (own,))
    else:
        by_class = energy_amount(point, micro, power_factor=POWER_FACTOR)
        amount = Amount(by_class.value, (*by_class.influences, own))
    coverage = min(1.0, measured_ns / max(end_ns - start_ns, 1))
    known_class = not isinstance(point, NotFit)
    return Row(meter.id, start_ns, end_ns, amount, unit, 2.0 * place, known_class, coverage, quality, (meter.id,))


def _place_in_time(known: Sequence[Interval]) -> float:
    """Standard uncertainty of where a run of intervals begins and ends: neighbours share a boundary, which cancels."""
    total_variance = 0.0
    for index, one in enumerate(known):
        half = (one.u_micro or 0.0) ** 2 / 2.0
        left_open = index == 0 or known[index - 1].end_ns != one.start_ns
        right_open = index == len(known) - 1 or known[index + 1].start_ns != one.end_ns
        total_variance += half * (left_open + right_open)
    return float(np.sqrt(total_variance)) / 1e6


def _periods(plant: Plant, period: Period, span: Span) -> Iterator[tuple[int, int]]:
    zone = plant.site.site.zone
    if period == "all":
        yield span.start_ns, span.end_ns
        return
    if period in ("15min", "hour"):
        step = (900 if period == "15min" else 3600) * 10**9
        yield from ((t, t + step) for t in range(span.start_ns // step * step, span.end_ns, step))
        return
    day = day_of(zone, span.start_ns)
    if period == "month":
        day = day.replace(day=1)
    while (start := midnight_ns(zone, day)) < span.end_ns:
        after = day + dt.timedelta(days=1)
        if period == "month":
            after = (day + dt.timedelta(days=32)).replace(day=1)
        yield start, midnight_ns(zone, after)
        day = after
