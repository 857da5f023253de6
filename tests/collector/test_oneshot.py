"""Reading one meter beside the cabinet: what comes back, and what is said when nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector import plan_of, read_meter
from meterline.errors import ConfigError, Garbled, LineDown, Refused, Silent
from meterline.readings import Poll, Quality
from tests.collector.peers import FakeMeter, MemoryLine
from tests.collector.sites import MODBUS, plant
from tests.collector.virtual_time import LoopClock, run

PROFILE = MODBUS["acrel-dtsd1352"]


def read(line: MemoryLine, kind: str = "serial", **bus: Any) -> Poll:
    where = {"device": "/dev/null"} if kind == "serial" else {"host": "127.0.0.1"}
    site = plant({"kind": kind, **where, **bus}, {"profile": PROFILE.profile})

    async def scenario(clock: LoopClock) -> list[Poll]:
        return await read_meter(site.buses["line"], site.meters["m1"], PROFILE, clock, transport=line)

    (poll,) = run(scenario)
    assert not line.is_open, "the port is free again"
    return poll


@pytest.mark.parametrize("kind", ["serial", "modbus-tcp"])
def test_all_points_once(kind: str) -> None:
    poll = read(MemoryLine({1: FakeMeter()}, tcp=kind == "modbus-tcp"), kind)
    values = {reading.measurand: str(reading.value) for reading in poll.readings()}
    assert values["voltage.l1n"] == "9.7"  # word 0x61 holds 0x61
    assert values["energy.active.import"] == str((10 * 65536 + 11) / 100)
    assert not poll.qualities
    assert len(poll.exchanges) == poll.shape.requests == len(poll.delays_ms) == len(plan_of(PROFILE).blocks)


def test_what_the_meter_lacks_is_missing_and_the_rest_is_there() -> None:
    line = MemoryLine({1: FakeMeter(holes={0x0063: 2})})
    readings = {reading.measurand: reading for reading in read(line).readings()}
    assert readings["voltage.l3n"].quality == Quality.MISSING
    assert readings["voltage.l2n"].number == 0x62
    assert readings["current.l1"].number == 0x64


def test_a_lost_answer_is_asked_for_again() -> None:
    losses: Iterator[list[bytes]] = iter([[]])
    line = MemoryLine({1: FakeMeter(spoil=lambda frame: next(losses, [frame]))})
    assert not read(line).qualities


@given(st.lists(st.floats(0.03, 3.0), max_size=8))
@example([2.0, 0.5, 1.0])
def test_a_late_answer_is_not_taken_for_the_next(delays_s: list[float]) -> None:
    """Two requests of one size, answered as late as you please."""
    word = PROFILE.points[0]
    page = PROFILE.model_copy(update={"points": (word, PROFILE.points[1].model_copy(update={"at": 0x0200}))})
    meter, waits = FakeMeter(), iter(delays_s)
    answered = meter.answer

    def answer(pdu: bytes) -> bytes:
        meter.delay_s = next(waits, 0.03)
        return answered(pdu)

    meter.answer = answer  # type: ignore[method-assign]
    site = plant({"kind": "serial", "device": "/dev/null"}, {"profile": PROFILE.profile})

    async def scenario(clock: LoopClock) -> list[Poll]:
        return await read_meter(site.buses["line"], site.meters["m1"], page, clock, transport=MemoryLine({1: meter}))

    try:
        (poll,) = run(scenario)
    except Silent:
        return
    assert poll.numbers[0] in (None, 1)
    assert poll.numbers[1] in (None, (0x0200 << 16) + 0x0201)


def test_silence_says_what_to_check() -> None:
    with pytest.raises(Silent, match=r"no answer within 0\.5 s; check power, address, baud, parity and the A/B wires"):
        read(MemoryLine({}))


def test_only_an_echo_says_so() -> None:
    with pytest.raises(Silent, match="only our own echo"):
        read(MemoryLine({}, echo=True))


def test_garbage_says_what_to_check() -> None:
    line = MemoryLine({1: FakeMeter(spoil=lambda frame: [b"\x55" * 20])})
    with pytest.raises(Garbled, match="termination, shielding, baud and parity"):
        read(line)


def test_a_wrong_profile_says_so() -> None:
    with pytest.raises(Refused, match="it answers, but not to this profile") as caught:
        read(MemoryLine({1: FakeMeter(code=2)}))
    assert caught.value.code == 2


def test_a_line_that_is_not_there() -> None:
    line = MemoryLine({})
    line.refuse_open = "there is no port /dev/ttyUSB9; plug the adapter in"
    with pytest.raises(LineDown, match="plug the adapter in"):
        read(line)


def test_a_page_without_enabled_points_opens_nothing() -> None:
    points = tuple(point.model_copy(update={"enabled": False}) for point in PROFILE.points)
    page = PROFILE.model_copy(update={"points": points})
    site = plant({"kind": "modbus-tcp", "host": "127.0.0.1"}, {"profile": PROFILE.profile})
    line = MemoryLine({}, tcp=True)

    async def scenario(clock: LoopClock) -> None:
        await read_meter(site.buses["line"], site.meters["m1"], page, clock, transport=line)

    with pytest.raises(ConfigError, match="none is enabled"):
        run(scenario)
    assert line.opened == 0
