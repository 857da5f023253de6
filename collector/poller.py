"""The one task of a bus: takes turns from the schedule, asks the line, and hands finished polls on.

A failing meter costs itself only. A meter that does not answer is left at once, gets one more chance after the others,
then is probed ever more slowly. A request it refuses is parted until what it does answer is known, and that is
remembered. Whatever came of a turn is handed on; one `MissingSpan` stands for a whole silence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

from collector.bus import Line, Outcome
from collector.contact import Contact, Prepared
from collector.dialects import Decoder, dialect_of, put
from collector.plausibility import Plausibility
from collector.requests import Piece, requests_by_column, reshaped
from collector.schedule import QUARTER_NS, Schedule, Turn, periods_of
from collector.transports import Transport
from meterline.clock import Clock
from meterline.errors import BusError, Garbled, LineDown, Refused, Silent
from meterline.plant import Plant
from meterline.profiles import Rate
from meterline.readings import ClockState, Exchange, MissingSpan, Number, Poll, Quality
from meterline.settings import Rates
from meterline.site import Bus

log = logging.getLogger(__name__)

MOST_PARTED = 12
"""Requests that may be parted in one turn; the rest is found out in the next ones."""
LOOK_UP_S = 5.0
MISSING = int(Quality.MISSING)
Tap = Callable[[str, Exchange], None]


class Sink(Protocol):
    """Who takes what the bus brings. Called on the loop: must not block."""

    def poll(self, poll: Poll) -> None:
        """A meter answered, at least in part."""
        ...

    def missing(self, span: MissingSpan) -> None:
        """A meter fell silent (no end yet), or answers again (the same span with its end)."""
        ...


@dataclass(slots=True)
class _Work:
    """What has been done of one turn."""

    prepared: Prepared
    todo: list[tuple[Piece, Decoder]]
    numbers: list[Number | None]
    qualities: list[int]
    done: list[Piece] = field(default_factory=list)
    delays_ms: list[int] = field(default_factory=list)
    failed: list[Piece] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    doubtful: bool = False
    came: bool = False
    reached: bool = False
    second_chance: bool = False
    parted: int = 0
    asked_twice: Piece | None = None
    cause: str = ""


class BusMaster:
    """Polls every meter of one bus, aligned to the clock, until cancelled.

    Attributes
    ----------
    clock_state
        Says how far the stamping clock can be believed; the gateway replaces it by what its time-keeping knows.
    """

    def __init__(
        self,
        bus: Bus,
        plant: Plant,
        rates: Rates,
        clock: Clock,
        sink: Sink,
        tap: Tap | None = None,
        *,
        transport: Transport | None = None,
    ) -> None:
        self.bus, self.clock, self._sink, self._tap = bus, clock, sink, tap
        self.line = Line(bus, clock, transport)
        self.clock_state: Callable[[], ClockState] = lambda: (
            ClockState.SIMULATED if clock.simulated else ClockState.SYNCED
        )
        self._contacts = {
            meter.id: Contact(meter, dialect_of(plant.profile_of(meter), meter.address), Plausibility(meter, plant))
            for meter in plant.meters_on(bus.id)
        }
        self._shared: dict[tuple[str, frozenset[Rate]], Prepared] = {}
        self._schedule: Schedule[_Work] = Schedule(
            periods_of(rates),
            {name: _rates_of(contact) for name, contact in self._contacts.items()},
            self._rank,
        )

    @property
    def counts(self) -> dict[str, dict[str, float]]:
        """Figures per meter, and of the line itself under ``bus:ID``."""
        figures = {name: dict(contact.figures) for name, contact in self._contacts.items()}
        total: dict[str, float] = {}
        for name, own in figures.items():
            own["skipped"] = float(self._schedule.skipped[name])
            for key, value in own.items():
                if key != "response_ms":
                    total[key] = total.get(key, 0.0) + value
        total |= {
            "reconnects": float(self.line.reconnects),
            "echoes": float(self.line.echoes),
            "down": float(self.line.is_down),
        }
        return {**figures, f"bus:{self.bus.id}": total}

    def state(self) -> dict[str, tuple[int, str]]:
        """Per meter: the last slot it answered (0: never) [ns], and why it does not answer now (empty: it does)."""
        return {name: (contact.last_good_ns, contact.cause) for name, contact in self._contacts.items()}

    async def run(self) -> None:
        """Poll until cancelled; trouble of meters and line is told to the sink, never raised."""
        self._schedule.start(self.clock.now_ns())
        try:
            while True:
                for turn in self._schedule.advance(self.clock.now_ns()):
                    self._finish(turn)
                turn_or_none = self._schedule.pick()
                if turn_or_none is not None:
                    await self._serve(turn_or_none)
                elif (next_ns := self._schedule.next_ns()) is not None:
                    await self._sleep(next_ns)
                else:
                    await asyncio.get_running_loop().create_future()  # a bus without meters has nothing to do
        finally:
            self.line.close()

    async def _sleep(self, until_ns: int) -> None:
        """Wait for a slot, but look at the clock every few seconds: it may have been set back."""
        try:
            async with asyncio.timeout(LOOK_UP_S):
                await self.clock.sleep_until(until_ns)
        except TimeoutError:
            return

    def _rank(self, meter: str, slot_ns: int, rates: frozenset[Rate]) -> int | None:
        contact = self._contacts[meter]
        now_s = self.clock.monotonic_s()
        if not contact.is_due(now_s, self.clock.now_ns(), self.bus.answer_within_s):
            return None
        if contact.failures:
            return 1 if contact.is_overdue(now_s) else 3
        # Of several meters, all counters first; a lone meter's plan begins with its counters anyway.
        return 0 if Rate.NORMAL in rates and slot_ns % QUARTER_NS == 0 and len(self._contacts) > 1 else 1

    async def _serve(self, turn: Turn[_Work]) -> None:
        contact = self._contacts[turn.meter]
        work = turn.work
        if work is None:
            prepared = contact.prepared(turn.rates, turn.slot_ns, self._shared)
            columns = len(prepared.plan.points)
            todo = list(zip(prepared.plan.blocks, prepared.decoders, strict=True))
            work = turn.work = _Work(prepared, todo, [None] * columns, [0] * columns)
        contact.asked(self.clock.monotonic_s(), self.clock.now_ns())
        while work.todo:
            unsure = contact.unanswered or (contact.failures and not work.reached)
            if unsure and not await self._reach(contact, work):
                self._leave(turn, contact, work)
                return
            block, decoder = work.todo[0]
            if turn.rank == 0 and not block.has_counter:
                self._schedule.put_back(turn, rank=1)
                return
            outcome = await self._ask(contact, contact.dialect.request(block))
            work.exchanges.append(outcome.exchange)
            if outcome.error is None:
                work.doubtful |= decoder.into(outcome.payload, work.numbers, work.qualities)
                work.came = True
                contact.not_mute(block)
                self._close_block(turn, work, failed=False)
            elif not self._cope(turn, contact, work, outcome.error):
                self._leave(turn, contact, work)
                return
        self._finish(turn)

    def _cope(self, turn: Turn[_Work], contact: Contact, work: _Work, error: BusError) -> bool:
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
                self._part(turn, contact, work)
            else:
                self._close_block(turn, work, failed=True)
            return True
        if code is not None and dialect.is_busy(code) and not work.second_chance:
            return False
        lacking = code is not None and dialect.lacks(code)
        if lacking or isinstance(error, Garbled):
            if work.asked_twice is not block:  # healthy meters refuse now and then, and lines crackle: ask again
                work.asked_twice = block
                return True
            if lacking:
                self._part(turn, contact, work)
                return True
        self._close_block(turn, work, failed=True)
        return True

    def _part(self, turn: Turn[_Work], contact: Contact, work: _Work) -> None:
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
            self._close_block(turn, work, failed=True)
            return
        parts, cut = parting
        contact.learn_cut(cut, turn.slot_ns)
        work.parted += 1
        if work.parted > MOST_PARTED:
            self._close_block(turn, work, failed=True)
        else:
            work.todo[:1] = [(part, contact.dialect.decoder(part, points)) for part in parts]

    def _leave(self, turn: Turn[_Work], contact: Contact, work: _Work) -> None:
        """Go on to the other meters; a meter that was well until now gets one more chance after them."""
        if work.second_chance or contact.failures:
            self._finish(turn)
        else:
            work.second_chance = True
            self._schedule.put_back(turn, rank=2)

    async def _reach(self, contact: Contact, work: _Work) -> bool:
        """After an unanswered question: ask something small, and such that no late answer can be mistaken for its own.

        A meter answers in the order it was asked. Once it has answered a question unlike all open ones, whatever it
        still owed has gone by.
        """
        request = contact.dialect.probe(work.prepared.plan, contact.unanswered)
        outcome = await self._ask(contact, request, keep_quiet=contact.failures < 2)
        work.exchanges.append(outcome.exchange)
        error = outcome.error
        if error is not None:
            work.cause = error.cause
        if isinstance(error, Refused) and not contact.dialect.unreached(error.code):
            self.line.rest()  # a refusal has no length to tell it by: let anything late go by
            error = None
        if error is None:
            contact.unanswered.clear()
            work.reached = True
        return error is None

    async def _ask(self, contact: Contact, request: Hashable, *, keep_quiet: bool = True) -> Outcome:
        outcome = await put(self.line, contact.dialect, request, contact.meter, keep_quiet=keep_quiet)
        figures = contact.figures
        if outcome.exchange.request:
            figures["requests"] += 1
        if outcome.late:
            figures["late_bytes"] += len(outcome.late)
        error, exchange = outcome.error, outcome.exchange
        if error is None:
            figures["good"] += 1
        elif isinstance(error, Silent):
            figures["silent"] += 1
            if self.line.frames_by_silence:
                contact.unanswered.add(contact.dialect.likeness(request))
        elif isinstance(error, Refused):
            figures["refused"] += 1
        elif isinstance(error, Garbled):
            figures["garbled"] += 1
            if self.line.frames_by_silence and len(exchange.response) < outcome.expected:
                contact.unanswered.add(contact.dialect.likeness(request))  # noise came; the answer itself may still
        if exchange.answered_ns is not None:
            figures["response_ms"] = outcome.took_s * 1000
        if self._tap is not None:
            if outcome.late and self.line.frames_by_silence:
                self._tap(contact.meter.id, Exchange(b"", outcome.late, exchange.sent_ns, exchange.sent_ns, "late"))
            self._tap(contact.meter.id, exchange)
        return outcome

    def _close_block(self, turn: Turn[_Work], work: _Work, *, failed: bool) -> None:
        block, _ = work.todo.pop(0)
        work.done.append(block)
        work.delays_ms.append(self._delay_ms(turn, work))
        if failed:
            work.failed.append(block)

    def _delay_ms(self, turn: Turn[_Work], work: _Work) -> int:
        answered = work.exchanges[-1].answered_ns if work.exchanges else None
        return ((answered if answered is not None else self.clock.now_ns()) - turn.slot_ns) // 1_000_000

    def _finish(self, turn: Turn[_Work]) -> None:
        """Hand on what came of a turn."""
        contact, work = self._contacts[turn.meter], turn.work
        assert work is not None
        if not work.came:
            span = contact.missed(turn.slot_ns, work.cause or contact.cause or "refused")
            if span is not None:
                self._sink.missing(span)
                if work.cause != LineDown.cause:
                    log.warning("%s does not answer (%s)", turn.meter, span.cause)
            return
        closed = contact.answered(turn.slot_ns)
        if closed is not None:
            self._sink.missing(closed)
            log.info("%s answers again", turn.meter)
        self._sink.poll(self._poll_of(turn, contact, work))

    def _poll_of(self, turn: Turn[_Work], contact: Contact, work: _Work) -> Poll:
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


def _rates_of(contact: Contact) -> frozenset[Rate]:
    profile = contact.dialect.profile
    return frozenset(profile.rate_of(point) for point in profile.points if point.enabled)
