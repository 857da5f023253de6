"""Serial ports, on Linux and on a Windows laptop alike: the only place that knows pyserial.

On POSIX the loop watches the port; where a loop cannot (Windows), a thread reads and hands over.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from pathlib import PurePosixPath
from typing import Literal

import serial
from serial.tools import list_ports

from collector.transports import Inbox
from collector.transports_latency import Latency, shorten
from meterline.errors import LineDown
from meterline.lines import LineSettings

log = logging.getLogger(__name__)

WRITE_WITHIN_S = 1.0
EXACT_S = 0.001
"""The last bit of a wait is slept through, so that the silence between two frames is no longer than it must be. [s]"""
_CHUNK = 4096
_MISSING = {errno.ENOENT, errno.ENODEV, errno.ENXIO}
_TAKEN = {errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK}


class SerialTransport:
    """One serial port, opened for us alone.

    Attributes
    ----------
    device
        As the site file names it: a path, a COM port, or ``usb:VID:PID:SERIAL``.
    path
        What it was found as when it was last opened.
    latency
        The adapter's latency timer, where it has one.
    """

    def __init__(self, device: str, baud: int, parity: Literal["N", "E", "O"], stop_bits: Literal[1, 2]) -> None:
        self.device, self.baud = device, baud
        self.path = device
        self.latency: Latency | None = None
        self._advised = False
        self.parity, self.stop_bits = parity, stop_bits
        self._inbox = Inbox()
        self._port: serial.Serial | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._watched = False

    @property
    def is_open(self) -> bool:
        return self._port is not None

    async def open(self) -> None:
        self.close()
        self._inbox = Inbox()
        self._loop = asyncio.get_running_loop()
        self.path = usb_path(self.device) if self.device.startswith("usb:") else self.device
        parity, stop_bits = self._shape(self.parity, self.stop_bits)
        try:
            port = serial.Serial(
                self.path, self.baud, bytesize=8, parity=parity, stopbits=stop_bits, timeout=0,
                write_timeout=WRITE_WITHIN_S, exclusive=True if os.name == "posix" else None,
            )  # fmt: skip
        except (serial.SerialException, ValueError, OSError) as error:
            raise LineDown(explain(self.device, error)) from error
        self._port = port
        self._shorten_latency(port)
        try:
            self._loop.add_reader(port.fileno(), self._readable)
            self._watched = True
        except (NotImplementedError, AttributeError, OSError):
            port.timeout = 0.1
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._pump, args=(port, self._loop, self._stop), name=f"read {self.device}", daemon=True
            )
            self._thread.start()

    def write(self, data: bytes) -> None:
        if self._port is None:
            raise LineDown(f"{self.device} is closed")
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            self._lost(error)
            raise LineDown(explain(self.device, error)) from error

    async def read(self, until_s: float) -> bytes:
        data = await self._inbox.get(until_s - EXACT_S)
        if data or self._loop is None:
            return data
        # A loop wakes up to a millisecond late, which a line of this speed would notice at every question.
        time.sleep(max(until_s - self._loop.time(), 0.0))
        return self.drain()

    def drain(self) -> bytes:
        if self._port is not None and self._watched:
            try:
                waiting = self._port.in_waiting
            except OSError as error:
                self._lost(error)
            else:
                if waiting:
                    self._readable()
        return self._inbox.drain()

    @property
    def interjections(self) -> tuple[bytes, ...]:
        return ()

    async def adapt(self, settings: LineSettings) -> None:
        port = self._port
        if port is None:
            raise LineDown(f"{self.device} is closed")
        parity, stop_bits = self._shape(settings.parity, settings.stop_bits)
        try:
            port.apply_settings({"baudrate": settings.baud, "parity": parity, "stopbits": stop_bits})
        except (serial.SerialException, ValueError, OSError) as error:
            self._lost(error)
            raise LineDown(explain(self.device, error)) from error

    def doubt(self) -> None:
        """A port has no connection that could be dead: nothing to do."""

    def hang_up(self) -> None:
        self.close()

    def _shape(self, parity: str, stop_bits: int) -> tuple[str, int]:
        """A Linux pty refuses parity with EINVAL and has no stop bits: simulated lines run at 8N1 (only those)."""
        return ("N", 1) if is_pseudo_terminal(self.path) else (parity, stop_bits)

    def close(self) -> None:
        port, self._port = self._port, None
        if port is None:
            return
        if self._watched and self._loop is not None:
            self._watched = False
            self._loop.remove_reader(port.fileno())
        if self._thread is not None:
            self._stop.set()
            port.cancel_read()
            self._thread.join(1.0)
            self._thread = None
        port.close()

    @property
    def figures(self) -> dict[str, float]:
        """The latency timer, for the health of the gateway. [ms]"""
        return {} if self.latency is None else {"latency_ms": float(self.latency.now_ms)}

    def _shorten_latency(self, port: serial.Serial) -> None:
        self.latency = shorten(self.path, port)
        if self.latency is not None and self.latency.advice and not self._advised:
            self._advised = True  # once is enough: it is slow, not broken
            log.warning("%s: %s", self.device, self.latency.advice)

    def _readable(self) -> None:
        """The loop says there is something to read: bytes, or the news that the port is gone (nothing to read)."""
        if self._port is None:
            return
        try:
            data = os.read(self._port.fileno(), _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        if data:
            self._inbox.feed(data)
        else:
            self._lost(OSError(errno.EIO, "the port hung up"))

    def _lost(self, error: Exception) -> None:
        """The adapter was pulled out: close, so that the next question opens the port again by its stable name."""
        self._inbox.fail(LineDown(explain(self.device, error)))
        self.close()

    def _pump(self, port: serial.Serial, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        """Read in a thread, for a loop that cannot watch a port; everything is handed over to the loop."""
        inbox = self._inbox
        while not stop.is_set():
            try:
                data = port.read(1)
                if data:
                    data += port.read(port.in_waiting)
            except (serial.SerialException, OSError) as error:
                if not stop.is_set() and not loop.is_closed():
                    loop.call_soon_threadsafe(self._lost, error)
                return
            if data and not stop.is_set() and not loop.is_closed():
                loop.call_soon_threadsafe(inbox.feed, data)


def usb_path(device: str) -> str:
    """The port that a USB adapter has just now.

    Raises
    ------
    LineDown
        It is not plugged in, or the name fits more than one.
    """
    vid, pid, serial_number = (*device.removeprefix("usb:").split(":", 2), "")[:3]
    there = [port for port in list_ports.comports() if port.vid is not None]
    fitting = [
        port.device
        for port in there
        if (port.vid, port.pid) == (int(vid, 16), int(pid, 16)) and serial_number in ("", port.serial_number)
    ]
    if len(fitting) == 1:
        return str(fitting[0])
    names = ", ".join(f"usb:{port.vid:04x}:{port.pid:04x}:{port.serial_number or ''}".rstrip(":") for port in there)
    if fitting:
        raise LineDown(f"{len(fitting)} adapters are {device}; add the serial number. There are: {names}")
    raise LineDown(f"no adapter {device} is plugged in; there are: {names or 'none'}")


def is_pseudo_terminal(device: str) -> bool:
    """Whether a device path leads to a Linux pseudo-terminal (also by a symbolic link, as a simulated line has)."""
    return os.name == "posix" and PurePosixPath(os.path.realpath(device)).is_relative_to("/dev/pts")


def explain(device: str, error: Exception) -> str:
    """Why a port cannot be used, and what to do: the sentence an electrician reads."""
    code = getattr(error, "errno", None)
    text = str(error)
    if code in _MISSING or "FileNotFoundError" in text:
        remedy = "plug the adapter in; 'ls /dev/serial/by-id' lists the ports that are there"
        if os.name != "posix":
            remedy = "plug the adapter in; the device manager lists the COM ports that are there"
        return f"there is no port {device}; {remedy}"
    if code in (errno.EACCES, errno.EPERM) or "PermissionError" in text:
        if os.name != "posix":
            return f"{device} is in use by another program; close it"
        return (
            f"no permission to open {device}; add yourself to its group ('sudo usermod -aG dialout $USER') "
            "and log in anew"
        )
    if code in _TAKEN or "lock" in text:
        return (
            f"{device} is in use by another program; stop it ('fuser -v {device}' names it), or if it is the gateway, "
            "read the meter by its id: one master a line"
        )
    if code == errno.EINVAL or isinstance(error, ValueError):
        return f"{device} refuses these settings ({error}); check baud, parity and stop_bits of the bus"
    if isinstance(error, serial.SerialTimeoutException):
        return f"{device} takes no bytes; unplug and replug the adapter"
    return f"{device} failed ({error}); check the cable and replug the adapter"
