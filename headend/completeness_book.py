"""Which slots of a meter's day came in, as bits: written once and only ever added to, in whatever order data arrives.

A day of the plant has a bit a second from its midnight on, three times: a value came; it came late; the meter was
asked and gave no value. A regular pattern packs to a few hundred bytes, so a year of a meter is small, and a backlog of
a month changes a day that was thought to be over without reading anything again.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headend.catalogue import dump_cursor, load_cursor, migrate
from headend.stores.api import Cursor
from headend.tables import Tables
from meterline.profiles import Rate

Bits = NDArray[np.bool_]
_MIGRATIONS = (
    """
    CREATE TABLE completeness_slots (
      meter TEXT NOT NULL, day TEXT NOT NULL,             -- a day of the plant
      seconds INTEGER NOT NULL,                           -- its length
      seen BLOB NOT NULL, late BLOB NOT NULL, empty BLOB NOT NULL,
      PRIMARY KEY (meter, day)) WITHOUT ROWID;
    CREATE TABLE completeness_plan (
      gateway TEXT NOT NULL, from_ns INTEGER NOT NULL,
      fast_s REAL NOT NULL, normal_s REAL NOT NULL, slow_s REAL NOT NULL,
      PRIMARY KEY (gateway, from_ns)) WITHOUT ROWID;
    CREATE TABLE completeness_meters (
      meter TEXT PRIMARY KEY,
      noted_ns INTEGER NOT NULL,                          -- when the head-end first had it in its site file
      first_ns INTEGER) WITHOUT ROWID;                    -- its first poll that came
    CREATE TABLE completeness_cursor (place INTEGER PRIMARY KEY, cursor TEXT NOT NULL);
    """,
)


@dataclass(slots=True)
class DayBits:
    """One meter's day, a bit a second.

    Attributes
    ----------
    seen, late, empty : (seconds,) bool
        A value came; it came after its quarter-hour was closed; asked, and no value.
    """

    seen: Bits
    late: Bits
    empty: Bits

    @classmethod
    def none(cls, seconds: int) -> DayBits:
        """Nothing came."""
        return cls(np.zeros(seconds, bool), np.zeros(seconds, bool), np.zeros(seconds, bool))


@dataclass(frozen=True, slots=True)
class Rates:
    """What a gateway's rate classes mean from a moment on. [s]"""

    from_ns: int
    fast_s: float
    normal_s: float
    slow_s: float

    def period_s(self, rate: Rate) -> float:
        """Between two slots of a class. [s]"""
        others = {Rate.HOURLY: 3600.0, Rate.DAILY: 86_400.0}
        return others.get(rate) or {Rate.FAST: self.fast_s, Rate.NORMAL: self.normal_s, Rate.SLOW: self.slow_s}[rate]


class CompletenessBook:
    """The tables, in the catalogue's file.

    Parameters
    ----------
    write
        False: only look; an older file without these tables is an empty book.
    """

    def __init__(self, path: Path, *, write: bool = True) -> None:
        self._tables = Tables(path, write=write)
        if write:
            migrate(self._tables, "completeness", _MIGRATIONS)
        self._seen = write

    def close(self) -> None:
        """Let go of the file."""
        self._tables.close()

    @property
    def _there(self) -> bool:
        """Whether the tables have been made; the head-end may do so while this one looks."""
        if not self._seen:
            made = self._tables.row("SELECT 1 FROM sqlite_master WHERE name = 'completeness_slots'")
            self._seen = made is not None
        return self._seen

    # --- slots -----------------------------------------------------------------------------------------------------

    def cursor(self) -> dict[str, int]:
        """How far the store's polls have been taken in."""
        row = self._tables.row("SELECT cursor FROM completeness_cursor WHERE place = 1") if self._there else None
        return load_cursor(None if row is None else row[0])

    def add(
        self, days: Mapping[tuple[str, dt.date], DayBits], cursor: Cursor, firsts: Mapping[str, int] | None = None
    ) -> None:
        """Add bits to days, and move the cursor, all or nothing.

        Parameters
        ----------
        firsts
            Meter -> the earliest slot among what is added. [ns]
        """
        with self._tables.transaction() as db:
            for name, slot_ns in (firsts or {}).items():
                db.execute(
                    "INSERT INTO completeness_meters VALUES (?, ?, ?) ON CONFLICT (meter) DO UPDATE SET"
                    " first_ns = min(coalesce(first_ns, excluded.first_ns), excluded.first_ns)",
                    (name, slot_ns, slot_ns),
                )
            for (meter, day), bits in days.items():
                known = self._day(meter, day)
                if known is not None and known.seen.size == bits.seen.size:
                    bits = DayBits(known.seen | bits.seen, known.late | bits.late, known.empty | bits.empty)
                db.execute(
                    "INSERT OR REPLACE INTO completeness_slots VALUES (?, ?, ?, ?, ?, ?)",
                    (meter, day.isoformat(), bits.seen.size, _pack(bits.seen), _pack(bits.late), _pack(bits.empty)),
                )
            db.execute("INSERT OR REPLACE INTO completeness_cursor VALUES (1, ?)", (dump_cursor(cursor),))

    def forget(self, days: Iterable[dt.date], cursor: Cursor) -> None:
        """Nothing is known of these days any more, and the store is to be read again from a cursor on."""
        with self._tables.transaction() as db:
            db.executemany("DELETE FROM completeness_slots WHERE day = ?", [(day.isoformat(),) for day in days])
            db.execute("INSERT OR REPLACE INTO completeness_cursor VALUES (1, ?)", (dump_cursor(cursor),))

    def days(self, first: dt.date, last: dt.date) -> dict[tuple[str, dt.date], DayBits]:
        """Meter and day -> its bits, both days included."""
        if not self._there:
            return {}
        rows = self._tables.rows(
            "SELECT * FROM completeness_slots WHERE day >= ? AND day <= ?", first.isoformat(), last.isoformat()
        )
        return {(row["meter"], dt.date.fromisoformat(row["day"])): _bits(row) for row in rows}

    def note_meters(self, meters: Iterable[str], now_ns: int) -> None:
        """These are in the site file; from when a meter was first noted on, it is expected."""
        known = self.meters()
        fresh = [(meter, now_ns) for meter in meters if meter not in known]
        if fresh:
            with self._tables.transaction() as db:
                db.executemany("INSERT INTO completeness_meters VALUES (?, ?, NULL)", fresh)

    def meters(self) -> dict[str, tuple[int, int | None]]:
        """Meter -> when it was first noted, and its first poll that came, UTC. [ns]"""
        if not self._there:
            return {}
        rows = self._tables.rows("SELECT meter, noted_ns, first_ns FROM completeness_meters")
        return {meter: (noted_ns, first_ns) for meter, noted_ns, first_ns in rows}

    def _day(self, meter: str, day: dt.date) -> DayBits | None:
        row = self._tables.row("SELECT * FROM completeness_slots WHERE meter = ? AND day = ?", meter, day.isoformat())
        return None if row is None else _bits(row)

    # --- the plan --------------------------------------------------------------------------------------------------

    def note_rates(self, gateway: str, rates: Rates) -> None:
        """A gateway says at which rates it polls; the first word counts from the beginning."""
        known = self.rates(gateway)
        if known and (known[-1].fast_s, known[-1].normal_s, known[-1].slow_s) == (
            rates.fast_s, rates.normal_s, rates.slow_s,
        ):  # fmt: skip
            return
        with self._tables.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO completeness_plan VALUES (?, ?, ?, ?, ?)",
                (gateway, rates.from_ns if known else 0, rates.fast_s, rates.normal_s, rates.slow_s),
            )

    def rates(self, gateway: str) -> list[Rates]:
        """What a gateway has said of its rates, in order of time."""
        if not self._there:
            return []
        rows = self._tables.rows(
            "SELECT from_ns, fast_s, normal_s, slow_s FROM completeness_plan WHERE gateway = ? ORDER BY from_ns",
            gateway,
        )
        return [Rates(*row) for row in rows]


def _pack(bits: Bits) -> bytes:
    return zlib.compress(np.packbits(bits).tobytes(), 1)


def _unpack(blob: bytes, seconds: int) -> Bits:
    return np.unpackbits(np.frombuffer(zlib.decompress(blob), np.uint8), count=seconds).astype(bool)


def _bits(row: sqlite3.Row) -> DayBits:
    seconds = row["seconds"]
    return DayBits(*(_unpack(bytes(row[name]), seconds) for name in ("seen", "late", "empty")))
