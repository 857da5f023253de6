"""A meter type as a page a non-programmer can write: where its values are, and what they mean.

A profile states the maker's own words (addresses, data types, units) and binds each to a measurand of the closed
list. Vendor vocabulary lives here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document, read_document
from meterline.errors import ConfigError, Problem
from meterline.measurands import MEASURANDS, Carrier, Kind, nearest
from meterline.units import CANONICAL, shift_to_canonical

Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
"""How the bytes of a 32-bit value stand in two words: A is the most significant byte."""

DataType = Literal[
    "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64", "bcd16", "bcd32", "bcd48"
]
WORDS: dict[str, int] = {
    "uint16": 1, "int16": 1, "bcd16": 1, "uint32": 2, "int32": 2, "float32": 2, "bcd32": 2, "bcd48": 3,
    "uint64": 4, "int64": 4, "float64": 4,
}  # fmt: skip


class Table(StrEnum):
    """Which of the two readable word tables of Modbus."""

    HOLDING = "holding"
    INPUT = "input"


class Rate(StrEnum):
    """How often a point is worth its bus time; the site says what each class means in seconds."""

    FAST = "fast"
    NORMAL = "normal"
    SLOW = "slow"


class Limits(Document):
    """What the meter can take in one request."""

    max_words: Annotated[int, Field(ge=1, le=125)] = 125
    """Largest read. [words]"""
    align: Literal[1, 2] = 1
    """2 where start address and length must be even."""
    max_gap: Annotated[int, Field(ge=0, le=124)] = 8
    """Widest run of unused words worth reading across; 0 where the meter refuses unlisted addresses. [words]"""
    no_bridge: tuple[tuple[int, int], ...] = ()
    """Address spans (first, last) that may not be read across. [words]"""
    gap_ms: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rest the meter needs between two requests, beyond the protocol's own silence. [ms]"""


class Cells(Document):
    """One value as the meter keeps it: where it starts, and how its bytes are to be read."""

    at: Annotated[int, Field(ge=0, le=0xFFFF)]
    """Address of the first word, 0-based as on the wire. [words]"""
    table: Table | None = None
    type: DataType | None = None
    order: Order | None = None


class Point(Document):
    """A measurand as one profile offers it."""

    measurand: str
    at: Annotated[int, Field(ge=0, le=0xFFFF)] | None = None
    """Address of the first word, 0-based as on the wire. [words]"""
    sum_of: tuple[Cells, ...] = ()
    """Instead of `at`: values that must come from one answer and are added (import = tariff 1 + tariff 2)."""
    table: Table | None = None
    type: DataType | None = None
    order: Order | None = None
    unit: str
    """The maker's unit of the value after `scale`."""
    scale: Annotated[int | float, Field(gt=0)] = 1
    """One step of the raw value, in `unit`: a power of ten (0.01), so that nothing is rounded."""
    rate: Rate | None = None
    """Defaults by kind: gauges fast, counters normal, everything else slow."""
    wraps_at: Annotated[int | float, Field(gt=0)] | None = None
    """First value of `unit` the counter cannot show any more. Take it from the manual."""
    not_available: tuple[int, ...] = ()
    """Raw bit patterns that mean "no value"; NaN always does."""
    enabled: bool = True
    """Off for what nobody has verified yet."""
    note: str = ""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.measurand not in MEASURANDS:
            close = nearest(self.measurand)
            raise ValueError(
                f"unknown measurand {self.measurand!r}; "
                + (f"did you mean {close!r}?" if close else "see docs/nomenclature.md for the list")
            )
        wanted = MEASURANDS[self.measurand].unit
        if self.unit not in CANONICAL:
            raise ValueError(f"unknown unit {self.unit!r}; use one of {', '.join(sorted(CANONICAL))}")
        if CANONICAL[self.unit] != wanted:
            raise ValueError(f"{self.measurand} is kept in {wanted}, which {self.unit!r} cannot become; check both")
        if (self.at is None) == (not self.sum_of):
            raise ValueError("a point needs either 'at' or 'sum_of'; give exactly one of them")
        power_of_ten(self.scale)
        return self

    @property
    def kind(self) -> Kind:
        """How its measurand behaves in time."""
        return MEASURANDS[self.measurand].kind

    @property
    def exponent(self) -> int:
        """Value in the canonical unit = raw value * 10**exponent."""
        return power_of_ten(self.scale) + shift_to_canonical(self.unit)


def power_of_ten(scale: int | float) -> int:
    """The exponent of a scale that is a power of ten.

    Raises
    ------
    ValueError
        The scale is no power of ten: applying it would round the meter's value.
    """
    for exponent in range(-9, 10):
        if scale == (10**exponent if exponent >= 0 else float(f"1e{exponent}")):
            return exponent
    raise ValueError(f"scale {scale} is no power of ten; name another unit, or the ratio in the site file")


class Defaults(Document):
    """What all points of the profile share unless they say otherwise."""

    table: Table = Table.HOLDING
    type: DataType = "uint16"
    order: Order = "ABCD"


class Line(Document):
    """The maker's factory setting of the serial port."""

    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1


class Title(Document):
    """The meter's name for people."""

    en: str
    zh: str


class Probe(Document):
    """One value by which a meter of this type recognises itself: ``scan`` and ``read`` look at it first."""

    measurand: str
    between: tuple[float, float]
    """Plausible range in the canonical unit."""


class Profile(Document):
    """One meter type."""

    profile: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """Id: maker and model; also the file's name."""
    revision: Annotated[int, Field(ge=1)]
    title: Title
    protocol: Literal["modbus"]
    carrier: Carrier
    source: str
    """Manual, version and page the addresses come from."""
    evidence: Literal["captured", "manual", "unverified"]
    """How sure the addresses are: read off a live meter, off the maker's manual, or neither."""
    value_reference: Literal["primary", "secondary"]
    """Whether the meter shows primary values or the values at its terminals (then the site's ratios apply)."""
    line: Line = Line()
    limits: Limits = Limits()
    defaults: Defaults = Defaults()
    probe: Probe | None = None
    points: Annotated[tuple[Point, ...], Field(min_length=1)]

    @property
    def id(self) -> str:
        """``name@revision``, as readings carry it."""
        return f"{self.profile}@{self.revision}"

    def cells_of(self, point: Point) -> tuple[Cells, ...]:
        """The cells of a point with the profile's defaults filled in."""
        raw = point.sum_of or (Cells(at=point.at if point.at is not None else 0),)
        return tuple(
            Cells(
                at=cell.at,
                table=cell.table or point.table or self.defaults.table,
                type=cell.type or point.type or self.defaults.type,
                order=cell.order or point.order or self.defaults.order,
            )
            for cell in raw
        )

    def rate_of(self, point: Point) -> Rate:
        """The rate class of a point."""
        if point.rate:
            return point.rate
        return {Kind.GAUGE: Rate.FAST, Kind.COUNTER: Rate.NORMAL}.get(point.kind, Rate.SLOW)

    def point(self, measurand: str) -> Point | None:
        """The enabled point of a measurand."""
        return next((p for p in self.points if p.measurand == measurand and p.enabled), None)


def _profile_problems(profile: Profile, file: str) -> Iterator[Problem]:
    """What only the whole page shows: cells that overlap, cut values, values no request can hold."""
    if profile.profile != Path(file).stem:
        yield Problem(file, "profile", f"{profile.profile!r} is not the file's name", f"name it {profile.profile}.yaml")
    seen: dict[str, int] = {}
    used: dict[tuple[Table, int], int] = {}
    for index, point in enumerate(profile.points):
        place = f"points[{index}] ({point.measurand})"
        if point.measurand in seen and point.enabled:
            yield Problem(file, place, f"is also points[{seen[point.measurand]}]", "keep one of them")
        if point.enabled:
            seen[point.measurand] = index
        cells = profile.cells_of(point)
        span = max(cell.at + WORDS[cell.type or "uint16"] for cell in cells) - min(cell.at for cell in cells)
        if len({cell.table for cell in cells}) > 1:
            yield Problem(file, place, "its parts lie in two tables, no one answer holds them", "check sum_of")
        elif point.sum_of and span > profile.limits.max_words:
            yield Problem(
                file, place, f"its parts span {span} words, one answer holds {profile.limits.max_words}",
                "parts of a sum must come from one answer: check their addresses",
            )  # fmt: skip
        for cell in cells:
            assert cell.table is not None
            assert cell.type is not None
            words = WORDS[cell.type]
            if words > profile.limits.max_words:
                yield Problem(
                    file, place, f"{cell.type} needs {words} words, the meter gives {profile.limits.max_words}"
                )
            if cell.at + words > 0x10000:
                yield Problem(file, place, f"address {cell.at:#06x} leaves no room for {words} words")
            if profile.limits.align == 2 and (cell.at % 2 or words % 2):
                yield Problem(
                    file, place, f"address {cell.at:#06x} or length is odd, limits.align is 2", "check the manual"
                )
            for address in range(cell.at, cell.at + words):
                other = used.setdefault((cell.table, address), index)
                if other != index:
                    yield Problem(
                        file, place, f"word {address:#06x} also belongs to points[{other}]",
                        "two values cannot overlap: check address and type",
                    )  # fmt: skip
                    break
    if profile.probe and profile.point(profile.probe.measurand) is None:
        yield Problem(file, "probe.measurand", f"{profile.probe.measurand!r} is no enabled point of this profile")


def load_profile(path: Path) -> Profile:
    """Read one profile file.

    Raises
    ------
    ConfigError
        With every problem of the page.
    """
    profile, _ = read_document(path, Profile)
    problems = list(_profile_problems(profile, str(path)))
    if problems:
        raise ConfigError(problems)
    return profile


def load_profiles(*folders: Path) -> dict[str, Profile]:
    """Every profile of the folders by id; a later folder (the site's own) replaces an earlier one's page.

    Raises
    ------
    ConfigError
        With every problem of every page.
    """
    profiles: dict[str, Profile] = {}
    problems: list[Problem] = []
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            try:
                profile = load_profile(path)
            except ConfigError as error:
                problems += error.problems
            else:
                profiles[profile.profile] = profile
    if problems:
        raise ConfigError(problems)
    return profiles
