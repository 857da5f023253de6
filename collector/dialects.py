"""How one meter is spoken to: what differs between protocols, behind one small face.

The poller, the one-shot reader and the tools know plans, requests, questions and refusals; which bytes those are is the
dialect's business. A new protocol is a codec, a plan, and one row in `dialect_of`.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Set
from typing import Any, Protocol, TypeVar

from collector.bus import Line, Outcome, Question
from collector.decode import BlockDecoder
from collector.decode_items import ItemDecoder
from collector.dialects_answer import Cjt188Dialect, MbusDialect
from collector.plan import Block, halves, known_words, request_plan
from collector.plan_items import ItemBlock, item_plan, singles
from collector.protocols import cjt188, dlt645, modbus
from collector.requests import EVERY_RATE, NOTHING, Avoid, Piece, Plan
from meterline.errors import FrameError
from meterline.profiles import (
    CellPoint,
    Cjt188Profile,
    Dlt645Profile,
    ItemPoint,
    MbusProfile,
    ModbusProfile,
    Point,
    Profile,
    Rate,
    Table,
)
from meterline.readings import Number
from meterline.site import Meter

B = TypeVar("B", bound=Piece)
P = TypeVar("P", bound=Point)
R = TypeVar("R", bound=Hashable)


class Decoder(Protocol):
    """Takes the answers to one request apart."""

    def into(self, payload: bytes, numbers: list[Number | None], qualities: list[int]) -> bool:
        """Write numbers and doubts into their columns; return whether there is any doubt."""
        ...


class Dialect(Protocol[B, P, R]):
    """The way to speak to one meter."""

    @property
    def profile(self) -> Profile:
        """The meter's page."""
        ...

    @property
    def gap_s(self) -> float:
        """Rest the meter needs before a question, beyond what the line itself needs. [s]"""
        ...

    @property
    def reads_per_day(self) -> int | None:
        """How often a day the meter may be asked, failed questions included; None: as often as one likes."""
        ...

    def plan(self, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING) -> Plan[B, P]:
        """The fewest requests for the points of some rate classes."""
        ...

    def decoder(self, block: B, points: tuple[P, ...]) -> Decoder:
        """What takes the answer to a planned request apart."""
        ...

    def request(self, block: B) -> R:
        """A planned request, addressed to this meter."""
        ...

    def question(self, request: R, line: Line) -> Question:
        """A request as the line's kind wants it framed."""
        ...

    def likeness(self, request: R) -> Hashable:
        """What requests have in common whose answers nothing tells apart."""
        ...

    def probe(self, plan: Plan[B, P], unanswered: Set[Hashable]) -> R:
        """A small question unlike every unanswered one; what it brings is thrown away."""
        ...

    def parts(self, block: B) -> tuple[tuple[B, ...], Hashable] | None:
        """Smaller requests for the same points, and what to avoid if they work; None where nothing can be parted."""
        ...

    def lacks(self, code: int) -> bool:
        """Whether an error code says that the meter has not got what was asked for."""
        ...

    def is_busy(self, code: int) -> bool:
        """Whether an error code asks to come back later."""
        ...

    def unreached(self, code: int) -> bool:
        """Whether an error code is a gateway's, saying that the meter behind it did not answer."""
        ...

    def meaning(self, code: int) -> str:
        """An error code in words."""
        ...


class ModbusDialect:
    """Words of tables, by unit address."""

    reads_per_day: int | None = None

    def __init__(self, profile: ModbusProfile, unit: int) -> None:
        self.profile, self.unit = profile, unit
        self.gap_s = profile.limits.gap_ms / 1000

    def plan(self, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING) -> Plan[Block, CellPoint]:
        return request_plan(self.profile, rates, avoid)

    def decoder(self, block: Block, points: tuple[CellPoint, ...]) -> BlockDecoder:
        return BlockDecoder(block, points)

    def request(self, block: Block) -> modbus.Read:
        return modbus.Read(self.unit, block.table, block.address, block.count)

    def question(self, request: modbus.Read, line: Line) -> Question:
        if line.frames_by_silence:
            return modbus.RtuQuestion(request)
        return modbus.TcpQuestion(request, line.next_transaction(), lenient=line.bus.tid_check == "lenient")

    def likeness(self, request: modbus.Read) -> tuple[Table, int]:
        """Table and number of words: an answer on a serial line tells no more of its question."""
        return (request.table, request.count)

    def probe(self, plan: Plan[Block, CellPoint], unanswered: Set[Hashable]) -> modbus.Read:
        """Unlike every unanswered question, so that no late answer can be taken for its answer.

        The page's probe point if its length tells it apart, else another point, else the head of a request, else any
        number of words: it may cut a value, and even a refusal is an answer.
        """
        profile = self.profile
        everything = request_plan(profile)
        taken = unanswered | {(block.table, block.count) for block in plan.blocks}
        first = profile.probe.measurand if profile.probe else ""
        items = sorted(
            (item for block in everything.blocks for item in block.items),
            key=lambda item: everything.points[item.column].measurand != first,
        )
        spans = [(item.table, item.start, item.end - item.start) for item in items]
        spans += [
            (block.table, block.address, item.end - block.address)
            for block in everything.blocks
            for item in block.items
        ]
        head = everything.blocks[0]
        most = min(profile.limits.max_words, 0x10000 - head.address)
        spans += [(head.table, head.address, count) for count in range(1, most + 1)]
        table, address, count = next((span for span in spans if (span[0], span[2]) not in taken), spans[0])
        return modbus.Read(self.unit, table, address, count)

    def parts(self, block: Block) -> tuple[tuple[Block, ...], Hashable] | None:
        parts = halves(block, known_words(self.profile))
        return None if parts is None else (parts, parts[1].place)

    def lacks(self, code: int) -> bool:
        return code in (0x01, 0x02, 0x03)

    def is_busy(self, code: int) -> bool:
        return code == 0x06

    def unreached(self, code: int) -> bool:
        return code in (0x0A, 0x0B)

    def meaning(self, code: int) -> str:
        return modbus.MEANING.get(code, "unknown error")


class Dlt645Dialect:
    """Items and blocks by identifier, by the twelve digits of the meter's address."""

    reads_per_day: int | None = None
    HARMLESS = ("04000401", "04000101", "04000102", "04000402", "02800002", "00000000")
    HARMLESS_1997 = ("C032", "C010", "C011", "9010", "B611")
    """Address, date, time, number, ...: questions to find out whether a meter answers at all."""

    def __init__(self, profile: Dlt645Profile, address: str) -> None:
        self.profile, self.address = profile, address
        self.gap_s = profile.limits.gap_ms / 1000

    def plan(self, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING) -> Plan[ItemBlock, ItemPoint]:
        return item_plan(self.profile, rates, avoid)

    def decoder(self, block: ItemBlock, points: tuple[ItemPoint, ...]) -> ItemDecoder:
        return ItemDecoder(block)

    def request(self, block: ItemBlock) -> dlt645.ReadItem:
        return dlt645.ReadItem(self.address, block.di, block.expected, self.profile.limits.preamble)

    def memory_request(self, di: str, expected: int, detail: bytes = b"") -> dlt645.ReadItem:
        """A request for something the meter remembers, which no point of the page stands for."""
        return dlt645.ReadItem(self.address, di, expected, self.profile.limits.preamble, detail=detail)

    def question(self, request: dlt645.ReadItem, line: Line) -> Question:
        if not line.frames_by_silence:
            raise FrameError("DL/T 645 does not travel in Modbus/TCP frames; the bus must be serial or rtu-over-tcp")
        return dlt645.Dlt645Question(request)

    def likeness(self, request: dlt645.ReadItem) -> str:
        """The identifier: it comes back in the answer."""
        return request.di

    def probe(self, plan: Plan[ItemBlock, ItemPoint], unanswered: Set[Hashable]) -> dlt645.ReadItem:
        taken = unanswered | {block.di for block in plan.blocks}
        first = self.profile.probe.measurand if self.profile.probe else ""
        points = sorted(self.profile.points, key=lambda point: point.measurand != first)
        usual = self.HARMLESS if self.profile.edition == "2007" else self.HARMLESS_1997
        known = [point.di for point in points if point.enabled and point.di] + list(usual)
        di = next((di for di in known if di not in taken), known[0])
        return dlt645.ReadItem(self.address, di, 8, self.profile.limits.preamble)

    def parts(self, block: ItemBlock) -> tuple[tuple[ItemBlock, ...], Hashable] | None:
        parts = singles(block)
        return None if parts is None else (parts, block.place)

    def lacks(self, code: int) -> bool:
        """No such data; some meters say "other error" instead."""
        return code in (0x01, dlt645.NO_SUCH_DATA)

    def is_busy(self, code: int) -> bool:
        return False

    def unreached(self, code: int) -> bool:
        return False

    def meaning(self, code: int) -> str:
        return dlt645.meaning(code)


AnyDialect = Dialect[Any, Any, Any]


def dialect_of(profile: Profile, address: str) -> AnyDialect:
    """The way to speak to a meter of a type at an address."""
    if isinstance(profile, Dlt645Profile):
        return Dlt645Dialect(profile, address)
    if isinstance(profile, Cjt188Profile):
        return Cjt188Dialect(profile, address)
    if isinstance(profile, MbusProfile):
        return MbusDialect(profile, int(address))
    assert isinstance(profile, ModbusProfile)
    return ModbusDialect(profile, int(address))


def plan_of(profile: Profile, rates: Collection[Rate] = EVERY_RATE) -> Plan[Any, Any]:
    """The requests a page needs, whatever its protocol."""
    anybody = {"dlt645": dlt645.ANYBODY, "cjt188": cjt188.ANYBODY}
    return dialect_of(profile, anybody.get(profile.protocol, "1")).plan(rates)


async def put(
    line: Line,
    dialect: AnyDialect,
    request: Hashable,
    meter: Meter | None = None,
    *,
    keep_quiet: bool = True,
    within_s: float | None = None,
) -> Outcome:
    """Ask one request as its dialect, the line's kind and the meter's own settings want it; see `Line.ask`."""

    def make() -> Question:
        return dialect.question(request, line)

    if meter is None:
        return await line.ask(make, dialect.gap_s, keep_quiet=keep_quiet)
    gap_s = max(dialect.gap_s, meter.gap_ms / 1000)
    settings = meter.settings_on(line.bus)
    return await line.ask(make, gap_s, keep_quiet=keep_quiet, settings=settings, within_s=within_s)
