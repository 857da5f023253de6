"""Many meters that cost almost nothing: for measuring what the collector costs, in a process of its own.

All meters of the process are of one page and show the same, a new image each second; a request is answered by a slice
of that image. Run as ``python -m collector.simulated.quick_meters PROFILE``: prints the port it listens on (loopback),
ends when its input is closed.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from pathlib import Path

from collector.simulated.words import words_of
from meterline.measurands import MEASURANDS, Kind
from meterline.profiles import ModbusProfile, Table, load_profile

_SHOWN = {"V": 230.0, "A": 40.0, "kW": 20.0, "kvar": 5.0, "kVA": 21.0, "Hz": 50.0, "degC": 60.0, "": 0.9}
_TABLE = {3: Table.HOLDING, 4: Table.INPUT}


class Image:
    """The words of one meter type at a moment.

    Parameters
    ----------
    profile
        The page; every enabled point shows something plausible that changes each second.
    """

    def __init__(self, profile: ModbusProfile) -> None:
        self._profile = profile
        self._second = -1
        self._tables: dict[Table, bytes] = {}

    def words(self, function: int, address: int, count: int) -> bytes:
        """What lies there now; words of no point are 0."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._tables = {table: self._draw(table, second) for table in Table}
        return self._tables[_TABLE[function]][2 * address : 2 * (address + count)]

    def _draw(self, table: Table, second: int) -> bytes:
        raw = bytearray(2 * 0x10000)
        for index, point in enumerate(self._profile.points):
            measurand = MEASURANDS[point.measurand]
            for cell in self._profile.cells_of(point):
                assert cell.table is not None
                assert cell.type is not None
                assert cell.order is not None
                if cell.table is not table or not point.enabled:
                    continue
                if measurand.kind is Kind.COUNTER:
                    number = 1000.0 + index + second % 100_000 * 0.01
                else:
                    number = _SHOWN.get(measurand.unit, 1.0) * (1 + 0.01 * math.sin(second + index))
                steps = number * 10.0**-point.exponent
                kept = steps if cell.type.startswith("float") else int(steps) % 30_000
                for place, word in enumerate(words_of(cell.type, cell.order, kept)):
                    raw[2 * (cell.at + place) : 2 * (cell.at + place) + 2] = word.to_bytes(2, "big")
        return bytes(raw)


class _Connection(asyncio.Protocol):
    def __init__(self, image: Image) -> None:
        self._image = image
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
            words = self._image.words(request[7], (request[8] << 8) | request[9], count)
            answers.append(
                request[:4] + (2 * count + 3).to_bytes(2, "big") + request[6:8] + bytes((2 * count,)) + words
            )
        self._buffer = data[at:]
        if answers:
            self._transport.write(answers[0] if len(answers) == 1 else b"".join(answers))


async def _serve(profile: ModbusProfile) -> None:
    loop = asyncio.get_running_loop()
    image = Image(profile)
    server = await loop.create_server(lambda: _Connection(image), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the parent learns it
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    page = load_profile(Path(sys.argv[1]))
    assert isinstance(page, ModbusProfile)
    asyncio.run(_serve(page))
