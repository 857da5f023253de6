"""A clock nobody set, and a clock that jumps, are noticed and marked."""

from __future__ import annotations

import sys

import pytest

from gateway_firmware_py.timekeeping import STEP_MARKS_S, Machine, Timekeeper, kernel_says_synchronised
from meterline.clock import ManualClock
from meterline.readings import ClockState


class TwoClocks(ManualClock):
    """Wall and monotonic time that can part."""

    simulated = False

    def __init__(self) -> None:
        super().__init__(1_800_000_000_000_000_000)
        self.steady_s = 0.0

    def monotonic_s(self) -> float:
        return self.steady_s

    def run(self, seconds: float, jump_s: float = 0.0) -> None:
        self.steady_s += seconds
        self.advance(seconds + jump_s)


def test_a_clock_that_runs_evenly_is_synced() -> None:
    clock = TwoClocks()
    keeper = Timekeeper(clock, Machine(lambda: True))
    for _ in range(100):
        clock.run(1.0, jump_s=0.0002)  # 200 ppm of drift being corrected
        assert keeper.look() is ClockState.SYNCED
    assert keeper.steps == 0


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 0.6, -0.6])
def test_a_jump_is_counted_and_marked_for_a_while(jump_s: float) -> None:
    clock = TwoClocks()
    keeper = Timekeeper(clock, Machine(lambda: True))
    clock.run(1.0, jump_s=jump_s)
    assert keeper.look() is ClockState.STEPPED
    assert keeper.steps == 1
    assert keeper.last_step_s == pytest.approx(jump_s)
    clock.run(STEP_MARKS_S - 1)
    assert keeper.look() is ClockState.STEPPED
    clock.run(2)
    assert keeper.look() is ClockState.SYNCED


def test_what_the_kernel_says_counts() -> None:
    clock = TwoClocks()
    said: list[bool | None] = [False]
    keeper = Timekeeper(clock, Machine(lambda: said[0]))
    assert keeper.state is ClockState.UNSYNCED
    said[0] = True
    assert keeper.look() is ClockState.SYNCED
    said[0] = None  # no such call on this system
    assert keeper.look() is ClockState.SYNCED


def test_simulated_time_is_marked_as_such() -> None:
    assert Timekeeper(ManualClock(), Machine(lambda: False)).look() is ClockState.SIMULATED


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="adjtimex is Linux's")
def test_the_real_kernel_answers() -> None:
    assert kernel_says_synchronised() in (True, False)
