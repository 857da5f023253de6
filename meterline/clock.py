"""Injected time. Nothing in the project reads a clock except through one of these.

Two times are never mixed: `now_ns` says when something happened (UTC, may be stepped), `monotonic_s` measures how
long it took (never stepped). A simulated site runs on a `ScaledClock` that all its processes share, so that a demo of
a minute lasts hours of plant time; waits are real waits, shortened by the same factor.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NS = 1_000_000_000
"""Nanoseconds in a second: the one place where the number is written."""


class Clock(Protocol):
    """When is it, and how to wait for a moment of it."""

    @property
    def simulated(self) -> bool:
        """Whether this is plant time of a simulation; stamped on every batch."""
        ...

    @property
    def factor(self) -> float:
        """Seconds of this clock in a real second; 1 on a real site."""
        ...

    def now_ns(self) -> int:
        """Now, UTC. [ns]"""
        ...

    def monotonic_s(self) -> float:
        """Real seconds since some moment, for time-outs and durations; never scaled, never stepped. [s]"""
        ...

    async def sleep_until(self, t_ns: int) -> None:
        """Return when `now_ns` has reached `t_ns`; at once if it has passed."""
        ...


class SystemClock:
    """The real site's clock: the kernel's UTC for stamps, its monotonic clock for durations."""

    simulated = False
    factor = 1.0

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep_until(self, t_ns: int) -> None:
        while (left := t_ns - time.time_ns()) > 0:
            # Wake at least each second: a stepped clock must not leave a bus asleep for an hour.
            await asyncio.sleep(min(left / NS, 1.0))


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """Plant time that runs `factor` times faster than the wall, the same in every process of one machine.

    Until its anchor it stands still at its origin, so that all processes of a site are up when it begins to run.

    Attributes
    ----------
    origin_ns
        Plant time at the anchor, UTC. [ns]
    anchor_ns
        The machine's monotonic clock at that moment; it is shared by all processes since boot. [ns]
    factor
        Plant seconds per real second.
    """

    origin_ns: int
    anchor_ns: int
    factor: float
    simulated: bool = True

    @classmethod
    def starting_at(cls, origin_ns: int, factor: float, *, in_s: float = 0.0) -> ScaledClock:
        """Anchor `origin_ns` at this very moment, or so many real seconds from now."""
        if factor <= 0:
            raise ValueError(f"a clock cannot run at {factor} times the real speed")
        return cls(origin_ns, time.monotonic_ns() + round(in_s * NS), factor)

    @classmethod
    def parse(cls, text: str) -> ScaledClock:
        """Read what `str` printed: how a parent hands its clock to the processes it starts."""
        origin, anchor, factor = text.split("/")
        return cls(int(origin), int(anchor), float(factor))

    def __str__(self) -> str:
        return f"{self.origin_ns}/{self.anchor_ns}/{self.factor}"

    def now_ns(self) -> int:
        return self.origin_ns + int(max(0, time.monotonic_ns() - self.anchor_ns) * self.factor)

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep_until(self, t_ns: int) -> None:
        while (left := t_ns - self.now_ns()) > 0:
            await asyncio.sleep(left / NS / self.factor)


class HeldClock:
    """A `ScaledClock` in a file, which stands still until whoever wrote the file lets it run.

    How long processes take to start depends on the machine; at hundreds of plant seconds a real one, a start-up that
    takes longer than planned would be a gap of half an hour in every meter.

    Parameters
    ----------
    path
        The file; `hold` writes it, `release` lets it run.

    Raises
    ------
    ValueError
        The file holds no clock.
    """

    simulated = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = ScaledClock.parse(path.read_text(encoding="ascii"))

    @classmethod
    def hold(cls, path: Path, origin_ns: int, factor: float) -> HeldClock:
        """Write a clock that stands at `origin_ns`."""
        _write(path, ScaledClock.starting_at(origin_ns, factor, in_s=_HELD_S))
        return cls(path)

    def release(self) -> None:
        """Let it run, from this moment, in every process that reads the file."""
        _write(self._path, ScaledClock.starting_at(self._clock.origin_ns, self._clock.factor))

    @property
    def factor(self) -> float:
        return self._clock.factor

    def now_ns(self) -> int:
        if self._clock.anchor_ns > time.monotonic_ns():
            self._clock = ScaledClock.parse(self._path.read_text(encoding="ascii"))
        return self._clock.now_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep_until(self, t_ns: int) -> None:
        while self.now_ns() < t_ns and self._clock.anchor_ns > time.monotonic_ns():
            await asyncio.sleep(_LOOK_S)
        await self._clock.sleep_until(t_ns)


_HELD_S = 86_400.0
_LOOK_S = 0.02


def _write(path: Path, clock: ScaledClock) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(str(clock), encoding="ascii")
    fresh.replace(path)


class ManualClock:
    """A clock that stands still until a test moves it; waiting on it moves it, so nothing ever sleeps.

    `sleep_until` yields to the other tasks once and then sets the time, which is what a lone schedule needs.
    """

    simulated = True
    factor = 1.0

    def __init__(self, t_ns: int = 0) -> None:
        self.t_ns = t_ns

    def now_ns(self) -> int:
        return self.t_ns

    def monotonic_s(self) -> float:
        return self.t_ns / NS

    def advance(self, seconds: float) -> None:
        """Move on by plant seconds. [s]"""
        self.t_ns += round(seconds * NS)

    async def sleep_until(self, t_ns: int) -> None:
        await asyncio.sleep(0)
        self.t_ns = max(self.t_ns, t_ns)
