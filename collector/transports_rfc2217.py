"""Serial servers that speak RFC 2217: bytes pass as over any TCP connection, and speed and parity can be set.

`ComPort` is the protocol without a socket: telnet (RFC 854, 855), its binary option (RFC 856) and the com port option
(RFC 2217). pyserial's own client blocks its caller and needs a thread; here everything is on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from collector.transports import Inbox, connect
from meterline.errors import LineDown
from meterline.lines import LineSettings, Parity

AGREED_WITHIN_S = 3.0
"""Longest wait for the server to agree to the option, or to a setting. [s]"""
IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
SET_BAUD, SET_SIZE, SET_PARITY, SET_STOP, SET_CONTROL, PURGE = 1, 2, 3, 4, 5, 12
FROM_SERVER = 100
"""Added to a command's number in the server's answer."""
PARITY_NUMBER: dict[Parity, int] = {"N": 1, "O": 2, "E": 3}
NO_FLOW_CONTROL = 1
PURGE_RECEIVED = 1
_ACCEPTED = {BINARY, SUPPRESS_GO_AHEAD, COM_PORT}
MOST_OPTION = 1024


class ComPort:
    """The telnet side of one connection.

    Parameters
    ----------
    send
        Takes bytes for the server.

    Attributes
    ----------
    agreed
        Whether the server takes part in the com port option: None until it has said so.
    values
        Command -> the value the server confirmed last.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self.agreed: bool | None = None
        self.values: dict[int, int] = {}
        self._state: Callable[[int, bytearray], None] = self._plain
        self._verb = 0
        self._option = bytearray()
        self._we_do = {BINARY, COM_PORT}
        self._they_do = {BINARY, SUPPRESS_GO_AHEAD}

    def begin(self) -> None:
        """Offer what we speak."""
        self._send(bytes(byte for option in sorted(self._we_do) for byte in (IAC, WILL, option)))
        self._send(bytes(byte for option in sorted(self._they_do) for byte in (IAC, DO, option)))

    def ask_for(self, settings: LineSettings) -> dict[int, int]:
        """Ask for speed and shape of a character; returns what the server should confirm (command -> value)."""
        wanted = {
            SET_BAUD: settings.baud,
            SET_SIZE: 8,
            SET_PARITY: PARITY_NUMBER[settings.parity],
            SET_STOP: settings.stop_bits,
            SET_CONTROL: NO_FLOW_CONTROL,
        }
        for command, value in wanted.items():
            self.values.pop(command, None)
            self._command(command, value.to_bytes(4 if command == SET_BAUD else 1, "big"))
        return wanted

    def purge(self) -> None:
        """Let the server throw away what it has received on the line and not sent yet."""
        self._command(PURGE, bytes((PURGE_RECEIVED,)))

    def received(self, data: bytes) -> bytes:
        """What of arrived bytes came over the line; the rest is for us."""
        if self._state == self._plain and IAC not in data:
            return data
        line = bytearray()
        for byte in data:
            self._state(byte, line)
        return bytes(line)

    def _command(self, command: int, value: bytes) -> None:
        self._send(bytes((IAC, SB, COM_PORT, command)) + escaped(value) + bytes((IAC, SE)))

    # --- one byte at a time -----------------------------------------------------------------------------------------

    def _plain(self, byte: int, line: bytearray) -> None:
        if byte == IAC:
            self._state = self._after_iac
        else:
            line.append(byte)

    def _after_iac(self, byte: int, line: bytearray) -> None:
        self._state = self._plain
        if byte == IAC:
            line.append(IAC)
        elif byte == SB:
            self._option.clear()
            self._state = self._in_option
        elif byte in (DO, DONT, WILL, WONT):
            self._verb = byte
            self._state = self._after_verb

    def _after_verb(self, byte: int, _line: bytearray) -> None:
        self._state = self._plain
        verb = self._verb
        if byte == COM_PORT and verb in (DO, WILL):
            self.agreed = True
        elif byte == COM_PORT and verb == DONT:
            self.agreed = False
        # Confirm what is new and wanted, refuse what is not; say nothing to what is known, so that no loop can begin.
        mine, yes, no = (self._we_do, WILL, WONT) if verb in (DO, DONT) else (self._they_do, DO, DONT)
        if verb in (DO, WILL):
            if byte in mine:
                return
            if byte in _ACCEPTED:
                mine.add(byte)
                self._send(bytes((IAC, yes, byte)))
            else:
                self._send(bytes((IAC, no, byte)))
        elif byte in mine:
            mine.discard(byte)
            self._send(bytes((IAC, no, byte)))

    def _in_option(self, byte: int, _line: bytearray) -> None:
        if byte == IAC:
            self._state = self._in_option_after_iac
        elif len(self._option) < MOST_OPTION:
            self._option.append(byte)

    def _in_option_after_iac(self, byte: int, line: bytearray) -> None:
        if byte == IAC:
            self._state = self._in_option
            self._option.append(IAC)
        elif byte == SE:
            self._state = self._plain
            self._take_option(bytes(self._option))
        else:  # the option was cut off: what follows IAC is a command of its own
            self._after_iac(byte, line)

    def _take_option(self, option: bytes) -> None:
        if len(option) >= 3 and option[0] == COM_PORT and option[1] >= FROM_SERVER:
            self.agreed = True
            self.values[option[1] - FROM_SERVER] = int.from_bytes(option[2:], "big")


def escaped(data: bytes) -> bytes:
    """Data as it travels in telnet: every 255 twice."""
    return data.replace(b"\xff", b"\xff\xff")


class _Connection(asyncio.Protocol):
    def __init__(self, name: str, inbox: Inbox) -> None:
        self._name, self._inbox = name, inbox
        self.transport: asyncio.Transport | None = None
        self.com_port = ComPort(self.send)
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.com_port.begin()

    def data_received(self, data: bytes) -> None:
        line = self.com_port.received(data)
        if line:
            self._inbox.feed(line)
        if len(line) < len(data):
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._inbox.fail(LineDown(f"{self._name} closed the connection" + (f": {exc}" if exc else "")))
        self._wake()

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until what the server says makes a condition true; false if it does not in time."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + AGREED_WITHIN_S
        while not condition() and self.transport is not None and loop.time() < end_s:
            self._waiter = loop.create_future()
            alarm = loop.call_at(end_s, self._wake)
            try:
                await self._waiter
            finally:
                alarm.cancel()
                self._waiter = None
        return condition()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Rfc2217Transport:
    """One line of a serial server, with settings of our choice.

    Parameters
    ----------
    settings
        What the line is set to when it is opened.
    """

    def __init__(self, host: str, port: int, settings: LineSettings) -> None:
        self.host, self.port, self.settings = host, port, settings
        self._name = f"{host}:{port}"
        self._inbox = Inbox()
        self._connection: _Connection | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and self._connection.transport is not None

    @property
    def interjections(self) -> tuple[bytes, ...]:
        return ()

    async def open(self) -> None:
        self.close()
        self._inbox = Inbox()
        inbox = self._inbox
        connection = await connect(self.host, self.port, lambda: _Connection(self._name, inbox))
        self._connection = connection
        try:
            if not await connection.until(lambda: connection.com_port.agreed is not None):
                raise LineDown(
                    f"{self._name} says nothing of RFC 2217; check the port number, or set this line of the "
                    "serial server to RFC 2217 (some call it telnet, or real COM)"
                )
            await self.adapt(self.settings)
        except LineDown:
            self.close()
            raise

    def write(self, data: bytes) -> None:
        if self._connection is None or self._connection.transport is None:
            raise LineDown(f"{self._name} closed the connection")
        self._connection.send(escaped(data))

    async def read(self, until_s: float) -> bytes:
        return await self._inbox.get(until_s)

    def drain(self) -> bytes:
        return self._inbox.drain()

    async def adapt(self, settings: LineSettings) -> None:
        connection = self._connection
        if connection is None or connection.transport is None:
            raise LineDown(f"{self._name} closed the connection")
        if connection.com_port.agreed is False:
            raise LineDown(f"{self._name} refuses RFC 2217; switch it on for this line, or use kind: rtu-over-tcp")
        values = connection.com_port.values
        wanted = connection.com_port.ask_for(settings)
        # Flow control is asked for, but servers differ in how they confirm it; what must be right is the characters.
        needed = {command: value for command, value in wanted.items() if command != SET_CONTROL}
        await connection.until(lambda: needed.keys() <= values.keys())
        if connection.transport is None:
            raise LineDown(f"{self._name} closed the connection")
        # A server tells the speed its divider really makes: 2 % off is no fault of a serial line.
        wrong = {
            command: values.get(command)
            for command, value in needed.items()
            if abs(values.get(command, 0) - value) > (value / 50 if command == SET_BAUD else 0)
        }
        if wrong:
            got = ", ".join(f"{_NAMES[command]} {value or 'not confirmed'}" for command, value in wrong.items())
            raise LineDown(f"{self._name} cannot be set to {settings} ({got}); check what its port supports")
        connection.com_port.purge()

    def doubt(self) -> None:
        self.close()

    def hang_up(self) -> None:
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


_NAMES = {SET_BAUD: "baud", SET_SIZE: "data bits", SET_PARITY: "parity", SET_STOP: "stop bits"}
