"""What all protocols' plans have in common: requests for columns of a poll, and what one meter was found not to do.

How points are gathered into requests is each protocol's own arithmetic: `collector.plan` for Modbus words,
`collector.plan_items` for the items of DL/T 645.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar

from meterline.profiles import Point, Profile, Rate
from meterline.readings import Shape

EVERY_RATE = frozenset(Rate)
P = TypeVar("P", bound=Point)


class Wanted(Protocol):
    """One point as a planner sees it."""

    @property
    def column(self) -> int:
        """Index of the point's number in the poll."""
        ...


class Piece(Protocol):
    """One request of a plan."""

    @property
    def items(self) -> Sequence[Wanted]:
        """The points it brings."""
        ...

    @property
    def place(self) -> Hashable:
        """By what it is known from one poll to the next."""
        ...

    @property
    def has_counter(self) -> bool:
        """Whether it brings a counter, and so should be asked close to the boundary."""
        ...


B = TypeVar("B", bound=Piece)


@dataclass(frozen=True, slots=True)
class Avoid:
    """What one meter was found not to do, beyond its page.

    Attributes
    ----------
    cuts
        Modbus: words that no request may reach across from the word before. DL/T 645: blocks it does not know.
    refused
        Measurands which the meter refuses by themselves; they are not asked for.
    """

    cuts: frozenset[object] = frozenset()
    refused: frozenset[str] = frozenset()


NOTHING = Avoid()


@dataclass(frozen=True)
class Plan(Generic[B, P]):
    """Requests for one set of points of one profile, with the head of the poll they fill.

    Attributes
    ----------
    points
        In the order of the poll's numbers.
    blocks
        In the order to ask: those with counters first, so that they are read closest to the slot.
    unasked
        Columns that no request brings, because the meter refuses them.
    """

    profile: Profile
    points: tuple[P, ...]
    blocks: tuple[B, ...]
    shape: Shape
    unasked: tuple[int, ...] = ()

    @classmethod
    def of(cls, profile: Profile, points: tuple[P, ...], blocks: tuple[B, ...], shape: Shape) -> Self:
        """A plan whose columns know which request brings them."""
        request = requests_by_column(blocks)
        unasked = tuple(column for column in range(len(points)) if column not in request)
        return cls(profile, points, blocks, reshaped(shape, request), unasked)


def wanted_points(profile: Profile, points: Sequence[P], rates: Collection[Rate]) -> tuple[P, ...]:
    """The enabled points of some rate classes, in the page's order."""
    return tuple(point for point in points if point.enabled and profile.rate_of(point) in rates)


def requests_by_column(blocks: Sequence[Piece]) -> dict[int, int]:
    """Column -> index of the request that brings it."""
    return {item.column: index for index, block in enumerate(blocks) for item in block.items}


def reshaped(shape: Shape, request: Mapping[int, int]) -> Shape:
    """The head of a poll whose columns came with other requests than planned."""
    return Shape(
        shape.profile,
        tuple(replace(column, request=request.get(index, 0)) for index, column in enumerate(shape.columns)),
    )
