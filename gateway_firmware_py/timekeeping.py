"""How far the box's clock can be believed: what the kernel says of its synchronisation, and whether it has jumped."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

from meterline.clock import NS, Clock
from meterline.readings import ClockState

STEP_S = 0.5
"""A larger disagreement between wall and monotonic clock since the last look is a step. [s]"""
STEP_MARKS_S = 60.0
"""So long after a step stamps are marked. [s]"""
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


class Timekeeper:
    """Looks at the clock about once a second and says how stamps are to be marked.

    Attributes
    ----------
    state
        For polls stamped now.
    steps
        How often the clock has jumped.
    last_step_s
        By how much it jumped last; positive is forward. [s]
    """

    def __init__(self, clock: Clock, synchronised: Callable[[], bool | None] = kernel_says_synchronised) -> None:
        self._clock, self._synchronised = clock, synchronised
        self._wall_ns, self._steady_s = clock.now_ns(), clock.monotonic_s()
        self._marked_until_s = float("-inf")
        self.steps = 0
        self.last_step_s = 0.0
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
            self._marked_until_s = steady_s + STEP_MARKS_S
        if steady_s < self._marked_until_s:
            self.state = ClockState.STEPPED
        else:
            self.state = ClockState.UNSYNCED if self._synchronised() is False else ClockState.SYNCED
        return self.state
