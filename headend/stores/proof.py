"""What the store can say about itself: which batches it holds, from when, how whole an hour is, what came in when.

Asked by the audit, the completeness ledger and the export of evidence; answered from the day files themselves, never
from what a running head-end remembers, so that a file that was removed or exchanged under it is noticed.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from headend.stores import hot
from headend.stores.api import Block, Cursor, Key, Span, day_name
from meterline.errors import WireError
from meterline.ranges import RangeSet
from meterline.readings import Number, Shape
from meterline.wire import HourDigest, HourTally, LostRange, Ranges, ShapeCache, digest_of, unseal


@dataclass(frozen=True, slots=True)
class Kept:
    """What is here of a run of batches.

    Attributes
    ----------
    hour
        The run as it is stored, where all of it is here; None otherwise.
    missing
        Numbers of it that are not here.
    changed
        Numbers whose bytes are not the ones that were stored, or whose rows of readings are not what they say.
    """

    hour: HourDigest | None
    missing: Ranges
    changed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One poll that came in.

    Attributes
    ----------
    there
        Whether it brought a value of the measurand asked about.
    """

    meter: str
    slot_ns: int
    received_ns: int
    there: bool


class ProofReader(Protocol):
    """See the module; any number of threads and processes at once."""

    def formed(self, span: Span) -> Iterator[Key]:
        """Batches that their gateways formed in the span, by day, gateway, epoch and number."""
        ...

    def declared(self, gateway: str) -> list[tuple[Key, LostRange]]:
        """Which batch declares which numbers lost."""
        ...

    def kept(self, gateway: str, stated: HourDigest) -> Kept:
        """What is here of a run that a gateway states, worked out from the stored bytes and readings."""
        ...

    def blocks(self, gateway: str, epoch: str, first: int, last: int) -> list[tuple[int, bytes, Block | None]]:
        """What is stored under these numbers: number, bytes, and the block if they can be read."""
        ...

    def around(self, gateway: str, epoch: str, first: int, last: int) -> tuple[int | None, int | None]:
        """When the nearest stored batch before `first` and behind `last` were formed, UTC. [ns]"""
        ...

    def arrivals(self, since: Cursor, most: int, measurands: Mapping[str, str]) -> tuple[Cursor, list[Arrival]]:
        """Polls in the order of their commits that have a meter's measurand among their columns, and the cursor after.

        At most `most` polls are looked at, so there may be more although nothing is returned; there are no more when
        the cursor stays.
        """
        ...

    def files(self) -> Mapping[str, tuple[int, int]]:
        """Day -> device and inode of its file: another one means another file under the same name."""
        ...


class DayFileProofs(ABC):
    """`ProofReader` over day files; a part of the embedded store."""

    folder: Path

    @abstractmethod
    def _days(self) -> list[Path]:
        """The day files, oldest first."""

    @abstractmethod
    def _reading(self, path: Path) -> AbstractContextManager[sqlite3.Connection]:
        """A read connection for the length of a block."""

    def formed(self, span: Span) -> Iterator[Key]:
        for path in self._days():
            if not day_name(span.start_ns) <= path.stem <= day_name(span.end_ns):
                continue
            with self._reading(path) as db:
                rows = db.execute(
                    "SELECT gateway, epoch, seq FROM batches WHERE at_ns >= ? AND at_ns < ?"
                    " ORDER BY gateway, epoch, seq",
                    (span.start_ns, span.end_ns),
                ).fetchall()
            yield from ((gateway, epoch, seq) for gateway, epoch, seq in rows)

    def declared(self, gateway: str) -> list[tuple[Key, LostRange]]:
        found: list[tuple[Key, LostRange]] = []
        for path in self._days():
            with self._reading(path) as db:
                rows = db.execute(
                    "SELECT b.gateway, b.epoch, b.seq, l.epoch, l.first, l.last, l.reason"
                    " FROM lost l JOIN batches b ON b.id = l.batch WHERE l.gateway = ? ORDER BY b.id",
                    (gateway,),
                )
                found += [((row[0], row[1], row[2]), LostRange(*row[3:])) for row in rows]
        return found

    def kept(self, gateway: str, stated: HourDigest) -> Kept:
        path = self.folder / f"{day_name(stated.hour_ns)}.sqlite"
        if not path.exists():
            return Kept(None, ((stated.first, stated.last),))
        with self._reading(path) as db:
            batches = db.execute(
                "SELECT id, seq, digest, message FROM batches"
                " WHERE gateway = ? AND epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq",
                (gateway, stated.epoch, stated.first, stated.last),
            ).fetchall()
            rows = _rows_of(db, [row[0] for row in batches])
        here, changed, shapes = RangeSet(), [], ShapeCache()
        tally = HourTally(stated.epoch, stated.hour_ns, stated.first)
        for number, seq, digest, message in batches:
            here.add(seq)
            tally.batch(bytes(digest))
            for row in rows[number]:
                tally.poll(row.meter, row.shape, row.numbers)
            if not _is(bytes(message), bytes(digest), rows[number], shapes):
                changed.append(seq)
        missing = here.gaps(stated.first, stated.last)
        return Kept(None if missing or changed else tally.result(), missing, tuple(changed))

    def blocks(self, gateway: str, epoch: str, first: int, last: int) -> list[tuple[int, bytes, Block | None]]:
        found: list[tuple[int, bytes, Block | None]] = []
        for path in self._days():
            with self._reading(path) as db:
                rows = db.execute(
                    "SELECT seq, message, received_ns FROM batches"
                    " WHERE gateway = ? AND epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq",
                    (gateway, epoch, first, last),
                ).fetchall()
            for seq, message, received_ns in rows:
                try:
                    block = Block(bytes(message), digest_of(bytes(message)), unseal(bytes(message)), received_ns)
                except WireError:
                    block = None
                found.append((seq, bytes(message), block))
        return found

    def around(self, gateway: str, epoch: str, first: int, last: int) -> tuple[int | None, int | None]:
        before, behind = (0, None), (1 << 63, None)
        for path in self._days():
            with self._reading(path) as db:
                where = "FROM batches WHERE gateway = ? AND epoch = ? AND seq"
                row = db.execute(
                    f"SELECT seq, at_ns {where} < ? ORDER BY seq DESC LIMIT 1", (gateway, epoch, first)
                ).fetchone()
                before = max(before, row or before)
                row = db.execute(
                    f"SELECT seq, at_ns {where} > ? ORDER BY seq LIMIT 1", (gateway, epoch, last)
                ).fetchone()
                behind = min(behind, row or behind)
        return before[1], behind[1]

    def arrivals(self, since: Cursor, most: int, measurands: Mapping[str, str]) -> tuple[Cursor, list[Arrival]]:
        cursor = dict(since)
        found: list[Arrival] = []
        for path in self._days():
            if most <= 0:
                break
            with self._reading(path) as db:
                after = cursor.get(path.stem, 0)
                if db.execute("SELECT coalesce(max(id), 0) FROM polls").fetchone()[0] < after:
                    after = 0  # the file was put back from a backup: look at all of it again
                rows = db.execute(
                    "SELECT p.id, m.name, p.t, p.shape, p.numbers, b.received_ns FROM polls p"
                    " JOIN meters m ON m.id = p.meter JOIN batches b ON b.id = p.batch"
                    " WHERE p.id > ? ORDER BY p.id LIMIT ?",
                    (after, most),
                ).fetchall()
                heads = {
                    (shape, measurand): place
                    for shape, measurand, place in db.execute("SELECT shape, measurand, place FROM columns")
                }
            cursor[path.stem] = rows[-1][0] if rows else after
            most -= len(rows)
            for _, meter, slot_ns, shape, numbers, received_ns in rows:
                place = heads.get((shape, measurands.get(meter, "")))
                if place is not None:
                    found.append(Arrival(meter, slot_ns, received_ns, orjson.loads(numbers)[place] is not None))
        return cursor, found

    def files(self) -> Mapping[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for path in self._days():
            status = path.stat()
            found[path.stem] = (status.st_dev, status.st_ino)
        return found


class _Row(NamedTuple):
    """One poll as its row has it, comparable with the poll in its batch."""

    meter: str
    slot_ns: int
    shape: Shape
    delays: tuple[int, ...]
    numbers: tuple[Number | None, ...]
    qualities: tuple[int, ...]


def _is(message: bytes, digest: bytes, rows: list[_Row], shapes: ShapeCache) -> bool:
    """Whether a batch has the bytes it was stored with, and its rows are what it says."""
    try:
        if digest_of(message) != digest:
            return False
        polls = unseal(message, shapes).polls
    except WireError:
        return False
    return rows == [_Row(p.meter, p.slot_ns, p.shape, p.delays_ms, p.numbers, p.qualities) for p in polls]


def _rows_of(db: sqlite3.Connection, batches: list[int]) -> dict[int, list[_Row]]:
    """Batch -> its polls in order."""
    found: dict[int, list[_Row]] = {batch: [] for batch in batches}
    if not batches:
        return found
    meters: dict[int, str] = dict(db.execute("SELECT id, name FROM meters").fetchall())
    shapes = hot.shapes_in(db)
    start, end = hot.first_poll_after(db, min(batches) - 1), hot.first_poll_after(db, max(batches))
    for batch, meter, t, shape, delays, numbers, qualities in db.execute(
        "SELECT batch, meter, t, shape, delays, numbers, qualities FROM polls WHERE id >= ? AND id < ? ORDER BY id",
        (start, end),
    ):
        if batch in found:
            try:
                row = _Row(meters[meter], t, shapes[shape], _tuple(delays), _tuple(numbers), _tuple(qualities))
            except (KeyError, ValueError):  # changed so that it means nothing any more
                row = _Row("", t, Shape("", ()), (), (), ())
            found[batch].append(row)
    return found


def _tuple(text: str | None) -> tuple[int, ...]:
    return tuple(orjson.loads(text)) if text else ()
