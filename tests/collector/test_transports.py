"""Real ports: what is said when they cannot be used, and that bytes pass both ways."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from functools import partial
from pathlib import Path

import pytest
import serial

from collector.transports import MOST_WAITING, Inbox, TcpTransport
from collector.transports_latency import shorten
from collector.transports_serial import SerialTransport, explain, is_pseudo_terminal
from meterline.errors import LineDown
from tests.servers.processes import free_port
from tests.servers.serial_lines import PtyPair


async def soon() -> float:
    return asyncio.get_running_loop().time() + 2.0


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    transport = SerialTransport(str(tmp_path / "ttyUSB9"), 9600, "N", 1)
    with pytest.raises(LineDown, match=r"there is no port .*ttyUSB9; plug the adapter in; 'ls /dev/serial/by-id'"):
        asyncio.run(transport.open())
    assert not transport.is_open


def test_a_port_in_use(pty_pair: PtyPair) -> None:
    async def scenario() -> None:
        first, second = (SerialTransport(pty_pair.path, 9600, "N", 1) for _ in range(2))
        await first.open()
        with pytest.raises(LineDown, match="in use by another program"):
            await second.open()
        first.close()
        await second.open()
        second.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EACCES, "Permission denied"), "usermod -aG dialout"),
        (OSError(errno.ENOENT, "No such file"), "plug the adapter in"),
        (OSError(errno.EBUSY, "busy"), "one master a line"),
        (OSError(errno.EINVAL, "Invalid argument"), "check baud, parity and stop_bits"),
        (ValueError("Not a valid baudrate: 9601"), "check baud, parity and stop_bits"),
        (OSError(errno.EIO, "Input/output error"), "replug the adapter"),
        (serial.SerialTimeoutException("Write timeout"), "takes no bytes"),
        (serial.SerialException("could not open port 'COM9': FileNotFoundError(2, ...)"), "plug the adapter in"),
    ],
)
def test_the_electrician_is_told_what_to_do(error: Exception, says: str) -> None:
    assert says in explain("/dev/ttyUSB0", error)


def test_a_pseudo_terminal_is_opened_without_parity(pty_pair: PtyPair, tmp_path: Path) -> None:
    link = tmp_path / "line"
    link.symlink_to(pty_pair.path)
    assert is_pseudo_terminal(str(link))
    assert not is_pseudo_terminal("/dev/ttyS0")

    async def scenario() -> None:
        transport = SerialTransport(str(link), 2400, "E", 2)
        await transport.open()
        transport.write(bytes(range(256)))
        assert await asyncio.to_thread(pty_pair.read_exactly, 256) == bytes(range(256))
        pty_pair.write(b"\x03\x11\x13\xff")
        assert await transport.read(await soon()) == b"\x03\x11\x13\xff"
        pty_pair.write(b"late")
        got, deadline = b"", await soon()
        while len(got) < 4 and asyncio.get_running_loop().time() < deadline:
            got += transport.drain()
        assert got == b"late"
        assert await transport.read(0.0) == b""
        transport.close()

    asyncio.run(scenario())


def test_a_loop_that_cannot_watch_ports_uses_a_thread(pty_pair: PtyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, whose loop has no add_reader."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_reader", partial(asyncio.AbstractEventLoop.add_reader, loop))
        transport = SerialTransport(pty_pair.path, 9600, "N", 1)
        await transport.open()
        pty_pair.write(b"hello")
        got = b""
        while len(got) < 5:
            got += await transport.read(await soon())
        assert got == b"hello"
        transport.close()

    before = threading.active_count()
    asyncio.run(scenario())
    assert threading.active_count() == before


@pytest.mark.parametrize("watched", [True, False])
def test_an_adapter_pulled_out_is_a_line_down_and_can_be_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    async def scenario() -> None:
        if not watched:
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(loop, "add_reader", partial(asyncio.AbstractEventLoop.add_reader, loop))
        link = tmp_path / "by-id"
        master, slave = os.openpty()
        link.symlink_to(os.ttyname(slave))
        transport = SerialTransport(str(link), 9600, "N", 1)
        await transport.open()
        os.close(slave)
        os.close(master)
        with pytest.raises(LineDown, match="check the cable and replug"):
            await transport.read(await soon())
        assert not transport.is_open
        again, other = os.openpty()
        link.unlink()
        link.symlink_to(os.ttyname(other))
        await transport.open()
        os.write(again, b"back")
        assert await transport.read(await soon()) == b"back"
        transport.close()
        os.close(again)
        os.close(other)

    asyncio.run(scenario())


def test_nobody_listens() -> None:
    with pytest.raises(LineDown, match="refused the connection; check the port number"):
        asyncio.run(TcpTransport("127.0.0.1", free_port()).open())


def test_no_such_host() -> None:
    with pytest.raises(LineDown, match=r"no host is named 'nowhere\.invalid'"):
        asyncio.run(TcpTransport("nowhere.invalid", 502).open())


def test_tcp_both_ways_and_the_end() -> None:
    async def scenario() -> None:
        async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(3) + b"!")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        transport = TcpTransport("127.0.0.1", port)
        await transport.open()
        transport.write(b"abc")
        assert await transport.read(await soon()) == b"abc!"
        with pytest.raises(LineDown, match="closed the connection"):
            await transport.read(await soon())
        with pytest.raises(LineDown):
            transport.write(b"x")
        assert not transport.is_open
        transport.close()
        server.close()

    asyncio.run(scenario())


def test_a_peer_that_never_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.transports.CONNECT_WITHIN_S", 0.05)

    async def scenario() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port: int = full.getsockname()[1]
            held = [socket.socket() for _ in range(4)]
            for one in held:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            with pytest.raises(LineDown, match="did not accept a connection"):
                await TcpTransport("127.0.0.1", port).open()
            for one in held:
                one.close()

    asyncio.run(scenario())


def test_a_babbling_line_does_not_fill_the_memory() -> None:
    inbox = Inbox()
    for _ in range(100):
        inbox.feed(b"\x55" * 1000)
    inbox.feed(b"end")
    kept = inbox.drain()
    assert len(kept) == MOST_WAITING
    assert kept.endswith(b"end")


class Adapter:
    """A port as pyserial lists it."""

    def __init__(self, device: str, vid: int | None, pid: int | None, serial_number: str | None) -> None:
        self.device, self.vid, self.pid, self.serial_number = device, vid, pid, serial_number


def plugged(monkeypatch: pytest.MonkeyPatch, *adapters: Adapter) -> None:
    monkeypatch.setattr("collector.transports_serial.list_ports.comports", lambda: list(adapters))


def test_an_adapter_is_found_by_its_numbers_wherever_it_is_plugged_in(
    pty_pair: PtyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Adapter("/dev/ttyUSB7", 0x0403, 0x6001, "OTHER")
    plugged(monkeypatch, Adapter("/dev/ttyS0", None, None, None), other, Adapter(pty_pair.path, 0x0403, 0x6001, "A50"))

    async def scenario() -> None:
        transport = SerialTransport("usb:0403:6001:A50", 9600, "N", 1)
        await transport.open()
        assert transport.path == pty_pair.path
        transport.close()

    asyncio.run(scenario())
    for device, says in (
        ("usb:0403:6001", r"2 adapters are usb:0403:6001; add the serial number\. There are: .*usb:0403:6001:A50"),
        ("usb:10c4:ea60", r"no adapter usb:10c4:ea60 is plugged in; there are: usb:0403:6001:OTHER, usb:0403:6001:A50"),
    ):
        with pytest.raises(LineDown, match=says):
            asyncio.run(SerialTransport(device, 9600, "N", 1).open())


class LowLatency:
    """A port whose driver may know low latency."""

    def __init__(self, timer: Path, works: bool) -> None:
        self._timer, self._works = timer, works

    def set_low_latency_mode(self, wish: bool) -> None:
        if not self._works:
            raise ValueError("not supported")
        self._timer.chmod(0o644)
        self._timer.write_text("1\n", encoding="ascii")
        self._timer.chmod(0o444)


@pytest.mark.parametrize(
    ("found", "writable", "driver", "left"),
    [("16", True, False, 1), ("1", False, False, 1), ("16", False, True, 1), ("16", False, False, 16)],
)
def test_the_latency_timer_is_shortened_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str, writable: bool, driver: bool, left: int
) -> None:
    monkeypatch.setattr("collector.transports_latency.SYSFS", tmp_path)
    timer = tmp_path / "ttyUSB3" / "latency_timer"
    timer.parent.mkdir()
    timer.write_text(found + "\n", encoding="ascii")
    if not writable:
        write = Path.write_text

        def refuse(path: Path, *args: str, **options: str) -> int:
            if path == timer and not driver_at_work:
                raise PermissionError(errno.EACCES, "Permission denied")
            return write(path, *args, **options)

        driver_at_work = False

        class Driver(LowLatency):
            def set_low_latency_mode(self, wish: bool) -> None:
                nonlocal driver_at_work
                driver_at_work = True
                super().set_low_latency_mode(wish)

        monkeypatch.setattr(Path, "write_text", refuse)
        port: LowLatency = Driver(timer, driver)
    else:
        port = LowLatency(timer, driver)
    latency = shorten("/dev/ttyUSB3", port)
    assert latency is not None
    assert (latency.found_ms, latency.now_ms) == (int(found), left)
    assert ("99-ftdi.rules" in latency.advice) == (left > 1)
    assert shorten("/dev/ttyUSB4", port) is None, "no FTDI adapter: nothing to say"
