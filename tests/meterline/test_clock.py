"""Plant time is shared, scaled and never read from anywhere else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from meterline.clock import NS, HeldClock, ManualClock, ScaledClock, SystemClock


def test_a_scaled_clock_survives_the_way_to_another_process() -> None:
    clock = ScaledClock.starting_at(1_700_000_000 * NS, 240)
    assert ScaledClock.parse(str(clock)) == clock
    assert clock.simulated


def test_a_scaled_clock_runs_by_its_factor() -> None:
    clock = ScaledClock(origin_ns=0, anchor_ns=time.monotonic_ns() - NS, factor=240)
    assert clock.now_ns() >= 240 * NS


def test_a_scaled_clock_stands_at_its_origin_until_its_anchor() -> None:
    clock = ScaledClock.starting_at(7 * NS, 240, in_s=3600)
    assert (clock.now_ns(), clock.now_ns()) == (7 * NS, 7 * NS)


def test_a_clock_cannot_stand_or_run_back() -> None:
    with pytest.raises(ValueError, match="cannot run"):
        ScaledClock.starting_at(0, 0)


def test_waiting_on_a_manual_clock_moves_it() -> None:
    clock = ManualClock(5)
    asyncio.run(clock.sleep_until(9 * NS))
    assert clock.now_ns() == 9 * NS
    asyncio.run(clock.sleep_until(1 * NS))
    assert clock.now_ns() == 9 * NS


def test_waiting_for_the_past_returns_at_once() -> None:
    asyncio.run(SystemClock().sleep_until(0))
    asyncio.run(ScaledClock.starting_at(10 * NS, 1000).sleep_until(0))


def test_a_held_clock_stands_in_every_process_until_it_is_released(tmp_path: Path) -> None:
    parent = HeldClock.hold(tmp_path / "clock", 1_700_000_000 * NS, 1000)
    child = HeldClock(tmp_path / "clock")
    assert parent.now_ns() == child.now_ns() == 1_700_000_000 * NS
    parent.release()
    asyncio.run(asyncio.wait_for(child.sleep_until(1_700_000_005 * NS), 5))
    assert child.now_ns() >= 1_700_000_005 * NS
    assert abs(parent.now_ns() - child.now_ns()) < 1000 * NS
    assert child.factor == 1000


def test_waiting_on_a_held_clock_ends_when_it_runs(tmp_path: Path) -> None:
    clock = HeldClock.hold(tmp_path / "clock", 0, 1000)

    async def wait() -> None:
        waiting = asyncio.create_task(HeldClock(tmp_path / "clock").sleep_until(NS))
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.release()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(wait())
