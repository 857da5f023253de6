"""Who is told what, when, and when not again.

Notices are made of the findings book's events, once each: the cursor moves in the transaction that writes them. A
notice is *held* until its mail is in the outbox, in one transaction again; it is *dropped*, with the reason, when there
is nothing to say any more. So a crash anywhere neither loses nor repeats a notice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from analytics.findings import Severity
from headend.alerts.mail import Draft, build
from headend.alerts.outbox import Outbox, Queued
from headend.catalogue import migrate
from headend.entries import Entry, State
from headend.findings import FindingsBook
from meterline.clock import NS, Clock
from meterline.plant import Plant
from meterline.settings import Alerts, Recipient

What = Literal["opened", "reopened", "worsened", "returned", "still"]
OPENINGS = ("opened", "reopened", "worsened", "still")
AGAIN_NS = 3600 * NS
"""A thing that comes and goes is told once in this time. [ns]"""
OLD_NEWS_NS = 24 * 3600 * NS
"""What was over this long ago when a mail could be written is shown on the page only. [ns]"""

SCHEMA = """
CREATE TABLE notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event INTEGER, recipient TEXT NOT NULL, entry INTEGER NOT NULL, subject TEXT NOT NULL, what TEXT NOT NULL,
    at_ns INTEGER NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL, mail INTEGER, mailed_ns INTEGER,
    UNIQUE (event, recipient)
);
CREATE INDEX notices_state ON notices(state, recipient);
CREATE INDEX notices_entry ON notices(entry, recipient);
CREATE INDEX notices_subject ON notices(subject, recipient);
CREATE TABLE notice_cursor (one INTEGER PRIMARY KEY CHECK (one = 1), event INTEGER NOT NULL);
INSERT INTO notice_cursor VALUES (1, 0);
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell one recipient."""

    id: int
    entry: Entry
    what: What
    at_ns: int


class Composer(Protocol):
    """Who finds the words (`headend.alerts.compose.Composer`)."""

    def draft(self, recipient: Recipient, notices: Sequence[Notice], now_ns: int) -> Draft: ...

    def undeliverable(self, recipient: Recipient, mail: Queued) -> Draft: ...


class Notifier:
    """Turns events of the book into mails in the outbox.

    Parameters
    ----------
    path
        The catalogue's file.
    sender
        Address the mails come from; its domain makes the message ids.
    wall
        Real time, for mail headers and retries; plant time comes with each step.
    """

    def __init__(
        self,
        path: Path,
        *,
        book: FindingsBook,
        outbox: Outbox,
        plant: Plant,
        alerts: Alerts,
        composer: Composer,
        sender: str,
        wall: Clock,
    ) -> None:
        # The outbox's connection: notices and mails are written in one transaction.
        self._tables = outbox.tables
        migrate(self._tables, "notices", (SCHEMA,))
        self._book, self._outbox, self._plant, self._alerts = book, outbox, plant, alerts
        self._composer, self._sender, self._wall = composer, sender, wall
        self._domain = sender.rpartition("@")[2]
        self._who = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]

    def step(self, now_ns: int) -> int:
        """Take in new events and queue the mails that are due; gives how many.

        Parameters
        ----------
        now_ns
            Plant time. [ns]
        """
        self._collect(now_ns)
        self._remind(now_ns)
        return sum(self._serve(r, now_ns) for r in self._alerts.recipients) + self._tell_of_refused(now_ns)

    # --- from events to notices

    def _collect(self, now_ns: int) -> None:
        cursor = int(self._tables.rows("SELECT event FROM notice_cursor")[0][0])
        events = self._book.events_after(cursor)
        if not events:
            return
        with self._tables.transaction() as db:
            for event in events:
                if event.what in ("acknowledged", "shelved", "absorbed"):
                    db.execute(
                        "UPDATE notices SET state = 'dropped', why = ? WHERE entry = ? AND state = 'held'"
                        " AND what != 'returned'",
                        (event.what, event.entry),
                    )
                elif event.what in (*OPENINGS, "returned") and (entry := self._book.find(event.entry)):
                    for recipient in self._alerts.recipients:
                        shelved = entry.shelved_until_ns is not None and event.at_ns < entry.shelved_until_ns
                        if not entry.stale and not shelved and self._concerns(recipient, entry):
                            db.execute(
                                "INSERT OR IGNORE INTO notices (event, recipient, entry, subject, what, at_ns, state,"
                                " why) VALUES (?, ?, ?, ?, ?, ?, 'held', '')",
                                (event.id, recipient.address, entry.id, _subject(entry), event.what, event.at_ns),
                            )
            db.execute("UPDATE notice_cursor SET event = ?", (events[-1].id,))

    def _concerns(self, recipient: Recipient, entry: Entry) -> bool:
        if entry.severity.rank < Severity(recipient.severity).rank:
            return False
        if not recipient.energy_users:
            return True
        mine = {below for user in recipient.energy_users for below in self._plant.users_below(user)}
        return any(m in self._plant.meters and self._plant.meters[m].energy_user in mine for m in entry.meters)

    def _remind(self, now_ns: int) -> None:
        """An alarm that lasts and that nobody has acknowledged is told again."""
        patience_ns = round(self._alerts.remind_h * 3600) * NS
        for entry in self._book.entries(now_ns=now_ns, states={State.OPEN}, most=10_000):
            if entry.severity is not Severity.ALARM or entry.cause is not None or entry.stale:
                continue
            for recipient in self._alerts.recipients:
                told = self._last_mailed(entry, recipient)
                if told is not None and told <= now_ns - patience_ns and not self._holds(entry, recipient):
                    with self._tables.transaction() as db:
                        db.execute(
                            "INSERT INTO notices (event, recipient, entry, subject, what, at_ns, state, why)"
                            " VALUES (NULL, ?, ?, ?, 'still', ?, 'held', '')",
                            (recipient.address, entry.id, _subject(entry), now_ns),
                        )

    def _last_mailed(self, entry: Entry, recipient: Recipient) -> int | None:
        row = self._tables.row(
            "SELECT max(mailed_ns) FROM notices WHERE entry = ? AND recipient = ? AND state = 'mailed'"
            " AND what != 'returned'",
            entry.id, recipient.address,
        )  # fmt: skip
        return None if row is None or row[0] is None else int(row[0])

    def _holds(self, entry: Entry, recipient: Recipient) -> bool:
        held = "SELECT 1 FROM notices WHERE entry = ? AND recipient = ? AND state = 'held'"
        return self._tables.row(held, entry.id, recipient.address) is not None

    # --- from notices to a mail

    def _serve(self, recipient: Recipient, now_ns: int) -> int:
        """Queue at most one mail to a recipient: one finding, or a digest of several."""
        rows = self._tables.rows(
            "SELECT id, entry, what, at_ns FROM notices WHERE recipient = ? AND state = 'held' ORDER BY id",
            recipient.address,
        )
        # A mail that cannot get out is company for nobody: what happens meanwhile becomes one digest afterwards.
        if not rows or self._outbox.stuck(recipient.address):
            return 0
        notices: dict[int, list[Notice]] = {}
        for row in rows:
            notices.setdefault(row[1], []).append(Notice(row[0], self._book.entry(row[1]), row[2], row[3]))
        say: list[Notice] = []
        drop: list[tuple[Notice, str]] = []
        for mine in notices.values():
            self._choose(recipient, mine, now_ns, say, drop)
        waited = say and now_ns - min(n.at_ns for n in say) >= round(self._alerts.digest_s * NS)
        if not waited:
            self._drop(drop)
            return 0
        say.sort(key=lambda n: (n.what == "returned", -n.entry.severity.rank, n.entry.start_ns))
        self._queue(recipient, say, notices, drop, now_ns)
        return 1

    def _choose(
        self, recipient: Recipient, mine: list[Notice], now_ns: int, say: list[Notice], drop: list[tuple[Notice, str]]
    ) -> None:
        """Of one finding's held notices, the one that is worth a line of the mail now."""
        entry = mine[0].entry
        openings = [n for n in mine if n.what in OPENINGS]
        returns = [n for n in mine if n.what == "returned"]
        told = self._last_mailed(entry, recipient) is not None
        if not entry.lasts and entry.end_ns is not None and entry.end_ns < now_ns - OLD_NEWS_NS and not told:
            drop += [(n, "old news") for n in mine]
            return
        if openings and not self._may_open(recipient, entry, openings, now_ns):
            if entry.lasts:
                return  # held: if it stays, it is told when the hour is over
            drop += [(n, "comes and goes") for n in openings]
        elif openings:
            say.append(openings[-1])
            drop += [(n, "told with the next") for n in openings[:-1]]
            # a return that is known already is said in the same breath; a thing that came back has not returned
            drop += [(n, "told with the opening") for n in returns]
            return
        if entry.lasts:
            drop += [(n, "came back") for n in returns]
        elif told and returns and not self._returned_already(entry, recipient):
            say.append(returns[-1])
            drop += [(n, "told with the next") for n in returns[:-1]]
        else:
            drop += [(n, "was never told") for n in returns]

    def _may_open(self, recipient: Recipient, entry: Entry, openings: Sequence[Notice], now_ns: int) -> bool:
        if any(n.what in ("worsened", "still") for n in openings):
            return True
        row = self._tables.row(
            "SELECT max(mailed_ns) FROM notices WHERE subject = ? AND recipient = ? AND state = 'mailed'"
            " AND what != 'returned'",
            _subject(entry), recipient.address,
        )  # fmt: skip
        return row is None or row[0] is None or now_ns - int(row[0]) >= AGAIN_NS

    def _returned_already(self, entry: Entry, recipient: Recipient) -> bool:
        """Whether the last thing this recipient heard of the finding is that it is over."""
        row = self._tables.row(
            "SELECT what FROM notices WHERE entry = ? AND recipient = ? AND state = 'mailed' ORDER BY id DESC LIMIT 1",
            entry.id, recipient.address,
        )  # fmt: skip
        return row is not None and row[0] == "returned"

    def _queue(
        self,
        recipient: Recipient,
        say: Sequence[Notice],
        notices: dict[int, list[Notice]],
        drop: Sequence[tuple[Notice, str]],
        now_ns: int,
    ) -> None:
        draft = self._composer.draft(recipient, say, now_ns)
        key = f"{recipient.address}:" + ",".join(str(n.id) for n in say)
        message_id = f"<{hashlib.sha256(f'{self._who}:{key}'.encode()).hexdigest()[:24]}.meterline@{self._domain}>"
        about = [found for n in say if (found := self._first_mail(n.entry, recipient))][:1] if len(say) == 1 else []
        message = build(
            draft,
            sender=self._sender,
            recipient=recipient.address,
            name=recipient.name,
            message_id=message_id,
            about=about,
            wall_ns=self._wall.now_ns(),
        )
        with self._tables.transaction() as db:
            number = self._outbox.put(
                key=key,
                message_id=message_id,
                recipient=recipient.address,
                subject=draft.subject,
                message=message,
                entries=[n.entry.id for n in say],
                wall_ns=self._wall.now_ns(),
                plant_ns=now_ns,
            )
            db.executemany(
                "UPDATE notices SET state = 'mailed', mail = ?, mailed_ns = ? WHERE id = ?",
                [(number, now_ns, n.id) for n in say],
            )
            self._drop(drop)

    def _first_mail(self, entry: Entry, recipient: Recipient) -> str | None:
        row = self._tables.row(
            "SELECT message_id FROM outbox WHERE id = (SELECT min(mail) FROM notices WHERE entry = ? AND recipient = ?"
            " AND state = 'mailed')",
            entry.id, recipient.address,
        )  # fmt: skip
        return None if row is None else str(row[0])

    def _drop(self, drop: Sequence[tuple[Notice, str]]) -> None:
        if drop:
            with self._tables.transaction() as db:
                db.executemany(
                    "UPDATE notices SET state = 'dropped', why = ? WHERE id = ?", [(why, n.id) for n, why in drop]
                )

    # --- what a server will not take

    def _tell_of_refused(self, now_ns: int) -> int:
        """Tell one other recipient of a mail that cannot be delivered, once."""
        queued = 0
        for mail in self._outbox.untold():
            others = [r for r in self._alerts.recipients if r.address != mail.recipient]
            if others and not mail.key.startswith("undeliverable:"):
                recipient, key = others[0], f"undeliverable:{mail.id}"
                draft = self._composer.undeliverable(recipient, mail)
                message_id = f"<{hashlib.sha256(f'{self._who}:{key}'.encode()).hexdigest()[:24]}@{self._domain}>"
                self._outbox.put(
                    key=key,
                    message_id=message_id,
                    recipient=recipient.address,
                    subject=draft.subject,
                    message=build(
                        draft,
                        sender=self._sender,
                        recipient=recipient.address,
                        name=recipient.name,
                        message_id=message_id,
                        wall_ns=self._wall.now_ns(),
                    ),
                    entries=mail.entries,
                    wall_ns=self._wall.now_ns(),
                    plant_ns=now_ns,
                )
                queued += 1
            self._outbox.mark_told(mail.id)
        return queued


def _subject(entry: Entry) -> str:
    return json.dumps([entry.kind, entry.scope, entry.subject])
