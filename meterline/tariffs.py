"""What electricity costs when: time-of-use tariffs and the power-factor adjustment, with edition and source.

A day of a tariff has no holes and no overlaps, by check. Prices are dated, because they change monthly while the
windows change yearly; a tariff without a price for a day still says which band an hour belongs to, and no money.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from meterline.documents import Document, Lines, place_text, read_document
from meterline.errors import ConfigError, Problem
from meterline.profiles import Title

Window = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
BandId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
DAY_MIN = 24 * 60


class Band(Document):
    """One price level of a tariff."""

    id: BandId
    title: Title
    float_pct: Annotated[float, Field(gt=-100, le=500)] = 0.0
    """What the band adds to the floating part of the price. [%]"""


class Season(Document):
    """Months with the same windows; local time, the end not included, 24:00 is midnight."""

    months: Annotated[tuple[Annotated[int, Field(ge=1, le=12)], ...], Field(min_length=1)]
    hours: dict[BandId, tuple[Window, ...]]

    def minutes(self) -> list[tuple[int, int, str]]:
        """(start, end, band) in minutes of the day, in order."""
        return sorted((*_minutes(text), band) for band, texts in self.hours.items() for text in texts)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Holes and overlaps of the day, with what to do."""
        at = 0
        for start, end, band in self.minutes():
            if end <= start:
                yield f"{band} {_clock(start)}-{_clock(end)} ends before it begins", "split it at 24:00"
                return
            if start > at:
                yield f"nothing is said for {_clock(at)}-{_clock(start)}", "name a band for it (usually flat)"
            elif start < at:
                yield f"{_clock(start)}-{_clock(min(at, end))} belongs to two bands", "give it to one of them"
            at = max(at, end)
        if at < DAY_MIN:
            yield f"nothing is said for {_clock(at)}-24:00", "name a band for it (usually flat)"


class Price(Document):
    """Prices from a day on."""

    valid_from: dt.date
    floating: Annotated[float, Field(ge=0, le=20)]
    """The part a band raises or lowers. [yuan/kWh]"""
    fixed: Annotated[float, Field(ge=0, le=20)] = 0.0
    """Transmission and distribution, funds: the same in every band. [yuan/kWh]"""
    demand: Annotated[float, Field(ge=0)] | None = None
    """Basic charge by maximum demand. [yuan/(kW month)]"""
    capacity: Annotated[float, Field(ge=0)] | None = None
    """Basic charge by transformer capacity. [yuan/(kVA month)]"""
    source: Annotated[str, Field(min_length=3)]

    @model_validator(mode="after")
    def _one_basis(self) -> Self:
        if self.demand is not None and self.capacity is not None:
            raise ValueError("demand and capacity are both given; a contract has one of them")
        return self


class Tariff(Document):
    """One ``tariff`` file."""

    tariff: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: Title
    edition: str
    valid_from: dt.date
    valid_to: dt.date
    """First day on which it no longer holds."""
    timezone: str = "Asia/Shanghai"
    confidence: Literal["confirmed", "single", "memory"]
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    bands: Annotated[tuple[Band, ...], Field(min_length=1)]
    seasons: Annotated[tuple[Season, ...], Field(min_length=1)]
    prices: tuple[Price, ...] = ()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"unknown time zone {name!r}; use a name such as 'Asia/Shanghai'") from error
        return name

    @property
    def zone(self) -> ZoneInfo:
        """Whose clock the windows are on."""
        return ZoneInfo(self.timezone)

    def season_of(self, month: int) -> Season:
        """The season of a month; every month has one, by check."""
        return next(season for season in self.seasons if month in season.months)

    def price_on(self, day: dt.date) -> Price | None:
        """The prices in force on a day; None where none is known yet."""
        return max((p for p in self.prices if p.valid_from <= day), key=lambda p: p.valid_from, default=None)

    def holds_on(self, day: dt.date) -> bool:
        """Whether the windows are this edition's on a day."""
        return self.valid_from <= day < self.valid_to


class PowerFactorTable(Document):
    """The adjustment for users of one standard."""

    standard: float
    applies_to: str
    confidence: Literal["confirmed", "single", "memory"]
    sources: tuple[str, ...]
    below: float
    """Added for each 0.01 below 0.50. [%]"""
    percent: Annotated[tuple[float, ...], Field(min_length=51, max_length=51)]
    """From 1.00 down to 0.50 in steps of 0.01. [%]"""

    def adjustment(self, power_factor: float) -> float:
        """Percent on the adjustable charge for a month's power factor, which is rounded to two decimals."""
        hundredths = min(max(round(power_factor * 100), 0), 100)
        return self.percent[100 - hundredths] if hundredths >= 50 else self.percent[-1] + self.below * (50 - hundredths)


class PowerFactorFile(Document):
    """One edition of the adjustment."""

    edition: str
    sources: dict[str, str]
    tables: tuple[PowerFactorTable, ...]

    def table(self, standard: float) -> PowerFactorTable | None:
        """The table of a standard (0.90, 0.85, 0.80)."""
        return next((t for t in self.tables if abs(t.standard - standard) < 0.005), None)


def load_tariff(path: Path) -> Tariff:
    """Read one tariff.

    Raises
    ------
    ConfigError
        With every problem: a day with a hole or an overlap, a month in no season or in two, an unknown band.
    """
    document, lines = read_document(path, Tariff)
    problems = list(_problems(document, str(path), lines))
    if problems:
        raise ConfigError(problems)
    return document


def load_power_factor(path: Path) -> PowerFactorFile:
    """Read the tables of the power-factor adjustment.

    Raises
    ------
    ConfigError
        With every problem.
    """
    return read_document(path, PowerFactorFile)[0]


def _problems(tariff: Tariff, file: str, lines: Lines) -> Iterator[Problem]:
    def at(*path: str | int) -> str:
        return place_text(path, lines.nearest(path))

    bands = {band.id for band in tariff.bands}
    months = Counter(month for season in tariff.seasons for month in season.months)
    for month in range(1, 13):
        if months[month] != 1:
            said = "two seasons" if months[month] else "no season"
            yield Problem(file, at("seasons"), f"month {month} belongs to {said}", "each month has exactly one")
    for index, season in enumerate(tariff.seasons):
        for band in sorted(set(season.hours) - bands):
            yield Problem(file, at("seasons", index), f"no band {band!r}", f"there are: {', '.join(sorted(bands))}")
        for what, hint in season.problems():
            yield Problem(file, at("seasons", index, "hours"), f"months {list(season.months)}: {what}", hint)
    if tariff.valid_to <= tariff.valid_from:
        yield Problem(file, at("valid_to"), "ends before it begins", "swap valid_from and valid_to")
    days = Counter(price.valid_from for price in tariff.prices)
    for day, count in days.items():
        if count > 1:
            yield Problem(file, at("prices"), f"{count} prices are valid from {day}", "keep one")


def _minutes(window: str) -> tuple[int, int]:
    start, end = window.split("-")
    return int(start[:2]) * 60 + int(start[3:]), int(end[:2]) * 60 + int(end[3:])


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
