"""What one pass of the detectors does to the findings book: begin, extend, return, or leave unknown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from headend.causes import Claim, Scope
from headend.entries import SELECT, Condition, Entry, Event, entry_of, keep, note
from headend.feedback import quiet_until
from headend.tables import Tables
from meterline.clock import NS

MINUTE_NS = 60 * NS
HOUR_NS = 3600 * NS
STALE_NS = 24 * HOUR_NS
"""What was over for longer than this when it was first seen is history, not news."""
SILENT_POLLS = 5
"""After so many polls without a value nobody can say whether a thing still lasts."""


@dataclass(frozen=True, slots=True)
class Delays:
    """How patient the book is with a kind. [ns]

    Attributes
    ----------
    on_ns
        It must have lasted this long to count.
    off_ns
        Good data must have come for this long for it to be over.
    join_ns
        Coming back within this it is the same thing again.
    """

    on_ns: int = 0
    off_ns: int = 5 * MINUTE_NS
    join_ns: int = 30 * MINUTE_NS


DELAYS: Mapping[str, Delays] = MappingProxyType(
    {
        # a line that drops one answer now and then must not cry; its end is sure after two minutes of answers
        "gap": Delays(on_ns=MINUTE_NS, off_ns=2 * MINUTE_NS, join_ns=15 * MINUTE_NS),
        # a flurry of spikes is one loose wire
        "spike": Delays(off_ns=0, join_ns=6 * HOUR_NS),
        "counter_reset": Delays(off_ns=0, join_ns=0),
        "counter_rollover": Delays(off_ns=0, join_ns=0),
        "counter_jump": Delays(off_ns=0, join_ns=0),
        # one night is one finding
        "off_hours": Delays(off_ns=5 * MINUTE_NS, join_ns=2 * HOUR_NS),
        "overload": Delays(off_ns=5 * MINUTE_NS, join_ns=HOUR_NS),
    }
)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a pass saw of a meter.

    Attributes
    ----------
    good_ns
        Moment of its last usable value; None if the window has none. [ns]
    poll_ns
        Time between two polls. [ns]
    """

    good_ns: int | None
    poll_ns: int


class Pass:
    """One pass of the detectors over the book, inside one transaction."""

    def __init__(self, tables: Tables, delays: Mapping[str, Delays], looked: Mapping[str, Looked], now_ns: int) -> None:
        self._tables, self._delays, self._looked, self._now = tables, delays, looked, now_ns
        self._events: list[Event] = []

    def run(self, claims: Iterable[Claim]) -> list[Event]:
        seen: set[int] = set()
        # a meter that answers a little later than its neighbours, after the line is back, is no news
        explained = {m for e in self._lasting() if e.kind == "gap" and e.scope is not Scope.METER for m in e.meters}
        for claim in sorted(claims, key=lambda c: (c.finding.start_ns, c.subject)):
            if (entry := self._take(claim, explained)) and entry.lasts and claim.finding.end_ns is None:
                seen.add(entry.id)
                if claim.scope is not Scope.METER:
                    explained.update(claim.meters)
                    seen.update(e.id for e in self._inside(claim))
        for entry in self._lasting():
            if all(meter in self._looked for meter in entry.meters):
                self._judge(entry, entry.id in seen)
        self._absorb()
        return self._events

    def _take(self, claim: Claim, explained: Collection[str]) -> Entry | None:
        """The entry a claim becomes part of, grown by it; None for a claim that does not count (yet)."""
        finding, delays = claim.finding, self._delay(claim.finding.kind)
        entry = self._same(claim)
        lasted = (self._now if finding.end_ns is None else finding.end_ns) - finding.start_ns
        if entry is None:
            if self._told_wider(claim, explained):
                return None
            return None if finding.end_ns is not None and lasted < delays.on_ns else self._begin(claim)
        if lasted < delays.on_ns and (finding.end_ns is not None or not entry.lasts):
            return None
        return self._extend(entry, claim)

    def _told_wider(self, claim: Claim, explained: Collection[str]) -> bool:
        """Whether a meter's silence is, or was, part of a wider one that is in the book."""
        finding = claim.finding
        if finding.kind != "gap" or claim.scope is not Scope.METER:
            return False
        if claim.subject in explained:
            return True
        join = self._delay("gap").join_ns
        return finding.end_ns is not None and bool(
            self._tables.row(
                "SELECT 1 FROM book WHERE kind = 'gap' AND scope != 'meter' AND condition = 'over' AND instr(meters, ?)"
                " AND start_ns - ? <= ? AND end_ns + ? >= ?",
                f'"{claim.subject}"',
                join,
                finding.start_ns,
                join,
                finding.end_ns,
            )
        )

    def _same(self, claim: Claim) -> Entry | None:
        """The newest entry on the same thing: same kind and subject, spans no further apart than `join`."""
        finding, join = claim.finding, self._delay(claim.finding.kind).join_ns
        row = self._tables.row(
            f"{SELECT} WHERE kind = ? AND scope = ? AND subject = ? AND start_ns <= ?"
            " AND coalesce(end_ns, ?) >= ? ORDER BY start_ns DESC LIMIT 1",
            finding.kind, claim.scope, claim.subject,
            min((finding.end_ns or 2**62) + join, 2**63 - 1), 2**62, finding.start_ns - join,
        )  # fmt: skip
        return entry_of(row) if row else None

    def _inside(self, claim: Claim) -> list[Entry]:
        """Entries on narrower silences that the claim covers and that counted before it came."""
        return [
            e
            for e in self._lasting()
            if e.kind == "gap" and e.condition is not Condition.PENDING and set(e.meters) < set(claim.meters)
        ]

    def _begin(self, claim: Claim) -> Entry:
        finding = claim.finding
        entry = Entry(
            id=0,
            kind=finding.kind,
            scope=claim.scope,
            subject=claim.subject,
            meters=claim.meters,
            condition=Condition.PENDING,
            start_ns=finding.start_ns,
            end_ns=finding.end_ns,
            since_ns=finding.start_ns,
            last_seen_ns=self._now if finding.end_ns is None else finding.end_ns,
            opened_ns=self._now,
            severity=finding.severity,
            confidence=finding.confidence,
            evidence=finding.evidence,
            energy_kwh=finding.energy_kwh,
            stale=finding.end_ns is not None and finding.end_ns < self._now - STALE_NS,
        )
        settled = quiet_until(self._tables, entry.kind, entry.scope, entry.subject)
        if settled is not None and settled[0] > self._now:
            until, said = settled
            entry = replace(
                entry, shelved_until_ns=until, acknowledged_by=said.who, acknowledged_ns=self._now,
                acknowledged_why=f"#{said.entry} {said.verdict.value}: {said.why}",
            )  # fmt: skip
        return replace(entry, id=self._keep(entry))

    def _extend(self, entry: Entry, claim: Claim) -> Entry:
        finding = claim.finding
        # what detectors still say of an earlier stretch must not end the newest one
        newest = finding.end_ns is None or finding.end_ns > entry.since_ns
        energies = [e for e in (entry.energy_kwh, finding.energy_kwh) if e is not None]
        grown = replace(
            entry,
            start_ns=min(entry.start_ns, finding.start_ns),
            severity=max(entry.severity, finding.severity, key=lambda s: s.rank),
            confidence=max(entry.confidence, finding.confidence),
            energy_kwh=max(energies, default=None),
        )
        if finding.end_ns is None:
            grown = replace(
                grown, meters=claim.meters, evidence=finding.evidence, end_ns=None, last_seen_ns=self._now
            )  # fmt: skip
        elif newest:
            grown = replace(grown, evidence=finding.evidence, end_ns=finding.end_ns, last_seen_ns=finding.end_ns)
        if finding.start_ns > entry.last_seen_ns:
            grown = replace(grown, since_ns=finding.start_ns)
        if not entry.lasts and (finding.end_ns is None or finding.start_ns > entry.last_seen_ns):
            # Back before it could be called a new thing. Who acknowledged the first time must look again.
            grown = replace(
                grown, condition=Condition.ACTIVE, times=entry.times + 1, stale=False,
                acknowledged_by="", acknowledged_why="", acknowledged_ns=None,
            )  # fmt: skip
            self._note(entry, "reopened")
        elif grown.severity.rank > entry.severity.rank and entry.condition is not Condition.PENDING:
            self._note(entry, "worsened")
        if grown != entry:
            self._keep(grown)
        return grown

    def _judge(self, entry: Entry, seen: bool) -> None:
        """Decide whether an entry begins to count, lasts, is over, or cannot be known."""
        after = replace(entry, last_seen_ns=self._now) if seen else entry
        delays = self._delay(entry.kind)
        if after.condition is Condition.PENDING and after.last_seen_ns - after.start_ns >= delays.on_ns:
            after = replace(after, condition=Condition.ACTIVE)
            self._note(entry, "opened")
            if entry.shelved_until_ns is not None:
                self._note(entry, "shelved", why=entry.acknowledged_why)
        if seen and after.condition is Condition.UNKNOWN:
            after = replace(after, condition=Condition.ACTIVE)
            self._note(entry, "known")
        elif not seen:
            good = [self._looked[m].good_ns for m in entry.meters]
            heard = max((t for t in good if t is not None), default=None)
            if heard is not None and heard > after.last_seen_ns and heard - after.last_seen_ns >= delays.off_ns:
                if after.condition is Condition.PENDING:
                    # gone before it counted: nobody was told, nobody needs to be
                    with self._tables.transaction() as db:
                        db.execute("DELETE FROM book WHERE id = ?", (entry.id,))
                    return
                after = replace(after, condition=Condition.OVER, end_ns=after.end_ns or after.last_seen_ns)
                self._note(entry, "returned")
            elif after.condition is Condition.ACTIVE and entry.kind != "gap" and self._silent(entry, heard):
                after = replace(after, condition=Condition.UNKNOWN)
                self._note(entry, "unknown")
        if after != entry:
            self._keep(after)

    def _silent(self, entry: Entry, heard: int | None) -> bool:
        poll_ns = max(self._looked[m].poll_ns for m in entry.meters)
        return heard is None or self._now - heard > SILENT_POLLS * poll_ns

    def _absorb(self) -> None:
        """A wider fault explains the silences inside it: they stay in the book, under it."""
        lasting = [e for e in self._lasting() if e.kind == "gap" and e.condition is not Condition.PENDING]
        for entry in lasting:
            causes = [w for w in lasting if w.scope is not Scope.METER and set(entry.meters) < set(w.meters)]
            cause = max(causes, key=lambda w: len(w.meters)).id if causes else None
            if cause != entry.cause:
                self._keep(replace(entry, cause=cause))
                if cause is not None:
                    self._note(entry, "absorbed", why=f"#{cause}")

    def _lasting(self) -> list[Entry]:
        return [entry_of(row) for row in self._tables.rows(f"{SELECT} WHERE condition != 'over' ORDER BY id")]

    def _delay(self, kind: str) -> Delays:
        return self._delays.get(kind, Delays())

    def _keep(self, entry: Entry) -> int:
        with self._tables.transaction() as db:
            return keep(db, entry)

    def _note(self, entry: Entry, what: str, *, why: str = "") -> None:
        self._events.append(note(self._tables, entry.id, self._now, what, why=why))
