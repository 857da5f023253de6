"""Who is on this line? Every likely protocol, speed and address is asked; nothing is ever written.

A `Scan` works through its stages (`collector.scan_plan`), keeps what it has found at every moment, and tells whoever
started it as it goes. It takes other masters seriously: it listens before it asks, and stops where somebody else is
talking, because two masters on one line make each other's answers wrong.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from collector.bus import Line, Outcome, Question
from collector.overheard import Overheard, overhear
from collector.protocols import modbus
from collector.recognise import Recognition
from collector.scan_answers import MbusSweep, WildcardSearch
from collector.scan_found import AnotherMaster, Event, Found, Remark
from collector.scan_items import ItemSearch
from collector.scan_line import ANY_CELL, EVERY_UNIT, Undoubted, speaks_modbus_tcp
from collector.scan_plan import Estimate, Progress, Stage
from collector.scan_recognise import Recogniser
from collector.transports import Transport, transport_for
from meterline.clock import Clock
from meterline.errors import BusError, LineDown, Refused, Silent
from meterline.lines import LineSettings
from meterline.profiles import Profile, Table
from meterline.site import Bus

__all__ = ["AnotherMaster", "Event", "Found", "Remark", "Scan", "speaks_modbus_tcp"]

LISTEN_FIRST_S, LISTEN_S = 2.0, 0.4
"""How long the line is listened to before the first question, and before the first at each further setting. [s]"""
STRAGGLERS_S = 1.2
"""After a sweep: the slowest meters' answers to its last questions. [s]"""
GARBLED_TRIES = 3
MOST_REFUSED = 2
"""Settings in a row at which a line that was never open cannot be opened, until it is taken for absent."""
REMEMBER_S = 5.0
"""An answer may come this long after its question. [s]"""
GATEWAY_SAYS_NO = (0x0A, 0x0B)


class Scan:
    """One search of one line.

    Parameters
    ----------
    bus
        The line; its speed is where it stands when the scan is over.
    profiles
        The pages to recognise meters by; empty: meters are only found.
    stages
        See `collector.scan_plan.stages_of`.
    notify
        Told of every meter found (again once it is recognised), of remarks and of progress.
    transport_of
        What opens the line; for tests.
    anyway
        Go on where another master talks.
    thorough
        Ask silent addresses for the cells that meters of the known types have: some keep silent on any other. It also
        reaches meters built on libmodbus, which take a question after one that nobody answered for its answer.

    Attributes
    ----------
    found, remarks
        What is known so far; complete when `run` returns, and right as far as it goes whenever it ends.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        stages: Sequence[Stage],
        profiles: Mapping[str, Profile],
        notify: Callable[[Event], None] = lambda event: None,
        *,
        transport_of: Callable[[Bus], Transport] = transport_for,
        anyway: bool = False,
        thorough: bool = False,
    ) -> None:
        self.bus, self.stages = bus, list(stages)
        self.found: list[Found] = []
        self.remarks: list[Remark] = []
        self.estimate = Estimate(self.stages)
        self._clock, self._notify, self._transport_of = clock, notify, transport_of
        self._anyway = anyway
        self._recogniser = Recogniser(profiles)
        self._cells = [ANY_CELL, *(self._recogniser.usual_cells if thorough else ())]
        self._transport: Transport | None = None
        self._opened_at: LineSettings | None = None
        self._listened: set[LineSettings | None] = set()
        self._new: list[Found] = []
        self._answered: set[int] = set()
        self._unanswered_s = -STRAGGLERS_S
        self._opened, self._refused = False, 0
        self._asked: deque[tuple[float, int]] = deque()
        self._begun_s = 0.0

    @property
    def at_least(self) -> bool:
        """Whether the time left is a lower bound: a search by shortened addresses is under way."""
        return any(
            not stage.done and stage.tongue in ("dlt645", "dlt645-1997") and stage.least_left > 3
            for stage in self.stages
        )

    def progress(self, stage: Stage | None) -> Progress:
        """Where the scan stands now."""
        done = asyncio.get_running_loop().time() - self._begun_s
        return Progress(done, self.estimate.left_s(), self.at_least, stage, len(self.found))

    async def run(self) -> None:
        """Work through all stages.

        Raises
        ------
        LineDown
            The line cannot be opened or broke; what was found stays in `found`.
        AnotherMaster
            See `AnotherMaster`; not where `anyway` was asked for.
        """
        self._begun_s = asyncio.get_running_loop().time()
        self.estimate.predicted_recognition_s = self._recogniser.predicted_s(self.bus)
        for stage in self.stages:
            if stage.tongue == "modbus":
                stage.predicted_s *= len(self._cells)
        try:
            for stage in self.stages:
                self._notify(self.progress(stage))
                line = await self._line_if_it_can(stage)
                if line is None:
                    stage.done = True
                    continue
                if stage.tongue == "modbus":
                    await self._sweep(stage, line)
                else:
                    await self._search(stage, line)
                stage.done = True
                self._notify(self.progress(stage))
        finally:
            if self._transport is not None:
                self._transport.close()

    async def _line_if_it_can(self, stage: Stage) -> Line | None:
        """The line as a stage needs it; None for a speed or parity that this port has not got.

        Raises
        ------
        LineDown
            It cannot be opened at all.
        """
        try:
            line = await self._line(stage)
        except LineDown:
            self._refused += 1
            if stage.setting is None or (self._refused > MOST_REFUSED and not self._opened):
                raise
            self._remark("setting-refused", at=str(stage.setting))
            return None
        self._opened = True
        return line

    async def _line(self, stage: Stage) -> Line:
        """The line as a stage needs it, listened to."""
        own: dict[str, object] = {"timeout_s": stage.patience_s}
        if stage.setting is not None:
            own |= {"baud": stage.setting.baud, "parity": stage.setting.parity, "stop_bits": stage.setting.stop_bits}
        bus = self.bus.model_copy(update=own)
        if self._transport is None or stage.setting != self._opened_at:
            if self._transport is not None:
                self._transport.close()
            self._transport, self._opened_at = Undoubted(self._transport_of(bus)), stage.setting
        if not self._transport.is_open:
            await self._transport.open()
        if bus.kind != "modbus-tcp" and stage.setting not in self._listened:
            await self._listen(self._transport, LISTEN_S if self._listened else LISTEN_FIRST_S)
            self._listened.add(stage.setting)
        return Line(bus, self._clock, self._transport)

    async def _listen(self, transport: Transport, seconds: float) -> None:
        """Nobody should be talking before we ask."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        heard = b""
        while loop.time() < until:
            heard += await transport.read(until)
        if heard:
            self._unasked(overhear(heard), heard)

    def _unasked(self, what: Overheard, heard: bytes) -> None:
        if what.requests or what.modbus or what.items:
            self._remark("another-master", bytes=heard[:24].hex(" "))
            if not self._anyway:
                raise AnotherMaster(what.requests[0] if what.requests else heard)
        elif what.rest:
            self._remark("noise", count=str(what.rest))

    # -------------------------------------------------------------------------------------------------- Modbus

    async def _sweep(self, stage: Stage, line: Line) -> None:
        """Ask every Modbus address of a stage."""
        loop = asyncio.get_running_loop()
        self._answered.clear()
        for unit in stage.addresses:
            began = loop.time()
            if unit or not line.frames_by_silence:  # 0 is broadcast on a serial line: nobody answers
                await self._ask_unit(stage, line, unit)
            self.estimate.asked(stage, loop.time() - began)
            await self._look_at(stage, line)
            self._notify(self.progress(stage))
            if not line.frames_by_silence and self._answered.issuperset(EVERY_UNIT):
                self._one_for_all(stage)
                return
        if line.frames_by_silence:
            await self._stragglers(stage, line)
            await self._look_at(stage, line)

    async def _ask_unit(self, stage: Stage, line: Line, unit: int) -> None:
        garbled = 0
        for table, address, count in self._cells:
            for _ in range(GARBLED_TRIES):
                outcome = await self._put(line, modbus.Read(unit, table, address, count))
                await self._take_in(stage, line, unit, outcome)
                error = outcome.error
                if isinstance(error, LineDown):
                    raise error
                if isinstance(error, Refused) and error.code in GATEWAY_SAYS_NO:
                    return
                if error is None or isinstance(error, Refused):
                    self._answered.add(unit)
                    self._add(Found("modbus", str(unit), stage.setting, outcome.took_s))
                    return
                if isinstance(error, Silent):
                    self._unanswered_s = asyncio.get_running_loop().time()
                    break
                garbled += 1
        if garbled >= GARBLED_TRIES:
            self._answered.add(unit)
            self._add(Found("modbus", str(unit), stage.setting, collides=True))

    async def _put(self, line: Line, read: modbus.Read) -> Outcome:
        def make() -> Question:
            if line.frames_by_silence:
                return modbus.RtuQuestion(read)
            return modbus.TcpQuestion(read, line.next_transaction())

        now = asyncio.get_running_loop().time()
        self._asked.append((now, read.unit))
        while now - self._asked[0][0] > REMEMBER_S:
            self._asked.popleft()
        return await line.ask(make, keep_quiet=False)

    async def _take_in(self, stage: Stage, line: Line, unit: int, outcome: Outcome) -> None:
        """Answers of others among what came: late ones name their meter, the rest betrays another master."""
        if not line.frames_by_silence:
            return
        heard = outcome.late + outcome.exchange.response.removeprefix(outcome.exchange.request)
        what = overhear(heard)
        ours = {asked for _, asked in self._asked}
        for other, _ in what.modbus:
            if other == unit or other in self._answered:
                continue
            if other not in ours:
                self._unasked(what, heard)
                continue
            await self._slow_one(stage, line, other)
        if what.requests:
            self._unasked(what, heard)

    async def _slow_one(self, stage: Stage, line: Line, unit: int) -> None:
        """A meter whose answer came after its time: ask again with patience."""
        self._answered.add(unit)
        patient = Line(line.bus.model_copy(update={"timeout_s": REMEMBER_S / 2}), self._clock, self._transport)
        outcome = await self._put(patient, modbus.Read(unit, Table.HOLDING, 0, 1))
        took = outcome.took_s if outcome.error is None or isinstance(outcome.error, Refused) else None
        self._add(Found("modbus", str(unit), stage.setting, took))

    async def _stragglers(self, stage: Stage, line: Line) -> None:
        """Keep quiet until the slowest meter asked and not heard so far must have answered."""
        assert self._transport is not None
        until, heard = self._unanswered_s + STRAGGLERS_S, b""
        while asyncio.get_running_loop().time() < until:
            heard += await self._transport.read(until)
        ours = {asked for _, asked in self._asked}
        for unit, _ in overhear(heard).modbus:
            if unit in ours and unit not in self._answered:
                await self._slow_one(stage, line, unit)

    def _one_for_all(self, stage: Stage) -> None:
        """A port that answers to every unit is one meter."""
        first, *others = [each for each in self.found if each.setting == stage.setting and each.tongue == "modbus"]
        first.every_unit = True
        self.found = [each for each in self.found if each not in others]

    # ----------------------------------------------------------------------------------- DL/T 645 and CJ/T 188

    async def _search(self, stage: Stage, line: Line) -> None:
        """Find the meters of a protocol that is not Modbus."""
        search: ItemSearch | WildcardSearch | MbusSweep
        if stage.tongue == "cjt188":
            search = WildcardSearch(line)
        elif stage.tongue == "mbus":
            search = MbusSweep(line)
        else:
            search = ItemSearch(stage.tongue, line)
        loop = asyncio.get_running_loop()
        while not search.finished:
            began = loop.time()
            what = await search.step()
            stage.least_left = search.left
            self.estimate.asked(stage, loop.time() - began)
            for address, took in search.fresh():
                self._add(Found(stage.tongue, address, stage.setting, took))
            await self._look_at(stage, line)
            if what.requests:
                self._unasked(what, what.requests[0])
            self._notify(self.progress(stage))
        for address in search.doubled:
            self._add(Found(stage.tongue, address, stage.setting, collides=True))
        if search.deaf_to_masks:
            self._remark("no-shortened-addresses", protocol=stage.tongue, at=str(stage.setting or ""))

    # --------------------------------------------------------------------------------------------- recognition

    async def _look_at(self, stage: Stage, line: Line) -> None:
        """Which page fits each meter just found."""
        loop = asyncio.get_running_loop()
        if self._new and stage.tongue == "modbus" and line.frames_by_silence:
            await self._stragglers(stage, line)  # or its late answer would collide with what is asked now
        while self._new:
            each = self._new.pop(0)
            began = loop.time()
            strays: list[Outcome] = []
            patience = max(3 * (each.response_s or 0.0), 0.15)
            quick = Line(line.bus.model_copy(update={"timeout_s": patience}), self._clock, self._transport)
            try:
                each.recognition = await self._recogniser.recognise(
                    quick if each.tongue == "modbus" and line.frames_by_silence else line,
                    each.tongue,
                    each.address,
                    strays.append,
                )
            except LineDown:
                raise
            except BusError:
                each.recognition = Recognition("unknown")
            self.estimate.recognised_one(loop.time() - began)
            if each.tongue == "modbus":
                for stray in strays:
                    await self._take_in(stage, line, int(each.address), stray)
            self._notify(each)
            self._notify(self.progress(stage))

    def _add(self, new: Found) -> None:
        for each in self.found:
            if (each.tongue, each.address) == (new.tongue, new.address) and not (each.collides or new.collides):
                if new.setting is not None and new.setting != each.setting:
                    each.also_at.append(new.setting)
                return
        self.found.append(new)
        if self._recogniser.can and not new.collides:
            self._new.append(new)
            self.estimate.waiting += 1
        self._notify(new)

    def _remark(self, code: str, **values: str) -> None:
        remark = Remark(code, values)
        once = code not in ("no-shortened-addresses", "setting-refused")
        if remark not in self.remarks and not (once and any(each.code == code for each in self.remarks)):
            self.remarks.append(remark)
            self._notify(remark)
