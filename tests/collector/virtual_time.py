"""Hours of bus time in milliseconds: an event loop whose clock jumps to the next thing to happen.

The real asyncio machinery runs, time-outs, sleeps and all; only waiting is skipped. A scenario that waits for nothing
that could ever happen is an error, not a hang.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from meterline.clock import NS

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: tells the loop how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("everybody waits and nothing is going to happen")
            self.now_s += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class LoopClock:
    """The loop's time as a site's clock; `offset_s` may be changed to step it."""

    simulated = False
    factor = 1.0

    def __init__(self, loop: asyncio.AbstractEventLoop, origin_ns: int = 1_700_000_100 * NS) -> None:
        self._loop, self._origin_ns = loop, origin_ns - round(loop.time() * NS)
        self.offset_s = 0.0

    def now_ns(self) -> int:
        return self._origin_ns + round((self._loop.time() + self.offset_s) * NS)

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep_until(self, t_ns: int) -> None:
        while (left := t_ns - self.now_ns()) > 0:
            await asyncio.sleep(min(left / NS, 1.0))


def run(scenario: Callable[[LoopClock], Coroutine[Any, Any, T]]) -> T:
    """Play a scenario on virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(scenario(LoopClock(loop)))
    finally:
        loop.close()


async def during(seconds: float, task: Awaitable[None]) -> None:
    """Let something that never ends run for some virtual seconds; an error in it is an error here."""
    try:
        async with asyncio.timeout(seconds):
            await task
    except TimeoutError:
        return
