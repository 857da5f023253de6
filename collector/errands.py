"""What a meter is asked beside its turns: its number, its clock, its event counts, and what it remembers by itself.

A turn has a slot to keep; an errand has time. Errands use the line while no turn waits for it, one question at a time,
so that they never hold up a poll for longer than one answer takes; on a line that is never free they get one question
in ten minutes. A meter that does not answer is not asked for errands at all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from collector.bus import Outcome
from collector.dialects import AnyDialect
from collector.requests import Piece, Plan
from meterline.clock import NS
from meterline.profiles import Point, Rate
from meterline.readings import Exchange, Number, Quality, Shape, Source

MISSING = int(Quality.MISSING)
PERIODS: dict[Rate, int] = {Rate.HOURLY: 3_600 * NS, Rate.DAILY: 86_400 * NS}
"""Rate classes that are errands, not turns, and how often. [ns]"""
RETRY_FIRST_NS, RETRY_MOST_NS = 60 * NS, 3_600 * NS
"""After an errand that failed: the rest before it is tried again, doubled each time. [ns]"""
LACKING_NS = 86_400 * NS
"""What the meter says it has not got is asked for again after this. [ns]"""
QUIET_NS = 20 * NS
"""Having found nothing to do, look again after this. [ns]"""
PATIENCE_NS = 600 * NS
"""An errand that has waited this long for a free line is asked between two turns. [ns]"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one question of an errand.

    Attributes
    ----------
    payload
        The answer; None if there was none.
    at_ns
        When it was complete, or given up, UTC. [ns]
    lacks
        Whether the meter said that it has not got what was asked for.
    """

    payload: bytes | None
    at_ns: int
    lacks: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """What an errand brings: one row of numbers, not yet judged.

    Attributes
    ----------
    points
        The profile's points of the columns; empty for what the meter remembered, which is not judged as of now.
    """

    points: tuple[Point, ...]
    shape: Shape
    slot_ns: int
    delays_ms: tuple[int, ...]
    numbers: list[Number | None]
    qualities: list[int]
    source: Source = Source.WIRE

    def read_ns(self, column: int) -> int:
        """When a number was read, UTC. [ns]"""
        return self.slot_ns + self.delays_ms[self.shape.columns[column].request] * 1_000_000


Steps = Generator[Hashable, Reply, Sequence[Row]]
"""An errand under way: yields the next request, is sent its reply, returns what it brought; raises `Failed`."""


class Failed(Exception):
    """The errand could not be done now; try again later."""


class Job(Protocol):
    """Something to be done for one meter, again and again."""

    def due_ns(self) -> int:
        """From when on it is to be done. [ns]"""
        ...

    def begin(self, now_ns: int) -> Steps:
        """Do it once."""
        ...

    def ended(self, now_ns: int, *, worked: bool) -> None:
        """It came to its end, or to nothing."""
        ...

    def saw(self, rows: Sequence[Row]) -> None:
        """What any errand of this meter has just brought."""
        ...

    def missed(self, start_ns: int, end_ns: int) -> None:
        """Nothing was read of the meter in this half-open span. [ns]"""
        ...


@dataclass
class Pace:
    """When a job is due: on a grid of its own period, sooner again after a failure.

    Attributes
    ----------
    after_ns
        How long after the grid's moment; keeps clear of a meter's own midnight. [ns]
    """

    period_ns: int
    origin_ns: int = 0
    after_ns: int = 0
    next_ns: int = 0
    _failed: int = 0

    def ended(self, now_ns: int, *, worked: bool) -> None:
        """Set the next moment."""
        if worked:
            self._failed = 0
            since = now_ns - self.origin_ns - self.after_ns
            self.next_ns = (since // self.period_ns + 1) * self.period_ns + self.origin_ns + self.after_ns
        else:
            self.next_ns = now_ns + min(RETRY_FIRST_NS * 2 ** min(self._failed, 10), RETRY_MOST_NS)
            self._failed += 1


@dataclass
class ReadPoints:
    """Read the points of one rate class, request by request."""

    dialect: AnyDialect
    rate: Rate
    pace: Pace = field(init=False)
    _lacking: dict[Hashable, int] = field(default_factory=dict)
    _parted: dict[Hashable, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pace = Pace(PERIODS[self.rate])

    def due_ns(self) -> int:
        return self.pace.next_ns

    def ended(self, now_ns: int, *, worked: bool) -> None:
        self.pace.ended(now_ns, worked=worked)

    def saw(self, rows: Sequence[Row]) -> None:
        return None

    def missed(self, start_ns: int, end_ns: int) -> None:
        return None

    def begin(self, now_ns: int) -> Steps:
        plan: Plan[Piece, Point] = self.dialect.plan({self.rate})
        numbers: list[Number | None] = [None] * len(plan.points)
        qualities = [MISSING] * len(plan.points)
        slot_ns = now_ns // NS * NS
        read_ns: dict[int, int] = {}
        todo = list(plan.blocks)
        while todo:
            block = todo.pop(0)
            if now_ns < self._lacking.get(block.place, 0):
                continue
            if now_ns < self._parted.get(block.place, 0):
                todo[:0] = (self.dialect.parts(block) or ((),))[0]
                continue
            reply = yield self.dialect.request(block)
            if reply.payload is not None:
                for item in block.items:
                    qualities[item.column] = 0
                    read_ns[item.column] = reply.at_ns
                self.dialect.decoder(block, plan.points).into(reply.payload, numbers, qualities)
            elif not reply.lacks:
                raise Failed
            elif self.dialect.parts(block) is None:
                self._lacking[block.place] = now_ns + LACKING_NS
            else:
                self._parted[block.place] = now_ns + LACKING_NS
                todo.insert(0, block)
        return tuple(_rows(plan, numbers, qualities, slot_ns, read_ns))


def _rows(
    plan: Plan[Piece, Point],
    numbers: Sequence[Number | None],
    qualities: Sequence[int],
    slot_ns: int,
    read_ns: dict[int, int],
) -> Iterable[Row]:
    """What came, as one row; columns of one answer share its delay, and what the meter has not got is left out."""
    if not read_ns:
        return
    columns = sorted(read_ns)
    answers = sorted(set(read_ns.values()))
    shape = Shape(
        plan.shape.profile,
        tuple(replace(plan.shape.columns[n], request=answers.index(read_ns[n])) for n in columns),
    )
    yield Row(
        tuple(plan.points[n] for n in columns),
        shape,
        slot_ns,
        tuple((at_ns - slot_ns) // 1_000_000 for at_ns in answers),
        [numbers[n] for n in columns],
        [qualities[n] for n in columns],
    )


class Errands:
    """The jobs of one meter; at most one is under way."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = tuple(jobs)
        self._job: Job | None = None
        self._steps: Steps | None = None
        self._request: Hashable = None
        self._exchanges: list[Exchange] = []

    def next_ns(self) -> int | None:
        """From when on there is something to ask; None: never. [ns]"""
        if self._steps is not None:
            return 0
        return min((job.due_ns() for job in self._jobs), default=None)

    def ask(self, now_ns: int) -> Hashable | None:
        """The question to ask now; the same again until its reply is taken."""
        if self._steps is None:
            job = min((job for job in self._jobs if job.due_ns() <= now_ns), key=lambda job: job.due_ns(), default=None)
            if job is None:
                return None
            self._job, self._steps, self._exchanges = job, job.begin(now_ns), []
            self._advance(lambda steps: next(steps), now_ns)
        return self._request if self._steps is not None else None

    def take(self, outcome: Outcome, lacks: bool, now_ns: int) -> tuple[Sequence[Row], tuple[Exchange, ...]]:
        """Take what came of the question: the rows of an errand that ends with it, and its frames."""
        exchange = outcome.exchange
        self._exchanges.append(exchange)
        at_ns = exchange.answered_ns if exchange.answered_ns is not None else now_ns
        reply = Reply(outcome.payload if outcome.error is None else None, at_ns, lacks)
        rows = self._advance(lambda steps: steps.send(reply), now_ns)
        for job in self._jobs:
            job.saw(rows)
        return rows, tuple(self._exchanges)

    def missed(self, start_ns: int, end_ns: int) -> None:
        """Nothing was read of the meter in this half-open span. [ns]"""
        for job in self._jobs:
            job.missed(start_ns, end_ns)

    def _advance(self, step: Callable[[Steps], Hashable], now_ns: int) -> Sequence[Row]:
        assert self._steps is not None
        assert self._job is not None
        try:
            self._request = step(self._steps)
        except (StopIteration, Failed) as end:
            self._steps = None
            self._job.ended(now_ns, worked=isinstance(end, StopIteration))
            return end.value if isinstance(end, StopIteration) else ()
        return ()


class Desk:
    """The errands of all meters of one line."""

    def __init__(self, errands: dict[str, Errands]) -> None:
        self._errands = {meter: own for meter, own in errands.items() if own.next_ns() is not None}
        self._waiting_since: int | None = None
        self._quiet_until_ns = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether there is something to ask: cheap, for whoever wants to know at every slot."""
        if not self._errands or self._quiet_until_ns - QUIET_NS <= now_ns < self._quiet_until_ns:
            return False
        if any(due_ns is not None and due_ns <= now_ns for due_ns in map(Errands.next_ns, self._errands.values())):
            return True
        self._quiet_until_ns = now_ns + QUIET_NS
        return False

    def pick(self, now_ns: int, *, idle: bool, ready: Callable[[str], bool]) -> tuple[str, Hashable] | None:
        """The next question that has no slot to keep, and whose meter it is for.

        Parameters
        ----------
        idle
            Whether no turn waits; else only what has waited too long is asked.
        ready
            Whether a meter may be asked: it answers, and owes no answer.
        """
        if not self.is_due(now_ns):
            return None
        if self._waiting_since is None or self._waiting_since > now_ns:
            self._waiting_since = now_ns
        if not idle and now_ns - self._waiting_since < PATIENCE_NS:
            return None
        for meter, own in self._errands.items():
            due_ns = own.next_ns()
            if due_ns is not None and due_ns <= now_ns and ready(meter):
                request = own.ask(now_ns)
                if request is not None:
                    self._waiting_since = None
                    self._errands[meter] = self._errands.pop(meter)  # the others first, next time
                    return meter, request
        self._waiting_since = None
        self._quiet_until_ns = now_ns + QUIET_NS
        return None

    def take(
        self, meter: str, outcome: Outcome, lacks: bool, now_ns: int
    ) -> tuple[Sequence[Row], tuple[Exchange, ...]]:
        """See `Errands.take`."""
        return self._errands[meter].take(outcome, lacks, now_ns)

    def missed(self, meter: str, start_ns: int, end_ns: int) -> None:
        """Nothing was read of a meter in this time: what it remembers of it is worth fetching. [ns]"""
        if meter in self._errands:
            self._errands[meter].missed(start_ns, end_ns)
            self._quiet_until_ns = 0
