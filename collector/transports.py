"""Lines that carry bytes: one small protocol, and TCP as its first implementation.

A transport knows nothing of frames. It opens, writes, hands over what has arrived, and says in words an electrician
can act on why it cannot. Whoever owns it (:mod:`collector.bus`) owns the line: nobody else may write.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from meterline.errors import LineDown
from meterline.lines import LineSettings
from meterline.site import Bus

MOST_WAITING = 8192
"""Bytes kept while nobody reads: enough for any answer, too little for a line that babbles to fill the memory."""
READ_AT_ONCE = 1024
"""Bytes taken from a socket at a time: more than any answer has. [bytes]"""
CONNECT_WITHIN_S = 3.0


class Transport(Protocol):
    """A line of bytes, both ways."""

    @property
    def is_open(self) -> bool:
        """Whether a write may succeed."""
        ...

    async def open(self) -> None:
        """Make the line ready.

        Raises
        ------
        LineDown
            With the reason and what to do about it.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send bytes. Raises `LineDown`."""
        ...

    async def read(self, until_s: float) -> bytes:
        """What has arrived, at least one byte; empty if nothing did before the loop's time `until_s`.

        Raises
        ------
        LineDown
            The other end is gone; nothing more can come.
        """
        ...

    def drain(self) -> bytes:
        """What has arrived unasked, taken away."""
        ...

    async def adapt(self, settings: LineSettings) -> None:
        """Change speed and parity of the open line; an opened line has those of its bus.

        Raises
        ------
        LineDown
            It cannot be done here, or was refused.
        """
        ...

    @property
    def interjections(self) -> tuple[bytes, ...]:
        """Packets the device in between sends on its own account (heartbeats): they are no part of any answer."""
        ...

    def doubt(self) -> None:
        """Several questions in a row went unanswered: if that may be a dead connection, make the next `open` anew."""
        ...

    def hang_up(self) -> None:
        """Drop the connection, so that the next `open` makes a new one."""
        ...

    def close(self) -> None:
        """Let go of the line for good; harmless if it is closed."""
        ...


class Listener(Protocol):
    """Who takes what arrives the moment it arrives."""

    def arrived(self, data: bytes) -> None:
        """Bytes came."""
        ...

    def lost(self) -> None:
        """The connection is gone; nothing more will come."""
        ...


class Inbox:
    """Where arriving bytes wait for the one reader of a line; fed on the loop.

    Attributes
    ----------
    listener
        Gets the bytes instead, as long as there is one.
    """

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self._data = bytearray()
        self._lost: LineDown | None = None
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        """Keep bytes, the newest if there are too many."""
        if self.listener is not None:
            self.listener.arrived(data)
            return
        self._data += data
        if len(self._data) > MOST_WAITING:
            del self._data[:-MOST_WAITING]
        self._wake()

    def fail(self, reason: LineDown) -> None:
        """Nothing more will come."""
        self._lost = self._lost or reason
        if self.listener is not None:
            self.listener.lost()
        self._wake()

    def drain(self) -> bytes:
        """Everything that is there, taken away."""
        data = bytes(self._data)
        self._data.clear()
        return data

    async def get(self, until_s: float) -> bytes:
        """See `Transport.read`."""
        if not self._data and self._lost is None:
            loop = asyncio.get_running_loop()
            if until_s <= loop.time():
                return b""
            self._waiter = loop.create_future()
            alarm = loop.call_at(until_s, self._wake)
            try:
                await self._waiter
            finally:
                alarm.cancel()
                self._waiter = None
        if not self._data and self._lost is not None:
            raise self._lost
        return self.drain()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


P = TypeVar("P", bound=asyncio.BaseProtocol)


async def connect(host: str, port: int, make: Callable[[], P]) -> P:
    """Connect to a meter or serial server.

    Raises
    ------
    LineDown
        With the reason and what to do about it.
    """
    name = f"{host}:{port}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            transport, protocol = await loop.create_connection(make, host, port)
    except TimeoutError as error:
        raise LineDown(
            f"{name} did not accept a connection within {CONNECT_WITHIN_S:g} s; "
            "check its address, its power and the network cable"
        ) from error
    except ConnectionRefusedError as error:
        raise LineDown(
            f"{name} refused the connection; check the port number, and whether another program holds "
            "its only connection"
        ) from error
    except socket.gaierror as error:
        raise LineDown(f"no host is named {host!r}; check the spelling or use its IP address") from error
    except OSError as error:
        raise LineDown(
            f"{name} cannot be reached: {error.strerror or error}; check address and network cable"
        ) from error
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        # A serial server that lost its power never says goodbye.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return protocol


class _Stream(asyncio.BufferedProtocol):
    """Reads into a buffer of its own: a quarter of a megabyte made anew for each answer costs more than the answer."""

    def __init__(self, inbox: Inbox, name: str) -> None:
        self._inbox, self._name = inbox, name
        self._buffer = bytearray(READ_AT_ONCE)
        self._view = memoryview(self._buffer)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._inbox.feed(bytes(self._view[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._inbox.fail(LineDown(f"{self._name} closed the connection" + (f": {exc}" if exc else "")))


@runtime_checkable
class HasFigures(Protocol):
    """A transport that measures or counts something of its own."""

    @property
    def figures(self) -> dict[str, float]:
        """Name -> figure, for the health of the gateway."""
        ...


@runtime_checkable
class HasInbox(Protocol):
    """A transport whose arriving bytes may be listened to."""

    @property
    def inbox(self) -> Inbox:
        """Where what arrives over the present connection waits."""
        ...


class TcpTransport:
    """One connection to a meter or serial server; meters allow few, so there is never a second one.

    Attributes
    ----------
    inbox
        Where what arrives over the present connection waits.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._name = f"{host}:{port}"
        self.inbox = Inbox()
        self._stream: _Stream | None = None

    @property
    def is_open(self) -> bool:
        return self._stream is not None and self._stream.transport is not None

    @property
    def interjections(self) -> tuple[bytes, ...]:
        return ()

    async def open(self) -> None:
        self.close()
        inbox = self.inbox = Inbox()
        self._stream = await connect(self.host, self.port, lambda: _Stream(inbox, self._name))

    def write(self, data: bytes) -> None:
        if self._stream is None or self._stream.transport is None:
            raise LineDown(f"{self._name} closed the connection")
        self._stream.transport.write(data)

    async def read(self, until_s: float) -> bytes:
        return await self.inbox.get(until_s)

    def drain(self) -> bytes:
        return self.inbox.drain()

    async def adapt(self, settings: LineSettings) -> None:
        raise LineDown(
            f"{self._name} passes bytes through and cannot be switched to {settings}; "
            "set the serial server to RFC 2217 and use kind: rfc2217"
        )

    def doubt(self) -> None:
        self.close()

    def hang_up(self) -> None:
        self.close()

    def close(self) -> None:
        if self._stream is not None and self._stream.transport is not None:
            self._stream.transport.abort()
        self._stream = None


def transport_for(bus: Bus) -> Transport:
    """The transport a bus of the site file asks for; nothing is opened yet."""
    if bus.kind == "serial":
        from collector.transports_serial import SerialTransport  # a TCP-only gateway needs no pyserial

        assert bus.device is not None
        return SerialTransport(bus.device, bus.baud, bus.parity, bus.stop_bits)
    if bus.kind == "rfc2217":
        from collector.transports_rfc2217 import Rfc2217Transport

        return Rfc2217Transport(str(bus.host), bus.tcp_port, bus.settings)
    if bus.kind == "tcp-listen":
        from collector.transports_listen import ListenTransport

        return ListenTransport(bus)
    assert bus.host is not None
    return TcpTransport(bus.host, bus.tcp_port)
