"""Our bus master reads a meter that pymodbus answers for, over TCP and over a serial line."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from collector import BusMaster
from meterline.clock import ScaledClock, SystemClock
from meterline.settings import Rates
from tests.collector.sites import Collected, plant
from tests.servers.processes import free_port
from tests.servers.serial_lines import SerialLine

SHOWN = {0x0000: 230.1, 0x0034: 12345.6, 0x0046: 49.98, 0x0048: 4711.25}


def sdm630(unit: int) -> SimDevice:
    words = [0] * 0x0180
    for address, value in SHOWN.items():
        words[address : address + 2] = ModbusClientMixin.convert_to_registers(
            value, ModbusClientMixin.DATATYPE.FLOAT32, word_order="big"
        )
    return SimDevice(unit, simdata=[SimData(0, values=words, datatype=DataType.REGISTERS)])


async def until(condition: Callable[[], bool], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def run_for(master: BusMaster, condition: Callable[[], bool]) -> None:
    task = asyncio.create_task(master.run())
    try:
        await until(lambda: task.done() or condition())
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def check(got: Collected, meter: str) -> None:
    values = got.values(meter)
    assert values["voltage.l1n"] == "230.1"
    assert values["power.active.total"] == "12.3456"
    assert values["frequency"] == "49.98"
    assert values["energy.active.import"] == "4711.25"
    assert values["thd.voltage.l1"] == "0.0"


def test_two_meters_over_tcp() -> None:
    async def scenario() -> Collected:
        port = free_port()
        server = ModbusTcpServer([sdm630(1), sdm630(2)], address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        sdm = {"profile": "eastron-sdm630"}
        site = plant({"kind": "modbus-tcp", "host": "127.0.0.1", "port": port}, sdm, sdm)
        got = Collected()
        clock = ScaledClock.starting_at(1_700_000_000_000_000_000, 600.0)
        master = BusMaster(site.buses["line"], site, Rates(), clock, got)
        await run_for(master, lambda: len(got.polls) >= 20 and "thd.voltage.l1" in got.values("m2"))
        await server.shutdown()  # type: ignore[no-untyped-call]
        return got

    got = asyncio.run(scenario())
    check(got, "m1")
    check(got, "m2")
    assert all(poll.slot_ns % 60_000_000_000 == 0 for poll in got.polls)
    assert not got.spans


def test_a_meter_on_a_serial_line(serial_line: SerialLine) -> None:
    async def scenario() -> Collected:
        server = ModbusSerialServer([sdm630(1)], port=serial_line.server_path, baudrate=9600)
        await server.serve_forever(background=True)
        bus = {"kind": "serial", "device": serial_line.client_path, "parity": "E"}  # a pty runs at 8N1 nevertheless
        site = plant(bus, {"profile": "eastron-sdm630"})
        got = Collected()
        master = BusMaster(site.buses["line"], site, Rates(fast_s=1, normal_s=1, slow_s=1), SystemClock(), got)
        await run_for(master, lambda: len(got.polls) >= 2)
        await server.shutdown()  # type: ignore[no-untyped-call]
        return got

    got = asyncio.run(scenario())
    check(got, "m1")
    assert not got.spans
