"""One pair of wires in memory, byte by byte: who talks at the same time is heard as rubbish, whoever they are.

Meters hear only frames of their own speed and parity. Answers that overlap collide (where one pulls the line low, low
it is, a bit or two out of step). What another speed sends is heard as other bytes. Frames are made and checked here,
by pymodbus's checksum and by the simulated meters' own framing, never by the code under test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from dlt645 import DLT645Protocol, MeterServerService
from pymodbus.framer.rtu import FramerRTU

from collector.simulated.answer_meters import FieldFraming, FieldMeter, RecordFraming, RecordMeter
from collector.simulated.item_meters import ItemFraming, ItemMeter
from collector.simulated.meters import MeterRefuses, SimulatedMeter
from collector.transports import Inbox
from meterline.clock import Clock
from meterline.errors import LineDown
from meterline.lines import LineSettings
from meterline.profiles import Table
from meterline.site import Bus

BITS = 11


class Drop(Protocol):
    """One meter on the wires."""

    settings: LineSettings

    def hears(self, frame: bytes) -> tuple[float, bytes] | None:
        """(Delay, answer) to a frame that came whole; None for silence."""
        ...


@dataclass
class ModbusDrop:
    """A simulated Modbus meter."""

    meter: SimulatedMeter
    settings: LineSettings
    clock: Clock
    delay_s: float = 0.03
    silent_beyond: bool = False
    """Keeps silent instead of refusing what it has not got, as cheap meters do."""
    heard: list[bytes] = field(default_factory=list)

    def hears(self, frame: bytes) -> tuple[float, bytes] | None:
        if len(frame) != 8 or FramerRTU.compute_CRC(frame[:-2]).to_bytes(2, "big") != frame[-2:]:
            return None
        if frame[0] != self.meter.address:
            return None
        self.heard.append(frame)
        table = Table.HOLDING if frame[1] == 3 else Table.INPUT
        address, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        try:
            words = self.meter.read(table, address, count, self.clock.now_ns())
            body = frame[:2] + bytes((2 * count,)) + b"".join(word.to_bytes(2, "big") for word in words)
        except MeterRefuses as refusal:
            if self.silent_beyond:
                return None
            body = bytes((frame[0], frame[1] | 0x80, refusal.code))
        return self.delay_s, body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


@dataclass
class WordsDrop:
    """A Modbus meter of nobody's page: holding words by address, all else refused."""

    unit: int
    words: dict[int, int]
    settings: LineSettings
    delay_s: float = 0.03

    def hears(self, frame: bytes) -> tuple[float, bytes] | None:
        if len(frame) != 8 or FramerRTU.compute_CRC(frame[:-2]).to_bytes(2, "big") != frame[-2:]:
            return None
        if frame[0] != self.unit:
            return None
        address, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        if frame[1] != 3 or any(at not in self.words for at in range(address, address + count)):
            body = bytes((frame[0], frame[1] | 0x80, 2))
        else:
            data = b"".join(self.words[at].to_bytes(2, "big") for at in range(address, address + count))
            body = frame[:2] + bytes((2 * count,)) + data
        return self.delay_s, body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


@dataclass
class ItemDrop:
    """A simulated DL/T 645 meter; without `knows_masks` it answers to its whole address and the wildcard only."""

    meter: ItemMeter
    settings: LineSettings
    clock: Clock
    delay_s: float = 0.05
    knows_masks: bool = True

    def hears(self, frame: bytes) -> tuple[float, bytes] | None:
        for _, address, pdu in ItemFraming().requests(frame):
            mask = address.count("AA")
            if not self.meter.is_meant(address) or (0 < mask < 6 and not self.knows_masks):
                return None
            reply = self.meter.reply(pdu[0], pdu[1:], self.clock.now_ns())
            return None if reply is None else (self.delay_s, ItemFraming.frame(self.meter.address, *reply))
        return None


@dataclass
class AnswerDrop:
    """A simulated meter with one answer for everything: CJ/T 188 or M-Bus."""

    meter: FieldMeter | RecordMeter
    settings: LineSettings
    clock: Clock
    delay_s: float = 0.2

    def hears(self, frame: bytes) -> tuple[float, bytes] | None:
        t_ns = self.clock.now_ns()
        if isinstance(self.meter, RecordMeter):
            for address, control in RecordFraming().requests(frame):
                answer = self.meter.reply(control, t_ns) if address == int(self.meter.address) else None
                return None if answer is None else (self.delay_s, answer)
            return None
        for type_, digits, pdu in FieldFraming().requests(frame):
            reply = self.meter.reply(pdu[0], pdu[1:], t_ns) if self.meter.is_meant(type_, digits) else None
            return None if reply is None else (self.delay_s, FieldFraming.frame(type_, self.meter.address, *reply))
        return None


@dataclass
class FieldDrop:
    """A simulated CJ/T 188 meter."""

    meter: FieldMeter
    settings: LineSettings
    clock: Clock
    delay_s: float = 0.1

    def hears(self, frame: bytes) -> tuple[float, bytes] | None:
        for type_, address, pdu in FieldFraming().requests(frame):
            if not self.meter.is_meant(type_, address):
                return None
            reply = self.meter.reply(pdu[0], pdu[1:], self.clock.now_ns())
            if reply is not None:
                return self.delay_s, FieldFraming.frame(type_, self.meter.address, *reply)
        return None


@dataclass
class RecordDrop:
    """A simulated M-Bus meter."""

    meter: RecordMeter
    settings: LineSettings
    clock: Clock
    delay_s: float = 0.1

    def hears(self, frame: bytes) -> tuple[float, bytes] | None:
        for address, control in RecordFraming().requests(frame):
            if address == int(self.meter.address) and (answer := self.meter.reply(control, self.clock.now_ns())):
                return self.delay_s, answer
        return None


@cache
def _service() -> MeterServerService:
    """One for all meters: it takes a second to make."""
    return MeterServerService(None)


class PackageDrop:
    """A DL/T 645-2007 meter that the ``dlt645`` package answers for: its frames are nobody's of ours."""

    def __init__(self, address: str, settings: LineSettings, delay_s: float = 0.05) -> None:
        self.settings, self._delay_s = settings, delay_s
        self.address = address
        assert _service().set_00(0x00010000, 1206.42)

    def hears(self, frame: bytes) -> tuple[float, bytes] | None:
        for _, address, pdu in ItemFraming().requests(frame):
            if not all(address[n : n + 2] in ("AA", self.address[n : n + 2]) for n in range(0, 12, 2)):
                return None
            asked = DLT645Protocol.deserialize(frame)
            if asked is None or pdu[0] not in (0x11, 0x13):
                return None
            _service().address = bytearray(bytes.fromhex(self.address)[::-1])
            answer = _service().handle_request(asked)
            return None if answer is None else (self._delay_s, bytes(answer))
        return None


@dataclass
class _Sending:
    start_s: float
    settings: LineSettings
    data: bytes
    spoilt: bool = False

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.data) * BITS / self.settings.baud

    def byte_at(self, t_s: float) -> int | None:
        """The byte on the wires at a moment."""
        at = int((t_s - self.start_s) * self.settings.baud / BITS)
        return self.data[at] if 0 <= at < len(self.data) and self.start_s <= t_s else None


class Wires:
    """The line with everything on it.

    Attributes
    ----------
    noise
        What becomes of a byte on the way to us.
    not_possible
        Settings that our adapter has not got.
    may_tell
        Whether broadcasts of DL/T 645 are switched on; else nothing but reading may leave the port.
    """

    def __init__(self, drops: list[Drop]) -> None:
        self.drops = drops
        self.noise: Callable[[int], int] = lambda byte: byte
        self.not_possible: set[LineSettings] = set()
        self.asked = 0
        self.may_tell = False
        self._sendings: list[_Sending] = []
        self._ear: WireEnd | None = None

    def end(self, bus: Bus) -> WireEnd:
        """Our end of it, set as the bus says."""
        return WireEnd(self, bus.settings)

    def attach(self, ear: WireEnd | None) -> None:
        self._ear = ear

    def chatter(self, at_s: float, settings: LineSettings, frames: list[bytes], every_s: float) -> None:
        """Another master: sends these frames, one after another; meters answer it as they would answer us."""
        loop = asyncio.get_running_loop()
        for index, frame in enumerate(frames):
            loop.call_at(at_s + index * every_s, self.send, frame, settings, None)

    def send(self, data: bytes, settings: LineSettings, sender: object) -> None:
        """Put bytes on the wires now; meters hear them when they are over, if nobody disturbed."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._sendings = [each for each in self._sendings if each.end_s > now - 1.0]
        sending = _Sending(now, settings, data)
        for other in self._sendings:
            if other.end_s > now:
                other.spoilt = sending.spoilt = True
        self._sendings.append(sending)
        loop.call_at(sending.end_s, self._over, sending)
        if sender is not self._ear:
            character_s = BITS / settings.baud
            for index in range(len(data)):
                loop.call_at(now + (index + 1) * character_s, self._arrives, sending, index)

    def _arrives(self, sending: _Sending, index: int) -> None:
        if self._ear is None:
            return
        middle = sending.start_s + (index + 0.5) * BITS / sending.settings.baud
        byte = sending.data[index]
        for other in self._sendings:
            if other is sending or (clash := other.byte_at(middle)) is None:
                continue
            if other.start_s < sending.start_s or (other.start_s == sending.start_s and id(other) < id(sending)):
                return  # the first talker's byte is heard, spoilt
            turned = round((other.start_s - sending.start_s) * sending.settings.baud) % 8
            byte &= (clash << turned | clash >> (8 - turned)) & 0xFF
        if sending.settings != self._ear.settings:
            byte = (byte * 167 + 89) & 0xFF
        self._ear.inbox.feed(bytes((self.noise(byte),)))

    def _over(self, sending: _Sending) -> None:
        if sending.spoilt:
            return
        loop = asyncio.get_running_loop()
        for drop in self.drops:
            if drop.settings == sending.settings and (answer := drop.hears(sending.data)) is not None:
                delay_s, frame = answer
                loop.call_at(loop.time() + delay_s, self.send, frame, drop.settings, drop)


class WireEnd:
    """Our adapter."""

    def __init__(self, wires: Wires, settings: LineSettings) -> None:
        self.wires, self.settings = wires, settings
        self.inbox = Inbox()
        self._open = False

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def interjections(self) -> tuple[bytes, ...]:
        return ()

    async def open(self) -> None:
        if self.settings in self.wires.not_possible:
            raise LineDown(f"refuses {self.settings}")
        self._open, self.inbox = True, Inbox()
        self.wires.attach(self)

    def write(self, data: bytes) -> None:
        if not self._open:
            raise LineDown("closed")
        self.wires.asked += 1
        assert only_reads(data) or (self.wires.may_tell and only_tells(data)), (
            f"something else than reading left the port: {data.hex(' ')}"
        )
        self.wires.send(data, self.settings, self)

    async def read(self, until_s: float) -> bytes:
        return await self.inbox.get(until_s)

    def drain(self) -> bytes:
        return self.inbox.drain()

    async def adapt(self, settings: LineSettings) -> None:
        self.settings = settings

    def doubt(self) -> None:
        """Nothing to doubt on a wire."""

    def hang_up(self) -> None:
        self.close()

    def close(self) -> None:
        self._open = False
        self.wires.attach(None)


def only_reads(data: bytes) -> bool:
    """Whether a request can do nothing but read."""
    items = list(ItemFraming().requests(data))
    if items:
        return all(pdu[0] in (0x11, 0x12, 0x13, 0x01, 0x02) for _, _, pdu in items)
    if fields := list(FieldFraming().requests(data)):
        return all(pdu[0] in (0x01, 0x03) for _, _, pdu in fields)
    if records := list(RecordFraming().requests(data)):
        return all(control in (0x5B, 0x7B) for _, control in records)
    return data[1] in (3, 4)


def only_tells(data: bytes) -> bool:
    """Whether it is a broadcast of DL/T 645: the time, or to freeze each midnight."""
    return [(address, pdu[0]) for _, address, pdu in ItemFraming().requests(data)] in (
        [("9" * 12, 0x08)], [("9" * 12, 0x16)]
    )  # fmt: skip


def frames_of(drops: list[Drop]) -> Iterator[bytes]:
    """What another master asks the Modbus meters."""
    for drop in drops:
        if isinstance(drop, ModbusDrop):
            body = bytes((int(drop.meter.address), 3, 0, 0, 0, 2))
            yield body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
