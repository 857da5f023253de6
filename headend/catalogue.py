"""The catalogue: everything that is derived from the raw readings, revisioned, in one SQLite file beside the store.

Interval energies are the heart of it. The row that counts is in `intervals`; what it replaced stays in
`intervals_before`, with when and why. An interval is *open* while its end has not been passed by a reading: until then
it grows in place; from then on every change of its value is a new revision.

Other modules keep tables of their own in the same file (findings, outbox): they open it by `Catalogue.path` and create
them with `migrate`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from headend.intervals import EventRow, Interval, Resolution
from headend.stores.api import Span
from headend.tables import Tables
from meterline.errors import StoreUnavailable
from meterline.wire import Health, decode_health, encode_health

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE intervals (
      meter TEXT NOT NULL, measurand TEXT NOT NULL, resolution TEXT NOT NULL,
      start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
      micro INTEGER NOT NULL,          -- millionths of the canonical unit, primary side
      u_micro REAL,                    -- standard uncertainty of its place in time
      coverage REAL NOT NULL, quality INTEGER NOT NULL,
      open INTEGER NOT NULL,           -- 1: no reading has passed its end yet
      revision INTEGER NOT NULL, computed_ns INTEGER NOT NULL, reason TEXT NOT NULL,
      change INTEGER NOT NULL,         -- order of writing, for whoever follows the intervals
      PRIMARY KEY (meter, measurand, resolution, start_ns)) WITHOUT ROWID;
    CREATE INDEX intervals_by_change ON intervals (change);
    CREATE TABLE intervals_before (
      meter TEXT NOT NULL, measurand TEXT NOT NULL, resolution TEXT NOT NULL,
      start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
      micro INTEGER NOT NULL, u_micro REAL, coverage REAL NOT NULL, quality INTEGER NOT NULL,
      open INTEGER NOT NULL, revision INTEGER NOT NULL, computed_ns INTEGER NOT NULL, reason TEXT NOT NULL,
      replaced_ns INTEGER NOT NULL, replaced_because TEXT NOT NULL,
      PRIMARY KEY (meter, measurand, resolution, start_ns, revision)) WITHOUT ROWID;
    CREATE TABLE counter_events (
      meter TEXT NOT NULL, measurand TEXT NOT NULL, kind TEXT NOT NULL,
      t_before_ns INTEGER NOT NULL, t_after_ns INTEGER NOT NULL,
      before_micro INTEGER NOT NULL, after_micro INTEGER NOT NULL, correction_micro INTEGER NOT NULL,
      set_aside INTEGER NOT NULL,
      PRIMARY KEY (meter, measurand, t_before_ns, t_after_ns, kind)) WITHOUT ROWID;
    CREATE TABLE gateways (gateway TEXT PRIMARY KEY, received_ns INTEGER NOT NULL, message BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE quarantine (
      id INTEGER PRIMARY KEY, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, times INTEGER NOT NULL,
      topic TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, size INTEGER NOT NULL,
      digest BLOB NOT NULL UNIQUE, message BLOB);
    CREATE TABLE chain (
      gateway TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL, expected TEXT NOT NULL, found TEXT NOT NULL,
      seen_ns INTEGER NOT NULL, PRIMARY KEY (gateway, epoch, seq)) WITHOUT ROWID;
    CREATE TABLE marks (
      job TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (job, name)) WITHOUT ROWID;
    """,
)

_CHANGE = "intervals.change"
_KEPT_MESSAGES = 1000
"""Quarantined messages whose bytes are kept; of older ones only reason and size stay."""
_KEPT_REFUSALS = 10_000
"""And of so many anything at all: whoever floods us with rubbish does not fill the disk."""


_COLUMNS = "meter, measurand, resolution, start_ns, end_ns, micro, u_micro, coverage, quality, open, revision, computed_ns, reason"  # noqa: E501


class Catalogue:
    """Open the catalogue, creating or updating its tables.

    Parameters
    ----------
    folder
        The head-end's data folder.
    write
        False: for a process that only reads; the file must exist.

    Raises
    ------
    StoreUnavailable
        Damaged, unreadable, or of a newer version of this software.
    """

    def __init__(self, folder: Path, *, write: bool = True) -> None:
        self.path = catalogue_path(folder)
        try:
            if write:
                folder.mkdir(parents=True, exist_ok=True)
            elif not self.path.exists():
                raise StoreUnavailable(f"{self.path} is not there: the head-end has not run yet")
            self._tables = Tables(self.path, write=write)
            if write:
                migrate(self._tables, "catalogue", MIGRATIONS)
            else:
                self._check_version()
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._tables.close()

    def _check_version(self) -> None:
        """A reader changes nothing, so the tables must be those this software knows."""
        tables = self._tables.row("SELECT count(*) FROM sqlite_master WHERE name = 'schema_versions'")
        found = (
            self._tables.row("SELECT version FROM schema_versions WHERE name = 'catalogue'")
            if tables and tables[0]
            else None
        )
        if found is None or found[0] != len(MIGRATIONS):
            version = "none" if found is None else found[0]
            self._tables.close()
            raise StoreUnavailable(
                f"{self.path} is at version {version}, this software reads {len(MIGRATIONS)}: start the head-end first"
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything written in the block, or nothing of it; a block inside a block belongs to the outer one.

        Raises
        ------
        StoreUnavailable
            It cannot be written now; nothing was.
        """
        try:
            with self._tables.transaction() as db:
                yield db
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error

    # -- interval energies -------------------------------------------------------------------------------------------
    def intervals(self, meter: str, measurand: str, resolution: Resolution, span: Span) -> list[Interval]:
        """The intervals that count and start inside the span, in order; one that is not there is not known."""
        return [
            _interval(row)
            for row in self._rows(
                f"SELECT {_COLUMNS} FROM intervals WHERE meter = ? AND measurand = ? AND resolution = ?"
                " AND start_ns >= ? AND start_ns < ? ORDER BY start_ns",
                meter, measurand, resolution, span.start_ns, span.end_ns,
            )
        ]  # fmt: skip

    def accounted(self) -> Span | None:
        """From the first quarter-hour to the end of the newest that is over; None while there is none."""
        (row,) = self._rows(
            "SELECT MIN(start_ns) AS first, MAX(end_ns) AS newest FROM intervals "
            "WHERE resolution = '15min' AND open = 0"
        )
        return None if row["first"] is None else Span(int(row["first"]), int(row["newest"]))

    def earlier(self, meter: str, measurand: str, resolution: Resolution, start_ns: int) -> list[Interval]:
        """The replaced revisions of one interval, oldest first."""
        return [
            _interval(row)
            for row in self._rows(
                f"SELECT {_COLUMNS} FROM intervals_before WHERE meter = ? AND measurand = ? AND resolution = ?"
                " AND start_ns = ? ORDER BY revision",
                meter, measurand, resolution, start_ns,
            )
        ]  # fmt: skip

    def put_intervals(self, fresh: Sequence[Interval], within: Span, now_ns: int, reason: str) -> int:
        """Replace what is known inside a span by what was computed now; nothing is written where nothing differs.

        Parameters
        ----------
        fresh
            All intervals of one meter, measurand and resolution that start inside `within`, by start; at least one.
        reason
            Why: ``readings``, ``late data``, ``ratio`` ...

        Returns
        -------
        int
            How many closed intervals got a new revision.
        """
        revised = 0
        with self.transaction() as db:
            first = fresh[0]
            change = 1 + int(self.mark(_CHANGE, "last") or 0)
            self._set_marks(db, {(_CHANGE, "last"): str(change)})
            stored = self.intervals(first.meter, first.measurand, first.resolution, within)
            known = {old.start_ns: old for old in stored}
            for interval in fresh:
                revised += self._put(db, interval, known.pop(interval.start_ns, None), now_ns, reason, change)
            for gone in known.values():  # the reading that had opened it was judged away
                revised += self._supersede(db, gone, now_ns, reason)
                db.execute(
                    "DELETE FROM intervals WHERE meter = ? AND measurand = ? AND resolution = ? AND start_ns = ?",
                    (gone.meter, gone.measurand, gone.resolution, gone.start_ns),
                )
        return revised

    def _put(
        self, db: sqlite3.Connection, interval: Interval, old: Interval | None, now_ns: int, reason: str, change: int
    ) -> int:
        key = (interval.meter, interval.measurand, interval.resolution, interval.start_ns)
        revised = 0
        if old is None:
            last = db.execute(
                "SELECT coalesce(max(revision), 0) FROM intervals_before"
                " WHERE meter = ? AND measurand = ? AND resolution = ? AND start_ns = ?",
                key,
            ).fetchone()[0]
            revision = last + 1
        elif old.same_value(interval):
            return 0
        else:
            revised = self._supersede(db, old, now_ns, reason)
            revision = old.revision + revised
        db.execute(
            f"INSERT OR REPLACE INTO intervals ({_COLUMNS}, change) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *key, interval.end_ns, interval.micro, interval.u_micro, interval.coverage, interval.quality,
                int(interval.open), revision, now_ns, reason if revision > 1 else "readings", change,
            ),
        )  # fmt: skip
        return revised

    def _supersede(self, db: sqlite3.Connection, old: Interval, now_ns: int, reason: str) -> int:
        if old.open:
            return 0
        db.execute(
            f"INSERT INTO intervals_before ({_COLUMNS}, replaced_ns, replaced_because)"
            f" SELECT {_COLUMNS}, ?, ? FROM intervals"
            " WHERE meter = ? AND measurand = ? AND resolution = ? AND start_ns = ?",
            (now_ns, reason, old.meter, old.measurand, old.resolution, old.start_ns),
        )
        return 1

    def intervals_since(self, change: int, most: int) -> list[tuple[int, Interval]]:
        """Intervals written after a change, in the order of writing, each with its change; whole changes only.

        Parameters
        ----------
        most
            About so many; a change is never cut.
        """
        edge = self._rows(
            "SELECT change FROM intervals WHERE change > ? ORDER BY change LIMIT 1 OFFSET ?", change, most
        )
        last = edge[0][0] if edge else 2**62
        rows = self._rows(
            f"SELECT {_COLUMNS}, change FROM intervals WHERE change > ? AND change <= ? ORDER BY change, start_ns",
            change, last,
        )  # fmt: skip
        return [(row["change"], _interval(row)) for row in rows]

    # -- events ------------------------------------------------------------------------------------------------------
    def put_events(self, meter: str, measurand: str, span: Span, events: Iterable[EventRow]) -> None:
        """Replace the breaks of a counter whose end lies inside the span."""
        with self.transaction() as db:
            db.execute(
                "DELETE FROM counter_events WHERE meter = ? AND measurand = ? AND t_after_ns >= ? AND t_after_ns < ?",
                (meter, measurand, span.start_ns, span.end_ns),
            )
            db.executemany(
                "INSERT OR REPLACE INTO counter_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (meter, measurand, e.kind, e.t_before_ns, e.t_after_ns, e.before_micro, e.after_micro,
                     e.correction_micro, e.set_aside)
                    for e in events
                ],
            )  # fmt: skip

    def events(self, meter: str, measurand: str, span: Span) -> list[EventRow]:
        """Breaks of a counter that touch the span, in order."""
        rows = self._rows(
            "SELECT kind, t_before_ns, t_after_ns, before_micro, after_micro, correction_micro, set_aside"
            " FROM counter_events WHERE meter = ? AND measurand = ? AND t_after_ns >= ? AND t_before_ns < ?"
            " ORDER BY t_before_ns, t_after_ns",
            meter, measurand, span.start_ns, span.end_ns,
        )  # fmt: skip
        return [EventRow(*row) for row in rows]

    # -- gateways ----------------------------------------------------------------------------------------------------
    def put_health(self, health: Health, received_ns: int) -> None:
        """Remember a gateway's last word about itself."""
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO gateways VALUES (?, ?, ?)",
                (health.gateway, received_ns, encode_health(health)),
            )

    def health(self) -> dict[str, tuple[int, Health]]:
        """Gateway -> when we heard it last [ns], and what it said."""
        return {
            gateway: (received_ns, decode_health(bytes(message)))
            for gateway, received_ns, message in self._rows("SELECT gateway, received_ns, message FROM gateways")
        }

    # -- quarantine --------------------------------------------------------------------------------------------------
    def quarantine(self, received_ns: int, topic: str, reason: str, detail: str, message: bytes) -> None:
        """Keep a message that cannot be used, with the reason; the same one again is counted, not kept again."""
        digest = hashlib.sha256(b"\0".join((topic.encode(), reason.encode(), message))).digest()
        with self.transaction() as db:
            db.execute(
                "INSERT INTO quarantine (first_ns, last_ns, times, topic, reason, detail, size, digest, message)"
                " VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (digest) DO UPDATE SET times = times + 1, last_ns = excluded.last_ns",
                (received_ns, received_ns, topic[:200], reason, detail[:500], len(message), digest, message[:262_144]),
            )
            newest = db.execute("SELECT max(id) FROM quarantine").fetchone()[0]
            db.execute("DELETE FROM quarantine WHERE id <= ?", (newest - _KEPT_REFUSALS,))
            db.execute(
                "UPDATE quarantine SET message = NULL WHERE message IS NOT NULL AND id <= ?", (newest - _KEPT_MESSAGES,)
            )

    def quarantined(self) -> dict[str, int]:
        """Reason -> how many different messages."""
        return dict(tuple(row) for row in self._rows("SELECT reason, count(*) FROM quarantine GROUP BY reason"))

    # -- chain -------------------------------------------------------------------------------------------------------
    def put_chain_break(self, gateway: str, epoch: str, seq: int, expected: bytes, found: bytes, now_ns: int) -> bool:
        """Note a broken link; whether it was not known yet."""
        with self.transaction() as db:
            done = db.execute(
                "INSERT OR IGNORE INTO chain VALUES (?, ?, ?, ?, ?, ?)",
                (gateway, epoch, seq, expected.hex(), found.hex(), now_ns),
            )
            return done.rowcount > 0

    def chain_breaks(self) -> list[tuple[str, str, int]]:
        """Every broken link as ``(gateway, epoch, seq)``."""
        return [tuple(row) for row in self._rows("SELECT gateway, epoch, seq FROM chain ORDER BY 1, 2, 3")]

    # -- marks -------------------------------------------------------------------------------------------------------
    def mark(self, job: str, name: str) -> str | None:
        """Where a job stands."""
        rows = self._rows("SELECT value FROM marks WHERE job = ? AND name = ?", job, name)
        return str(rows[0][0]) if rows else None

    def marks(self, job: str) -> dict[str, str]:
        """All marks of a job by name."""
        return {str(name): str(value) for name, value in self._rows("SELECT name, value FROM marks WHERE job = ?", job)}

    def set_mark(self, job: str, name: str, value: str) -> None:
        """Move a job's mark."""
        with self.transaction() as db:
            self._set_marks(db, {(job, name): value})

    def set_marks(self, marks: Mapping[tuple[str, str], str]) -> None:
        """Move several marks, all or none."""
        with self.transaction() as db:
            self._set_marks(db, marks)

    def drop_mark(self, job: str, name: str) -> None:
        """Forget a mark."""
        with self.transaction() as db:
            db.execute("DELETE FROM marks WHERE job = ? AND name = ?", (job, name))

    def _set_marks(self, db: sqlite3.Connection, marks: Mapping[tuple[str, str], str]) -> None:
        db.executemany(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", [(job, name, v) for (job, name), v in marks.items()]
        )

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        try:
            return self._tables.rows(sql, *values)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error


def catalogue_path(folder: Path) -> Path:
    """The catalogue's file in the head-end's data folder."""
    return folder / "catalogue.sqlite"


def migrate(tables: Tables, name: str, steps: Sequence[str]) -> None:
    """Bring a module's tables up to date: each step is a script, run once, in one transaction with its number.

    Raises
    ------
    StoreUnavailable
        The file has seen more steps than this software knows: it is older than the data.
    """
    known = tables.row("SELECT count(*) FROM sqlite_master WHERE name = 'schema_versions'")
    if known is not None and known[0]:
        row = tables.row("SELECT version FROM schema_versions WHERE name = ?", name)
        if row is not None and row[0] == len(steps):
            return  # nothing to write: a program that only looks in does not disturb the one that writes
    with tables.transaction() as db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS schema_versions (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID"
        )
        row = db.execute("SELECT version FROM schema_versions WHERE name = ?", (name,)).fetchone()
        version = 0 if row is None else int(row[0])
        if version > len(steps):
            raise StoreUnavailable(
                f"{name} is at version {version}, this software knows {len(steps)}: update the software"
            )
        for script in steps[version:]:
            for statement in _statements(script):
                db.execute(statement)
        db.execute("INSERT OR REPLACE INTO schema_versions VALUES (?, ?)", (name, len(steps)))


def _statements(script: str) -> Iterable[str]:
    """Split a script; `executescript` would end the transaction around it."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip(" \n;"):
        yield statement


def _interval(row: sqlite3.Row) -> Interval:
    return Interval(
        row["meter"], row["measurand"], row["resolution"], row["start_ns"], row["end_ns"], row["micro"], row["u_micro"],
        row["coverage"], row["quality"], bool(row["open"]), row["revision"], row["computed_ns"], row["reason"],
    )  # fmt: skip


def dump_cursor(cursor: Mapping[str, int]) -> str:
    """A store's cursor as a mark."""
    return orjson.dumps(dict(cursor), option=orjson.OPT_SORT_KEYS).decode()


def load_cursor(text: str | None) -> dict[str, int]:
    """Read what `dump_cursor` wrote; nothing yet is an empty cursor."""
    return {} if text is None else {str(part): int(at) for part, at in orjson.loads(text).items()}
