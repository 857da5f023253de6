"""Which words to ask for: the fewest requests a meter's page allows.

Pure arithmetic. A request never cuts a value, the parts of a composite come from one answer, and a run of words that
belong to no known value is read across only where the page allows it. What a meter refused once (`Avoid`) is respected
too, so the same arithmetic serves the page as printed and the meter as found.

The left-most wanted value must be in some request, and a request that begins there may as well reach as far as it may:
whatever else covers that value covers no more. Taking the longest legal request each time is therefore least.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from collector.requests import EVERY_RATE, NOTHING, Avoid, Plan, wanted_points
from meterline.measurands import Kind
from meterline.profiles import WORDS, CellPoint, Cells, Limits, ModbusProfile, Rate, Table
from meterline.readings import Column, Shape

Place = tuple[Table, int]
"""One word: its table and address."""


@dataclass(frozen=True, slots=True)
class Item:
    """One point as the planner sees it: cells that must come from one answer.

    Attributes
    ----------
    column
        Index of the point's number in the poll.
    start, end
        Half-open span around its cells. [words]
    """

    column: int
    table: Table
    start: int
    end: int
    cells: tuple[Cells, ...]
    counter: bool


@dataclass(frozen=True, slots=True)
class Block:
    """One request: a run of words and the points it brings."""

    table: Table
    address: int
    count: int
    items: tuple[Item, ...]

    @property
    def place(self) -> Place:
        """Where it begins: by this it is known from one poll to the next."""
        return (self.table, self.address)

    @property
    def has_counter(self) -> bool:
        """Whether it brings a counter, and so should be asked close to the boundary."""
        return any(item.counter for item in self.items)


def request_plan(
    profile: ModbusProfile, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING
) -> Plan[Block, CellPoint]:
    """The fewest legal requests for all enabled points of the given rate classes.

    Raises
    ------
    ValueError
        The page cannot be asked as it stands: a composite that no single answer holds.
    """
    points = wanted_points(profile, profile.points, rates)
    items = [_item(profile, point, column) for column, point in enumerate(points)]
    wanted = [item for item, point in zip(items, points, strict=True) if point.measurand not in avoid.refused]
    blocks = sorted(
        _blocks(wanted, profile.limits, known_words(profile), avoid.cuts),
        key=lambda block: (not block.has_counter, block.table, block.address),
    )
    columns = tuple(Column(point.measurand, point.exponent, _is_float(profile, point)) for point in points)
    return Plan.of(profile, points, tuple(blocks), Shape(profile.id, columns))


def known_words(profile: ModbusProfile) -> frozenset[Place]:
    """Every word of an enabled point: reading across them is no risk."""
    return frozenset(
        (cell.table, address)
        for point in profile.points
        if point.enabled
        for cell in filter(None, (*profile.cells_of(point), profile.exponent_cell(point)))
        if cell.table is not None
        for address in range(cell.at, cell.at + words_of(cell))
    )


def words_of(cell: Cells) -> int:
    """How many words one cell takes. [words]"""
    assert cell.type is not None
    return WORDS[cell.type]


def block_of(items: Sequence[Item]) -> Block:
    """The request that brings exactly these points, which lie in one table."""
    start, end = min(item.start for item in items), max(item.end for item in items)
    return Block(items[0].table, start, end - start, tuple(items))


def halves(block: Block, known: frozenset[Place]) -> tuple[Block, Block] | None:
    """Two smaller requests for the same points, parted at the widest unknown gap, else in the middle.

    None where nothing can be parted: one point, or composites that interlock.
    """
    items = sorted(block.items, key=lambda item: (item.start, item.end))
    best: tuple[int, int, int] | None = None
    reach = items[0].end
    for index in range(1, len(items)):
        if items[index].start >= reach:
            gap = sum((block.table, address) not in known for address in range(reach, items[index].start))
            rank = (gap, -abs(2 * index - len(items)), index)
            best = rank if best is None else max(best, rank)
        reach = max(reach, items[index].end)
    if best is None:
        return None
    return block_of(items[: best[2]]), block_of(items[best[2] :])


def _item(profile: ModbusProfile, point: CellPoint, column: int) -> Item:
    cells = profile.cells_of(point)
    exponent = profile.exponent_cell(point)
    if exponent is not None:
        cells = (*cells, exponent)
    tables = {cell.table for cell in cells}
    start = min(cell.at for cell in cells)
    end = max(cell.at + words_of(cell) for cell in cells)
    table = cells[0].table
    assert table is not None
    if len(tables) > 1:
        raise ValueError(
            f"{profile.profile}: the parts of {point.measurand} lie in two tables, so no one answer holds them"
        )
    if end - start > profile.limits.max_words:
        raise ValueError(
            f"{profile.profile}: the parts of {point.measurand} span {end - start} words, one answer holds "
            f"{profile.limits.max_words}"
        )
    return Item(column, table, start, end, cells, point.kind is Kind.COUNTER)


def _is_float(profile: ModbusProfile, point: CellPoint) -> bool:
    return any(cell.type in ("float32", "float64") for cell in profile.cells_of(point))


def _blocks(items: Iterable[Item], limits: Limits, known: frozenset[Place], cuts: frozenset[object]) -> Iterator[Block]:
    waiting = sorted(items, key=lambda item: (item.table, item.start, item.end))
    while waiting:
        first = waiting[0]
        limit = _reach(first, limits, known, cuts)
        inside = [item for item in waiting if item.table == first.table and item.end <= limit]
        yield block_of(inside)
        taken = set(map(id, inside))
        waiting = [item for item in waiting if id(item) not in taken]


def _reach(first: Item, limits: Limits, known: frozenset[Place], cuts: frozenset[object]) -> int:
    """How far a request that begins at an item may go: the first word it may not include. [words]"""
    gap = 0
    limit = first.start + limits.max_words
    for address in range(first.end, limit):
        place = (first.table, address)
        gap = 0 if place in known else gap + 1
        if gap > limits.max_gap or place in cuts or any(a <= address <= b for a, b in limits.no_bridge):
            return address
    return limit
