"""``meterline bench bus``: how close a round comes to the best any master could do on a line of that speed."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from meterline.cli.bench import Figure, report
from meterline.cli.bench_pages import block_page, four_blocks_page, meters_in_a_process, plant_of, written
from meterline.cli.screen import Screen, quiet_collector
from meterline.clock import SystemClock
from meterline.paths import profiles_dir
from meterline.plant import Plant
from meterline.readings import MissingSpan, Poll
from meterline.settings import Rates

POINTS = 20
TURNAROUND_MS = {"modbus": 20.0, "dlt645": 100.0}
LINES = ((9600, 1.02), (19_200, 1.02), (115_200, 1.08))
"""Speeds of the Modbus lines, and how many times the best cycle a round should take at most."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """One line, driven as hard as it goes.

    Attributes
    ----------
    cycle_s, best_s
        A round of all meters as measured, and by arithmetic. [s]
    """

    name: str
    cycle_s: float
    best_s: float
    rounds: float
    lost: int


class _Times:
    """A sink that only looks at the clock."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.unwell = 0

    def poll(self, poll: Poll) -> None:
        self.at.append(monotonic())
        self.unwell += bool(poll.qualities)

    def missing(self, span: MissingSpan) -> None:
        self.unwell += span.cause not in ("overrun", "stalled")


def bench_bus(screen: Screen, meters: int, seconds: float, scale: int) -> None:
    """Measure and print."""
    quiet_collector()
    measured: list[tuple[_Measured, float]] = []
    with TemporaryDirectory(prefix="meterline-bench-") as name:
        folder = Path(name)
        page = written(block_page(POINTS, floats=True), folder)
        for baud, most in LINES:
            bus = {"kind": "serial", "baud": baud, "parity": "E"}
            measured.append((_line(f"RTU {baud} baud", page, bus, meters, seconds * scale), most))
        blocks = written(four_blocks_page(), folder)
        bus = {"kind": "serial", "baud": 2400, "parity": "E"}
        few = max(meters // 4, 2)
        measured.append((_line("DL/T 645 2400 baud", blocks, bus, few, 2 * seconds * scale), 1.02))
    figures: list[Figure] = []
    for one, most in measured:
        figures += [
            Figure(f"{one.name}: cycle", one.cycle_s, "s", "lower", limit=one.best_s),
            Figure(f"{one.name}: cycle over the best", one.cycle_s / one.best_s, "times", "lower", limit=most),
            Figure(f"{one.name}: polls not all good", one.lost, "polls", "lower", limit=0),
        ]
    figures += _coalescing()
    parameters: dict[str, Any] = {
        "meters": meters,
        "meters_dlt645": few,
        "points": POINTS,
        "turnaround_ms": TURNAROUND_MS,
        "rounds": {one.name: round(one.rounds, 1) for one, _ in measured},
        "line": "a pseudo-terminal, its other end timed byte by byte in a process of its own (11 bits a character)",
        "best": "sum over all requests of bytes, silence of 3.5 characters (DL/T 645: 2 ms) and turnaround",
        "limited_by": "the wire; above that the loop's timers, which wake up to 1 ms late, and a shared processor",
    }
    report(screen, "bus", parameters, figures)


def _line(name: str, page: tuple[Path, Any], bus: dict[str, Any], meters: int, seconds: float) -> _Measured:
    from collector.capacity import prove

    file, profile = page
    turnaround_ms = TURNAROUND_MS[profile.protocol]
    options = (str(file), "--baud", str(bus["baud"]), "--turnaround-ms", str(turnaround_ms))
    with meters_in_a_process("collector.simulated.timed_line", *options) as device:
        plant = plant_of(profile, [{**bus, "device": device}], meters)
        best = prove(plant.site.buses[0], plant, Rates(), turnaround_s=turnaround_ms / 1000).fullest
        assert best is not None
        best_s = best.load.total_s
        wanted = max(seconds, 1.6 * best_s)
        times = asyncio.run(_drive(plant, best_s / 2, wanted))
    gaps = len(times.at) - 1
    cycle_s = (times.at[-1] - times.at[0]) / gaps * meters
    return _Measured(name, cycle_s, best_s, gaps / meters, times.unwell)


async def _drive(plant: Plant, period_s: float, seconds: float) -> _Times:
    """Wish for twice as much as the line can do: then it is never idle."""
    from collector import BusMaster

    times = _Times()
    rates = Rates(fast_s=period_s, normal_s=period_s, slow_s=period_s)
    master = BusMaster(plant.site.buses[0], plant, rates, SystemClock(), times)
    try:
        async with asyncio.timeout(seconds + period_s):
            await master.run()
    except TimeoutError:
        return times
    return times


def _coalescing() -> list[Figure]:
    """Requests saved over one request a point, on all shipped pages."""
    from collector import plan_of
    from meterline.profiles import load_profiles

    plans = [plan_of(profile) for profile in load_profiles(profiles_dir()).values()]
    points = sum(len(plan.points) for plan in plans)
    requests = sum(len(plan.blocks) for plan in plans)
    each = [len(plan.points) / len(plan.blocks) for plan in plans if plan.blocks]
    return [
        Figure("points a request, all shipped profiles", points / requests, "points", "higher", limit=5.0),
        Figure("points a request, median profile", statistics.median(each), "points", "higher"),
    ]
