"""A task that fails comes back alone; the end comes in order and in time."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from gateway_firmware_py import supervise
from gateway_firmware_py.health import Troubles
from gateway_firmware_py.supervise import Supervisor, tell_service_manager


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_PAUSE_S", 0.01)


async def until(condition: object) -> None:
    for _ in range(500):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def test_a_failing_task_is_started_again_and_the_others_do_not_notice() -> None:
    said: list[str] = []
    starts = {"bad": 0, "good": 0, "short": 0}

    async def bad() -> None:
        starts["bad"] += 1
        raise KeyError("meter")

    async def good() -> None:
        starts["good"] += 1
        await asyncio.Event().wait()

    async def short() -> None:
        starts["short"] += 1

    async def scene() -> None:
        supervisor = Supervisor(Troubles(said.append), time.monotonic)
        for name, run in (("bad", bad), ("good", good), ("short", short)):
            supervisor.watch(name, run)
        await until(lambda: starts["bad"] >= 3 and starts["short"] >= 2)
        assert await supervisor.stop(1.0) == []
        assert supervisor.restarts >= 5
        assert "KeyError" in supervisor.last_traceback

    asyncio.run(scene())
    assert starts["good"] == 1
    assert "task-bad: KeyError: 'meter'; starting it again" in said
    assert "task-short: ended by itself; starting it again" in said


def test_a_failing_thread_is_started_again_too() -> None:
    starts: list[int] = []

    def run(stop: threading.Event) -> None:
        starts.append(1)
        if len(starts) < 3:
            raise OSError(5, "Input/output error")
        stop.wait(30)

    async def scene() -> None:
        supervisor = Supervisor(Troubles(lambda line: None), time.monotonic)
        supervisor.watch_thread("t", run)
        await until(lambda: len(starts) == 3)
        assert await supervisor.stop(2.0) == []

    asyncio.run(scene())


def test_tasks_end_before_threads_and_threads_in_order() -> None:
    started: list[str] = []
    ended: list[str] = []

    def thread(name: str) -> object:
        def run(stop: threading.Event) -> None:
            started.append(name)
            stop.wait(30)
            ended.append(name)

        return run

    async def bus() -> None:
        started.append("bus")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("bus")

    async def scene() -> None:
        supervisor = Supervisor(Troubles(lambda line: None), time.monotonic)
        supervisor.watch_thread("journal", thread("journal"))  # type: ignore[arg-type]
        supervisor.watch_thread("uplink", thread("uplink"))  # type: ignore[arg-type]
        supervisor.watch("bus", bus)
        await until(lambda: len(started) == 3)
        assert await supervisor.stop(4.0) == []

    asyncio.run(scene())
    assert ended == ["bus", "journal", "uplink"]


def test_what_hangs_is_named_and_does_not_keep_the_process() -> None:
    release = threading.Event()

    started = threading.Event()

    def hang(stop: threading.Event) -> None:
        started.set()
        release.wait(30)

    async def scene() -> None:
        supervisor = Supervisor(Troubles(lambda line: None), time.monotonic)
        supervisor.watch_thread("hanging", hang)
        await until(started.is_set)
        began_s = time.monotonic()
        assert await supervisor.stop(0.4) == ["hanging"]
        assert time.monotonic() - began_s < 2

    asyncio.run(scene())
    release.set()


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setitem(os.environ, "NOTIFY_SOCKET", str(tmp_path / "notify"))
        tell_service_manager("READY=1")
        assert listener.recv(100) == b"READY=1"
    tell_service_manager("WATCHDOG=1")  # it has gone away; nobody here may notice
    monkeypatch.setitem(os.environ, "NOTIFY_SOCKET", "@meterline-nobody-listens-here")
    tell_service_manager("WATCHDOG=1")
    monkeypatch.delitem(os.environ, "NOTIFY_SOCKET")
    tell_service_manager("READY=1")
