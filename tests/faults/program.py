"""One process under test: started, hurt, watched. What it says is timed; what it takes of the machine is measured."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.servers.waiting import wait_until

PR_SET_PDEATHSIG = 1


@dataclass
class Maxima:
    """The most it ever had, over all its lives."""

    rss_mb: float = 0.0
    descriptors: int = 0
    threads: int = 0
    lines_per_min: int = 0


@dataclass
class Program:
    """A command that may be started many times.

    Attributes
    ----------
    lines
        What it said: (monotonic s, text).
    deaths
        When it was killed or had ended, and when it was started again, in pairs: (monotonic s, monotonic s or None).
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    lines: list[tuple[float, str]] = field(default_factory=list)
    maxima: Maxima = field(default_factory=Maxima)
    _process: subprocess.Popen[bytes] | None = None
    _reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, output: Path | None = None) -> None:
        """Start it; returns at once. With `output` its words go there and are not heard."""
        assert not self.running, f"{self.name} runs already"
        if output is not None:
            with output.open("wb") as sink:
                self._process = self._popen(sink)
            return
        self._process = self._popen(subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _popen(self, sink: IO[bytes] | int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**os.environ, "METERLINE_LANG": "en", "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **self.environment},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def stop(self, within_s: float = 12.0) -> float:
        """SIGTERM; returns the seconds it took. [s]"""
        if self._process is None or self._process.poll() is not None:
            return 0.0
        began = time.monotonic()
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
        return time.monotonic() - began

    def wait_ended(self, within_s: float) -> int:
        """Its exit code; an AssertionError if it does not end."""
        wait_until(lambda: not self.running, within=within_s, what=f"{self.name} to end")
        assert self._process is not None
        if self._reader is not None:
            self._reader.join(2)
        return self._process.returncode

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def limit(self, what: int, soft: int) -> None:
        """Set a resource limit of the running process (prlimit(2)); it can be raised again."""
        _, hard = resource.prlimit(self.pid, what)
        resource.prlimit(self.pid, what, (soft, hard))

    def unlimit(self, what: int) -> None:
        _, hard = resource.prlimit(self.pid, what)
        resource.prlimit(self.pid, what, (hard, hard))

    def said(self, text: str, since: float = 0.0) -> bool:
        """Whether a line with this text came at or after a moment."""
        return any(at >= since and text in line for at, line in list(self.lines))

    def said_count(self, text: str, since: float = 0.0) -> int:
        return sum(at >= since and text in line for at, line in list(self.lines))

    def wait_said(self, text: str, *, since: float = 0.0, within_s: float = 20.0) -> None:
        """Wait for a line."""
        wait_until(
            lambda: self.said(text, since) or not self.running, within=within_s, what=f"{text!r} said by {self.name}"
        )
        assert self.said(text, since), f"{self.name} ended without saying {text!r}:\n{self.last_words()}"

    def last_words(self, count: int = 15) -> str:
        return "\n".join(line for _, line in self.lines[-count:])

    def measure(self) -> None:
        """Look at /proc once."""
        if not self.running:
            return
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
            descriptors = len(os.listdir(f"/proc/{self.pid}/fd"))
        except OSError:
            return  # it ended meanwhile
        figures = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        most = self.maxima
        most.rss_mb = max(most.rss_mb, int(figures.get("VmHWM", "0 kB").split()[0]) / 1024)
        most.threads = max(most.threads, int(figures.get("Threads", "0")))
        most.descriptors = max(most.descriptors, descriptors)

    def written_bytes(self) -> int:
        """What the kernel has sent to the disk for it so far, 0 where it does not tell. [bytes]"""
        try:
            rows = Path(f"/proc/{self.pid}/io").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return int(next((row.split()[1] for row in rows if row.startswith("write_bytes")), "0"))

    def lines_per_min(self, since: float, until: float) -> int:
        """Most lines in any minute of a stretch."""
        moments = [at for at, _ in self.lines if since <= at <= until]
        return max((sum(a <= b < a + 60 for b in moments) for a in moments), default=0)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with (self.folder / f"{self.name}.log").open("a", encoding="utf-8") as log:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                self.lines.append((time.monotonic(), line))
                log.write(line + "\n")
                log.flush()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
