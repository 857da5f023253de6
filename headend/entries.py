"""What the findings book holds: an entry, its condition, its state in the sense of ISA-18.2, and its history."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from analytics.findings import KINDS, Evidence, Kind, Severity
from headend.causes import Scope
from headend.tables import Tables


class Condition(StrEnum):
    """What the data say of the thing itself, whatever people have done about it."""

    PENDING = "pending"
    """Seen, but not yet for as long as its on-delay asks."""
    ACTIVE = "active"
    UNKNOWN = "unknown"
    """It lasted when the meter was last heard; nobody can say whether it still does."""
    OVER = "over"


class State(StrEnum):
    """What a person sees (ISA-18.2): the condition together with what was done about it."""

    PENDING = "pending"
    OPEN = "open"
    """Lasts, nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    """Lasts, and someone knows."""
    RETURNED = "returned"
    """Over, and nobody has acknowledged it."""
    CLOSED = "closed"
    SHELVED = "shelved"
    """Out of sight until a date, by a person, for a reason."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding in the book, from its first sight to its end.

    Attributes
    ----------
    id : int
        Number in the book; never used again.
    kind : str
        A key of `analytics.findings.KINDS`.
    scope, subject, meters
        What it is about: one meter, or a line, a gateway, the plant with everyone behind.
    condition : Condition
    start_ns, end_ns : int, int or None
        The affected span, half-open; `end_ns` None while it lasts. [ns]
    since_ns : int
        Beginning of its newest stretch; later than `start_ns` for a thing that came back. [ns]
    last_seen_ns : int
        Up to when it has been seen to last. [ns]
    opened_ns : int
        Plant time at which it entered the book. [ns]
    times : int
        How often it came back before it counted as over: 1 for a thing that came once.
    energy_kwh : float or None
        Energy in doubt, or used without need. [kWh]
    cause : int or None
        The entry of the wider fault that explains this one.
    stale : bool
        It was history already when it was first seen (data replayed from a buffer): kept, shown, not mailed.
    acknowledged_by, acknowledged_why, acknowledged_ns
        Empty and None until a person did.
    shelved_until_ns : int or None
    """

    id: int
    kind: str
    scope: Scope
    subject: str
    meters: tuple[str, ...]
    condition: Condition
    start_ns: int
    end_ns: int | None
    since_ns: int
    last_seen_ns: int
    opened_ns: int
    severity: Severity
    confidence: float
    evidence: Evidence
    energy_kwh: float | None = None
    times: int = 1
    cause: int | None = None
    stale: bool = False
    acknowledged_by: str = ""
    acknowledged_why: str = ""
    acknowledged_ns: int | None = None
    shelved_until_ns: int | None = None

    @property
    def lasts(self) -> bool:
        """Whether it is not known to be over."""
        return self.condition is not Condition.OVER

    @property
    def until_ns(self) -> int | None:
        """When it ended; None while it is not known to be over, whatever end a detector gave it meanwhile. [ns]"""
        return None if self.lasts else self.end_ns

    @property
    def about(self) -> Kind:
        """The row of its kind: words and what to check first."""
        return KINDS[self.kind]

    def state(self, now_ns: int) -> State:
        """What a person sees at a moment of plant time."""
        if self.condition is Condition.PENDING:
            return State.PENDING
        if self.shelved_until_ns is not None and now_ns < self.shelved_until_ns:
            return State.SHELVED
        known = self.acknowledged_ns is not None
        if self.lasts:
            return State.ACKNOWLEDGED if known else State.OPEN
        return State.CLOSED if known or self.severity is Severity.INFO else State.RETURNED


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an entry's history; the notices are made of these.

    Attributes
    ----------
    what : str
        ``opened reopened worsened unknown known returned absorbed acknowledged shelved unshelved``.
    """

    id: int
    entry: int
    at_ns: int
    what: str
    who: str = ""
    why: str = ""


SCHEMA = """
CREATE TABLE book (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL, scope TEXT NOT NULL, subject TEXT NOT NULL, meters TEXT NOT NULL,
    condition TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER, since_ns INTEGER NOT NULL,
    last_seen_ns INTEGER NOT NULL, opened_ns INTEGER NOT NULL, severity TEXT NOT NULL, confidence REAL NOT NULL,
    evidence TEXT NOT NULL, energy_kwh REAL, times INTEGER NOT NULL, cause INTEGER REFERENCES book(id),
    stale INTEGER NOT NULL,
    acknowledged_by TEXT NOT NULL, acknowledged_why TEXT NOT NULL, acknowledged_ns INTEGER, shelved_until_ns INTEGER
);
CREATE INDEX book_subject ON book(kind, scope, subject, start_ns);
CREATE INDEX book_condition ON book(condition);
CREATE TABLE book_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    entry INTEGER NOT NULL REFERENCES book(id), at_ns INTEGER NOT NULL, what TEXT NOT NULL,
    who TEXT NOT NULL, why TEXT NOT NULL
);
CREATE INDEX book_events_entry ON book_events(entry, id);
"""

_COLUMNS = (
    "kind", "scope", "subject", "meters", "condition", "start_ns", "end_ns", "since_ns", "last_seen_ns", "opened_ns",
    "severity", "confidence", "evidence", "energy_kwh", "times", "cause", "stale", "acknowledged_by",
    "acknowledged_why", "acknowledged_ns", "shelved_until_ns",
)  # fmt: skip
SELECT = f"SELECT id, {', '.join(_COLUMNS)} FROM book"
STATE = """CASE
    WHEN condition = 'pending' THEN 'pending'
    WHEN shelved_until_ns IS NOT NULL AND shelved_until_ns > :now THEN 'shelved'
    WHEN condition != 'over' THEN CASE WHEN acknowledged_ns IS NULL THEN 'open' ELSE 'acknowledged' END
    WHEN acknowledged_ns IS NOT NULL OR severity = 'info' THEN 'closed'
    ELSE 'returned' END"""
"""`Entry.state` as SQL (a test compares them)."""
_INSERT = f"INSERT INTO book ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_UPDATE = f"UPDATE book SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE id = ?"


def entry_of(row: sqlite3.Row) -> Entry:
    """A row of the book as an entry."""
    values = dict(row)
    evidence = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(values["evidence"]).items()}
    return Entry(
        **{
            **values,
            "scope": Scope(values["scope"]),
            "meters": tuple(json.loads(values["meters"])),
            "condition": Condition(values["condition"]),
            "severity": Severity(values["severity"]),
            "evidence": evidence,
            "stale": bool(values["stale"]),
        }
    )


def keep(connection: sqlite3.Connection, entry: Entry) -> int:
    """Write an entry: a new one if its id is 0. Gives its id."""
    row = (
        entry.kind, entry.scope, entry.subject, json.dumps(entry.meters), entry.condition, entry.start_ns, entry.end_ns,
        entry.since_ns, entry.last_seen_ns, entry.opened_ns, entry.severity, entry.confidence,
        json.dumps(dict(entry.evidence), ensure_ascii=False), entry.energy_kwh, entry.times, entry.cause,
        int(entry.stale), entry.acknowledged_by, entry.acknowledged_why, entry.acknowledged_ns, entry.shelved_until_ns,
    )  # fmt: skip
    if entry.id:
        connection.execute(_UPDATE, (*row, entry.id))
        return entry.id
    return int(connection.execute(_INSERT, row).lastrowid or 0)


def note(tables: Tables, entry: int, at_ns: int, what: str, *, who: str = "", why: str = "") -> Event:
    """Write a line of an entry's history, inside the caller's transaction."""
    with tables.transaction() as db:
        number = db.execute(
            "INSERT INTO book_events (entry, at_ns, what, who, why) VALUES (?, ?, ?, ?, ?)",
            (entry, at_ns, what, who, why),
        ).lastrowid
    return Event(int(number or 0), entry, at_ns, what, who, why)
