"""``meterline bench poll``: what polling hundreds of meters costs, beside a plain pymodbus loop in the same run."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from meterline.cli.bench import Figure, report
from meterline.cli.bench_pages import block_page, meters_in_a_process, plant_of, written
from meterline.cli.bench_poll_runs import resident_mib
from meterline.cli.screen import Screen

POINTS = 30
TURNS = 2
"""Each of two that are compared runs so often, in turns; the medians count."""
RTU_SERVERS, RTU_METERS, RTU_BAUD, RTU_PERIOD_S, RTU_TURNAROUND_MS = 20, 25, 9600, 5.0, 20.0
SMALL_METERS, SMALL_POINTS = 100, 20
NOT_RUN = {
    "modpoll": "pins another pymodbus than ours: needs an environment of its own",
    "thingsboard-gateway": "calls its vendor at start: needs a network namespace with loopback alone",
}


def bench_poll(screen: Screen, meters: int, seconds: float, scale: int) -> None:
    """Measure and print."""
    meters *= scale
    figures: list[Figure] = []
    _many_files()
    with tempfile.TemporaryDirectory(prefix="meterline-bench-") as name:
        folder = Path(name)
        for floats in (False, True):
            figures += _against_plain(folder, meters, seconds, floats=floats)
        figures += _sustained(folder, meters, seconds)
        figures += _serial_servers(folder, seconds)
        figures += _small_gateway(folder)
    parameters = {
        "meters": meters,
        "points": POINTS,
        "period_s": 1,
        "seconds": seconds,
        "scale": scale,
        "serial_servers": f"{RTU_SERVERS} x {RTU_METERS} meters at {RTU_BAUD} baud, wire time emulated, each "
        f"{RTU_PERIOD_S:g} s, turnaround {RTU_TURNAROUND_MS:g} ms",
        "plain loop": "pymodbus's asyncio client, one a meter, one task each, the same blocks into the same polls",
        "not_run": NOT_RUN,
        "limited_by": "one Python thread, much of whose time goes into the kernel's sockets; the meters are a process "
        "on the same machine, so delays are those of its cores",
    }
    report(screen, "poll", parameters, figures)


def _run(role: str, **given: Any) -> dict[str, Any]:
    """One measured process."""
    done = subprocess.run(
        [sys.executable, "-m", "meterline.cli.bench_poll_runs", role, json.dumps(given)],
        capture_output=True, text=True, timeout=60 + 10 * given["seconds"], check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _against_plain(folder: Path, meters: int, seconds: float, *, floats: bool) -> list[Figure]:
    file, _ = written(block_page(POINTS, floats=floats), folder)
    ours, plain = [], []
    with meters_in_a_process("collector.simulated.quick_meters", str(file)) as port:
        given = {"page": str(file), "port": int(port), "meters": meters, "seconds": seconds, "period_s": 1.0}
        for _ in range(TURNS):
            plain.append(_run("plain", **given))
            ours.append(_run("floor", **given, kind="modbus-tcp", lines=meters))
    kind = "32-bit floats" if floats else "scaled integers"

    def per_value(runs: list[dict[str, Any]]) -> float:
        each: list[float] = [run["cpu_s"] / run["values"] * 1e6 for run in runs]
        return statistics.median(each)

    return [
        Figure(
            f"processor time a value, {kind}", per_value(ours), "us", "lower",
            reference=("plain pymodbus loop", per_value(plain)),
        ),
        Figure(f"values not good, {kind}", sum(run["doubtful"] for run in ours), "polls", "lower", limit=0),
    ]  # fmt: skip


def _sustained(folder: Path, meters: int, seconds: float) -> list[Figure]:
    """Polling and journal together: the share of a core, the slots that were missed, how late the answers were."""
    file, _ = written(block_page(POINTS, floats=True), folder)
    with meters_in_a_process("collector.simulated.quick_meters", str(file)) as port:
        run = _run(
            "gateway", page=str(file), port=int(port), kind="modbus-tcp", lines=meters, meters=meters,
            seconds=2 * seconds, period_s=1.0,
        )  # fmt: skip
    return [
        Figure("values a second, journal included", run["values"] / run["seconds"], "values/s", "higher"),
        Figure("share of one core, journal included", run["cpu_s"] / run["seconds"] * 100, "%", "lower", limit=20),
        Figure("slots missed", run["due"] - run["polls"], "slots", "lower", limit=0),
        Figure("answer after its slot, median", run["delay_p50_ms"], "ms", "lower"),
        Figure("answer after its slot, 99th percentile", run["delay_p99_ms"], "ms", "lower", limit=50),
        Figure("journal and frames a value", run["journal_bytes"] / max(run["values"], 1), "B", "lower"),
    ]


def _serial_servers(folder: Path, seconds: float) -> list[Figure]:
    """The usual plant: serial servers in cabinets, RTU meters behind each."""
    from collector.capacity import prove
    from meterline.settings import Rates

    file, profile = written(block_page(SMALL_POINTS, floats=True), folder)
    options = (str(file), "--baud", str(RTU_BAUD), "--turnaround-ms", str(RTU_TURNAROUND_MS))
    with meters_in_a_process("collector.simulated.quick_meters", *options) as port:
        run = _run(
            "gateway", page=str(file), port=int(port), kind="rtu-over-tcp", baud=RTU_BAUD, lines=RTU_SERVERS,
            meters=RTU_SERVERS * RTU_METERS, seconds=max(2 * seconds, 2 * RTU_PERIOD_S), period_s=RTU_PERIOD_S,
        )  # fmt: skip
    bus = {"kind": "rtu-over-tcp", "host": "127.0.0.1", "port": 1, "baud": RTU_BAUD}
    plant = plant_of(profile, [bus], RTU_METERS)
    best = prove(plant.site.buses[0], plant, Rates(), turnaround_s=RTU_TURNAROUND_MS / 1000).fullest
    assert best is not None
    return [
        Figure("20 serial servers x 25 RTU meters: slots missed", run["due"] - run["polls"], "slots", "lower", limit=0),
        Figure("the same: share of one core", run["cpu_s"] / run["seconds"] * 100, "%", "lower"),
        Figure("the same: processor time a value", run["cpu_s"] / max(run["values"], 1) * 1e6, "us", "lower"),
        Figure(
            "the same: last meter after the slot", run["delay_max_ms"] / 1000, "s", "lower", limit=best.load.total_s
        ),
    ]


def _small_gateway(folder: Path) -> list[Figure]:
    """Memory of the real command, as an operator starts it; no broker is there, so its journal fills."""
    from meterline.profiles import load_profile

    file, _ = written(block_page(SMALL_POINTS, floats=False), folder)
    site = folder / "site"
    (site / "profiles").mkdir(parents=True)
    page = json.loads(file.read_text())
    (site / "profiles" / file.name).write_text(json.dumps(page))
    with meters_in_a_process("collector.simulated.quick_meters", str(file)) as port:
        # One endpoint and a hundred unit addresses: the site file's rules want one entry a line.
        line = {"kind": "modbus-tcp", "host": "127.0.0.1", "port": int(port)}
        plant = plant_of(load_profile(file), [line], SMALL_METERS)
        (site / "site.yaml").write_text(plant.site.model_dump_json(exclude_none=True, by_alias=True))
        rates = {"fast_s": 1, "normal_s": 1, "slow_s": 1}
        (site / "gateway.yaml").write_text(json.dumps({"gateway": "bench", "rates": rates, "broker": {"port": 9}}))
        with _started(
            [sys.executable, "-c", "import meterline.cli as c; c.main()", "gateway", str(site / "gateway.yaml")]
        ) as process:
            deadline, held = time.monotonic() + 15.0, 0.0
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(1.0)
                held = max(held, resident_mib(process.pid) or 0.0)
    name = f"memory of a gateway with {SMALL_METERS} meters x {SMALL_POINTS} points"
    return [Figure(name, held, "MiB", "lower", limit=60)] if held else []


@contextlib.contextmanager
def _started(command: list[str]) -> Any:
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                process.kill()


def _many_files() -> None:
    """The simulated meters hold a connection each: let our children have as many as the system allows."""
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, hard) if hard > 0 else 65_536, hard))
