"""What gateways stated of their hours, and how each compares with the store: tables in the catalogue's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from headend.catalogue import migrate
from headend.tables import Tables
from meterline.wire import HourDigest, Ranges

State = Literal["new", "fits", "waiting", "lost", "missing", "differs"]
STATES: tuple[State, ...] = ("fits", "new", "waiting", "lost", "missing", "differs")
AGAIN_NS = 24 * 3600 * 10**9
"""What is settled is looked at again after this. [ns]"""

_MIGRATIONS = (
    """
    CREATE TABLE audit_hours (
      gateway TEXT NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
      hour_ns INTEGER NOT NULL, digest BLOB NOT NULL, readings INTEGER NOT NULL, advance_micro INTEGER NOT NULL,
      learnt_ns INTEGER NOT NULL,
      state TEXT NOT NULL, checked_ns INTEGER NOT NULL,
      missing TEXT NOT NULL, changed TEXT NOT NULL,       -- JSON: ranges, numbers
      here_readings INTEGER, here_advance INTEGER,        -- as stored; NULL where not all of it is here
      PRIMARY KEY (gateway, epoch, first)) WITHOUT ROWID;
    CREATE INDEX audit_hours_by_check ON audit_hours (state, checked_ns);
    """,
)


@dataclass(frozen=True, slots=True)
class Stated:
    """One statement and what came of it.

    Attributes
    ----------
    state
        ``new``, ``fits``; ``waiting``: not all of it has come yet; ``lost``: what is not here was declared lost;
        ``missing``: it was here and acknowledged, and is not any more; ``differs``: it is here and not what was stated.
    missing, changed
        Numbers not here and not declared lost; numbers whose bytes or readings were changed.
    here_readings, here_advance
        As the store has them; None where not all of the run is here.
    """

    gateway: str
    hour: HourDigest
    learnt_ns: int = 0
    state: State = "new"
    checked_ns: int = 0
    missing: Ranges = ()
    changed: tuple[int, ...] = ()
    here_readings: int | None = None
    here_advance: int | None = None


class AuditBook:
    """The statements of all gateways.

    Parameters
    ----------
    path
        The catalogue's file.
    write
        False: only look; an older file without these tables is an empty book.
    """

    def __init__(self, path: Path, *, write: bool = True) -> None:
        self._tables = Tables(path, write=write)
        if write:
            migrate(self._tables, "audit", _MIGRATIONS)
        self._seen = write

    def close(self) -> None:
        """Let go of the file."""
        self._tables.close()

    @property
    def _there(self) -> bool:
        """Whether the tables have been made; the head-end may do so while this one looks."""
        if not self._seen:
            made = self._tables.row("SELECT 1 FROM sqlite_master WHERE name = 'audit_hours'")
            self._seen = made is not None
        return self._seen

    def put(self, gateway: str, hours: Iterable[HourDigest], now_ns: int) -> None:
        """Note statements; the same one again changes nothing, another one of the same run replaces it unchecked."""
        with self._tables.transaction() as db:
            for hour in hours:
                key = (gateway, hour.epoch, hour.first)
                known = db.execute(
                    "SELECT last, digest FROM audit_hours WHERE gateway = ? AND epoch = ? AND first = ?", key
                ).fetchone()
                if known is not None and (known[0], bytes(known[1])) == (hour.last, hour.digest):
                    continue
                db.execute(
                    "INSERT OR REPLACE INTO audit_hours"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'new', 0, '[]', '[]', NULL, NULL)",
                    (*key, hour.last, hour.hour_ns, hour.digest, hour.readings, hour.advance_micro, now_ns),
                )

    def note(self, stated: Stated) -> None:
        """Write down how a statement compares."""
        with self._tables.transaction() as db:
            db.execute(
                "UPDATE audit_hours SET state = ?, checked_ns = ?, missing = ?, changed = ?, here_readings = ?,"
                " here_advance = ? WHERE gateway = ? AND epoch = ? AND first = ?",
                (
                    stated.state, stated.checked_ns, orjson.dumps(stated.missing).decode(),
                    orjson.dumps(stated.changed).decode(), stated.here_readings, stated.here_advance,
                    stated.gateway, stated.hour.epoch, stated.hour.first,
                ),
            )  # fmt: skip

    def look_again(self, day: tuple[int, int]) -> None:
        """The file that holds these hours was exchanged: [start, end) of a UTC day. [ns]"""
        with self._tables.transaction() as db:
            db.execute("UPDATE audit_hours SET checked_ns = 0 WHERE hour_ns >= ? AND hour_ns < ?", day)

    def due(self, now_ns: int, most: int) -> list[Stated]:
        """What to look at next: what is new, on its way, missing, or long not looked at; the oldest look first."""
        return self._read(
            "WHERE state IN ('new', 'waiting', 'missing') OR checked_ns <= ? ORDER BY checked_ns, hour_ns LIMIT ?",
            now_ns - AGAIN_NS, most,
        )  # fmt: skip

    def all(self, start_ns: int = 0, end_ns: int = 1 << 62) -> list[Stated]:
        """Every statement about hours that begin in the span, by gateway and hour."""
        return self._read(
            "WHERE hour_ns >= ? AND hour_ns < ? ORDER BY gateway, hour_ns, epoch, first", start_ns, end_ns
        )

    def doubtful(self) -> list[Stated]:
        """Those that do not fit, but for what is still on its way."""
        return self._read("WHERE state IN ('missing', 'differs', 'lost') ORDER BY gateway, hour_ns, epoch, first")

    def counts(self) -> dict[str, dict[str, int]]:
        """Gateway -> state -> how many hours."""
        if not self._there:
            return {}
        found: dict[str, dict[str, int]] = {}
        for gateway, state, count in self._tables.rows(
            "SELECT gateway, state, count(*) FROM audit_hours GROUP BY gateway, state"
        ):
            found.setdefault(gateway, {})[state] = count
        return found

    def newest(self) -> dict[str, int]:
        """Gateway -> when the newest hour it stated began. [ns]"""
        if not self._there:
            return {}
        rows = self._tables.rows("SELECT gateway, max(hour_ns) FROM audit_hours GROUP BY gateway")
        return {gateway: int(hour_ns) for gateway, hour_ns in rows}

    def _read(self, where: str, *values: object) -> list[Stated]:
        if not self._there:
            return []
        return [_stated(row) for row in self._tables.rows(f"SELECT * FROM audit_hours {where}", *values)]


def _stated(row: sqlite3.Row) -> Stated:
    hour = HourDigest(
        row["epoch"], row["hour_ns"], row["first"], row["last"], bytes(row["digest"]), row["readings"],
        row["advance_micro"],
    )  # fmt: skip
    return Stated(
        row["gateway"], hour, row["learnt_ns"], row["state"], row["checked_ns"],
        tuple((a, b) for a, b in orjson.loads(row["missing"])), tuple(orjson.loads(row["changed"])),
        row["here_readings"], row["here_advance"],
    )  # fmt: skip
