"""The plan of a meter that has one answer for everything: CJ/T 188, M-Bus. One request brings all points."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

from collector.requests import EVERY_RATE, NOTHING, Avoid, Plan, wanted_points
from meterline.measurands import Kind
from meterline.profiles import Cjt188Profile, FieldPoint, MbusProfile, Point, Rate, RecordPoint
from meterline.readings import Column, Shape

P = TypeVar("P", bound=Point)


@dataclass(frozen=True, slots=True)
class AnswerItem(Generic[P]):
    """One point of the answer, and its column in the poll."""

    column: int
    point: P


@dataclass(frozen=True, slots=True)
class WholeAnswer(Generic[P]):
    """The one request there is.

    Attributes
    ----------
    place
        What it is known by from one poll to the next.
    """

    place: str
    items: tuple[AnswerItem[P], ...]

    @property
    def has_counter(self) -> bool:
        """Whether it brings a counter, and so should be asked close to the boundary."""
        return any(item.point.kind is Kind.COUNTER for item in self.items)


def field_plan(
    profile: Cjt188Profile, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING
) -> Plan[WholeAnswer[FieldPoint], FieldPoint]:
    """The request of a CJ/T 188 meter."""
    return _plan(profile, wanted_points(profile, profile.points, rates), profile.limits.di, avoid)


def record_plan(
    profile: MbusProfile, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING
) -> Plan[WholeAnswer[RecordPoint], RecordPoint]:
    """The request of an M-Bus meter."""
    return _plan(profile, wanted_points(profile, profile.points, rates), "data", avoid)


def _plan(
    profile: Cjt188Profile | MbusProfile, points: tuple[P, ...], place: str, avoid: Avoid
) -> Plan[WholeAnswer[P], P]:
    items = tuple(
        AnswerItem(column, point) for column, point in enumerate(points) if point.measurand not in avoid.refused
    )
    blocks = (WholeAnswer(place, items),) if items else ()
    shape = Shape(profile.id, tuple(Column(point.measurand, point.exponent, _is_float(point)) for point in points))
    return Plan.of(profile, points, blocks, shape)


def _is_float(point: Point) -> bool:
    return isinstance(point, RecordPoint) and point.is_float
