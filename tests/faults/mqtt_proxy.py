"""A hop between a client and the broker that reads MQTT: it can cut, silence, slow, spoil, double, drop and swap.

It works on whole packets (MQTT 5, §2.1: a type byte, a length of one to four bytes, the rest), so that what it does is
what a bad network, a bad broker or an attacker does to *messages*, and not only to bytes. It runs on an event loop in a
thread of its own and is told what to do from any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down"]
"""``up`` is from the client to the broker."""
Rule = Callable[[Direction, bytes], list[bytes] | None]
"""Gets each whole packet; returns what goes on in its place, or None for "leave it"."""
PUBLISH, PUBACK = 3, 4
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Publish:
    """A PUBLISH packet, taken apart (MQTT 5, §3.3)."""

    raw: bytes
    topic: str
    qos: int
    mid: int
    payload_at: int

    @property
    def payload(self) -> bytes:
        return self.raw[self.payload_at :]


def kind_of(packet: bytes) -> int:
    """The packet type: 1 CONNECT, 3 PUBLISH, 4 PUBACK ..."""
    return packet[0] >> 4


def read_publish(packet: bytes) -> Publish:
    """Take a PUBLISH apart."""
    qos = packet[0] >> 1 & 3
    _, at = _number(packet, 1)
    size = int.from_bytes(packet[at : at + 2], "big")
    topic = packet[at + 2 : at + 2 + size].decode("utf-8", "replace")
    at += 2 + size
    mid = 0
    if qos:
        mid = int.from_bytes(packet[at : at + 2], "big")
        at += 2
    properties, at = _number(packet, at)
    return Publish(packet, topic, qos, mid, at + properties)


def puback(mid: int) -> bytes:
    """What a broker says that took a message (reason 0)."""
    return bytes((PUBACK << 4, 2)) + mid.to_bytes(2, "big")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5, §1.5.5) and where it ends."""
    value = 0
    for place in range(4):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a length of more than four bytes")


class Packets:
    """Cuts a stream into whole packets."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while len(self._rest) >= 2:
            try:
                length, at = _number(self._rest, 1)
            except IndexError:
                return
            if len(self._rest) < at + length:
                return
            packet, self._rest = self._rest[: at + length], self._rest[at + length :]
            yield packet


class MqttProxy:
    """Listens on 127.0.0.1:`port` and passes packets to and from 127.0.0.1:`target_port`, until told otherwise.

    Attributes
    ----------
    most_under_way
        Most PUBLISH packets of one client that the broker had not confirmed, as seen on this wire.
    connections
        Made since the start.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.connections = 0
        self.most_under_way = 0
        self.passed = {"up": 0, "down": 0}
        self._rule: Rule | None = None
        self._refusing = False
        self._bytes_left: tuple[Direction, int] | None = None
        self._delay_s = 0.0
        self._rate = 0.0
        self._open = threading.Event()
        self._open.set()
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="mqtt-proxy", daemon=True)
        self._thread.start()
        ready.wait(10)

    # --- what a scene does to it -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        self._do(self._cut)

    def refuse(self) -> None:
        """Reset every connection, and each new one at once: the link is down."""
        self._refusing = True
        self._do(self._cut)

    def silence(self) -> None:
        """Connections stay, new ones are accepted, and not a byte passes."""
        self._open.clear()

    def cut_after(self, direction: Direction, size: int) -> None:
        """Pass `size` more bytes that way, then reset: a packet torn in the middle."""
        self._bytes_left = (direction, size)

    def slow(self, *, delay_s: float = 0.0, bytes_per_s: float = 0.0) -> None:
        """A long way and a thin line: each chunk waits, and the line passes so much (0: all)."""
        self._delay_s, self._rate = delay_s, bytes_per_s

    def rule(self, rule: Rule | None) -> None:
        """What becomes of each packet."""
        self._rule = rule

    def heal(self) -> None:
        """Be a plain wire again; what was held back arrives now, late."""
        self._refusing, self._bytes_left, self._rule = False, None, None
        self._delay_s = self._rate = 0.0
        self._open.set()

    def close(self) -> None:
        self.heal()
        self._do(self._cut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)

        async def begin() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        self._loop.run_until_complete(begin())
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _do(self, what: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(5)

    def _cut(self) -> None:
        for pair in list(self._pairs):
            pair.reset()
        self._pairs.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, far_writer)
        if self._refusing:
            pair.reset()
            return
        self._pairs.add(pair)
        self.connections += 1
        pumps = [
            asyncio.ensure_future(self._pump("up", reader, far_writer, pair)),
            asyncio.ensure_future(self._pump("down", far_reader, writer, pair)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            pair.reset()
            self._pairs.discard(pair)

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair
    ) -> None:
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)
        sending = asyncio.ensure_future(self._send(direction, line, writer, pair))
        try:
            await self._read(direction, reader, line, pair, sending)
            if not sending.done():
                await line.put((0.0, b""))
                await asyncio.wait([sending], timeout=2)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _read(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        line: asyncio.Queue[tuple[float, bytes]],
        pair: _Pair,
        sending: asyncio.Future[None],
    ) -> None:
        packets = Packets()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not sending.done() and (data := await reader.read(_CHUNK)):
                for packet in packets.feed(data):
                    pair.count(direction, packet)
                    self.most_under_way = max(self.most_under_way, pair.under_way)
                    rule = self._rule
                    changed = rule(direction, packet) if rule is not None else None
                    for each in [packet] if changed is None else changed:
                        if direction == "up" and each != packet and kind_of(each) == PUBACK:
                            pair.near.write(each)  # a forged confirmation goes back to the client
                        else:
                            await line.put((time.monotonic() + self._delay_s, each))

    async def _send(
        self,
        direction: Direction,
        line: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        pair: _Pair,
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await line.get()
                while not self._open.is_set():
                    await asyncio.sleep(0.02)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    return
                limit = self._bytes_left
                if limit is not None and limit[0] == direction:
                    if len(data) >= limit[1]:
                        writer.write(data[: limit[1]])
                        await writer.drain()
                        self._bytes_left = None
                        await asyncio.sleep(0.02)  # let the torn bytes arrive before the reset overtakes them
                        pair.reset()
                        return
                    self._bytes_left = (direction, limit[1] - len(data))
                writer.write(data)
                await writer.drain()
                self.passed[direction] += len(data)
                if self._rate:
                    await asyncio.sleep(len(data) / self._rate)


class _Pair:
    """One client's connection and ours to the broker."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.under_way = 0

    def count(self, direction: Direction, packet: bytes) -> None:
        kind = kind_of(packet)
        if direction == "up" and kind == PUBLISH and packet[0] >> 1 & 3:
            self.under_way += 1
        elif direction == "down" and kind == PUBACK:
            self.under_way -= 1

    def reset(self) -> None:
        for writer in (self.near, self.far):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset (SO_LINGER 0): the peer notices at once and not by a polite FIN."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
