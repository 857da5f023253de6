"""The judge: what the meters showed against what the store holds, after Jepsen's set checker.

Attempted is what the meters answered (their own journal), acknowledged is what the gateway's journal held at any time,
read is what the store holds. Everything here is counted in sets of names, so that one fault's share is what is new
since the fault before.

=============  =================================================================================================
`lost`         a number the gateway committed that is neither stored nor declared; a slot a meter answered in, that
               is neither stored nor declared nor in a time for which the scene gave a reason
`dup`          a poll the store shows twice
`wrong`        a counter reading that is not what the display showed; a row that differs from its signed message;
               a doubtful quality where nothing was wrong with the meter
`chain`        a message whose signature, link or digest does not fit and whose gap nobody declared
`missed`       a slot of which there is nothing at all: no values, no silence, no reason
=============  =================================================================================================
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.faults.evidence import GENESIS, MS, Message, PollSeen, journal_records, open_message, read_days

MISSING_OR_INVALID = 3
Name = tuple[object, ...]
Excuse = tuple[int, int, str]
"""A time of the plant in which slots may be absent, and why. [ns, ns)"""


@dataclass
class Violations:
    """Sets of names; empty is what is wanted."""

    lost: set[Name] = field(default_factory=set)
    dup: set[Name] = field(default_factory=set)
    wrong: set[Name] = field(default_factory=set)
    chain: set[Name] = field(default_factory=set)
    missed: set[Name] = field(default_factory=set)

    def minus(self, earlier: Violations) -> Violations:
        """What is new."""
        return Violations(
            self.lost - earlier.lost,
            self.dup - earlier.dup,
            self.wrong - earlier.wrong,
            self.chain - earlier.chain,
            self.missed - earlier.missed,
        )


@dataclass
class Counted:
    """How much there was to judge: a check of nothing proves nothing."""

    answered: int = 0
    batches: int = 0
    readings: int = 0
    compared: int = 0
    declared: int = 0
    """Numbers the gateway declared lost."""
    excused: int = 0
    """Slots absent for a reason the scene gave (the gateway was dead)."""


class Oracle:
    """What the meters wrote down themselves: ``shown.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self.reads: dict[str, list[tuple[int, dict[str, int | float]]]] = {}
        self.grid: dict[str, dict[int, dict[str, int | float]]] = {}
        path = folder / "shown.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines(keepends=True):
            if not line.endswith("\n"):
                continue  # its writer was killed in the middle
            row = json.loads(line)
            if row["why"] == "read":
                self.reads.setdefault(row["meter"], []).append((row["t"], row["shown"]))
            else:
                self.grid.setdefault(row["meter"], {})[row["t"]] = row["shown"]
        for rows in self.reads.values():
            rows.sort(key=lambda row: row[0])

    def shown_between(self, meter: str, measurand: str, start_ns: int, end_ns: int) -> set[int | float]:
        """Everything the display showed of a counter to whoever asked in [start, end]."""
        rows = self.reads.get(meter, [])
        begin = bisect_left(rows, start_ns, key=lambda row: row[0])
        end = bisect_right(rows, end_ns, key=lambda row: row[0])
        return {shown[measurand] for _, shown in rows[begin:end] if measurand in shown}

    def answered_slots(self, meter: str, period_ns: int) -> set[int]:
        """Slots in which the meter answered at all."""
        return {t // period_ns * period_ns for t, _ in self.reads.get(meter, [])}


class Checker:
    """Looks at one chain again and again; what it has once seen in the gateway's journal it remembers.

    Parameters
    ----------
    meters
        Those that are polled.
    period_ns
        One slot. [ns]
    """

    def __init__(self, *, gateway: str, key: Ed25519PublicKey, meters: Sequence[str], period_ns: int) -> None:
        self.gateway, self.key, self.meters, self.period_ns = gateway, key, tuple(meters), period_ns
        self.committed: dict[tuple[str, int], bytes] = {}
        self.shifts: set[int] = {0}
        """By how much the gateway's clock was ever ahead of the meters'. [ns]"""

    def note_journal(self, folder: Path) -> set[tuple[str, int]]:
        """Remember what the gateway's journal holds now."""
        found = set()
        for epoch, seq, message in journal_records(folder):
            self.committed.setdefault((epoch, seq), message)
            found.add((epoch, seq))
        return found

    def look(
        self,
        *,
        store: Path,
        oracle: Oracle,
        excuses: Iterable[Excuse],
        until_ns: int,
        clean: Iterable[Excuse] | None = None,
        slots: bool = True,
    ) -> tuple[Violations, Counted]:
        """Judge everything up to a moment.

        Parameters
        ----------
        until_ns
            Slots from here on are still on their way. [ns]
        clean
            Times in which a meter may be in doubt; None: nothing is said about quality.
        slots
            Whether each slot is looked for.
        """
        bad, counted = Violations(), Counted()
        days = read_days(store, check=True)
        bad.chain |= {("sqlite", text) for text in days.broken}
        stored: dict[tuple[str, int], Message] = {}
        received: dict[tuple[str, int], int] = {}
        for raw, received_ns in days.messages:
            message = open_message(raw, self.key)
            received[message.epoch, message.seq] = received_ns
            place = (message.epoch, message.seq)
            if message.gateway != self.gateway:
                bad.wrong.add(("foreign", message.gateway, *place))
            if not message.signed:
                bad.chain.add(("signature", *place))
            if place in stored:
                bad.dup.add(("batch", *place))
            stored[place] = message
        declared = {(e, s) for m in stored.values() for e, first, last, _ in m.lost for s in range(first, last + 1)}
        counted.batches, counted.declared = len(stored), len(declared - stored.keys())
        self._chain(stored, declared, bad)
        self._numbers(stored, declared, bad)
        self._rows(days.rows, stored, bad)
        ahead = {place: self._ahead(message, received[place], oracle) for place, message in stored.items()}
        self._values(stored, ahead, oracle, bad, counted, clean)
        if slots:
            self._slots(stored, ahead, declared, oracle, sorted(excuses), until_ns, bad, counted)
        return bad, counted

    # --- inside ----------------------------------------------------------------------------------------------------

    def _chain(self, stored: dict[tuple[str, int], Message], declared: set[tuple[str, int]], bad: Violations) -> None:
        for (epoch, seq), message in stored.items():
            edge = self.committed.get((epoch, seq))
            if edge is not None and open_message(edge, self.key).digest != message.digest:
                bad.chain.add(("other than the journal's", epoch, seq))
            if seq == 1:
                if message.prev != GENESIS:
                    bad.chain.add(("first", epoch, seq))
                continue
            before = stored.get((epoch, seq - 1))
            if before is None:
                if (epoch, seq - 1) not in declared:
                    bad.chain.add(("gap", epoch, seq - 1))
            elif before.digest != message.prev:
                bad.chain.add(("link", epoch, seq))

    def _numbers(self, stored: dict[tuple[str, int], Message], declared: set[tuple[str, int]], bad: Violations) -> None:
        ends: dict[str, int] = {}
        for epoch, seq in stored:
            ends[epoch] = max(seq, ends.get(epoch, 0))
        wanted = {(epoch, seq) for epoch, end in ends.items() for seq in range(1, end + 1)} | self.committed.keys()
        bad.lost |= {("seq", *place) for place in wanted - stored.keys() - declared}

    def _rows(
        self,
        rows: list[tuple[str, int, str, int, int, str, str, str]],
        stored: dict[tuple[str, int], Message],
        bad: Violations,
    ) -> None:
        said: Counter[Name] = Counter()
        for (epoch, seq), message in stored.items():
            place = 0
            for poll in message.polls:
                doubt = poll.qualities if any(poll.qualities) else ()
                said[(poll.meter, poll.slot_ns, epoch, seq, place, poll.delays_ms, poll.numbers, doubt)] += 1
                place += len(poll.numbers)
        kept: Counter[Name] = Counter()
        same: Counter[Name] = Counter()
        for meter, t, epoch, seq, place, delays, numbers, qualities in rows:
            kept[(meter, t, epoch, seq, place, _tuple(delays), _tuple(numbers), _tuple(qualities))] += 1
            same[(meter, t, _tuple(delays), _tuple(numbers))] += 1
        for name, times in (kept - said).items():
            bad.dup.add(("row", *name, times))
        for name in said - kept:
            bad.wrong.add(("row not as signed", *name[:5]))
        for name, times in same.items():
            if times > 1 and name[2]:
                bad.dup.add(("poll", *name[:2], times))

    def _ahead(self, message: Message, received_ns: int, oracle: Oracle) -> int:
        """How wrong the gateway's clock was when this was read. [ns]

        Of all errors the scene made, the one that brings it nearest to its reception and agrees with the displays.
        """
        if len(self.shifts) == 1 or not message.polls:
            return 0
        slot_ns = message.polls[0].slot_ns
        likely = sorted(self.shifts, key=lambda ahead: abs(slot_ns - ahead - received_ns))
        agreeing = (ahead for ahead in likely if all(not _unlike(poll, ahead, oracle) for poll in message.polls))
        return next(agreeing, likely[0])

    def _values(
        self,
        stored: dict[tuple[str, int], Message],
        ahead: dict[tuple[str, int], int],
        oracle: Oracle,
        bad: Violations,
        counted: Counted,
        clean: Iterable[Excuse] | None,
    ) -> None:
        doubtful_ok = None if clean is None else sorted(clean)
        for (epoch, seq), message in stored.items():
            wrong_ns = ahead[epoch, seq]
            for poll in message.polls:
                for column, (measurand, number) in enumerate(zip(poll.measurands, poll.numbers, strict=True)):
                    counted.readings += 1
                    if (number is None) != bool(poll.qualities[column] & MISSING_OR_INVALID):
                        bad.wrong.add(("absent without a reason", poll.meter, poll.slot_ns, measurand))
                    if doubtful_ok is not None and poll.qualities[column] and not _in(poll.slot_ns, doubtful_ok):
                        bad.wrong.add(("doubtful", poll.meter, poll.slot_ns, measurand, poll.qualities[column]))
                    if number is None or not measurand.startswith("energy."):
                        continue
                    counted.compared += 1
                unlike = _unlike(poll, wrong_ns, oracle)
                bad.wrong |= {("not shown", poll.meter, poll.slot_ns, name, epoch, seq) for name in unlike}

    def _slots(
        self,
        stored: dict[tuple[str, int], Message],
        ahead: dict[tuple[str, int], int],
        declared: set[tuple[str, int]],
        oracle: Oracle,
        excuses: list[Excuse],
        until_ns: int,
        bad: Violations,
        counted: Counted,
    ) -> None:
        have: dict[str, set[int]] = {meter: set() for meter in self.meters}
        for place, message in stored.items():
            for poll in message.polls:
                slot_ns = poll.slot_ns - ahead[place]
                have.setdefault(poll.meter, set()).add(slot_ns // self.period_ns * self.period_ns)
        silent = _silences(stored.values(), until_ns)
        gone = self._declared_times(stored, declared)
        for meter in self.meters:
            answered = {slot for slot in oracle.answered_slots(meter, self.period_ns) if slot < until_ns}
            counted.answered += len(answered)
            first = min(answered, default=until_ns)
            for slot in range(first, until_ns, self.period_ns):
                if slot in have[meter] or _in(slot, silent.get(meter, [])):
                    continue
                if _in(slot, gone):
                    continue
                if _in(slot, excuses):
                    counted.excused += 1
                elif slot in answered:
                    bad.lost.add(("slot", meter, slot))
                else:
                    bad.missed.add(("slot", meter, slot))

    def _declared_times(self, stored: dict[tuple[str, int], Message], declared: set[tuple[str, int]]) -> list[Excuse]:
        """When the batches declared lost were formed: between their stored neighbours, widened by a slot."""
        spans: list[Excuse] = []
        moments = sorted((m.epoch, m.seq, m.at_ns) for m in stored.values())
        all_times = sorted(m.at_ns for m in stored.values())
        for epoch, seq in declared - stored.keys():
            known = self.committed.get((epoch, seq))
            if known is not None:
                at = open_message(known, self.key).at_ns
                spans.append((at - 2 * self.period_ns, at + 1, "declared lost"))
                continue
            place = bisect_left(moments, (epoch, seq, 0))
            before = moments[place - 1][2] if place and moments[place - 1][0] == epoch else None
            after = moments[place][2] if place < len(moments) and moments[place][0] == epoch else None
            if before is not None and after is None:
                later = bisect_right(all_times, before)
                after = all_times[later] if later < len(all_times) else before
            spans.append(((before or 0) - 2 * self.period_ns, (after or before or 0) + 1, "declared lost"))
        return sorted(spans)


def _unlike(poll: PollSeen, ahead_ns: int, oracle: Oracle) -> list[str]:
    """The counters of a poll that are not what the display showed between the slot and the reading."""
    return [
        name
        for column, (name, number) in enumerate(zip(poll.measurands, poll.numbers, strict=True))
        if number is not None
        and name.startswith("energy.")
        and number
        not in oracle.shown_between(
            poll.meter, name, poll.slot_ns - ahead_ns - MS, poll.read_ns(column) - ahead_ns + MS
        )
    ]


def _silences(messages: Iterable[Message], until_ns: int) -> dict[str, list[Excuse]]:
    spans: dict[tuple[str, int], int | None] = {}
    causes: dict[tuple[str, int], str] = {}
    for message in messages:
        for meter, start, end, cause in message.missing:
            known = spans.get((meter, start))
            spans[meter, start] = end if known is None else (known if end is None else max(end, known))
            causes[meter, start] = cause
    found: dict[str, list[Excuse]] = {}
    for (meter, start), end in spans.items():
        found.setdefault(meter, []).append((start, until_ns if end is None else end, causes[meter, start]))
    return {meter: sorted(rows) for meter, rows in found.items()}


def _in(t_ns: int, spans: Sequence[Excuse]) -> bool:
    return any(start <= t_ns < end for start, end, _ in spans)


def _tuple(text: str) -> tuple[object, ...]:
    return tuple(json.loads(text)) if text else ()
