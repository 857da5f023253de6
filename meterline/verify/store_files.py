"""The embedded store's day files, read as the SQLite files they are (layout: headend/stores/hot.py).

Each row of readings is compared with the signed batch it came in, so a value that was changed in the table and not in
the evidence is found, too.
"""

from __future__ import annotations

import json
import mmap
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from meterline.verify.found import Found, Item, name
from meterline.verify.message import Batch, NotOfTheContract, rows_of
from meterline.verify.report import Flaw

_MOST_FLAWS = 5
"""Of one batch's rows; the rest of them is counted."""
_BATCHES = "SELECT id, gateway, epoch, seq, prev, digest, message FROM batches ORDER BY id"
_POLLS = """
SELECT p.batch, m.name, p.t, p.shape, p.delays, p.numbers, p.qualities, p.clock, coalesce(p.source, 'wire')
FROM polls p LEFT JOIN meters m ON m.id = p.meter ORDER BY p.id
"""


def is_store(folder: Path) -> bool:
    """Whether a folder is a head-end's data folder or the ``hot`` folder in it."""
    return bool(_days(folder))


def read_store(folder: Path) -> Iterator[Item]:
    """Every message of every day's file, and what is damaged."""
    for path in _days(folder):
        file = name(path, folder)
        try:
            with closing(_open(path)) as db:
                yield from _whole(db, file)
                yield from _day(db, path, file)
        except sqlite3.Error as error:
            yield Flaw("damaged", file, f"the database cannot be read: {error}")


def acknowledged(folder: Path) -> dict[tuple[str, str], list[tuple[int, int, str]]]:
    """What the store once told gateways it holds: (gateway, epoch) -> ``(first, last, file)``."""
    found: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for path in _days(folder):
        try:
            with closing(_open(path)) as db:
                for gateway, epoch, first, last in db.execute("SELECT gateway, epoch, first, last FROM received"):
                    found.setdefault((gateway, epoch), []).append((first, last, name(path, folder)))
        except sqlite3.Error:
            continue  # read_store has named it
    return found


def last_words(folder: Path) -> dict[tuple[str, str], int]:
    """(gateway, epoch) -> up to which number a gateway itself said all is acknowledged, in its last sign of life."""
    path = folder / "catalogue.sqlite"
    found: dict[tuple[str, str], int] = {}
    if not path.is_file():
        return found
    try:
        with closing(_open(path)) as db:
            for gateway, message in db.execute("SELECT gateway, message FROM gateways"):
                said = json.loads(message)
                found[gateway, str(said["epoch"])] = int(said["acked"])
    except (sqlite3.Error, ValueError, KeyError, TypeError):
        return {}  # unsigned and a convenience only
    return found


def offset_of(path: Path, message: bytes) -> int | None:
    """Where a message's signature stands in a database file; None where a page's edge cuts it."""
    if path.stat().st_size == 0:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(message[4:36])
    return at - 4 if at >= 4 else None


def _days(folder: Path) -> list[Path]:
    for place in (folder / "hot", folder):
        if place.is_dir() and (days := sorted(place.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].sqlite"))):
            return days
    return []


def _open(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    db = sqlite3.connect(address, uri=True)
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:  # a write-ahead file in a folder that cannot be written: a copy, nobody writes it
        db.close()
        db = sqlite3.connect(address + "&immutable=1", uri=True)
    db.execute("PRAGMA trusted_schema = OFF")
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _whole(db: sqlite3.Connection, file: str) -> Iterator[Flaw]:
    for (said,) in db.execute("PRAGMA integrity_check(20)"):
        if said != "ok":
            yield Flaw("damaged", file, f"the database is not whole: {said}"[:200])


def _day(db: sqlite3.Connection, path: Path, file: str) -> Iterator[Item]:
    rows = _Rows(db, file)
    for row, gateway, epoch, seq, prev, digest, message in db.execute(_BATCHES):
        place = f"batches row {row}"
        if not isinstance(message, bytes) or not isinstance(seq, int):
            yield Flaw("damaged", file, "the row holds no batch", str(gateway), str(epoch), place=place)
            continue
        yield Found(
            message, file, None, place, str(gateway), str(epoch), seq, _bytes(prev), _bytes(digest), rows.checker(row)
        )
    yield from rows.rest()


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b"\0"


class _Rows:
    """The rows of readings beside the batches, both in the order they were written."""

    def __init__(self, db: sqlite3.Connection, file: str) -> None:
        self._file = file
        self._columns: dict[int, list[tuple[str, int]]] = {}
        for shape, measurand, exponent in db.execute(
            "SELECT shape, measurand, exponent FROM columns ORDER BY shape, place"
        ):
            self._columns.setdefault(shape, []).append((measurand, exponent))
        self._missing: dict[int, list[tuple[Any, ...]]] = {}
        for batch, *span in db.execute("SELECT batch, meter, start_ns, end_ns, cause FROM missing"):
            self._missing.setdefault(batch, []).append(tuple(span))
        self._lost: dict[int, list[tuple[Any, ...]]] = {}
        for batch, *span in db.execute("SELECT batch, epoch, first, last, reason FROM lost"):
            self._lost.setdefault(batch, []).append(tuple(span))
        self._polls = db.execute(_POLLS)
        self._next = self._polls.fetchone()
        self._strays = 0

    def checker(self, row: int) -> Any:
        """A function for `Found.copies`, over the rows of this batch."""
        mine: list[tuple[Any, ...]] = []
        while self._next is not None and self._next[0] <= row:
            if self._next[0] == row:
                mine.append(self._next[1:])
            else:
                self._strays += 1
            self._next = self._polls.fetchone()
        return lambda batch: self._compare(row, mine, batch)

    def rest(self) -> Iterator[Flaw]:
        """Rows that belong to no batch."""
        while self._next is not None:
            self._strays += 1
            self._next = self._polls.fetchone()
        if self._strays:
            yield Flaw("readings", self._file, f"{self._strays} row(s) of readings belong to no batch", place="polls")

    def _compare(self, row: int, mine: list[tuple[Any, ...]], batch: Batch) -> tuple[int, list[Flaw]]:
        wrong: list[str] = []
        try:
            said = list(rows_of(batch.body))
        except NotOfTheContract as error:
            return 0, [self._flaw(row, batch, str(error))]
        if len(said) != len(mine):
            wrong.append(f"{len(mine)} rows of readings where the batch holds {len(said)}")
        for poll, (meter, t, shape, delays, numbers, qualities, clock, source) in zip(said, mine, strict=False):
            want = (poll.meter, poll.slot_ms * 1_000_000, poll.columns, poll.clock, poll.source)
            if (meter, t, self._columns.get(shape), clock, source) != want:
                wrong.append(
                    f"a row of {poll.meter} at {poll.slot_ms} ms has another meter, time or meaning: {meter} {t}"
                )
            elif (_list(delays), _list(numbers)) != (poll.delays, poll.numbers):
                wrong.append(f"{poll.meter} at {poll.slot_ms} ms: the row says {numbers}, the batch {poll.numbers}")
            elif (_list(qualities) or [0] * len(poll.numbers)) != poll.qualities:
                wrong.append(f"{poll.meter} at {poll.slot_ms} ms: the row's doubt is {qualities}")
        spans = [
            (s["meter"], s["from"] * 1_000_000, None if s["to"] is None else s["to"] * 1_000_000, s["cause"])
            for s in batch.body.get("missing", ())
        ]
        lost = [(r["epoch"], r["first"], r["last"], r["reason"]) for r in batch.body.get("lost", ())]
        if sorted(map(str, self._missing.get(row, ()))) != sorted(map(str, spans)):
            wrong.append("the silences beside it are not those of the batch")
        if sorted(map(str, self._lost.get(row, ()))) != sorted(map(str, lost)):
            wrong.append("the losses beside it are not those of the batch")
        if len(wrong) > _MOST_FLAWS:
            wrong[_MOST_FLAWS:] = [f"and {len(wrong) - _MOST_FLAWS} more"]
        return len(said), [self._flaw(row, batch, words[:200]) for words in wrong]

    def _flaw(self, row: int, batch: Batch, words: str) -> Flaw:
        return Flaw(
            "readings",
            self._file,
            words,
            batch.gateway,
            batch.epoch,
            batch.seq,
            batch.seq,
            None,
            f"rows of batch {row}",
        )


def _list(text: object) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return text
