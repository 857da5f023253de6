"""Comprehensive energy consumption in tonnes of coal equivalent (综合能耗), GB/T 2589-2020.

Electricity has two values, and which one is used changes the result by a factor of 2.5: the *current* value (当量值,
3.6 MJ a kWh) and the *primary* value (等价值, what the power stations burnt for it). There is no default.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from analytics.conversion import Use, choose
from analytics.fitness import NotFit
from meterline.factors import KJ_PER_KGCE, Factor


class Basis(StrEnum):
    """How electricity and heat count."""

    CURRENT = "current"
    """当量值: the energy in the carrier itself."""
    PRIMARY = "primary"
    """等价值: the primary energy that was used to make it."""


CARRIER_FACTOR: dict[str, str] = {
    "water": "medium.fresh_water",
    "compressed_air": "medium.compressed_air",
    "natural_gas": "fuel.natural_gas",
}
"""Carriers of `meterline.measurands` whose factor does not depend on the basis."""


def choose_coal_factor(
    factors: Iterable[Factor], carrier: str, basis: Basis, on: dt.date, *, allow_indicative: bool = False
) -> Factor | NotFit:
    """The coal-equivalent factor of a carrier.

    Parameters
    ----------
    factors : iterable of Factor
    carrier : str
        ``electricity``, ``heat``, ``cold`` (these follow the basis), ``water``, ``compressed_air``, or the id of a row
        such as ``fuel.diesel``.
    basis : Basis
        For electricity and heat; said in every report.
    on : date
        A day of the period reported.
    allow_indicative : bool

    Returns
    -------
    Factor or NotFit
    """
    if carrier in ("electricity", "heat", "cold"):
        name = f"{carrier}.{basis.value}"
    else:
        name = CARRIER_FACTOR.get(carrier, carrier)
    return choose(factors, "coal_equivalent", name, on, allow_indicative=allow_indicative)


def measured_coal_factor(factors: Iterable[Factor], name: str, heating_value_kj: float, source: str) -> Factor | NotFit:
    """A factor from a measured net heating value, which goes before the annex's (GB/T 2589-2020).

    Parameters
    ----------
    factors : iterable of Factor
    name : str
        The annex row it takes the place of, such as ``fuel.natural_gas`` (which is only a range there).
    heating_value_kj : float
        Net heating value per unit of that row. [kJ/kg or kJ/m3]
    source : str
        Laboratory and certificate, or the supplier's statement.

    Returns
    -------
    Factor or NotFit
        ``unknown-factor``; ``implausible`` if it is further than a factor of 1.5 from the annex.
    """
    rows = [factor for factor in factors if factor.kind == "coal_equivalent" and factor.id == name]
    if not rows:
        return NotFit.because("unknown-factor", f"a row {name} in the annex", "none in the factor files")
    like = max(rows, key=lambda factor: factor.valid_from)
    value = heating_value_kj / KJ_PER_KGCE
    if like.value is not None and not like.value / 1.5 <= value <= like.value * 1.5:
        near = f"a heating value near {like.value * KJ_PER_KGCE:.0f} kJ"
        return NotFit.because("implausible", near, f"{heating_value_kj:g} kJ")
    return replace(
        like, value=value, is_range=False, confidence="single", indicative=False, source=source,
        edition=f"measured heating value, {like.edition}", note=f"{heating_value_kj:g} kJ per unit",
    )  # fmt: skip


WATER_T_PER_M3 = 1.0
"""Fresh water up to 25 degC is 0.997 to 1.000 t/m3; the difference is below the last digit of the coefficient."""


def water_use(volume_m3: float, factor: Factor | NotFit, coverage: float = 1.0) -> Use:
    """Metered water [m3] as a use in the unit of its coefficient [t]."""
    return Use("water", volume_m3 * WATER_T_PER_M3, "t", factor, coverage)
