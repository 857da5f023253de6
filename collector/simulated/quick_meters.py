"""Many meters that cost almost nothing: for measuring what the collector costs, in a process of its own.

All meters of the process are of one page; a request is answered by a slice of an image that is drawn once a second.
Run as ``python -m collector.simulated.quick_meters PROFILE``: prints the port it listens on (loopback), ends when its
input is closed. Each connection is a meter of its own, or a serial server of its own.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from argparse import ArgumentParser
from itertools import count
from pathlib import Path

from pymodbus.framer.rtu import FramerRTU

from collector.simulated.words import words_of
from meterline.measurands import MEASURANDS, Kind
from meterline.profiles import ModbusProfile, Table, load_profile

_SHOWN = {"V": 230.0, "A": 40.0, "kW": 20.0, "kvar": 5.0, "kVA": 21.0, "Hz": 50.0, "degC": 60.0, "1": 0.9}
VARIANTS = 16
MOST_ADDRESS = 0x4000
_TABLE = {3: Table.HOLDING, 4: Table.INPUT}


class Image:
    """The words of one meter type at a moment.

    Parameters
    ----------
    profile
        The page; every enabled point shows something plausible that changes each second, counters only upwards.
    """

    def __init__(self, profile: ModbusProfile) -> None:
        self._profile = profile
        self._drawn: dict[int, dict[Table, bytes]] = {}

    def words(self, function: int, address: int, count: int, variant: int = 0) -> bytes:
        """What lies there now; words of no point are 0. Meters of other variants show what was some seconds ago."""
        second = int(time.monotonic())
        if second not in self._drawn:
            wanted = range(second - VARIANTS, second + 1)
            self._drawn = {at: self._drawn.get(at) or {t: self._draw(t, at) for t in Table} for at in wanted}
        return self._drawn[second - variant % VARIANTS][_TABLE[function]][2 * address : 2 * (address + count)]

    def _draw(self, table: Table, second: int) -> bytes:
        raw = bytearray(2 * MOST_ADDRESS)
        for index, point in enumerate(self._profile.points):
            measurand = MEASURANDS[point.measurand]
            for cell in self._profile.cells_of(point):
                assert cell.table is not None
                assert cell.type is not None
                assert cell.order is not None
                if cell.table is not table or not point.enabled:
                    continue
                if measurand.kind is Kind.COUNTER:
                    number = 1000.0 + index + second % 1_000_000 * 0.01
                else:
                    number = _SHOWN.get(measurand.unit, 1.0) * (1 + 0.01 * math.sin(second + index))
                steps = number * 10.0**-point.exponent
                kept = steps if cell.type.startswith("float") else int(steps) % 30_000
                for place, word in enumerate(words_of(cell.type, cell.order, kept)):
                    raw[2 * (cell.at + place) : 2 * (cell.at + place) + 2] = word.to_bytes(2, "big")
        return bytes(raw)


class _TcpMeter(asyncio.Protocol):
    """One Modbus/TCP connection: a meter's own port."""

    def __init__(self, image: Image, variant: int) -> None:
        self._image, self._variant = image, variant
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        answers = []
        at = 0
        while len(data) - at >= 12:
            request = data[at : at + 12]
            at += 12
            count = request[11]
            words = self._image.words(request[7], (request[8] << 8) | request[9], count, self._variant)
            answers.append(
                request[:4] + (2 * count + 3).to_bytes(2, "big") + request[6:8] + bytes((2 * count,)) + words
            )
        self._buffer = data[at:]
        if answers:
            self._transport.write(answers[0] if len(answers) == 1 else b"".join(answers))


class _RtuServer(_TcpMeter):
    """One connection to a serial server: meters on a line of some speed, one frame at a time."""

    def __init__(self, image: Image, variant: int, character_s: float, turnaround_s: float) -> None:
        super().__init__(image, variant)
        self._character_s, self._turnaround_s = character_s, turnaround_s

    def data_received(self, data: bytes) -> None:
        request = self._buffer + data
        if len(request) < 8:
            self._buffer = request
            return
        self._buffer = b""
        words = self._image.words(request[1], (request[2] << 8) | request[3], request[5], self._variant + request[0])
        body = request[:2] + bytes((len(words),)) + words
        frame = body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
        wait_s = (len(request) + len(frame)) * self._character_s + self._turnaround_s
        asyncio.get_running_loop().call_later(wait_s, self._transport.write, frame)


async def _serve(profile: ModbusProfile, baud: int, turnaround_s: float) -> None:
    loop = asyncio.get_running_loop()
    image, number = Image(profile), count()

    def meter() -> asyncio.Protocol:
        if baud:
            return _RtuServer(image, next(number), 11 / baud, turnaround_s)
        return _TcpMeter(image, next(number))

    server = await loop.create_server(meter, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the parent learns it
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Serve until the input is closed."""
    options = ArgumentParser()
    options.add_argument("profile", type=Path)
    options.add_argument("--baud", type=int, default=0, help="serial servers with a line of this speed, not TCP meters")
    options.add_argument("--turnaround-ms", type=float, default=0.0)
    given = options.parse_args()
    page = load_profile(given.profile)
    assert isinstance(page, ModbusProfile)
    asyncio.run(_serve(page, given.baud, given.turnaround_ms / 1000))


if __name__ == "__main__":
    main()
