"""How sure an energy is: influences, which of them two energies share, and what they make together (GUM, k = 2).

An influence is an instrument's unknown error: of the meter, of its current transformer, of a display's last digit. It
has a *key*. Energies that carry the same key carry the same error, so their shares of it are added with their signs
before they are squared (GUM 5.2.2, full correlation); different keys are independent. So a day is the sum of its
intervals without the class becoming smaller by averaging, two meters on one transformer share its error, and in a
difference the shared part cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.fitness import NotFit
from analytics.series import FloatArray
from meterline.accuracy import AccuracyFile, CtLimit, MeterLimit, VtLimit

COVERAGE_FACTOR = 2.0
"""k: about 95 % where no single rectangular part dominates."""
RECTANGULAR = 1.0 / math.sqrt(3.0)
"""Standard uncertainty of a limit inside which every value is as likely (GUM 4.3.7)."""
PERCENT_PER_MINUTE = 100.0 * math.pi / (180.0 * 60.0)
"""Error of active energy per minute of arc and unit of tan(phi). [%]"""
UNITY = 0.995
"""Power factors above are taken as 1 when a class limit is chosen."""


@dataclass(frozen=True, slots=True)
class Influence:
    """One instrument's unknown error in one amount.

    Attributes
    ----------
    name : str
        What it is, for the budget: ``meter``, ``current transformer``, ``phase displacement`` ...
    key : str
        Whose error it is. Equal keys: the same error.
    u : float
        Standard uncertainty (k = 1) in the amount's unit; its sign says in which direction the error moves the amount.
    """

    name: str
    key: str
    u: float


@dataclass(frozen=True, slots=True)
class Amount:
    """A value with everything that makes it unsure.

    Attributes
    ----------
    value : float
        In any unit; the influences are in the same one.
    """

    value: float
    influences: tuple[Influence, ...] = ()

    @property
    def standard(self) -> float:
        """Combined standard uncertainty, k = 1."""
        together: dict[str, float] = {}
        for one in self.influences:
            together[one.key] = together.get(one.key, 0.0) + one.u
        return math.sqrt(math.fsum(u * u for u in together.values()))

    @property
    def expanded(self) -> float:
        """U, k = 2."""
        return COVERAGE_FACTOR * self.standard

    @property
    def relative(self) -> float:
        """U over the value; infinite for nothing."""
        return self.expanded / abs(self.value) if self.value else math.inf

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.value + other.value, (*self.influences, *other.influences))

    def __neg__(self) -> Amount:
        return self.times(-1.0)

    def __sub__(self, other: Amount) -> Amount:
        return self + -other

    def times(self, factor: float) -> Amount:
        """The amount times an exact number."""
        return Amount(self.value * factor, tuple(Influence(i.name, i.key, i.u * factor) for i in self.influences))

    def over(self, other: Amount) -> Amount:
        """A ratio of two amounts (an indicator), to first order (GUM 5.1.2).

        Raises
        ------
        ZeroDivisionError
            Nothing to divide by: there is no indicator.
        """
        ratio = self.value / other.value
        mine = (Influence(i.name, i.key, i.u / other.value) for i in self.influences)
        theirs = (Influence(i.name, i.key, -i.u * ratio / other.value) for i in other.influences)
        return Amount(ratio, (*mine, *theirs))


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum of many amounts."""
    amounts = list(amounts)
    return Amount(math.fsum(a.value for a in amounts), tuple(i for a in amounts for i in a.influences))


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One row of a budget.

    Attributes
    ----------
    u : float
        Standard uncertainty from all influences of this name, k = 1.
    share : float
        Its part of the variance, 0..1; shares of names that share a key may not add to exactly one.
    """

    name: str
    u: float
    share: float


def budget(amount: Amount) -> tuple[BudgetLine, ...]:
    """What dominates: influences by name, the largest first."""
    names: dict[str, list[Influence]] = {}
    for one in amount.influences:
        names.setdefault(one.name, []).append(one)
    variance = amount.standard**2
    rows = [(name, Amount(0.0, tuple(ones)).standard) for name, ones in names.items()]
    rows.sort(key=lambda row: -row[1])
    return tuple(BudgetLine(name, u, u * u / variance if variance else 0.0) for name, u in rows)


@dataclass(frozen=True, slots=True)
class MeteringPoint:
    """The instruments that make one energy, and what they are allowed to err.

    Attributes
    ----------
    meter : str
        Id; key of the meter's own error.
    limit : MeterLimit or float
        Of its class; or, for meters of other carriers, a flat limit. [% of the reading]
    ct, vt : limits, optional
        Of the transformers; None: connected directly.
    ct_key, vt_key : str
        Whose transformers they are: the same text for meters that share them. Empty: the meter's own.
    rated : float, optional
        Power that belongs to the rated current. [kW]
    """

    meter: str
    limit: MeterLimit | float
    ct: CtLimit | None = None
    vt: VtLimit | None = None
    ct_key: str = ""
    vt_key: str = ""
    rated: float | None = None


def metering_point(
    meter: str,
    accuracy_class: str,
    classes: AccuracyFile | None,
    *,
    ct_class: str = "",
    vt_class: str = "",
    ct_key: str = "",
    vt_key: str = "",
    rated: float | None = None,
) -> MeteringPoint | NotFit:
    """The metering point of a meter as its nameplate says it.

    Parameters
    ----------
    accuracy_class
        As on the plate: ``0.5S``, ``C``, ``2``; for other carriers a number is a flat limit in percent.
    classes
        The classes of the carrier; None where there is no file for it.

    Returns
    -------
    MeteringPoint or NotFit
        NotFit: no class is known, so nothing can be said about the instrument.
    """
    name = accuracy_class.strip()
    limit: MeterLimit | float | None = classes.meter(name) if classes and name else None
    if limit is None and classes is None:
        limit = _number(name)
    if limit is None:
        have = f"accuracy_class {name!r}" if name else "no accuracy_class"
        return NotFit.because("no-class", "the accuracy class of the meter, as on its plate", f"{meter}: {have}")
    ct = classes.ct(ct_class) if classes and ct_class else None
    vt = classes.vt(vt_class) if classes and vt_class else None
    for kind, wanted, found in (("current", ct_class, ct), ("voltage", vt_class, vt)):
        if wanted and found is None:
            return NotFit.because("no-class", f"a listed class of the {kind} transformer", f"{meter}: {wanted!r}")
    return MeteringPoint(meter, limit, ct, vt, ct_key or f"{meter} ct", vt_key or f"{meter} vt", rated)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value <= 50 else None


def limits_pct(
    point: MeteringPoint, load: FloatArray | float = 1.0, power_factor: FloatArray | float = 1.0
) -> Mapping[tuple[str, str], FloatArray]:
    """Largest permitted error of each instrument at a load and power factor.

    Parameters
    ----------
    load
        Current over rated current; anything at or below zero is taken as the smallest load listed.
    power_factor
        0..1; below 0.25 taken as 0.25, where no class says anything any more.

    Returns
    -------
    dict
        ``(name, key)`` -> limits [%], in the shape that `load` and `power_factor` broadcast to.
    """
    load, pf = np.broadcast_arrays(np.asarray(load, np.float64), np.asarray(power_factor, np.float64))
    pf = np.clip(np.abs(pf), 0.25, 1.0)
    found: dict[tuple[str, str], FloatArray] = {}
    if isinstance(point.limit, MeterLimit):
        m = point.limit
        normal = np.where(pf >= UNITY, m.at_pf_1, m.at_other_pf)
        low = np.where(pf >= UNITY, m.low_at_pf_1, m.low_at_other_pf)
        found["meter", point.meter] = np.where(load < m.transition, low, normal)
    else:
        found["meter", point.meter] = np.full(load.shape, point.limit)
    tan_phi = np.sqrt(1.0 - pf**2) / pf
    minutes = np.zeros(load.shape)
    if point.ct is not None:
        found["current transformer", point.ct_key] = np.interp(load, point.ct.at, point.ct.ratio_pct)
        minutes = minutes + np.interp(load, point.ct.at, point.ct.phase_min)
    if point.vt is not None:
        found["voltage transformer", point.vt_key] = np.full(load.shape, point.vt.ratio_pct)
        minutes = minutes + point.vt.phase_min
    if point.ct is not None or point.vt is not None:
        found["phase displacement", f"{point.ct_key} phase"] = PERCENT_PER_MINUTE * minutes * tan_phi
    return found


def energy_amount(
    point: MeteringPoint,
    energies: FloatArray | Sequence[float],
    *,
    step_h: float = 0.25,
    power_factor: FloatArray | float = 1.0,
    independent: Mapping[str, float] | None = None,
) -> Amount:
    """The sum of a meter's interval energies with the uncertainty of its instruments.

    Each instrument's error is one and the same in all intervals, so its share of each is added, not its square.

    Parameters
    ----------
    energies : (m,) array
        [kWh or the unit of the point]
    step_h
        Length of an interval, which with `MeteringPoint.rated` gives the load. [h] Without a rating full load is taken.
    power_factor : (m,) array or float
        Of the intervals.
    independent
        Further influences of this amount alone (resolution, timing, estimated share): name -> standard uncertainty,
        k = 1, in the unit of the energies.
    """
    e = np.asarray(energies, np.float64)
    load: FloatArray | float = e / step_h / point.rated if point.rated else 1.0
    limits = limits_pct(point, load, power_factor)
    influences = [
        Influence(name, key, float(np.sum(np.abs(e) * limit)) / 100.0 * RECTANGULAR)
        for (name, key), limit in limits.items()
    ]
    influences += [Influence(name, f"{point.meter} {name}", u) for name, u in (independent or {}).items() if u]
    return Amount(float(e.sum()), tuple(influences))
