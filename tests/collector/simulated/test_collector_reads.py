"""The collector, asking the factory, reads what the displays showed: two implementations, one number."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pytest

from collector.dialects import dialect_of
from collector.poller import BusMaster
from collector.protocols.cjt188 import Cjt188Question, ReadData
from collector.protocols.dlt645 import Dlt645Question, ReadItem
from collector.protocols.mbus import REQUESTS, AskForData, MbusQuestion
from collector.protocols.modbus import Read
from collector.simulated import Factory, Recipe
from collector.simulated.answer_meters import FieldFraming, FieldMeter, RecordFraming
from collector.simulated.answering import AnyMeter
from collector.simulated.demo_site import Ports, demo_site
from collector.simulated.item_meters import ItemFraming, ItemMeter
from collector.simulated.journal import read_shown
from collector.simulated.meters import SimulatedMeter
from meterline.clock import NS, ManualClock, ScaledClock
from meterline.paths import profiles_dir
from meterline.plant import Plant, load_plant
from meterline.profiles import load_profiles
from meterline.readings import MissingSpan, Number, Poll, Quality
from meterline.settings import Rates
from tests.collector.simulated.sites import MONDAY_NS, meter, plant, tcp_bus

PROFILES = load_profiles(profiles_dir())


ADDRESSES = {"modbus": "1", "dlt645": "000000000001", "cjt188": "78330011223344", "mbus": "1"}


def heard_by(made: AnyMeter, request: object, t_ns: int) -> bytes | None:
    """What a simulated meter answers to a question of the collector, taken out of the frames it sent."""
    if isinstance(made, SimulatedMeter):
        assert isinstance(request, Read)
        words = made.read(request.table, request.address, request.count, t_ns)
        return b"".join(word.to_bytes(2, "big") for word in words)
    question: Dlt645Question | Cjt188Question | MbusQuestion | None
    if isinstance(made, ItemMeter):
        assert isinstance(request, ReadItem)
        question = Dlt645Question(request)
        ((_, _, pdu),) = ItemFraming().requests(question.request)
        answer = made.reply(pdu[0], pdu[1:], t_ns)
        assert answer is not None
        return question.answer(bytearray(ItemFraming.frame(made.address, *answer)))
    if isinstance(made, FieldMeter):
        assert isinstance(request, ReadData)
        question = Cjt188Question(request)
        ((type_, address, pdu),) = FieldFraming().requests(question.request)
        assert made.is_meant(type_, address)
        answer = made.reply(pdu[0], pdu[1:], t_ns)
        assert answer is not None
        return question.answer(bytearray(FieldFraming.frame(type_, made.address, *answer)))
    assert isinstance(request, AskForData)
    question, payload = MbusQuestion(request, cycle(REQUESTS)), b""
    while question is not None:
        ((address_, control),) = RecordFraming().requests(question.request)
        assert address_ == int(made.address)
        payload += question.answer(bytearray(made.reply(control, t_ns) or b"")) or b""
        question = question.following()
    return payload


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_number_of_every_shipped_profile_is_decoded_as_it_was_shown(name: str) -> None:
    page = PROFILES[name]
    ratios = [{"valid_from": "2020-01-01", "ct": "150/5"}] if page.value_reference == "secondary" else []
    entry = meter("m", profile=name, ratios=ratios, address=ADDRESSES[page.protocol])
    made = Factory(plant([entry], [tcp_bus(1)]), ManualClock(MONDAY_NS)).meters["m"]
    dialect = dialect_of(page, ADDRESSES[page.protocol])
    plan = dialect.plan()
    t_ns = MONDAY_NS + 4321 * NS
    numbers: list[Number | None] = [None] * len(plan.points)
    qualities = [0] * len(plan.points)
    for block in plan.blocks:
        payload = heard_by(made, dialect.request(block), t_ns)
        assert payload is not None
        dialect.decoder(block, plan.points).into(payload, numbers, qualities)
    assert plan.points
    shown = [made.shown(point.measurand, t_ns).number for point in plan.points]
    # a pattern that the page calls "no value" (a SunSpec counter of 0) is none, even where it is what is shown
    none = [number in getattr(point, "not_available", ()) for number, point in zip(shown, plan.points, strict=True)]
    assert numbers == [None if empty else number for number, empty in zip(shown, none, strict=True)]
    assert [quality == Quality.INVALID for quality in qualities] == none
    assert none.count(False) >= len(none) / 2


class Listener:
    """Keeps what the collector tells."""

    def __init__(self) -> None:
        self.polls: list[Poll] = []
        self.spans: list[MissingSpan] = []

    def poll(self, poll: Poll) -> None:
        self.polls.append(poll)

    def missing(self, span: MissingSpan) -> None:
        self.spans.append(span)


def counters(polls: list[Poll], site: Plant) -> Iterator[tuple[str, int, str, Number]]:
    for poll in polls:
        names = [column.measurand for column in poll.shape.columns]
        page = site.profile_of(site.meters[poll.meter])
        for name, number in zip(names, poll.numbers, strict=True):
            point = page.point(name)
            if number is not None and point is not None and point.kind == "counter":
                yield poll.meter, poll.slot_ns, name, number


@pytest.mark.slow
def test_over_all_lines_and_through_line_faults_every_counter_read_is_one_that_was_shown(tmp_path: Path) -> None:
    files = demo_site(tmp_path, Ports.free())
    site = load_plant(files.site, profiles_dir())
    clock = ScaledClock.starting_at(MONDAY_NS, 120.0)
    faults = [
        Recipe.model_validate({"kind": kind, "meter": name, "after_min": 1, "lasts_min": 120})
        for kind, name in (("noise", "m-cnc-1"), ("late", "m-compressor-1"), ("silent", "m-sand"))
    ]
    factory = Factory(site, clock, faults=faults, state_dir=tmp_path / "state", journal_reads=True)
    listener = Listener()

    async def run() -> None:
        up = asyncio.Event()
        serving = asyncio.create_task(factory.serve(up.set))
        await asyncio.wait_for(up.wait(), 5)
        masters = [BusMaster(bus, site, Rates(), clock, listener) for bus in site.site.buses]
        polling = [asyncio.create_task(master.run()) for master in masters]
        await clock.sleep_until(MONDAY_NS + 8 * 60 * NS)
        for task in (*polling, serving):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())
    rows = read_shown(tmp_path / "state")
    shown = {(row["meter"], name, number) for row in rows for name, number in row["shown"].items()}
    read = list(counters(listener.polls, site))
    assert len(read) > 100
    assert [one for one in read if (one[0], one[2], one[3]) not in shown] == []
    assert {"m-main", "m-melting", "m-cnc-2", "m-offices", "m-water"} <= {one[0] for one in read}
    assert "m-sand" in {span.meter for span in listener.spans}
