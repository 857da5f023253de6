"""A gateway process with a made-up bus: ``python gateway_process.py FOLDER PORT RUN POLLS_PER_SECOND``.

Numbers of the polls are ``RUN * 1_000_000 + i``, so that the test can tell what came from which life of the process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from gateway_firmware_py.batcher import Batcher
from gateway_firmware_py.files import DiskFiles
from gateway_firmware_py.main import Gateway, only_one
from gateway_firmware_py.timekeeping import Machine
from meterline.clock import SystemClock
from meterline.errors import Unreachable
from meterline.settings import Broker, GatewayFile, GatewaySettings
from tests.gateway.polls import poll


def settings(folder: Path, port: int, **more: Any) -> GatewaySettings:
    file = GatewayFile(gateway="gw1", broker=Broker(port=port), commit_s=0.02, health_s=0.25, **more)
    return GatewaySettings(file, folder, cast(Any, None))


def source(run: int, rate: float) -> Callable[[Batcher], dict[str, Callable[[], Awaitable[None]]]]:
    def sources(sink: Batcher) -> dict[str, Callable[[], Awaitable[None]]]:
        async def bus() -> None:
            number = run * 1_000_000
            clock = SystemClock()
            while True:
                sink.poll(poll(number, slot_ns=clock.now_ns() // 1_000_000 * 1_000_000, frames=True))
                number += 1
                await asyncio.sleep(1 / rate)

        return {"made-up": bus}

    return sources


def main() -> int:
    folder, port, run, rate = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    configured = settings(folder, port)
    configured.data.mkdir(parents=True, exist_ok=True)
    try:
        with only_one(configured.data):
            gateway = Gateway(
                configured, SystemClock(), DiskFiles(), lambda line: print(line, flush=True), source(run, rate),
                machine=Machine(synchronised=lambda: True),
            )  # fmt: skip
            try:
                asyncio.run(gateway.run())
            finally:
                gateway.close()
    except Unreachable as error:
        print(error, flush=True)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
