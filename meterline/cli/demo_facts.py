"""What a running or ended demo can say of itself, read beside its processes from what they keep on disk."""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterline.clock import NS
from meterline.errors import StoreUnavailable
from meterline.measurands import MEASURANDS
from meterline.readings import MICRO
from meterline.settings import HeadendSettings, load_headend

if TYPE_CHECKING:
    from headend.entries import Entry
    from headend.intervals import Interval
    from headend.queries import Queries
    from headend.stores.api import Span

FOUND_AS: Mapping[str, frozenset[str]] = {
    # kind of a planted fault -> kinds of finding that name it rightly
    "silent": frozenset({"gap"}),
    "late": frozenset({"gap"}),
    "exception": frozenset({"gap"}),
    "disconnect": frozenset({"gap"}),
    "noise": frozenset({"gap", "spike"}),
    "frozen": frozenset({"stuck"}),
    "spike": frozenset({"spike"}),
    "overload": frozenset({"overload"}),
    "night_load": frozenset({"off_hours"}),
    "counter_reset": frozenset({"counter_reset", "counter_jump"}),
    "counter_backwards": frozenset({"counter_backwards"}),
    "phase_loss": frozenset({"phase_voltage_loss"}),
}


@dataclass(frozen=True)
class PlantedFault:
    """A fault of the factory's timetable, as its state file tells it."""

    kind: str
    meter: str
    start_ns: int
    end_ns: int
    en: str
    zh: str

    def text(self, lang: str) -> str:
        """The sentence in a language."""
        return self.zh if lang == "zh" else self.en


@dataclass(frozen=True)
class Found:
    """A finding, in words.

    Attributes
    ----------
    seen_ns
        Plant time at which it was opened, or came back. [ns]
    times
        How often it came back, 1 for once.
    """

    number: int
    kind: str
    meters: tuple[str, ...]
    start_ns: int
    end_ns: int | None
    seen_ns: int
    times: int
    en: str
    zh: str

    def text(self, lang: str) -> str:
        """Heading and place in a language."""
        return self.zh if lang == "zh" else self.en


@dataclass(frozen=True)
class EnergyCheck:
    """One counter: what its intervals add up to, against what its display did.

    Attributes
    ----------
    intervals_micro, counter_micro
        Sum of all intervals, and last displayed value minus first times the ratio. [1e-6 of the unit]
    breaks, corrections_micro
        Resets, roll-overs and falls in its track, and what they take from the difference. [1e-6 of the unit]
    """

    meter: str
    measurand: str
    unit: str
    intervals_micro: int
    counter_micro: int
    breaks: int
    corrections_micro: int

    @property
    def exact(self) -> bool:
        """Whether sum = last - first + corrections, to the last digit."""
        return self.intervals_micro == self.counter_micro + self.corrections_micro


@dataclass(frozen=True)
class Progress:
    """Numbers of a moment."""

    readings: int
    batches: int
    last_slot_ns: int | None
    backlog: int
    lost: int
    holes: int

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Progress:
        """Out of what ``meterline status --json`` prints."""
        gateways = status["gateways"].values()
        return cls(
            status["store"]["readings"],
            status["store"]["batches"],
            status["store"]["last_slot_ns"],
            sum(int(gateway.get("figures", {}).get("backlog", 0)) for gateway in gateways),
            sum(last - first + 1 for gateway in gateways for _, first, last, _ in gateway["lost"]),
            sum(
                last - first + 1
                for gateway in gateways
                for ranges in gateway["holes"].values()
                for first, last in ranges
            ),
        )


class DemoFacts:
    """Reader of a demo's folder.

    Parameters
    ----------
    folder
        With ``headend.yaml``, ``factory-state/`` and ``mails/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: HeadendSettings = load_headend(folder / "headend.yaml")
        self.plant = self.settings.plant
        self.zone = self.plant.site.site.zone
        self._open: Queries | None = None

    def close(self) -> None:
        """Let go of the store's files."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _queries(self) -> Queries | None:
        """The head-end's answers; None while it has not made its files yet."""
        if self._open is None:
            from headend.queries import Queries

            try:
                self._open = Queries.of(self.settings)
            except StoreUnavailable:
                return None
        return self._open

    def status(self, now_ns: int) -> dict[str, Any] | None:
        """What ``meterline status --json`` prints."""
        queries = self._queries()
        try:
            return None if queries is None else queries.status(now_ns)
        except StoreUnavailable:  # its tables are being made just now
            return None

    def intervals(self, meter: str, measurand: str, span: Span) -> list[Interval]:
        """15-minute intervals of a counter."""
        queries = self._queries()
        return [] if queries is None else queries.catalogue.intervals(meter, measurand, "15min", span)

    def planted(self, now_ns: int) -> list[PlantedFault]:
        """Faults that have begun, earliest first."""
        try:
            text = (self.folder / "factory-state" / "factory.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        rows = json.loads(text)["faults"]
        names = PlantedFault.__dataclass_fields__
        faults = [PlantedFault(**{key: row[key] for key in names}) for row in rows]
        return sorted((f for f in faults if f.start_ns <= now_ns), key=lambda f: f.start_ns)

    def found(self, now_ns: int) -> list[Found]:
        """Findings that were opened, oldest first."""
        from headend import words
        from headend.findings import FindingsBook

        queries = self._queries()
        if queries is None:
            return []
        book = FindingsBook(queries.catalogue.path, self.plant)
        try:
            entries = book.entries(now_ns=now_ns, most=500)
        finally:
            book.close()

        def say(entry: Entry, lang: Any) -> str:
            return f"{words.heading(entry, lang)} · {words.about(entry, self.plant, lang)}"

        return [
            Found(
                e.id,
                e.kind,
                e.meters,
                e.since_ns,
                e.end_ns,
                max(e.opened_ns, e.since_ns),
                e.times,
                say(e, "en"),
                say(e, "zh"),
            )
            for e in reversed(entries)
        ]

    def mails(self) -> list[tuple[str, str]]:
        """File name and subject of every mail, oldest first."""
        found = []
        for path in sorted((self.folder / "mails").glob("*.eml")):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            found.append((path.name, f"{message['Subject']} → {message['To']}"))
        return found

    def match(self, fault: PlantedFault, found: list[Found]) -> Found | None:
        """The first finding that names a planted fault: right kind, right meter, opened since, about its time."""
        hour = 3600 * NS
        for finding in found:
            if (
                fault.meter in finding.meters
                and finding.kind in FOUND_AS.get(fault.kind, frozenset())
                and finding.seen_ns >= fault.start_ns
                and finding.start_ns < fault.end_ns + hour
                and (finding.end_ns is None or finding.end_ns > fault.start_ns - hour)
            ):
                return finding
        return None

    def energy(self) -> list[EnergyCheck]:
        """Every account of the plant: the sum of its 15-minute intervals against its display."""
        from headend.metered import account_of
        from headend.primary import regimes, scaled_micro
        from headend.stores.api import Span

        queries = self._queries()
        if queries is None:
            return []
        ever = Span(0, 2**62)
        checks: list[EnergyCheck] = []
        for meter in self.plant.site.meters:
            measurand = account_of(self.plant, meter)
            if measurand is None:
                continue
            raw = queries.store.series(meter.id, measurand, ever)
            there = raw.value == raw.value  # NaN: no value
            shown = scaled_micro(raw.micro[there], regimes(self.plant, meter, measurand)[-1].factor)
            if not shown.size:
                continue
            rows = queries.catalogue.intervals(meter.id, measurand, "15min", ever)
            events = [e for e in queries.catalogue.events(meter.id, measurand, ever) if e.correction_micro]
            checks.append(
                EnergyCheck(
                    meter.id, measurand, MEASURANDS[measurand].unit,
                    sum(row.micro for row in rows if row.has_energy),
                    int(shown[-1]) - int(shown[0]),
                    len(events), sum(event.correction_micro for event in events),
                )
            )  # fmt: skip
        return checks


def amount(micro: int) -> str:
    """Millionths as a decimal for people, exactly."""
    value = Decimal(micro).scaleb(-MICRO).normalize()
    return f"{value:,f}"
