"""The page of an M-Bus meter: which record of its answer is which measurand.

An M-Bus meter describes its own answer, unit and power of ten included; the page only says what each record means here.

References
----------
EN 13757-3 (variable data structure: DIF, VIF), EN 13757-2 (link layer).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document
from meterline.errors import Problem
from meterline.measurands import Kind
from meterline.profile_page import Line, Point, Profile

Quantity = Literal[
    "energy.wh", "energy.j", "volume", "mass", "power.w", "flow.volume", "flow.mass", "temperature.flow",
    "temperature.return", "temperature.external", "pressure", "hours.on", "hours.operating", "identity", "status",
]  # fmt: skip
"""What a VIF says a record is."""
Function = Literal["now", "maximum", "minimum", "error"]


class RecordPoint(Point):
    """A measurand in one record of the answer; `scale` and `unit` are the whole steps it is handed on in."""

    quantity: Quantity
    function: Function = "now"
    storage: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Storage number: 0 is the current value, others are kept from a due date."""
    tariff: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    subunit: Annotated[int, Field(ge=0, le=65_535)] = 0
    is_float: bool = False
    """Of a gauge: handed on as a float, for meters that send 32-bit floats. `scale` must then be 1."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.is_float and (self.exponent or self.kind is Kind.COUNTER):
            raise ValueError("a float is a gauge in its canonical unit; remove 'scale', or 'is_float' from a counter")
        return self


class MbusManners(Document):
    """How the meter wants to be asked."""

    gap_ms: Annotated[int, Field(ge=0, le=5000)] = 0
    """Rest the meter needs between two requests. [ms]"""
    max_reads_per_day: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Of a battery meter: how often a day it may be asked, failed questions included."""


class MbusProfile(Profile):
    """One meter type that speaks M-Bus."""

    protocol: Literal["mbus"]
    line: Line = Line(baud=2400, parity="E")
    limits: MbusManners = MbusManners()
    points: Annotated[tuple[RecordPoint, ...], Field(min_length=1)]

    def problems(self, file: str) -> Iterator[Problem]:
        """What only the whole page shows: one record for two measurands."""
        used: dict[tuple[str, str, int, int, int], int] = {}
        for index, point in enumerate(self.points):
            record = (point.quantity, point.function, point.storage, point.tariff, point.subunit)
            other = used.setdefault(record, index)
            if other != index:
                yield Problem(
                    file, f"points[{index}] ({point.measurand})", f"this record also belongs to points[{other}]",
                    "keep one of them, or tell them apart by storage, tariff or subunit",
                )  # fmt: skip
