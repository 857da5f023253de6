"""What comes back when somebody asks: the meters of one line answer, or fail to, as they would.

Protocol data units are pymodbus's. The transport around them is ours (`lines`), because its server answers only the
first of several requests in a segment and cannot be made to mumble, stutter or hang up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest

from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersResponse,
)

from collector.simulated.answer_meters import FieldFraming, FieldMeter, RecordMeter
from collector.simulated.item_meters import ItemFraming, ItemMeter
from collector.simulated.meters import ILLEGAL_VALUE, MeterRefuses, SimulatedMeter
from collector.simulated.noise import chance
from meterline.clock import Clock
from meterline.profiles import Table

ILLEGAL_FUNCTION, NO_ANSWER_BEHIND_GATEWAY = 1, 0x0B
_TABLES = {3: Table.HOLDING, 4: Table.INPUT}
_REQUESTS = DecodePDU(is_server=True)
AnyMeter = SimulatedMeter | ItemMeter | FieldMeter | RecordMeter
Address = int | str | tuple[int, str] | tuple[str, int]
"""Modbus unit; twelve digits of DL/T 645; type and fourteen digits of CJ/T 188; ("mbus", primary address)."""
Witness = Callable[[AnyMeter, int, list[str]], None]
"""Told of every answered read: the meter, when (plant time, ns), the counters it showed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the line does after a request.

    Attributes
    ----------
    pdu
        Function code and data, of DL/T 645 the whole frame; None for silence.
    late_s
        Real seconds beyond the meter's usual delay. [s]
    noise
        Bytes that are heard before the answer.
    flip
        Number of the answer's bit that turns over on the way; the check word no longer fits. None: none does.
    hang_up
        The connection is closed instead.
    """

    pdu: bytes | None
    late_s: float = 0.0
    noise: bytes = b""
    flip: int | None = None
    hang_up: bool = False


SILENCE = Answer(None)


class Answerer:
    """The meters of one line.

    Parameters
    ----------
    meters
        Those with their address on this line.
    clock
        Plant time.
    timeout_s
        How long the collector waits on this line; a late answer comes after that. [s]
    serial
        Whether the meters hang on a serial line. Behind Modbus TCP it is the serial server who says so when nobody
        answers to an address; on the line itself there is silence, and there may be noise.
    witness
        Told of every answered read.
    """

    def __init__(
        self,
        meters: Iterable[AnyMeter],
        clock: Clock,
        *,
        timeout_s: float,
        serial: bool,
        witness: Witness | None = None,
    ) -> None:
        every = list(meters)
        self._meters = {meter.address: meter for meter in every if isinstance(meter, SimulatedMeter)}
        self._item_meters = [meter for meter in every if isinstance(meter, ItemMeter)]
        self._answer_meters = [meter for meter in every if isinstance(meter, FieldMeter | RecordMeter)]
        self._clock, self._timeout_s, self._serial, self._witness = clock, timeout_s, serial, witness
        self.answered = 0
        """Reads answered with words."""

    def answer(self, address: Address, pdu: bytes) -> Answer:
        """Answer one request, as of now."""
        if isinstance(address, tuple):
            answers = [self._answer_whole(meter, address, pdu) for meter in self._answer_meters]
            return _collided([each for each in answers if each is not SILENCE])
        if isinstance(address, str):
            answers = [self._answer_item(meter, pdu) for meter in self._item_meters if meter.is_meant(address)]
            return _collided([each for each in answers if each is not SILENCE])
        meter = self._meters.get(address)
        if meter is None:
            if self._serial:
                return SILENCE
            return Answer(_exception(pdu[0], NO_ANSWER_BEHIND_GATEWAY))
        t_ns = self._clock.now_ns()
        fault = meter.line_fault(t_ns)
        kind = fault.kind if fault else ""
        if fault and kind == "exception":
            return Answer(_exception(pdu[0], round(fault.level)))
        return SILENCE if kind == "silent" else self._spoilt(self._read(meter, pdu, t_ns), kind, t_ns)

    def _answer_item(self, meter: ItemMeter, pdu: bytes) -> Answer:
        t_ns = self._clock.now_ns()
        fault = meter.line_fault(t_ns)
        kind = fault.kind if fault else ""
        reply = meter.reply(pdu[0], pdu[1:], t_ns)
        if reply is None or kind == "silent":
            return SILENCE
        if kind == "exception":
            reply = (pdu[0] | 0xC0, b"\x01")
        elif reply[0] & 0x40 == 0:
            self.answered += 1
            if self._witness is not None:
                counters = meter.counters_in(reply[1][:4][::-1].hex().upper())
                if counters:
                    self._witness(meter, t_ns, counters)
        return self._spoilt(ItemFraming.frame(meter.address, *reply), kind, t_ns)

    def _answer_whole(self, meter: FieldMeter | RecordMeter, address: Address, pdu: bytes) -> Answer:
        """The answer of a meter that has only one."""
        t_ns = self._clock.now_ns()
        whole: bytes | None = None
        if isinstance(meter, RecordMeter):
            if address == ("mbus", int(meter.address)):
                whole = meter.reply(pdu[0], t_ns)
        elif isinstance(address, tuple) and isinstance(address[0], int) and meter.is_meant(address[0], str(address[1])):
            reply = meter.reply(pdu[0], pdu[1:], t_ns)
            whole = None if reply is None else FieldFraming.frame(address[0], meter.address, *reply)
        fault = meter.line_fault(t_ns)
        kind = fault.kind if fault else ""
        if whole is None or kind in ("silent", "exception"):
            return SILENCE
        self.answered += 1
        if self._witness is not None:
            self._witness(meter, t_ns, meter.counters)
        return self._spoilt(whole, kind, t_ns)

    def _spoilt(self, reply: bytes, kind: str, t_ns: int) -> Answer:
        """What becomes of an answer on a bad line."""
        if kind == "disconnect":
            return Answer(None, hang_up=True)
        if kind == "late":
            return Answer(reply, late_s=self._timeout_s * 1.4)
        if kind == "noise":
            return _with_noise(reply, t_ns) if self._serial else SILENCE
        return Answer(reply)

    def _read(self, meter: SimulatedMeter, pdu: bytes, t_ns: int) -> bytes:
        function = pdu[0]
        table = _TABLES.get(function)
        if table is None:
            return _exception(function, ILLEGAL_FUNCTION)
        if len(pdu) != 5 or not 1 <= int.from_bytes(pdu[3:5], "big") <= ReadHoldingRegistersRequest.MAX_COUNT:
            return _exception(function, ILLEGAL_VALUE)
        request = _REQUESTS.decode(pdu)
        assert request is not None  # its length and count were just checked
        try:
            words = meter.read(table, request.address, request.count, t_ns)
        except MeterRefuses as refusal:
            return _exception(function, refusal.code)
        self.answered += 1
        if self._witness is not None:
            counters = meter.counters_in(table, request.address, request.count)
            if counters:
                self._witness(meter, t_ns, counters)
        shape = ReadHoldingRegistersResponse if function == 3 else ReadInputRegistersResponse
        return bytes([function]) + shape(registers=words).encode()


def _collided(answers: list[Answer]) -> Answer:
    """Several meters that answer at once: where one pulls the line low, low it is."""
    if len(answers) < 2:
        return answers[0] if answers else SILENCE
    frames = [answer.pdu for answer in answers if answer.pdu is not None]
    mixed = bytearray()
    for column in zip_longest(*frames, fillvalue=0xFF):
        byte = 0xFF
        for each in column:
            byte &= each
        mixed.append(byte)
    return Answer(bytes(mixed))


def _exception(function: int, code: int) -> bytes:
    response = ExceptionResponse(function, code)
    return bytes([response.function_code]) + response.encode()


def _with_noise(reply: bytes, t_ns: int) -> Answer:
    """One of three things a bad cable does: bytes before the answer, a bit turned over, nothing left of it."""
    dice = chance(t_ns, 1)
    if dice < 0.4:
        return Answer(reply, noise=bytes(int(256 * chance(t_ns, n)) for n in range(2, 2 + 1 + int(dice * 10))))
    if dice < 0.8:
        return Answer(reply, flip=int(len(reply) * 8 * chance(t_ns, 20)))
    return SILENCE
