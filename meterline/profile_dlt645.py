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
from meterline.measurands import MEASURANDS
from meterline.profile_page import Line, Point, Profile

DIGITS: dict[str, int] = {"2007": 8, "1997": 4}
"""Edition -> hexadecimal digits of an identifier."""
Identifier = Annotated[str, Field(pattern=r"^([0-9A-F]{8}|[0-9A-F]{4})$")]
"""DI3 DI2 DI1 DI0 (1997: DI1 DI0) as the standard's tables print them."""


class ItemPoint(Point):
    """A measurand kept under an identifier of its own, and perhaps also as one item of a block."""

    di: Identifier | None = None
    """Its own identifier; none where it only comes in a block."""
    length: Annotated[int, Field(ge=1, le=8)]
    """Bytes of the number, two decimal digits each. [bytes]"""
    size: Annotated[int, Field(ge=1, le=64)] | None = None
    """Bytes of the whole item where something follows the number (a maximum demand's time). [bytes]"""
    type: Literal["bcd", "bits", "date"] = "bcd"
    """Packed decimal digits; a word of bits; or a date YYMMDDWW, handed on as YYYYMMDD. All low byte first."""
    signed: bool = False
    """Whether the highest bit of the highest byte is a minus sign."""
    block: Identifier | None = None
    """Identifier of the block that brings it with others in one answer."""
    item: Annotated[int, Field(ge=0, le=63)] | None = None
    """Which item of that block, counted from 0."""
    record: Identifier | None = None
    """Of an event count: the identifier of the record of the last event, fetched when the count has risen."""
    record_at: Annotated[int, Field(ge=0, le=60)] = 0
    """Where in that record the time of the event stands (YYMMDDhhmmss, low byte first). [bytes]"""

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if (self.block is None) != (self.item is None):
            raise ValueError("'block' and 'item' belong together; give both or neither")
        if self.size is not None and self.size < self.length:
            raise ValueError(f"the number has {self.length} bytes, the item only {self.size}; check both")
        if self.type != "bcd" and (self.signed or self.scale != 1):
            raise ValueError("a word of bits or a date has neither sign nor scale; remove them")
        if self.type == "date" and self.length != 4:
            raise ValueError("a date has 4 bytes (YYMMDDWW); check 'length'")
        if self.di is None and self.block is None:
            raise ValueError("a point needs 'di', or 'block' and 'item'; give one of them")
        if self.record is not None and f"{self.measurand}.last" not in MEASURANDS:
            raise ValueError(f"{self.measurand} is no event count; remove 'record'")
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


class FrozenBlock(Document):
    """One block of a daily freeze: the counters as they stood at midnight, four bytes each."""

    di: Annotated[str, Field(pattern=r"^05[0-9A-F]{4}$")]
    """DI3 DI2 DI1; DI0 says how many days ago (01 is the last midnight)."""
    counters: Annotated[tuple[str, ...], Field(min_length=1)]
    """Measurands of its items, in order."""


class DailyFreeze(Document):
    """What the meter notes by itself each midnight (日冻结)."""

    time: Annotated[str, Field(pattern=r"^05[0-9A-F]{4}$")] = "050600"
    """DI3 DI2 DI1 of the moment of the freeze."""
    blocks: Annotated[tuple[FrozenBlock, ...], Field(min_length=1)]
    days: Annotated[int, Field(ge=1, le=62)] = 62
    """How many the meter keeps. [days]"""


class LoadRecords(Document):
    """What the meter notes by itself every few minutes (负荷记录)."""

    di: Annotated[str, Field(pattern=r"^06[0-9A-F]{4}01$")] = "06040001"
    """Identifier of "records from a given time on"; class 4 holds the energies."""
    at_once: Annotated[int, Field(ge=1, le=20)] = 5
    """Records asked for in one question."""
    energies: tuple[str, ...] = ("energy.active.import", "energy.active.export")
    """Measurands of the energies of a record, in order, four bytes each."""


class Memory(Document):
    """What the meter remembers by itself, fetched to have the exact midnight and to close gaps."""

    daily_freeze: DailyFreeze | None = None
    load_records: LoadRecords | None = None


class Dlt645Profile(Profile):
    """One meter type that speaks DL/T 645."""

    protocol: Literal["dlt645"]
    edition: Literal["2007", "1997"] = "2007"
    line: Line = Line(baud=2400, parity="E")
    limits: Manners = Manners()
    memory: Memory = Memory()
    points: Annotated[tuple[ItemPoint, ...], Field(min_length=1)]

    def problems(self, file: str) -> Iterator[Problem]:
        """What only the whole page shows: identifiers of the wrong edition or used twice, blocks that do not add up."""
        digits = DIGITS[self.edition]
        known = {point.measurand for point in self.points if isinstance(point, ItemPoint) and point.kind == "counter"}
        freeze, load = self.memory.daily_freeze, self.memory.load_records
        for place, names in [
            *(
                (f"memory.daily_freeze.blocks[{n}]", block.counters)
                for n, block in enumerate(freeze.blocks if freeze else ())
            ),
            *([("memory.load_records", load.energies)] if load else []),
        ]:
            for name in names:
                if name not in known:
                    yield Problem(
                        file, place, f"{name!r} is no counter among the points", "add its point: its scale is needed"
                    )
        if (freeze or load) and self.edition != "2007":
            yield Problem(file, "memory", "the 1997 edition has no freeze and load records of this kind", "remove it")
        single: dict[str, int] = {}
        items: dict[tuple[str, int], int] = {}
        sizes: dict[str, int] = {}
        for index, point in enumerate(self.points):
            place = f"points[{index}] ({point.measurand})"
            for di in filter(None, (point.di, point.block)):
                if len(di) != digits:
                    yield Problem(file, place, f"{di!r} is no identifier of the {self.edition} edition",
                                  f"it has {digits} digits there: check 'edition'")  # fmt: skip
            other = single.setdefault(point.di, index) if point.di else index
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
