"""The store that needs no server: one SQLite file a UTC day, in a folder.

A batch belongs to the file of the day it was formed on (`Batch.at_ns`), so the same batch always meets itself, however
late and however often it comes. One process writes; any number of threads and processes read beside it, each on a
connection of its own.

Commit point: `append` returns when the transactions of all days concerned are synced to disk. Blocks of one day are
kept together or not at all.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import orjson

from headend.ledger import Link, union
from headend.stores import hot
from headend.stores.api import (
    Block,
    Cursor,
    Key,
    Rank,
    RawSeries,
    Receipt,
    Span,
    Totals,
    day_name,
    is_ahead,
    newest_readings,
    rank_of,
)
from headend.stores.assemble import Group, Tie, assemble
from headend.stores.mending import mend
from headend.stores.proof import DayFileProofs
from headend.stores.silences import settled, touching
from meterline.errors import StoreUnavailable
from meterline.ranges import RangeSet
from meterline.readings import MissingSpan, Poll, Reading
from meterline.wire import LostRange, Ranges

_OPEN_DAYS = 3
"""Files kept open for writing: today's, yesterday's around midnight, one of a backlog."""


class EmbeddedReader(DayFileProofs):
    """The reading half over a folder of day files; opens nothing for writing.

    Parameters
    ----------
    folder
        The head-end's data folder; the files are in ``hot/`` below it. It need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "hot"
        self._pool = _Pool()

    # -- the ledger --------------------------------------------------------------------------------------------------
    def gateways(self) -> tuple[str, ...]:
        found: set[str] = set()
        for path in self._days():
            with self._reading(path) as db:
                found.update(row[0] for row in db.execute("SELECT DISTINCT gateway FROM received"))
        return tuple(sorted(found))

    def received(self, gateway: str) -> Mapping[str, Ranges]:
        parts: dict[str, list[Ranges]] = {}
        for path in self._days():
            with self._reading(path) as db:
                for epoch, ranges in hot.received_in(db, gateway).items():
                    parts.setdefault(epoch, []).append(ranges)
                for lost in hot.lost_in(db, gateway):
                    parts.setdefault(lost.epoch, []).append(((lost.first, lost.last),))
        return {epoch: union(*ranges) for epoch, ranges in sorted(parts.items())}

    def lost(self, gateway: str) -> tuple[LostRange, ...]:
        found: set[LostRange] = set()
        for path in self._days():
            with self._reading(path) as db:
                found.update(hot.lost_in(db, gateway))
        return tuple(sorted(found, key=lambda r: (r.epoch, r.first, r.last, r.reason)))

    def links(self, gateway: str, epoch: str, after: int, most: int) -> list[Link]:
        links: list[Link] = []
        for path in self._days():
            with self._reading(path) as db:
                rows = db.execute(
                    "SELECT seq, prev, digest FROM batches WHERE gateway = ? AND epoch = ? AND seq > ?"
                    " ORDER BY seq LIMIT ?",
                    (gateway, epoch, after, most),
                )
                links += [Link(seq, bytes(prev), bytes(digest)) for seq, prev, digest in rows]
        return sorted(links, key=lambda link: link.seq)[:most]

    def evidence(self, gateway: str, epoch: str, seq: int) -> bytes | None:
        for path in reversed(self._days()):
            with self._reading(path) as db:
                row = db.execute(
                    "SELECT message FROM batches WHERE gateway = ? AND epoch = ? AND seq = ?", (gateway, epoch, seq)
                ).fetchone()
            if row is not None:
                return bytes(row[0])
        return None

    def origins(self, meter: str, span: Span) -> tuple[Key, ...]:
        found: set[Key] = set()
        for path in self._days():
            with self._reading(path) as db:
                found.update(hot.origins_of(db, meter, span.start_ns, span.end_ns))
        return tuple(sorted(found))

    # -- readings ----------------------------------------------------------------------------------------------------
    def series(self, meter: str, measurand: str, span: Span) -> RawSeries:
        return assemble(self._groups(meter, span), (measurand,)).get(measurand) or RawSeries.empty()

    def columns(self, meter: str, span: Span, only: Collection[str] | None = None) -> Mapping[str, RawSeries]:
        return assemble(self._groups(meter, span), only)

    def missing(self, meter: str, span: Span) -> tuple[MissingSpan, ...]:
        spans: list[MissingSpan] = []
        for path in self._days():
            with self._reading(path) as db:
                spans += hot.missing_in(db, meter)
        return touching(settled(spans), span)

    def latest(self) -> Mapping[tuple[str, str], Reading]:
        return newest_readings(poll for _, poll in self._newest().values())

    def changed(self, since: Cursor) -> tuple[Cursor, Mapping[str, Span]]:
        cursor: dict[str, int] = {}
        touched: dict[str, Span] = {}
        for path in self._days():
            with self._reading(path) as db:
                cursor[path.stem], meters = hot.changed_in(db, since.get(path.stem, 0))
            for meter, span in meters.items():
                touched[meter] = span.joined(touched.get(meter, span))
        return cursor, touched

    def messages(self, since: Cursor, most: int) -> Iterator[tuple[Cursor, bytes]]:
        cursor = dict(since)
        for path in self._days():
            if most <= 0:
                return
            with self._reading(path) as db:
                rows = db.execute(
                    "SELECT id, message FROM batches WHERE id > ? ORDER BY id LIMIT ?", (cursor.get(path.stem, 0), most)
                ).fetchall()
            for number, message in rows:
                cursor[path.stem] = number
                most -= 1
                yield dict(cursor), bytes(message)

    def totals(self) -> Totals:
        batches = readings = 0
        for path in self._days():
            with self._reading(path) as db:
                more = db.execute("SELECT batches, readings FROM totals").fetchone()
            batches, readings = batches + more[0], readings + more[1]
        return Totals(batches, readings, max((rank[0] for rank, _ in self._newest().values()), default=None))

    def close(self) -> None:
        self._pool.close()

    # -- inside ------------------------------------------------------------------------------------------------------
    def _days(self) -> list[Path]:
        """The day files, oldest first."""
        return sorted(self.folder.glob("*.sqlite"))

    @contextmanager
    def _reading(self, path: Path) -> Iterator[sqlite3.Connection]:
        db = self._pool.take(path)
        try:
            yield db
        except sqlite3.Error as error:
            db.close()
            raise StoreUnavailable(f"{path.name}: {error}") from error
        except BaseException:
            db.close()
            raise
        self._pool.give(path, db)

    def _groups(self, meter: str, span: Span) -> Iterator[Group]:
        for path in self._days():
            with self._reading(path) as db:
                edges = hot.bounds(db)
                if edges is None or edges[1] < span.start_ns or edges[0] >= span.end_ns:
                    continue
                rows = hot.rows_of(db, meter, span.start_ns, span.end_ns)
                shapes = hot.shapes_in(db) if rows else {}
            by_shape: dict[int, list[hot.Row]] = {}
            for row in rows:
                by_shape.setdefault(row.shape, []).append(row)
            for number, part in by_shape.items():
                yield Group(
                    shape=shapes[number],
                    slots=[row.t for row in part],
                    delays=_lists(row.delays for row in part),
                    numbers=_lists(row.numbers for row in part),
                    qualities=_lists(row.qualities or "[]" for row in part),
                    ties=_Ties(self, path, part),
                )

    def tie_keys(self, path: Path, batches: Sequence[int]) -> dict[int, tuple[int, str, int]]:
        """See `hot.tie_keys`."""
        with self._reading(path) as db:
            return hot.tie_keys(db, batches)

    def _newest(self) -> dict[tuple[str, str], tuple[Rank, Poll]]:
        newest: dict[tuple[str, str], tuple[Rank, Poll]] = {}
        for path in reversed(self._days()):
            with self._reading(path) as db:
                polls = hot.newest_polls(db)
            for rank, poll in polls:
                known = newest.get((poll.meter, poll.shape.id))
                if known is None or rank > known[0]:
                    newest[poll.meter, poll.shape.id] = (rank, poll)
        return newest


class EmbeddedStore(EmbeddedReader):
    """The writing half on top: exactly one in the world for a folder.

    Raises
    ------
    StoreUnavailable
        Another process writes into this folder, or a file in it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{self.folder}: {error.strerror}") from error
        self._lock = _only_writer(self.folder)
        _drop_orphans(self.folder)
        self._writers: OrderedDict[str, hot.DayWriter] = OrderedDict()
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._ledger: dict[str, dict[str, RangeSet]] = {}
        for gateway in super().gateways():
            for epoch, ranges in super().received(gateway).items():
                self._held(gateway, epoch, ranges)
        self._latest = super()._newest()

    def append(self, blocks: Sequence[Block]) -> Receipt:
        with self._writing:
            return self._append(blocks)

    def _append(self, blocks: Sequence[Block]) -> Receipt:
        days: dict[str, list[Block]] = {}
        for block in blocks:
            days.setdefault(day_name(block.batch.at_ns), []).append(block)
        new: list[Block] = []
        conflicts: list[Key] = []
        readings = 0
        opened: list[hot.DayWriter] = []
        written: list[list[Block]] = []
        try:
            for day, part in days.items():
                writer = self._writer(day)
                opened.append(writer)
                fresh, count, refused = writer.insert(part)
                written.append(fresh)
                readings += count
                conflicts += refused
            for writer, fresh in zip(opened, written, strict=True):
                writer.commit()
                with self._guard:  # at once: if the next day fails, this one stays
                    for block in fresh:
                        self._learn(block)
                new += fresh
        except sqlite3.Error as error:
            self._abandon(opened)
            raise StoreUnavailable(f"cannot write: {error}") from error
        except BaseException:
            self._abandon(opened)
            raise
        while len(self._writers) > _OPEN_DAYS:
            self._writers.popitem(last=False)[1].close()
        return Receipt(tuple(block.key for block in new), readings, tuple(conflicts))

    def forget(self, gateway: str, epoch: str, without: Collection[int] = ()) -> Ranges:
        """Claim no more of an epoch than the files hold; which numbers are no longer claimed.

        Parameters
        ----------
        without
            Batches to be taken out, too; the caller has put their bytes aside.

        Raises
        ------
        StoreUnavailable
            A file cannot be written.
        """
        with self._writing:
            while self._writers:
                self._writers.popitem()[1].close()
            _drop_orphans(self.folder)
            for path in self._days():
                mend(path, gateway, epoch, without)
            here = RangeSet(super().received(gateway).get(epoch, ()))
            with self._guard:
                gone = self._ledger.get(gateway, {}).get(epoch, RangeSet()).copy()
                self._ledger.setdefault(gateway, {})[epoch] = here
            for first, last in here:
                gone.remove(first, last)
            return gone.ranges

    def received(self, gateway: str) -> Mapping[str, Ranges]:
        with self._guard:
            return {epoch: held.ranges for epoch, held in sorted(self._ledger.get(gateway, {}).items())}

    def gateways(self) -> tuple[str, ...]:
        with self._guard:
            return tuple(sorted(self._ledger))

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        super().close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _newest(self) -> dict[tuple[str, str], tuple[Rank, Poll]]:
        with self._guard:
            return dict(self._latest)

    def _writer(self, day: str) -> hot.DayWriter:
        writer = self._writers.get(day)
        if writer is not None and _identity(writer.path) != writer.file:  # what is written to it goes nowhere
            self._writers.pop(day).close()
            _drop_orphans(self.folder)
            writer = None
        if writer is None:
            writer = self._writers[day] = hot.DayWriter(self.folder / f"{day}.sqlite")
        self._writers.move_to_end(day)
        return writer

    def _abandon(self, writers: Sequence[hot.DayWriter]) -> None:
        """Throw the open transactions away, and the connections with them: after an I/O error nothing is trusted."""
        for writer in writers:
            self._writers.pop(writer.path.stem, None)
            writer.close()

    def _held(self, gateway: str, epoch: str, ranges: Ranges) -> None:
        held = self._ledger.setdefault(gateway, {}).setdefault(epoch, RangeSet())
        for first, last in ranges:
            held.add(first, last)

    def _learn(self, block: Block) -> None:
        batch = block.batch
        self._held(batch.gateway, batch.epoch, ((batch.seq, batch.seq),))
        for lost in batch.lost:
            self._held(batch.gateway, lost.epoch, ((lost.first, lost.last),))
        place = 0
        for poll in batch.polls:
            rank = rank_of(poll, batch, place)
            place += len(poll.numbers)
            known = self._latest.get((poll.meter, poll.shape.id))
            if (known is None or rank > known[0]) and not is_ahead(poll, block.received_ns):
                self._latest[poll.meter, poll.shape.id] = (rank, poll)


class _Ties:
    """Looks up what decides between two values of one slot; only then is `batches` asked."""

    def __init__(self, store: EmbeddedReader, path: Path, rows: Sequence[hot.Row]) -> None:
        self._store, self._path, self._rows = store, path, rows
        self._keys: dict[int, tuple[int, str, int]] = {}

    def __call__(self, row: int, column: int) -> Tie:
        batch = self._rows[row].batch
        if batch not in self._keys:
            self._keys.update(self._store.tie_keys(self._path, [batch]))
        at_ns, epoch, seq = self._keys[batch]
        return at_ns, epoch, seq, self._rows[row].place + column


class _Pool:
    """Idle read connections by file, so that a query costs no opening; the files used last stay open."""

    def __init__(self, most: int = 24) -> None:
        self._idle: OrderedDict[Path, list[sqlite3.Connection]] = OrderedDict()
        self._files: dict[Path, tuple[int, int] | None] = {}
        self._most = most
        self._guard = threading.Lock()
        self._closed = False

    def take(self, path: Path) -> sqlite3.Connection:
        file = _identity(path)
        old: list[sqlite3.Connection] = []
        with self._guard:
            if self._files.get(path) != file:  # another file under the same name: a backup was put back
                old = self._idle.pop(path, [])
                self._files[path] = file
            idle = self._idle.get(path)
            found = idle.pop() if idle else None
        for db in old:
            db.close()
        return found or hot.connect(path, write=False)

    def give(self, path: Path, db: sqlite3.Connection) -> None:
        extra: list[sqlite3.Connection] = []
        with self._guard:
            if self._closed:
                extra.append(db)
            else:
                self._idle.setdefault(path, []).append(db)
                self._idle.move_to_end(path)
                while len(self._idle) > self._most:
                    extra += self._idle.popitem(last=False)[1]
        for connection in extra:
            connection.close()

    def close(self) -> None:
        with self._guard:
            self._closed = True
            idle = [db for many in self._idle.values() for db in many]
            self._idle.clear()
        for db in idle:
            db.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _drop_orphans(folder: Path) -> None:
    """Write-ahead files whose database was removed; a new one under its name would take them for its own."""
    for ending in ("-wal", "-shm"):
        for path in folder.glob(f"*.sqlite{ending}"):
            if not path.with_name(path.name.removesuffix(ending)).exists():
                path.unlink(missing_ok=True)


def _only_writer(folder: Path) -> sqlite3.Connection:
    """Hold a lock that the operating system drops with the process, however it ends."""
    lock = sqlite3.connect(folder / "writer.lock", isolation_level=None, timeout=0.2, check_same_thread=False)
    try:
        lock.execute("PRAGMA locking_mode = EXCLUSIVE")
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        raise StoreUnavailable(f"{folder}: another process is writing here ({error}); stop it first") from error
    return lock


def is_held(folder: Path) -> bool:
    """Whether a process is writing to the store of a folder."""
    if not (folder / "writer.lock").is_file():
        return False
    try:
        _only_writer(folder).close()
    except StoreUnavailable:
        return True
    return False


def _lists(texts: Iterator[str]) -> list[list[int]]:
    parsed: list[list[int]] = orjson.loads("[" + ",".join(texts) + "]")
    return parsed
