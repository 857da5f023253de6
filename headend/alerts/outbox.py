"""The outbox: every mail is on the disk before the first attempt, and stays until a server has answered for it.

```
 waiting ──► sending ──250──► sent
    ▲           ├──4yz, no server──► waiting (back-off: 15 s doubling to 15 min, for five days)
    │           ├──5yz──► refused (told to someone else, shown on the page)
    └─ crash ───┘  whether the server took it is not known: once more with the same Message-ID, then `unsure`
```
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from headend.alerts.mail import MailLater, MailRefused
from headend.catalogue import migrate
from headend.tables import Tables
from meterline.clock import NS

FIRST_RETRY_NS = 15 * NS
LONGEST_RETRY_NS = 900 * NS
GIVE_UP_NS = 5 * 86_400 * NS
"""RFC 5321, 4.5.4.1: at least four to five days."""

SCHEMA = """
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE, message_id TEXT NOT NULL, recipient TEXT NOT NULL, subject TEXT NOT NULL,
    entries TEXT NOT NULL, message BLOB NOT NULL, queued_ns INTEGER NOT NULL, plant_ns INTEGER NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL, unknown INTEGER NOT NULL, next_try_ns INTEGER NOT NULL,
    answer TEXT NOT NULL, done_ns INTEGER, told INTEGER NOT NULL
);
CREATE INDEX outbox_state ON outbox(state, id);
"""

MailState = Literal["waiting", "sending", "sent", "refused", "unsure"]


class Sender(Protocol):
    """Who hands mails to a server (`headend.alerts.mail.Mailer`)."""

    def send(self, message: bytes, recipient: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Queued:
    """One mail to one recipient.

    Attributes
    ----------
    key
        What it is about, made of notices: the same notices make no second mail.
    entries
        Numbers of the findings it speaks of.
    queued_ns, plant_ns, next_try_ns, done_ns
        Real time, but for `plant_ns`. [ns]
    unknown
        How often nobody knows whether the server took it (a crash between sending and writing that down).
    """

    id: int
    key: str
    message_id: str
    recipient: str
    subject: str
    entries: tuple[int, ...]
    queued_ns: int
    plant_ns: int
    state: MailState
    attempts: int
    unknown: int
    next_try_ns: int
    answer: str
    done_ns: int | None
    told: bool


_COLUMNS = (
    "id, key, message_id, recipient, subject, entries, queued_ns, plant_ns, state, attempts, unknown, next_try_ns,"
    " answer, done_ns, told"
)


class Outbox:
    """Mails on their way, in the catalogue.

    Parameters
    ----------
    path
        The catalogue's file.
    """

    def __init__(self, path: Path) -> None:
        self.tables = Tables(path)
        migrate(self.tables, "outbox", (SCHEMA,))

    def close(self) -> None:
        """Let go of the file."""
        self.tables.close()

    def put(
        self,
        *,
        key: str,
        message_id: str,
        recipient: str,
        subject: str,
        message: bytes,
        entries: Sequence[int],
        wall_ns: int,
        plant_ns: int,
    ) -> int:
        """Keep a mail; one with this key that is there already stays as it is. Gives its number."""
        with self.tables.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO outbox (key, message_id, recipient, subject, entries, message, queued_ns,"
                " plant_ns, state, attempts, unknown, next_try_ns, answer, told)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting', 0, 0, ?, '', 0)",
                (key, message_id, recipient, subject, json.dumps(list(entries)), message, wall_ns, plant_ns, wall_ns),
            )
            return int(db.execute("SELECT id FROM outbox WHERE key = ?", (key,)).fetchone()[0])

    def recover(self) -> int:
        """After a start: settle the mails a crash left half sent; gives how many go out once more."""
        with self.tables.transaction() as db:
            db.execute("UPDATE outbox SET unknown = unknown + 1 WHERE state = 'sending'")
            db.execute("UPDATE outbox SET state = 'unsure' WHERE state = 'sending' AND unknown > 1")
            return db.execute("UPDATE outbox SET state = 'waiting' WHERE state = 'sending'").rowcount

    def deliver(self, sender: Sender, wall_ns: int) -> int:
        """Send what is due, each recipient's mails in order; gives how many were taken."""
        taken = 0
        blocked: set[str] = set()
        for mail in self.mails("waiting"):
            if mail.recipient in blocked:
                continue
            if mail.next_try_ns > wall_ns:
                blocked.add(mail.recipient)
                continue
            self._set(mail.id, state="sending", attempts=mail.attempts + 1)
            try:
                answer = sender.send(self.message(mail.id), mail.recipient)
            except MailRefused as error:
                self._set(mail.id, state="refused", answer=str(error), done_ns=wall_ns)
            except MailLater as error:
                self._later(mail, str(error), wall_ns)
                blocked.add(mail.recipient)
                if error.everyone:
                    break
            else:
                self._set(mail.id, state="sent", answer=answer, done_ns=wall_ns)
                taken += 1
        return taken

    def _later(self, mail: Queued, reason: str, wall_ns: int) -> None:
        if wall_ns - mail.queued_ns > GIVE_UP_NS:
            self._set(mail.id, state="refused", answer=f"given up after five days: {reason}", done_ns=wall_ns)
            return
        wait_ns = min(FIRST_RETRY_NS * 2 ** min(mail.attempts, 10), LONGEST_RETRY_NS)
        self._set(mail.id, state="waiting", answer=reason, next_try_ns=wall_ns + wait_ns)

    def _set(self, number: int, **values: object) -> None:
        with self.tables.transaction() as db:
            db.execute(
                f"UPDATE outbox SET {', '.join(f'{name} = ?' for name in values)} WHERE id = ?",
                (*values.values(), number),
            )

    def mails(self, *states: MailState, most: int = 1000) -> list[Queued]:
        """Mails in these states (all if none is named), the oldest first."""
        marks = ", ".join("?" * len(states))
        where = f"WHERE state IN ({marks})" if states else ""
        return [
            _queued(row)
            for row in self.tables.rows(f"SELECT {_COLUMNS} FROM outbox {where} ORDER BY id LIMIT ?", *states, most)
        ]

    def message(self, number: int) -> bytes:
        """The bytes of a mail."""
        row = self.tables.row("SELECT message FROM outbox WHERE id = ?", number)
        if row is None:
            raise KeyError(number)
        return bytes(row[0])

    def stuck(self, recipient: str) -> bool:
        """Whether a mail to this recipient has been tried in vain and still waits."""
        return bool(
            self.tables.row(
                "SELECT 1 FROM outbox WHERE recipient = ? AND state = 'waiting' AND attempts > 0", recipient
            )
        )

    def untold(self) -> list[Queued]:
        """Refused mails that nobody has been told of."""
        return [
            _queued(row)
            for row in self.tables.rows(
                f"SELECT {_COLUMNS} FROM outbox WHERE state IN ('refused', 'unsure') AND told = 0 ORDER BY id"
            )
        ]

    def mark_told(self, number: int) -> None:
        """Someone else has been told, or nobody is left to tell."""
        self._set(number, told=1)

    def counts(self) -> dict[str, int]:
        """State -> how many mails."""
        return {str(s): int(n) for s, n in self.tables.rows("SELECT state, count(*) FROM outbox GROUP BY state")}

    def next_try_ns(self) -> int | None:
        """Real time of the next attempt; None if nothing waits. [ns]"""
        row = self.tables.row("SELECT min(next_try_ns) FROM outbox WHERE state = 'waiting'")
        return None if row is None or row[0] is None else int(row[0])


def _queued(row: sqlite3.Row) -> Queued:
    values = dict(row)
    return Queued(**{**values, "entries": tuple(json.loads(values["entries"])), "told": bool(values["told"])})
