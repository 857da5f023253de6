"""Processes the demo starts: each with its log file, all stopped with their parent, none left behind."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from meterline.errors import Unreachable

MAIN = [sys.executable, "-c", "from meterline.cli import main; main()"]
"""Runs this very installation's command line, however it was started."""
_PR_SET_PDEATHSIG = 1


class Child:
    """One process of a demo.

    Attributes
    ----------
    name
        For people and for its log file.
    """

    def __init__(self, name: str, command: Sequence[str], logs: Path, env: Mapping[str, str] | None = None) -> None:
        self.name, self.command = name, list(command)
        self.log = logs / f"{name}.log"
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in a session of its own, so that a Ctrl-C reaches only the parent, who stops all in order."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._env},
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()) if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        """Its process id; 0 before it is started."""
        return self._process.pid if self._process else 0

    @property
    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll() if self._process else None

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def stop(self, grace_s: float) -> int | None:
        """Ask it to end, insist after a grace; returns its exit code."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(grace_s)
        return process.returncode

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


def _die_with_parent(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask_kernel


def wait_for(what: str, ready: Callable[[], bool], children: Iterable[Child], within_s: float) -> None:
    """Wait until a condition holds.

    Raises
    ------
    Unreachable
        A child ended, or it took too long.
    """
    deadline = time.monotonic() + within_s
    children = list(children)
    while not ready():
        for child in children:
            if child.ended is not None:
                raise Unreachable(child.name, f"ended at once (exit code {child.ended})", f"{child.last_words()}")
        if time.monotonic() > deadline:
            logs = ", ".join(str(child.log) for child in children)
            raise Unreachable(what, f"was not ready within {within_s:g} s", f"see {logs}")
        time.sleep(0.05)


def port_is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        if os.name == "posix":  # a port in TIME_WAIT may be taken; on Windows this option means another thing
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(wish: int = 0, taken: Iterable[int] = ()) -> int:
    """The port wished for if it is free, else another one.

    Chosen below the range that systems give to outgoing connections: those come and go between our look and the
    server's start.
    """
    taken = set(taken)
    for port in (wish, *random.sample(range(20_000, 30_000), 200)):
        if port and port not in taken and port_is_free(port):
            return port
    raise Unreachable("127.0.0.1", "no port is free between 20000 and 30000", "end what holds them")


def answers(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end_leftovers(pids: Iterable[int], mark: str, grace_s: float = 5.0) -> list[int]:
    """End processes an earlier run left behind: only those whose command line names `mark`.

    Returns
    -------
    list of int
        The processes that were ended.
    """
    ours = [pid for pid in pids if pid > 1 and mark in _command_line(pid)]
    for pid in ours:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(mark in _command_line(pid) for pid in ours):
        time.sleep(0.05)
    for pid in ours:
        if mark in _command_line(pid):
            _signal(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    return ours


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended by itself: what was wanted


def _command_line(pid: int) -> str:
    """How a process was started; empty if there is none (or no way to know: then it is not ours to end)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
