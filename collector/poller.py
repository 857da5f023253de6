"""The one task of a bus: takes turns from the schedule, asks the line, and hands finished polls on.

A failing meter costs itself only. A meter that does not answer is left at once, gets one more chance after the others,
then is probed ever more slowly. A request it refuses is parted until what it does answer is known, and that is
remembered. Whatever came of a turn is handed on; one `MissingSpan` stands for a whole silence.

On Modbus/TCP, meters that are well are read by a `collector.stream` that drives itself; this task then only sleeps, and
takes over what needs care.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable

from collector.bus import Line, Outcome
from collector.contact import Contact
from collector.dialects import ModbusDialect, put
from collector.oneshot import PROBES, read_on
from collector.schedule import Turn
from collector.stream import Stream
from collector.transports import HasFigures, HasInbox, Transport
from collector.turns import Sink, Tap, TurnDesk, Work
from collector.wheel import Wheel
from meterline.clock import Clock
from meterline.errors import BusError, Garbled, LineDown, Refused, Silent
from meterline.plant import Plant
from meterline.readings import ClockState, Exchange, Poll
from meterline.settings import Rates
from meterline.site import Bus

__all__ = ["BusMaster", "Sink", "Tap"]
log = logging.getLogger(__name__)

LOOK_UP_S = 5.0


class BusMaster:
    """Polls every meter of one bus, aligned to the clock, until cancelled.

    Parameters
    ----------
    wheel
        Shared by all buses of a gateway that has many connections; made here if None.
    missed_since_ns
        When the gateway last read before it was started; what its meters remember of the time since is fetched. 0: it
        never did, or does not know. [ns]
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
        wheel: Wheel | None = None,
        missed_since_ns: int = 0,
    ) -> None:
        self.bus, self.clock, self._tap = bus, clock, tap
        self.line = Line(bus, clock, transport)
        self._desk = TurnDesk(bus, plant, rates, clock, sink, missed_since_ns)
        self._contacts, self._schedule = self._desk.contacts, self._desk.schedule
        self._wishes: deque[tuple[Contact, asyncio.Future[Poll]]] = deque()
        self._nap: asyncio.Timeout | None = None
        self._stream: Stream | None = None
        self_driving = bus.kind == "modbus-tcp" and bus.tid_check == "strict" and not bus.gap_ms
        if self_driving and isinstance(self.line.transport, HasInbox):
            at_once = _at_once(bus, self._contacts)
            self._stream = Stream(self._desk, self.line, wheel or Wheel(clock), at_once, tap)

    @property
    def clock_state(self) -> Callable[[], ClockState]:
        """Says how far the stamping clock can be believed; the gateway may put its time-keeping's word in its place."""
        return self._desk.clock_state

    @clock_state.setter
    def clock_state(self, state: Callable[[], ClockState]) -> None:
        self._desk.clock_state = state

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
            "switches": float(self.line.switches),
            "down": float(self.line.is_down),
        }
        if isinstance(self.line.transport, HasFigures):
            total |= self.line.transport.figures
        return {**figures, f"bus:{self.bus.id}": total}

    def state(self) -> dict[str, tuple[int, str]]:
        """Per meter: the last slot it answered (0: never) [ns], and why it does not answer now (empty: it does)."""
        return {name: (contact.last_good_ns, contact.cause) for name, contact in self._contacts.items()}

    async def run(self) -> None:
        """Poll until cancelled; trouble of meters and line is told to the sink, never raised."""
        self._schedule.start(self.clock.now_ns())
        try:
            while True:
                self._desk.advance()
                if self._wishes:
                    await self._grant(*self._wishes.popleft())
                    continue
                if await self._run_errand(idle=False):
                    continue
                if self._stream is not None and self._stream.wanted():
                    await self._drive(self._stream)
                turn_or_none = self._schedule.pick()
                if turn_or_none is not None:
                    await self._serve(turn_or_none)
                elif await self._run_errand(idle=True):
                    continue
                elif (next_ns := self._schedule.next_ns()) is not None:
                    await self._sleep(next_ns)
                else:
                    await asyncio.get_running_loop().create_future()  # a bus without meters has nothing to do
        finally:
            self.line.close()

    async def _run_errand(self, *, idle: bool) -> bool:
        """Ask one question that has no slot to keep; False if there is none to ask now."""
        if idle and (frame := self._desk.broadcasts.due(self.clock.now_ns())) is not None:
            for settings in sorted(self._desk.broadcasts.settings, key=str):
                exchange = await self.line.tell(frame, settings)
                if self._tap is not None:
                    self._tap(next(iter(self._desk.broadcasts.watches)), exchange)
            return True
        picked = self._desk.errands.pick(self.clock.now_ns(), idle=idle, ready=self._is_well)
        if picked is None:
            return False
        meter, request = picked
        contact = self._contacts[meter]
        outcome = await self._ask(contact, request)
        lacks = isinstance(outcome.error, Refused) and contact.dialect.lacks(outcome.error.code)
        rows, exchanges = self._desk.errands.take(meter, outcome, lacks, self.clock.now_ns())
        for row in rows:
            self._desk.brought(contact, row, exchanges)
        return True

    def _is_well(self, meter: str) -> bool:
        """Whether a meter answers, and owes no answer."""
        contact = self._contacts[meter]
        return not contact.failures and not contact.unanswered and bool(contact.last_good_ns)

    async def _drive(self, stream: Stream) -> None:
        """Let the connection drive itself until something needs care."""
        try:
            await stream.run()
        except LineDown:
            return  # the next turn asked the careful way meets it, too, and says so

    async def _sleep(self, until_ns: int) -> None:
        """Wait for a slot, but look at the clock every few seconds: it may have been set back."""
        try:
            async with asyncio.timeout(LOOK_UP_S) as self._nap:
                await self.clock.sleep_until(until_ns)
        except TimeoutError:
            return
        finally:
            self._nap = None

    async def read_now(self, meter: str) -> Poll:
        """Read one meter at once, between two turns: for a person beside it. The poll goes to nobody else.

        A meter given up for silent is thereby asked at once, and belongs to the others again if it answers.

        Raises
        ------
        KeyError
            No such meter on this bus.
        BusError
            As `collector.oneshot.read_meter` says.
        """
        granted: asyncio.Future[Poll] = asyncio.get_running_loop().create_future()
        self._wishes.append((self._contacts[meter], granted))
        if self._stream is not None:
            self._stream.interrupt()
        if self._nap is not None and not self._nap.expired():
            self._nap.reschedule(asyncio.get_running_loop().time())
        return await granted

    async def _grant(self, contact: Contact, granted: asyncio.Future[Poll]) -> None:
        contact.asked(self.clock.monotonic_s(), self.clock.now_ns())
        self.line.retry_now()
        try:
            poll = await read_on(self.line, contact.meter, contact.dialect, self.clock, self._tap, contact.unanswered)
        except BusError as error:
            if not granted.done():
                granted.set_exception(error)
            return
        contact.failures = 0
        if not granted.done():
            granted.set_result(poll)

    async def _serve(self, turn: Turn[Work]) -> None:
        desk = self._desk
        contact = self._contacts[turn.meter]
        work = desk.begin(turn)
        begun_s, was_silent = self.clock.monotonic_s(), bool(contact.failures)
        contact.asked(begun_s, self.clock.now_ns())
        try:
            await self._ask_all(turn, contact, work)
        finally:
            if was_silent:
                desk.probes.spend(self.clock.monotonic_s() - begun_s)

    async def _ask_all(self, turn: Turn[Work], contact: Contact, work: Work) -> None:
        """Ask what is left of a turn, until it is through or the meter is to be left."""
        desk = self._desk
        while work.todo:
            desk.advance()  # slots that come meanwhile are noticed when they come, not when this turn is through
            unsure = contact.unanswered or (contact.failures and not work.reached)
            if unsure and not await self._reach(contact, work):
                desk.leave(turn, contact, work)
                return
            block, decoder = work.todo[0]
            if turn.rank == 0 and not block.has_counter:
                self._schedule.put_back(turn, rank=1)
                return
            if (wait_ns := desk.before_boundary(turn, contact, block)) is not None:
                self._schedule.put_back(turn, turn.rank)
                await self._sleep(wait_ns)
                return
            outcome = await self._ask(contact, contact.dialect.request(block))
            work.exchanges.append(outcome.exchange)
            if outcome.error is None:
                work.doubtful |= decoder.into(outcome.payload, work.numbers, work.qualities)
                work.came = True
                contact.not_mute(block)
                desk.close_block(turn, work, failed=False)
            elif not desk.cope(turn, contact, work, outcome.error):
                desk.leave(turn, contact, work)
                return
        desk.finish(turn)

    async def _reach(self, contact: Contact, work: Work) -> bool:
        """After an unanswered question: ask something small, and such that no late answer can be mistaken for its own.

        A meter answers in the order it was asked. Once it has answered a question unlike all open ones, whatever it
        still owed has gone by.
        """
        for _ in range(PROBES if contact.unanswered else 1):
            request = contact.dialect.probe(work.prepared.plan, contact.unanswered)
            outcome = await self._ask(contact, request, keep_quiet=contact.failures < 2)
            work.exchanges.append(outcome.exchange)
            error = outcome.error
            if error is not None:
                work.cause = error.cause
            if not isinstance(error, Refused) or contact.dialect.unreached(error.code):
                break
            # A refusal does not say of what: it may be a late one of any open question. Ask something else.
            contact.unanswered.add(contact.dialect.likeness(request))
        else:
            self.line.rest()  # it refuses whatever small thing it is asked: let anything late go by
            error = None
        if error is None:
            contact.unanswered.clear()
            work.reached = True
        return error is None

    async def _ask(self, contact: Contact, request: Hashable, *, keep_quiet: bool = True) -> Outcome:
        now_ns = self.clock.now_ns()
        if not contact.budget.allows(now_ns):
            spent = Silent(f"{contact.meter.id} has been asked as often as its battery allows today")
            return Outcome(b"", spent, Exchange(b"", b"", now_ns, None, spent.cause))
        contact.budget.spend(now_ns)
        within_s = contact.within_s
        outcome = await put(
            self.line, contact.dialect, request, contact.meter, keep_quiet=keep_quiet, within_s=within_s
        )
        figures = contact.figures
        if outcome.exchange.request:
            figures["requests"] += 1
        if outcome.late:
            figures["late_bytes"] += len(outcome.late)
        error, exchange = outcome.error, outcome.exchange
        if error is None:
            figures["good"] += 1
        else:
            contact.count(error)
        if self.line.frames_by_silence and (
            isinstance(error, Silent) or (isinstance(error, Garbled) and not _came_damaged(outcome))
        ):
            contact.unanswered.add(contact.dialect.likeness(request))
        if outcome.late and within_s is not None:
            contact.patience.hasty()
        if exchange.answered_ns is not None:
            figures["response_ms"] = outcome.took_s * 1000
            contact.patience.took(outcome.took_s - self._wire_s(exchange))
        if self._tap is not None:
            if outcome.late and self.line.frames_by_silence:
                self._tap(contact.meter.id, Exchange(b"", outcome.late, exchange.sent_ns, exchange.sent_ns, "late"))
            self._tap(contact.meter.id, exchange)
        return outcome

    def _wire_s(self, exchange: Exchange) -> float:
        """Time the bytes of an exchange took on the line. [s]"""
        if not self.line.frames_by_silence:
            return 0.0
        return (len(exchange.request) + len(exchange.response)) * self.line.settings.character_s


def _came_damaged(outcome: Outcome) -> bool:
    """Whether exactly one answer's worth of bytes came that begins as the answer does: it is here, and no good.

    Of any other noise, however much of it, the answer itself may still be on its way.
    """
    response, request = outcome.exchange.response, outcome.exchange.request
    return len(response) == outcome.expected and response[:2] == request[:2]


def _at_once(bus: Bus, contacts: dict[str, Contact]) -> int:
    """How many questions may be open at once: as the bus says; else, of a meter with its own port, as its page says.

    Behind a gateway several meters share one serial line: there, more than one only fills the gateway's queue.
    """
    if bus.in_flight is not None:
        return bus.in_flight
    if len(contacts) == 1:
        (contact,) = contacts.values()
        if isinstance(contact.dialect, ModbusDialect):
            return contact.dialect.profile.limits.in_flight
    return 1
