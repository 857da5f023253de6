"""A simulated DTU and the gateway's door meet: the whole way, with reconnecting."""

from __future__ import annotations

import asyncio

import pytest

from collector import read_meter
from collector.simulated.answering import Answerer
from collector.simulated.lines import Timing, line_of
from meterline.clock import SystemClock
from meterline.errors import ConfigError, Silent
from meterline.site import Bus
from tests.collector.sites import SHIPPED, plant
from tests.servers.processes import free_port


def test_it_dials_in_again_and_again() -> None:
    async def scenario() -> None:
        site = plant(
            {"kind": "tcp-listen", "host": "127.0.0.1", "port": free_port(), "registration": "DTU-7",
             "heartbeat": "hex:FE", "timeout_s": 0.1},
            {"profile": "eastron-sdm120"},
        )  # fmt: skip
        bus = site.buses["line"]
        line = line_of(bus, Answerer([], SystemClock(), timeout_s=0.1, serial=True), Timing())
        await line.open()
        for _ in range(2):  # nobody answers: but the line was there
            with pytest.raises(Silent):
                await read_meter(bus, site.meters["m1"], SHIPPED["eastron-sdm120"], SystemClock())
        await line.close()

    asyncio.run(scenario())


def test_what_it_cannot_play_is_said() -> None:
    bus = Bus(id="line", kind="rfc2217", gateway="gw", host="127.0.0.1", port=4001)
    with pytest.raises(ConfigError, match="speaks no RFC 2217"):
        line_of(bus, Answerer([], SystemClock(), timeout_s=0.1, serial=True), Timing())
