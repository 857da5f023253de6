"""A mail a supervisor can act on: what, where, since when, how much, what to look at first, and a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from analytics.findings import Severity
from headend import words
from headend.alerts.chart import Curve, draw
from headend.alerts.mail import LONGEST_HEADER, Draft, made_safe
from headend.alerts.outbox import Queued
from headend.alerts.rules import Notice
from headend.alerts.texts import TEXTS
from headend.causes import Scope
from headend.entries import Condition, Entry
from headend.stores.api import Span
from meterline.clock import NS
from meterline.measurands import MEASURANDS, POWER_LIKE
from meterline.plant import Meter, Plant
from meterline.settings import Recipient
from meterline.texts import Language

MOST_CHARTS = 3
"""Charts in one mail; a digest of twenty findings is read for its list."""
BEFORE_NS = 2 * 3600 * NS
LIMITS = ("rated_kw", "threshold_kw", "expected_kw", "expected_at_least_kw", "expected")

CurveOf = Callable[[str, str, Span], tuple[Sequence[int], Sequence[float | None]]]
"""Meter, measurand, span -> instants [ns] and primary values, None where there is none."""


@dataclass(frozen=True, slots=True)
class Block:
    """One finding's part of a mail, in the reader's language."""

    number: int
    mark: str
    severity: str
    heading: str
    about: str
    lead: str
    meaning: str
    when: str
    times: str
    facts: tuple[words.Fact, ...]
    confidence: str
    energy: str
    where: tuple[tuple[str, str], ...]
    checks: tuple[str, ...]
    link: str
    cid: str
    caption: str


class Composer:
    """Writes the mails of one plant.

    Parameters
    ----------
    page : str
        Address of the web page, without a slash at its end; empty if there is none.
    simulated : bool
        Says so in subject and body.
    curve_of : function or None
        Where charts get their curves; without it only what is in the evidence is drawn.
    """

    def __init__(
        self, plant: Plant, *, page: str = "", simulated: bool = False, curve_of: CurveOf | None = None
    ) -> None:
        self._plant, self._page, self._simulated, self._curve_of = plant, page, simulated, curve_of
        self._zone: ZoneInfo = plant.site.site.zone
        self._jinja = Environment(
            loader=PackageLoader("headend.alerts"),
            autoescape=lambda name: bool(name and name.endswith(".html")),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def draft(self, recipient: Recipient, notices: Sequence[Notice], now_ns: int) -> Draft:
        """One mail on one finding or several, in the recipient's language."""
        language = recipient.language
        blocks: list[Block] = []
        charts: list[tuple[str, bytes]] = []
        for notice in notices:
            cid = caption = ""
            entry = notice.entry
            wanted = len(charts) < MOST_CHARTS and notice.what != "returned"
            if wanted and (found := self._curve(entry, language)):
                cid = f"finding-{entry.id}@meterline"
                caption = TEXTS("chart", language, name=found[0].name, unit=found[0].unit)
                png = draw(found[0], start_ns=entry.start_ns, end_ns=entry.until_ns, zone=self._zone, limit=found[1])
                charts.append((cid, png))
            blocks.append(self._block(notice, language, now_ns, cid, caption))
        values = {
            "blocks": blocks,
            "language": "zh-CN" if language == "zh" else "en",
            "plant": words.of(self._plant.site.site.name, language),
            "simulated": TEXTS("simulated", language) if self._simulated else "",
            "intro": TEXTS("digest.intro", language, count=len(blocks)) if len(blocks) > 1 else "",
            "label": TEXTS.rows(language),
            "zone": TEXTS("zone", language, zone=words.zone_words(now_ns, self._zone)),
            "why_you": TEXTS(
                "why_you",
                language,
                address=recipient.address,
                severity=words.severity_words(Severity(recipient.severity), language),
            ),
        }
        return Draft(
            subject=self._subject(notices, language),
            text=self._jinja.get_template("mail.txt").render(values),
            html=self._jinja.get_template("mail.html").render(values),
            language=language,
            charts=tuple(charts),
        )

    def undeliverable(self, recipient: Recipient, mail: Queued) -> Draft:
        """Tell one recipient that another cannot be reached."""
        language = recipient.language
        answer = mail.answer if mail.state == "refused" else TEXTS("undeliverable.unsure", language)
        text = TEXTS("undeliverable.body", language, address=mail.recipient, subject=mail.subject, answer=answer)
        html = self._jinja.from_string("<p style='white-space: pre-line'>{{ text | e }}</p>").render(text=text)
        return Draft(
            subject=made_safe(TEXTS("undeliverable.subject", language, address=mail.recipient)),
            text=text + "\n",
            html=html,
            language=language,
        )

    def _subject(self, notices: Sequence[Notice], language: Language) -> str:
        fresh = [n for n in notices if n.what not in ("returned", "still")]
        first = max(fresh or notices, key=lambda n: (n.what == "still", n.entry.severity.rank))
        plant = words.of(self._plant.site.site.name, language)
        if len(notices) > 1:
            rest = TEXTS("subject.digest", language, plant=plant, count=len(notices))
        else:
            about = words.about(first.entry, self._plant, language)
            rest = " · ".join((plant, about, words.heading(first.entry, language)))
        simulated = "[SIMULATED] " if self._simulated else ""
        subject = made_safe(f"{simulated}[{self._mark(first, language)}] {rest}")
        return subject[:LONGEST_HEADER]

    @staticmethod
    def _mark(notice: Notice, language: Language) -> str:
        match notice.what:
            case "returned":
                return TEXTS("mark.over", language)
            case "still":
                return TEXTS("mark.still", language)
            case "reopened":
                return f"{TEXTS(f'mark.{notice.entry.severity}', language)}, {TEXTS('mark.back', language)}"
            case _:
                return TEXTS(f"mark.{notice.entry.severity}", language)

    def _block(self, notice: Notice, language: Language, now_ns: int, cid: str, caption: str) -> Block:
        entry = notice.entry
        lead = ""
        if notice.what == "returned":
            lead = TEXTS("over.lead", language)
        elif not entry.lasts:
            lead = TEXTS("already_over", language)
        elif notice.what == "still":
            lead = TEXTS("still.lead", language)
        unit = words.unit_of(entry, self._plant, "energy_kwh")
        return Block(
            number=entry.id,
            mark=self._mark(notice, language),
            severity=entry.severity.value,
            heading=words.heading(entry, language),
            about=words.about(entry, self._plant, language),
            lead=lead,
            meaning=words.meaning(entry, language),
            when=self._when(entry, language, now_ns),
            times=TEXTS("times", language, times=entry.times) if entry.times > 1 else "",
            facts=tuple(words.facts(entry, self._plant, language)),
            confidence=TEXTS("confidence", language, percent=round(entry.confidence * 100)),
            energy="" if entry.energy_kwh is None else f"{words.number(float(entry.energy_kwh))} {unit}",
            where=tuple(self._where(entry, language)),
            checks=() if notice.what == "returned" else tuple(words.checks(entry, language)),
            link=f"{self._page}/findings/{entry.id}" if self._page else "",
            cid=cid,
            caption=caption,
        )

    def _when(self, entry: Entry, language: Language, now_ns: int) -> str:
        start = words.local(entry.start_ns, self._zone)
        if entry.until_ns is not None:
            end = words.local(entry.until_ns, self._zone)
            length = words.duration(entry.until_ns - entry.start_ns, language)
            return TEXTS("span", language, start=start, end=end, length=length)
        if entry.condition is Condition.UNKNOWN:
            return TEXTS("unknown_since", language, start=start, seen=words.local(entry.last_seen_ns, self._zone))
        return TEXTS("since", language, start=start, length=words.duration(now_ns - entry.start_ns, language))

    def _where(self, entry: Entry, language: Language) -> list[tuple[str, str]]:
        def label(key: str) -> str:
            return TEXTS(key, language)

        plant, found = self._plant, []
        if entry.scope is Scope.METER and (meter := plant.meters.get(entry.subject)):
            bus = plant.buses[meter.bus]
            found += [
                (label("meter"), f"{words.of(meter.name, language)} ({meter.id})"),
                (label("line"), f"{bus.id}: {words.endpoint(bus)}"),
                (label("address"), meter.address),
                (label("gateway"), bus.gateway),
                (label("user"), self._path(meter, language)),
                (label("type"), words.of(plant.profile_of(meter).title, language)),
            ]
            return found
        if entry.scope is Scope.BUS and (line := plant.buses.get(entry.subject)):
            found += [(label("line"), f"{line.id}: {words.endpoint(line)}"), (label("gateway"), line.gateway)]
        elif entry.scope is Scope.GATEWAY:
            found.append((label("gateway"), entry.subject))
        names = [words.of(plant.meters[m].name, language) if m in plant.meters else m for m in entry.meters]
        shown = ", ".join(names[:8]) + (f" … ({len(names)})" if len(names) > 8 else "")
        return [*found, (label("meters"), shown)]

    def _path(self, meter: Meter, language: Language) -> str:
        names: list[str] = []
        user = self._plant.energy_users.get(meter.energy_user)
        while user is not None:
            names.append(words.of(user.name, language))
            user = self._plant.energy_users.get(user.parent) if user.parent else None
        return " › ".join(reversed(names))

    # --- the picture

    def _curve(self, entry: Entry, language: Language) -> tuple[Curve, tuple[str, float] | None] | None:
        """The curve around a finding: from the store if there is one, else what the evidence holds."""
        meter = self._plant.meters.get(entry.subject)
        if entry.scope is not Scope.METER or meter is None:
            return None
        name = POWER_LIKE[self._plant.carrier_of(meter)][0]
        t_ns: Sequence[int] = ()
        value: Sequence[float | None] = ()
        if self._curve_of is not None:
            end_ns = max(entry.until_ns or entry.last_seen_ns, entry.start_ns)
            margin = max(BEFORE_NS, end_ns - entry.start_ns)
            t_ns, value = self._curve_of(meter.id, name, Span(entry.start_ns - margin, end_ns + margin // 2))
        if not any(v is not None for v in value):
            t_ns, value = _evidence_curve(entry)
        if sum(v is not None for v in value) < 2:
            return None
        row = MEASURANDS[name]
        limit = None
        for key in LIMITS:
            level = entry.evidence.get(key)
            if key.endswith("_kw") and isinstance(level, int | float):
                limit = (words.EVIDENCE[key][0 if language == "en" else 1], float(level))
                break
        about = words.about(entry, self._plant, language)
        return Curve(
            f"{about}: {row.zh if language == 'zh' else row.en}", words.unit_words(row.unit), t_ns, value
        ), limit


def _evidence_curve(entry: Entry) -> tuple[Sequence[int], Sequence[float | None]]:
    t_ns, seen = entry.evidence.get("t_ns"), entry.evidence.get("seen_kw")
    if isinstance(t_ns, tuple) and isinstance(seen, tuple) and len(t_ns) == len(seen):
        return [int(t) for t in t_ns if t is not None], seen
    return (), ()
