"""Lines that come to us: a DTU or serial server dials in, says who it is, and passes serial frames through.

One `Door` is one listening port of the process; it may serve many lines. A caller is known by the registration packet
it sends first; a door with a single line that has none takes any caller. The line's transport holds one connection.

A second caller with the same registration waits: usually it is the same device, whose first connection died without a
goodbye, and it takes over as soon as that one is given up. If instead the first one goes on answering, two devices
carry one registration; then the second is never heard, because behind it other meters may have the same addresses.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from weakref import WeakKeyDictionary

from collector.transports import Inbox
from meterline.errors import LineDown
from meterline.lines import LineSettings, packet_bytes
from meterline.site import Bus

log = logging.getLogger(__name__)

DIAL_IN_WITHIN_S = 3.0
"""How long an `open` waits for a caller before it says that none came. [s]"""
REGISTER_WITHIN_S = 15.0
"""A caller that has not said who it is by then is sent away. [s]"""
DEAF_S = 90.0
"""Nothing heard of a caller for so long, heartbeats included, and questions unanswered: the connection is dead. [s]"""
MOST_REGISTRATION = 256
MOST_STRANGERS = 32
"""Callers at one door at a time that have not said yet who they are."""
_PADDING = b"\r\n\0"
"""What devices add to a registration packet."""


class Caller(asyncio.Protocol):
    """One connection from outside."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.peer = "?"
        self.first = bytearray()
        self.inbox: Inbox | None = None
        self.gone = False
        self.heard_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.peer = str((transport.get_extra_info("peername") or "?")[0])
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            _keep_alive(sock)
        loop = asyncio.get_running_loop()
        self.heard_s = loop.time()
        self._patience = loop.call_later(REGISTER_WITHIN_S, self._door.send_away, self)
        self._door.received(self)

    def data_received(self, data: bytes) -> None:
        self.heard_s = asyncio.get_running_loop().time()
        if self.inbox is not None:
            self.inbox.feed(data)
        else:
            self.first += data
            self._door.received(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.known()
        if self.inbox is not None:
            self.inbox.fail(LineDown(f"the device at {self.peer} closed the connection" + (f": {exc}" if exc else "")))
        self._door.left(self)

    def known(self) -> None:
        """It has said who it is, or is gone: stop waiting for that."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def send(self, data: bytes) -> None:
        """Write to it."""
        assert self._transport is not None
        self._transport.write(data)

    def dismiss(self) -> None:
        """Close its connection."""
        self.gone = True
        self.known()
        if self._transport is not None:
            self._transport.abort()


class Door:
    """One listening port and who stands before it.

    Attributes
    ----------
    lines
        The transports that wait here for their caller.
    strangers
        Callers that have not said yet who they are.
    last_unknown
        What the last caller that nobody expected said, and from where: the likeliest explanation of a missing one.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.lines: list[ListenTransport] = []
        self.strangers: list[Caller] = []
        self.last_unknown = ""
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()

    @classmethod
    async def of(cls, line: ListenTransport) -> Door:
        """The door a line waits at, opened if it is the first to do so. Raises `LineDown`."""
        loop = asyncio.get_running_loop()
        doors = _DOORS.setdefault(loop, {})
        door = doors.setdefault((line.host, line.port), cls(line.host, line.port))
        if line not in door.lines:
            door.lines.append(line)
        if door._server is None:
            try:
                async with door._opening:
                    await door._listen(loop)
            except OSError as error:
                door.lines.remove(line)
                if not door.lines:
                    doors.pop((line.host, line.port), None)
                raise LineDown(
                    f"cannot listen at port {line.port}: {error.strerror or error}; another program holds it, or "
                    "'host' is not an address of this machine"
                ) from error
        return door

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._server is None:
            self._server = await loop.create_server(lambda: Caller(self), self.host or None, self.port)

    def leave(self, line: ListenTransport) -> None:
        """A line waits here no longer; the last one closes the door."""
        if line in self.lines:
            self.lines.remove(line)
        if not self.lines:
            _DOORS.get(asyncio.get_running_loop(), {}).pop((self.host, self.port), None)
            if self._server is not None:
                self._server.close()
                self._server = None
            for stranger in list(self.strangers):
                stranger.dismiss()

    def received(self, caller: Caller) -> None:
        """A caller that is not known yet came, or said something."""
        if caller not in self.strangers:
            self.strangers.append(caller)
            if len(self.strangers) > MOST_STRANGERS:
                self.strangers[0].dismiss()
        if len(self.lines) == 1 and not self.lines[0].registration:
            self._let_in(caller, self.lines[0])
            return
        heartbeats = [packet for line in self.lines for packet in line.heartbeats if packet]
        said = bytes(caller.first)
        while True:
            for line in self.lines:
                if said.startswith(line.registration):
                    caller.first = bytearray(said[len(line.registration) :].lstrip(_PADDING))
                    self._let_in(caller, line)
                    return
            before = next((packet for packet in heartbeats if said.startswith(packet)), b"")
            if not before:
                break
            said = said[len(before) :]
        expected = [line.registration for line in self.lines] + heartbeats
        if said and (len(said) > MOST_REGISTRATION or not any(packet.startswith(said) for packet in expected)):
            self._refuse(caller, said)

    def left(self, caller: Caller) -> None:
        """A caller is gone."""
        if caller in self.strangers:
            self.strangers.remove(caller)
        for line in self.lines:
            line.forget(caller)

    def send_away(self, caller: Caller) -> None:
        """It never said who it is."""
        if caller in self.strangers:
            self._refuse(caller, bytes(caller.first))

    def _refuse(self, caller: Caller, said: bytes) -> None:
        words = f"{_shown(said)} (at {caller.peer})" if said else f"nothing (at {caller.peer})"
        if words != self.last_unknown:
            log.warning("port %s: a caller says %s, which is no registration of this gateway's lines", self.port, words)
        self.last_unknown = words
        caller.dismiss()

    def _let_in(self, caller: Caller, line: ListenTransport) -> None:
        self.strangers.remove(caller)
        caller.known()
        line.take(caller)


_DOORS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], Door]] = WeakKeyDictionary()
"""The doors of each loop: lines of one port share it."""


class ListenTransport:
    """The line of one bus of kind ``tcp-listen``.

    Attributes
    ----------
    registration
        What its caller says first; empty: anybody is it.
    rivals
        How often a second caller with this registration came while the first one was there.
    """

    def __init__(self, bus: Bus) -> None:
        self.host, self.port = bus.host or "", bus.tcp_port
        self.registration = packet_bytes(bus.registration) if bus.registration else b""
        self.heartbeats = tuple(packet_bytes(text) for text in (bus.heartbeat,) if text)
        self.rivals = 0
        self._name = bus.registration or ""
        self._door: Door | None = None
        self._caller: Caller | None = None
        self._next: Caller | None = None
        self._came: asyncio.Future[None] | None = None
        self._told_rival = ""

    @property
    def is_open(self) -> bool:
        return self._caller is not None and not self._caller.gone

    @property
    def interjections(self) -> tuple[bytes, ...]:
        """Heartbeats, and the registration itself: some devices repeat it."""
        return (*self.heartbeats, *((self.registration,) if self.registration else ()))

    @property
    def figures(self) -> dict[str, float]:
        """Callers that came while another one was connected."""
        return {"rivals": float(self.rivals)}

    async def open(self) -> None:
        self._door = await Door.of(self)
        if self.is_open or self._promote():
            return
        loop = asyncio.get_running_loop()
        self._came = loop.create_future()
        alarm = loop.call_later(DIAL_IN_WITHIN_S, self._stir)
        try:
            await self._came
        finally:
            alarm.cancel()
            self._came = None
        if not self.is_open:
            raise LineDown(self._missing())

    def take(self, caller: Caller) -> None:
        """A caller of this line has come."""
        if self.is_open and self._caller is not None:
            self.rivals += 1
            if self._next is not None:
                self._next.dismiss()
            self._next = caller
            if caller.peer != self._told_rival:
                self._told_rival = caller.peer
                log.warning(
                    "port %s: a second device, at %s, registers as %s while the one at %s is connected; it waits",
                    self.port, caller.peer, self._name or "(none)", self._caller.peer,
                )  # fmt: skip
            return
        self._admit(caller)

    def forget(self, caller: Caller) -> None:
        """A caller is gone."""
        if caller is self._next:
            self._next = None
        if caller is self._caller:
            self._promote()

    def write(self, data: bytes) -> None:
        if self._caller is None or self._caller.gone:
            raise LineDown(self._missing())
        self._caller.send(data)

    async def read(self, until_s: float) -> bytes:
        if self._caller is None or self._caller.inbox is None:
            raise LineDown(self._missing())
        return await self._caller.inbox.get(until_s)

    def drain(self) -> bytes:
        return b"" if self._caller is None or self._caller.inbox is None else self._caller.inbox.drain()

    async def adapt(self, settings: LineSettings) -> None:
        raise LineDown(
            f"the device that dials in to port {self.port} passes bytes through and cannot be switched to {settings}; "
            "set all meters of this line alike"
        )

    def doubt(self) -> None:
        """Another caller waits, or nothing was heard for long, not even a heartbeat: this connection is dead."""
        caller = self._caller
        if caller is None:
            return
        if self._next is not None or asyncio.get_running_loop().time() - caller.heard_s > DEAF_S:
            self.hang_up()

    def hang_up(self) -> None:
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.dismiss()
        self._promote()

    def close(self) -> None:
        for caller in (self._caller, self._next):
            if caller is not None:
                caller.dismiss()
        self._caller = self._next = None
        if self._door is not None:
            self._door.leave(self)
            self._door = None
        self._stir()

    def _admit(self, caller: Caller) -> None:
        caller.inbox = Inbox()
        if caller.first:
            caller.inbox.feed(bytes(caller.first))
        self._caller = caller
        self._stir()

    def _promote(self) -> bool:
        """Let in who waits behind a connection that is no more."""
        waiting, self._next = self._next, None
        if waiting is None or waiting.gone:
            return False
        self._admit(waiting)
        return True

    def _stir(self) -> None:
        if self._came is not None and not self._came.done():
            self._came.set_result(None)

    def _missing(self) -> str:
        who = f"no device has dialled in to port {self.port}" + (f" as {self._name}" if self._name else "")
        if self._door is not None and self._door.last_unknown:
            return f"{who}; the last caller said {self._door.last_unknown}: correct it there, or here"
        return f"{who}; check its server address and port, its network and its power"


def _shown(said: bytes) -> str:
    """A packet as it could be written into the site file."""
    text = said[:32].decode("ascii", "replace")
    return text if text.isprintable() and "\ufffd" not in text else f"hex:{said[:32].hex(' ')}"


def _keep_alive(sock: socket.socket) -> None:
    """Let the system notice within half a minute that a device lost its power."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 20_000)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
