"""The libmodbus meter and mbpoll understand each other, over TCP and over a serial line; neither is ours."""

from __future__ import annotations

import socket

import pytest

from tests.servers.modbus import Mbpoll, MeterFactory
from tests.servers.serial_lines import PtyPair, SerialLine


@pytest.mark.needs_libmodbus
@pytest.mark.needs_mbpoll
def test_mbpoll_reads_the_meter_over_tcp(libmodbus_meter: MeterFactory, mbpoll: Mbpoll) -> None:
    meter = libmodbus_meter({1: {"input": {0: 2300, 2: 65535}}, 7: {"holding": {100: 17}}})
    assert mbpoll.tcp(meter.port, 1, "input", 0, 3) == [2300, 0, 65535]
    assert mbpoll.tcp(meter.port, 7, "holding", 100) == [17]
    meter.set({7: {"holding": {100: 18}}})
    assert mbpoll.tcp(meter.port, 7, "holding", 100) == [18]


@pytest.mark.needs_libmodbus
@pytest.mark.needs_mbpoll
def test_an_address_outside_the_meter_is_an_exception(libmodbus_meter: MeterFactory, mbpoll: Mbpoll) -> None:
    meter = libmodbus_meter({1: {"holding": {0: 1}}})
    with pytest.raises(RuntimeError, match="Illegal data address"):
        mbpoll.tcp(meter.port, 1, "holding", 5)


@pytest.mark.needs_libmodbus
@pytest.mark.needs_mbpoll
def test_mbpoll_reads_the_meter_over_a_serial_line(
    libmodbus_meter: MeterFactory, mbpoll: Mbpoll, serial_line: SerialLine
) -> None:
    libmodbus_meter({3: {"holding": {0: 4660, 1: 22136}}}, device=serial_line.server_path)
    assert mbpoll.rtu(serial_line.client_path, 3, "holding", 0, 2) == [4660, 22136]


@pytest.mark.needs_libmodbus
def test_two_requests_in_one_segment_are_answered_both(libmodbus_meter: MeterFactory) -> None:
    meter = libmodbus_meter({1: {"holding": {0: 0x1234}}})
    request = (
        "0000 0006 01 03 0000 0001"  # protocol, length, unit, function, address, count (Modbus messaging guide, 3.1.3)
    )
    with socket.create_connection(("127.0.0.1", meter.port), timeout=5) as line:
        line.sendall(bytes.fromhex("0001" + request + "0002" + request))
        answers = b""
        while len(answers) < 22:
            answers += line.recv(64)
    assert answers == bytes.fromhex("0001 0000 0005 01 03 02 1234 0002 0000 0005 01 03 02 1234")


@pytest.mark.needs_libmodbus
def test_setting_an_unnamed_word_is_refused(libmodbus_meter: MeterFactory) -> None:
    meter = libmodbus_meter({1: {"holding": {0: 1}}})
    with pytest.raises(RuntimeError, match="libmodbus server said"):
        meter.set({1: {"holding": {9: 1}}})


def test_a_pty_carries_all_byte_values(pty_pair: PtyPair) -> None:
    every_byte = bytes(range(256))
    with open(pty_pair.path, "r+b", buffering=0) as device:
        device.write(every_byte)
        assert pty_pair.read_exactly(256) == every_byte
        pty_pair.write(b"\x03\x11\x13\r\n")  # bytes a cooked terminal would swallow or change
        assert device.read(5) == b"\x03\x11\x13\r\n"


def test_a_joined_line_carries_bytes_both_ways(serial_line: SerialLine) -> None:
    with (
        open(serial_line.server_path, "r+b", buffering=0) as server,
        open(serial_line.client_path, "r+b", buffering=0) as client,
    ):
        client.write(b"\x00ask\r")
        assert server.read(5) == b"\x00ask\r"
        server.write(b"\xffanswer\n")
        assert client.read(8) == b"\xffanswer\n"
