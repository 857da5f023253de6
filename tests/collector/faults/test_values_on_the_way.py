"""A17-A20: counters that roll over, fall or are torn, and values that cannot be: from the frame to the account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from analytics.counter_model import CounterRules
from analytics.counters import IntervalEnergies, interval_energies
from analytics.series import CounterSeries
from collector import BusMaster
from meterline.clock import NS
from meterline.profiles import ModbusProfile
from meterline.readings import Poll, Quality, to_micro
from meterline.settings import Rates
from tests.collector.faults.nasty_line import NastyLine, StampedMeter
from tests.collector.peers import FakeMeter, MemoryLine
from tests.collector.sites import Collected, plant
from tests.collector.virtual_time import LoopClock, during, run

PAGE = ModbusProfile.model_validate_json(
    """{"profile": "counter", "revision": 1, "title": {"en": "x", "zh": "x"}, "protocol": "modbus",
    "carrier": "electricity", "source": "made for tests", "evidence": "unverified", "value_reference": "primary",
    "defaults": {"table": "holding", "type": "uint32"},
    "points": [
      {"measurand": "energy.active.import", "at": 10, "unit": "kWh", "scale": 0.1, "wraps_at": 1000000},
      {"measurand": "power.active.total", "at": 12, "unit": "kW", "scale": 0.1}
    ]}"""
)
MINUTE = Rates(fast_s=60, normal_s=60, slow_s=60)


def polls(steps: Callable[[int], int], *, power: int = 600, minutes: int = 90, rated: float = 120.0) -> list[Poll]:
    """Poll a meter whose counter shows `steps(minute)` tenths of a kWh, each minute."""
    site = plant(
        {"kind": "serial", "device": "/dev/null"}, {"profile": "counter", "rated": rated}, profiles={"counter": PAGE}
    )
    got = Collected()

    async def scenario(clock: LoopClock) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()

        def words(address: int) -> int:
            shown = steps(round((loop.time() - begin) // 60)) if address < 12 else power
            return (shown >> 16 if address % 2 == 0 else shown) & 0xFFFF

        line = MemoryLine({1: FakeMeter(words=words)})
        await during(60.0 * minutes, BusMaster(site.buses["line"], site, MINUTE, clock, got, transport=line).run())

    run(scenario)
    assert len(got.polls) == minutes
    return got.polls


def account(rows: list[Poll], wraps_at: int | None) -> IntervalEnergies:
    """What the head-end's counter engine makes of them."""
    column = 0
    times = np.array([poll.read_ns(column) for poll in rows])
    exponent = rows[0].shape.columns[column].exponent
    micro = np.array([to_micro(number, exponent) for poll in rows if (number := poll.numbers[column]) is not None])
    rules = CounterRules(
        max_gap_ns=600 * NS, max_rate=150 * 10**6 / 3600, resolution=10**5, wraps_at=wraps_at and wraps_at * 10**6
    )
    return interval_energies(CounterSeries.of(times, micro), rules, step_ns=900 * NS)


def test_a17_a_roll_over_costs_no_energy() -> None:
    """The display goes from 999999.9 to 0.0 kWh; a kWh is drawn each minute."""
    rows = polls(lambda minute: (10_000_000 - 400 + 10 * minute) % 10_000_000)
    assert not any(poll.quality(0) for poll in rows), "a known roll-over is no doubt at the meter"
    result = account(rows, 1_000_000)
    assert [event.kind.value for event in result.events] == ["rollover"]
    assert result.total_micro == 89 * 10**6
    assert any(bits & Quality.ROLLOVER for bits in result.quality.tolist())


def test_a18_a_counter_that_begins_anew_makes_no_negative_and_no_giant_energy() -> None:
    rows = polls(lambda minute: 5_000_000 + 10 * minute if minute < 40 else 10 * (minute - 40))
    doubted = [index for index, poll in enumerate(rows) if poll.quality(0) & Quality.SUSPECT]
    assert len(doubted) == 1, "told once, at the meter, then believed"
    assert rows[doubted[0]].numbers[0] is not None, "kept as it came"
    result = account(rows, None)
    assert [event.kind.value for event in result.events] == ["reset"]
    assert (result.micro >= 0).all()
    assert 87 * 10**6 <= result.total_micro <= 89 * 10**6, "what the new counter shows since, and no more"


def test_a19_a_value_of_two_words_comes_from_one_answer() -> None:
    """The words change with every answer; a number torn over two would mix their stamps."""
    page = PAGE.model_copy(update={"limits": PAGE.limits.model_copy(update={"max_words": 3})})
    site = plant({"kind": "serial", "device": "/dev/null"}, {"profile": "counter"}, profiles={"counter": page})
    got, meter = Collected(), StampedMeter()

    async def scenario(clock: LoopClock) -> None:
        line = NastyLine({1: meter})
        await during(600.0, BusMaster(site.buses["line"], site, MINUTE, clock, got, transport=line).run())

    run(scenario)
    assert all(count == 2 for _, _, count in meter.asked), "three words at most: one value a request"
    for poll in got.polls:
        for column, at in ((0, 10), (1, 12)):
            number = poll.numbers[column]
            assert isinstance(number, int)
            assert number & 0xFFFF == at + 1 + 1000
            assert number >> 16 in meter.born


@pytest.mark.parametrize(("power", "doubt"), [(1190, 0), (1500, Quality.SUSPECT)])
def test_a20_more_than_the_connection_carries_is_kept_and_doubted(power: int, doubt: int) -> None:
    """120 kW is the rating; 119 kW is believed, 150 kW is not (the limit is 1.2 times the rating)."""
    for poll in polls(lambda minute: 10 * minute, power=power, minutes=5):
        assert poll.numbers[1] == power, "as it came"
        assert poll.quality(1) & Quality.SUSPECT == doubt


def test_a20_a_jump_of_the_counter_is_kept_doubted_and_never_energy_of_one_interval() -> None:
    rows = polls(lambda minute: 1000 + 10 * minute + (500_000 if minute == 45 else 0))
    doubted = [poll.numbers[0] for poll in rows if poll.quality(0) & Quality.SUSPECT]
    assert doubted == [1000 + 450 + 500_000]
    result = account(rows, None)
    assert [event.kind.value for event in result.events] == ["glitch"]
    assert result.total_micro == 89 * 10**6
