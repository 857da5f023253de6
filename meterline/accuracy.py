"""Error limits of instruments by class, as documents with source and confidence.

A class is what the nameplate says; what it allows depends on load and power factor. The numbers are data because an
edition of a standard changes them, and because a plant may know its instruments better than their class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document, place_text, read_document
from meterline.errors import ConfigError, Problem
from meterline.measurands import Carrier

Percent = Annotated[float, Field(gt=0, le=50)]
Minutes = Annotated[float, Field(ge=0, le=600)]
Confidence = Literal["confirmed", "single", "memory"]


class _Row(Document):
    """What every row has: where it is from and how sure."""

    confidence: Confidence
    sources: Annotated[tuple[str, ...], Field(min_length=1)]


class MeterLimit(_Row):
    """One accuracy class of a meter."""

    name: Annotated[str, Field(alias="class")]
    alias: tuple[str, ...] = ()
    """Other names of the same limits: the letter of GB/T 17215.211, the class without S."""
    at_pf_1: Percent
    at_other_pf: Percent
    """At 0.5 inductive or 0.8 capacitive."""
    low_at_pf_1: Percent
    low_at_other_pf: Percent
    transition: Annotated[float, Field(gt=0, lt=1)]
    """Share of the rated current below which the `low_` limits hold."""


class CtLimit(_Row):
    """One accuracy class of a current transformer, by load."""

    name: Annotated[str, Field(alias="class")]
    at: Annotated[tuple[float, ...], Field(min_length=2)]
    """Shares of the rated primary current, rising."""
    ratio_pct: tuple[Percent, ...]
    phase_min: tuple[Minutes, ...]
    """Phase displacement. [minutes of arc]"""

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if not len(self.at) == len(self.ratio_pct) == len(self.phase_min):
            raise ValueError("at, ratio_pct and phase_min differ in length; give one value of each for every load")
        if list(self.at) != sorted(set(self.at)):
            raise ValueError("the loads in 'at' must rise; sort them")
        return self


class VtLimit(_Row):
    """One accuracy class of a voltage transformer."""

    name: Annotated[str, Field(alias="class")]
    ratio_pct: Percent
    phase_min: Minutes


class AccuracyFile(Document):
    """The classes of the instruments of one carrier."""

    carrier: Carrier
    sources: dict[str, str]
    meters: tuple[MeterLimit, ...] = ()
    current_transformers: tuple[CtLimit, ...] = ()
    voltage_transformers: tuple[VtLimit, ...] = ()

    def meter(self, name: str) -> MeterLimit | None:
        """The limits of a meter's class; None where the class is not listed."""
        wanted = name.strip().upper()
        return next((m for m in self.meters if wanted in {m.name.upper(), *(a.upper() for a in m.alias)}), None)

    def ct(self, name: str) -> CtLimit | None:
        """The limits of a current transformer's class."""
        return next((t for t in self.current_transformers if t.name.upper() == name.strip().upper()), None)

    def vt(self, name: str) -> VtLimit | None:
        """The limits of a voltage transformer's class."""
        return next((t for t in self.voltage_transformers if t.name.upper() == name.strip().upper()), None)


def load_accuracy(path: Path) -> AccuracyFile:
    """Read one file of classes.

    Raises
    ------
    ConfigError
        With every problem: unreadable, unknown keys, a class given twice, a source without a text.
    """
    document, lines = read_document(path, AccuracyFile)
    problems: list[Problem] = []
    for group in ("meters", "current_transformers", "voltage_transformers"):
        seen: set[str] = set()
        for index, row in enumerate(getattr(document, group)):
            place = place_text((group, index), lines.nearest((group, index)))
            if row.name in seen:
                problems.append(Problem(str(path), place, f"class {row.name!r} stands twice", "keep one of them"))
            seen.add(row.name)
            problems += [
                Problem(str(path), place, f"source {key!r} is not explained", "add it under sources:")
                for key in row.sources
                if key not in document.sources
            ]
    if problems:
        raise ConfigError(problems)
    return document
