"""The factory's lines, read by clients that are not ours: mbpoll (libmodbus) and pymodbus."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient

from collector.simulated import Factory, Recipe
from collector.simulated.lines import RtuFraming, TcpFraming
from meterline.errors import ConfigError, Unreachable
from tests.collector.simulated.clocks import StandingClock
from tests.collector.simulated.running import running
from tests.collector.simulated.sites import MONDAY_NS, meter, plant, serial_bus, tcp_bus
from tests.servers.modbus import Mbpoll
from tests.servers.processes import free_port


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


# ------------------------------------------------------------------------------------------------------------ framing

READ = "01 04 0000 0002"
CRC = "71 CB"  # captured: what mbpoll (libmodbus) sends for this read on a serial line


def test_several_requests_in_one_segment_are_several_requests() -> None:
    framing = TcpFraming()
    one, two = (bytes.fromhex(f"000{n} 0000 0006 {READ}") for n in (1, 2))
    assert [t for t, _, _ in framing.requests(one + two)] == [1, 2]
    assert list(framing.requests(one[:5])) == []
    assert list(framing.requests(one[5:])) == [(1, 1, bytes.fromhex("04 0000 0002"))]


def test_what_is_not_modbus_tcp_is_not_answered() -> None:
    with pytest.raises(ValueError, match="protocol 21536"):  # the bytes of "T "
        list(TcpFraming().requests(b"GET / HTTP/1.1\r\n"))


@pytest.mark.parametrize("cut", range(9))
def test_a_serial_request_is_found_however_it_is_split(cut: int) -> None:
    frame, framing = bytes.fromhex(READ + CRC), RtuFraming()
    found = [*framing.requests(frame[:cut]), *framing.requests(frame[cut:])]
    assert found == [(0, 1, bytes.fromhex("04 0000 0002"))]


@pytest.mark.parametrize("garbage", ["00", "FF", "00 FF", "01 03", "55 AA 55", "01 04 00 00 00 02 71 CC"])
def test_a_serial_request_is_found_behind_garbage(garbage: str) -> None:
    frame = bytes.fromhex(garbage + READ + CRC)
    assert list(RtuFraming().requests(frame)) == [(0, 1, bytes.fromhex("04 0000 0002"))]


def test_a_wrong_check_word_is_silence() -> None:
    assert list(RtuFraming().requests(bytes.fromhex(READ + "71 CC"))) == []


# -------------------------------------------------------------------------------------------------------- line faults


def ask(port: int, kind: str, address: int = 1, within_s: float = 0.3) -> bytes:
    """What comes back within a time to a read of the meter's first two words; ``hung up`` when the line is closed."""
    request = bytes.fromhex("0007 0000 0006 01 04 0000 0002" if kind == "modbus-tcp" else READ + CRC)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(request)
        line.settimeout(within_s)
        try:
            return line.recv(300) or b"hung up"
        except TimeoutError:
            return b""
        except ConnectionResetError:
            return b"hung up"


@pytest.mark.parametrize(
    ("kind", "level", "expected"),
    [
        ("silent", None, b""),
        ("late", None, b""),
        ("disconnect", None, b"hung up"),
        ("exception", 6, bytes.fromhex("0007 0000 0003 01 84 06")),
        ("noise", None, b""),  # noise is on the serial side: the TCP client hears nothing of it
    ],
)
def test_line_faults_over_tcp(kind: str, level: float | None, expected: bytes) -> None:
    port = free_port()
    faults = [Recipe.model_validate({"kind": kind, "meter": "m", "after_min": 0, "level": level})]
    clock = StandingClock(MONDAY_NS)
    with running(Factory(plant([meter("m")], [tcp_bus(port)]), clock, faults=faults)):
        assert ask(port, "modbus-tcp") == expected
        clock.advance(31 * 60)
        assert ask(port, "modbus-tcp", within_s=3)[:9] == bytes.fromhex("0007 0000 0007 01 04 04")


def test_a_late_answer_comes_after_the_collector_has_given_up() -> None:
    port = free_port()
    bus = tcp_bus(port, "rtu-over-tcp") | {"timeout_s": 0.1}
    faults = [Recipe.model_validate({"kind": "late", "meter": "m", "after_min": 0})]
    with running(Factory(plant([meter("m")], [bus]), StandingClock(MONDAY_NS), faults=faults)):
        assert ask(port, "rtu", within_s=0.1) == b""
        assert len(ask(port, "rtu", within_s=3)) == 9


def test_noise_spoils_some_answers_and_never_makes_a_wrong_one_look_right() -> None:
    port = free_port()
    bus = tcp_bus(port, "rtu-over-tcp") | {"timeout_s": 0.05}
    faults = [Recipe.model_validate({"kind": "noise", "meter": "m", "after_min": 0})]
    clock = StandingClock(MONDAY_NS)
    spoilt = 0
    with running(Factory(plant([meter("m")], [bus]), clock, faults=faults)) as factory:
        for _ in range(25):
            answer = ask(port, "rtu", within_s=0.05)
            value = factory.displayed("m", "voltage.l1n", clock.now_ns()).number
            words = struct.pack(">f", value)
            sound = bytes.fromhex("01 04 04") + words
            spoilt += answer[:7] != sound or len(answer) != 9
            clock.advance(7)
    assert spoilt > 15


def test_nobody_answers_to_an_unknown_address() -> None:
    ports = [free_port(), free_port()]
    site = plant(
        [meter("a", address="9"), meter("b", address="9", bus="rtu")],
        [tcp_bus(ports[0]), tcp_bus(ports[1], "rtu-over-tcp", "rtu")],
    )
    with running(Factory(site, StandingClock(MONDAY_NS))):
        assert ask(ports[0], "modbus-tcp") == bytes.fromhex("0007 0000 0003 01 84 0B")  # the serial server says so
        assert ask(ports[1], "rtu") == b""


def test_functions_other_than_reading_words_are_refused() -> None:
    port = free_port()
    with running(Factory(plant([meter("m")], [tcp_bus(port)]), StandingClock(MONDAY_NS))):
        client = ModbusTcpClient("127.0.0.1", port=port)
        assert client.connect()  # type: ignore[no-untyped-call]
        assert client.read_coils(0, count=1).exception_code == 1
        assert client.write_register(0, 7).exception_code == 1
        client.close()  # type: ignore[no-untyped-call]


# --------------------------------------------------------------------------------------------- what cannot be opened


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(Unreachable, match=rf"bus tcp at 127.0.0.1:{port}: .*in use.*; another program has this port"),
        running(Factory(plant([meter("m")], [tcp_bus(port)]), StandingClock(MONDAY_NS))),
    ):
        raise AssertionError("it must not come up")


def test_it_listens_on_this_machine_only() -> None:
    bus = tcp_bus(502) | {"host": "192.0.2.7"}
    with pytest.raises(ConfigError, match=r"192\.0\.2\.7:502 is another machine's address"):
        asyncio.run(Factory(plant([meter("m")], [bus]), StandingClock(MONDAY_NS)).serve())


def test_a_real_port_is_never_replaced(tmp_path: Path) -> None:
    real = tmp_path / "ttyUSB0"
    real.write_text("precious", encoding="utf-8")
    site = plant([meter("m", bus="line")], [serial_bus(real)])
    with pytest.raises(Unreachable, match="there is a real port or file of this name"):
        asyncio.run(Factory(site, StandingClock(MONDAY_NS)).serve())
    assert real.read_text(encoding="utf-8") == "precious"


def test_a_link_left_by_a_killed_factory_is_replaced(tmp_path: Path) -> None:
    line = tmp_path / "lines" / "line-1.tty"
    line.parent.mkdir()
    line.symlink_to("/dev/pts/no-more")
    site = plant([meter("m", bus="line")], [serial_bus(line)])
    with running(Factory(site, StandingClock(MONDAY_NS))):
        assert line.exists()
    assert not line.is_symlink()
