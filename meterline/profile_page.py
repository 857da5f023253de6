"""What every profile page has, whatever protocol its meter speaks: who made it, where it is from, what it measures.

The protocol's own part (where a value is, how its bytes are read) is added by a module of its own
(`meterline.profile_modbus`, ...); `meterline.profiles` reads the files.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document
from meterline.measurands import MEASURANDS, Carrier, Kind, nearest
from meterline.units import CANONICAL, shift_to_canonical


class Rate(StrEnum):
    """How often a point is worth its bus time; the site says what the first three classes mean in seconds."""

    FAST = "fast"
    NORMAL = "normal"
    SLOW = "slow"
    HOURLY = "hourly"
    """At the start and then each hour, when the line has time to spare (event counts, the meter's clock)."""
    DAILY = "daily"
    """At the start and then each day, when the line has time to spare (the meter's number)."""


class Point(Document):
    """A measurand as one profile offers it."""

    measurand: str
    unit: str
    """The maker's unit of the value after `scale`."""
    scale: Annotated[int | float, Field(gt=0)] = 1
    """One step of the raw value, in `unit`: a power of ten (0.01), so that nothing is rounded."""
    rate: Rate | None = None
    """Defaults by kind: gauges fast, counters normal, everything else slow."""
    wraps_at: Annotated[int | float, Field(gt=0)] | None = None
    """First value of `unit` the counter cannot show any more. Take it from the manual."""
    doubt_if: Annotated[int, Field(ge=0)] = 0
    """Bits of a status word: while any of them is set the meter's counters are marked SUSPECT."""
    enabled: bool = True
    """Off for what nobody has verified yet."""
    note: str = ""

    @model_validator(mode="after")
    def _known(self) -> Self:
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
        power_of_ten(self.scale)
        if self.doubt_if and MEASURANDS[self.measurand].kind is not Kind.STATE:
            raise ValueError("'doubt_if' belongs to a status word; remove it")
        return self

    @property
    def kind(self) -> Kind:
        """How its measurand behaves in time."""
        return MEASURANDS[self.measurand].kind

    @property
    def exponent(self) -> int:
        """Value in the canonical unit = raw value * 10**exponent."""
        return power_of_ten(self.scale) + shift_to_canonical(self.unit)

    @property
    def last_digit(self) -> int:
        """Exponent of the last digit the meter itself shows, in the canonical unit."""
        return self.exponent


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
    """One meter type, as far as its protocol does not matter."""

    profile: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """Id: maker and model; also the file's name."""
    revision: Annotated[int, Field(ge=1)]
    title: Title
    protocol: Literal["modbus", "dlt645", "cjt188", "mbus"]
    carrier: Carrier
    source: str
    """Manual, version and page the addresses come from."""
    evidence: Literal["captured", "manual", "unverified"]
    """How sure the addresses are: read off a live meter, off the maker's manual, or neither."""
    value_reference: Literal["primary", "secondary"]
    """Whether the meter shows primary values or the values at its terminals (then the site's ratios apply)."""
    line: Line = Line()
    probe: Probe | None = None
    points: Annotated[tuple[Point, ...], Field(min_length=1)]

    @property
    def id(self) -> str:
        """``name@revision``, as readings carry it."""
        return f"{self.profile}@{self.revision}"

    def rate_of(self, point: Point) -> Rate:
        """The rate class of a point."""
        if point.rate:
            return point.rate
        return {Kind.GAUGE: Rate.FAST, Kind.COUNTER: Rate.NORMAL}.get(point.kind, Rate.SLOW)

    def point(self, measurand: str) -> Point | None:
        """The enabled point of a measurand."""
        return next((p for p in self.points if p.measurand == measurand and p.enabled), None)
