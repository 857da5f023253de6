"""The page of a Modbus meter: tables, addresses, data types, and what the meter takes in one request."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document
from meterline.errors import Problem
from meterline.profile_page import Point, Profile

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


class Limits(Document):
    """What the meter can take in one request."""

    max_words: Annotated[int, Field(ge=1, le=125)] = 125
    """Largest read. [words]"""
    align: Literal[1, 2] = 1
    """2 where start address and length must be even."""
    max_gap: Annotated[int, Field(ge=0, le=124)] = 16
    """Widest run of unused words worth reading across; 0 where the meter refuses unlisted addresses. [words]

    Sixteen words take as long at 9600 baud as another request to a meter that answers within 20 ms. A meter that
    refuses what the page does not forbid is asked in parts, and that is remembered."""
    no_bridge: tuple[tuple[int, int], ...] = ()
    """Address spans (first, last) that may not be read across. [words]"""
    gap_ms: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rest the meter needs between two requests, beyond the protocol's own silence. [ms]"""
    in_flight: Annotated[int, Field(ge=1, le=16)] = 1
    """Questions the meter's own Ethernet port takes at once."""


class Cells(Document):
    """One value as the meter keeps it: where it starts, and how its bytes are to be read."""

    at: Annotated[int, Field(ge=0, le=0xFFFF)]
    """Address of the first word, 0-based as on the wire. [words]"""
    table: Table | None = None
    type: DataType | None = None
    order: Order | None = None
    times: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1
    """Of a part of `sum_of`: how many units one of it is (a total in hundreds and a remainder: 100 and 1)."""


class CellPoint(Point):
    """A measurand kept in words: at one place, or in several that are added."""

    at: Annotated[int, Field(ge=0, le=0xFFFF)] | None = None
    """Address of the first word, 0-based as on the wire. [words]"""
    sum_of: tuple[Cells, ...] = ()
    """Instead of `at`: values that must come from one answer and are added (import = tariff 1 + tariff 2)."""
    table: Table | None = None
    type: DataType | None = None
    order: Order | None = None
    not_available: tuple[int, ...] = ()
    """Raw bit patterns that mean "no value"; NaN always does."""
    scale_at: Cells | None = None
    """Where the meter keeps the decimal exponent of its value: value = raw * 10**exponent. It comes with the value in
    one answer; `scale` is then the finest step the meter may be set to."""

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if (self.at is None) == (not self.sum_of):
            raise ValueError("a point needs either 'at' or 'sum_of'; give exactly one of them")
        if self.scale_at is not None and self.sum_of:
            raise ValueError("'scale_at' goes with one value, not with 'sum_of'; remove one of them")
        return self


class Defaults(Document):
    """What all points of the profile share unless they say otherwise."""

    table: Table = Table.HOLDING
    type: DataType = "uint16"
    order: Order = "ABCD"


class Mark(Document):
    """Words a maker put there to be recognised by: a type code, a name, ``SunS``."""

    at: Annotated[int, Field(ge=0, le=0xFFFF)]
    """Address of the first word, 0-based as on the wire. [words]"""
    table: Table | None = None
    words: Annotated[tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...], Field(min_length=1, max_length=16)]
    """What stands there."""
    says: str
    """What that means, for people."""


class ModbusProfile(Profile):
    """One meter type that speaks Modbus."""

    protocol: Literal["modbus"]
    scaled_by: Literal["pulses", "span"] | None = None
    """What the site must say of each installed one before its numbers mean anything (see `meterline.site.Ratio`)."""
    marks: tuple[Mark, ...] = ()
    """What ``scan`` recognises the meter by, where its maker provided for it; all of them must be there."""
    limits: Limits = Limits()
    defaults: Defaults = Defaults()
    points: Annotated[tuple[CellPoint, ...], Field(min_length=1)]

    def cells_of(self, point: CellPoint) -> tuple[Cells, ...]:
        """The cells of a point with the profile's defaults filled in."""
        raw = point.sum_of or (Cells(at=point.at if point.at is not None else 0),)
        return tuple(
            Cells(
                at=cell.at,
                table=cell.table or point.table or self.defaults.table,
                type=cell.type or point.type or self.defaults.type,
                order=cell.order or point.order or self.defaults.order,
                times=cell.times,
            )
            for cell in raw
        )

    def exponent_cell(self, point: CellPoint) -> Cells | None:
        """The cell of a point's exponent, with the defaults filled in (a signed word); None for a fixed scale."""
        cell = point.scale_at
        if cell is None:
            return None
        table, order = cell.table or point.table or self.defaults.table, cell.order or point.order
        return Cells(at=cell.at, table=table, type=cell.type or "int16", order=order or self.defaults.order)

    def moved_by(self, words: int) -> Self:
        """The same page with all addresses further on: another input of a module, a model that begins elsewhere.

        Its name says so, and readings carry that name: ``pulse-input-32.at-6@1``.
        """

        def cell(one: Cells) -> Cells:
            return one.model_copy(update={"at": one.at + words})

        def point(one: CellPoint) -> CellPoint:
            return one.model_copy(
                update={
                    "at": None if one.at is None else one.at + words,
                    "sum_of": tuple(map(cell, one.sum_of)),
                    "scale_at": None if one.scale_at is None else cell(one.scale_at),
                }
            )

        limits = self.limits.model_copy(
            update={"no_bridge": tuple((first + words, last + words) for first, last in self.limits.no_bridge)}
        )
        name = f"{self.profile}.at-{words}"
        return self.model_copy(update={"profile": name, "points": tuple(map(point, self.points)), "limits": limits})

    def problems(self, file: str) -> Iterator[Problem]:
        """What only the whole page shows: cells that overlap, cut values, values no request can hold."""
        used: dict[tuple[Table, int], int] = {}
        for index, point in enumerate(self.points):
            place = f"points[{index}] ({point.measurand})"
            cells = self.cells_of(point)
            exponent = self.exponent_cell(point)
            together = cells if exponent is None else (*cells, exponent)
            span = max(c.at + WORDS[c.type or "uint16"] for c in together) - min(c.at for c in together)
            if len({cell.table for cell in together}) > 1:
                yield Problem(
                    file, place, "its parts lie in two tables, no one answer holds them", "check sum_of and scale_at"
                )
            elif len(together) > 1 and span > self.limits.max_words:
                yield Problem(
                    file, place, f"its parts span {span} words, one answer holds {self.limits.max_words}",
                    "parts of a sum must come from one answer: check their addresses",
                )  # fmt: skip
            for cell in cells:
                assert cell.table is not None
                assert cell.type is not None
                words = WORDS[cell.type]
                if words > self.limits.max_words:
                    yield Problem(
                        file, place, f"{cell.type} needs {words} words, the meter gives {self.limits.max_words}"
                    )
                if cell.at + words > 0x10000:
                    yield Problem(file, place, f"address {cell.at:#06x} leaves no room for {words} words")
                if self.limits.align == 2 and (cell.at % 2 or words % 2):
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
