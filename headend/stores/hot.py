"""One day of the embedded store: an SQLite file anybody can open, written in one transaction per group of batches.

::

    batches    the messages as they were signed (evidence), with their place in the chain
    polls      one row per poll: slot, meter, delays, numbers and qualities as JSON lists in the order of its shape
    shapes, columns   what the numbers of a poll mean
    missing, lost     silences of meters; numbers the gateway says will never come
    received   the ledger, as ranges; written with the data, and derivable from `batches`
    readings   a view: one row per number, for people and their tools

A poll stays one row, as it stayed one object all the way from the bus: twenty times fewer rows than numbers. The index
is ``(t, meter)``, so writing is at the end of it whatever the number of meters; one meter is read by hopping from slot
to slot.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headend.stores.api import Block, Key, Rank, Span, is_ahead, rank_of
from meterline.errors import StoreUnavailable
from meterline.ranges import RangeSet
from meterline.readings import ClockState, Column, MissingSpan, Poll, Shape, Source
from meterline.wire import LostRange, Ranges

VERSION = 1
"""`PRAGMA user_version` of a day's file; a file of a newer version is refused, never guessed at."""

SCHEMA = """
CREATE TABLE batches (
  id INTEGER PRIMARY KEY,          -- order of commits
  gateway TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,          -- formed by the gateway
  received_ns INTEGER NOT NULL,
  prev BLOB NOT NULL, digest BLOB NOT NULL,
  message BLOB NOT NULL,
  UNIQUE (gateway, epoch, seq));
CREATE TABLE meters (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE shapes (id INTEGER PRIMARY KEY, profile TEXT NOT NULL, heads TEXT NOT NULL, UNIQUE (profile, heads));
CREATE TABLE columns (
  shape INTEGER NOT NULL, place INTEGER NOT NULL, measurand TEXT NOT NULL,
  exponent INTEGER NOT NULL,       -- value in the canonical unit = number * 10^exponent
  is_float INTEGER NOT NULL, request INTEGER NOT NULL,
  PRIMARY KEY (shape, place)) WITHOUT ROWID;
CREATE TABLE polls (
  id INTEGER PRIMARY KEY,
  t INTEGER NOT NULL,              -- slot, ns since 1970 UTC
  meter INTEGER NOT NULL, shape INTEGER NOT NULL, batch INTEGER NOT NULL,
  place INTEGER NOT NULL,          -- index of its first number in the batch
  clock INTEGER NOT NULL,
  source TEXT,                     -- NULL: wire
  delays TEXT NOT NULL,            -- per request, ms: read at t + delay
  numbers TEXT NOT NULL,
  qualities TEXT);                 -- NULL: all good
CREATE INDEX polls_in_time ON polls (t, meter);
CREATE TABLE newest (
  meter INTEGER NOT NULL, shape INTEGER NOT NULL, poll INTEGER NOT NULL, PRIMARY KEY (meter, shape)) WITHOUT ROWID;
CREATE TABLE missing (
  batch INTEGER NOT NULL, meter TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER, cause TEXT NOT NULL);
CREATE INDEX missing_of_meter ON missing (meter, start_ns);
CREATE TABLE lost (
  batch INTEGER NOT NULL, gateway TEXT NOT NULL, epoch TEXT NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE received (
  gateway TEXT NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, first)) WITHOUT ROWID;
CREATE TABLE totals (batches INTEGER NOT NULL, readings INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
CREATE VIEW readings AS
  SELECT p.t AS slot_ns, m.name AS meter, c.measurand AS measurand, n.value AS number, c.exponent AS exponent,
         n.value * CAST('1e' || c.exponent AS REAL) AS value,
         coalesce(json_extract(p.qualities, '$[' || n.key || ']'), 0) AS quality,
         p.t + 1000000 * json_extract(p.delays, '$[' || c.request || ']') AS read_ns,
         coalesce(p.source, 'wire') AS source, b.gateway AS gateway, b.epoch AS epoch, b.seq AS seq,
         p.place + n.key AS place
  FROM polls p JOIN meters m ON m.id = p.meter JOIN batches b ON b.id = p.batch, json_each(p.numbers) n
       JOIN columns c ON c.shape = p.shape AND c.place = n.key;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One stored poll, its lists still as JSON."""

    t: int
    shape: int
    delays: str
    numbers: str
    qualities: str | None
    batch: int
    place: int


def connect(path: Path, *, write: bool, wait_s: float = 5.0) -> sqlite3.Connection:
    """Open a day's file.

    Raises
    ------
    StoreUnavailable
        It is damaged, unreadable, or of a newer version of this software.
    """
    try:
        if write and not path.exists():
            _create(path)
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if write else 'ro'}",
            uri=True, isolation_level=None, timeout=wait_s, check_same_thread=False,
        )  # fmt: skip
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"{path.name}: {error}") from error
    try:
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "PRAGMA synchronous = FULL"
            )  # NORMAL lost 700 of 700 commits at a power cut (FAULTS M12)
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA journal_size_limit = 67108864")
        else:
            connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cache_size = -16000")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version == 0 and write:  # begun by an older version that was killed at it
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
        elif version not in (0, VERSION):
            raise StoreUnavailable(
                f"{path.name} is of version {version}, this software reads {VERSION}: update the software"
            )
    except sqlite3.Error as error:
        connection.close()
        raise StoreUnavailable(f"{path.name}: {error}") from error
    except StoreUnavailable:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make a day's file with its tables under another name first: who reads beside us sees it whole or not at all."""
    fresh = path.with_suffix(".new")
    for name in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):  # of a start that was killed
        name.unlink(missing_ok=True)
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
    finally:
        connection.close()
    fresh.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class DayWriter:
    """The writing side of one day's file; exactly one in the world.

    Commit point: `commit` returns after SQLite has synced the transaction (WAL, ``synchronous = FULL``).

    Attributes
    ----------
    file
        Device and inode: another file may come to stand under this name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = connect(path, write=True)
        status = path.stat()
        self.file = (status.st_dev, status.st_ino)
        self._meters: dict[str, int] = {}
        self._shapes: dict[int, tuple[Shape, int]] = {}
        self._ledger: dict[tuple[str, str], RangeSet] = {}
        self._before: dict[tuple[str, str], Ranges] = {}
        self._newest: dict[tuple[int, int], tuple[Rank, int]] = {}
        self._newer: set[tuple[int, int]] = set()
        self._next_poll = 1
        self._open = False
        self._load()

    def _load(self) -> None:
        self._meters = dict(self._db.execute("SELECT name, id FROM meters"))
        self._shapes = {}
        self._ledger = {}
        for gateway, epoch, first, last in self._db.execute("SELECT gateway, epoch, first, last FROM received"):
            self._ledger.setdefault((gateway, epoch), RangeSet()).add(first, last)
        self._newest = {pair: (rank, number) for pair, rank, number, _ in _newest_rows(self._db)}
        self._newer = set()
        self._next_poll = 1 + self._db.execute("SELECT coalesce(max(id), 0) FROM polls").fetchone()[0]

    def insert(self, blocks: Iterable[Block]) -> tuple[list[Block], int, list[Key]]:
        """Write into the open transaction: the blocks that are new, their count of numbers, the keys in conflict.

        Raises
        ------
        sqlite3.Error
            Close this writer and open another one.
        """
        if not self._open:
            self._db.execute("BEGIN IMMEDIATE")
            self._open = True
        new: list[Block] = []
        conflicts: list[Key] = []
        rows: list[tuple[object, ...]] = []
        readings = 0
        for block in blocks:
            batch = block.batch
            identity = (batch.gateway, batch.epoch)
            if batch.seq in self._ledger.get(identity, ()):
                if self._stored_digest(block.key) != block.digest:
                    conflicts.append(block.key)
                continue
            done = self._db.execute(
                "INSERT INTO batches (gateway, epoch, seq, at_ns, received_ns, prev, digest, message)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*block.key, batch.at_ns, block.received_ns, batch.prev, block.digest, block.message),
            )
            row = done.lastrowid or 0
            self._record(identity, batch.seq, batch.seq)
            place = 0
            for poll in batch.polls:
                rows.append(self._poll_row(poll, block, row, place))
                place += len(poll.numbers)
            if batch.missing:
                self._db.executemany(
                    "INSERT INTO missing VALUES (?, ?, ?, ?, ?)",
                    [(row, s.meter, s.start_ns, s.end_ns, s.cause) for s in batch.missing],
                )
            for lost in batch.lost:
                self._db.execute(
                    "INSERT INTO lost VALUES (?, ?, ?, ?, ?, ?)",
                    (row, batch.gateway, lost.epoch, lost.first, lost.last, lost.reason),
                )
            readings += place
            new.append(block)
        self._db.executemany(
            "INSERT INTO polls (id, t, meter, shape, batch, place, clock, source, delays, numbers, qualities)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        if new:
            self._db.execute("UPDATE totals SET batches = batches + ?, readings = readings + ?", (len(new), readings))
        return new, readings, conflicts

    def commit(self) -> None:
        """Make everything inserted durable.

        Raises
        ------
        sqlite3.Error
            Nothing of it was kept; close this writer and open another one.
        """
        for (gateway, epoch), before in self._before.items():
            after = self._ledger[gateway, epoch].ranges
            gone, come = set(before) - set(after), set(after) - set(before)
            self._db.executemany(
                "DELETE FROM received WHERE gateway = ? AND epoch = ? AND first = ?",
                [(gateway, epoch, first) for first, _ in gone],
            )
            self._db.executemany("INSERT INTO received VALUES (?, ?, ?, ?)", [(gateway, epoch, *pair) for pair in come])
        self._db.executemany(
            "INSERT OR REPLACE INTO newest VALUES (?, ?, ?)", [(*pair, self._newest[pair][1]) for pair in self._newer]
        )
        if self._open:
            self._db.execute("COMMIT")
        self._open = False
        self._before = {}
        self._newer = set()

    def close(self) -> None:
        """Let go of the file; what was inserted and not committed is gone."""
        self._db.close()

    def _record(self, identity: tuple[str, str], first: int, last: int) -> None:
        held = self._ledger.setdefault(identity, RangeSet())
        self._before.setdefault(identity, held.ranges)
        held.add(first, last)

    def _stored_digest(self, key: Key) -> bytes | None:
        row = self._db.execute("SELECT digest FROM batches WHERE gateway = ? AND epoch = ? AND seq = ?", key).fetchone()
        return None if row is None else bytes(row[0])

    def _poll_row(self, poll: Poll, block: Block, row: int, place: int) -> tuple[object, ...]:
        number = self._next_poll
        self._next_poll += 1
        meter = self._meters.get(poll.meter) or self._new_meter(poll.meter)
        shape = self._shape_id(poll.shape)
        known, rank = self._newest.get((meter, shape)), rank_of(poll, block.batch, place)
        if (known is None or rank > known[0]) and not is_ahead(poll, block.received_ns):
            self._newest[meter, shape] = (rank, number)
            self._newer.add((meter, shape))
        return (
            number,
            poll.slot_ns,
            meter,
            shape,
            row,
            place,
            int(poll.clock),
            None if poll.source is Source.WIRE else str(poll.source),
            orjson.dumps(poll.delays_ms).decode(),
            orjson.dumps(poll.numbers).decode(),
            orjson.dumps(poll.qualities).decode() if poll.qualities else None,
        )

    def _new_meter(self, name: str) -> int:
        done = self._db.execute("INSERT INTO meters (name) VALUES (?)", (name,))
        self._meters[name] = done.lastrowid or 0
        return self._meters[name]

    def _shape_id(self, shape: Shape) -> int:
        # By identity: a stream's shapes are shared objects, and hashing twenty columns per poll would cost more than
        # the row. The object is kept, so its id cannot be given to another one.
        known = self._shapes.get(id(shape))
        if known is None:
            if len(self._shapes) > 10_000:
                self._shapes.clear()
            known = self._shapes[id(shape)] = (shape, self._find_shape(shape))
        return known[1]

    def _find_shape(self, shape: Shape) -> int:
        heads = heads_of(shape)
        row = self._db.execute(
            "SELECT id FROM shapes WHERE profile = ? AND heads = ?", (shape.profile, heads)
        ).fetchone()
        if row is not None:
            return int(row[0])
        number = self._db.execute("INSERT INTO shapes (profile, heads) VALUES (?, ?)", (shape.profile, heads)).lastrowid
        self._db.executemany(
            "INSERT INTO columns VALUES (?, ?, ?, ?, ?, ?)",
            [
                (number, place, c.measurand, c.exponent, int(c.is_float), c.request)
                for place, c in enumerate(shape.columns)
            ],
        )
        return number or 0


def heads_of(shape: Shape) -> str:
    """The columns of a shape as one text, equal for equal shapes."""
    return orjson.dumps([[c.measurand, c.exponent, c.is_float, c.request] for c in shape.columns]).decode()


# --- reading -------------------------------------------------------------------------------------------------------

_OF_METER = """
WITH RECURSIVE slots (t) AS (
  SELECT min(t) FROM polls WHERE t >= :start AND t < :end
  UNION ALL
  SELECT (SELECT min(p.t) FROM polls p WHERE p.t > slots.t AND p.t < :end) FROM slots WHERE slots.t IS NOT NULL)
SELECT p.t, p.shape, p.delays, p.numbers, p.qualities, p.batch, p.place
FROM slots CROSS JOIN polls p ON p.t = slots.t AND p.meter = :meter
"""


def rows_of(db: sqlite3.Connection, meter: str, start_ns: int, end_ns: int) -> list[Row]:
    """The polls of one meter with a slot in the half-open span, by slot."""
    known = db.execute("SELECT id FROM meters WHERE name = ?", (meter,)).fetchone()
    if known is None:
        return []
    found = db.execute(_OF_METER, {"start": start_ns, "end": end_ns, "meter": known[0]})
    return [Row(*row) for row in found]


def origins_of(db: sqlite3.Connection, meter: str, start_ns: int, end_ns: int) -> list[Key]:
    """The batches that brought the polls of `rows_of`."""
    numbers = {row.batch for row in rows_of(db, meter, start_ns, end_ns)}
    return [
        db.execute("SELECT gateway, epoch, seq FROM batches WHERE id = ?", (number,)).fetchone() for number in numbers
    ]


def shapes_in(db: sqlite3.Connection) -> dict[int, Shape]:
    """The shapes of a file by their number in it."""
    return {
        number: Shape(profile, tuple(Column(*head) for head in orjson.loads(heads)))
        for number, profile, heads in db.execute("SELECT id, profile, heads FROM shapes")
    }


def bounds(db: sqlite3.Connection) -> tuple[int, int] | None:
    """First and last slot of a file."""
    first = db.execute("SELECT min(t) FROM polls").fetchone()[0]
    return None if first is None else (first, db.execute("SELECT max(t) FROM polls").fetchone()[0])


def received_in(db: sqlite3.Connection, gateway: str) -> dict[str, Ranges]:
    """What the file holds of a gateway, per epoch; lost ranges are not in it."""
    found: dict[str, list[tuple[int, int]]] = {}
    for epoch, first, last in db.execute(
        "SELECT epoch, first, last FROM received WHERE gateway = ? ORDER BY epoch, first", (gateway,)
    ):
        found.setdefault(epoch, []).append((first, last))
    return {epoch: tuple(pairs) for epoch, pairs in found.items()}


def lost_in(db: sqlite3.Connection, gateway: str) -> list[LostRange]:
    """What the gateway's batches in this file declare lost."""
    rows = db.execute("SELECT DISTINCT epoch, first, last, reason FROM lost WHERE gateway = ?", (gateway,))
    return [LostRange(*row) for row in rows]


def missing_in(db: sqlite3.Connection, meter: str) -> list[MissingSpan]:
    """Silences recorded in this file."""
    rows = db.execute("SELECT meter, start_ns, end_ns, cause FROM missing WHERE meter = ?", (meter,))
    return [MissingSpan(*row) for row in rows]


def newest_polls(db: sqlite3.Connection) -> list[tuple[Rank, Poll]]:
    """Per meter and shape the newest poll of the file."""
    shapes = shapes_in(db)
    found: list[tuple[Rank, Poll]] = []
    for (_, shape), rank, _, (name, clock, source, delays, numbers, qualities) in _newest_rows(db):
        poll = Poll(
            meter=name,
            shape=shapes[shape],
            slot_ns=rank[0],
            delays_ms=tuple(orjson.loads(delays)),
            clock=ClockState(clock),
            numbers=tuple(orjson.loads(numbers)),
            qualities=tuple(orjson.loads(qualities)) if qualities else (),
            source=Source(source or "wire"),
        )
        found.append((rank, poll))
    return found


def _newest_rows(db: sqlite3.Connection) -> Iterator[tuple[tuple[int, int], Rank, int, tuple[Any, ...]]]:
    """``(meter, shape), rank, poll's number, (meter's name, clock, source, delays, numbers, qualities)``."""
    for meter, shape, number, t, at_ns, epoch, seq, place, *rest in db.execute(
        "SELECT n.meter, n.shape, p.id, p.t, b.at_ns, b.epoch, b.seq, p.place,"
        " m.name, p.clock, p.source, p.delays, p.numbers, p.qualities"
        " FROM newest n JOIN polls p ON p.id = n.poll JOIN batches b ON b.id = p.batch JOIN meters m ON m.id = n.meter"
    ):
        yield (meter, shape), (t, max(orjson.loads(rest[3]), default=0), at_ns, epoch, seq, place), number, tuple(rest)


def changed_in(db: sqlite3.Connection, after: int) -> tuple[int, dict[str, Span]]:
    """The newest batch's number, and per meter the stretch of slots in polls of batches above `after`."""
    newest = db.execute("SELECT coalesce(max(id), 0) FROM batches").fetchone()[0]
    if newest == after:
        return newest, {}
    if newest < after:  # the file was put back from a backup: look at all of it again
        after = 0
    rows = db.execute(
        "SELECT m.name, min(p.t), max(p.t) + 1 FROM polls p JOIN meters m ON m.id = p.meter"
        " WHERE p.id >= ? GROUP BY p.meter",
        (first_poll_after(db, after),),
    )
    return newest, {meter: Span(start, end) for meter, start, end in rows}


def first_poll_after(db: sqlite3.Connection, batch: int) -> int:
    """Polls are numbered in the order of their batches, so the place is found by halving, without an index."""
    low, high = 1, 1 + db.execute("SELECT coalesce(max(id), 0) FROM polls").fetchone()[0]
    while low < high:
        middle = (low + high) // 2
        owner = db.execute("SELECT batch FROM polls WHERE id >= ? ORDER BY id LIMIT 1", (middle,)).fetchone()
        if owner is None or owner[0] > batch:
            high = middle
        else:
            low = middle + 1
    return low


def tie_keys(db: sqlite3.Connection, batches: Sequence[int]) -> dict[int, tuple[int, str, int]]:
    """Per batch number what decides between two values of one slot: when it was formed, its epoch, its seq."""
    wanted = sorted(set(batches))
    found: dict[int, tuple[int, str, int]] = {}
    for k in range(0, len(wanted), 500):
        part = wanted[k : k + 500]
        marks = ",".join("?" * len(part))
        for row in db.execute(f"SELECT id, at_ns, epoch, seq FROM batches WHERE id IN ({marks})", part):
            found[row[0]] = (row[1], row[2], row[3])
    return found
