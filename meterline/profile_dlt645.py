"""The page of a DL/T 645 meter: which data identifier holds what, in how many bytes, and in which block it also comes.

References
----------
DL/T 645-2007, annex A (data identifiers) and annex B (blocks): an FF in a field of the identifier stands for all items
of that field, in the order of their numbers. The 1997 edition has identifiers of two bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterline.documents import Document
from meterline.errors import Problem
from meterline.profile_page import Line, Point, Profile

DIGITS: dict[str, int] = {"2007": 8, "1997": 4}
"""Edition -> hexadecimal digits of an identifier."""
Identifier = Annotated[str, Field(pattern=r"^([0-9A-F]{8}|[0-9A-F]{4})$")]
"""DI3 DI2 DI1 DI0 (1997: DI1 DI0) as the standard's tables print them."""


class ItemPoint(Point):
    """A measurand kept under an identifier of its own, and perhaps also as one item of a block."""

    di: Identifier
    length: Annotated[int, Field(ge=1, le=8)]
    """Bytes of the number, two decimal digits each. [bytes]"""
    size: Annotated[int, Field(ge=1, le=64)] | None = None
    """Bytes of the whole item where something follows the number (a maximum demand's time). [bytes]"""
    type: Literal["bcd", "bits"] = "bcd"
    """Packed decimal digits, or a word of bits; both low byte first."""
    signed: bool = False
    """Whether the highest bit of the highest byte is a minus sign."""
    block: Identifier | None = None
    """Identifier of the block that brings it with others in one answer."""
    item: Annotated[int, Field(ge=0, le=63)] | None = None
    """Which item of that block, counted from 0."""

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if (self.block is None) != (self.item is None):
            raise ValueError("'block' and 'item' belong together; give both or neither")
        if self.size is not None and self.size < self.length:
            raise ValueError(f"the number has {self.length} bytes, the item only {self.size}; check both")
        if self.type == "bits" and (self.signed or self.scale != 1):
            raise ValueError("a word of bits has neither sign nor scale; remove them")
        return self

    @property
    def bytes_each(self) -> int:
        """Bytes of the item as it stands in an answer. [bytes]"""
        return self.size or self.length


class Manners(Document):
    """How the meter wants to be asked."""

    preamble: Annotated[int, Field(ge=0, le=4)] = 4
    """FE bytes before a request that wake the meter. [bytes]"""
    gap_ms: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rest the meter needs between two requests, beyond the protocol's own silence. [ms]"""


class Dlt645Profile(Profile):
    """One meter type that speaks DL/T 645."""

    protocol: Literal["dlt645"]
    edition: Literal["2007", "1997"] = "2007"
    line: Line = Line(baud=2400, parity="E")
    limits: Manners = Manners()
    points: Annotated[tuple[ItemPoint, ...], Field(min_length=1)]

    def problems(self, file: str) -> Iterator[Problem]:
        """What only the whole page shows: identifiers of the wrong edition or used twice, blocks that do not add up."""
        digits = DIGITS[self.edition]
        single: dict[str, int] = {}
        items: dict[tuple[str, int], int] = {}
        sizes: dict[str, int] = {}
        for index, point in enumerate(self.points):
            place = f"points[{index}] ({point.measurand})"
            for di in filter(None, (point.di, point.block)):
                if len(di) != digits:
                    yield Problem(file, place, f"{di!r} is no identifier of the {self.edition} edition",
                                  f"it has {digits} digits there: check 'edition'")  # fmt: skip
            other = single.setdefault(point.di, index)
            if other != index:
                yield Problem(file, place, f"identifier {point.di} also belongs to points[{other}]", "keep one of them")
            if point.block is None or point.item is None:
                continue
            other = items.setdefault((point.block, point.item), index)
            if other != index:
                yield Problem(
                    file, place, f"item {point.item} of block {point.block} also belongs to points[{other}]",
                    "items are counted from 0, in the order of the standard's table",
                )  # fmt: skip
            if sizes.setdefault(point.block, point.bytes_each) != point.bytes_each:
                yield Problem(
                    file, place, f"the items of block {point.block} have {sizes[point.block]} bytes, this one "
                    f"{point.bytes_each}", "all items of a block are of one length: check length and size",
                )  # fmt: skip
