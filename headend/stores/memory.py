"""The store of tests and experiments: everything in memory, nothing survives.

Commit point: none. It keeps the promise in all but durability.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from headend.ledger import Link, union
from headend.stores.api import (
    Block,
    Cursor,
    Key,
    Rank,
    RawSeries,
    Receipt,
    Span,
    Totals,
    is_ahead,
    newest_readings,
    rank_of,
)
from headend.stores.assemble import Group, assemble
from headend.stores.silences import settled, touching
from meterline.readings import MissingSpan, Poll, Reading
from meterline.wire import LostRange, Ranges

_PART = "memory"


class MemoryStore:
    """Blocks in the order of their commits; every question goes through all of them."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._by_key: dict[Key, Block] = {}

    def append(self, blocks: Sequence[Block]) -> Receipt:
        new: list[Key] = []
        conflicts: list[Key] = []
        readings = 0
        for block in blocks:
            known = self._by_key.get(block.key)
            if known is None:
                self._by_key[block.key] = block
                self._blocks.append(block)
                new.append(block.key)
                readings += sum(len(poll.numbers) for poll in block.batch.polls)
            elif known.digest != block.digest:
                conflicts.append(block.key)
        return Receipt(tuple(new), readings, tuple(conflicts))

    def gateways(self) -> tuple[str, ...]:
        return tuple(sorted({gateway for gateway, _, _ in self._by_key}))

    def received(self, gateway: str) -> Mapping[str, Ranges]:
        pairs: dict[str, list[tuple[int, int]]] = {}
        for name, epoch, seq in self._by_key:
            if name == gateway:
                pairs.setdefault(epoch, []).append((seq, seq))
        for lost in self.lost(gateway):
            pairs.setdefault(lost.epoch, []).append((lost.first, lost.last))
        return {epoch: union(tuple(found)) for epoch, found in sorted(pairs.items())}

    def lost(self, gateway: str) -> tuple[LostRange, ...]:
        found = {lost for block in self._blocks if block.batch.gateway == gateway for lost in block.batch.lost}
        return tuple(sorted(found, key=lambda r: (r.epoch, r.first, r.last, r.reason)))

    def links(self, gateway: str, epoch: str, after: int, most: int) -> list[Link]:
        found = [
            Link(seq, block.batch.prev, block.digest)
            for (name, which, seq), block in self._by_key.items()
            if (name, which) == (gateway, epoch) and seq > after
        ]
        return sorted(found, key=lambda link: link.seq)[:most]

    def evidence(self, gateway: str, epoch: str, seq: int) -> bytes | None:
        block = self._by_key.get((gateway, epoch, seq))
        return None if block is None else block.message

    def origins(self, meter: str, span: Span) -> tuple[Key, ...]:
        return tuple(
            sorted(
                block.key
                for block in self._blocks
                if any(p.meter == meter and span.start_ns <= p.slot_ns < span.end_ns for p in block.batch.polls)
            )
        )

    def series(self, meter: str, measurand: str, span: Span) -> RawSeries:
        return assemble(self._groups(meter, span), (measurand,)).get(measurand) or RawSeries.empty()

    def columns(self, meter: str, span: Span, only: Collection[str] | None = None) -> Mapping[str, RawSeries]:
        return assemble(self._groups(meter, span), only)

    def missing(self, meter: str, span: Span) -> tuple[MissingSpan, ...]:
        told = [s for block in self._blocks for s in block.batch.missing if s.meter == meter]
        return touching(settled(told), span)

    def latest(self) -> Mapping[tuple[str, str], Reading]:
        return newest_readings(poll for _, poll in self._newest().values())

    def _newest(self) -> dict[tuple[str, str], tuple[Rank, Poll]]:
        newest: dict[tuple[str, str], tuple[Rank, Poll]] = {}
        for block in self._blocks:
            place = 0
            for poll in block.batch.polls:
                mine = (rank_of(poll, block.batch, place), poll)
                place += len(poll.numbers)
                if is_ahead(poll, block.received_ns):
                    continue
                newest[poll.meter, poll.shape.id] = max(
                    mine, newest.get((poll.meter, poll.shape.id), mine), key=lambda pair: pair[0]
                )
        return newest

    def changed(self, since: Cursor) -> tuple[Cursor, Mapping[str, Span]]:
        touched: dict[str, Span] = {}
        for block in self._blocks[since.get(_PART, 0) :]:
            for poll in block.batch.polls:
                slot = Span(poll.slot_ns, poll.slot_ns + 1)
                touched[poll.meter] = slot.joined(touched.get(poll.meter, slot))
        return {_PART: len(self._blocks)}, touched

    def messages(self, since: Cursor, most: int) -> Iterator[tuple[Cursor, bytes]]:
        start = since.get(_PART, 0)
        for number, block in enumerate(self._blocks[start : start + most], start=start + 1):
            yield {_PART: number}, block.message

    def totals(self) -> Totals:
        polls = [poll for block in self._blocks for poll in block.batch.polls]
        return Totals(
            len(self._blocks),
            sum(len(poll.numbers) for poll in polls),
            max((rank[0] for rank, _ in self._newest().values()), default=None),
        )

    def close(self) -> None:
        self._blocks.clear()
        self._by_key.clear()

    def _groups(self, meter: str, span: Span) -> Iterator[Group]:
        for block in self._blocks:
            place = 0
            for poll in block.batch.polls:
                if poll.meter == meter and span.start_ns <= poll.slot_ns < span.end_ns:
                    yield _alone(poll, block, place)
                place += len(poll.numbers)


def _alone(poll: Poll, block: Block, place: int) -> Group:
    batch = block.batch
    return Group(
        shape=poll.shape,
        slots=[poll.slot_ns],
        delays=[poll.delays_ms],
        numbers=[poll.numbers],
        qualities=[poll.qualities],
        ties=lambda _, column: (batch.at_ns, batch.epoch, batch.seq, place + column),
    )
