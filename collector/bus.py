"""One physical line and its manners: one question at a time, silence where silence is due, nothing taken on trust.

A `Line` belongs to exactly one task. It empties the line before it asks, keeps the gaps between frames, waits for the
one answer that fits, and after a time-out keeps quiet as long as it would have waited, so that a late answer falls into
the silence and not behind the next question. It never raises for trouble on the line: an `Outcome` carries the error
beside the bytes that prove it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from collector.transports import Transport, transport_for
from meterline.clock import Clock
from meterline.errors import BusError, FrameError, Garbled, LineDown, Refused, Silent
from meterline.lines import LineSettings
from meterline.readings import Exchange
from meterline.site import Bus

log = logging.getLogger(__name__)

GUARD_S = 0.02
"""After a change of speed or parity: what the line's other meters made of it ends, and the adapter has changed. [s]"""
RELEASE_S = 0.002
"""Within this after the last byte a meter's line driver has let go. [s]"""
NOISE_ENDS_S = 0.1
"""A full answer's worth of bytes, then this long nothing, and still no answer in it: it will not become one. [s]"""
HALF_OPEN_AFTER = 3
"""Unanswered questions in a row after which a connection may be taken for dead and made anew."""
TOLD_S = 0.5
"""Meters that were told something, and do not answer, get this long to do it. [s]"""
RETRY_FIRST_S, RETRY_MOST_S = 0.5, 8.0
PORT_RETRY_MOST_S = 2.0
"""To look for a port of one's own costs nothing: an adapter plugged in again is found soon. [s]"""


class Question(Protocol):
    """What a codec gives to the line: the bytes to send, and how to know the answer."""

    @property
    def request(self) -> bytes:
        """The frame to send."""
        ...

    @property
    def answer_length(self) -> int:
        """Length of a complete answer; of the longest one where it varies. [bytes]"""
        ...

    @property
    def slowest_s(self) -> float:
        """How long a meter may take to begin its answer, by its protocol; 0 if the protocol does not say. [s]"""
        ...

    @property
    def parted_by_silence(self) -> bool:
        """Whether meters of this protocol know a new frame by the silence before it."""
        ...

    def answer(self, received: bytearray) -> bytes | None:
        """The payload once it is complete; raises `Refused` or `FrameError`."""
        ...

    def following(self) -> Question | None:
        """After an answer: the question for the rest of it; None if it is complete."""
        ...

    def foreign(self, received: bytearray) -> bool:
        """Whether what came is all well-formed, but none of it ours."""
        ...

    def echoed(self, received: bytearray) -> bool:
        """Whether our own request came back."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question.

    Attributes
    ----------
    payload
        The answer's payload; empty if there is an error.
    late
        Bytes that answer no question of ours, or no longer one: thrown away.
    took_s
        From the question's last byte to the answer's, or to giving up. [s]
    expected
        Length of a complete answer. [bytes]
    """

    payload: bytes
    error: BusError | None
    exchange: Exchange
    late: bytes = b""
    took_s: float = 0.0
    expected: int = 0


def silence_before(question: Question, settings: LineSettings) -> float:
    """How long a serial line rests before a question: as its protocol wants, at least until drivers let go. [s]"""
    return settings.silence_s if question.parted_by_silence else RELEASE_S


class Line:
    """The owner of one bus.

    Attributes
    ----------
    frames_by_silence
        Whether silence parts frames here (a serial line, also behind TCP); a Modbus/TCP stream has lengths and
        transaction ids instead, and needs no silence.
    settings
        Speed and parity the line has at present.
    reconnects, echoes, switches
        Counters since the start: connections made, echoes of our own found although none was announced, changes of
        speed or parity.
    """

    def __init__(self, bus: Bus, clock: Clock, transport: Transport | None = None) -> None:
        self.bus, self._clock = bus, clock
        self._transport = transport if transport is not None else transport_for(bus)
        self.frames_by_silence = bus.kind != "modbus-tcp"
        self.settings = bus.settings
        self._received = bytearray()
        self._free_at = 0.0
        self._retry_at, self._retry_s = 0.0, RETRY_FIRST_S
        self._down: LineDown | None = None
        self._unanswered = 0
        self._known_s: float | None = None
        self._transaction = 0
        self.reconnects = self.echoes = self.switches = 0

    @property
    def is_down(self) -> bool:
        """Whether the last attempt to open the line failed."""
        return self._down is not None

    @property
    def transport(self) -> Transport:
        """What carries the bytes; for the line's owner alone."""
        return self._transport

    async def connect(self) -> None:
        """Open the line if it is not open.

        Raises
        ------
        LineDown
            It cannot be opened, or could not a moment ago.
        """
        await self._ready(asyncio.get_running_loop())

    def next_transaction(self) -> int:
        """A number that none of the last 65535 questions had."""
        self._transaction = self._transaction % 0xFFFF + 1
        return self._transaction

    async def ask(
        self,
        make: Callable[[], Question],
        gap_s: float = 0.0,
        *,
        keep_quiet: bool = True,
        settings: LineSettings | None = None,
        within_s: float | None = None,
    ) -> Outcome:
        """Put one question and wait for its answer.

        Parameters
        ----------
        make
            Makes the question at the moment it is sent (a repeated one needs a transaction id of its own).
        gap_s
            Rest the meter needs before it, beyond what the line itself needs. [s]
        keep_quiet
            Whether an unanswered question is followed by silence. Only for a question that no later one to the same
            meter resembles may this be false.
        settings
            Speed and parity the meter needs; those of the bus if None.
        within_s
            The meter is known to begin its answers within this time; never more than usual is waited. [s]
        """
        self._known_s = within_s
        stale = self._transport.is_open
        wanted = settings or self.bus.settings
        question = make()
        outcome = await self._ask_once(question, gap_s, keep_quiet, wanted)
        if isinstance(outcome.error, LineDown) and stale and not outcome.exchange.response:
            # Meters and serial servers hang up on idle connections; that is no fault, and is not told as one.
            question = make()
            outcome = await self._ask_once(question, gap_s, keep_quiet, wanted)
        while outcome.error is None and (rest := question.following()) is not None:
            question = rest
            outcome = _joined(outcome, await self._ask_once(rest, gap_s, keep_quiet, wanted))
        return outcome

    async def tell(self, frame: bytes, settings: LineSettings | None = None) -> Exchange:
        """Send what nobody answers, and keep quiet until every meter has taken it in."""
        loop = asyncio.get_running_loop()
        wanted = settings or self.bus.settings
        try:
            await self._ready(loop)
            if wanted == self.settings:
                await self._hush(loop, wanted.silence_s)
            else:
                await self._switch(loop, wanted, wanted.silence_s)
            self._transport.write(frame)
        except LineDown as down:
            return Exchange(b"", b"", self._clock.now_ns(), None, down.cause)
        self._free_at = loop.time() + len(frame) * wanted.character_s + TOLD_S
        return Exchange(frame, b"", self._clock.now_ns(), None, "broadcast")

    def retry_now(self) -> None:
        """Try to open a line that is down at the next question, however soon after the last attempt."""
        self._retry_at = 0.0

    def rest(self) -> None:
        """Keep the line quiet for as long as an answer may take."""
        self._free_at = asyncio.get_running_loop().time() + self.bus.answer_within_s

    def close(self) -> None:
        """Let go of the line."""
        self._transport.close()

    async def _ask_once(self, question: Question, gap_s: float, keep_quiet: bool, wanted: LineSettings) -> Outcome:
        loop = asyncio.get_running_loop()
        gap_s = max(gap_s, self.bus.gap_ms / 1000, silence_before(question, wanted) if self.frames_by_silence else 0.0)
        try:
            await self._ready(loop)
            if wanted == self.settings:
                late = await self._hush(loop, gap_s)
            else:
                late = await self._switch(loop, wanted, gap_s)
            self._transport.write(question.request)
        except LineDown as down:
            return Outcome(b"", down, Exchange(b"", b"", self._clock.now_ns(), None, down.cause))
        sent_ns, sent_s = self._clock.now_ns(), loop.time()
        payload, error, raw = await self._answer_to(question, loop, sent_s)
        answered_ns = self._clock.now_ns()
        self._free_at = loop.time()
        if raw:
            self._unanswered = 0
            self._notice_echo(question, raw)
        if error is None:
            if not self.frames_by_silence:
                late = raw[: len(raw) - question.answer_length]
            return Outcome(
                payload,
                None,
                Exchange(question.request, raw, sent_ns, answered_ns),
                late,
                self._free_at - sent_s,
                question.answer_length,
            )
        nameless = self.bus.tid_check == "lenient" and isinstance(error, Silent | Garbled)
        if nameless or (isinstance(error, LineDown | FrameError) and not self.frames_by_silence):
            self._transport.hang_up()  # where answers have no id, a late one must not reach the next question
        elif isinstance(error, Silent | Garbled) and self.frames_by_silence and keep_quiet:
            self._free_at += self._patience_s(question)
        if isinstance(error, Silent) and not raw:
            self._lose_half_open()
        answered = answered_ns if isinstance(error, Refused) else None
        return Outcome(
            b"",
            error,
            Exchange(question.request, raw, sent_ns, answered, error.cause),
            late,
            loop.time() - sent_s,
            question.answer_length,
        )

    def _patience_s(self, question: Question) -> float:
        """Longest wait for a complete answer: the meter's time, and that of the bytes themselves. [s]"""
        return self._within_s(question) + (len(question.request) + question.answer_length) * self._character_s

    def _within_s(self, question: Question) -> float:
        """How long the meter may take: as the bus says, else as its protocol allows, but not less than usual. [s]"""
        usual_s = self.bus.timeout_s or max(self.bus.answer_within_s, question.slowest_s)
        return usual_s if self._known_s is None else min(self._known_s, usual_s)

    @property
    def _character_s(self) -> float:
        return self.settings.character_s if self.frames_by_silence else 0.0

    async def _answer_to(
        self, question: Question, loop: asyncio.AbstractEventLoop, sent_s: float
    ) -> tuple[bytes, BusError | None, bytes]:
        received = self._received
        deadline = sent_s + self._patience_s(question)
        raw, echo = b"", question.request if self.bus.echo else b""
        until = deadline
        while True:
            try:
                chunk = await self._transport.read(until)
            except LineDown as error:
                return b"", error, raw
            if not chunk:
                break
            raw += chunk
            if echo:
                chunk, echo = _less_echo(chunk, echo)
            received += chunk
            try:
                payload = question.answer(received)
                for shorter in _uninterrupted(received, self._transport.interjections) if payload is None else ():
                    payload = payload or question.answer(shorter)
            except (Refused, FrameError) as error:
                return b"", error, raw
            if payload is not None:
                return payload, None, raw
            if self.frames_by_silence and len(received) >= question.answer_length and not question.foreign(received):
                until = min(deadline, loop.time() + NOISE_ENDS_S)
        return b"", self._verdict(question, received, raw), raw

    def _verdict(self, question: Question, received: bytearray, raw: bytes) -> BusError:
        within = f"within {self._within_s(question):g} s"
        for packet in self._transport.interjections:
            received = received.replace(packet, b"")
        if not received:
            return Silent(f"no answer {within}; check power, address, baud, parity and the A/B wires")
        if question.echoed(received) and len(received) == len(question.request):
            return Silent(f"only our own echo came back {within}; check the meter, or the adapter's echo switch")
        if question.foreign(received):
            return Silent(f"only answers of others came {within}; check the address, and for a second master")
        return Garbled(f"{len(raw)} bytes came, but no valid answer; check termination, shielding, baud and parity")

    def _notice_echo(self, question: Question, raw: bytes) -> None:
        if not self.bus.echo and question.echoed(bytearray(raw)):
            if not self.echoes:
                log.warning(
                    "%s: the adapter plays back what we send; switch its echo off, or set echo: true", self.bus.id
                )
            self.echoes += 1

    async def _switch(self, loop: asyncio.AbstractEventLoop, wanted: LineSettings, gap_s: float) -> bytes:
        """Change speed and parity between two meters, with a guard time for all that hear the change as noise."""
        late = await self._hush(loop, 0.0)
        guard_s = max(GUARD_S, self.settings.silence_s, wanted.silence_s)
        await self._transport.adapt(wanted)
        self.settings = wanted
        self.switches += 1
        self._free_at = loop.time()
        return late + await self._hush(loop, max(gap_s, guard_s))

    async def _ready(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._transport.is_open:
            self._is_back()  # it may have come by itself: a DTU dials in when it likes
            return
        if loop.time() < self._retry_at and self._down is not None:
            raise LineDown(str(self._down))
        self._received.clear()
        self._unanswered = 0
        try:
            await self._transport.open()
        except LineDown as error:
            if self._down is None:
                log.warning("%s: %s", self.bus.id, error)
            self._down = error
            self._retry_at = loop.time() + self._retry_s * random.uniform(0.8, 1.2)
            most_s = PORT_RETRY_MOST_S if self.bus.kind == "serial" else RETRY_MOST_S
            self._retry_s = min(2 * self._retry_s, most_s)
            raise
        self.reconnects += 1
        self.settings = self.bus.settings
        self._is_back()

    def _is_back(self) -> None:
        if self._down is not None:
            log.info("%s: line is back", self.bus.id)
        self._down, self._retry_s = None, RETRY_FIRST_S

    async def _hush(self, loop: asyncio.AbstractEventLoop, gap_s: float) -> bytes:
        """Wait until the line may be used, throwing away what still arrives; a stream needs no emptying."""
        if not self.frames_by_silence:
            late = self._transport.drain() if self.bus.tid_check == "lenient" else b""
            if late:
                self._received.clear()
            if (wait := self._free_at + gap_s - loop.time()) > 0:
                await asyncio.sleep(wait)
            return late
        self._received.clear()
        patience = loop.time() + 2 * self.bus.answer_within_s + 1.0
        late = self._transport.drain()
        if late:
            self._free_at = max(self._free_at, loop.time())
        while (until := self._free_at + gap_s) > loop.time():
            chunk = await self._transport.read(until)
            if chunk:
                late += chunk
                # Whoever talks now ends its frame first; only a line that never falls silent is asked nevertheless.
                self._free_at = min(max(self._free_at, loop.time()), patience)
        for packet in self._transport.interjections:
            late = late.replace(packet, b"")
        return late

    def _lose_half_open(self) -> None:
        """A peer that lost its power never says goodbye: after a few unanswered questions, connect anew."""
        self._unanswered += 1
        if self._unanswered >= HALF_OPEN_AFTER:
            self._transport.doubt()


def _less_echo(chunk: bytes, echo: bytes) -> tuple[bytes, bytes]:
    """What of arrived bytes is no echo of ours, and how much of the echo is still to come."""
    same = next((n for n, (a, b) in enumerate(zip(chunk, echo, strict=False)) if a != b), min(len(chunk), len(echo)))
    # A byte that differs: the echo was damaged (two talked at once), or there is none. Nothing more is taken off.
    return chunk[same:], echo[same:] if same == len(chunk) else b""


def _uninterrupted(received: bytearray, interjections: tuple[bytes, ...]) -> Iterator[bytearray]:
    """What was received less one interjection, for each place where one may have cut an answer in two."""
    for packet in interjections:
        at = received.find(packet)
        while at >= 0:
            yield received[:at] + received[at + len(packet) :]
            at = received.find(packet, at + 1)


def _joined(first: Outcome, rest: Outcome) -> Outcome:
    """An answer in several frames as one: the bytes of all of them are the evidence."""
    return Outcome(
        first.payload + rest.payload if rest.error is None else b"",
        rest.error,
        Exchange(
            first.exchange.request + rest.exchange.request,
            first.exchange.response + rest.exchange.response,
            first.exchange.sent_ns,
            rest.exchange.answered_ns,
            rest.exchange.cause,
        ),
        first.late + rest.late,
        rest.took_s,
        rest.expected,
    )
