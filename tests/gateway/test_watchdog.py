"""The service manager is fed by progress alone: a gateway whose committing thread hangs is restarted by it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway_firmware_py import main as module
from gateway_firmware_py.batcher import Batcher
from gateway_firmware_py.files import DiskFiles
from gateway_firmware_py.main import Gateway
from gateway_firmware_py.timekeeping import Machine
from meterline.clock import SystemClock
from tests.gateway.gateway_process import settings
from tests.gateway.polls import poll
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until


class Service:
    """Stands for systemd: hears what the gateway says of itself."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.05)
        self.heard: list[bytes] = []

    def listen(self) -> list[bytes]:
        try:
            while True:
                self.heard.append(self._socket.recv(100))
        except TimeoutError:
            return self.heard

    def close(self) -> None:
        self._socket.close()


def bus(sink: Batcher) -> dict[str, Callable[[], Awaitable[None]]]:
    async def run() -> None:
        number = 0
        while True:
            number += 1
            sink.poll(poll(number))
            await asyncio.sleep(0.02)

    return {"made-up": run}


@pytest.mark.slow
def test_the_watchdog_is_fed_while_batches_are_committed_and_not_when_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_S", 0.5)
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    service = Service(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    configured = settings(tmp_path, free_port())
    configured.data.mkdir()
    gateway = Gateway(configured, SystemClock(), DiskFiles(), lambda line: None, bus, machine=Machine(lambda: True))
    release = threading.Event()
    failed: list[BaseException] = []

    def hang() -> None:
        release.wait(20)

    def scene() -> None:
        try:
            wait_until(lambda: b"READY=1" in service.listen(), what="the start")
            wait_until(lambda: service.listen().count(b"WATCHDOG=1") >= 3, what="the watchdog fed")
            gateway.batcher.errand(hang)  # a lock that never comes back
            wait_until(lambda: _quiet_for(service, 1.0), what="the watchdog hungry")
            release.set()
            fed = len(service.heard)
            wait_until(lambda: service.listen()[fed:].count(b"WATCHDOG=1") >= 2, what="the watchdog fed again")
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)
        finally:
            release.set()
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=scene)
    thread.start()
    try:
        asyncio.run(gateway.run())
    finally:
        thread.join(30)
        gateway.close()
    assert failed == []
    assert b"STOPPING=1" in service.listen()
    service.close()


def _quiet_for(service: Service, seconds: float) -> bool:
    """Whether nothing is said for so long from now on."""
    before = len(service.listen())
    deadline = SystemClock().monotonic_s() + seconds
    while SystemClock().monotonic_s() < deadline:
        if len(service.listen()) > before:
            return False
    return True


@pytest.mark.slow
def test_a_hundred_broken_connections_leave_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.gateway.test_uplink import Station

    monkeypatch.setattr("gateway_firmware_py.uplink.PAUSES_S", (0.001, 0.002))
    with socket.create_server(("127.0.0.1", 0)) as door:  # takes connections and breaks each at once
        door.settimeout(0.05)
        station = Station(door.getsockname()[1], tmp_path).start()
        broken = 0
        try:
            while broken < 20:
                broken += _break_one(door)
            settled = open_files()
            while broken < 120:
                broken += _break_one(door)
            assert open_files() <= settled + 4
        finally:
            station.stop()
    assert threading.active_count() < 20


def _break_one(door: socket.socket) -> int:
    try:
        connection, _ = door.accept()
    except TimeoutError:
        return 0
    connection.close()
    return 1


@contextmanager
def all_handles_taken() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 2, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for handle in taken:
            os.close(handle)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
def test_no_file_handle_left_is_a_state_and_not_the_end(tmp_path: Path) -> None:
    """B09: with the process's handles used up batches wait in memory, and move to the disk when there are some."""
    from gateway_firmware_py.journal import Journal
    from gateway_firmware_py.keeper import Draft, Keeper
    from gateway_firmware_py.state import State
    from meterline.clock import ManualClock
    from tests.gateway.polls import T0_NS
    from tests.gateway.rig import KEY, numbers_of

    clock, sent = ManualClock(T0_NS), list[object]()
    files = DiskFiles()
    keeper = Keeper(
        gateway="gw1", key=KEY, clock=clock, software="test", state=State(), kept=sent.extend,
        open_journal=lambda: Journal(files, tmp_path / "journal", segment_bytes=300),
    )  # fmt: skip
    keeper.keep([Draft((poll(1),))])
    with all_handles_taken():
        for n in range(2, 6):
            keeper.keep([Draft((poll(n),))])
            clock.advance(86_400)  # a new day wants a new file
        trouble = keeper.trouble
    assert "open files" in trouble
    clock.advance(10)
    assert keeper.recover()
    keeper.keep([Draft((poll(6),))])
    assert sorted(numbers_of(sent)) == [1, 2, 3, 4, 5, 6]  # type: ignore[arg-type]
    held = sum(len(keeper.held(epoch)) for epoch in keeper.epochs)
    assert held == len(sent)
