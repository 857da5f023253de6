"""The meters: ``python meters_process.py SITE CLOCK STATE``, until SIGTERM. Every answered read is written down.

It is the factory of ``meterline simulate``; only its journal is told to take every read, and to reach the file before
the answer reaches the line.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from collector.simulated import factory as factories
from collector.simulated.demo_site import open_factory
from collector.simulated.journal import ShownJournal
from meterline.cli.services import clock_of


class PromptJournal(ShownJournal):
    """A SIGKILL of the meters must not take away what they have answered."""

    def add(self, t_ns: int, meter: str, why: str, shown: Mapping[str, int | float]) -> None:
        super().add(t_ns, meter, why, shown)
        self.flush()


async def run(site: Path, clock: str | None, state: Path) -> None:
    vars(factories)["ShownJournal"] = PromptJournal
    factory = open_factory(site, clock_of(clock), state_dir=state, journal_reads=True)
    serving = asyncio.ensure_future(factory.serve(lambda: print("ready", flush=True)))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), None if sys.argv[2] == "real" else sys.argv[2], Path(sys.argv[3])))
