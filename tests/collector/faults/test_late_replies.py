"""No late, doubled, foreign, cut or noisy answer is ever taken for the answer to another question.

A state machine plays an adversary on virtual time: it decides what becomes of each meter's answers, lets meters fall
silent and come back, and lets strangers talk, while the poller goes on. Every word of every answer says which question
it was for. Two limits are meant and stated in docs/lines.md: a meter answers in the order it was asked, and a copy of
an answer comes before the next question leaves.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from collector import BusMaster
from meterline.profiles import ModbusProfile
from meterline.settings import Rates
from tests.collector.faults.nasty_line import Mischief, NastyLine, StampedMeter, lies
from tests.collector.peers import sealed
from tests.collector.sites import Collected, plant
from tests.collector.virtual_time import LoopClock, VirtualLoop, during

PAGE = """{"profile": "stamped", "revision": 1, "title": {"en": "x", "zh": "x"}, "protocol": "modbus",
    "carrier": "electricity", "source": "made for tests", "evidence": "unverified", "value_reference": "primary",
    "limits": {"max_words": 40, "max_gap": 0}, "defaults": {"table": "holding", "type": "uint32"},
    "points": [
      {"measurand": "energy.active.import", "at": 10, "unit": "kWh"},
      {"measurand": "energy.active.export", "at": 12, "unit": "kWh"},
      {"measurand": "voltage.l1n", "at": 60, "unit": "V"},
      {"measurand": "voltage.l2n", "at": 62, "unit": "V"}%s
    ]}"""
TWINS = ModbusProfile.model_validate_json(PAGE % "")
"""Two requests of one length: nothing but order tells their answers apart."""
UNLIKE = ModbusProfile.model_validate_json(PAGE % ', {"measurand": "voltage.l3n", "at": 64, "unit": "V"}')
EVERY_TWO = Rates(fast_s=2, normal_s=2, slow_s=2)
DELAYS = st.one_of(st.just(0.03), st.floats(0.01, 4.0))
NOISE = st.one_of(
    st.just(b""), st.binary(max_size=6), st.sampled_from([b"\x00", b"\xff\xff", b"\x01\x03", b"\x01\x83"])
)
MISCHIEF = st.builds(
    Mischief, delay_s=DELAYS, lost=st.booleans(), noise=NOISE, rubbish=NOISE, cut=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
    pause_s=st.sampled_from([0.0, 0.004, 0.05, 0.4, 1.5]), stranger=st.booleans(),
    flip=st.one_of(st.none(), st.integers(0, 100)), again=st.booleans(), refuse=st.booleans(),
)  # fmt: skip


class Floor(RuleBasedStateMachine):
    """One line with two or three meters, and an adversary."""

    loop: VirtualLoop | None = None

    @initialize(
        kind=st.sampled_from(["serial", "rtu-over-tcp"]), page=st.sampled_from([TWINS, UNLIKE]), count=st.integers(1, 3)
    )
    def begin(self, kind: str, page: ModbusProfile, count: int) -> None:
        self.loop, self.page = VirtualLoop(), page
        self.clock = LoopClock(self.loop)
        self.meters = {n: StampedMeter(unit=n) for n in range(1, count + 1)}
        self.line = NastyLine(dict(self.meters))
        self.line.port = kind == "serial"
        where: dict[str, Any] = {"device": "/dev/null"} if kind == "serial" else {"host": "127.0.0.1"}
        site = plant({"kind": kind, **where}, *[{"profile": "stamped"}] * count, profiles={"stamped": page})
        self.got, self.seen = Collected(), 0
        self.master = BusMaster(site.buses["line"], site, EVERY_TWO, self.clock, self.got, transport=self.line)
        self.task = self.loop.create_task(self.master.run())
        self.pass_time(3.0)

    @rule(n=st.integers(1, 3), what=MISCHIEF)
    def spoil(self, n: int, what: Mischief) -> None:
        if n in self.meters:
            self.meters[n].script.append(what)

    @rule(n=st.integers(1, 3), delay_s=st.floats(0.4, 4.0), count=st.integers(2, 12))
    def slow_down(self, n: int, delay_s: float, count: int) -> None:
        if n in self.meters:
            self.meters[n].script.extend([Mischief(delay_s=delay_s)] * count)

    @rule(n=st.integers(1, 3))
    def toggle(self, n: int) -> None:
        if n in self.meters:
            self.meters[n].silent = not self.meters[n].silent

    @rule(data=st.one_of(NOISE, st.sampled_from([sealed(bytes.fromhex("4d0304000a000b")), b"\x01\x03\x08\x00\x00"])))
    @precondition(lambda self: self.loop is not None)
    def strangers_talk(self, data: bytes) -> None:
        assert self.loop is not None
        self.loop.call_soon(self.line.interject, data)
        self.pass_time(0.01)

    @rule(seconds=st.one_of(st.floats(0.01, 0.6), st.floats(1.0, 8.0)))
    @precondition(lambda self: self.loop is not None)
    def pass_time(self, seconds: float) -> None:
        assert self.loop is not None
        self.loop.run_until_complete(during(seconds, self.loop.create_future()))
        assert not self.task.done(), "the poller has died"
        self.look()

    def look(self) -> None:
        assert self.loop is not None
        for poll in self.got.polls[self.seen :]:
            meter = self.meters[int(poll.meter[1:])]
            told = lies(poll, self.page, meter, self.line.sent, self.clock.now_ns(), self.loop.time())
            assert not told, (poll.meter, told)
        self.seen = len(self.got.polls)

    def teardown(self) -> None:
        if self.loop is None:
            return
        try:
            for meter in self.meters.values():
                meter.script.clear()
                meter.silent = False
            self.pass_time(75.0)
            for name in (f"m{n}" for n in self.meters):
                newest = [poll for poll in self.got.polls if poll.meter == name][-2:]
                assert len(newest) == 2, f"{name} is read again within a minute of its return"
                assert all(None not in poll.numbers for poll in newest), name
                assert (self.clock.now_ns() - newest[-1].slot_ns) / 1e9 < 4.5, name
        finally:
            self.task.cancel()
            self.loop.run_until_complete(asyncio.gather(self.task, return_exceptions=True))
            self.loop.close()
            self.loop = None


EXAMPLES = int(os.environ.get("METERLINE_EXAMPLES", "30"))
"""More for a longer hunt: METERLINE_EXAMPLES=2000 pytest --timeout 900 (about 0.1 s each)."""
Floor.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
TestNoAnswerIsTakenForAnother = pytest.mark.slow(Floor.TestCase)
