"""The page of a CJ/T 188 meter: where in its one answer each value stands, and how this maker departs from the rest.

References
----------
CJ/T 188-2004, clause 6: the answer to identifier 901F. Offsets count from the identifier (0), as in the standard's
tables: SER is 2, the first value begins at 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document
from meterline.errors import Problem
from meterline.profile_page import Line, Point, Profile

FIRST = 3
"""Offset of the first value: identifier and SER stand before it. [bytes]"""


class FieldPoint(Point):
    """A measurand at its place in the answer."""

    at: Annotated[int, Field(ge=FIRST, le=99)]
    """Offset of the field from the identifier, its unit byte included. [bytes]"""
    length: Annotated[int, Field(ge=1, le=8)]
    """Bytes of the number, without its unit byte. [bytes]"""
    type: Literal["bcd", "bits"] = "bcd"
    """Packed decimal digits, or a word of bits; both low byte first."""
    decimals: Annotated[int, Field(ge=0, le=4)] | None = None
    """Of a field with a unit byte: digits after the point. The unit byte says of what; `unit` and `scale` are what it
    is handed on in, fine enough for every unit byte a meter of this type may send."""

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.type == "bits" and (self.scale != 1 or self.decimals is not None):
            raise ValueError("a word of bits has neither scale nor unit byte; remove them")
        return self

    @property
    def bytes_each(self) -> int:
        """Bytes of the whole field. [bytes]"""
        return self.length + (self.decimals is not None)

    @property
    def last_digit(self) -> int:
        """Exponent of the last digit the meter itself shows, if it shows the canonical unit."""
        return self.exponent if self.decimals is None else max(self.exponent, -self.decimals)


class Peculiarities(Document):
    """How the meter wants to be asked, and what of the standard its maker read differently."""

    di: Annotated[str, Field(pattern=r"^[0-9A-F]{4}$")] = "901F"
    di_order: Literal["low-first", "high-first"] = "low-first"
    """On the wire ``1F 90`` or ``90 1F``."""
    unit_position: Literal["after", "before"] = "after"
    """Where the unit byte stands: behind its number, or in front."""
    preamble: Annotated[int, Field(ge=0, le=60)] = 4
    """FE bytes before a request that wake the meter. [bytes]"""
    gap_ms: Annotated[int, Field(ge=0, le=5000)] = 0
    """Rest the meter needs between two requests. [ms]"""
    max_reads_per_day: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Of a battery meter: how often a day it may be asked, failed questions included."""


class Cjt188Profile(Profile):
    """One meter type that speaks CJ/T 188."""

    protocol: Literal["cjt188"]
    type: Annotated[str, Field(pattern=r"^[1-4][0-9]$")]
    """T: "10" cold water, "11" hot, "12" drinking, "13" reclaimed; "20" heat, "21" cooling; "30" gas; "40" others."""
    line: Line = Line(baud=2400, parity="E")
    limits: Peculiarities = Peculiarities()
    points: Annotated[tuple[FieldPoint, ...], Field(min_length=1)]

    def problems(self, file: str) -> Iterator[Problem]:
        """What only the whole page shows: fields that overlap."""
        used: dict[int, int] = {}
        for index, point in enumerate(self.points):
            place = f"points[{index}] ({point.measurand})"
            for offset in range(point.at, point.at + point.bytes_each):
                other = used.setdefault(offset, index)
                if other != index:
                    yield Problem(
                        file, place, f"byte {offset} also belongs to points[{other}]",
                        "two values cannot overlap: check 'at', and that a unit byte counts",
                    )  # fmt: skip
                    break
