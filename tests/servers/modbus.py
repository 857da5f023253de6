"""Real Modbus peers that are not ours: a meter on libmodbus, and mbpoll as a client."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.servers.processes import free_port
from tests.servers.programs import require

SERVER = Path(__file__).with_name("libmodbus_server.py")
Words = Mapping[int, Mapping[str, Mapping[int, int]]]  # unit -> table -> address -> word
MeterFactory = Callable[..., "LibmodbusMeter"]
MBPOLL_TYPES = {"coil": "0", "discrete": "1", "input": "3", "holding": "4"}


class LibmodbusMeter:
    """A Modbus server on libmodbus in its own process; `where` is `host:port` or `device:baud`."""

    def __init__(self, kind: str, where: str, words: Words) -> None:
        library = require("libmodbus")
        self.where = where
        self.port = int(where.rpartition(":")[2]) if kind == "tcp" else 0
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), library.path, kind, where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=library.environment,
        )
        self._say(words, "ready")

    def set(self, words: Words) -> None:
        """Change words while the meter runs; they must lie in the range named at the start. Returns when they count."""
        self._say(words, "ok")

    def _say(self, words: Words, answer: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        got = self._process.stdout.readline().strip()
        if got != answer:
            raise RuntimeError(f"the libmodbus server said {got!r} instead of {answer!r} (exit {self._process.poll()})")

    def stop(self) -> None:
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def libmodbus_meter() -> Iterator[MeterFactory]:
    """Make meters: `libmodbus_meter({1: {"input": {0: 2300}}})` on TCP, with `device=path` on a serial line."""
    meters: list[LibmodbusMeter] = []

    def make(words: Words, *, device: str | None = None, baud: int = 9600, port: int | None = None) -> LibmodbusMeter:
        kind, where = ("rtu", f"{device}:{baud}") if device else ("tcp", f"127.0.0.1:{port or free_port()}")
        meter = LibmodbusMeter(kind, where, words)
        meters.append(meter)
        return meter

    yield make
    for meter in meters:
        meter.stop()


class Mbpoll:
    """The mbpoll command, one question at a time. Addresses are counted from 0, as on the wire."""

    def __init__(self) -> None:
        self._program = require("mbpoll")

    def tcp(self, port: int, unit: int, table: str, address: int, count: int = 1) -> list[int]:
        """Read words from 127.0.0.1:`port`."""
        return self._ask(["-m", "tcp", "-p", str(port)], unit, table, address, count, "127.0.0.1")

    def rtu(self, device: str, unit: int, table: str, address: int, count: int = 1, baud: int = 9600) -> list[int]:
        """Read words over a serial line (8N1: a pty knows no parity)."""
        return self._ask(["-m", "rtu", "-b", str(baud), "-P", "none"], unit, table, address, count, device)

    def _ask(self, link: list[str], unit: int, table: str, address: int, count: int, target: str) -> list[int]:
        command = [
            self._program.path,
            *link,
            "-a",
            str(unit),
            "-t",
            MBPOLL_TYPES[table],
            "-0",
            "-r",
            str(address),
            "-c",
            str(count),
            "-1",
            "-q",
            "-o",
            "2.0",
            target,
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, env=self._program.environment, check=False
        )
        values = re.findall(r"^\[\d+\]:\s+(\d+)", done.stdout, re.MULTILINE)
        if done.returncode or len(values) != count:
            raise RuntimeError(f"mbpoll: {(done.stderr or done.stdout).strip()}")
        return [int(value) for value in values]


@pytest.fixture
def mbpoll() -> Mbpoll:
    """Give the mbpoll client; needs the marker `needs_mbpoll`."""
    return Mbpoll()
