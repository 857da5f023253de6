"""Which DL/T 645 identifiers to ask for: a block wherever it saves a request, single items else.

On a 2400 baud line a request costs 70 ms of bytes and up to half a second of turnaround, an item more in an answer
18 ms: a block pays from the second item on. A meter that does not know a block (`Avoid.cuts`) is asked for its items
one by one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from collector.requests import EVERY_RATE, NOTHING, Avoid, Plan, wanted_points
from meterline.measurands import Kind
from meterline.profiles import Dlt645Profile, ItemPoint, Rate
from meterline.readings import Column, Shape

MOST_ITEMS = 64
"""Items of the longest block of the standard: the total and 63 tariffs."""


@dataclass(frozen=True, slots=True)
class MeterItem:
    """One point as the planner sees it.

    Attributes
    ----------
    column
        Index of the point's number in the poll.
    index
        Which item of the answer it is: 0 where it is asked for by itself.
    """

    column: int
    index: int
    point: ItemPoint


@dataclass(frozen=True, slots=True)
class ItemBlock:
    """One request: an identifier and the points it brings.

    Attributes
    ----------
    each
        Bytes of one item of the answer. [bytes]
    is_block
        Whether the identifier stands for a block, whose length depends on the meter.
    """

    di: str
    each: int
    items: tuple[MeterItem, ...]
    is_block: bool

    @property
    def place(self) -> str:
        """By what it is known from one poll to the next."""
        return self.di

    @property
    def has_counter(self) -> bool:
        """Whether it brings a counter, and so should be asked close to the boundary."""
        return any(item.point.kind is Kind.COUNTER for item in self.items)

    @property
    def expected(self) -> int:
        """Data bytes of the usual answer. [bytes]"""
        return self.each * (1 + max(item.index for item in self.items))


def item_plan(
    profile: Dlt645Profile, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING
) -> Plan[ItemBlock, ItemPoint]:
    """The fewest requests for all enabled points of the given rate classes."""
    points = wanted_points(profile, profile.points, rates)
    wanted = [(column, point) for column, point in enumerate(points) if point.measurand not in avoid.refused]
    together: dict[str, list[MeterItem]] = {}
    for column, point in wanted:
        if point.block is not None and point.item is not None and point.block not in avoid.cuts:
            together.setdefault(point.block, []).append(MeterItem(column, point.item, point))
    blocks: dict[str, ItemBlock] = {}
    for column, point in wanted:
        mates = together.get(point.block or "", [])
        if point.block is not None and (len(mates) > 1 or (mates and point.di is None)):
            blocks[point.block] = ItemBlock(point.block, point.bytes_each, tuple(mates), is_block=True)
        elif point.di is not None:
            blocks[point.di] = alone(MeterItem(column, 0, point))
    columns = tuple(Column(point.measurand, point.exponent) for point in points)
    return Plan.of(
        profile,
        points,
        tuple(sorted(blocks.values(), key=lambda block: (not block.has_counter, block.di))),
        Shape(profile.id, columns),
    )


def alone(item: MeterItem) -> ItemBlock:
    """The request for one point by its own identifier."""
    assert item.point.di is not None
    return ItemBlock(item.point.di, item.point.bytes_each, (MeterItem(item.column, 0, item.point),), is_block=False)


def singles(block: ItemBlock) -> tuple[ItemBlock, ...] | None:
    """The requests for the points of a block one by one; None for what is single, or never comes alone."""
    by_themselves = tuple(alone(item) for item in block.items if item.point.di is not None)
    return by_themselves if block.is_block and by_themselves else None
