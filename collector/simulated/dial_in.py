"""A simulated DTU: it dials in to the gateway, says its registration and its heartbeats, and passes frames on."""

from __future__ import annotations

import asyncio
import contextlib

from collector.simulated.lines import Connection, TcpLine
from meterline.lines import packet_bytes

AGAIN_S = 1.0
"""Rest before it dials again, when nobody listens or the connection was closed. [s]"""
HEARTBEAT_S = 20.0


class DialInLine(TcpLine):
    """A line whose other end listens; on this machine only."""

    _dialling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def close(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._dialling
            self._dialling = None
        for transport in list(self.connections):
            transport.abort()

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        host = self.bus.host if self.bus.host not in (None, "", "0.0.0.0", "::") else "127.0.0.1"
        while True:
            try:
                transport, _ = await loop.create_connection(lambda: Connection(self), host, self.bus.tcp_port)
            except OSError:
                await asyncio.sleep(AGAIN_S)
                continue
            if self.bus.registration:
                transport.write(packet_bytes(self.bus.registration))
            while not transport.is_closing():
                await self._rest(transport)
                if self.bus.heartbeat and not transport.is_closing():
                    transport.write(packet_bytes(self.bus.heartbeat))
            await asyncio.sleep(AGAIN_S)

    async def _rest(self, transport: asyncio.Transport) -> None:
        """Until the next heartbeat, or the end of the connection."""
        end_s = asyncio.get_running_loop().time() + HEARTBEAT_S
        while not transport.is_closing() and asyncio.get_running_loop().time() < end_s:
            await asyncio.sleep(0.1)
