"""Meters in memory, with every bad habit of the field.

Frames are made by pymodbus and by the ``dlt645`` package, never by the code under test.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dlt645 import DLT645Protocol, MeterServerService
from pymodbus.framer.rtu import FramerRTU

from collector.transports import Inbox
from meterline.errors import LineDown
from meterline.lines import LineSettings

Words = Callable[[int], int]
Refusals = Mapping[int, int]


def sealed(frame: bytes) -> bytes:
    """A serial frame with pymodbus's checksum."""
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


@dataclass
class FakeMeter:
    """A meter whose every word is known.

    Attributes
    ----------
    words
        Address -> word.
    holes
        Addresses it refuses, with the exception code.
    delay_s
        From the end of the request to the end of the answer; may be changed at any time.
    silent, code
        Answers nothing; answers everything with this exception.
    spoil
        What happens to the answer on its way, as pieces of bytes.
    """

    words: Words = lambda address: address
    holes: dict[int, int] = field(default_factory=dict)
    delay_s: float = 0.03
    silent: bool = False
    code: int = 0
    spoil: Callable[[bytes], list[bytes]] = lambda frame: [frame]
    asked: list[tuple[float, int, int]] = field(default_factory=list)
    busy_until_s: float = 0.0

    def answer(self, pdu: bytes) -> bytes:
        """The PDU that answers a read request's PDU."""
        function, address, count = pdu[0], int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        self.asked.append((asyncio.get_running_loop().time(), address, count))
        code = self.code or next((self.holes[a] for a in range(address, address + count) if a in self.holes), 0)
        if code:
            return bytes((function | 0x80, code))
        data = b"".join(self.words(a).to_bytes(2, "big") for a in range(address, address + count))
        return bytes((function, len(data))) + data


@functools.cache
def _item_service() -> MeterServerService:
    """One for all meters: it takes a second to make."""
    return MeterServerService(None)


class ItemMeter:
    """A DL/T 645 meter that the ``dlt645`` package answers for; attributes as those of `FakeMeter`.

    Attributes
    ----------
    asked
        (time, request) of what reached it.
    """

    def __init__(self, address: str, energies: Mapping[str, float], variables: Mapping[str, float]) -> None:
        self._shown = (energies, variables)
        self.address = bytes.fromhex(address)[::-1]
        self.delay_s, self.silent, self.busy_until_s = 0.05, False, 0.0
        self.spoil: Callable[[bytes], list[bytes]] = lambda frame: [frame]
        self.asked: list[tuple[float, bytes]] = []

    def answer(self, raw: bytes) -> bytes:
        """The frame that answers a request's frame."""
        self.asked.append((asyncio.get_running_loop().time(), raw))
        frame = DLT645Protocol.deserialize(raw)
        assert frame is not None, "a request the package does not understand left the port"
        service = _item_service()
        service.address = bytearray(self.address)
        for show, values in zip((service.set_00, service.set_02), self._shown, strict=True):
            assert all(show(int(di, 16), value) for di, value in values.items())
        return bytes(service.handle_request(frame))


class MemoryLine:
    """A transport whose other end is a dictionary of meters.

    Attributes
    ----------
    items
        DL/T 645 meters on the same line.
    tuned
        Meters that only hear what is sent at their own speed and parity: unit or address -> settings.
    tcp
        Whether frames are Modbus/TCP rather than serial ones.
    echo
        Whether the adapter plays our own bytes back.
    refuse_open
        Why the line cannot be opened, if so.
    port
        Whether it is a port of ours rather than a connection that may be dead.
    heartbeats
        What a DTU in between says on its own account.
    settings
        (time, speed and parity) of each change.
    sent
        (time, frame) of all that was written.
    """

    def __init__(self, meters: dict[int, FakeMeter], *, tcp: bool = False, echo: bool = False) -> None:
        self.meters, self.tcp, self.echo = meters, tcp, echo
        self.port = not tcp
        self.heartbeats: tuple[bytes, ...] = ()
        self.items: list[ItemMeter] = []
        self.tuned: dict[int | str, LineSettings] = {}
        self.now_tuned: LineSettings | None = None
        self.settings: list[tuple[float, LineSettings]] = []
        self.inbox = Inbox()
        self.sent: list[tuple[float, bytes]] = []
        self.opened = 0
        self.refuse_open = ""
        self.retag: Callable[[bytes], bytes] = lambda tag: tag
        self.before: Callable[[bytes], bytes] = lambda frame: b""
        self._open = False

    @property
    def is_open(self) -> bool:
        return self._open

    async def open(self) -> None:
        if self.refuse_open:
            raise LineDown(self.refuse_open)
        self.opened += 1
        self.inbox = Inbox()
        self.now_tuned = None
        self._open = True

    def hang_up(self) -> None:
        """The other end closes the connection."""
        self._open = False
        self.inbox.fail(LineDown("the peer closed the connection"))

    def write(self, data: bytes) -> None:
        if not self._open:
            raise LineDown("closed")
        loop = asyncio.get_running_loop()
        self.sent.append((loop.time(), data))
        if data.lstrip(b"\xfe")[:1] == b"\x68" and not self.tcp:
            self._item_write(data)
            return
        unit, pdu = (data[6], data[7:]) if self.tcp else (data[0], data[1:-2])
        if not self.tcp:
            assert sealed(data[:-2]) == data, "a request with a wrong checksum left the port"
        assert pdu[0] in (3, 4), "something else than reading left the port"
        if self.echo:
            self.inbox.feed(data)
        meter = self.meters.get(unit)
        if meter is None or meter.silent or not self._hears(unit):
            return
        answer = meter.answer(pdu)
        if self.tcp:
            frame = self.retag(data[:2]) + b"\0\0" + (len(answer) + 1).to_bytes(2, "big") + bytes((unit,)) + answer
        else:
            frame = sealed(bytes((unit,)) + answer)
        self._send(meter, frame)

    def _item_write(self, data: bytes) -> None:
        if self.echo:
            self.inbox.feed(data)
        for meter in self.items:
            body = data.lstrip(b"\xfe")
            if body[1:7] == meter.address and not meter.silent and self._hears(meter.address[::-1].hex()):
                self._send(meter, meter.answer(data))

    def _hears(self, meter: int | str) -> bool:
        return meter not in self.tuned or self.tuned[meter] == (self.now_tuned or LineSettings())

    def _send(self, meter: FakeMeter | ItemMeter, frame: bytes) -> None:
        # A meter has one mind: it answers in the order it was asked, however late.
        loop = asyncio.get_running_loop()
        inbox, at = self.inbox, max(loop.time() + meter.delay_s, meter.busy_until_s)
        for piece in (self.before(frame), *meter.spoil(frame)):
            if piece:
                loop.call_at(at, inbox.feed, piece)
                at += 0.002
        meter.busy_until_s = at

    @property
    def interjections(self) -> tuple[bytes, ...]:
        return self.heartbeats

    async def adapt(self, settings: LineSettings) -> None:
        self.settings.append((asyncio.get_running_loop().time(), settings))
        self.now_tuned = settings

    def doubt(self) -> None:
        if not self.port:
            self.close()

    async def read(self, until_s: float) -> bytes:
        return await self.inbox.get(until_s)

    def drain(self) -> bytes:
        return self.inbox.drain()

    def close(self) -> None:
        self._open = False
