"""The factory's lines, read by clients that are not ours: mbpoll (libmodbus) and pymodbus."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient

from collector.simulated import Factory
from meterline.clock import ManualClock
from tests.collector.simulated.running import running
from tests.collector.simulated.sites import MONDAY_NS, meter, plant, serial_bus, tcp_bus
from tests.servers.modbus import Mbpoll
from tests.servers.processes import free_port


class StandingClock(ManualClock):
    """Stands still; waiting on it never ends, as nobody moves it."""

    async def sleep_until(self, t_ns: int) -> None:
        await asyncio.Event().wait()


def as_float32(number: float) -> float:
    return float(struct.unpack(">f", struct.pack(">f", number))[0])


def volts(words: Sequence[int]) -> float:
    return float(struct.unpack(">f", struct.pack(">2H", *words))[0])


@pytest.mark.needs_mbpoll
def test_mbpoll_reads_an_sdm630_over_tcp_and_over_a_serial_line(tmp_path: Path, mbpoll: Mbpoll) -> None:
    port, line = free_port(), tmp_path / "line-1.tty"
    site = plant(
        [
            meter("m1", profile="eastron-sdm630"),
            meter("m2", profile="eastron-sdm630", bus="line", address="17"),
        ],
        [tcp_bus(port), serial_bus(line)],
    )
    factory = Factory(site, StandingClock(MONDAY_NS))
    with running(factory):
        tcp = mbpoll.tcp(port, 1, "input", 0, 2)
        rtu = mbpoll.rtu(str(line), 17, "input", 0x48, 2)
    assert volts(tcp) == as_float32(factory.displayed("m1", "voltage.l1n", MONDAY_NS).number)
    assert 215 < volts(tcp) < 245
    assert volts(rtu) == as_float32(factory.displayed("m2", "energy.active.import", MONDAY_NS).number) > 0
    assert not line.is_symlink()


def test_pymodbus_reads_the_same_over_all_three_kinds_of_line(tmp_path: Path) -> None:
    ports, line = [free_port(), free_port()], tmp_path / "line-1.tty"
    site = plant(
        [
            meter("a", bus="tcp"),
            meter("b", bus="rtu", address="2"),
            meter("c", bus="line", address="3"),
        ],
        [tcp_bus(ports[0]), tcp_bus(ports[1], "rtu-over-tcp", "rtu"), serial_bus(line)],
    )
    factory = Factory(site, StandingClock(MONDAY_NS))
    with running(factory):
        for client, name in (
            (ModbusTcpClient("127.0.0.1", port=ports[0]), "a"),
            (ModbusTcpClient("127.0.0.1", port=ports[1], framer=FramerType.RTU), "b"),
            (ModbusSerialClient(str(line)), "c"),
        ):
            assert client.connect()
            address = int(site.meters[name].address)
            answer = client.read_input_registers(0, count=6, device_id=address)
            words = answer.registers
            assert volts(words[:2]) == as_float32(factory.displayed(name, "voltage.l1n", MONDAY_NS).number)
            counter = client.convert_from_registers(words[4:], client.DATATYPE.UINT32)
            assert counter == factory.displayed(name, "energy.active.import", MONDAY_NS).number
            assert client.read_input_registers(40, count=2, device_id=address).exception_code == 2
            client.close()  # type: ignore[no-untyped-call]
    assert factory.answered == 3
