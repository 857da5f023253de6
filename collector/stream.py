"""A Modbus/TCP connection that drives itself: questions leave at the slot, answers are decoded where they arrive.

Between a slot and the poll it brings, no task wakes and no future is made; that is what lets one gateway ask hundreds
of meters each second. Only what is plainly right is taken here: a whole frame with the transaction id, unit, function
and length of an open question. Whatever else happens (an exception, a time-out, a lost connection) is told to the
`TurnDesk` like anywhere else, and the turn goes on the careful way, in `collector.poller`.

Several questions may be open at once where the device allows it; each has its own transaction id, and an id is not used
again before 65535 others.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable

from collector.bus import HALF_OPEN_AFTER, Line
from collector.contact import Contact, Prepared
from collector.dialects import Decoder, ModbusDialect
from collector.protocols.modbus import MAX_TCP_LENGTH, MEANING, TcpQuestion
from collector.requests import Piece
from collector.schedule import Turn
from collector.transports import HasInbox
from collector.turns import MISSING, Tap, TurnDesk, Work
from collector.wheel import Wheel
from meterline.errors import BusError, FrameError, Refused, Silent
from meterline.profiles import Rate
from meterline.readings import Exchange, Number, Poll

_TICK_S = 1e-6
STALLED_S = 0.25
"""An alarm that rings so much too late says that the process stood still: a question gets its time once more. [s]"""


class _Ask:
    """One planned request to one meter, with all that can be made ready beforehand."""

    __slots__ = ("block", "decoder", "head", "length", "tail")

    def __init__(self, block: Piece, decoder: Decoder, question: TcpQuestion) -> None:
        self.block, self.decoder = block, decoder
        self.tail = question.request[2:]
        self.head = question.head[2:]
        self.length = question.answer_length


class _Ride:
    """One turn on its way: answers may come in any order."""

    __slots__ = (
        "asks",
        "contact",
        "delays",
        "doubtful",
        "exchanges",
        "left",
        "numbers",
        "prepared",
        "qualities",
        "queued",
        "turn",
    )

    def __init__(self, turn: Turn[Work], contact: Contact, prepared: Prepared, asks: tuple[_Ask, ...]) -> None:
        columns = len(prepared.plan.points)
        self.turn, self.contact, self.prepared, self.asks = turn, contact, prepared, asks
        self.left, self.queued = len(asks), 0
        self.numbers: list[Number | None] = [None] * columns
        self.qualities = [0] * columns
        self.delays = [-1] * self.left
        self.exchanges: list[Exchange | None] = [None] * self.left
        self.doubtful = False


class _Open:
    """A question without an answer yet."""

    __slots__ = ("answered_ns", "ask", "frame", "index", "request", "ride", "sent_ns", "sent_s")

    def __init__(self, ride: _Ride, index: int, ask: _Ask, request: bytes, sent_ns: int, sent_s: float) -> None:
        self.ride, self.index, self.ask = ride, index, ask
        self.request, self.sent_ns, self.sent_s = request, sent_ns, sent_s
        self.frame, self.answered_ns = b"", 0


class Stream:
    """The self-driving part of one Modbus/TCP bus.

    Parameters
    ----------
    at_once
        Questions that may be open at the same time.
    """

    def __init__(self, desk: TurnDesk, line: Line, wheel: Wheel, at_once: int, tap: Tap | None) -> None:
        self._desk, self._line, self._wheel, self._at_once, self._tap = desk, line, wheel, at_once, tap
        self._now_ns = desk.clock.now_ns
        self._buffer = bytearray()
        self._queue: deque[tuple[_Ride, int]] = deque()
        self._open: dict[bytes, _Open] = {}
        self._paused: deque[_Ride] = deque()
        self._stamped: deque[_Open] = deque()
        self._ready: dict[tuple[str, frozenset[Rate]], tuple[Prepared, tuple[_Ask, ...]]] = {}
        self._woken: asyncio.Future[None] | None = None
        self._watched = False
        self._timeouts = 0
        self._careful = False
        self._patience = wheel.patience(desk.bus.answer_within_s)
        self._time: Callable[[], float] = lambda: 0.0

    def wanted(self) -> bool:
        """Whether a turn waits that can be served here."""
        return any(map(self._easy, self._desk.schedule.waiting))

    async def run(self) -> None:
        """Serve turns as their slots come, until only the careful way leads on.

        Raises
        ------
        LineDown
            There is no connection.
        """
        await self._line.connect()
        transport = self._line.transport
        assert isinstance(transport, HasInbox)
        inbox = transport.inbox
        self._buffer.clear()
        self._careful = False
        loop = asyncio.get_running_loop()
        self._time, self._woken = loop.time, loop.create_future()
        inbox.listener = self
        try:
            self.tick()
            await self._woken
        finally:
            inbox.listener = None
            self._wheel.forget(self.tick)
            self._stamped.clear()
            self._put_back_all()
            self._woken = None

    def interrupt(self) -> None:
        """Something else needs the line: give way as soon as nothing is open."""
        self._careful = True
        if not (self._open or self._stamped or self._queue or self._paused):
            self._give_way()

    # --- called by the wheel, the connection and the alarm -----------------------------------------------------------

    def tick(self) -> None:
        """Take the turns of new slots, and ask."""
        if self._woken is None or self._woken.done():
            return
        try:
            self._desk.advance()
            if self._line.transport.is_open:
                self._pump()
            else:
                self._careful = True  # hung up while idle, as meters do: connect anew, then go on
                self._give_way()
            next_ns = self._desk.schedule.next_ns()
            if next_ns is not None:
                self._wheel.call_at(next_ns, self.tick)
        finally:
            self._pass_on_failure()

    def arrived(self, data: bytes) -> None:
        """Bytes came: most often exactly one answer to an open question."""
        try:
            opened = self._open.get(data[:2])
            if opened is not None and not self._buffer:
                ask = opened.ask
                if len(data) == ask.length and data.startswith(ask.head, 2):
                    del self._open[data[:2]]
                    opened.frame, opened.answered_ns = data, self._now_ns()
                    self._stamped.append(opened)
                    self._wheel.soon(self._take_apart)
                    if self._queue or self._desk.schedule.waiting:
                        self._pump()
                    return
            self._piecemeal(data)
        finally:
            self._pass_on_failure()

    def _take_apart(self) -> None:
        """The oldest answer that is stamped and not yet looked into."""
        if not self._stamped:
            return
        try:
            opened = self._stamped.popleft()
            self._answered(opened, opened.frame, opened.answered_ns)
        finally:
            self._pass_on_failure()

    def _take_all_apart(self) -> None:
        while self._stamped:
            opened = self._stamped.popleft()
            self._answered(opened, opened.frame, opened.answered_ns)

    def lost(self) -> None:
        """The other end closed the connection; what was open is asked again after connecting anew."""
        try:
            self._take_all_apart()
            if self._open or self._queue or self._paused:
                self._lose()
        finally:
            self._pass_on_failure()

    def _look(self, due_s: float) -> None:
        """Has a question waited too long?"""
        self._watched = False
        if not self._open:
            return
        try:
            now_s = self._time()
            if now_s - due_s > STALLED_S:
                self._watch(now_s)
                return
            self._take_all_apart()
            for tag, opened in list(self._open.items()):
                if opened.sent_s <= due_s - self._patience.within_s + _TICK_S and tag in self._open:
                    del self._open[tag]
                    self._silent(opened)
            if self._open:
                self._watch(now_s)
            self._pump()
        finally:
            self._pass_on_failure()

    def _pass_on_failure(self) -> None:
        """A mistake of ours must not die in a callback: the bus's task ends with it, and is started anew."""
        error = sys.exception()
        if error is not None and self._woken is not None and not self._woken.done():
            self._woken.set_exception(error)

    # --- asking ------------------------------------------------------------------------------------------------------

    def _easy(self, turn: Turn[Work]) -> bool:
        contact = self._desk.contacts[turn.meter]
        return turn.work is None and turn.rank < 2 and not contact.failures and not contact.gap_s

    def _first(self, turn: Turn[Work]) -> bool:
        return turn.rank == 0 and self._easy(turn)

    def _begin(self, turn: Turn[Work]) -> None:
        """Queue the requests of a turn."""
        desk = self._desk
        prepared = desk.prepared(turn)
        key = (turn.meter, turn.rates)
        ready = self._ready.get(key)
        if ready is None or ready[0] is not prepared:
            dialect = desk.contacts[turn.meter].dialect
            assert isinstance(dialect, ModbusDialect)
            asks = tuple(
                _Ask(block, decoder, TcpQuestion(dialect.request(block), 0))
                for block, decoder in zip(prepared.plan.blocks, prepared.decoders, strict=True)
            )
            ready = self._ready[key] = (prepared, asks)
        ride = _Ride(turn, desk.contacts[turn.meter], prepared, ready[1])
        if not ready[1]:  # it refuses everything it was asked for
            self._hand_over(ride)
            desk.schedule.put_back(turn, rank=1)
        elif turn.rank == 0:  # at a quarter hour, of several meters, the counters of all go first
            self._go_on(ride, sum(ask.block.has_counter for ask in ready[1]))
        else:
            self._go_on(ride, len(ready[1]))

    def _go_on(self, ride: _Ride, to: int) -> None:
        """Queue the requests of a ride up to one; a plan begins with those that bring counters."""
        begin, ride.queued = ride.queued, to
        if begin < to:
            self._queue.extend((ride, index) for index in range(begin, to))
        else:
            self._paused.append(ride)

    def _pump(self) -> None:
        """Ask as much as may be open at once."""
        queue, questions, schedule, transport = self._queue, self._open, self._desk.schedule, self._line.transport
        while len(questions) < self._at_once:
            if not queue:
                turn = None
                if schedule.waiting and not self._careful:
                    turn = schedule.pick_if(self._first if self._paused else self._easy)
                if turn is None and self._paused:
                    ride = self._paused.popleft()
                    self._go_on(ride, len(ride.asks))
                    continue
                if turn is None:
                    if not (questions or self._stamped) and (
                        schedule.waiting or self._careful or self._desk.errands.is_due(self._now_ns())
                    ):
                        self._give_way()
                    return
                self._begin(turn)
                continue
            if not transport.is_open:
                self._lose()
                return
            ride, index = queue.popleft()
            ask = ride.asks[index]
            tag = self._line.next_transaction().to_bytes(2, "big")
            request = tag + ask.tail
            now_s = self._time()
            questions[tag] = _Open(ride, index, ask, request, self._now_ns(), now_s)
            ride.contact.figures["requests"] += 1
            if not self._watched:
                self._watch(now_s)
            transport.write(request)

    def _watch(self, now_s: float) -> None:
        self._watched = True
        self._patience.begin(now_s, self._look)

    # --- answers -----------------------------------------------------------------------------------------------------

    def _answered(self, opened: _Open, frame: bytes, now_ns: int) -> None:
        ride, index, ask = opened.ride, opened.index, opened.ask
        contact = ride.contact
        ride.doubtful |= ask.decoder.into(frame[9:], ride.numbers, ride.qualities)
        ride.delays[index] = (now_ns - ride.turn.slot_ns) // 1_000_000
        exchange = ride.exchanges[index] = Exchange(opened.request, frame, opened.sent_ns, now_ns)
        contact.figures["good"] += 1
        contact.heard(ask.block, now_ns - opened.sent_ns)
        self._timeouts = 0
        if self._tap is not None:
            self._tap(contact.meter.id, exchange)
        ride.left -= 1
        if not ride.left:
            self._arrive(ride)
        elif ride.left == len(ride.asks) - ride.queued:
            self._paused.append(ride)
        self._pump()

    def _arrive(self, ride: _Ride) -> None:
        """All answers are there: hand the poll on."""
        desk, turn, contact, plan = self._desk, ride.turn, ride.contact, ride.prepared.plan
        qualities, doubtful = ride.qualities, ride.doubtful
        for column in plan.unasked:
            qualities[column] = MISSING
            doubtful = True
        delays = tuple(ride.delays)
        doubtful |= contact.plausibility.judge(plan.points, plan.shape, ride.numbers, qualities, turn.slot_ns, delays)
        desk.answered(contact, turn.slot_ns)
        desk.sink.poll(
            Poll(
                turn.meter,
                plan.shape,
                turn.slot_ns,
                delays,
                desk.clock_state(),
                tuple(ride.numbers),
                tuple(qualities) if doubtful else (),
                exchanges=tuple(ride.exchanges),  # type: ignore[arg-type]  # none is missing: nothing is left
            )
        )

    def _piecemeal(self, data: bytes) -> None:
        """Several frames at once, parts of one, exceptions, answers nobody waits for any more."""
        self._take_all_apart()
        received = self._buffer
        received += data
        while len(received) >= 8:
            length = 6 + int.from_bytes(received[4:6], "big")
            if received[2:4] != b"\x00\x00" or not 8 <= length <= 6 + MAX_TCP_LENGTH:
                self._out_of_step(bytes(received))
                return
            if len(received) < length:
                return
            frame = bytes(received[:length])
            del received[:length]
            opened = self._open.get(frame[:2])
            if opened is None:
                self._stray(frame)
            elif len(frame) == opened.ask.length and frame.startswith(opened.ask.head, 2):
                del self._open[frame[:2]]
                self._answered(opened, frame, self._now_ns())
            elif frame[6] == opened.ask.head[4] and frame[7] == opened.ask.head[5] | 0x80:
                del self._open[frame[:2]]
                code = frame[8] if length > 8 else 0
                self._failed(opened, Refused(code, MEANING.get(code, "")), frame)
            else:
                self._stray(frame)
            if self._woken is None or self._woken.done():
                return

    def _stray(self, frame: bytes) -> None:
        """A well-formed frame that answers nothing that is open: late, of another unit, or of another length."""
        for opened in self._open.values():
            opened.ride.contact.figures["late_bytes"] += len(frame)
            return

    def _out_of_step(self, raw: bytes) -> None:
        """What stands where a frame must begin is none: nothing on this connection can be trusted any more."""
        error = FrameError(f"no Modbus/TCP frame begins with {raw[:8].hex(' ')}")
        self._line.transport.close()
        questions, self._open = self._open, {}
        for opened in questions.values():
            self._failed(opened, error, raw, leave=False)
        self._lose()

    # --- what goes on the careful way --------------------------------------------------------------------------------

    def _silent(self, opened: _Open) -> None:
        within = f"within {self._desk.bus.answer_within_s:g} s"
        error = Silent(f"no answer {within}; check power, address, baud, parity and the A/B wires")
        self._failed(opened, error, b"", leave=False)
        self._timeouts += 1
        if self._timeouts >= HALF_OPEN_AFTER:
            self._line.transport.doubt()

    def _failed(self, opened: _Open, error: BusError, raw: bytes, *, leave: bool = True) -> None:
        """A question failed: what is left of its turn goes on the careful way."""
        ride = opened.ride
        contact, turn, now_ns = ride.contact, ride.turn, self._now_ns()
        answered_ns = now_ns if isinstance(error, Refused) else None
        exchange = Exchange(opened.request, raw, opened.sent_ns, answered_ns, error.cause)
        contact.count(error)
        contact.asked(self._desk.clock.monotonic_s(), now_ns)
        if self._tap is not None:
            self._tap(contact.meter.id, exchange)
        work = self._hand_over(ride, opened.index)
        work.exchanges.append(exchange)
        if self._desk.cope(turn, contact, work, error):
            self._desk.schedule.put_back(turn, turn.rank)
        else:
            self._desk.leave(turn, contact, work)
        if leave:
            self._pump()

    def _hand_over(self, ride: _Ride, failed: int | None = None) -> Work:
        """Make of a ride the work of a turn: what is answered is done, the failed request comes next."""
        self._queue = deque(item for item in self._queue if item[0] is not ride)
        self._paused = deque(other for other in self._paused if other is not ride)
        for tag in [tag for tag, opened in self._open.items() if opened.ride is ride]:
            del self._open[tag]  # its answer will be a stray one
        work = Work(ride.prepared)
        work.numbers, work.qualities, work.doubtful = ride.numbers, ride.qualities, ride.doubtful
        todo, work.todo = work.todo, []
        for index, (block, decoder) in enumerate(todo):
            exchange = ride.exchanges[index]
            if exchange is None:
                work.todo.append((block, decoder))
                continue
            work.done.append(block)
            work.delays_ms.append(ride.delays[index])
            work.exchanges.append(exchange)
            work.came = True
        if failed is not None:
            block = ride.asks[failed].block
            work.todo.sort(key=lambda pair: pair[0] is not block)
        if [*work.done, *(block for block, _ in work.todo)] != list(ride.prepared.plan.blocks):
            work.parted = 1  # not in the plan's order any more
        work.careful = True
        ride.turn.work = work
        return work

    def _put_back_all(self) -> None:
        """Whatever is under way is asked again, the careful way."""
        rides = {id(opened.ride): opened.ride for opened in self._open.values()}
        rides |= {id(ride): ride for ride, _ in self._queue}
        rides |= {id(ride): ride for ride in self._paused}
        self._open.clear()
        self._queue.clear()
        self._paused.clear()
        for ride in rides.values():
            self._hand_over(ride)
            self._desk.schedule.put_back(ride.turn, ride.turn.rank)

    def _lose(self) -> None:
        self._put_back_all()
        self._careful = True
        self._give_way()

    def _give_way(self) -> None:
        """Nothing is under way, and something waits that needs care: let it have the line."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
