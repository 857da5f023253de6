"""One alarm clock for all connections of a gateway: who is due at a slot is called at that slot, without a task each.

Five hundred meters have five hundred connections but only one grid of slots. The wheel waits for the next slot that
anybody asked for, and then calls all who did. Hundreds of answers come back at once, too: each is stamped where it
arrives, and taken apart when all that is there has been stamped. Time-outs of equal length end in the order in which
they began, so those need one alarm, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from meterline.clock import NS, Clock

LOOK_UP_S = 1.0
"""A clock may be set while everybody waits: it is looked at as often as this. [s]"""
LOOK_UP_SIMULATED_S = 0.02
"""A simulated site's clock may stand still until its whole plant is up, and then run hundreds of times faster. [s]"""


AT_A_TIME = 16


class Patience:
    """Calls back so many seconds after each question: time-outs of one length.

    Parameters
    ----------
    within_s
        The length. [s]
    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._ends: deque[tuple[float, Callable[[float], None]]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self, now_s: float, call: Callable[[float], None]) -> None:
        """Call with the moment when the time is up; there is no taking back. [s of the loop]"""
        self._ends.append((now_s + self.within_s, call))
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_at(now_s + self.within_s, self._ring)

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        now_s, ends = loop.time(), self._ends
        while ends and ends[0][0] <= now_s:
            end_s, call = ends.popleft()
            loop.call_soon(call, end_s)
        self._alarm = loop.call_at(ends[0][0], self._ring) if ends else None


class Wheel:
    """Calls whoever asked for a slot when the clock gets there; everybody, if the clock was set back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._most_s = LOOK_UP_S if clock.factor == 1.0 else LOOK_UP_SIMULATED_S
        self._due: dict[int, list[Callable[[], None]]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._patiences: dict[float, Patience] = {}
        self._target_ns = 0
        self._seen_ns = 0
        self._later: deque[Callable[[], None]] = deque()
        self._is_digesting = False

    def patience(self, within_s: float) -> Patience:
        """The time-outs of one length."""
        return self._patiences.setdefault(within_s, Patience(within_s))

    def soon(self, call: Callable[[], None]) -> None:
        """Call when what has arrived on all connections has been stamped, a few at a time."""
        self._later.append(call)
        if not self._is_digesting:
            self._is_digesting = True
            asyncio.get_running_loop().call_soon(self._digest)

    def _digest(self) -> None:
        """Some of what was put off; in between, the loop looks for what has arrived."""
        loop, later = asyncio.get_running_loop(), self._later
        try:
            for _ in range(min(AT_A_TIME, len(later))):
                later.popleft()()
        finally:
            self._is_digesting = bool(later)
            if later:
                loop.call_soon(self._digest)

    def call_at(self, slot_ns: int, call: Callable[[], None]) -> None:
        """Call once when the clock has reached a slot. An error of the callee is the callee's to handle."""
        waiting = self._due.get(slot_ns)
        if waiting is not None:
            waiting.append(call)
            return
        self._due[slot_ns] = [call]
        if self._alarm is None or slot_ns < self._target_ns:
            if self._alarm is not None:
                self._alarm.cancel()
            self._seen_ns = self._clock.now_ns()
            self._wait(slot_ns)

    def forget(self, call: Callable[[], None]) -> None:
        """Do not call any more."""
        for slot_ns, waiting in list(self._due.items()):
            if call in waiting:
                waiting.remove(call)
                if not waiting:
                    del self._due[slot_ns]

    def _wait(self, slot_ns: int) -> None:
        self._target_ns = slot_ns
        left_s = (slot_ns - self._seen_ns) / NS / self._clock.factor
        self._alarm = asyncio.get_running_loop().call_later(min(max(left_s, 0.0), self._most_s), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now_ns = self._clock.now_ns()
        set_back = now_ns < self._seen_ns - NS
        self._seen_ns = now_ns
        loop = asyncio.get_running_loop()
        for slot_ns in sorted(slot for slot in self._due if slot <= now_ns or set_back):
            for call in self._due.pop(slot_ns):
                loop.call_soon(call)
        if self._due:
            self._wait(min(self._due))
