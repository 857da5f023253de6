"""The findings book: the life of a finding, from the first sight to a person who knows, over restarts.

```
             on-delay                  off-delay of delivered good data
  claim ──► pending ──────► active ─────────────────────────────► over
                              │  ▲                                  │
               meter silent   ▼  │ heard again                      │ seen again within `join`
                            unknown                 active ◄────────┘ (one entry, counted)
```
Detectors are state-free and say the same thing again each pass; the book makes one entry of it. What is not said again
is over only when its meters have delivered good data for the off-delay: missing data resolves nothing. Every change
that someone should hear of is an `Event`, written in the same transaction as the change, and notices are made of
events: a restart between the two loses nothing and says nothing twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from analytics.findings import Finding, Severity
from headend import feedback as spoken
from headend.catalogue import migrate
from headend.causes import claims_of
from headend.entries import SCHEMA, SELECT, STATE, Entry, Event, State, entry_of, keep, note
from headend.judgement import DELAYS, Delays, Looked, Pass
from headend.tables import Tables
from meterline.errors import MeterlineError
from meterline.plant import Plant

__all__ = ["DELAYS", "Delays", "FindingsBook", "Looked", "NoSuchFinding"]


class NoSuchFinding(MeterlineError):
    """The book has no entry of this number."""


class FindingsBook:
    """All findings, in the catalogue. One process writes; its threads share the book.

    Parameters
    ----------
    path
        The catalogue's SQLite file; the book keeps its own tables in it.
    plant
        For the scope of a cause.

    Raises
    ------
    StoreUnavailable
        The file is of a newer version of this software.
    """

    def __init__(self, path: Path, plant: Plant, *, delays: Mapping[str, Delays] = DELAYS) -> None:
        self.plant = plant
        self._path = path
        self._delays = delays
        self._tables = Tables(path)
        migrate(self._tables, "findings", (SCHEMA, spoken.SCHEMA))

    @property
    def folder(self) -> Path:
        """The head-end's data folder."""
        return self._path.parent

    def close(self) -> None:
        """Let go of the file."""
        self._tables.close()

    # --- what the data say

    def observe(
        self, findings: Iterable[Finding], looked: Mapping[str, Looked], now_ns: int, *, gone: Collection[str] = ()
    ) -> list[Event]:
        """Take in what one pass of the detectors says, and give what has changed.

        Parameters
        ----------
        findings
            Everything found in the pass, old and new; the same finding again changes nothing.
        looked
            Every meter the pass examined. Entries of other meters are left alone.
        now_ns
            Plant time of the pass. [ns]
        gone
            Gateways known to be away.
        """
        with self._tables.transaction():
            return Pass(self._tables, self._delays, looked, now_ns).run(
                claims_of(findings, self.plant, looked=looked, gone=gone)
            )

    # --- what people do

    def acknowledge(self, number: int, *, who: str, why: str, now_ns: int) -> Entry:
        """A person knows about it.

        Raises
        ------
        NoSuchFinding
        ValueError
            Nobody is named.
        """
        return self._by_person(
            number, "acknowledged", who, why, now_ns,
            acknowledged_by=who.strip(), acknowledged_why=why.strip(), acknowledged_ns=now_ns,
        )  # fmt: skip

    def shelve(self, number: int, *, until_ns: int | None, who: str, why: str, now_ns: int) -> Entry:
        """Put it out of sight until a moment of plant time, or (None) back on the table. Raises as `acknowledge`."""
        what = "unshelved" if until_ns is None else "shelved"
        return self._by_person(number, what, who, why, now_ns, shelved_until_ns=until_ns)

    def feedback(self, said: spoken.Feedback) -> Entry:
        """Keep a verdict; `false` and `known` shelve the finding and its repeats at the same place.

        Raises
        ------
        NoSuchFinding
        """
        entry = self.entry(said.entry)
        quiet = spoken.QUIET_NS.get(said.verdict)
        with self._tables.transaction() as db:
            db.execute(
                "INSERT INTO book_feedback (entry, kind, scope, subject, verdict, who, why, at_ns)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (said.entry, entry.kind, entry.scope, entry.subject, said.verdict, said.who, said.why, said.at_ns),
            )
            return self._by_person(
                said.entry, "acknowledged" if quiet is None else "shelved", said.who,
                f"{said.verdict.value}: {said.why}", said.at_ns,
                acknowledged_by=said.who.strip(), acknowledged_why=said.why.strip(), acknowledged_ns=said.at_ns,
                shelved_until_ns=None if quiet is None else said.at_ns + quiet,
            )  # fmt: skip

    def take_notes(self, box: spoken.FeedbackBox) -> int:
        """Take in the notes that other processes left; gives how many. A note that cannot be read is set aside."""
        taken = 0
        for path, said in box.notes():
            if said is None or self.find(said.entry) is None:
                path.rename(path.with_suffix(".unreadable"))
                continue
            self.feedback(said)
            path.unlink()
            taken += 1
        return taken

    def verdicts(self, number: int) -> list[spoken.Feedback]:
        """What people have said of a finding, in order."""
        rows = self._tables.rows(
            "SELECT entry, verdict, who, why, at_ns FROM book_feedback WHERE entry = ? ORDER BY id", number
        )
        return [spoken.Feedback(r["entry"], spoken.Verdict(r["verdict"]), r["who"], r["why"], r["at_ns"]) for r in rows]

    def _by_person(self, number: int, what: str, who: str, why: str, now_ns: int, **changes: Any) -> Entry:
        if not who.strip():
            raise ValueError("say who you are: an acknowledgement without a name is worth nothing")
        with self._tables.transaction() as db:
            entry = replace(self.entry(number), **changes)
            keep(db, entry)
            note(self._tables, number, now_ns, what, who=who.strip(), why=why.strip())
        return entry

    # --- what is in it

    def entry(self, number: int) -> Entry:
        """One entry.

        Raises
        ------
        NoSuchFinding
        """
        entry = self.find(number)
        if entry is None:
            raise NoSuchFinding(f"there is no finding #{number}")
        return entry

    def find(self, number: int) -> Entry | None:
        """One entry, or None."""
        row = self._tables.row(f"{SELECT} WHERE id = ?", number)
        return entry_of(row) if row else None

    def entries(
        self,
        *,
        now_ns: int,
        states: Collection[State] | None = None,
        meter: str | None = None,
        before: int | None = None,
        most: int = 200,
    ) -> list[Entry]:
        """Entries in some of the states that concern a meter, the newest first.

        Parameters
        ----------
        states
            None: all but the pending.
        before
            Only entries with a smaller number: how a page asks for the next page.
        """
        wanted = set(State) - {State.PENDING} if states is None else set(states)
        marks = ", ".join(f"'{state.value}'" for state in sorted(wanted))
        rows = self._tables.rows(
            f"{SELECT} WHERE {STATE.replace(':now', '?')} IN ({marks}) AND (? IS NULL OR instr(meters, ?))"
            " AND (? IS NULL OR id < ?) ORDER BY id DESC LIMIT ?",
            now_ns, meter, f'"{meter}"', before, before, most,
        )  # fmt: skip
        return [entry_of(row) for row in rows]

    def history(self, number: int) -> list[Event]:
        """What happened to an entry, in order."""
        rows = self._tables.rows(
            "SELECT id, entry, at_ns, what, who, why FROM book_events WHERE entry = ? ORDER BY id", number
        )
        return [Event(*row) for row in rows]

    def events_after(self, event: int) -> list[Event]:
        """Everything that happened after an event, in order: what notices are made of."""
        rows = self._tables.rows(
            "SELECT id, entry, at_ns, what, who, why FROM book_events WHERE id > ? ORDER BY id", event
        )
        return [Event(*row) for row in rows]

    def counts(self, now_ns: int) -> Mapping[Severity, int]:
        """How many findings of each severity last and are not explained by a wider one; shelved ones left out."""
        counts = dict.fromkeys(Severity, 0)
        for entry in self.entries(states={State.OPEN, State.ACKNOWLEDGED}, now_ns=now_ns, most=10_000):
            if entry.cause is None:
                counts[entry.severity] += 1
        return counts
