"""The search for CJ/T 188 and M-Bus meters: by wildcard where one hangs alone, by address where M-Bus has few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

from collector.bus import Line, Question
from collector.overheard import Overheard
from collector.protocols import cjt188, mbus
from collector.scan_items import CONFIRM_TRIES, Everything
from meterline.errors import LineDown, Refused

TYPES = (0x10, 0x20, 0x30)
"""Cold water, heat, gas: the types asked for."""
ORDERS: tuple[cjt188.DiOrder, ...] = ("low-first", "high-first")
MBUS_ADDRESSES = range(1, 251)
FIRST_BYTES = 10
"""So much of an M-Bus answer tells that somebody is there. [bytes]"""
MBUS_BEGINS_S = 0.35


class WildcardSearch:
    """The search for CJ/T 188 meters of a line: the standard knows no shortened addresses, so one alone, or none.

    Attributes
    ----------
    deaf_to_masks
        Several answer at once: their addresses must come from the plates.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._todo = list(self._questions())
        self._fresh: list[tuple[str, float | None]] = []
        self._confirmed: set[str] = set()
        self._collided = False
        self.doubled: Sequence[str] = ()

    @property
    def left(self) -> int:
        """Questions still to be asked."""
        return len(self._todo)

    @property
    def finished(self) -> bool:
        """Whether all are asked."""
        return not self._todo

    @property
    def deaf_to_masks(self) -> bool:
        """See the class."""
        return self.finished and self._collided and not self._confirmed

    def fresh(self) -> list[tuple[str, float | None]]:
        """Meters found since the last call, with their answer time. [s]"""
        fresh, self._fresh = self._fresh, []
        return fresh

    async def step(self) -> Overheard:
        """Ask one question, and confirm what it brings to light; raises LineDown."""
        question = self._todo.pop(0)
        outcome = await self._line.ask(lambda: Everything(question), keep_quiet=False)
        if isinstance(outcome.error, LineDown):
            raise outcome.error
        heard = outcome.late + outcome.exchange.response.removeprefix(outcome.exchange.request)
        rest, last, found = 0, 0, []
        for at, end, frame in cjt188.frames_in(heard):
            rest += len(heard[last:at].strip(b"\xfe"))
            last = end
            if frame.from_meter:
                found.append((frame.type, frame.address))
        rest += len(heard[last:].strip(b"\xfe"))
        self._collided = self._collided or rest > 0
        for type_, address in dict.fromkeys(found):
            await self._confirm(type_, address)
        return Overheard(items=tuple(address for _, address in found), rest=rest)

    async def _confirm(self, type_: int, address: str) -> None:
        if address in self._confirmed or not address.isdecimal():
            return
        for order in ORDERS:
            read = cjt188.ReadData(type_, address, serial=len(self._confirmed) + 1, di_order=order)
            outcome = await self._line.ask(lambda read=read: cjt188.Cjt188Question(read), keep_quiet=False)  # type: ignore[misc]
            if isinstance(outcome.error, LineDown):
                raise outcome.error
            if outcome.error is None or isinstance(outcome.error, Refused):
                self._confirmed.add(address)
                self._fresh.append((address, outcome.took_s))
                return

    @staticmethod
    def _questions() -> Iterator[Question]:
        for type_ in TYPES:
            yield cjt188.AddressQuestion(type_)
            for order in ORDERS:
                yield cjt188.Cjt188Question(cjt188.ReadData(type_, cjt188.ANYBODY, di_order=order))


class MbusSweep:
    """Every M-Bus address, one by one: a first byte tells that somebody is there, a whole answer who."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._todo = list(MBUS_ADDRESSES)
        self._fresh: list[tuple[str, float | None]] = []
        self.doubled: list[str] = []
        self.deaf_to_masks = False

    @property
    def left(self) -> int:
        """Addresses still to be asked."""
        return len(self._todo)

    @property
    def finished(self) -> bool:
        """Whether all are asked."""
        return not self._todo

    def fresh(self) -> list[tuple[str, float | None]]:
        """Meters found since the last call, with their answer time. [s]"""
        fresh, self._fresh = self._fresh, []
        return fresh

    async def step(self) -> Overheard:
        """Ask one address; raises LineDown."""
        address = self._todo.pop(0)
        outcome = await self._line.ask(lambda: _FirstBytes(address), keep_quiet=False)
        if isinstance(outcome.error, LineDown):
            raise outcome.error
        heard = outcome.late + outcome.exchange.response.removeprefix(outcome.exchange.request)
        if not heard:
            return Overheard()
        counts = cycle(mbus.REQUESTS)
        for _ in range(CONFIRM_TRIES):
            outcome = await self._line.ask(
                lambda: mbus.MbusQuestion(mbus.AskForData(address), counts), keep_quiet=False
            )
            if isinstance(outcome.error, LineDown):
                raise outcome.error
            if outcome.error is None or isinstance(outcome.error, Refused):
                self._fresh.append((str(address), outcome.took_s))
                return Overheard(items=(str(address),))
        self.doubled.append(str(address))
        return Overheard(rest=len(heard))


class _FirstBytes(Everything):
    """A request for data of which only the beginning of the answer is waited for."""

    __slots__ = ()

    def __init__(self, address: int) -> None:
        super().__init__(mbus.MbusQuestion(mbus.AskForData(address), cycle(mbus.REQUESTS)))
        self.answer_length = FIRST_BYTES
        self._within_s = MBUS_BEGINS_S
