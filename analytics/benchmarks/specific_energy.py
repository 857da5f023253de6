"""Energy per unit of product (单位产品能耗), graded against a quota: limit, entry, advanced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from analytics.fitness import NotFit, Reason

LEAST_COVERAGE = 0.9
"""Completeness the on-line monitoring rules ask for (received / expected)."""


class Grade(StrEnum):
    """Where a specific energy stands. Lower use is better; the names are those of the GB limit standards."""

    ADVANCED = "advanced"
    """1级 先进值 or better."""
    ENTRY = "entry"
    """2级 准入值: what a new plant must reach."""
    LIMIT = "limit"
    """3级 限定值: what an existing plant must reach."""
    OVER_LIMIT = "over_limit"
    """超限额: worse than the limit."""
    WITHIN_LIMIT = "within_limit"
    """At or below the limit; the levels above it are not given."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Levels of a product's specific energy.

    Attributes
    ----------
    limit : float
        限定值 (level 3).
    entry, advanced : float or None
        准入值 (level 2), 先进值 (level 1); a level that is not given stays missing, it is never interpolated.
    unit : str
        ``kgce/t``, ``kWh/t`` ...
    source : str
        Standard, edition and clause, or who set it.
    corrections : tuple of str
        Corrections the standard asks for that have not been applied; the result says "uncorrected".
    """

    limit: float
    entry: float | None
    advanced: float | None
    unit: str
    source: str
    corrections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SpecificEnergy:
    """Energy per unit of product over a period.

    Attributes
    ----------
    value : float
        In `unit`.
    unit : str
    grade : Grade or None
        None without a quota.
    to_next : float or None
        What must be saved per unit of product to reach the next better level. [unit]
    quota : Quota or None
    uncorrected : bool
        The standard asks for corrections that were not entered.
    coverage : float
        Share of the period whose energy was measured.
    """

    value: float
    unit: str
    grade: Grade | None
    to_next: float | None
    quota: Quota | None
    uncorrected: bool
    coverage: float


def specific_energy(
    energy: float, energy_unit: str, output: float, output_unit: str, quota: Quota | None, *, coverage: float = 1.0
) -> SpecificEnergy | NotFit:
    """Energy per unit of product, and where it stands.

    Parameters
    ----------
    energy : float
        Of the same boundary and period as the output. [energy_unit]
    energy_unit : str
        ``kgce`` or ``kWh``.
    output : float
        Qualified product made. [output_unit]
    output_unit : str
        ``t``, ``piece`` ...
    quota : Quota or None
    coverage : float
        Share of the period that was measured.

    Returns
    -------
    SpecificEnergy or NotFit
        ``no-output``, ``no-data``, ``coverage`` (below 90 %), ``unit`` (the quota is in another unit).

    Notes
    -----
    A level is reached by ``value <= level``. Negative values (processes that give energy back) grade the same way.
    Method page: ``docs/methods/specific-energy.md``.
    """
    reasons: list[Reason] = []
    unit = f"{energy_unit}/{output_unit}"
    if not math.isfinite(energy):
        reasons.append(Reason("no-data", "the energy of the period", str(energy)))
    if not math.isfinite(output) or output <= 0.0:
        reasons.append(Reason("no-output", "an output above zero", f"{output:g} {output_unit}"))
    if coverage < LEAST_COVERAGE:
        reasons.append(Reason("coverage", f"{LEAST_COVERAGE:.0%} of the period measured", f"{coverage:.0%}"))
    if quota is not None and quota.unit != unit:
        reasons.append(Reason("unit", f"a quota in {unit}", quota.unit))
    if reasons:
        return NotFit(tuple(reasons))
    value = energy / output
    grade, to_next = (None, None) if quota is None else _grade(value, quota)
    return SpecificEnergy(value, unit, grade, to_next, quota, bool(quota and quota.corrections), coverage)


def _grade(value: float, quota: Quota) -> tuple[Grade, float | None]:
    """The best level reached, and how far the next better one is."""
    levels = [(Grade.ADVANCED, quota.advanced), (Grade.ENTRY, quota.entry), (Grade.LIMIT, quota.limit)]
    given = [(grade, level) for grade, level in levels if level is not None]
    for index, (grade, level) in enumerate(given):
        if value <= level:
            better = given[index - 1][1] if index else None
            alone = grade is Grade.LIMIT and len(given) == 1
            return (Grade.WITHIN_LIMIT if alone else grade), (None if better is None else value - better)
    return Grade.OVER_LIMIT, value - quota.limit
