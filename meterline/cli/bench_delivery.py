"""``meterline bench delivery``: bytes on the wire, wear of the disk, work of the gateway, and a month's backlog.

Every figure is of shipped code on this machine. Where less than the thirty days were run the name says so.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from meterline.cli.bench import Figure, report
from meterline.cli.bench_delivery_runs import (
    Child,
    Fleet,
    SlowLine,
    broker,
    fill,
    gateway,
    headend,
    public_key,
    wear,
)
from meterline.cli.bench_delivery_values import Meters, Recording, batches_of, read_recording
from meterline.cli.screen import Screen
from meterline.errors import Unreachable
from meterline.wire import GENESIS, Batch, seal

METERS, POINTS = 32, 20
MONTH_MINUTES = 30 * 1440
LIVE_S = 5.0
"""While a backlog drains meters are polled this often instead of once a minute: harder, and quicker to judge. [s]"""
LINK_S = 45.0
"""How long the slow line is used, at scale 1. [s]"""
CPU_S = 20.0


def bench_delivery(screen: Screen, replay: Sequence[Path], link_kbit_s: float, scale: int) -> None:
    """Measure and print.

    Parameters
    ----------
    replay
        Recordings; their values are what is sent. None: invented ones.
    scale
        Days of backlog are twice this: 16 is the month.

    Raises
    ------
    ConfigError
        A recording cannot be read.
    Unreachable
        There is no broker on this machine.
    """
    recordings = tuple(read_recording(path) for path in replay)
    days = 2 * scale
    parameters: dict[str, Any] = {
        "meters": METERS, "points": POINTS, "days": days, "link_kbit_s": link_kbit_s, "scale": scale,
        "values": sorted(path.name for path in replay) or "invented",
    }  # fmt: skip
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="meterline-bench-") as name:
        folder = Path(name)
        steps: list[tuple[str, Callable[[], list[Figure]]]] = [
            ("wire", lambda: _wire(recordings)),
            ("disk", lambda: _disk(folder, recordings)),
            ("cpu", lambda: _cpu(folder, recordings)),
            ("loopback", lambda: _loopback(folder, recordings, days)),
            ("link", lambda: _link(folder, recordings, link_kbit_s, LINK_S * scale)),
        ]
        for step, measure in steps:
            screen.say("bench.step", step=step)
            figures += measure()
    report(screen, "delivery", parameters, figures)


# --- bytes ------------------------------------------------------------------------------------------------------------


def _wire(recordings: tuple[Recording, ...]) -> list[Figure]:
    """Messages as they are sent, with signature and header, of meters as the recordings have them."""
    figures: list[Figure] = []
    for floats, kind in ((False, "decimal"), (True, "float32")):
        meters = (
            Meters(recordings, floats=floats) if recordings else Meters((), count=METERS, points=POINTS, floats=floats)
        )
        for size in (500, 20):
            readings, sent = _sealed(meters, size)
            figures.append(
                Figure(f"wire, {kind} meters, {size} readings a batch", sent / readings, "B/reading", "lower")
            )
    return figures


def _sealed(meters: Meters, size: int) -> tuple[int, int]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, prev, readings, sent = Ed25519PrivateKey.generate(), GENESIS, 0, 0
    for index, polls in batches_of(meters, size, 60):
        batch = Batch(
            "gw-bench", "00112233445566ff", index + 1, prev, polls[-1].slot_ns + 2 * 10**9, False, tuple(polls),
            frames_sha256=key.public_key().public_bytes_raw(), software="meterline 0.1.0 (0123456789ab)",
        )  # fmt: skip
        sealed = seal(batch, key)
        prev = sealed.digest
        readings += sum(len(poll.numbers) for poll in polls)
        sent += len(sealed.message)
    return readings, sent


# --- the gateway alone ------------------------------------------------------------------------------------------------


def _disk(folder: Path, recordings: tuple[Recording, ...]) -> list[Figure]:
    figures: list[Figure] = []
    for period_s, rounds, kind in ((60.0, 240, "polled and committed once a minute"), (1.0, 300, "once a second")):
        child = Child(wear, folder / f"wear-{period_s:g}", Fleet(recordings, METERS, POINTS, period_s), rounds)
        try:
            written = child.mark()["written"]
        finally:
            child.end()
        per_day = written / rounds * 86_400 / period_s
        name = f"written by the gateway, {METERS} x {POINTS} {kind}, frames included"
        figures.append(Figure(name, per_day / 1e6, "MB/day", "lower"))
    return figures


def _cpu(folder: Path, recordings: tuple[Recording, ...]) -> list[Figure]:
    fleet = Fleet(recordings, 100, POINTS, 1.0)
    with _pair(folder / "cpu", fleet) as (edge, server, _):
        _until(lambda: edge.mark()["polls"] >= 300, 60)
        before, there = edge.mark(), server.mark()
        time.sleep(CPU_S)
        after, then = edge.mark(), server.mark()
    busy = (after["cpu_s"] - before["cpu_s"]) / (after["at_s"] - before["at_s"])
    stored = (then["readings"] - there["readings"]) / (then["at_s"] - there["at_s"])
    name = "gateway, 100 meters x 20 points a second, without the buses"
    return [
        Figure(f"{name}: CPU", 100 * busy, "% of a core", "lower"),
        Figure(f"{name}: stored meanwhile", stored, "readings/s", "higher", limit=100.0 * POINTS),
        Figure(f"{name}: memory", after["rss_kb"] / 1024, "MB", "lower"),
    ]


# --- backlogs ---------------------------------------------------------------------------------------------------------


def _loopback(folder: Path, recordings: tuple[Recording, ...], days: int) -> list[Figure]:
    place, fleet = folder / "loopback", Fleet(recordings, METERS, POINTS, LIVE_S)
    _, readings, _ = fill(place, fleet, days * 1440)
    with _pair(place, fleet) as (edge, server, _):
        _until(lambda: edge.mark()["compared"] > 0, 60)
        start = server.mark()
        _until(lambda: server.mark()["readings"] >= readings, 3600)
        end, gateway_end = server.mark(), edge.mark()
    took_s = end["at_s"] - start["at_s"]
    month = took_s * 30 / days
    shutil.rmtree(place)
    how = "" if days >= 30 else f" (extrapolated from {days} days)"
    return [
        Figure(f"month's backlog stored over loopback{how}", month, "s", "lower"),
        Figure("backlog over loopback: speed", readings / took_s, "readings/s", "higher"),
        Figure("backlog over loopback: live reading to store, longest", gateway_end["lag_s"], "s", "lower"),
        Figure("backlog over loopback: batches sent again", gateway_end["resent"], "batches", "lower"),
        Figure("backlog over loopback: gateway memory", gateway_end["rss_kb"] / 1024, "MB", "lower"),
        Figure("backlog over loopback: head-end memory", end["rss_kb"] / 1024, "MB", "lower"),
        Figure("head-end work a reading", 1e6 * (end["cpu_s"] - start["cpu_s"]) / readings, "us", "lower"),
    ]


def _link(folder: Path, recordings: tuple[Recording, ...], kbit_s: float, seconds: float) -> list[Figure]:
    place, fleet = folder / "link", Fleet(recordings, METERS, POINTS, LIVE_S)
    rate = kbit_s * 1000 / 8
    slots = max(30, round(1.5 * rate * seconds / (METERS * POINTS * 5)))
    batches, readings, size = fill(place, fleet, slots)
    with _pair(place, fleet, rate) as (edge, server, line):
        assert line is not None
        _until(lambda: edge.mark()["sent"] >= 5, 60)
        begun, up = server.mark(), line.upward
        _until(lambda: server.mark()["at_s"] - begun["at_s"] >= seconds or edge.mark()["waiting"] < 5, seconds + 60)
        ended, carried, gateway_end = server.mark(), line.upward - up, edge.mark()
    took_s = ended["at_s"] - begun["at_s"]
    speed = (ended["readings"] - begun["readings"]) / took_s
    month = MONTH_MINUTES * METERS * POINTS
    bound = month * size / readings / rate
    name = f"over {kbit_s:g} kbit/s"
    return [
        Figure(
            f"month's backlog stored {name} (extrapolated from {took_s:.0f} s)", month / speed / 60, "min", "lower",
            limit=bound / 60,
        ),
        Figure(f"{name}: line used", 100 * carried / took_s / rate, "%", "higher", limit=100.0),
        Figure(f"{name}: live reading to store, longest", gateway_end["lag_s"], "s", "lower"),
        Figure(f"{name}: batches sent again", gateway_end["resent"], "batches", "lower"),
        Figure(f"{name}: readings a batch", readings / batches, "readings", "higher"),
    ]  # fmt: skip


@contextmanager
def _pair(folder: Path, fleet: Fleet, rate: float | None = None) -> Iterator[tuple[Child, Child, SlowLine | None]]:
    """A gateway and a head-end with a broker between them; with `rate` the gateway's line to it is a slow one."""
    key = public_key(folder)
    with broker(folder / "broker") as port:
        line = SlowLine(port, rate) if rate else None
        server = Child(headend, folder / "headend", port, key)
        edge: Child | None = None
        try:
            server.mark()
            edge = Child(gateway, folder, line.port if line else port, replace(fleet, frames=True), 1.0)
            yield edge, server, line
        finally:
            for child in (edge, server):
                if child is not None:
                    child.end()
            if line is not None:
                line.close()


def _until(claim: Callable[[], bool], within_s: float) -> None:
    end_s = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > end_s:
            raise Unreachable("bench", f"not done within {within_s:.0f} s", "is the machine busy with something else?")
        time.sleep(0.2)
