"""How a scan holds a line: without doubting it, and finding out first what travels on a network connection."""

from __future__ import annotations

from collections.abc import Sequence

from collector.bus import Line
from collector.protocols import modbus
from collector.transports import Transport
from meterline.clock import Clock
from meterline.errors import LineDown, Refused
from meterline.lines import LineSettings
from meterline.profiles import Table
from meterline.site import Bus

USUAL_UNITS = (2, 3, 4, 5, 10, 247)
MOST_GUESSES = 16
"""Units tried to find out whether Modbus/TCP frames are understood."""
EVERY_UNIT = (1, 255, 0)
"""Units that all answer where a meter's own port does not look at the unit."""
ANY_CELL = (Table.HOLDING, 0, 1)
"""What every address is asked for: most meters answer, or refuse, which is as good."""


async def speaks_modbus_tcp(bus: Bus, clock: Clock, units: Sequence[int] = ()) -> bool:
    """Whether anybody behind a network address answers a Modbus/TCP frame, be it with a refusal.

    Parameters
    ----------
    units
        Addresses the person expects somebody at; without any, the usual ones are tried.

    Raises
    ------
    LineDown
        Nobody listens there.
    """
    line = Line(bus.model_copy(update={"kind": "modbus-tcp", "timeout_s": bus.timeout_s or 0.5}), clock)
    try:
        for unit in dict.fromkeys((*units[:MOST_GUESSES], *EVERY_UNIT, *USUAL_UNITS)):
            read = modbus.Read(unit, *ANY_CELL)
            outcome = await line.ask(lambda read=read: modbus.TcpQuestion(read, line.next_transaction()))  # type: ignore[misc]
            if outcome.error is None or isinstance(outcome.error, Refused):
                return True
            if isinstance(outcome.error, LineDown) and not line.reconnects:
                raise outcome.error
        return False
    finally:
        line.close()


class Undoubted:
    """A transport whose connection nobody doubts: in a scan most questions go unanswered, and that proves nothing."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    @property
    def is_open(self) -> bool:
        return self._inner.is_open

    @property
    def interjections(self) -> tuple[bytes, ...]:
        return self._inner.interjections

    async def open(self) -> None:
        await self._inner.open()

    def write(self, data: bytes) -> None:
        self._inner.write(data)

    async def read(self, until_s: float) -> bytes:
        return await self._inner.read(until_s)

    def drain(self) -> bytes:
        return self._inner.drain()

    async def adapt(self, settings: LineSettings) -> None:
        await self._inner.adapt(settings)

    def doubt(self) -> None:
        """Not here."""

    def hang_up(self) -> None:
        self._inner.hang_up()

    def close(self) -> None:
        self._inner.close()
