"""Carbon dioxide of a plant's energy: scope 1 (fuels burnt on site) and scope 2 (bought electricity and heat).

Scope 2 here is *location-based*: the average of the grid the plant hangs on. Which average is decided by the purpose of
the report, and the purpose is a parameter without a default (0.5306 against 0.6191 kg a kWh is 17 %).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from analytics.conversion import Conversion, Use, choose, convert
from analytics.fitness import NotFit
from meterline.factors import Factor


class Purpose(StrEnum):
    """What the report is for."""

    ENTERPRISE_REPORT = "enterprise_report"
    """A company's own report to the ministry: the national average."""
    REGIONAL_INVENTORY = "regional_inventory"
    """A regional or city inventory: the factor of the province (or regional grid) named."""
    PRODUCT = "product"
    """A product's footprint: whatever its rules name; give the region they name."""


def choose_grid_factor(
    factors: Iterable[Factor],
    purpose: Purpose,
    region: str | None,
    on: dt.date,
    *,
    data_year: int | None = None,
    allow_indicative: bool = False,
) -> Factor | NotFit:
    """The grid factor that belongs to a purpose.

    Parameters
    ----------
    factors : iterable of Factor
    purpose : Purpose
    region : str or None
        ``shandong``, ``north_china``, ``national`` ...; not needed for an enterprise report.
    on : date
        Day of the report: the latest factor published by then.
    data_year : int, optional
        Exactly this vintage.
    allow_indicative : bool

    Returns
    -------
    Factor or NotFit
        ``no-region``, ``wrong-purpose`` or what `conversion.choose` says.
    """
    rows = list(factors)
    if purpose is Purpose.ENTERPRISE_REPORT:
        region = "national"
    if not region:
        return NotFit.because("no-region", f"the region a report for {purpose.value} names", "none")
    factor = choose(
        rows, "grid_electricity", f"grid.{region}", on, data_year=data_year, allow_indicative=allow_indicative
    )
    if isinstance(factor, Factor) and purpose is not Purpose.PRODUCT and purpose.value not in factor.purposes:
        return NotFit.because(
            "wrong-purpose",
            f"a factor for {purpose.value}",
            f"{factor.name_en} is for {', '.join(factor.purposes) or '-'}",
        )
    return factor


@dataclass(frozen=True, slots=True)
class CarbonAccount:
    """Carbon dioxide by scope.

    Attributes
    ----------
    scope1, scope2 : Conversion
        Fuels burnt on site; bought electricity and heat, location-based. [tCO2]
    """

    scope1: Conversion
    scope2: Conversion

    @property
    def total_t(self) -> float:
        return self.scope1.total_t + self.scope2.total_t

    @property
    def complete(self) -> bool:
        return self.scope1.complete and self.scope2.complete

    @property
    def indicative(self) -> bool:
        return self.scope1.indicative or self.scope2.indicative


def carbon_account(burnt: Sequence[Use], bought: Sequence[Use]) -> CarbonAccount:
    """Carbon dioxide of a plant's carriers.

    Parameters
    ----------
    burnt : sequence of Use
        Fuels, with ``combustion`` factors.
    bought : sequence of Use
        Electricity (net of what was sold) and heat, with ``grid_electricity`` and ``heat`` factors.

    References
    ----------
    GB/T 32150, GB/T 32151 series: combustion ``FC * NCV * CC * OF * 44/12``, electricity ``MWh * EF``. Method page:
    ``docs/methods/carbon.md``.
    """
    return CarbonAccount(convert(burnt, "kgCO2"), convert(bought, "kgCO2"))
