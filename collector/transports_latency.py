"""FTDI adapters hold back what they receive for up to 16 ms, unless told not to: a tenth of a cycle at 9600 baud.

Linux lets the timer be set in two ways: by a file that udev may open to us, or by asking for low latency on the port,
which needs no right at all where the driver knows it. Both are tried; what remains is told with its remedy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SYSFS = Path("/sys/bus/usb-serial/devices")
WANTED_MS = 1


class Port(Protocol):
    """An open serial port, as pyserial has it on Linux."""

    def set_low_latency_mode(self, low_latency_settings: bool) -> None:
        """Ask the driver to hand over each byte at once."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """The adapter's latency timer after we tried.

    Attributes
    ----------
    found_ms, now_ms
        As it was, and as it is. [ms]
    advice
        What to do about it; empty if it is as short as it can be.
    """

    found_ms: int
    now_ms: int
    advice: str = ""


def shorten(device: str, port: Port) -> Latency | None:
    """Set the latency timer of the adapter behind a port to 1 ms; None where there is none (not FTDI, not Linux)."""
    timer = SYSFS / Path(os.path.realpath(device)).name / "latency_timer"
    found_ms = _read(timer)
    if found_ms is None:
        return None
    if found_ms <= WANTED_MS:
        return Latency(found_ms, found_ms)
    try:
        timer.write_text(str(WANTED_MS), encoding="ascii")
    except OSError:
        _ask(port)
    now_ms = _read(timer)
    if now_ms is None or now_ms <= WANTED_MS:
        return Latency(found_ms, now_ms if now_ms is not None else found_ms)
    return Latency(
        found_ms,
        now_ms,
        f'the adapter holds each answer back for up to {now_ms} ms; let it be set: put ACTION=="add", '
        'SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1" into /etc/udev/rules.d/99-ftdi.rules '
        "and replug it",
    )


def _ask(port: Port) -> None:
    try:
        port.set_low_latency_mode(True)
    except (OSError, ValueError, AttributeError, NotImplementedError):
        return  # the file says below whether it worked


def _read(timer: Path) -> int | None:
    try:
        return int(timer.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
