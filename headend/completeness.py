"""How much of what should have come has come: per gateway, meter and day, and what became of the rest.

Expected is what the plan says: the slots of the counter the account is kept with, at the rate its gateway polls it.
Each of them is received, or one thing explains its absence, looked for in this order: the meter answered without a
value; the meter was silent (recorded by the gateway, with the cause); its batch was lost (declared, with the reason) or
has not come yet; the gateway was off. What nothing explains is left over as such: there should be none.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from headend.catalogue import Catalogue
from headend.completeness_book import Bits, CompletenessBook, DayBits, Rates
from headend.ledger import holes
from headend.metered import account_of, power_of
from headend.plant_days import day_of, midnight_ns
from headend.stores.api import Span
from headend.stores.embedded import EmbeddedReader
from meterline.clock import NS
from meterline.plant import Meter, Plant
from meterline.profiles import Rate
from meterline.readings import MissingSpan, Quality
from meterline.wire import Health

LIMIT = 0.90
"""Received over expected of a day that is called complete (rule of the on-line monitoring platforms)."""
BOUNDARY_S = 60
"""A value this near to both midnights makes the day's boundary good (same rule). [s]"""
POLLS_A_ROUND = 20_000
QUARTER_NS = 900 * NS
GRACE_NS = 60 * NS
"""A value that comes later than this after its quarter-hour is late. [ns]"""
NO_LOSS = ("resealed", "forked")
"""Reasons of lost numbers whose readings came under other numbers."""
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class MeterDay:
    """One meter's day, in slots of its plan.

    Attributes
    ----------
    period_s
        Between two slots; of the last rate in force that day. [s]
    received, late
        Slots with a value; of these, those that came after their quarter-hour was closed.
    empty, silent, lost, coming, off, unexplained
        What became of the others: answered without a value; silent by cause; lost by reason; not here yet; the gateway
        was off; nothing explains it.
    estimated
        Quarter-hours of the day whose energy is estimated.
    boundary
        Whether a value lies within a minute of both midnights; None while the day runs.
    """

    meter: str
    gateway: str
    day: dt.date
    period_s: float
    expected: int
    received: int
    late: int = 0
    empty: int = 0
    silent: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    coming: int = 0
    off: int = 0
    unexplained: int = 0
    estimated: int = 0
    boundary: bool | None = None

    @property
    def share(self) -> float | None:
        """Received over expected; None where nothing was expected."""
        return self.received / self.expected if self.expected else None

    @property
    def complete(self) -> bool | None:
        """Whether the day meets `LIMIT`; None where nothing was expected."""
        return None if self.share is None else self.share >= LIMIT


class Completeness:
    """Takes in what the store commits; a round of the head-end.

    Parameters
    ----------
    factor
        Plant seconds per real second: on a fast clock everything is some plant minutes old when it arrives.
    """

    def __init__(
        self, plant: Plant, store: EmbeddedReader, catalogue: Catalogue, book: CompletenessBook, factor: float = 1.0
    ) -> None:
        self._plant, self._store, self._catalogue, self._book = plant, store, catalogue, book
        self._grace_ns = max(GRACE_NS, int(10 * factor * NS))
        self._measurands = {m.id: name for m in plant.site.meters if (name := measurand_of(plant, m)) is not None}

    def once(self, now_ns: int) -> None:
        """Note meters and rates, and take in polls committed since the last round."""
        self._book.note_meters(self._measurands, now_ns)
        for gateway, (_, health) in self._catalogue.health().items():
            rates = rates_of(health)
            if rates is not None:
                self._book.note_rates(gateway, rates)
        cursor = self._book.cursor()
        reached, arrivals = self._store.arrivals(cursor, POLLS_A_ROUND, self._measurands)
        if dict(reached) == cursor:
            return
        zone = self._plant.site.site.zone
        days: dict[tuple[str, dt.date], DayBits] = {}
        starts: dict[dt.date, int] = {}
        firsts: dict[str, int] = {}
        for arrival in arrivals:
            if arrival.slot_ns > now_ns + 24 * 3600 * NS:  # a clock in the future opens no days
                continue
            day = day_of(zone, arrival.slot_ns)
            start = starts.setdefault(day, midnight_ns(zone, day))
            bits = days.get((arrival.meter, day))
            if bits is None:
                seconds = (midnight_ns(zone, day + _DAY) - start) // NS
                bits = days[arrival.meter, day] = DayBits.none(seconds)
            firsts[arrival.meter] = min(arrival.slot_ns, firsts.get(arrival.meter, arrival.slot_ns))
            at = (arrival.slot_ns - start) // NS
            if not arrival.there:
                bits.empty[at] = True
                continue
            bits.seen[at] = True
            closed_ns = arrival.slot_ns // QUARTER_NS * QUARTER_NS + QUARTER_NS
            bits.late[at] = arrival.received_ns > closed_ns + self._grace_ns
        self._book.add(days, reached, firsts)

    def reread(self, utc_day: str) -> None:
        """The store lost or got back something of a day's file: what is known of that day is worked out again."""
        day = dt.date.fromisoformat(utc_day)
        cursor = self._book.cursor()
        for distance in (-2, -1, 0, 1, 2):
            cursor.pop((day + distance * _DAY).isoformat(), None)
        self._book.forget([day - _DAY, day, day + _DAY], cursor)


@dataclass(frozen=True, slots=True)
class _About:
    """What is asked once of a meter, for all days of a span."""

    meter: Meter
    gateway: str
    since_ns: int
    plan: list[Rates]
    away: list[tuple[str, Span]]
    silences: tuple[MissingSpan, ...]
    estimated: Counter[dt.date]


class CompletenessLedger:
    """Answers, for pages and the command line.

    Parameters
    ----------
    factor
        As for `Completeness`.
    """

    def __init__(
        self, plant: Plant, store: EmbeddedReader, catalogue: Catalogue, book: CompletenessBook, factor: float = 1.0
    ) -> None:
        self._plant, self._store, self._catalogue, self._book = plant, store, catalogue, book
        self._wait_ns = int(10 * factor * NS)
        self._zone = plant.site.site.zone

    def days(self, first: dt.date, last: dt.date, now_ns: int) -> list[MeterDay]:
        """Every meter and day of the span, by meter as in the site file; days nothing was expected of are left out."""
        last = min(last, day_of(self._zone, now_ns))
        if last < first:
            return []
        dates = [first + n * _DAY for n in range((last - first).days + 1)]
        whole = Span(midnight_ns(self._zone, first), midnight_ns(self._zone, last + _DAY))
        bits = self._book.days(first - _DAY, last + _DAY)
        begun, health = self._begun(), self._catalogue.health()
        found: list[MeterDay] = []
        for gateway in self._plant.gateways():
            meters = [m for m in self._plant.site.meters if self._plant.buses[m.bus].gateway == gateway]
            plan = self._book.rates(gateway)
            away = self._away(gateway, health.get(gateway, (0, None))[1], now_ns)
            off = {day: self._off(meters, bits, day, plan) for day in dates}
            for meter in meters:
                if meter.id in begun and measurand_of(self._plant, meter) is not None:
                    about = self._about(meter, gateway, begun[meter.id], plan, away, whole)
                    found += [
                        one for day in dates if (one := self._day(about, day, bits, off[day], now_ns)) is not None
                    ]
        order = {meter.id: n for n, meter in enumerate(self._plant.site.meters)}
        return sorted(found, key=lambda one: (order[one.meter], one.day))

    def _about(
        self, meter: Meter, gateway: str, since_ns: int, plan: list[Rates], away: list[tuple[str, Span]], whole: Span
    ) -> _About:
        account = account_of(self._plant, meter)
        quarters = self._catalogue.intervals(meter.id, account, "15min", whole) if account else []
        estimated = Counter(day_of(self._zone, q.start_ns) for q in quarters if q.quality & Quality.ESTIMATED)
        return _About(meter, gateway, since_ns, plan, away, self._store.missing(meter.id, whole), estimated)

    def _day(
        self, about: _About, day: dt.date, bits: Mapping[tuple[str, dt.date], DayBits], off: Bits, now_ns: int
    ) -> MeterDay | None:
        meter = about.meter.id
        start, end = midnight_ns(self._zone, day), midnight_ns(self._zone, day + _DAY)
        mine = bits.get((meter, day)) or DayBits.none((end - start) // NS)
        size = mine.seen.size
        expected, period_s = self._expected(about, Span(start, end), mine, now_ns)
        if expected is None or not expected.any():
            return None
        received = expected & mine.seen
        left = expected & ~mine.seen

        def take(mask: Bits) -> int:
            nonlocal left
            taken = int((left & mask).sum())
            left &= ~mask
            return taken

        empty = coming = gone = 0
        silent: dict[str, int] = defaultdict(int)
        lost: dict[str, int] = defaultdict(int)
        if left.any():
            empty = take(mine.empty)
            for silence in about.silences:
                until = now_ns if silence.end_ns is None else silence.end_ns
                if silence.start_ns < end and until > start:
                    silent[silence.cause] += take(_mask(start, size, Span(silence.start_ns, until)))
            for reason, stretch in about.away:
                taken = take(_mask(start, size, stretch))
                if reason:
                    lost[reason] += taken
                else:
                    coming += taken
            gone = take(off)
        return MeterDay(
            meter,
            about.gateway,
            day,
            period_s,
            expected=int(expected.sum()),
            received=int(received.sum()),
            late=int((received & mine.late).sum()),
            empty=empty,
            silent=_nonzero(silent),
            lost=_nonzero(lost),
            coming=coming,
            off=gone,
            unexplained=int(left.sum()),
            estimated=about.estimated[day],
            boundary=None
            if now_ns < end
            else _boundary(mine, bits.get((meter, day - _DAY)), bits.get((meter, day + _DAY))),
        )

    def _expected(self, about: _About, day: Span, bits: DayBits, now_ns: int) -> tuple[Bits | None, float]:
        """The slots of the plan, a bit a second, up to now; and the period last in force. [s]"""
        start, end = day.start_ns, day.end_ns
        rate = rate_of(self._plant, about.meter)
        mask = np.zeros(bits.seen.size, bool)
        period_s = 0.0
        known = about.plan or _observed(bits)
        if not known:
            return None, 0.0
        for rates, until in zip(known, [*(r.from_ns for r in known[1:]), 1 << 62], strict=True):
            if rates.from_ns >= end or until <= start:
                continue
            period_s = rates.period_s(rate)
            period = max(1, round(period_s * NS))
            first = max(start, about.since_ns, rates.from_ns)
            last = min(end, until, now_ns - max(2 * period, self._wait_ns))
            slots = np.arange(-(-first // period) * period, last, period, dtype=np.int64)
            mask[(slots - start) // NS] = True  # (empty where `last` lies before `first`)
        return mask, period_s

    def _begun(self) -> dict[str, int]:
        """Meter -> from when on something is expected of it, UTC. [ns]

        From its own first poll, or, where that is late or has never come, from when it was in the site file and its
        gateway delivered anything.
        """
        known = self._book.meters()
        found: dict[str, int] = {}
        for gateway in self._plant.gateways():
            meters = [m.id for m in self._plant.site.meters if self._plant.buses[m.bus].gateway == gateway]
            firsts = [first for meter in meters if (first := known.get(meter, (0, None))[1]) is not None]
            if not firsts:
                continue
            for meter in meters:
                if meter in known:
                    noted, first = known[meter]
                    since = max(noted, min(firsts))
                    found[meter] = since if first is None else min(since, first)
        return found

    def _off(
        self, meters: list[Meter], bits: Mapping[tuple[str, dt.date], DayBits], day: dt.date, plan: list[Rates]
    ) -> Bits:
        """Seconds of a day in which none of a gateway's meters was asked with any outcome: it was off (or cut off)."""
        seconds = (midnight_ns(self._zone, day + _DAY) - midnight_ns(self._zone, day)) // NS
        asked = np.zeros(seconds, bool)
        for meter in meters:
            one = bits.get((meter.id, day))
            if one is not None and one.seen.size == seconds:
                asked |= one.seen | one.empty
        classes = {rate_of(self._plant, meter) for meter in meters}
        least = int(1.5 * max((rates.period_s(rate) for rates in plan for rate in classes), default=60.0))
        off = np.zeros(seconds, bool)
        edges = np.concatenate(([-1], np.flatnonzero(asked), [seconds]))
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if b - a > least:
                off[a + 1 : b] = True
        return off

    def _away(self, gateway: str, health: Health | None, now_ns: int) -> list[tuple[str, Span]]:
        """Stretches whose batches are lost (with the reason) or have not come yet (with none)."""
        found: list[tuple[str, Span]] = []
        received = self._store.received(gateway)
        for lost in self._store.lost(gateway):
            if lost.reason not in NO_LOSS:
                before, behind = self._store.around(gateway, lost.epoch, lost.first, lost.last)
                found.append((lost.reason, Span(before or 0, behind or now_ns)))
        for epoch, ranges in received.items():
            for first, last in holes(ranges):
                before, behind = self._store.around(gateway, epoch, first, last)
                found.append(("", Span(before or 0, behind or now_ns)))
        if health is not None:
            top = max((last for _, last in received.get(health.epoch, ())), default=0)
            if health.next_seq - 1 > top:
                before, _ = self._store.around(gateway, health.epoch, top + 1, top + 1)
                found.append(("", Span(before or 0, now_ns)))
        return found


def _boundary(day: DayBits, before: DayBits | None, after: DayBits | None) -> bool:
    """Whether a value lies within a minute of both midnights."""
    begins = day.seen[: BOUNDARY_S + 1].any() or (before is not None and before.seen[-BOUNDARY_S:].any())
    ends = day.seen[-BOUNDARY_S:].any() or (after is not None and after.seen[: BOUNDARY_S + 1].any())
    return bool(begins and ends)


def measurand_of(plant: Plant, meter: Meter) -> str | None:
    """What a meter's completeness is counted with: the counter of its account, else its momentary use."""
    return account_of(plant, meter) or power_of(plant, meter)


def rate_of(plant: Plant, meter: Meter) -> Rate:
    """The rate class that measurand is polled at."""
    name = measurand_of(plant, meter)
    point = plant.profile_of(meter).point(name) if name is not None else None
    return Rate.NORMAL if point is None else plant.profile_of(meter).rate_of(point)


def rates_of(health: Health) -> Rates | None:
    """The rates a gateway tells in its sign of life; None for one that does not."""
    figures = health.figures
    if not all(figures.get(name, 0) > 0 for name in ("fast_s", "normal_s", "slow_s")):
        return None
    return Rates(health.at_ns, figures["fast_s"], figures["normal_s"], figures["slow_s"])


def _observed(bits: DayBits) -> list[Rates]:
    """Where a gateway says nothing of its rates: the usual distance of the slots that came."""
    came = np.flatnonzero(bits.seen | bits.empty)
    if came.size < 3:
        return []
    distances, counts = np.unique(np.diff(came), return_counts=True)
    usual = float(distances[np.argmax(counts)])
    return [Rates(0, usual, usual, usual)]


def _mask(start_ns: int, seconds: int, span: Span) -> Bits:
    """The seconds of a day inside a half-open span."""
    mask = np.zeros(seconds, bool)
    first = max(0, -(-(span.start_ns - start_ns) // NS))
    last = max(0, -(-(span.end_ns - start_ns) // NS))
    mask[first:last] = True
    return mask


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}


def total(days: Iterable[MeterDay]) -> tuple[int, int]:
    """Expected and received of several days together."""
    expected = received = 0
    for one in days:
        expected, received = expected + one.expected, received + one.received
    return expected, received
