"""Amounts of energy carriers into one common quantity (coal equivalent, carbon), line by line with edition and source.

Choosing a factor and computing with it are two steps on purpose: what was chosen, of which edition and how sure, stands
in every line of the result, and a choice that cannot be made is a named reason, never a silent default.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analytics.fitness import NotFit, Reason
from meterline.factors import Factor, FactorKind
from meterline.units import CANONICAL, shift_to_canonical


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a carrier was used, and the factor chosen for it.

    Attributes
    ----------
    carrier : str
        What the report calls it.
    amount : float
        In `unit`. A total that is only partly measured says so in `coverage`.
    unit : str
        Any unit of `meterline.units` of the factor's kind: kWh for ``kgce/kWh``, GJ or MJ for ``kgce/MJ`` ...
    factor : Factor or NotFit
        As `choose` gave it.
    coverage : float
        Share of the period that was measured, 0..1.
    """

    carrier: str
    amount: float
    unit: str
    factor: Factor | NotFit
    coverage: float = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the result.

    Attributes
    ----------
    result_t : float
        [tce or tCO2]
    indicative : bool
        The factor was switched off by default (from memory, or a rule's typical value) and chosen all the same.
    """

    carrier: str
    amount: float
    unit: str
    factor: Factor
    result_t: float
    coverage: float
    indicative: bool


@dataclass(frozen=True, slots=True)
class Conversion:
    """The table and its total.

    Attributes
    ----------
    into : str
        ``kgce`` or ``kgCO2``; the results are in tonnes of it.
    lines : tuple of Line
    total_t : float
        Sum of the lines, not of what was refused. [tce or tCO2]
    refused : tuple of (carrier, NotFit)
        Carriers that could not be converted; the total is incomplete if there is any.
    """

    into: str
    lines: tuple[Line, ...]
    total_t: float
    refused: tuple[tuple[str, NotFit], ...]

    @property
    def complete(self) -> bool:
        return not self.refused

    @property
    def indicative(self) -> bool:
        """Whether any line stands on a factor that is switched off by default."""
        return any(line.indicative for line in self.lines)

    @property
    def editions(self) -> tuple[str, ...]:
        """What the report must name."""
        return tuple(dict.fromkeys(line.factor.edition for line in self.lines))


KG_PER_T = 1000.0


def choose(
    factors: Iterable[Factor],
    kind: FactorKind,
    id: str,
    on: dt.date,
    *,
    data_year: int | None = None,
    allow_indicative: bool = False,
) -> Factor | NotFit:
    """The factor of this name that was valid on a day.

    Parameters
    ----------
    factors : iterable of Factor
        All that were loaded.
    kind, id : str
        Such as ``coal_equivalent``, ``electricity.current``.
    on : date
        For accounting standards the period reported; for published grid factors the day of the report (the latest
        factor *published* then applies).
    data_year : int, optional
        Exactly this vintage instead of the latest.
    allow_indicative : bool
        Someone has decided to use a row that is switched off; the result will say so.

    Returns
    -------
    Factor or NotFit
        ``unknown-factor``, ``not-valid-then``, ``switched-off``, ``rule-only`` or ``range``.
    """
    named = [factor for factor in factors if factor.kind == kind and factor.id == id]
    if not named:
        return NotFit.because("unknown-factor", f"a factor {id} of kind {kind}", "none in the factor files")
    valid = [f for f in named if f.valid_from <= on and (f.valid_to is None or on < f.valid_to)]
    if data_year is not None:
        valid = [f for f in named if f.data_year == data_year]
    if not valid:
        editions = ", ".join(f"{f.edition} from {f.valid_from}" for f in named)
        wanted = f"valid on {on}" if data_year is None else f"for the data year {data_year}"
        return NotFit.because("not-valid-then", f"an edition of {id} {wanted}", editions)
    factor = max(valid, key=lambda f: (f.valid_from, f.data_year or 0))
    if factor.is_range:
        return NotFit.because(
            "range",
            f"the measured heating value of {factor.name_en}",
            f"only a range in {factor.edition}",
            factor.edition,
        )
    if factor.value is None:
        return NotFit.because("rule-only", f"a value by the rule: {factor.note}", "none entered", factor.edition)
    if factor.indicative and not allow_indicative:
        return NotFit.because(
            "switched-off", f"a confirmed value of {id}", f"{factor.value:g} {factor.unit} ({factor.confidence})"
        )
    return factor


def convert(uses: Sequence[Use], into: str) -> Conversion:
    """Sum carriers into tonnes of coal equivalent or of carbon dioxide.

    Parameters
    ----------
    uses : sequence of Use
    into : {"kgce", "kgCO2"}

    Returns
    -------
    Conversion
        A carrier whose factor could not be chosen, or whose units do not fit, is in `refused`; nothing is guessed.

    References
    ----------
    GB/T 2589-2020: ``E = sum(E_i * k_i)``. Method page: ``docs/methods/coal-equivalent.md``.
    """
    lines: list[Line] = []
    refused: list[tuple[str, NotFit]] = []
    for use in uses:
        if isinstance(use.factor, NotFit):
            refused.append((use.carrier, use.factor))
            continue
        scale = _scale(use, into)
        if isinstance(scale, NotFit):
            refused.append((use.carrier, scale))
            continue
        result = use.amount * scale * (use.factor.value or 0.0) / KG_PER_T
        lines.append(Line(use.carrier, use.amount, use.unit, use.factor, result, use.coverage, use.factor.indicative))
    return Conversion(into, tuple(lines), math.fsum(line.result_t for line in lines), tuple(refused))


def _scale(use: Use, into: str) -> float | NotFit:
    """The power of ten between the unit of the amount and that of the factor."""
    assert isinstance(use.factor, Factor)
    numerator, _, per = use.factor.unit.partition("/")
    wrong: list[Reason] = []
    if numerator != into:
        wrong.append(Reason("unit", f"a factor in {into}", use.factor.unit))
    if not math.isfinite(use.amount):
        wrong.append(Reason("no-data", f"an amount of {use.carrier}", str(use.amount)))
    if use.unit not in CANONICAL or per not in CANONICAL or CANONICAL[use.unit] != CANONICAL[per]:
        wrong.append(Reason("unit", f"an amount of {use.carrier} in {per}", use.unit))
    if wrong:
        return NotFit(tuple(wrong))
    return 10.0 ** (shift_to_canonical(use.unit) - shift_to_canonical(per))
