"""Fetching what a DL/T 645-2007 meter remembers: the last midnight, the last event, and what we missed.

The value at the stroke of midnight comes from the meter's own daily freeze, not from a poll seconds later. After an
outage, of the line or of the gateway, the load curve fills the gap. All of it is handed on as read at the moment it
belongs to, as from the meter's memory; its moments are those of the meter's clock, so that where this is known to be
off by more than a minute they are marked SUSPECT.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from collector.errands import LACKING_NS, Failed, Job, Pace, Reply, Row, Steps
from collector.protocols.dlt645 import ReadItem, digits
from collector.protocols.dlt645_records import LoadRecord, load_records, moment, records_from
from collector.watch import Watch
from meterline.clock import NS
from meterline.errors import FrameError
from meterline.meter_clock import DRIFT_S, digits_of, moment_ns
from meterline.profiles import DailyFreeze, Dlt645Profile, ItemPoint, LoadRecords
from meterline.readings import Column, Number, Quality, Shape, Source

EACH_COUNTER = 4
"""Bytes of a counter in a freeze. [bytes]"""
BEFORE_NS = 1_000_000
"""The slot of a remembered value lies so long before its moment. [ns]"""
DAY_NS = 86_400 * NS
CLEAR_OF_MIDNIGHT_NS = 600 * NS
"""The freeze is fetched this long after midnight: by then a meter a little behind has had its midnight too. [ns]"""
WORTH_NS = 300 * NS
"""A gap shorter than this is not worth asking the load curve for. [ns]"""
MOST_QUESTIONS = 200
"""Questions for one gap; what is left is asked for in the next errand."""
INVALID, SUSPECT = int(Quality.INVALID), int(Quality.SUSPECT)

Ask = Callable[..., ReadItem]


def memory_jobs(profile: Dlt645Profile, ask: Ask, zone: ZoneInfo, watch: Watch, missed_since_ns: int = 0) -> list[Job]:
    """What there is to fetch from the memory of a meter of this type.

    Parameters
    ----------
    ask
        Makes a request to this meter: identifier, expected bytes, detail.
    missed_since_ns
        When the gateway itself stopped reading; 0 if that is not known. [ns]
    """
    jobs: list[Job] = []
    if any(isinstance(point, ItemPoint) and point.record and point.enabled for point in profile.points):
        jobs.append(LastEvents(profile, ask, zone))
    if profile.memory.daily_freeze is not None:
        jobs.append(Midnights(profile, profile.memory.daily_freeze, ask, zone, watch, missed_since_ns))
    if profile.memory.load_records is not None:
        jobs.append(Gaps(profile, profile.memory.load_records, ask, zone, watch))
    return jobs


@dataclass
class LastEvents:
    """When a count of events has risen (and once at the start), fetch the record of the last event."""

    profile: Dlt645Profile
    ask: Ask
    zone: ZoneInfo
    _counts: dict[str, Number] = field(default_factory=dict)
    _risen: list[ItemPoint] = field(default_factory=list)
    _pace: Pace = field(default_factory=lambda: Pace(NS))

    def due_ns(self) -> int:
        return self._pace.next_ns if self._risen else 2**62

    def ended(self, now_ns: int, *, worked: bool) -> None:
        self._pace.ended(now_ns, worked=worked)

    def missed(self, start_ns: int, end_ns: int) -> None:
        return None

    def saw(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for point, number in zip(row.points, row.numbers, strict=False):
                if isinstance(point, ItemPoint) and point.record and number is not None:
                    if number > self._counts.get(point.measurand, 0) and point not in self._risen:
                        self._risen.append(point)
                    self._counts[point.measurand] = number

    def begin(self, now_ns: int) -> Steps:
        rows: list[Row] = []
        while self._risen:
            point = self._risen[0]
            assert point.record is not None
            reply = yield self.ask(point.record, 60)
            if reply.payload is None and not reply.lacks:
                raise Failed
            self._risen.pop(0)
            if reply.payload is not None:
                rows.append(self._row(point, reply.payload[point.record_at : point.record_at + 6], reply.at_ns))
        return rows

    def _row(self, point: ItemPoint, raw: bytes, now_ns: int) -> Row:
        """The time of the event, placed at that time; at now where it cannot be."""
        when = moment(raw)
        at_ns = moment_ns(when, self.zone) if when else None
        quality = 0
        if at_ns is None or not now_ns - 40 * 366 * DAY_NS < at_ns < now_ns + DAY_NS:
            quality = INVALID if not when else SUSPECT
            at_ns = now_ns // NS * NS
        shape = Shape(self.profile.id, (Column(f"{point.measurand}.last", 0),))
        return Row(
            (),
            shape,
            at_ns - BEFORE_NS,
            (BEFORE_NS // 1_000_000,),
            [when if quality != INVALID else None],
            [quality],
            Source.METER_MEMORY,
        )


@dataclass
class Midnights:
    """Fetch the counters as they stood at midnight: each day the last one, at the start those that were missed."""

    profile: Dlt645Profile
    freeze: DailyFreeze
    ask: Ask
    zone: ZoneInfo
    watch: Watch
    missed_since_ns: int = 0
    _pace: Pace = field(default_factory=lambda: Pace(DAY_NS, after_ns=CLEAR_OF_MIDNIGHT_NS))
    _newest_ns: int = 0

    def due_ns(self) -> int:
        return self._pace.next_ns

    def ended(self, now_ns: int, *, worked: bool) -> None:
        self._pace.origin_ns = self._midnight(now_ns)
        self._pace.ended(now_ns, worked=worked)

    def saw(self, rows: Sequence[Row]) -> None:
        return None

    def missed(self, start_ns: int, end_ns: int) -> None:
        """An outage across a midnight: fetch it now, not tomorrow."""
        if self._newest_ns < self._midnight(end_ns):
            self._pace.next_ns = 0

    def begin(self, now_ns: int) -> Steps:
        known_ns = max(self._newest_ns, self.missed_since_ns)
        days = 1 if not known_ns else -(-(self._midnight(now_ns) - known_ns) // DAY_NS)
        rows: list[Row] = []
        for ago in range(1, min(max(days, 1), self.freeze.days) + 1):
            row = yield from self._freeze(ago, now_ns)
            if row is None:
                break
            rows.append(row)
            self._newest_ns = max(self._newest_ns, row.read_ns(0))
        return rows

    def _freeze(self, ago: int, now_ns: int) -> Generator[ReadItem, Reply, Row | None]:
        """One day's freeze; its time is read before and after, so that no midnight falls between time and values."""
        time = self.ask(f"{self.freeze.time}{ago:02X}", 5)
        before = yield time
        if before.payload is None:
            if before.lacks:
                return None
            raise Failed
        columns: list[Column] = []
        numbers: list[int | None] = []
        for block in self.freeze.blocks:
            reply = yield self.ask(f"{block.di}{ago:02X}", EACH_COUNTER * len(block.counters))
            if reply.payload is None:
                if not reply.lacks:
                    raise Failed
                continue
            for index, name in enumerate(block.counters):
                raw = reply.payload[EACH_COUNTER * index : EACH_COUNTER * (index + 1)]
                if len(raw) == EACH_COUNTER:
                    columns.append(_column(self.profile, name))
                    numbers.append(digits(raw))
        after = yield time
        when = moment(before.payload)
        at_ns = moment_ns(when, self.zone) if when else None
        if after.payload != before.payload:
            raise Failed
        if not columns or at_ns is None or not now_ns - (self.freeze.days + 1) * DAY_NS < at_ns <= now_ns + DAY_NS:
            return None  # it has never frozen, or so long ago that the meter has been off since
        return _memory_row(self.profile, at_ns, columns, numbers, self.watch)

    def _midnight(self, now_ns: int) -> int:
        local = dt.datetime.fromtimestamp(now_ns // NS, self.zone)
        return int(local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * NS


@dataclass
class Gaps:
    """Fill what was missed from the load curve, oldest first, a few records at a time."""

    profile: Dlt645Profile
    records: LoadRecords
    ask: Ask
    zone: ZoneInfo
    watch: Watch
    _open: list[tuple[int, int]] = field(default_factory=list)
    _pace: Pace = field(default_factory=lambda: Pace(NS))
    _lacking_until_ns: int = 0

    def due_ns(self) -> int:
        return max(self._pace.next_ns, self._lacking_until_ns) if self._open else 2**62

    def ended(self, now_ns: int, *, worked: bool) -> None:
        self._pace.ended(now_ns, worked=worked)

    def saw(self, rows: Sequence[Row]) -> None:
        return None

    def missed(self, start_ns: int, end_ns: int) -> None:
        if end_ns - start_ns >= WORTH_NS:
            self._open.append((start_ns, end_ns))

    def begin(self, now_ns: int) -> Steps:
        rows: list[Row] = []
        for _ in range(MOST_QUESTIONS):
            if not self._open:
                break
            start_ns, end_ns = self._open[0]
            minute = digits_of(start_ns, self.zone) // 100
            expected = 40 * self.records.at_once
            reply = yield self.ask(self.records.di, expected, records_from(minute, self.records.at_once))
            if reply.payload is None and not reply.lacks:
                if rows:
                    break  # what has come so far is kept; the rest later
                raise Failed
            try:
                came = list(load_records(reply.payload or b""))
            except FrameError:
                came = []
            moments = [at for record in came if (at := moment_ns(record.minute * 100, self.zone)) is not None]
            newest_ns = max(moments, default=0)
            if newest_ns < start_ns:  # no record so late, or none at all, or not in a form we know
                self._open.pop(0)
                self._lacking_until_ns = now_ns + LACKING_NS if reply.lacks else 0
                continue
            rows += self._rows_of(came, start_ns, end_ns)
            self._open[0] = (newest_ns + 60 * NS, end_ns)
            if newest_ns + 60 * NS >= end_ns:
                self._open.pop(0)
        return rows

    def _rows_of(self, records: Iterable[LoadRecord], start_ns: int, end_ns: int) -> Iterable[Row]:
        for record in records:
            at_ns = moment_ns(record.minute * 100, self.zone)
            energies = dict(zip(self.records.energies, record.energies(), strict=False))
            if at_ns is not None and start_ns <= at_ns < end_ns and energies and not record.is_damaged:
                columns = [_column(self.profile, name) for name in energies]
                yield _memory_row(self.profile, at_ns, columns, list(energies.values()), self.watch)


def _column(profile: Dlt645Profile, measurand: str) -> Column:
    point = next(point for point in profile.points if point.measurand == measurand)
    return Column(measurand, point.exponent)


def _memory_row(
    profile: Dlt645Profile, at_ns: int, columns: Sequence[Column], numbers: Sequence[int | None], watch: Watch
) -> Row:
    """Counters at a moment of the meter's own clock: not read late but noted then.

    The slot is the millisecond before it: a poll of that very slot, read seconds later, stands beside it and is not
    taken for another value of the same moment.
    """
    doubt = SUSPECT if watch.is_other or abs(watch.clock_offset_s or 0.0) > DRIFT_S else 0
    return Row(
        (),
        Shape(profile.id, tuple(columns)),
        at_ns - BEFORE_NS,
        (BEFORE_NS // 1_000_000,),
        list(numbers),
        [INVALID if number is None else doubt for number in numbers],
        Source.METER_MEMORY,
    )
