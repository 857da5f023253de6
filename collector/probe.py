"""Ask a meter for one place and hand over the raw bytes: the question behind ``meterline probe``."""

from __future__ import annotations

from dataclasses import dataclass

from collector.bus import Line, Outcome, Question
from collector.protocols import dlt645, modbus
from meterline.errors import BusError, Garbled, Refused, Silent
from meterline.profiles import Table

MOST_WORDS = 4
TRIES = 2
ILLEGAL = (0x01, 0x02, 0x03)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a place holds.

    Attributes
    ----------
    table
        Where the words were found; None for an item.
    tried
        What was refused before: (table, words, code).
    """

    payload: bytes
    took_s: float
    request: bytes
    response: bytes
    table: Table | None = None
    tried: tuple[tuple[Table, int, int], ...] = ()


async def probe_cells(line: Line, unit: int, address: int, table: Table | None = None, words: int = 4) -> Answered:
    """The words from an address on, as many of `words` as the meter gives.

    Parameters
    ----------
    table
        None: the holding table, and where that is refused the input table.

    Raises
    ------
    Refused
        Neither table has anything there.
    Silent, Garbled, LineDown
        No usable answer.
    """
    tried: list[tuple[Table, int, int]] = []
    last: BusError | None = None
    most = min(words, 0x10000 - address)
    for where in (table,) if table is not None else (Table.HOLDING, Table.INPUT):
        for count in dict.fromkeys((most, *(n for n in (2, 1) if n < most))):
            outcome = await _ask(line, modbus.Read(unit, where, address, count))
            if outcome.error is None:
                return _answered(outcome, where, tuple(tried))
            if not isinstance(outcome.error, Refused) or outcome.error.code not in ILLEGAL:
                raise outcome.error
            last = outcome.error
            tried.append((where, count, outcome.error.code))
    assert last is not None
    raise last


async def probe_item(line: Line, address: str, di: str, *, preamble: int = 4) -> Answered:
    """The data behind one DL/T 645 identifier, low byte first; raises as `probe_cells`."""

    def make() -> Question:
        return dlt645.Dlt645Question(dlt645.ReadItem(address, di, 40, preamble))

    outcome = await line.ask(make)
    if isinstance(outcome.error, Silent | Garbled):
        outcome = await line.ask(make)
    if outcome.error is not None:
        raise outcome.error
    return _answered(outcome, None, ())


async def _ask(line: Line, read: modbus.Read) -> Outcome:
    def make() -> Question:
        if line.frames_by_silence:
            return modbus.RtuQuestion(read)
        return modbus.TcpQuestion(read, line.next_transaction())

    outcome = await line.ask(make)
    for _ in range(TRIES - 1):
        if isinstance(outcome.error, Silent | Garbled):
            outcome = await line.ask(make)
    return outcome


def _answered(outcome: Outcome, table: Table | None, tried: tuple[tuple[Table, int, int], ...]) -> Answered:
    exchange = outcome.exchange
    return Answered(outcome.payload, outcome.took_s, exchange.request, exchange.response, table, tried)
