"""Which shipped page fits a meter just found: marks, probes, whole pages, in this order and no more than needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from collector.bus import Line, Outcome
from collector.decode import decode_item
from collector.dialects import ModbusDialect, dialect_of
from collector.page_reading import AnswerBook, read_page
from collector.plan import Item, request_plan
from collector.protocols import modbus
from collector.recognise import Candidate, Recognition, rank, weigh
from collector.scan_plan import Tongue, tongue_of
from meterline.profiles import ModbusProfile, Profile, Rate, Table
from meterline.site import Bus

SUNSPEC = b"SunS"
SUNSPEC_AT = (40_000, 50_000, 0)
"""Where the mark of a SunSpec device may stand (SunSpec Device Information Model Specification, 6.2)."""
MAKER_AT, MODEL_AT, NAME_WORDS = 4, 20, 16
"""Maker and model in the common model, counted from the mark. [words]"""
MOST_PAGES = 8
"""Pages whose probe fits that are read whole."""
TELLING = (Rate.FAST, Rate.NORMAL)
"""What is read of a meter on a slow line: its counts of events tell nothing about its type."""
TURNAROUND_S = 0.05


class Recogniser:
    """Looks at one meter after another; what fitted before is tried first.

    Parameters
    ----------
    profiles
        Pages by name.
    """

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = profiles
        self._modbus = [page for page in profiles.values() if isinstance(page, ModbusProfile)]
        self._probes = {page.profile: _probe_cell(page) for page in self._modbus}
        self._seen: list[str] = []

    @property
    def can(self) -> bool:
        """Whether there is any page to recognise a meter by."""
        return bool(self._profiles)

    def predicted_s(self, bus: Bus) -> float:
        """What a look at one meter may cost before any was looked at. [s]"""
        reads = len(set(self._probes.values())) + 8
        wire = 0.0 if bus.kind == "modbus-tcp" else 25 * bus.settings.character_s
        return reads * (TURNAROUND_S + wire)

    @property
    def usual_cells(self) -> list[tuple[Table, int, int]]:
        """(Table, first word, words) that meters of the known types answer for, the commonest first."""
        cells = Counter(cell for cell in self._probes.values() if cell is not None)
        return [(table, start, end - start) for (table, start, end), _ in cells.most_common()]

    async def recognise(
        self, line: Line, tongue: Tongue, address: str, tap: Callable[[Outcome], None] | None = None
    ) -> Recognition:
        """Look at one meter; `tap` is told of all that comes meanwhile.

        Raises
        ------
        LineDown
            The line is gone.
        """
        if tongue == "modbus":
            return await self._modbus_meter(AnswerBook(line, tap), int(address))
        book = AnswerBook(line, tap)
        pages = [page for page in self._profiles.values() if tongue_of(page) == tongue]
        weighed = [weigh(page, await read_page(book, dialect_of(page, address), TELLING)) for page in pages]
        return rank(weighed, by_standard=True)

    async def _modbus_meter(self, book: AnswerBook, unit: int) -> Recognition:
        found: dict[str, Candidate] = {}
        for name in self._seen:
            # The group that shares a probe cell is weighed as a whole: a single-phase page fits a three-phase meter.
            group = [page for page in self._modbus if self._probes[page.profile] == self._probes[name]]
            await self._weigh(book, unit, group, found)
            ranked = rank(found.values())
            if ranked.best is not None and ranked.best.profile == name and ranked.verdict in ("likely", "unclear"):
                return ranked
        maker = await self._sunspec(book, unit)
        await self._weigh(book, unit, self._modbus, found)
        ranked = rank(found.values(), maker)
        if (
            ranked.best is not None
            and ranked.verdict in ("likely", "unclear")
            and ranked.best.profile not in self._seen
        ):
            self._seen.append(ranked.best.profile)
        return ranked

    async def _weigh(
        self, book: AnswerBook, unit: int, pages: Sequence[ModbusProfile], found: dict[str, Candidate]
    ) -> None:
        """Read the pages whose marks or whose probe fit, as far as they are not weighed yet."""
        new = [page for page in pages if page.profile not in found]
        marks = {page.profile: await self._marks(book, unit, page) for page in new}
        new = [page for page in new if marks[page.profile] is not None]
        fitting = [page for page in new if marks[page.profile] or await self._probe_fits(book, unit, page)]
        fitting.sort(key=lambda page: (not marks[page.profile], -len(page.points)))
        for page in fitting[:MOST_PAGES]:
            reading = await read_page(book, ModbusDialect(page, unit))
            found[page.profile] = weigh(page, reading, mark=marks[page.profile] or "")
        if not any(each.score > 0 for each in found.values()):
            # Pages without a value to recognise them by are tried only where nothing else fits.
            for page in [page for page in new if page.probe is None and not page.scaled_by]:
                found[page.profile] = weigh(page, await read_page(book, ModbusDialect(page, unit)))

    async def _marks(self, book: AnswerBook, unit: int, page: ModbusProfile) -> str | None:
        """What a page's marks say; empty where the meter has none there, None where it has others."""
        said = []
        for mark in page.marks:
            read = modbus.Read(unit, mark.table or page.defaults.table, mark.at, len(mark.words))
            outcome = await book.ask(ModbusDialect(page, unit), read)
            if outcome.error is not None:
                return ""
            if outcome.payload != b"".join(word.to_bytes(2, "big") for word in mark.words):
                return None
            said.append(mark.says)
        return ", ".join(said)

    async def _probe_fits(self, book: AnswerBook, unit: int, page: ModbusProfile) -> bool:
        item = _probe_item(page)
        if item is None or page.probe is None:
            return False
        dialect = ModbusDialect(page, unit)
        outcome = await book.ask(dialect, modbus.Read(unit, item.table, item.start, item.end - item.start))
        if outcome.error is not None:
            return False
        point = request_plan(page).points[item.column]
        number = decode_item(item, point, outcome.payload)
        if number is None:
            return False
        low, high = page.probe.between
        return low <= float(number) * 10.0**point.exponent <= high

    async def _sunspec(self, book: AnswerBook, unit: int) -> str:
        """Maker and model as a SunSpec device states them; empty for any other meter."""
        dialect = ModbusDialect(self._modbus[0], unit)
        for at in SUNSPEC_AT:
            mark = await book.ask(dialect, modbus.Read(unit, Table.HOLDING, at, 2))
            if mark.error is None and mark.payload == SUNSPEC:
                names = [
                    await book.ask(dialect, modbus.Read(unit, Table.HOLDING, at + where, NAME_WORDS))
                    for where in (MAKER_AT, MODEL_AT)
                ]
                text = " ".join(_text(name.payload) for name in names if name.error is None)
                return f"SunSpec {text}".strip()
        return ""


def _text(raw: bytes) -> str:
    return "".join(chr(byte) for byte in raw if 32 <= byte < 127).strip()


def _probe_item(page: ModbusProfile) -> Item | None:
    plan = request_plan(page)
    wanted = page.probe.measurand if page.probe else ""
    for block in plan.blocks:
        for item in block.items:
            if plan.points[item.column].measurand == wanted:
                return item
    return None


def _probe_cell(page: ModbusProfile) -> tuple[Table, int, int] | None:
    item = _probe_item(page)
    return None if item is None else (item.table, item.start, item.end)
