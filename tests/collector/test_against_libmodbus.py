"""Our bus master reads a meter on libmodbus, an implementation that shares no line with ours or pymodbus."""

from __future__ import annotations

import asyncio
import struct

import pytest

from collector import read_meter
from meterline.clock import SystemClock
from meterline.readings import Poll, Quality
from tests.collector.sites import SHIPPED, plant
from tests.servers.modbus import MeterFactory
from tests.servers.serial_lines import SerialLine

PAC = SHIPPED["siemens-pac3200"]


def pac_words() -> dict[int, int]:
    """A PAC3200 with a hole between its two blocks, as libmodbus sees it: words outside the span are refused."""
    words = dict.fromkeys(range(0x0001, 0x0331), 0)
    for address, value in ((0x0001, 230.5), (0x0041, 520250.0)):
        words |= {address + n: w for n, w in enumerate(struct.unpack(">2H", struct.pack(">f", value)))}
    for address, total in ((0x0321, 123456789.5), (0x0325, 87654321.25)):
        words |= {address + n: w for n, w in enumerate(struct.unpack(">4H", struct.pack(">d", total)))}
    return words


def check(poll: Poll) -> None:
    values = {reading.measurand: str(reading.value) for reading in poll.readings()}
    assert values["voltage.l1n"] == "230.5"
    assert values["power.active.total"] == "520.2500"
    assert values["energy.active.import"] == "211111.11075"
    assert not poll.qualities


@pytest.mark.needs_libmodbus
def test_over_tcp(libmodbus_meter: MeterFactory) -> None:
    meter = libmodbus_meter({126: {"holding": pac_words()}})
    site = plant(
        {"kind": "modbus-tcp", "host": "127.0.0.1", "port": meter.port}, {"profile": PAC.profile, "address": "126"}
    )
    (poll,) = asyncio.run(read_meter(site.buses["line"], site.meters["m1"], PAC, SystemClock()))
    check(poll)


@pytest.mark.needs_libmodbus
def test_over_a_serial_line(libmodbus_meter: MeterFactory, serial_line: SerialLine) -> None:
    libmodbus_meter({126: {"holding": pac_words()}}, device=serial_line.server_path, baud=19200)
    site = plant(
        {"kind": "serial", "device": serial_line.client_path, "baud": 19200},
        {"profile": PAC.profile, "address": "126"},
    )
    (poll,) = asyncio.run(read_meter(site.buses["line"], site.meters["m1"], PAC, SystemClock()))
    check(poll)


@pytest.mark.needs_libmodbus
def test_words_it_lacks_are_missing(libmodbus_meter: MeterFactory) -> None:
    words = {address: word for address, word in pac_words().items() if address >= 0x0019}
    meter = libmodbus_meter({126: {"holding": words}})
    site = plant(
        {"kind": "modbus-tcp", "host": "127.0.0.1", "port": meter.port}, {"profile": PAC.profile, "address": "126"}
    )
    (poll,) = asyncio.run(read_meter(site.buses["line"], site.meters["m1"], PAC, SystemClock()))
    quality = {reading.measurand: reading.quality for reading in poll.readings()}
    assert quality["voltage.l1n"] is quality["power.apparent.l3"] is Quality.MISSING
    assert quality["power.active.l1"] is quality["energy.active.import"] is Quality.GOOD
