"""What a factory floor does to a bus (FAULTS.md section 5.A), each with the outcome it must have.

Every word of the fake meters is its own address times a factor, so that a number that came from the wrong place, the
wrong meter or the wrong moment cannot pass for a right one.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import BusMaster
from meterline.clock import NS
from meterline.profiles import ModbusProfile
from meterline.readings import Poll, Quality
from meterline.settings import Rates
from tests.collector.peers import FakeMeter, MemoryLine, sealed
from tests.collector.sites import Collected, plant
from tests.collector.virtual_time import LoopClock, during, run

EACH_SECOND = Rates(fast_s=1, normal_s=1, slow_s=1)
EACH_TEN = Rates(fast_s=10, normal_s=10, slow_s=10)
SIX = ModbusProfile.model_validate_json(
    """{"profile": "six", "revision": 1, "title": {"en": "x", "zh": "x"}, "protocol": "modbus",
    "carrier": "electricity", "source": "made for tests", "evidence": "unverified", "value_reference": "primary",
    "limits": {"max_words": 40, "max_gap": 4}, "defaults": {"table": "holding", "type": "uint16"},
    "points": [
      {"measurand": "energy.active.import", "at": 10, "unit": "kWh", "type": "uint32"},
      {"measurand": "energy.active.export", "at": 12, "unit": "kWh", "type": "uint32"},
      {"measurand": "voltage.l1n", "at": 16, "unit": "V", "scale": 0.1},
      {"measurand": "voltage.l2n", "at": 17, "unit": "V", "scale": 0.1},
      {"measurand": "voltage.l3n", "at": 18, "unit": "V", "scale": 0.1},
      {"measurand": "frequency", "at": 60, "unit": "Hz", "scale": 0.01}
    ]}"""
)


class Floor:
    """One bus with meters of the page above, addresses 1, 2, 3 ...; meter n shows address + 1000 n."""

    def __init__(self, meters: int = 1, kind: str = "serial", **line: Any) -> None:
        self.meters = {n: FakeMeter(words=lambda address, n=n: address + 1000 * n) for n in range(1, meters + 1)}  # type: ignore[misc]
        self.line = MemoryLine(self.meters, tcp=kind == "modbus-tcp", **line)
        where = {"device": "/dev/null"} if kind == "serial" else {"host": "127.0.0.1"}
        self.plant = plant({"kind": kind, **where}, *[{"profile": "six"}] * meters, profiles={"six": SIX})
        self.got = Collected()
        self.taps: list[tuple[str, str]] = []
        self.master: BusMaster

    def play(self, seconds: float, rates: Rates = EACH_TEN, at: dict[float, Callable[[], Any]] | None = None) -> Floor:
        """Poll for some virtual seconds, doing things at some of them."""

        async def scenario(clock: LoopClock) -> None:
            loop = asyncio.get_running_loop()
            self.master = BusMaster(
                self.plant.buses["line"], self.plant, rates, clock, self.got,
                lambda meter, exchange: self.taps.append((meter, exchange.cause)), transport=self.line,
            )  # fmt: skip
            for delay, action in (at or {}).items():
                loop.call_later(delay, action)
            await during(seconds, self.master.run())

        run(scenario)
        return self

    def polls(self, meter: str) -> list[Poll]:
        return [poll for poll in self.got.polls if poll.meter == meter]

    def wrong(self) -> list[tuple[str, str, object]]:
        """Numbers that are not what that meter shows at that address."""
        found: list[tuple[str, str, object]] = []
        for poll in self.got.polls:
            n = int(poll.meter[1:])
            for point, number in zip(SIX.points, poll.numbers, strict=True):
                assert point.at is not None
                word = point.at + 1000 * n
                right = word if point.type is None else (word << 16) + word + 1
                if number is not None and number != right:
                    found.append((poll.meter, point.measurand, number))
        return found

    def slots(self, meter: str) -> list[int]:
        return [poll.slot_ns // NS for poll in self.polls(meter)]


def complete(slots: list[int], every: int) -> bool:
    return slots == list(range(slots[0], slots[-1] + 1, every))


@pytest.mark.parametrize("kind", ["serial", "modbus-tcp", "rtu-over-tcp"])
def test_all_is_well(kind: str) -> None:
    floor = Floor(3, kind).play(60)
    for meter in ("m1", "m2", "m3"):
        assert len(floor.polls(meter)) == 6
        assert complete(floor.slots(meter), 10)
        assert all(not poll.qualities for poll in floor.polls(meter))
    assert not floor.wrong()
    assert not floor.got.spans
    poll = floor.polls("m1")[0]
    assert poll.shape.requests == len(poll.delays_ms) == len(poll.exchanges) == 2
    assert [str(reading.value) for reading in poll.readings()][2:] == ["101.6", "101.7", "101.8", "10.60"]


def test_a01_a_silent_meter_is_one_span_and_costs_the_others_nothing() -> None:
    floor = Floor(3)
    meter = floor.meters[2]
    floor.play(300, at={25: lambda: setattr(meter, "silent", True), 225: lambda: setattr(meter, "silent", False)})
    assert complete(floor.slots("m1"), 10)
    assert complete(floor.slots("m3"), 10)
    assert len(floor.slots("m1")) == len(floor.slots("m3")) == 30
    opened, closed = floor.got.spans
    assert (opened.meter, opened.end_ns, opened.cause) == ("m2", None, "silent")
    assert (closed.start_ns, closed.cause) == (opened.start_ns, "silent")
    assert closed.end_ns is not None
    before, after = [s for s in floor.slots("m2") if s * NS < opened.start_ns], floor.slots("m2")[-1]
    assert opened.start_ns // NS - before[-1] == 10, "the span begins at the first slot without an answer"
    assert 0 <= closed.end_ns // NS - (floor.slots("m1")[0] // 10 * 10 + 225 - 5) <= 60, "read again within a minute"
    assert after == floor.slots("m1")[-1]


def test_a01_dead_meters_hardly_slow_a_fast_bus() -> None:
    floor = Floor(30)
    for n in (7, 19):
        floor.meters[n].silent = True
    floor.play(240, Rates(fast_s=5, normal_s=5, slow_s=5))
    asked = [at for at, frame in floor.line.sent if frame[0] in (7, 19)]
    last_minute = [at for at in asked if at > asked[0] + 120]
    assert len(last_minute) <= 2 * 3
    assert complete(floor.slots("m30"), 5)


@pytest.mark.parametrize("delay_s", [0.45, 0.6, 0.9, 1.3, 1.9, 2.6, 7.0])
def test_a02_a_late_answer_never_answers_another_question(delay_s: float) -> None:
    floor = Floor(2)
    slow = floor.meters[1]
    floor.play(600, EACH_SECOND, at={
        **{20.0 * k: lambda: setattr(slow, "delay_s", delay_s) for k in range(1, 29)},
        **{20.0 * k + 2: lambda: setattr(slow, "delay_s", 0.03) for k in range(1, 29)},
    })  # fmt: skip
    assert not floor.wrong()
    assert complete(floor.slots("m2"), 1) or len(floor.slots("m2")) > 400
    assert len(floor.slots("m1")) > 150


@pytest.mark.parametrize("delay_s", [0.7, 1.2, 1.7, 2.2, 2.7, 3.2])
def test_a02_two_requests_of_one_size_are_not_confused(delay_s: float) -> None:
    """The hard case: every request of the page has one size, so nothing but order tells answers apart."""
    twin = SIX.model_copy(update={"points": (SIX.points[0], SIX.points[5].model_copy(update={"type": "uint32"}))})
    floor = Floor(1)
    floor.plant.profiles["six"] = twin
    slow = floor.meters[1]
    floor.play(400, EACH_SECOND, at={
        **{20.0 * k: lambda: setattr(slow, "delay_s", delay_s) for k in range(1, 19)},
        **{20.3 * k + 2: lambda: setattr(slow, "delay_s", 0.03) for k in range(1, 19)},
    })  # fmt: skip
    for poll in floor.got.polls:
        assert poll.numbers[0] in (None, (1010 << 16) + 1011)
        assert poll.numbers[1] in (None, (1060 << 16) + 1061)
    assert len(floor.got.polls) > 100


@given(st.lists(st.floats(0.02, 4.0), max_size=25), st.booleans())
@settings(max_examples=60)
def test_a02_however_late_the_answers(delays_s: list[float], twin: bool) -> None:
    floor = Floor(1)
    if twin:
        points = (SIX.points[0], SIX.points[5].model_copy(update={"type": "uint32"}))
        floor.plant.profiles["six"] = SIX.model_copy(update={"points": points})
    meter, waits = floor.meters[1], iter(delays_s)
    answered = meter.answer

    def answer(pdu: bytes) -> bytes:
        meter.delay_s = next(waits, 0.03)
        return answered(pdu)

    meter.answer = answer  # type: ignore[method-assign]
    floor.play(120, EACH_SECOND)
    right = [(1010 << 16) + 1011, (1060 << 16) + 1061 if twin else (1012 << 16) + 1013, 1016, 1017, 1018, 1060]
    for poll in floor.got.polls:
        assert all(number in (None, value) for number, value in zip(poll.numbers, right, strict=False))
    if len(delays_s) <= 5:  # more late answers than these, and the rests between questions outlast the scenario
        assert None not in floor.polls("m1")[-1].numbers, "well again when the meter is"


def test_a03_another_meters_answer_is_passed_over() -> None:
    floor = Floor(1)
    floor.line.before = lambda frame: sealed(bytes((9,)) + frame[1:-2])
    floor.play(60)
    assert not floor.wrong()
    assert len(floor.slots("m1")) == 6
    assert floor.master.counts["m1"]["garbled"] == 0


def test_a03_only_another_meters_answer_is_silence() -> None:
    floor = Floor(1)
    floor.meters[1].spoil = lambda frame: [sealed(bytes((9,)) + frame[1:-2])]
    floor.play(30)
    assert not floor.got.polls
    assert floor.got.spans[0].cause == "silent"


def test_a04_noise_never_becomes_a_number() -> None:
    dice = random.Random(4)

    def spoil(frame: bytes) -> list[bytes]:
        kind = dice.random()
        raw = bytearray(frame)
        if kind < 0.25:
            raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        elif kind < 0.4:
            raw[dice.randrange(len(raw)) :] = dice.randbytes(3)
        elif kind < 0.6:
            return [dice.randbytes(dice.randint(1, 6)), bytes(raw)]
        return [bytes(raw)]

    floor = Floor(3)
    for meter in floor.meters.values():
        meter.spoil = spoil
    floor.play(2000)
    assert not floor.wrong()
    assert len(floor.got.polls) > 500
    assert floor.master.counts["m1"]["garbled"] > 30


def test_a04_glitches_around_a_good_answer_cost_nothing() -> None:
    """Seen to break pymodbus's serial client (components.md 0.3): any byte before the answer."""
    for noise in ("00", "ff", "00ff", "0103", "55aa55", "010304"):
        floor = Floor(1)
        floor.meters[1].spoil = lambda frame, noise=noise: [bytes.fromhex(noise) + frame]  # type: ignore[misc]
        floor.play(60)
        assert len(floor.slots("m1")) == 6, noise
        assert not floor.wrong()


def test_a05_a_cut_answer_costs_one_question() -> None:
    floor = Floor(1)
    cuts = iter([7] + [10**6] * 1000)
    floor.meters[1].spoil = lambda frame: [frame[: next(cuts)]]
    floor.play(30)
    assert len(floor.slots("m1")) == 3
    assert not floor.wrong()
    assert floor.master.counts["m1"]["garbled"] == 1


@pytest.mark.parametrize("kind", ["serial", "modbus-tcp"])
def test_a06_single_bytes_and_glued_frames(kind: str) -> None:
    floor = Floor(1, kind)
    floor.meters[1].spoil = lambda frame: [bytes((byte,)) for byte in frame]
    floor.play(30)
    assert len(floor.slots("m1")) == 3
    floor = Floor(1, kind)
    floor.line.before = lambda frame: b"\0\0" + frame[2:] if kind == "modbus-tcp" else sealed(b"\x07" + frame[1:-2])
    floor.meters[1].spoil = lambda frame: [frame]
    floor.play(30)
    assert len(floor.slots("m1")) == 3
    assert not floor.wrong()


def test_a07_our_own_echo_is_not_an_answer() -> None:
    floor = Floor(2, echo=True)
    floor.meters[2].silent = True
    floor.play(60)
    assert len(floor.slots("m1")) == 6
    assert not floor.wrong()
    assert floor.got.spans[0].meter == "m2"
    assert floor.master.counts["bus:line"]["echoes"] > 0


def test_a08_a_refused_word_is_parted_off_and_remembered() -> None:
    floor = Floor(1)
    floor.meters[1].holes[17] = 0x02
    floor.play(600)
    assert not floor.wrong()
    last = floor.polls("m1")[-1]
    assert [Quality(q) for q in last.qualities] == [0, 0, 0, Quality.MISSING, 0, 0]
    assert last.numbers[2] == 1016
    assert last.numbers[4] == 1018
    early = len([1 for at, *_ in floor.meters[1].asked if at < floor.meters[1].asked[0][0] + 5])
    late = [a for at, a, c in floor.meters[1].asked if at > floor.meters[1].asked[-1][0] - 9]
    assert early <= 14, "no storm of retries while finding out"
    assert len(late) <= 4, "known by then: no question is refused any more"
    assert not any(a <= 17 < a + c for at, a, c in floor.meters[1].asked[-20:])


def test_a08_a_gap_in_the_map_is_parted_without_losing_a_point() -> None:
    floor = Floor(1)
    floor.meters[1].holes |= {14: 0x02, 15: 0x02}
    floor.play(60)
    assert not floor.polls("m1")[-1].qualities
    assert not floor.wrong()
    refused = floor.master.counts["m1"]["refused"]
    assert refused == 2, "asked twice, then never again"


def test_a08_a_refused_point_comes_back_within_an_hour_of_its_return() -> None:
    floor = Floor(1)
    floor.meters[1].holes[60] = 0x02
    floor.play(2 * 3600, Rates(fast_s=60, normal_s=60, slow_s=60), at={600: lambda: floor.meters[1].holes.clear()})
    assert floor.polls("m1")[5].quality(5) is Quality.MISSING
    assert not floor.polls("m1")[-1].qualities


def test_a08_a_single_stray_refusal_changes_nothing() -> None:
    floor = Floor(1)
    floor.play(
        60, at={20.0: lambda: setattr(floor.meters[1], "code", 2), 20.02: lambda: setattr(floor.meters[1], "code", 0)}
    )
    assert all(not poll.qualities for poll in floor.polls("m1"))
    assert len({poll.shape.id for poll in floor.got.polls}) == 1


def test_a08_a_busy_meter_is_asked_again_after_the_others() -> None:
    floor = Floor(2)
    floor.play(
        30, at={10.0: lambda: setattr(floor.meters[1], "code", 6), 10.06: lambda: setattr(floor.meters[1], "code", 0)}
    )
    assert len(floor.slots("m1")) == 3
    assert not floor.got.spans


@pytest.mark.parametrize("code", [0x0A, 0x0B])
def test_a08_a_gateway_that_cannot_reach_the_meter_means_a_silent_meter(code: int) -> None:
    floor = Floor(2, "modbus-tcp")
    floor.meters[1].code = code
    floor.play(120)
    assert floor.got.spans[0].cause == f"refused:{code:02x}"
    assert complete(floor.slots("m2"), 10)
    assert floor.master.counts["m1"]["requests"] <= 12


def test_a08_a_meter_that_refuses_everything_is_no_storm() -> None:
    floor = Floor(1)
    floor.meters[1].code = 0x02
    floor.play(600)
    assert floor.got.spans[0].cause == "refused:02"
    assert len(floor.meters[1].asked) < 60


@pytest.mark.parametrize("wrong", ["tag", "unit"])
def test_a09_a_wrong_transaction_or_unit_is_discarded(wrong: str) -> None:
    floor = Floor(1, "modbus-tcp")
    if wrong == "tag":
        floor.line.before = lambda frame: b"\x77\x77" + frame[2:-2] + b"\xde\xad"
    else:
        floor.line.before = lambda frame: frame[:6] + b"\x63" + frame[7:-2] + b"\xde\xad"
    floor.play(60)
    assert len(floor.slots("m1")) == 6
    assert not floor.wrong()
    assert floor.master.counts["m1"]["late_bytes"] > 0


def test_a09_a_stream_out_of_step_is_closed_and_made_anew() -> None:
    floor = Floor(1, "modbus-tcp")
    noise = iter([b"GET / HTTP/1.1\r\n"] + [b""] * 1000)
    floor.line.before = lambda frame: next(noise)
    floor.play(30)
    assert floor.line.opened == 2
    assert len(floor.slots("m1")) == 3
    assert not floor.wrong()


def test_a10_a_dead_connection_is_made_anew() -> None:
    floor = Floor(2, "modbus-tcp")

    def die() -> None:
        for meter in floor.meters.values():
            meter.silent = True

    def live() -> None:
        for meter in floor.meters.values():
            meter.silent = False

    floor.play(120, at={21: die, 61: live})
    assert floor.line.opened >= 2
    assert floor.slots("m1")[-1] == floor.slots("m2")[-1] > floor.slots("m1")[0] + 100
    assert not floor.wrong()


def test_a11_a_meter_that_hangs_up_when_idle_is_no_fault() -> None:
    floor = Floor(1, "modbus-tcp")
    floor.play(60, at={float(t): floor.line.hang_up for t in range(5, 60, 10)})
    assert len(floor.slots("m1")) == 6
    assert not floor.got.spans
    assert floor.line.opened == 6


def test_a12_a_dead_meter_behind_a_gateway_does_not_hold_up_the_others() -> None:
    floor = Floor(5, "modbus-tcp")
    floor.meters[3].silent = True
    floor.play(300, EACH_TEN)
    for meter in ("m1", "m2", "m4", "m5"):
        assert complete(floor.slots(meter), 10)
        assert len(floor.slots(meter)) == 30
    assert floor.master.counts["m3"]["requests"] <= 30


def test_a13_a_line_that_is_down_is_told_once_and_comes_back() -> None:
    floor = Floor(2, "modbus-tcp")
    floor.line.refuse_open = "refused"
    floor.play(120, at={55: lambda: setattr(floor.line, "refuse_open", "")})
    assert [(s.meter, s.cause, s.end_ns is None) for s in floor.got.spans] == [
        ("m1", "line-down", True), ("m2", "line-down", True), ("m1", "line-down", False), ("m2", "line-down", False),
    ]  # fmt: skip
    assert floor.slots("m1")[-1] - floor.slots("m1")[0] >= 40
    assert floor.master.state()["m1"] == (floor.polls("m1")[-1].slot_ns, "")


def test_a16_a_no_value_pattern_is_invalid() -> None:
    words = struct.unpack(">2H", b"\x7f\xc0\x00\x00")
    page = SIX.model_copy(
        update={
            "points": (
                SIX.points[0],
                SIX.points[2].model_copy(update={"not_available": (0x7FFF,)}),
                SIX.points[5].model_copy(update={"type": "float32", "scale": 1}),
            )
        }
    )
    floor = Floor(1)
    floor.plant.profiles["six"] = page
    floor.meters[1].words = lambda address: {16: 0x7FFF, 60: words[0], 61: words[1]}.get(address, 5)
    floor.play(20)
    poll = floor.polls("m1")[-1]
    assert poll.numbers == ((5 << 16) + 5, None, None)
    assert poll.qualities == (Quality.GOOD, Quality.INVALID, Quality.INVALID)


def test_a22_a_bus_too_slow_skips_evenly_and_never_lags() -> None:
    floor = Floor(10)
    for meter in floor.meters.values():
        meter.delay_s = 0.09
    floor.play(120, EACH_SECOND)
    counts = {name: len(floor.slots(name)) for name in floor.plant.meters}
    assert max(counts.values()) - min(counts.values()) <= 2
    assert all(poll.delays_ms[0] < 3000 for poll in floor.got.polls)
    skipped = floor.master.counts
    for name, read in counts.items():
        assert skipped[name]["skipped"] + read == pytest.approx(120, abs=2), "every slot is read or counted"


def test_counters_come_first_at_a_quarter_hour() -> None:
    floor = Floor(8)
    floor.play(1000, Rates(fast_s=100, normal_s=100, slow_s=100))
    start_ns = floor.got.polls[0].slot_ns
    quarter = [poll for poll in floor.got.polls if poll.slot_ns % (900 * NS) == 0 and poll.slot_ns > start_ns]
    assert len(quarter) == 8
    last_counter = max(poll.delays_ms[0] for poll in quarter)
    first_gauge = min(poll.delays_ms[1] for poll in quarter)
    assert last_counter < first_gauge
    ordinary = [
        poll
        for poll in floor.got.polls
        if poll.slot_ns == quarter[0].slot_ns + 100 * NS or poll.slot_ns == quarter[0].slot_ns - 100 * NS
    ]
    assert max(p.delays_ms[0] for p in ordinary) > min(p.delays_ms[1] for p in ordinary)
    assert {poll.shape.id for poll in quarter} == {poll.shape.id for poll in ordinary}


def test_the_gap_between_frames_is_kept() -> None:
    floor = Floor(3)
    floor.play(60)
    times = [at for at, _ in floor.line.sent]
    gaps = [b - a for a, b in pairwise(times) if b - a < 1]
    assert min(gaps) >= 0.03 + 38.5 / 9600 - 1e-6, "answer time plus 3.5 characters at 9600 baud"


def test_a_clock_set_back_an_hour_stops_nothing() -> None:
    floor = Floor(1)
    got: list[int] = []

    async def scenario(clock: LoopClock) -> None:
        master = BusMaster(floor.plant.buses["line"], floor.plant, EACH_TEN, clock, floor.got, transport=floor.line)
        asyncio.get_running_loop().call_later(33, lambda: setattr(clock, "offset_s", -3600.0))
        await during(120, master.run())
        got.extend(floor.slots("m1"))

    run(scenario)
    assert len(got) >= 11
    assert got[-1] < got[0] - 3000
