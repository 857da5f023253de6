"""Read a meter by a page that may be the wrong one: what it refuses is as telling as what it answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable

from collector.bus import Line, Outcome
from collector.dialects import AnyDialect, put
from collector.recognise import PageReading
from collector.requests import EVERY_RATE
from meterline.errors import LineDown, Refused, Silent
from meterline.profiles import Rate
from meterline.readings import Number

GIVE_UP_AFTER = 2
"""Unanswered requests of one page after which the rest of it is not asked."""
MOST_PARTINGS = 6
"""Refused requests of one page that are tried in parts: a right page may still read across a hole of this meter."""


class AnswerBook:
    """The answers of one meter, so that pages which ask for the same cells ask once.

    Parameters
    ----------
    tap
        Told of all that came: other meters' late answers may be among it.
    """

    def __init__(self, line: Line, tap: Callable[[Outcome], None] | None = None) -> None:
        self.line, self._tap = line, tap
        self._known: dict[Hashable, Outcome] = {}

    async def ask(self, dialect: AnyDialect, request: Hashable) -> Outcome:
        """The outcome of a request, from the line or from memory.

        Raises
        ------
        LineDown
            The line itself is gone.
        """
        known = self._known.get(request)
        if known is None:
            known = await self._put(dialect, request)
            if known.error is not None and not isinstance(known.error, Refused | Silent | LineDown):
                known = await self._put(dialect, request)  # garbled once is no news
            if isinstance(known.error, LineDown):
                raise known.error
            self._known[request] = known
        return known

    async def _put(self, dialect: AnyDialect, request: Hashable) -> Outcome:
        outcome = await put(self.line, dialect, request, keep_quiet=False)
        if self._tap is not None:
            self._tap(outcome)
        return outcome


async def read_page(book: AnswerBook, dialect: AnyDialect, rates: Collection[Rate] = EVERY_RATE) -> PageReading:
    """Ask for everything a page knows of some rate classes, once.

    Raises
    ------
    LineDown
        The line itself is gone.
    """
    plan = dialect.plan(rates)
    numbers: list[Number | None] = [None] * len(plan.points)
    qualities = [0] * len(plan.points)
    refused = silent = came = 0
    todo = list(plan.blocks)
    partings = MOST_PARTINGS
    while todo and silent < GIVE_UP_AFTER:
        block = todo.pop(0)
        outcome = await book.ask(dialect, dialect.request(block))
        if outcome.error is None:
            came += 1
            dialect.decoder(block, plan.points).into(outcome.payload, numbers, qualities)
        elif isinstance(outcome.error, Refused):
            refused += 1
            parting = dialect.parts(block) if dialect.lacks(outcome.error.code) and partings else None
            if parting is not None and (came or len(todo) < len(plan.blocks) - 1 or len(plan.blocks) == 1):
                partings -= 1
                todo[:0] = parting[0]
        else:
            silent += 1
    values = {
        point.measurand: float(number) * 10.0**point.exponent
        for point, number in zip(plan.points, numbers, strict=True)
        if number is not None
    }
    absent = tuple(point.measurand for point in plan.points if point.measurand not in values)
    return PageReading(values, absent, len(plan.blocks), refused, silent)
