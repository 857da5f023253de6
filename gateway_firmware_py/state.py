"""What must be remembered beside the journal: acknowledgements, losses declared, silences not yet over, counters.

A small SQLite file, written rarely (a flash card wears out by writes): losing the last minute of it costs batches sent
twice, which the head-end drops by their key. Losing all of it costs the same for everything still in the journal.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from meterline.ranges import RangeSet
from meterline.readings import MissingSpan
from meterline.wire import LostRange

_SETTINGS = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA wal_autocheckpoint=64;
PRAGMA journal_size_limit=1048576;
PRAGMA temp_store=MEMORY;
PRAGMA cache_size=-500;
PRAGMA mmap_size=0;
PRAGMA max_page_count=16384;
PRAGMA trusted_schema=OFF;
PRAGMA cell_size_check=ON;
PRAGMA busy_timeout=5000;
"""
_TABLES = """
CREATE TABLE IF NOT EXISTS acked(epoch TEXT, first INTEGER, last INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS used(epoch TEXT PRIMARY KEY, next_seq INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS lost(
    epoch TEXT, first INTEGER, last INTEGER, reason TEXT, declared_epoch TEXT, declared_seq INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS silent(meter TEXT PRIMARY KEY, start_ns INTEGER, cause TEXT) STRICT;
CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, value INTEGER) STRICT;
"""


class State:
    """Cursors in memory, saved now and then. Safe for any thread.

    Attributes
    ----------
    moved_aside
        Where a damaged file went, or None.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._acked: dict[str, RangeSet] = {}
        self._used: dict[str, int] = {}
        self._lost: dict[LostRange, tuple[str, int] | None] = {}
        self._silent: dict[str, MissingSpan] = {}
        self._counters: dict[str, int] = {}
        self._unsaved_acks = 0
        self._changed = False
        self._pressing = False
        self.moved_aside: Path | None = None
        self._database = _connect(path, self)
        self._load()

    # --- acknowledgements ------------------------------------------------------------------------------------------

    def acknowledge(self, epoch: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Note what the head-end holds; returns how many numbers were news."""
        with self._lock:
            mine = self._acked.setdefault(epoch, RangeSet())
            before = len(mine)
            for first, last in ranges:
                mine.add(first, last)
            news = len(mine) - before
            self._unsaved_acks += news
            self._changed = self._changed or news > 0
            return news

    def retract(self, epoch: str, ranges: Iterable[tuple[int, int]]) -> None:
        """The head-end asks for these again (its store was restored): they count as unacknowledged."""
        with self._lock:
            mine = self._acked.setdefault(epoch, RangeSet())
            for first, last in ranges:
                mine.remove(first, last)
            self._changed = self._pressing = True

    def acked(self, epoch: str) -> RangeSet:
        """What the head-end has acknowledged of an epoch."""
        with self._lock:
            return self._acked.get(epoch, RangeSet()).copy()

    def note_used(self, epoch: str, next_seq: int) -> None:
        """Numbers below `next_seq` have been given away."""
        with self._lock:
            if self._used.get(epoch) != next_seq:
                self._used[epoch] = next_seq
                self._changed = True

    def used(self, epoch: str) -> int:
        """The first number of an epoch that, as far as is remembered, was never given away."""
        with self._lock:
            acked = self._acked.get(epoch)
            return max(self._used.get(epoch, 1), acked.last + 1 if acked else 1)

    def knows(self, epoch: str) -> bool:
        """Whether anything is remembered of an epoch."""
        with self._lock:
            return epoch in self._used or epoch in self._acked or any(lost.epoch == epoch for lost in self._lost)

    @property
    def epochs(self) -> tuple[str, ...]:
        """Every epoch anything is remembered of, in the order they were first used."""
        with self._lock:
            return tuple(self._used)

    # --- losses ----------------------------------------------------------------------------------------------------

    def lose(self, lost: LostRange) -> None:
        """Remember a loss until a batch has declared it; what lost batches had declared is to be declared again."""
        with self._lock:
            self._lost.setdefault(lost, None)
            for other, where in self._lost.items():
                if where and where[0] == lost.epoch and lost.first <= where[1] <= lost.last:
                    self._lost[other] = None
            self._changed = self._pressing = True

    def undeclared(self) -> tuple[LostRange, ...]:
        """Losses that no batch has named yet."""
        with self._lock:
            return tuple(lost for lost, where in self._lost.items() if where is None)

    def declare(self, losses: Iterable[LostRange], epoch: str, seq: int) -> None:
        """The batch `seq` of `epoch` names them."""
        with self._lock:
            for lost in losses:
                self._lost[lost] = (epoch, seq)
            self._changed = self._pressing = True

    def accounted(self, epoch: str) -> RangeSet:
        """Numbers that need no more care: acknowledged, or lost and remembered as such."""
        with self._lock:
            numbers = self._acked.get(epoch, RangeSet()).copy()
            for lost in self._lost:
                if lost.epoch == epoch:
                    numbers.add(lost.first, lost.last)
            return numbers

    def lost(self, epoch: str) -> RangeSet:
        """Numbers that were declared lost, whatever is acknowledged."""
        with self._lock:
            return RangeSet((lost.first, lost.last) for lost in self._lost if lost.epoch == epoch)

    # --- silences and counters -------------------------------------------------------------------------------------

    def silences(self) -> dict[str, MissingSpan]:
        """Meters whose silence had begun and not ended."""
        with self._lock:
            return dict(self._silent)

    def note_silence(self, span: MissingSpan) -> None:
        """A silence began (`end_ns` None) or ended."""
        with self._lock:
            if span.end_ns is None:
                self._silent[span.meter] = span
            else:
                self._silent.pop(span.meter, None)
            self._changed = self._pressing = True

    def count(self, name: str, by: int = 1) -> None:
        """Count something that outlives a restart."""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + by

    def counters(self) -> dict[str, int]:
        """All counters."""
        with self._lock:
            return dict(self._counters)

    # --- the file --------------------------------------------------------------------------------------------------

    @property
    def unsaved_acks(self) -> int:
        """Acknowledged numbers that a power cut would forget."""
        return self._unsaved_acks

    @property
    def pressing(self) -> bool:
        """Whether anything unsaved cannot be learned again from the head-end: a loss, a silence."""
        return self._pressing

    def save(self) -> None:
        """Write everything that changed, durably.

        Raises
        ------
        sqlite3.Error
            The disk does not take it; the memory stays right and the next call tries again.
        """
        with self._writing:
            with self._lock:
                if not self._changed:
                    return
                rows = self._rows()
                changed, self._changed = (self._changed, self._pressing, self._unsaved_acks), False
                self._pressing, self._unsaved_acks = False, 0
            try:  # without the lock: a disk that takes seconds must not hold up the buses
                with self._database:
                    for table, wanted in rows.items():
                        self._database.execute(f"DELETE FROM {table}")
                        if wanted:
                            marks = ",".join("?" * len(wanted[0]))
                            self._database.executemany(f"INSERT INTO {table} VALUES({marks})", wanted)
            except sqlite3.Error:
                with self._lock:
                    self._changed = True
                    self._pressing = self._pressing or changed[1]
                    self._unsaved_acks += changed[2]
                raise

    def _rows(self) -> dict[str, list[tuple[object, ...]]]:
        """Every table as it is to be on the disk."""
        return {
            "acked": [(epoch, first, last) for epoch, ranges in self._acked.items() for first, last in ranges],
            "used": list(self._used.items()),
            "lost": [
                (lost.epoch, lost.first, lost.last, lost.reason, *(where or (None, None)))
                for lost, where in self._lost.items()
            ],
            "silent": [(span.meter, span.start_ns, span.cause) for span in self._silent.values()],
            "counters": list(self._counters.items()),
        }

    def close(self) -> None:
        """Let go of the file; call `save` first."""
        self._database.close()

    def _load(self) -> None:
        for epoch, first, last in self._database.execute("SELECT epoch, first, last FROM acked"):
            self._acked.setdefault(epoch, RangeSet()).add(first, last)
        self._used = dict(self._database.execute("SELECT epoch, next_seq FROM used").fetchall())
        for epoch, first, last, reason, where, seq in self._database.execute("SELECT * FROM lost"):
            self._lost[LostRange(epoch, first, last, reason)] = None if where is None else (where, seq)
        for meter, start_ns, cause in self._database.execute("SELECT meter, start_ns, cause FROM silent"):
            self._silent[meter] = MissingSpan(meter, start_ns, None, cause)
        self._counters = dict(self._database.execute("SELECT name, value FROM counters").fetchall())


def _connect(path: Path | None, state: State) -> sqlite3.Connection:
    if path is None:
        database = sqlite3.connect(":memory:", check_same_thread=False)
        database.executescript(_TABLES)
        return database
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            raise
        # Not a database (any more): the journal has what matters, so start with an empty one and keep this for a look.
        number = 1
        while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
            number += 1
        path.replace(aside)
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        state.moved_aside = aside
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.executescript(_SETTINGS + _TABLES)
        with closing(database.execute("PRAGMA quick_check")) as rows:
            said = rows.fetchone()[0]
        if said != "ok":
            raise sqlite3.DatabaseError(said)
    except sqlite3.Error:
        database.close()
        raise
    return database
