"""Clocks for a factory that must not race ahead: time moves when a test says so."""

from __future__ import annotations

import asyncio

from meterline.clock import ManualClock


class StandingClock(ManualClock):
    """Stands still; whoever waits on it waits for good."""

    async def sleep_until(self, t_ns: int) -> None:
        await asyncio.Event().wait()


class RunTo(ManualClock):
    """Jumps from one awaited moment to the next until an end, then stands still."""

    def __init__(self, t_ns: int, end_ns: int) -> None:
        super().__init__(t_ns)
        self._end_ns = end_ns
        self.there = asyncio.Event()

    async def sleep_until(self, t_ns: int) -> None:
        await asyncio.sleep(0)
        self.t_ns = min(t_ns, self._end_ns)
        if t_ns > self._end_ns:
            self.there.set()
            await asyncio.Event().wait()
