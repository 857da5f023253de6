"""The measured processes of ``bench poll``, each alone: ``python -m meterline.cli.bench_poll_runs ROLE JSON``.

A role prints one JSON object. Nothing else runs in its process, so that its processor time and memory are its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector import BusMaster, Sink, Wheel, plan_of
from meterline.cli.bench_pages import plant_of
from meterline.clock import NS, SystemClock
from meterline.plant import Plant
from meterline.profiles import load_profile
from meterline.readings import MissingSpan, Poll
from meterline.settings import Rates

WARM_S, MOST_WARM_S = 1.5, 60.0
"""After every meter has been read once, this long until measuring begins; it begins nevertheless after so long. [s]"""


class Tally:
    """A sink that counts, and passes on."""

    def __init__(self, on: Sink | None = None) -> None:
        self._on = on
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.polls = self.values = self.doubtful = self.missing_spans = 0
        self.delays_ms: list[int] = []
        self.seen: set[str] = set()

    def poll(self, poll: Poll) -> None:
        self.polls += 1
        self.seen.add(poll.meter)
        self.values += len(poll.numbers)
        self.doubtful += bool(poll.qualities)
        self.delays_ms.append(poll.delays_ms[-1])
        if self._on is not None:
            self._on.poll(poll)

    def missing(self, span: MissingSpan) -> None:
        self.missing_spans += 1
        if self._on is not None:
            self._on.missing(span)

    def report(self, cpu_s: float, seconds: float, due: int) -> dict[str, Any]:
        """What came of the measured time."""
        delays = sorted(self.delays_ms) or [0]
        return {
            "cpu_s": cpu_s, "seconds": seconds, "polls": self.polls, "values": self.values, "due": due,
            "doubtful": self.doubtful, "missing_spans": self.missing_spans,
            "delay_p50_ms": delays[len(delays) // 2], "delay_p99_ms": delays[int(len(delays) * 0.99)],
            "delay_max_ms": delays[-1], "resident_mib": resident_mib(),
        }  # fmt: skip


def resident_mib(process: int | str = "self") -> float | None:
    """Memory a process holds, where the system tells. [MiB]"""
    file = Path(f"/proc/{process}/status")
    if not file.exists():
        return None
    line = next(line for line in file.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def measure(plant: Plant, period_s: float, seconds: float, tally: Tally) -> dict[str, Any]:
    """Poll a plant on the real clock; the start is not measured."""
    clock = SystemClock()
    wheel, rates = Wheel(clock), Rates(fast_s=period_s, normal_s=period_s, slow_s=period_s)
    masters = [BusMaster(bus, plant, rates, clock, tally, wheel=wheel) for bus in plant.buses.values()]
    tasks = [asyncio.create_task(master.run()) for master in masters]
    deadline_s = time.monotonic() + MOST_WARM_S
    while len(tally.seen) < len(plant.meters) and time.monotonic() < deadline_s:
        await asyncio.sleep(0.1)
    # From just before a slot to just before another, so that the measured time holds whole rounds.
    period_ns = round(period_s * NS)
    begin_ns = (time.time_ns() + round(max(WARM_S, period_s) * NS)) // period_ns * period_ns + period_ns
    rounds = max(round(seconds / period_s), 1)
    await asyncio.sleep((begin_ns - time.time_ns()) / NS - 0.02)
    tally.clear()
    begun_cpu, begun = time.process_time(), time.monotonic()
    await asyncio.sleep((begin_ns + rounds * period_ns - time.time_ns()) / NS - 0.02)
    used, passed = time.process_time() - begun_cpu, time.monotonic() - begun
    found = tally.report(used, passed, rounds * len(plant.meters))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


@contextmanager
def journal(folder: Path) -> Iterator[Sink]:
    """The gateway's own sink: batches formed, signed, chained and synced to disk by a thread of their own."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gateway_firmware_py.batcher import Batcher
    from gateway_firmware_py.files import DiskFiles
    from gateway_firmware_py.frames import FrameRing
    from gateway_firmware_py.health import MeterBook, Troubles
    from gateway_firmware_py.journal import Journal
    from gateway_firmware_py.keeper import Keeper
    from gateway_firmware_py.state import State
    from gateway_firmware_py.timekeeping import Timekeeper

    clock, files, state = SystemClock(), DiskFiles(), State(folder / "state.db")
    keeper = Keeper(
        gateway="bench",
        key=Ed25519PrivateKey.generate(),
        clock=clock,
        software="bench",
        open_journal=lambda: Journal(files, folder / "journal"),
        state=state,
        frames=FrameRing(files, folder / "frames"),
    )
    batcher = Batcher(keeper, state, clock, Timekeeper(clock), MeterBook(), Troubles(lambda line: None), commit_s=1.0)
    stop = threading.Event()
    thread = threading.Thread(target=batcher.run, args=(stop,), name="journal")
    thread.start()
    try:
        yield batcher
    finally:
        stop.set()
        thread.join()
        state.close()


def floor(given: dict[str, Any]) -> dict[str, Any]:
    """Our polling alone."""
    return asyncio.run(measure(_plant(given), given["period_s"], given["seconds"], Tally()))


def gateway(given: dict[str, Any]) -> dict[str, Any]:
    """Our polling with the journal."""
    with tempfile.TemporaryDirectory(prefix="meterline-bench-") as folder, journal(Path(folder)) as sink:
        found = asyncio.run(measure(_plant(given), given["period_s"], given["seconds"], Tally(sink)))
        found["journal_bytes"] = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return found


def plain(given: dict[str, Any]) -> dict[str, Any]:
    """The pymodbus loop."""
    from collector.simulated.plain_loop import poll_plainly

    tally = Tally()
    profile = load_profile(Path(given["page"]))
    meters = [f"m{n}" for n in range(given["meters"])]
    used = asyncio.run(poll_plainly(given["port"], meters, plan_of(profile), given["seconds"], tally.poll))
    return tally.report(used, given["seconds"], round(given["seconds"]) * len(meters))


def _plant(given: dict[str, Any]) -> Plant:
    bus = {"kind": given["kind"], "host": "127.0.0.1", "port": given["port"]}
    if given["kind"] != "modbus-tcp":
        bus["baud"] = given["baud"]
    return plant_of(load_profile(Path(given["page"])), [bus] * given["lines"], given["meters"] // given["lines"])


ROLES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"floor": floor, "gateway": gateway, "plain": plain}

if __name__ == "__main__":
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, hard) if hard > 0 else 65_536, hard))
    print(json.dumps(ROLES[sys.argv[1]](json.loads(sys.argv[2]))))
