"""What a page or a program is shown: plain values from the queries, in both languages, with age and doubt."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping

from analytics.findings import Severity
from headend import words
from headend.entries import Entry, State
from headend.findings import FindingsBook
from headend.intervals import Resolution
from headend.metered import account_of, power_of
from headend.plant_days import day_of, midnight_ns
from headend.queries import CarrierNow, Now, Queries, UserNow
from headend.stores.api import Span
from headend.web.shown import (
    Amount,
    CarrierLine,
    CurveData,
    Evidence,
    FindingLine,
    Grade,
    IntervalData,
    MeterLine,
    Name,
    Overview,
    Shade,
    UserLine,
    Value,
)
from meterline.clock import NS
from meterline.measurands import MEASURANDS
from meterline.plant import Plant
from meterline.profiles import Title
from meterline.readings import NO_VALUE, Quality
from meterline.wire import digest_of

HOUR_NS = 3600 * NS
SPARK_HOURS = 6
SPARK_POINTS = 72
LASTING = (State.OPEN, State.ACKNOWLEDGED)


class Views:
    """Makes what is shown from the queries and the book.

    Parameters
    ----------
    simulated : bool
        Said wherever a number is shown.
    """

    def __init__(self, queries: Queries, book: FindingsBook, plant: Plant, *, simulated: bool) -> None:
        self.queries, self.book, self.plant, self.simulated = queries, book, plant, simulated
        self.zone = plant.site.site.zone
        self._sparks: dict[str, tuple[int, tuple[float | None, ...]]] = {}

    # --- the plant

    def overview(self, now_ns: int) -> Overview:
        latest = self.queries.latest(now_ns)
        entries = self.book.entries(now_ns=now_ns, states=LASTING, most=2000)
        users = tuple(self._user(user, latest, entries, now_ns) for user in self.queries.overview(now_ns))
        lines = [meter for user in users for meter in user.meters]
        return Overview(
            now=self.iso(now_ns),
            site=self.plant.site.site.id,
            name=name_of(self.plant.site.site.name),
            simulated=self.simulated,
            users=users,
            meters=len(lines),
            fresh=sum(meter.state == "fresh" for meter in lines),
            findings={severity.value: count for severity, count in self.book.counts(now_ns).items()},
            unacknowledged=len(self.book.entries(now_ns=now_ns, states={State.RETURNED}, most=1000)),
            spark_hours=SPARK_HOURS,
            heard_anything=bool(latest),
        )

    def _user(
        self, user: UserNow, latest: Mapping[str, Mapping[str, Now]], entries: list[Entry], now_ns: int
    ) -> UserLine:
        known = self.plant.energy_users[user.user]
        own = [meter for meter in self.plant.site.meters if meter.energy_user == user.user]
        return UserLine(
            id=known.id,
            name=name_of(known.name),
            level=known.level,
            depth=self._depth(known.id),
            carriers=tuple(self._carrier(line) for line in user.carriers),
            meters=tuple(self.meter_line(meter.id, latest.get(meter.id, {}), entries, now_ns) for meter in own),
            ok=user.ok,
            total=user.ok + len(user.silent),
            silent=user.silent,
        )

    def _depth(self, user: str) -> int:
        depth, parent = 0, self.plant.energy_users[user].parent
        while parent is not None:
            depth, parent = depth + 1, self.plant.energy_users[parent].parent
        return depth

    @staticmethod
    def _carrier(line: CarrierNow) -> CarrierLine:
        grade: Grade = "missing" if line.power is None else ("partial" if line.fresh < line.meters else "measured")
        return CarrierLine(
            carrier=line.carrier.value,
            now=Value("", line.power, line.power_unit, (), grade, line.power_age_s, None),
            today=amount(line.today, line.unit, line.today_coverage, line.today_quality),
            fresh=line.fresh,
            meters=line.meters,
        )

    # --- one meter

    def meter_line(self, meter: str, latest: Mapping[str, Now], entries: list[Entry], now_ns: int) -> MeterLine:
        known = self.plant.meters[meter]
        power = power_of(self.plant, known)
        now = latest.get(power) if power else None
        mine = [entry for entry in entries if meter in entry.meters]
        worst = max((entry.severity for entry in mine), key=lambda s: s.rank, default=None)
        spark: tuple[float | None, ...] = ()
        if power is not None and latest:
            spark = self._spark(meter, power, now_ns)
        fresh = any(self._fresh(value) for value in latest.values())
        return MeterLine(
            id=meter,
            name=name_of(known.name),
            carrier=self.plant.carrier_of(known).value,
            now=self.value(now) if now else None,
            today=self.today(meter, now_ns),
            spark=spark,
            state="fresh" if fresh else ("silent" if latest else "never"),
            findings=len(mine),
            worst=worst.value if worst else None,
        )

    def today(self, meter: str, now_ns: int) -> Amount:
        """What the meter has counted since midnight."""
        midnight = midnight_ns(self.zone, day_of(self.zone, now_ns))
        days = self.queries.intervals(meter, "day", Span(midnight, now_ns + 1))
        account = account_of(self.plant, self.plant.meters[meter])
        unit = MEASURANDS[account].unit if account else ""
        if not days:
            return amount(None, unit, 0.0, int(Quality.MISSING))
        day = days[-1]
        elapsed = max(now_ns - midnight, 1)
        covered = min(1.0, day.coverage * (day.end_ns - day.start_ns) / elapsed)
        return amount(day.micro / 1e6 if day.has_energy else None, unit, covered, day.quality)

    def _spark(self, meter: str, measurand: str, now_ns: int) -> tuple[float | None, ...]:
        """Means at even steps up to the last full one, so that all sparklines of a page have one time axis.

        Worked out once a step, whoever looks: a page of a hundred meters is looked at every few seconds.
        """
        step = SPARK_HOURS * HOUR_NS // SPARK_POINTS
        end_ns = now_ns // step * step
        known = self._sparks.get(meter)
        if known is not None and known[0] == end_ns:
            return known[1]
        start_ns = end_ns - SPARK_POINTS * step
        curve = self.queries.curve(meter, measurand, Span(start_ns, end_ns), most=10 * SPARK_POINTS)
        sums, counts = [0.0] * SPARK_POINTS, [0] * SPARK_POINTS
        suspect = int(Quality.SUSPECT)
        for t, value, quality in zip(curve.t_ns.tolist(), curve.value.tolist(), curve.quality.tolist(), strict=True):
            at = min((t - start_ns) // step, SPARK_POINTS - 1)
            if at >= 0 and not math.isnan(value) and not quality & suspect:
                sums[at] += value
                counts[at] += 1
        spark = tuple(s / n if n else None for s, n in zip(sums, counts, strict=True))
        self._sparks[meter] = (end_ns, spark)
        return spark

    def curve(self, meter: str, measurand: str, span: Span, most: int) -> CurveData:
        """A curve with the findings that touch it."""
        curve = self.queries.curve(meter, measurand, span, most)
        quality = [int(q) for q in curve.quality.tolist()]
        touching = [
            entry
            for entry in self.book.entries(now_ns=span.end_ns, meter=meter, most=200)
            if entry.start_ns < span.end_ns and (entry.until_ns or span.end_ns) > span.start_ns
        ]
        row = MEASURANDS[measurand]
        return CurveData(
            meter=meter,
            measurand=measurand,
            name=Name(row.en, row.zh),
            unit=curve.unit,
            start=self.iso(span.start_ns),
            end=self.iso(span.end_ns),
            step_s=curve.step_ns / NS,
            t=tuple(self.iso(t) for t in curve.t_ns.tolist()),
            value=_numbers(curve.value.tolist()),
            low=_numbers(curve.low.tolist()),
            high=_numbers(curve.high.tolist()),
            quality=tuple(quality),
            suspect=tuple(n for n, q in enumerate(quality) if q & int(Quality.SUSPECT)),
            findings=tuple(self._shade(entry, span) for entry in touching),
        )

    def evidence(self, meter: str, span: Span, most: int = 100) -> list[Evidence]:
        """The batches a meter's readings of a span came in, as signed and chained by its gateway."""
        store = self.queries.store
        found = []
        for gateway, epoch, seq in store.origins(meter, span)[:most]:
            message = store.evidence(gateway, epoch, seq)
            if message is not None:
                url = f"/api/evidence/{gateway}/{epoch}/{seq}"
                found.append(Evidence(gateway, epoch, seq, digest_of(message).hex(), len(message), url))
        return found

    def _shade(self, entry: Entry, span: Span) -> Shade:
        return Shade(
            finding=entry.id,
            title=Name(words.heading(entry, "en"), words.heading(entry, "zh")),
            severity=entry.severity.value,
            start=self.iso(max(entry.start_ns, span.start_ns)),
            end=self.iso(min(entry.until_ns or span.end_ns, span.end_ns)),
        )

    def intervals(self, meter: str, resolution: Resolution, span: Span, measurand: str | None) -> list[IntervalData]:
        """Interval amounts, each with its doubt."""
        return [
            IntervalData(
                start=self.iso(interval.start_ns),
                end=self.iso(interval.end_ns),
                value=interval.micro / 1e6 if interval.has_energy else None,
                coverage=interval.coverage,
                quality=quality_names(interval.quality),
                grade=amount_grade(interval.has_energy, interval.coverage, interval.quality),
                open=interval.open,
                revision=interval.revision,
            )
            for interval in self.queries.intervals(meter, resolution, span, measurand)
        ]

    # --- findings

    def finding(self, entry: Entry, now_ns: int) -> FindingLine:
        """A finding for programs."""
        return FindingLine(
            id=entry.id,
            kind=entry.kind,
            title=Name(words.heading(entry, "en"), words.heading(entry, "zh")),
            scope=entry.scope.value,
            subject=entry.subject,
            about=Name(words.about(entry, self.plant, "en"), words.about(entry, self.plant, "zh")),
            meters=entry.meters,
            severity=entry.severity.value,
            state=entry.state(now_ns).value,
            condition=entry.condition.value,
            start=self.iso(entry.start_ns),
            end=None if entry.until_ns is None else self.iso(entry.until_ns),
            last_seen=self.iso(entry.last_seen_ns),
            times=entry.times,
            confidence=entry.confidence,
            energy=entry.energy_kwh,
            energy_unit=words.unit_of(entry, self.plant, "energy_kwh"),
            evidence=dict(entry.evidence),
            cause=entry.cause,
            stale=entry.stale,
            acknowledged_by=entry.acknowledged_by,
            acknowledged_why=entry.acknowledged_why,
        )

    def severities(self, entries: list[Entry]) -> Mapping[str, int]:
        """How many of each severity."""
        counts = Counter(entry.severity for entry in entries)
        return {severity.value: counts[severity] for severity in Severity}

    # --- small things

    def _fresh(self, now: Now) -> bool:
        return now.value is not None and now.age_s <= self.queries.fresh_ns / NS

    def value(self, now: Now) -> Value:
        """A newest value with its doubt."""
        grade = value_grade(now)
        if grade in ("measured", "suspect", "estimated") and not self._fresh(now):
            grade = "old"
        return Value(
            measurand=now.measurand,
            value=now.value,
            unit=now.unit,
            quality=quality_names(now.quality),
            grade=grade,
            age_s=now.age_s,
            read_at=self.iso(now.read_ns),
            source=now.source,
        )

    def iso(self, t_ns: int) -> str:
        """A moment in plant time with its offset, to the millisecond."""
        moment = dt.datetime.fromtimestamp(t_ns // NS, tz=dt.UTC).astimezone(self.zone)
        return moment.replace(microsecond=t_ns % NS // 1000).isoformat(timespec="milliseconds")


def name_of(title: Title) -> Name:
    return Name(title.en, title.zh)


def quality_names(bits: int) -> tuple[str, ...]:
    """The names of the bits that are set, lower case; empty for a good value."""
    return tuple(flag.name.lower() for flag in Quality if flag and flag.name and bits & flag)


def value_grade(now: Now) -> Grade:
    """A momentary value's doubt in one word."""
    if now.value is None or now.quality & NO_VALUE:
        return "missing"
    if now.quality & Quality.SUSPECT:
        return "suspect"
    return "estimated" if now.quality & (Quality.ESTIMATED | Quality.SUBSTITUTED) else "measured"


def amount_grade(known: bool, coverage: float, quality: int) -> Grade:
    """An amount's doubt in one word."""
    if not known:
        return "missing"
    if quality & (Quality.ESTIMATED | Quality.SUBSTITUTED):
        return "estimated"
    if quality & Quality.SUSPECT:
        return "suspect"
    return "measured" if coverage >= 0.99 else "partial"


def amount(value: float | None, unit: str, coverage: float, quality: int) -> Amount:
    """An amount with its doubt."""
    return Amount(value, unit, coverage, quality_names(quality), amount_grade(value is not None, coverage, quality))


def _numbers(values: list[float]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(v) else v for v in values)
