"""Start a server as a process of its own, on a free loopback port, and be able to hurt it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers.waiting import wait_until


def free_port() -> int:
    """Choose a loopback port that nobody listens on now; bind it soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


PR_SET_PDEATHSIG = 1  # prctl(2): Linux only, as are the servers


def _die_with_parent() -> None:
    """Run in the child before the server: a test run that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class ServerProcess:
    """A server in its own process group, its output in a file beside its data.

    `kill` is SIGKILL (a crash: nothing is flushed), `stop` is SIGTERM, `pause` is SIGSTOP (the peer that is there and
    says nothing). After `kill` or `stop`, `start` begins again on the same port with the same data.
    """

    def __init__(self, command: Sequence[str], *, port: int, directory: Path, environment: dict[str, str]) -> None:
        self.command = list(command)
        self.host = "127.0.0.1"
        self.port = port
        self.directory = directory
        self.log_file = directory / "server.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, within: float = 15.0) -> None:
        """Start and return once the port answers; a server that dies at once fails with its own words."""
        if self.running:
            raise RuntimeError("already running")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        wait_until(
            lambda: port_answers(self.port) or not self.running, within=within, what=f"{self.command[0]} to listen"
        )
        if not self.running:
            raise RuntimeError(f"{self.command[0]} ended at once:\n{self.log()[-2000:]}")

    def stop(self, within: float = 10.0) -> None:
        """Ask it to end (SIGTERM), and make sure."""
        if self._process is None:
            return
        if self.running:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(within)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait(within)
        self._process = None

    def kill(self) -> None:
        """SIGKILL: what a crash leaves behind."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """Stop politely and start again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)
