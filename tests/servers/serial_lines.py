"""Serial lines without hardware: pseudo-terminals in raw mode.

A pty has no baud rate and refuses parity (EINVAL): open it at 8N1. Timing on it is the test's own doing.
"""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Iterator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class PtyPair:
    """One end is a file descriptor the test reads and writes, the other a device path that a program opens."""

    master_fd: int
    path: str

    def read(self, size: int = 512, within: float = 2.0) -> bytes:
        """Give what arrived within the time, empty if nothing did."""
        ready, _, _ = select.select([self.master_fd], [], [], within)
        return os.read(self.master_fd, size) if ready else b""

    def read_exactly(self, size: int, within: float = 2.0) -> bytes:
        """Collect `size` bytes, fewer only if a silence of `within` seconds comes first."""
        collected = b""
        while len(collected) < size and (chunk := self.read(size - len(collected), within)):
            collected += chunk
        return collected

    def write(self, data: bytes) -> None:
        os.write(self.master_fd, data)


@dataclass(frozen=True)
class SerialLine:
    """Two device paths joined by a wire: a server opens `server_path`, a client `client_path`."""

    server_path: str
    client_path: str


def _open_raw() -> tuple[int, int, str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    return master, slave, os.ttyname(slave)


@pytest.fixture
def pty_pair() -> Iterator[PtyPair]:
    """Give a raw pty; the slave end is kept open, so that the line survives a program closing it."""
    master, slave, path = _open_raw()
    yield PtyPair(master, path)
    os.close(master)
    os.close(slave)


@pytest.fixture
def serial_line() -> Iterator[SerialLine]:
    """Give two ptys joined by a thread that copies bytes both ways."""
    master_a, slave_a, path_a = _open_raw()
    master_b, slave_b, path_b = _open_raw()
    end_read, end_write = os.pipe()

    def copy() -> None:
        other = {master_a: master_b, master_b: master_a}
        while True:
            ready, _, _ = select.select([master_a, master_b, end_read], [], [])
            if end_read in ready:
                return
            for source in ready:
                os.write(other[source], os.read(source, 4096))

    wire = threading.Thread(target=copy, name="serial-wire", daemon=True)
    wire.start()
    yield SerialLine(path_a, path_b)
    os.write(end_write, b"x")
    wire.join(5)
    for descriptor in (master_a, slave_a, master_b, slave_b, end_read, end_write):
        os.close(descriptor)
