"""A serial server that is not ours: socat joins a TCP connection to a line on which libmodbus answers.

Once it listens (rtu-over-tcp), once it dials in (tcp-listen), once it is a port of this machine (serial).
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector import BusMaster, read_meter
from meterline.clock import SystemClock
from meterline.readings import Poll
from meterline.settings import Rates
from tests.collector.sites import Collected, plant
from tests.collector.test_against_libmodbus import PAC, check, pac_words
from tests.servers.modbus import MeterFactory
from tests.servers.processes import free_port
from tests.servers.programs import require
from tests.servers.waiting import wait_until

pytestmark = [pytest.mark.needs_socat, pytest.mark.needs_libmodbus]
Join = Callable[[str, str], subprocess.Popen[bytes]]


@pytest.fixture
def socat() -> Iterator[Join]:
    """Join two ends: ``socat("PTY,...", "TCP-LISTEN:...")``."""
    program = require("socat")
    running: list[subprocess.Popen[bytes]] = []

    def join(one: str, other: str) -> subprocess.Popen[bytes]:
        running.append(subprocess.Popen([program.path, one, other], env=program.environment))
        return running[-1]

    yield join
    for process in running:
        process.terminate()
    for process in running:
        process.wait(5)


def line_for(folder: Path, socat: Join, other: str) -> Path:
    """A device path behind which `other` is."""
    link = folder / "line"
    socat(f"PTY,link={link},raw,echo=0", other)
    wait_until(link.exists, within=5, what="socat's terminal")
    return link


def site_of(**bus: Any) -> Any:
    return plant(bus, {"profile": PAC.profile, "address": "126"})


def read(site: Any) -> Poll:
    (poll,) = asyncio.run(read_meter(site.buses["line"], site.meters["m1"], PAC, SystemClock()))
    return poll


def test_a_port_of_this_machine(tmp_path: Path, socat: Join, libmodbus_meter: MeterFactory) -> None:
    theirs = tmp_path / "theirs"
    ours = line_for(tmp_path, socat, f"PTY,link={theirs},raw,echo=0")
    wait_until(theirs.exists, within=5, what="the other terminal")
    libmodbus_meter({126: {"holding": pac_words()}}, device=str(theirs), baud=19200)
    check(read(site_of(kind="serial", device=str(ours), baud=19200)))


def test_a_transparent_serial_server(tmp_path: Path, socat: Join, libmodbus_meter: MeterFactory) -> None:
    port = free_port()
    line = line_for(tmp_path, socat, f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork")
    libmodbus_meter({126: {"holding": pac_words()}}, device=str(line))
    check(read(site_of(kind="rtu-over-tcp", host="127.0.0.1", port=port)))


def test_a_serial_server_that_dials_in(tmp_path: Path, socat: Join, libmodbus_meter: MeterFactory) -> None:
    port = free_port()
    line = line_for(tmp_path, socat, f"TCP:127.0.0.1:{port},retry=100,interval=0.1")
    libmodbus_meter({126: {"holding": pac_words()}}, device=str(line))
    check(read(site_of(kind="tcp-listen", host="127.0.0.1", port=port)))


def test_a_serial_server_that_is_killed_and_dials_in_anew(
    tmp_path: Path, socat: Join, libmodbus_meter: MeterFactory
) -> None:
    port = free_port()
    theirs = tmp_path / "theirs"
    ours = line_for(tmp_path, socat, f"PTY,link={theirs},raw,echo=0")
    wait_until(theirs.exists, within=5, what="the other terminal")
    libmodbus_meter({126: {"holding": pac_words()}}, device=str(theirs))
    site = site_of(kind="tcp-listen", host="127.0.0.1", port=port, timeout_s=0.5)
    got = Collected()

    async def until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            await asyncio.sleep(0.01)

    async def scenario() -> None:
        rates = Rates(fast_s=0.5, normal_s=0.5, slow_s=0.5)
        task = asyncio.create_task(BusMaster(site.buses["line"], site, rates, SystemClock(), got).run())
        dial = f"TCP:127.0.0.1:{port},retry=100,interval=0.1"
        for _ in range(2):
            device = socat(f"FILE:{ours},raw,echo=0", dial)
            seen = len(got.polls)
            await until(lambda seen=seen: len(got.polls) >= seen + 2)  # type: ignore[misc]
            device.kill()
            await until(lambda: bool(got.spans) and got.spans[-1].end_ns is None)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert {reading.quality.name for poll in got.polls for reading in poll.readings()} <= {"GOOD", "MISSING"}
