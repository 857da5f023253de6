"""A meter as the calculations want to know it: its counters, its rules, its context, taken from plant and profile."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from analytics.counter_model import CounterRules, Exchange
from analytics.detectors import Learnt, MeterContext
from headend.primary import factor_at, regimes
from meterline.clock import NS
from meterline.measurands import ACCOUNT, MEASURANDS, POWER_LIKE, Carrier, Kind
from meterline.plant import Meter, Plant
from meterline.profiles import CellPoint, Point
from meterline.readings import to_micro
from meterline.units import shift_to_canonical

DEFAULT_POLL_NS = 60 * NS
_FAR = 2**62


def account_of(plant: Plant, meter: Meter) -> str | None:
    """The counter a meter's account is kept with; None for a meter that has none."""
    return _first(plant, meter, ACCOUNT[plant.carrier_of(meter)])


def power_of(plant: Plant, meter: Meter) -> str | None:
    """The gauge that shows the momentary use; None for a meter that has none."""
    return _first(plant, meter, POWER_LIKE[plant.carrier_of(meter)])


def _first(plant: Plant, meter: Meter, names: tuple[str, ...]) -> str | None:
    profile = plant.profile_of(meter)
    return next((name for name in names if profile.point(name) is not None), None)


def counters_of(plant: Plant, meter: Meter) -> tuple[str, ...]:
    """The counters that get interval amounts, the account's first: all but single phases and running hours."""
    account = account_of(plant, meter)
    others = [
        point.measurand
        for point in plant.profile_of(meter).points
        if point.enabled
        and point.kind is Kind.COUNTER
        and point.measurand != account
        and not point.measurand.endswith((".l1", ".l2", ".l3"))
        and point.measurand != "hours.operating"
    ]
    return (*((account,) if account else ()), *others)


def poll_ns_of(slot_ns: NDArray[np.int64], default: int = DEFAULT_POLL_NS) -> int:
    """How often a meter is asked: the usual distance of its slots. [ns]"""
    return int(np.median(np.diff(slot_ns))) if slot_ns.size > 2 else default


def context_of(plant: Plant, meter: Meter, poll_ns: int, learnt: Learnt | None = None) -> MeterContext:
    """What is known about a meter besides its readings, primary side."""
    account = account_of(plant, meter)
    power = power_of(plant, meter)
    context = MeterContext(
        meter=meter.id,
        poll_ns=poll_ns,
        rated_kw=meter.rated,
        nominal_v=meter.nominal_v,
        idle_kw=meter.idle,
        learnt=learnt,
    )
    if power is not None:
        context = replace(context, power_name=power)
    if account is not None:
        rules = rules_of(plant, meter, account, poll_ns)
        context = replace(
            context, counter_name=account, wraps_at_micro=rules.wraps_at, counter_resolution_micro=rules.resolution
        )
    return context


def rules_of(plant: Plant, meter: Meter, measurand: str, poll_ns: int) -> CounterRules:
    """How one counter of a meter is judged, primary side (newest ratio)."""
    point = plant.profile_of(meter).point(measurand)
    factor = factor_at(regimes(plant, meter, measurand), _FAR)
    return CounterRules(
        max_gap_ns=max(5 * poll_ns, 60 * NS),
        max_rate=_greatest_rate(plant, meter, measurand),
        wraps_at=_wraps_at(point, factor),
        resolution=_resolution(point, factor),
        exchanges=_exchanges(plant, meter, measurand, factor),
    )


def _exchanges(plant: Plant, meter: Meter, measurand: str, factor: Fraction) -> tuple[Exchange, ...]:
    """The site's exchanges, primary side; what was written down belongs to the account's counter alone."""
    mine = measurand == account_of(plant, meter)

    def micro(display: float | None) -> int | None:
        return round(Fraction(repr(display)) * 10**6 * factor) if mine and display is not None else None

    return tuple(
        Exchange(*exchange.span_ns(plant.site.site.zone), micro(exchange.old_end), micro(exchange.new_start))
        for exchange in meter.exchanges
    )


def _greatest_rate(plant: Plant, meter: Meter, measurand: str) -> float | None:
    """Half as much again as the rating, in millionths a second; None where the rating says nothing of this counter."""
    if meter.rated is None:
        return None
    most = 1.5 * meter.rated
    unit, carrier = MEASURANDS[measurand].unit, plant.carrier_of(meter)
    if unit == "GJ":  # rated in kW: 1 kW is a millionth of a GJ a second
        return most if carrier is Carrier.HEAT else None
    if carrier is Carrier.STEAM and unit != "t":
        return None
    return most * 1e6 / 3600.0


def _wraps_at(point: Point | None, factor: Fraction) -> int | None:
    if point is None or point.wraps_at is None:
        return None
    return int(to_micro(point.wraps_at, shift_to_canonical(point.unit)) * factor)


def _resolution(point: Point | None, factor: Fraction) -> int:
    """The last digit of the display; a float counter has no fixed one."""
    if point is None or (isinstance(point, CellPoint) and (point.type or "").startswith("float")):
        return 1
    return max(1, int(to_micro(1, point.last_digit) * factor))
