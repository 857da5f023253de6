"""``meterline monitor``: every request and answer on one bus as they pass, and what is wrong with whom."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from meterline.cli.read import quality_text
from meterline.cli.screen import Screen, quiet_collector
from meterline.clock import NS, SystemClock
from meterline.errors import ConfigError, Problem
from meterline.paths import profiles_dir
from meterline.plant import Plant, load_plant
from meterline.readings import Exchange, MissingSpan, Poll, Quality
from meterline.settings import Rates
from meterline.site import Bus


@dataclass
class Tally:
    """What one meter has cost and brought."""

    requests: int = 0
    good: int = 0
    causes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    times_ms: list[float] = field(default_factory=list)
    doubts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, exchange: Exchange) -> None:
        """Count one exchange."""
        if not exchange.request:
            self.causes[exchange.cause or "late"] += 1  # bytes nobody asked for, or a line that is down
            return
        self.requests += 1
        if exchange.cause:
            self.causes[exchange.cause] += 1
        else:
            self.good += 1
        if exchange.answered_ns is not None:
            self.times_ms.append((exchange.answered_ns - exchange.sent_ns) / NS * 1000)

    def percentile_ms(self, share: float) -> float | None:
        """The answer time that this share of the answers kept."""
        if not self.times_ms:
            return None
        return sorted(self.times_ms)[max(0, math.ceil(share * len(self.times_ms)) - 1)]


class Watch:
    """Takes what the bus brings and prints it: `Sink` and tap of a `BusMaster` in one."""

    def __init__(self, screen: Screen, plant: Plant, bus: Bus) -> None:
        self._screen, self._plant, self._bus = screen, plant, bus
        self.tallies: dict[str, Tally] = {meter.id: Tally() for meter in plant.meters_on(bus.id)}

    def tap(self, meter: str, exchange: Exchange) -> None:
        """One request with what came back."""
        from collector import describe

        tally = self.tallies[meter]
        tally.add(exchange)
        profile = self._plant.profile_of(self._plant.meters[meter])
        asked, answered = describe(self._bus.kind, exchange, profile, self._screen.lang)
        took = None if exchange.answered_ns is None else (exchange.answered_ns - exchange.sent_ns) / NS * 1000
        self._screen.json(
            {
                "at": _moment(exchange.sent_ns).isoformat(timespec="milliseconds"), "meter": meter,
                "request": exchange.request.hex(), "asked": asked, "response": exchange.response.hex(),
                "answered": answered, "ms": None if took is None else round(took, 1), "cause": exchange.cause,
            }
        )  # fmt: skip
        at = f"{_moment(exchange.sent_ns):%H:%M:%S.%f}"[:-3]
        if exchange.request:
            self._screen.line(f"{at} {meter:<16} → {exchange.request.hex(' ')}   {asked}")
        style = "red" if exchange.cause else None
        after = f"+{took:.0f} ms" if took is not None else "-"
        frame = exchange.response.hex(" ") or "-"
        self._screen.line(f"{after:>12} {meter:<16} ← {frame}   {answered or exchange.cause}", style)

    def poll(self, poll: Poll) -> None:
        """Doubtful values are worth a line."""
        for reading in poll.readings():
            if reading.quality not in (Quality.GOOD, Quality.MISSING):
                doubt = quality_text(reading.quality)
                self.tallies[poll.meter].doubts[doubt] += 1
                self._screen.line(f"{'':>12} {poll.meter:<16} ! {reading.measurand} {reading.value}: {doubt}", "yellow")

    def missing(self, span: MissingSpan) -> None:
        """A meter fell silent, or answers again."""
        key = "monitor.silent" if span.end_ns is None else "monitor.back"
        self._screen.say(key, style="yellow", meter=span.meter, cause=span.cause)

    def summary(self) -> None:
        """One row a meter."""
        rows: list[tuple[object, ...]] = []
        for meter, tally in self.tallies.items():
            causes = " ".join(f"{cause}×{count}" for cause, count in sorted(tally.causes.items()))
            usual, slow = tally.percentile_ms(0.5), tally.percentile_ms(0.99)
            rows.append(
                (
                    meter, self._plant.meters[meter].address, tally.requests, tally.good,
                    sum(n for cause, n in tally.causes.items() if cause == "silent"),
                    sum(n for cause, n in tally.causes.items() if cause == "garbled"),
                    "-" if usual is None else f"{usual:.0f}", "-" if slow is None else f"{slow:.0f}", causes,
                )
            )  # fmt: skip
            self._screen.json(
                {
                    "meter": meter, "address": self._plant.meters[meter].address, "requests": tally.requests,
                    "good": tally.good, "causes": dict(tally.causes), "median_ms": usual, "p99_ms": slow,
                    "doubts": dict(tally.doubts),
                }
            )  # fmt: skip
        self._screen.table(
            ("head.meter", "head.address", "head.asked", "head.good", "head.silent", "head.garbled", "head.median",
             "head.p99", "head.causes"), rows, right=(2, 3, 4, 5, 6, 7),
        )  # fmt: skip


def monitor(screen: Screen, bus_id: str, site: Path, seconds: float | None, every_s: float) -> None:
    """Poll one bus as the gateway would, and show every byte.

    Raises
    ------
    ConfigError
        The site is wrong, or has no such bus.
    """
    quiet_collector()
    plant = load_plant(site, profiles_dir())
    bus = plant.buses.get(bus_id)
    if bus is None:
        there = ", ".join(plant.buses) or "none"
        raise ConfigError([Problem(str(site), "buses", f"no bus {bus_id!r}", f"there are: {there}")])
    watch = Watch(screen, plant, bus)
    screen.say("monitor.head", style="bold", bus=bus.id, kind=bus.kind, line=bus.where, meters=len(watch.tallies))
    try:
        asyncio.run(_watch(plant, bus, watch, seconds, every_s))
    finally:
        watch.summary()


async def _watch(plant: Plant, bus: Bus, watch: Watch, seconds: float | None, every_s: float) -> None:
    from collector import BusMaster

    rates = Rates(fast_s=every_s, normal_s=every_s, slow_s=every_s)
    master = BusMaster(bus, plant, rates, SystemClock(), watch, watch.tap)
    try:
        async with asyncio.timeout(seconds):
            await master.run()
    except TimeoutError:
        return  # the time asked for is over


def _moment(t_ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(t_ns / NS, dt.UTC).astimezone()
