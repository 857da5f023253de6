"""The lines of the factory: Modbus TCP, RTU over TCP, RTU on a pseudo-terminal.

Framing is written here and not shared with the collector. A TCP segment is no frame: several requests may come in
one, or one in several. A serial line has no frames at all but for its check words, so a reader that lost its place
drops byte after byte until a request fits.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pymodbus.framer.rtu import FramerRTU

from collector.simulated.answer_meters import FieldFraming, RecordFraming
from collector.simulated.answering import Address, Answer, Answerer
from collector.simulated.item_meters import ItemFraming
from meterline.errors import ConfigError, Problem, Unreachable
from meterline.site import Bus

_BITS_PER_CHARACTER = 11
_RTU_LENGTH = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8}
_RTU_MINIMUM = 8
_RTU_MOST = 264
"""Bytes of an incomplete request that are kept for its rest: the longest there is."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast the meters are, in real time.

    Attributes
    ----------
    turnaround_s
        From the end of a request to the begin of the answer. [s]
    wire_time
        Whether a serial line also takes the time its baud rate needs for request and answer.
    """

    turnaround_s: float = 0.002
    wire_time: bool = False


class Line(Protocol):
    """An open line."""

    async def open(self) -> None:
        """Begin to answer. Raises Unreachable when port or path cannot be had."""
        ...

    async def close(self) -> None:
        """Stop answering and give port or path back."""
        ...


def line_of(bus: Bus, answerer: Answerer, timing: Timing) -> Line:
    """The line a bus of the site file stands for."""
    if bus.kind == "serial":
        return PtyLine(bus, answerer, timing)
    if bus.kind == "tcp-listen":
        from collector.simulated.dial_in import DialInLine  # it builds on what stands below

        return DialInLine(bus, answerer, timing)
    if bus.kind == "rfc2217":
        raise ConfigError(
            [
                Problem(
                    "site file", f"bus {bus.id}", "the simulated factory speaks no RFC 2217",
                    "use kind: rtu-over-tcp in a copy of the site file",
                )
            ]
        )  # fmt: skip
    return TcpLine(bus, answerer, timing)


# ---------------------------------------------------------------------------------------------------------- framing


class TcpFraming:
    """Modbus TCP: transaction id, protocol 0, length, address, then the protocol data unit."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def requests(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Take what arrived; yield (transaction, address, data unit) of every request that is whole.

        Raises
        ------
        ValueError
            Not Modbus TCP: the connection is to be closed.
        """
        self._buffer += data
        while len(self._buffer) >= 8:
            transaction, protocol, length = (int.from_bytes(self._buffer[i : i + 2], "big") for i in (0, 2, 4))
            if protocol or not 2 <= length <= 254:
                raise ValueError(f"protocol {protocol}, length {length}")
            if len(self._buffer) < 6 + length:
                return
            address, pdu = self._buffer[6], bytes(self._buffer[7 : 6 + length])
            del self._buffer[: 6 + length]
            yield transaction, address, pdu

    @staticmethod
    def frame(transaction: int, address: int, pdu: bytes) -> bytes:
        """Wrap an answer."""
        return transaction.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([address]) + pdu


class RtuFraming:
    """Modbus RTU: address, data unit, check word. The transaction is always 0."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def requests(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Take what arrived; yield (0, address, data unit) of every request whose check word is right."""
        self._buffer += data
        at = 0
        while at + _RTU_MINIMUM <= len(self._buffer):
            length = self._length(at)
            frame = bytes(self._buffer[at : at + length])
            if length and len(frame) == length and FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big")):
                del self._buffer[: at + length]
                at = 0
                yield 0, frame[0], frame[1:-2]
            else:
                at += 1  # what is incomplete here may be another protocol's frame: a whole one behind it counts
        del self._buffer[:-_RTU_MOST]

    def forget(self) -> None:
        """Drop an incomplete request: the line was silent, what comes next is a new one."""
        self._buffer.clear()

    def _length(self, at: int) -> int:
        """How long a request that begins here should be; 0 if none can."""
        function = self._buffer[at + 1]
        if function in (15, 16):
            return 9 + self._buffer[at + 6]
        return _RTU_LENGTH.get(function, 0)

    @staticmethod
    def frame(_transaction: int, address: int, pdu: bytes) -> bytes:
        """Wrap an answer."""
        body = bytes([address]) + pdu
        return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


class SerialFraming:
    """Whatever a line of bytes carries: RTU for the Modbus meters, other frames for others, each hearing all of it."""

    def __init__(self) -> None:
        self._rtu, self._items, self._fields, self._records = (
            RtuFraming(), ItemFraming(), FieldFraming(), RecordFraming()
        )  # fmt: skip

    def requests(self, data: bytes) -> Iterator[tuple[int, Address, bytes]]:
        """Take what arrived; yield (0, whom it is for, data unit) of every whole request; see `answering.Address`."""
        yield from self._rtu.requests(data)
        yield from self._items.requests(data)
        for type_, digits, pdu in self._fields.requests(data):
            yield 0, (type_, digits), pdu
        for address, control in self._records.requests(data):
            yield 0, ("mbus", address), bytes((control,))

    def forget(self) -> None:
        """Drop incomplete requests: the line was silent, what comes next is a new one."""
        for framing in (self._rtu, self._items, self._fields, self._records):
            framing.forget()

    @staticmethod
    def frame(transaction: int, address: Address, pdu: bytes) -> bytes:
        """Wrap an answer; all but those of RTU are wrapped already, in their meter's own address."""
        return RtuFraming.frame(transaction, address, pdu) if isinstance(address, int) else pdu


# -------------------------------------------------------------------------------------------------------------- TCP


class Connection(asyncio.Protocol):
    """One client of a TCP line."""

    def __init__(self, line: TcpLine) -> None:
        self._line = line
        self._framing: TcpFraming | SerialFraming = TcpFraming() if line.bus.kind == "modbus-tcp" else SerialFraming()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._line.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._line.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            for transaction, address, pdu in self._framing.requests(data):
                answer = self._line.answerer.answer(address, pdu)
                if answer.hang_up:
                    self._transport.abort()
                    return
                frame = _bytes_of(answer, self._framing.frame, transaction, address)
                self._line.say_later(answer.late_s, self._say, frame)
        except ValueError:
            self._transport.abort()

    def _say(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)


class TcpLine:
    """A meter's own Ethernet port, or a serial server with the meters behind it."""

    def __init__(self, bus: Bus, answerer: Answerer, timing: Timing) -> None:
        self.bus, self.answerer, self._timing = bus, answerer, timing
        self.connections: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        host = self.bus.host or ""
        where = f"{host}:{self.bus.tcp_port}"
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError(
                [
                    Problem(
                        "site file", f"bus {self.bus.id}", f"{where} is another machine's address",
                        "the simulated factory answers on 127.0.0.1 only: use a copy of the site file with it",
                    )
                ]
            )  # fmt: skip
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Connection(self), host, self.bus.tcp_port)
        except OSError as error:
            raise Unreachable(
                f"bus {self.bus.id} at {where}", error.strerror or str(error), "another program has this port: stop it"
            ) from error

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for transport in list(self.connections):
                transport.abort()
            await self._server.wait_closed()
            self._server = None

    def say_later(self, late_s: float, say: Callable[[bytes], None], frame: bytes) -> None:
        """Send after the meter's delay."""
        if frame:
            asyncio.get_running_loop().call_later(self._timing.turnaround_s + late_s, say, frame)


def _bytes_of(answer: Answer, frame: Callable[..., bytes], transaction: int, address: Address) -> bytes:
    if answer.pdu is None:
        return b""
    whole = bytearray(frame(transaction, address, answer.pdu))
    if answer.flip is not None:
        whole[answer.flip // 8 % len(whole)] ^= 1 << answer.flip % 8
    return answer.noise + whole


# ------------------------------------------------------------------------------------------------- pseudo-terminal


class PtyLine:
    """A serial line without hardware: a pseudo-terminal, reachable by the path the site file names.

    The path becomes a symbolic link to the terminal. Baud rate and parity mean nothing on it (Linux refuses parity
    there), so clients open it as 8N1; `Timing.wire_time` makes it as slow as the real line.
    """

    def __init__(self, bus: Bus, answerer: Answerer, timing: Timing) -> None:
        self._bus, self._answerer, self._timing = bus, answerer, timing
        self._framing = SerialFraming()
        self._master = self._slave = -1
        self._link = Path(bus.device or "")
        self._target = ""
        self._heard_s = 0.0

    async def open(self) -> None:
        if sys.platform == "win32":
            raise Unreachable(
                f"bus {self._bus.id}", "Windows has no pseudo-terminals", "use kind: rtu-over-tcp in the site file"
            )
        import tty  # not there on Windows

        if self._link.exists() and not self._link.is_symlink():
            raise Unreachable(
                f"bus {self._bus.id} at {self._link}", "there is a real port or file of this name",
                "the simulated factory makes its own: name another path in a copy of the site file",
            )  # fmt: skip
        self._master, self._slave = os.openpty()
        # The slave end stays open here, so that the line survives a client that closes it.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._target = os.ttyname(self._slave)
        try:
            self._link.parent.mkdir(parents=True, exist_ok=True)
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self._target)
        except OSError as error:
            self._close_ends()
            raise Unreachable(
                f"bus {self._bus.id} at {self._link}", error.strerror or str(error), "choose a path you may write to"
            ) from error
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    async def close(self) -> None:
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        if self._link.is_symlink() and os.readlink(self._link) == self._target:
            self._link.unlink()
        self._close_ends()

    def _close_ends(self) -> None:
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._heard_s > 0.1:
            self._framing.forget()
        self._heard_s = loop.time()
        for _, address, pdu in self._framing.requests(os.read(self._master, 4096)):
            answer = self._answerer.answer(address, pdu)
            frame = _bytes_of(answer, self._framing.frame, 0, address)
            if frame and address:  # 0 is broadcast: nobody answers
                around = 3 if isinstance(address, int) else 15
                wire_s = (len(frame) + len(pdu) + around) * _BITS_PER_CHARACTER / self._bus.baud
                wait_s = self._timing.turnaround_s + answer.late_s + (wire_s if self._timing.wire_time else 0.0)
                loop.call_later(wait_s, self._say, frame)

    def _say(self, frame: bytes) -> None:
        if self._master >= 0:
            try:
                os.write(self._master, frame)
            except BlockingIOError:
                # Nobody reads the other end any more. A wire keeps nothing for later either.
                return
