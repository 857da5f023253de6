"""Small tables in the catalogue's SQLite file: opened, locked and committed in one way."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class _Shared:
    """The one writing connection of this process to a file, and how many `Tables` stand on it."""

    db: sqlite3.Connection
    users: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)


_SHARED: dict[Path, _Shared] = {}
_GUARD = threading.Lock()


class Tables:
    """A way into the file, shared by the threads of a process: each statement or transaction under its lock.

    All that write in one process share one connection, because SQLite before 3.51.3 can damage a file when two
    connections write and checkpoint at the same moment (its "WAL-reset" bug). One that only reads has its own and is
    not held up by a transaction in progress.

    Commit point: `synchronous = FULL` in WAL mode; when a transaction's block is left, it is on the disk.

    Parameters
    ----------
    path
        The catalogue's file; several `Tables` may be open on it.
    write
        False: only look; the file must exist.
    """

    def __init__(self, path: Path, *, write: bool = True) -> None:
        self._path = path.resolve()
        self._open = True
        if not write:
            db = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro", uri=True, check_same_thread=False, isolation_level=None, timeout=30.0
            )
            db.execute("PRAGMA query_only = ON")
            self._shared = _Shared(_rows(db), users=1)
            return
        with _GUARD:
            if self._path not in _SHARED:
                _SHARED[self._path] = _Shared(_writing(self._path))
            self._shared = _SHARED[self._path]
            self._shared.users += 1

    def close(self) -> None:
        """Let go of the file."""
        with _GUARD, self._shared.lock:
            if not self._open:
                return
            self._open = False
            self._shared.users -= 1
            if self._shared.users == 0:
                if _SHARED.get(self._path) is self._shared:
                    del _SHARED[self._path]
                self._shared.db.close()

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._shared.lock:
            return self._connection().execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        rows = self.rows(sql, *values)
        return rows[0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in the block, or nothing of it; a block inside a block belongs to the outer one."""
        with self._shared.lock:
            db = self._connection()
            if db.in_transaction:
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.rollback()
                raise

    def _connection(self) -> sqlite3.Connection:
        if not self._open:
            raise sqlite3.ProgrammingError("these tables were closed")
        return self._shared.db


def _writing(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30.0)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        db.close()
        raise
    return _rows(db)


def _rows(db: sqlite3.Connection) -> sqlite3.Connection:
    db.row_factory = sqlite3.Row
    return db
