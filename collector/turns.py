"""What becomes of a turn: every decision of a bus's poller that needs no waiting.

`collector.poller` asks one question after the other on a line that is shared; `collector.stream` lets a Modbus/TCP
connection drive itself. Both bring what came of each question here, so that a failing meter is treated alike on both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Protocol

from collector.contact import Contact, Prepared
from collector.dialects import Decoder, dialect_of
from collector.errand_desk import broadcasts_of, errand_desk
from collector.errands import Row
from collector.plausibility import Plausibility
from collector.requests import Piece, requests_by_column, reshaped
from collector.schedule import QUARTER_NS, Schedule, Turn, periods_of
from meterline.clock import NS, Clock
from meterline.errors import BusError, Garbled, LineDown, Refused, Silent
from meterline.plant import Plant
from meterline.profiles import Rate
from meterline.readings import ClockState, Exchange, MissingSpan, Number, Poll, Quality
from meterline.settings import Rates
from meterline.site import Bus, Meter

log = logging.getLogger(__name__)

MOST_PARTED = 12
"""Requests that may be parted in one turn; the rest is found out in the next ones."""
MOST_REST_S = 1.0
"""Longest rest of a line before a quarter hour. [s]"""
MISSING = int(Quality.MISSING)
OVERRUN, STALLED = "overrun", "stalled"
"""Causes of a `MissingSpan` for slots nobody was asked at: the line was busy; the gateway stood still."""
Tap = Callable[[str, Exchange], None]


class Sink(Protocol):
    """Who takes what the bus brings. Called on the loop: must not block."""

    def poll(self, poll: Poll) -> None:
        """A meter answered, at least in part."""
        ...

    def missing(self, span: MissingSpan) -> None:
        """A meter fell silent (no end yet), or answers again (the same span with its end)."""
        ...


class Work:
    """What has been done of one turn.

    Attributes
    ----------
    prepared
        The plan it follows.
    todo
        Requests still to be asked, with what takes their answers apart.
    done, delays_ms
        Requests that are through, answered or not, and when, after the slot. [ms]
    came, reached
        Whether any answer, or any sign of life, came in this turn.
    second_chance
        Whether the meter has been left once already.
    careful
        Whether something happened that a stream does not deal with.
    """

    __slots__ = (
        "asked_twice", "came", "careful", "cause", "delays_ms", "done", "doubtful", "exchanges", "failed", "numbers",
        "parted", "prepared", "qualities", "reached", "second_chance", "todo",
    )  # fmt: skip

    def __init__(self, prepared: Prepared) -> None:
        columns = len(prepared.plan.points)
        self.prepared = prepared
        self.todo: list[tuple[Piece, Decoder]] = list(zip(prepared.plan.blocks, prepared.decoders, strict=True))
        self.numbers: list[Number | None] = [None] * columns
        self.qualities = [0] * columns
        self.done: list[Piece] = []
        self.delays_ms: list[int] = []
        self.failed: list[Piece] = []
        self.exchanges: list[Exchange] = []
        self.doubtful = self.came = self.reached = self.second_chance = self.careful = False
        self.parted = 0
        self.asked_twice: Piece | None = None
        self.cause = ""


class ProbeBudget:
    """The share of a line's time that silent meters may have between them, beyond the one look a minute each has."""

    SHARE, MOST_S = 0.05, 2.0

    def __init__(self, now_s: float) -> None:
        self._left_s, self._at_s = self.MOST_S, now_s

    def allows(self, now_s: float) -> bool:
        """Whether there is any left."""
        self._left_s = min(self._left_s + (now_s - self._at_s) * self.SHARE, self.MOST_S)
        self._at_s = now_s
        return self._left_s > 0

    def spend(self, seconds: float) -> None:
        """A silent meter has taken this much. [s]"""
        self._left_s -= seconds


class TurnDesk:
    """All meters of one bus, whose turn it is, and what is told to the sink.

    Attributes
    ----------
    contacts
        Meter -> what is known of reaching it.
    errands
        What the meters are asked beside their turns.
    broadcasts
        What all of them may be told.
    clock_state
        Says how far the stamping clock can be believed.
    """

    def __init__(
        self, bus: Bus, plant: Plant, rates: Rates, clock: Clock, sink: Sink, missed_since_ns: int = 0
    ) -> None:
        self.bus, self.clock, self.sink = bus, clock, sink
        self.clock_state: Callable[[], ClockState] = lambda: (
            ClockState.SIMULATED if clock.simulated else ClockState.SYNCED
        )
        self.contacts = {
            meter.id: Contact(meter, dialect_of(plant.profile_of(meter), meter.address), Plausibility(meter, plant))
            for meter in sorted(plant.meters_on(bus.id), key=lambda meter: _of_one_setting(meter, bus))
        }
        owed: dict[str, set[Hashable]] = {}
        # Inputs of one module answer under one address: each other's debts count.
        for contact in self.contacts.values():
            contact.unanswered = owed.setdefault(contact.meter.address, contact.unanswered)
        zone = plant.site.site.zone
        self.errands = errand_desk(self.contacts, zone, clock.now_ns(), missed_since_ns)
        self.broadcasts = broadcasts_of(bus, self.contacts, zone, lambda: self.clock_state())
        self.probes = ProbeBudget(clock.monotonic_s())
        self._counters_matter = len(self.contacts) > 1 and QUARTER_NS % periods_of(rates)[Rate.NORMAL] == 0
        self.schedule: Schedule[Work] = Schedule(
            periods_of(rates), {name: _rates_of(contact) for name, contact in self.contacts.items()}, self._rank
        )

    # --- whose turn --------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Let the turns of new slots in; what is given up for them is handed on as it is, or told as missing."""
        schedule = self.schedule
        for turn in schedule.advance(self.clock.now_ns()):
            self.finish(turn)
        for spans, cause in ((schedule.stalled, STALLED), (schedule.lost, OVERRUN)):
            for meter, (start_ns, end_ns) in spans.items():
                if self.contacts[meter].open_span is None:  # a silence says it already
                    self.sink.missing(MissingSpan(meter, start_ns, end_ns, cause))
            spans.clear()

    def prepared(self, turn: Turn[Work]) -> Prepared:
        """The plan for a turn."""
        return self.contacts[turn.meter].prepared(turn.rates, turn.slot_ns)

    def begin(self, turn: Turn[Work]) -> Work:
        """The work of a turn, begun if it has not been."""
        if turn.work is None:
            turn.work = Work(self.prepared(turn))
        return turn.work

    def _rank(self, meter: str, slot_ns: int, rates: frozenset[Rate]) -> int | None:
        contact = self.contacts[meter]
        if not contact.budget.allows_turn(self.clock.now_ns()):
            return None
        if contact.failures:
            now_s = self.clock.monotonic_s()
            if not contact.is_due(now_s, self.clock.now_ns(), self.bus.answer_within_s):
                return None
            if contact.is_overdue(now_s):
                return 1
            return 3 if self.clock.factor != 1.0 or self.probes.allows(now_s) else None
        # Of several meters, all counters first; a lone meter's plan begins with its counters anyway.
        return 0 if slot_ns % QUARTER_NS == 0 and Rate.NORMAL in rates and len(self.contacts) > 1 else 1

    def before_boundary(self, turn: Turn[Work], contact: Contact, block: Piece) -> int | None:
        """The quarter hour that a question without counters would outlast: the line waits for it. [ns]

        At most once a quarter of an hour the line rests for as long as one answer takes, so that the counters of all
        meters are read as soon after the boundary as it allows.
        """
        if block.has_counter or not self._counters_matter:
            return None
        now_ns = self.clock.now_ns()
        boundary_ns = (turn.slot_ns // QUARTER_NS + 1) * QUARTER_NS
        if now_ns >= boundary_ns:  # it has come while this turn was under way
            return now_ns if self.schedule.next_ns() == boundary_ns else None
        takes_s = min(contact.figures["response_ms"] / 1000, MOST_REST_S)
        return boundary_ns if (boundary_ns - now_ns) / NS <= takes_s * self.clock.factor else None

    # --- what came of a question -------------------------------------------------------------------------------------

    def cope(self, turn: Turn[Work], contact: Contact, work: Work, error: BusError) -> bool:
        """Decide what a failed request means for the turn; False: leave the meter for now."""
        work.cause = error.cause
        block, _ = work.todo[0]
        dialect = contact.dialect
        code = error.code if isinstance(error, Refused) else None
        if isinstance(error, LineDown):
            work.second_chance = True  # the whole line is gone: no use in coming back in this turn
            return False
        if isinstance(error, Silent) or (code is not None and dialect.unreached(code)):
            if not (work.came or work.reached) or not (work.second_chance or contact.failures):
                return False
            if code is None and contact.is_mute(block):
                self.part(turn, contact, work)
            else:
                self.close_block(turn, work, failed=True)
            return True
        if code is not None and dialect.is_busy(code) and not work.second_chance:
            return False
        lacking = code is not None and dialect.lacks(code)
        if lacking or isinstance(error, Garbled):
            if work.asked_twice is not block:  # healthy meters refuse now and then, and lines crackle: ask again
                work.asked_twice = block
                return True
            if lacking:
                self.part(turn, contact, work)
                return True
        self.close_block(turn, work, failed=True)
        return True

    def part(self, turn: Turn[Work], contact: Contact, work: Work) -> None:
        """A request is refused: ask for its halves, or note that this one point is refused."""
        block, _ = work.todo[0]
        points = work.prepared.plan.points
        parting = contact.dialect.parts(block)
        if parting is None:
            for item in block.items:
                contact.learn_refused(points[item.column].measurand, turn.slot_ns)
                log.warning(
                    "%s refuses %s (%s); trying again in an hour", turn.meter, points[item.column].measurand, work.cause
                )
            self.close_block(turn, work, failed=True)
            return
        parts, cut = parting
        contact.learn_cut(cut, turn.slot_ns)
        work.parted += 1
        if work.parted > MOST_PARTED:
            self.close_block(turn, work, failed=True)
        else:
            work.todo[:1] = [(part, contact.dialect.decoder(part, points)) for part in parts]

    def leave(self, turn: Turn[Work], contact: Contact, work: Work) -> None:
        """Go on to the other meters; a meter that was well until now gets one more chance after them."""
        if work.second_chance or contact.failures:
            self.finish(turn)
        else:
            work.second_chance = True
            self.schedule.put_back(turn, rank=2)

    def close_block(self, turn: Turn[Work], work: Work, *, failed: bool) -> None:
        """The first request of those to do is through."""
        block, _ = work.todo.pop(0)
        work.done.append(block)
        work.delays_ms.append(self._delay_ms(turn, work))
        if failed:
            work.failed.append(block)

    def _delay_ms(self, turn: Turn[Work], work: Work) -> int:
        answered = work.exchanges[-1].answered_ns if work.exchanges else None
        return ((answered if answered is not None else self.clock.now_ns()) - turn.slot_ns) // 1_000_000

    # --- what is handed on -------------------------------------------------------------------------------------------

    def finish(self, turn: Turn[Work]) -> None:
        """Hand on what came of a turn."""
        contact, work = self.contacts[turn.meter], turn.work
        assert work is not None
        if not work.came:
            span = contact.missed(turn.slot_ns, work.cause or contact.cause or "refused")
            if span is not None:
                self.sink.missing(span)
                if work.cause != LineDown.cause:
                    log.warning("%s does not answer (%s)", turn.meter, span.cause)
            return
        self.answered(contact, turn.slot_ns)
        self.sink.poll(self._poll_of(turn, contact, work))

    def answered(self, contact: Contact, slot_ns: int) -> None:
        """A turn brought something: a silence that lasted is over."""
        closed = contact.answered(slot_ns)
        if closed is not None:
            self.sink.missing(closed)
            self.errands.missed(closed.meter, closed.start_ns, closed.end_ns or slot_ns)
            log.info("%s answers again", contact.meter.id)

    def brought(self, contact: Contact, row: Row, exchanges: tuple[Exchange, ...]) -> None:
        """Hand on what an errand brought; what the meter only remembered is not judged as if it were read now."""
        if row.points:
            contact.plausibility.judge(row.points, row.shape, row.numbers, row.qualities, row.slot_ns, row.delays_ms)
        self.sink.poll(
            Poll(
                contact.meter.id,
                row.shape,
                row.slot_ns,
                row.delays_ms,
                self.clock_state(),
                tuple(row.numbers),
                tuple(row.qualities) if any(row.qualities) else (),
                row.source,
                exchanges,
            )
        )

    def _poll_of(self, turn: Turn[Work], contact: Contact, work: Work) -> Poll:
        plan = work.prepared.plan
        for block in (*work.failed, *(block for block, _ in work.todo)):
            for item in block.items:
                work.qualities[item.column] = MISSING
                work.doubtful = True
        for column in plan.unasked:
            work.qualities[column] = MISSING
            work.doubtful = True
        blocks = [*work.done, *(block for block, _ in work.todo)]
        delays = tuple(work.delays_ms) + (self._delay_ms(turn, work),) * len(work.todo)
        shape = plan.shape
        if work.parted:
            shape = reshaped(shape, requests_by_column(blocks))
        work.doubtful |= contact.plausibility.judge(
            plan.points, shape, work.numbers, work.qualities, turn.slot_ns, delays
        )
        return Poll(
            turn.meter,
            shape,
            turn.slot_ns,
            delays[: shape.requests],
            self.clock_state(),
            tuple(work.numbers),
            tuple(work.qualities) if work.doubtful else (),
            exchanges=tuple(work.exchanges),
        )


def _of_one_setting(meter: Meter, bus: Bus) -> tuple[bool, str]:
    """Sorts meters of one speed and parity together: turns go round in this order, so the line is switched seldom."""
    settings = meter.settings_on(bus)
    return settings != bus.settings, str(settings)


def _rates_of(contact: Contact) -> frozenset[Rate]:
    profile = contact.dialect.profile
    return frozenset(profile.rate_of(point) for point in profile.points if point.enabled)
