"""Coefficients that turn amounts into coal equivalent and carbon: as documents, checked, with edition and source.

A factor is never a literal in code. Each row of ``config/factors/*.yaml`` has a value, a unit, an edition, a day from
which it is valid, its sources and how sure they are. A row that stands on memory alone is switched off: it can be
chosen by name, and whatever is computed with it is marked indicative.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document, Lines, place_text, read_document
from meterline.errors import ConfigError, Problem

Confidence = Literal["confirmed", "single", "memory"]
FactorKind = Literal["coal_equivalent", "grid_electricity", "combustion", "heat"]

KJ_PER_KGCE = 29307.6
"""What a kilogram of coal equivalent is (GB/T 2589-2020; the 2008 edition had 29 271)."""
CARBON_TO_CO2 = 44.0 / 12.0
"""Molar masses of CO2 and C, as the accounting standards round them."""
TOLERANCE = {"kJ": 0.001, "MJ": 0.005, "GJ": 0.005}
"""How far a value may be from its heating value: annex B prints MJ to two decimals, 1.17 for compressed air."""


class FactorName(Document):
    """The carrier's name for people."""

    en: str
    zh: str


class FactorRow(Document):
    """One coefficient."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]+\.[a-z0-9_]+$")]
    name: FactorName
    unit: Annotated[str, Field(pattern=r"^(kgce|kgCO2)/[A-Za-z0-9]+$")]
    value: Annotated[float, Field(gt=0)] | None = None
    """None: the standard gives a rule (see `rule`), or the value follows from the parts below."""
    value_max: Annotated[float, Field(gt=0)] | None = None
    """The standard gives a range: `value` to this. Not to be computed with; measure the heating value."""
    heating_value: Annotated[float, Field(gt=0)] | None = None
    """Net (lower) heating value, in `heating_value_unit`."""
    heating_value_unit: str = ""
    carbon_content: Annotated[float, Field(gt=0, lt=0.2)] | None = None
    """[tC/GJ]"""
    oxidation: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the carbon that burns."""
    region: str = ""
    purposes: tuple[str, ...] = ()
    """For which kind of report the rules name this row."""
    confidence: Confidence
    enabled: bool = True
    """False: only when chosen by name, and then the result is indicative."""
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    rule: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _honest(self) -> Self:
        if self.confidence == "memory" and self.enabled:
            raise ValueError("stands on memory alone but is switched on; set enabled: false until it is looked up")
        if self.value is None and self.carbon_content is None and not self.rule:
            raise ValueError("has neither a value nor a rule; give one of them")
        if self.value_max is not None and (self.value is None or self.value_max <= self.value):
            raise ValueError("value_max must be above value; a range runs upwards")
        if self.carbon_content is not None and (self.heating_value is None or self.oxidation is None):
            raise ValueError("a combustion row needs heating_value, carbon_content and oxidation; add the missing one")
        return self


class FactorFile(Document):
    """One edition of one standard or notice."""

    kind: FactorKind
    edition: str
    valid_from: dt.date
    valid_to: dt.date | None = None
    """First day on which it no longer holds."""
    data_year: int | None = None
    """Year the numbers describe, where that is not the year of publication."""
    sources: dict[str, str]
    factors: Annotated[tuple[FactorRow, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Factor:
    """A coefficient ready to be used, with everything a report must print beside it.

    Attributes
    ----------
    value : float or None
        In `unit`; None where the standard gives only a rule.
    is_range : bool
        `value` is the lower end of a range and must not be computed with.
    unit : str
        ``kgce/kWh``, ``kgCO2/m3`` ...
    valid_from, valid_to : date, date or None
        Half-open span of validity of the edition.
    indicative : bool
        Switched off by default: what is computed with it must be marked.
    """

    kind: FactorKind
    id: str
    name_en: str
    name_zh: str
    value: float | None
    is_range: bool
    unit: str
    edition: str
    valid_from: dt.date
    valid_to: dt.date | None
    data_year: int | None
    region: str
    purposes: tuple[str, ...]
    confidence: Confidence
    indicative: bool
    source: str
    note: str


def load_factors(*folders: Path) -> tuple[Factor, ...]:
    """Read every ``*.yaml`` of the folders.

    Raises
    ------
    ConfigError
        With every problem of every file: unreadable, unknown keys, a value that contradicts its heating value, a
        source without a text, two values of one coefficient for one day.
    """
    problems: list[Problem] = []
    factors: list[Factor] = []
    places: dict[tuple[str, str, dt.date, int | None], str] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            try:
                document, lines = read_document(path, FactorFile)
            except ConfigError as error:
                problems += error.problems
                continue
            problems += _problems(document, str(path), lines)
            for index, row in enumerate(document.factors):
                key = (document.kind, row.id, document.valid_from, document.data_year)
                place = place_text(("factors", index, "id"), lines.nearest(("factors", index, "id")))
                if key in places:
                    hint = f"also in {places[key]}; a new edition needs its own valid_from"
                    problems.append(Problem(str(path), place, f"{row.id} stands twice for {document.valid_from}", hint))
                places.setdefault(key, f"{path.name}: {place}")
                factors.append(_factor(document, row))
    if problems:
        raise ConfigError(problems)
    return tuple(factors)


def _factor(document: FactorFile, row: FactorRow) -> Factor:
    return Factor(
        kind=document.kind,
        id=row.id,
        name_en=row.name.en,
        name_zh=row.name.zh,
        value=row.value if row.carbon_content is None else _combustion_value(row),
        is_range=row.value_max is not None,
        unit=row.unit,
        edition=document.edition,
        valid_from=document.valid_from,
        valid_to=document.valid_to,
        data_year=document.data_year,
        region=row.region,
        purposes=row.purposes,
        confidence=row.confidence,
        indicative=not row.enabled,
        source="; ".join(document.sources.get(key, key) for key in row.sources),
        note="; ".join(filter(None, (row.rule, row.note))),
    )


_PER_UNIT: dict[tuple[str, str], float] = {
    # (unit of the heating value, unit of the factor): GJ per unit of the factor, and kg per t of CO2
    ("GJ/t", "kgCO2/kg"): 1.0,
    ("GJ/1e4 Nm3", "kgCO2/m3"): 0.1,
}
_KJ: dict[str, float] = {"kJ": 1.0, "MJ": 1000.0, "GJ": 1e6}


def _combustion_value(row: FactorRow) -> float | None:
    """Heating value * carbon content * oxidised share * 44/12 (GB/T 32151 series), in the row's unit."""
    scale = _PER_UNIT.get((row.heating_value_unit, row.unit))
    if scale is None or row.heating_value is None or row.carbon_content is None or row.oxidation is None:
        return None
    return row.heating_value * row.carbon_content * row.oxidation * CARBON_TO_CO2 * scale


def _problems(document: FactorFile, file: str, lines: Lines) -> Iterator[Problem]:
    for index, row in enumerate(document.factors):
        place = place_text(("factors", index), lines.nearest(("factors", index)))
        for key in row.sources:
            if key not in document.sources:
                yield Problem(file, place, f"{row.id}: source {key!r} is not explained", "add it under sources:")
        if row.carbon_content is not None and _combustion_value(row) is None:
            units = " or ".join(f"{heat} with {unit}" for heat, unit in _PER_UNIT)
            yield Problem(
                file,
                place,
                f"{row.id}: {row.heating_value_unit!r} with {row.unit!r} cannot be computed",
                f"use {units}",
            )
        if document.kind == "coal_equivalent" and row.heating_value is not None and row.value is not None:
            energy, _, per = row.heating_value_unit.partition("/")
            if energy not in _KJ or per != row.unit.partition("/")[2]:
                yield Problem(
                    file,
                    place,
                    f"{row.id}: heating value in {row.heating_value_unit!r}",
                    f"use kJ/ or MJ/{row.unit[5:]}",
                )
            elif abs(row.value * KJ_PER_KGCE / (row.heating_value * _KJ[energy]) - 1.0) > TOLERANCE[energy]:
                implied = row.heating_value * _KJ[energy] / KJ_PER_KGCE
                yield Problem(
                    file, place, f"{row.id}: {row.value} kgce contradicts the heating value, which gives {implied:.4f}",
                    "one of both has a lost or swapped digit; look both up",
                )  # fmt: skip
    if document.valid_to is not None and document.valid_to <= document.valid_from:
        yield Problem(
            file, place_text(("valid_to",), lines.nearest(("valid_to",))), "ends before it begins", "swap them"
        )
