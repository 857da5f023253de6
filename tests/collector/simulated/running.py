"""Run a factory on a loop of its own thread, so that blocking clients can ask it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from collector.simulated import Factory


@contextmanager
def running(factory: Factory) -> Iterator[Factory]:
    """Serve until the block ends; an error of the factory is raised here."""
    loop = asyncio.new_event_loop()
    up = threading.Event()
    task = loop.create_task(factory.serve(up.set))
    task.add_done_callback(lambda _: up.set())

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()

    thread = threading.Thread(target=run, name="factory")
    thread.start()
    assert up.wait(10)
    try:
        if not task.done():
            yield factory
    finally:
        if not task.done():
            loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
    if not task.cancelled():
        task.result()
