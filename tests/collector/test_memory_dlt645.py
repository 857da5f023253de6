"""What a meter remembers is fetched, placed at its own moment, and never taken for something read now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from collector.bus import Outcome
from collector.dialects import Dlt645Dialect
from collector.errands import Errands, ReadPoints, Row
from collector.memory_dlt645 import memory_jobs
from collector.protocols.dlt645 import Dlt645Question, ReadItem
from collector.simulated import Factory, Load
from collector.simulated.item_meters import ItemFraming, ItemMeter
from collector.watch import Watch
from meterline.clock import NS, ManualClock
from meterline.errors import Garbled, Refused, Silent
from meterline.paths import profiles_dir
from meterline.profiles import Dlt645Profile, Rate, load_profiles
from meterline.readings import Exchange, Quality, Source, exact
from tests.collector.simulated.sites import MONDAY_NS, meter, plant, tcp_bus

PAGE = load_profiles(profiles_dir())["dlt645-2007-three-phase"]
ADDRESS, HOUR_NS, DAY_NS = "000000000007", 3600 * NS, 86_400 * NS
ZONE = ZoneInfo("Asia/Shanghai")
NAME = "energy.active.import"


class Floor:
    """One simulated meter, and the errands of the collector that asks it, without a line between them."""

    def __init__(self, *, missed_since_ns: int = 0, page: Dlt645Profile | None = None, serial: str = "") -> None:
        assert isinstance(PAGE, Dlt645Profile)
        page = page or PAGE
        self.clock = ManualClock(MONDAY_NS)
        site = plant(
            [meter("m", profile=page.profile, address=ADDRESS, serial=serial)], [tcp_bus(1, "rtu-over-tcp")], page
        )
        self.factory = Factory(site, self.clock, loads={"m": Load(shape="base", peak=40, unrest=0.2)})
        made = self.factory.meters["m"]
        assert isinstance(made, ItemMeter)
        self.meter = made
        self.watch = Watch("m", serial, ZONE)
        self.dialect = Dlt645Dialect(page, ADDRESS)
        memory = memory_jobs(page, self.dialect.memory_request, ZONE, self.watch, missed_since_ns)
        self.errands = Errands([*(ReadPoints(self.dialect, rate) for rate in (Rate.HOURLY, Rate.DAILY)), *memory])
        self.asked: list[ReadItem] = []
        self.fails = False
        self.limit = 10_000

    def work(self) -> list[Row]:
        """Let every errand that is due come to its end."""
        return list(self._rows())

    def _rows(self) -> Iterator[Row]:
        for _ in range(self.limit):
            now_ns = self.clock.now_ns()
            request = self.errands.ask(now_ns)
            if request is None:
                return
            assert isinstance(request, ReadItem)
            self.asked.append(request)
            self.clock.t_ns = now_ns + 400 * 1_000_000
            rows, exchanges = self.errands.take(*self._outcome(request), self.clock.now_ns())
            assert not rows or exchanges
            for row in rows:
                if row.points:
                    self.watch.judge(row.points, row.shape, row.numbers, row.qualities, row.read_ns)
                yield row
        raise AssertionError("errands without end")

    def _outcome(self, request: ReadItem) -> tuple[Outcome, bool]:
        t_ns = self.clock.now_ns()
        if self.fails:
            return Outcome(b"", Silent("no answer"), Exchange(b"?", b"", t_ns, None, "silent")), False
        question: Dlt645Question | None = Dlt645Question(request)
        payload = b""
        while question is not None:
            ((_, address, pdu),) = ItemFraming().requests(question.request)
            reply = self.meter.reply(pdu[0], pdu[1:], t_ns)
            assert reply is not None
            assert address == ADDRESS
            try:
                part = question.answer(bytearray(ItemFraming.frame(ADDRESS, *reply)))
            except Refused as error:
                return Outcome(b"", error, Exchange(b"?", b"!", t_ns, t_ns, "refused")), self.dialect.lacks(error.code)
            assert part is not None
            payload += part
            question = question.following()
        return Outcome(payload, None, Exchange(b"?", payload, t_ns, t_ns)), False

    def shown(self, at_ns: int, measurand: str = NAME) -> Decimal:
        return self.meter.shown(measurand, at_ns).value


def remembered(rows: list[Row], measurand: str = NAME) -> dict[int, Decimal]:
    """Moment -> value of what came from memory."""
    return {
        row.read_ns(0): exact(number, column.exponent)
        for row in rows
        if row.source is Source.METER_MEMORY
        for column, number in zip(row.shape.columns, row.numbers, strict=True)
        if column.measurand == measurand and number is not None
    }


def local(*fields: int) -> int:
    return int(dt.datetime(*fields, tzinfo=ZONE).timestamp()) * NS  # type: ignore[arg-type,misc]


MIDNIGHT = local(2026, 5, 19)


def test_the_exact_midnight_comes_from_the_meters_own_freeze() -> None:
    floor = Floor()
    floor.work()
    floor.clock.t_ns = MIDNIGHT + 5 * 60 * NS
    assert MIDNIGHT not in remembered(floor.work()), "not before the meter must have had its midnight"
    floor.clock.t_ns = MIDNIGHT + 11 * 60 * NS
    rows = floor.work()
    assert remembered(rows) == {MIDNIGHT: floor.shown(MIDNIGHT)}
    assert remembered(rows, "energy.active.import.t3") == {MIDNIGHT: floor.shown(MIDNIGHT, "energy.active.import.t3")}
    (row,) = [row for row in rows if row.source is Source.METER_MEMORY]
    assert row.slot_ns < MIDNIGHT, "the poll of midnight keeps its own slot"
    assert not any(row.qualities)
    floor.clock.t_ns = MIDNIGHT + 20 * HOUR_NS
    assert not remembered(floor.work()), "once is enough"


def test_days_the_gateway_was_off_are_fetched_at_its_start() -> None:
    floor = Floor(missed_since_ns=MONDAY_NS + HOUR_NS)
    floor.clock.t_ns = MIDNIGHT + 2 * DAY_NS + 9 * HOUR_NS
    floor.factory._physics.advance(floor.clock.now_ns())
    wanted = {MIDNIGHT + n * DAY_NS: floor.shown(MIDNIGHT + n * DAY_NS) for n in range(3)}
    assert remembered(floor.work()) == wanted


def test_a_midnight_between_time_and_values_is_noticed() -> None:
    floor = Floor()
    floor.work()
    floor.clock.t_ns = MIDNIGHT + 30 * 60 * NS
    real = floor.meter.reply
    reads = 0

    def reply(control: int, data: bytes, t_ns: int) -> Any:
        nonlocal reads
        reads += data[:4] == bytes.fromhex("01000605")
        return real(control, data, t_ns + (DAY_NS if reads == 1 else 0))

    floor.meter.reply = reply  # type: ignore[method-assign]
    floor.factory._physics.advance(floor.clock.now_ns() + DAY_NS + HOUR_NS)
    assert not remembered(floor.work()), "it is thrown away"
    floor.clock.t_ns = floor.clock.now_ns() + 120 * NS
    assert list(remembered(floor.work())) == [MIDNIGHT], "and asked for again"


def test_a_gap_is_filled_from_the_load_curve() -> None:
    floor = Floor()
    floor.work()
    start, end = MONDAY_NS + 2 * HOUR_NS, MONDAY_NS + 7 * HOUR_NS
    floor.clock.t_ns = end
    floor.factory._physics.advance(end)
    floor.errands.missed(start, end)
    rows = floor.work()
    quarters = range(start, end, 900 * NS)
    assert remembered(rows) == {at: floor.shown(at) for at in quarters}
    assert remembered(rows, "energy.active.export") == {at: floor.shown(at, "energy.active.export") for at in quarters}
    assert floor.work() == [], "once is enough"


def test_a_short_gap_is_left_alone() -> None:
    floor = Floor()
    floor.work()
    floor.errands.missed(MONDAY_NS, MONDAY_NS + 120 * NS)
    assert floor.work() == []


def test_an_outage_over_midnight_brings_that_midnight_at_once() -> None:
    floor = Floor()
    floor.work()
    floor.clock.t_ns = MIDNIGHT + 3 * HOUR_NS
    floor.factory._physics.advance(floor.clock.now_ns())
    floor.errands.missed(MIDNIGHT - HOUR_NS, MIDNIGHT + 3 * HOUR_NS)
    assert MIDNIGHT in remembered(floor.work())


def test_what_breaks_off_is_taken_up_again_later() -> None:
    floor = Floor()
    floor.work()
    end = MONDAY_NS + 6 * HOUR_NS
    floor.clock.t_ns = end
    floor.factory._physics.advance(end)
    floor.errands.missed(MONDAY_NS, end)
    floor.fails = True
    assert floor.work() == []
    assert len(floor.asked) < 60, "a meter that does not answer is not hammered"
    floor.fails = False
    floor.clock.t_ns = end + 2 * HOUR_NS
    assert set(range(MONDAY_NS, end, 900 * NS)) <= set(remembered(floor.work()))


def test_a_meter_without_a_load_curve_is_asked_once_a_day() -> None:
    assert isinstance(PAGE, Dlt645Profile)
    bare = PAGE.model_copy(update={"memory": PAGE.memory.model_copy(update={"load_records": None})})
    floor = Floor()
    floor.meter.profile = bare
    floor.work()
    for hour in range(1, 5):
        floor.clock.t_ns = MONDAY_NS + hour * HOUR_NS
        floor.errands.missed(MONDAY_NS + (hour - 1) * HOUR_NS, MONDAY_NS + hour * HOUR_NS)
        floor.work()
    assert sum(request.di == "06040001" for request in floor.asked) == 1


def test_a_cover_that_was_opened_is_told_with_its_time() -> None:
    floor = Floor()
    floor.work()
    opened = MONDAY_NS + 25 * 60 * NS + 7 * NS
    floor.meter.events["events.cover_open"] = [opened]
    floor.clock.t_ns = MONDAY_NS + HOUR_NS
    rows = floor.work()
    counts = [
        n
        for row in rows
        for c, n in zip(row.shape.columns, row.numbers, strict=True)
        if c.measurand == "events.cover_open"
    ]
    assert counts == [1]
    assert remembered(rows, "events.cover_open.last") == {opened: Decimal(20_260_518_082_507)}
    records = [request.di for request in floor.asked if request.di == "03300D01"]
    assert len(records) == 1
    floor.clock.t_ns = MONDAY_NS + 2 * HOUR_NS
    floor.work()
    assert [request.di for request in floor.asked if request.di == "03300D01"] == records, "nothing new, nothing asked"


def test_the_record_of_a_clock_set_begins_with_the_operator() -> None:
    floor = Floor()
    floor.meter.events["events.clock_set"] = [MONDAY_NS - DAY_NS]
    assert remembered(floor.work(), "events.clock_set.last") == {MONDAY_NS - DAY_NS: Decimal(20_260_517_080_000)}


def test_the_meters_clock_is_watched(caplog: pytest.LogCaptureFixture) -> None:
    floor = Floor()
    floor.meter.clock_ahead_s = 3.0
    rows = floor.work()
    assert floor.watch.clock_offset_s == pytest.approx(3.0, abs=1.0)
    assert not any(q & Quality.SUSPECT for row in rows for q in row.qualities)
    floor.meter.clock_ahead_s = -400.0
    floor.clock.t_ns = MIDNIGHT + 30 * 60 * NS
    rows = floor.work()
    assert floor.watch.clock_offset_s == pytest.approx(-400.0, abs=1.0)
    doubted = {
        c.measurand
        for row in rows
        for c, q in zip(row.shape.columns, row.qualities, strict=True)
        if q & Quality.SUSPECT
    }
    assert {"clock.time", NAME} <= doubted, "its clock, and the midnight it took by that clock"
    assert "its clock is -400 s from ours" in caplog.text


def test_another_meter_than_the_inventorys_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    floor = Floor(serial="000000000815")
    floor.work()
    assert not floor.watch.is_other
    floor = Floor(serial="000000000815")
    floor.meter.meter = floor.meter.meter.model_copy(update={"serial": "000000004711"})
    rows = floor.work()
    assert floor.watch.is_other
    assert "is number 4711, the site file says 815" in caplog.text
    assert any(q & Quality.SUSPECT for row in rows for q in row.qualities)


def test_at_the_start_everything_is_asked_for_once_and_then_rests() -> None:
    floor = Floor()
    floor.work()
    first = len(floor.asked)
    assert 14 <= first <= 25
    floor.work()
    assert len(floor.asked) == first
    floor.clock.t_ns = MONDAY_NS + HOUR_NS
    floor.work()
    assert len(floor.asked) - first == 13, "the hourly requests, and no more"


def test_a_garbled_answer_leaves_the_errand_for_later() -> None:
    floor = Floor()
    request = floor.errands.ask(MONDAY_NS)
    outcome = Outcome(b"", Garbled("noise"), Exchange(b"?", b"!", MONDAY_NS, None, "garbled"))
    assert request is not None
    assert floor.errands.take(outcome, False, MONDAY_NS)[0] == ()
    assert floor.errands.ask(MONDAY_NS + NS) != request, "another errand goes first"
