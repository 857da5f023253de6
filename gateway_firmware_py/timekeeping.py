"""How far the box's clock can be believed: what the kernel says of its synchronisation, and whether it has jumped."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from meterline.clock import NS, Clock
from meterline.readings import ClockState

STEP_S = 0.5
"""A larger disagreement between wall and monotonic clock since the last look is a step. [s]"""
STEP_MARKS_S = 60.0
"""So long after a step stamps are marked. [s]"""
BUILT_NS = 1_735_689_600 * NS
"""2025-01-01: this software did not exist before, so a clock that says less is wrong. [ns]"""
BOOT_S = 300.0
"""A machine up for longer has had its chance to ask a time server. [s]"""
PATIENCE_S = 3600.0
"""A clock known to be wrong is waited for so long. [s]"""
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """struct timex of Linux, adjtimex(2); only `status` is looked at."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def kernel_says_synchronised() -> bool | None:
    """What adjtimex(2) reports; None where there is no such call (not Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    report = _Timex(modes=0)
    answer = library.adjtimex(ctypes.byref(report))
    if answer < 0:
        return None
    return bool(answer != _TIME_ERROR and not report.status & _STA_UNSYNC)


def uptime_s() -> float | None:
    """Since the machine was switched on, standby included; None where it does not say. [s]"""
    which = getattr(time, "CLOCK_BOOTTIME", None)
    return None if which is None else time.clock_gettime(which)


def raw_s() -> float | None:
    """The oscillator's own count, which nobody steers; None where it cannot be had. [s]"""
    which = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    return None if which is None else time.clock_gettime(which)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the operating system says about its clocks; a test says something else."""

    synchronised: Callable[[], bool | None] = kernel_says_synchronised
    uptime_s: Callable[[], float | None] = uptime_s
    raw_s: Callable[[], float | None] = raw_s


class Timekeeper:
    """Looks at the clock about once a second: can stamps be believed, must they wait, how are they to be marked.

    A box without a battery wakes up in 1970, or where it was switched off two weeks ago. What it reads meanwhile must
    not be dated wrongly for good, so while `holding` says so polls wait, counted on the monotonic clock, and are dated
    when somebody has set the clock. Nobody waits for ever: on a site without a time server the clock is taken at its
    word after `BOOT_S` if the journal holds nothing younger, and marked as unsynchronised.

    Parameters
    ----------
    newest_ns
        When the youngest batch of the journal was formed, UTC; 0 for none. A clock before that is wrong. [ns]

    Attributes
    ----------
    state
        For polls stamped now.
    holding
        Whether polls wait for the clock. Once it is false it stays so.
    shift_ns
        To be added to a stamp made now: nothing, but on a clock known to be absurd that nobody set within `PATIENCE_S`
        what brings it to a lower bound, the journal's youngest batch and the time since the start. [ns]
    steps
        How often the clock has jumped.
    last_step_s
        By how much it jumped last; positive is forward. [s]
    drift_ppm
        How much the steered clock runs faster than the oscillator, over the last hour or so: what the time server has
        to correct.
    """

    def __init__(self, clock: Clock, machine: Machine | None = None, *, newest_ns: int = 0) -> None:
        self._clock, self._machine = clock, machine or Machine()
        self._wall_ns, self._steady_s = clock.now_ns(), clock.monotonic_s()
        self._began_s = self._steady_s
        self._newest_ns = newest_ns
        self._marked_until_s = float("-inf")
        self._eras = [self._wall_ns - round(self._steady_s * NS)]
        self._drift_from = (self._steady_s, self._machine.raw_s())
        self.steps = 0
        self.last_step_s = 0.0
        self.drift_ppm = 0.0
        self.shift_ns = 0
        self.holding = not clock.simulated
        self.state = ClockState.SIMULATED if clock.simulated else ClockState.SYNCED
        self.look()

    def look(self) -> ClockState:
        """Compare the clocks, ask the kernel, and return the state."""
        if self._clock.simulated:
            return self.state
        wall_ns, steady_s = self._clock.now_ns(), self._clock.monotonic_s()
        jump_s = (wall_ns - self._wall_ns) / NS - (steady_s - self._steady_s)
        self._wall_ns, self._steady_s = wall_ns, steady_s
        if abs(jump_s) > STEP_S:
            self.steps += 1
            self.last_step_s = jump_s
            self._eras.append(wall_ns - round(steady_s * NS))
            if not self.holding and self.shift_ns == 0:
                self._marked_until_s = steady_s + STEP_MARKS_S
            if self.shift_ns and wall_ns >= BUILT_NS:
                self.shift_ns = 0
        synchronised = self._machine.synchronised()
        self._measure_drift(steady_s)
        if self.holding:
            self._decide(wall_ns, steady_s, synchronised)
        if steady_s < self._marked_until_s:
            self.state = ClockState.STEPPED
        else:
            self.state = ClockState.UNSYNCED if synchronised is False else ClockState.SYNCED
        return self.state

    def now_ns(self) -> int:
        """Now, as well as it is known, UTC. [ns]"""
        return self._clock.now_ns() + self.shift_ns

    def give_up_waiting(self) -> None:
        """Nothing more can wait (the memory is full, or the process ends): date it as well as it is known."""
        if self.holding:
            self.holding = False
            if self._wall_ns < BUILT_NS:
                elapsed_ns = round((self._steady_s - self._began_s) * NS)
                self.shift_ns = max(self._newest_ns, BUILT_NS) + elapsed_ns - self._wall_ns

    def era_of(self, stamp_ns: int) -> int:
        """Which setting of the clock made a stamp a short while ago: UTC minus monotonic, then. [ns]"""
        self.look()
        made = stamp_ns - round(self._clock.monotonic_s() * NS)
        return min(self._eras, key=lambda era: abs(era - made))

    def correction_ns(self, era: int) -> int:
        """What to add to a stamp of an era, now that the clock is right; whole milliseconds, 0 if it was right. [ns]"""
        off_ns = self._eras[-1] + self.shift_ns - era
        return 0 if abs(off_ns) <= STEP_S * NS else off_ns // 1_000_000 * 1_000_000

    def _decide(self, wall_ns: int, steady_s: float, synchronised: bool | None) -> None:
        if synchronised or (synchronised is None and wall_ns >= BUILT_NS):
            self.holding = False
        elif wall_ns >= max(BUILT_NS, self._newest_ns):
            up_s = self._machine.uptime_s()
            self.holding = up_s is not None and up_s < BOOT_S
        elif steady_s - self._began_s >= PATIENCE_S:
            self.give_up_waiting()

    def _measure_drift(self, steady_s: float) -> None:
        raw_now, (steady_then_s, raw_then) = self._machine.raw_s(), self._drift_from
        if raw_now is None or raw_then is None or raw_now - raw_then < 60.0:
            return
        self.drift_ppm = ((steady_s - steady_then_s) / (raw_now - raw_then) - 1) * 1e6
        if raw_now - raw_then > 3600.0:
            self._drift_from = (steady_s, raw_now)
