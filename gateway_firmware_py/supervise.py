"""Each task lives alone: one that fails is started again after a pause, and the others do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import traceback
from collections.abc import Awaitable, Callable

from gateway_firmware_py.health import Troubles

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
FORGIVEN_S = 300.0
"""A task that ran so long before it failed starts again without the longer pause."""


class Supervisor:
    """Runs tasks and threads until told to stop.

    Attributes
    ----------
    restarts
        How often anything was started again.
    last_traceback
        Of the last failure, for a support file; health carries one line.
    """

    def __init__(self, troubles: Troubles, monotonic_s: Callable[[], float]) -> None:
        self._troubles, self._monotonic_s = troubles, monotonic_s
        self._tasks: list[asyncio.Task[None]] = []
        self._threads: list[tuple[asyncio.Task[None], threading.Event]] = []
        self._stopping = False
        self.restarts = 0
        self.last_traceback = ""

    def watch(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Keep `run` running; cancelled at the end."""
        self._tasks.append(asyncio.get_running_loop().create_task(self._forever(name, run), name=name))

    def watch_thread(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Keep `run` running in a thread of its own; it must return soon after the event is set."""
        stop = threading.Event()
        task = asyncio.get_running_loop().create_task(
            self._forever(name, lambda: _in_thread(name, run, stop)), name=name
        )
        self._threads.append((task, stop))

    async def stop(self, within_s: float) -> list[str]:
        """End the tasks, then the threads in the order they were given; returns those that did not end in time."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        late = await _wait(self._tasks, within_s / 2)
        end_s = self._monotonic_s() + within_s / 2
        for task, stop in self._threads:
            stop.set()
            unfinished = await _wait([task], max(0.1, end_s - self._monotonic_s()))
            for hanging in unfinished:
                hanging.cancel()
            late += unfinished
        return sorted(task.get_name() for task in late)

    async def _forever(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._is_stopping():
            began_s = self._monotonic_s()
            try:
                await run()
                why = "ended by itself"
            except Exception as error:  # noqa: BLE001 - the one place on the edge where anything may be caught
                why = f"{type(error).__name__}: {error}"
                self.last_traceback = traceback.format_exc()
            if self._is_stopping():
                return
            self.restarts += 1
            if self._monotonic_s() - began_s > FORGIVEN_S:
                pause_s = FIRST_PAUSE_S
            self._troubles.set(f"task-{name}", f"{why[:200]}; starting it again")
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._troubles.set(f"task-{name}", "")

    def _is_stopping(self) -> bool:
        return self._stopping

    async def _pause(self, seconds: float) -> None:
        end_s = self._monotonic_s() + seconds
        while not self._is_stopping() and self._monotonic_s() < end_s:
            await asyncio.sleep(0.1)


async def _wait(tasks: list[asyncio.Task[None]], within_s: float) -> list[asyncio.Task[None]]:
    if not tasks:
        return []
    _, late = await asyncio.wait(tasks, timeout=within_s)
    return list(late)


async def _in_thread(name: str, run: Callable[[threading.Event], None], stopping: threading.Event) -> None:
    """Run in a daemon thread, so that one that hangs cannot keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(None)

    def body() -> None:
        error: BaseException | None = None
        try:
            run(stopping)
        except BaseException as failed:  # noqa: BLE001 - carried over to the supervisor, which decides
            error = failed
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=body, name=name, daemon=True).start()
    await done


def tell_service_manager(text: str) -> None:
    """Say something to systemd (sd_notify(3)), such as ``READY=1`` or ``WATCHDOG=1``; silent where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice, contextlib.suppress(OSError):
        # A manager that is being restarted, or an address somebody left in the environment, must not end a gateway.
        notice.sendto(text.encode(), address)
