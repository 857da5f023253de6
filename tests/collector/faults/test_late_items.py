"""Late answers of DL/T 645 meters: the identifier comes back, yet an answer to yesterday's question is not today's."""

from __future__ import annotations

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector import BusMaster
from meterline.settings import Rates
from tests.collector.peers import ItemMeter, MemoryLine
from tests.collector.sites import Collected, plant
from tests.collector.test_line_settings import ADDRESS, FEW
from tests.collector.virtual_time import LoopClock, during, run

EVERY_TWO = Rates(fast_s=2, normal_s=2, slow_s=2)


class StampedItems(ItemMeter):
    """Every value it shows is the number of the answer that shows it."""

    def __init__(self, delays_s: list[float]) -> None:
        super().__init__(ADDRESS, {}, {})
        self.born: dict[int, float] = {}
        self._delays_s = iter(delays_s)

    def answer(self, raw: bytes) -> bytes:
        number = len(self.born) + 1
        self.born[number] = asyncio.get_running_loop().time()
        self._shown = ({"00010000": float(number)}, {"02010100": number / 10, "02010200": number / 10})
        self.delay_s = next(self._delays_s, 0.05)
        return super().answer(raw)


@given(st.lists(st.one_of(st.just(0.05), st.floats(0.02, 5.0)), max_size=20))
@example([0.7, 0.7, 0.7, 2.5, 0.05, 1.9])
@settings(max_examples=25, deadline=None)
def test_a02_a_late_item_is_never_taken_for_a_fresh_one(delays_s: list[float]) -> None:
    site = plant(
        {"kind": "serial", "device": "/dev/null", "baud": 2400, "parity": "E"},
        {"profile": "few", "address": ADDRESS},
        profiles={"few": FEW},
    )
    meter, line, got = StampedItems(delays_s), MemoryLine({}), Collected()
    line.items.append(meter)

    async def scenario(clock: LoopClock) -> None:
        loop = asyncio.get_running_loop()
        begin_s, begin_ns = loop.time(), clock.now_ns()
        master = BusMaster(site.buses["line"], site, EVERY_TWO, clock, got, transport=line)
        await during(240, master.run())
        for poll in got.polls:
            for column, number in enumerate(poll.numbers):
                if number is None:
                    continue
                assert isinstance(number, int)
                answer = number // 100 if poll.shape.columns[column].exponent == -2 else number
                taken_s = begin_s + (poll.read_ns(column) - begin_ns) / 1e9
                asked_s = max(at for at, _ in line.sent if at <= taken_s + 1e-6)
                assert abs(meter.born[answer] - asked_s) < 0.0015, "the answer of a question that was given up"

    run(scenario)
    if len(delays_s) <= 4:  # each late answer more may cost a rest of 48 s before the next question
        assert None not in got.polls[-1].numbers, "well again when the meter is"
