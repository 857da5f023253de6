"""A serial server that speaks RFC 2217 by pyserial's `PortManager`, with meters on its line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serial.rfc2217 import PortManager

from meterline.lines import LineSettings

Answer = Callable[[bytes, LineSettings], bytes]


@dataclass
class Port:
    """What `PortManager` sets: the serial port of the server.

    Attributes
    ----------
    bauds
        Speeds it can be set to; any if empty.
    """

    bauds: tuple[int, ...] = ()
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    xonxoff: bool = True
    rtscts: bool = False
    cts: bool = True
    dsr: bool = True
    ri: bool = False
    cd: bool = False
    purged: int = 0
    _baudrate: int = 115200
    history: list[str] = field(default_factory=list)

    @property
    def baudrate(self) -> int:
        return self._baudrate

    @baudrate.setter
    def baudrate(self, value: int) -> None:
        if self.bauds and value not in self.bauds:
            raise ValueError(f"no such speed: {value}")
        self._baudrate = value
        self.history.append(f"{value}")

    def reset_input_buffer(self) -> None:
        self.purged += 1

    @property
    def settings(self) -> LineSettings:
        return LineSettings(self._baudrate, self.parity, int(self.stopbits))  # type: ignore[arg-type]


def manager_of(port: Any, wire: Any) -> PortManager:
    """pyserial's server side; it only needs the few things a `Port` has, and a `write`."""
    return PortManager(port, wire)


class Rfc2217Server(asyncio.Protocol):
    """One connection to it; `answer` is what the meters say to a request heard at the port's settings."""

    def __init__(self, port: Port, answer: Answer) -> None:
        self.port, self._answer = port, answer
        self.heard = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.manager = manager_of(self.port, transport)

    def data_received(self, data: bytes) -> None:
        request = b"".join(self.manager.filter(data))
        self.heard += request
        if request and (reply := self._answer(request, self.port.settings)):
            self.transport.write(b"".join(self.manager.escape(reply)))


async def serve(port: Port, answer: Answer) -> tuple[asyncio.Server, list[Rfc2217Server]]:
    """Listen on a free port of this machine."""
    served: list[Rfc2217Server] = []

    def make() -> Rfc2217Server:
        served.append(Rfc2217Server(port, answer))
        return served[-1]

    return await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0), served
