"""RFC 2217 against pyserial's own server side, and against servers that speak it badly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import read_meter
from collector.transports_rfc2217 import ComPort, Rfc2217Transport, escaped
from meterline.clock import SystemClock
from meterline.errors import LineDown
from meterline.lines import LineSettings
from tests.collector.peers import FakeMeter, ItemMeter
from tests.collector.peers import sealed as with_checksum
from tests.collector.rfc2217_server import Answer, Port, Rfc2217Server, manager_of, serve
from tests.collector.sites import SHIPPED, plant
from tests.collector.test_line_settings import ADDRESS, FAST, FEW, SLOW

EVERY_BYTE = bytes(range(256)) + b"\xff\xff\xfa\xf0\xff"


def nobody(request: bytes, settings: LineSettings) -> bytes:
    return b""


def with_server(port: Port, answer: Answer, scenario: Callable[[Rfc2217Transport, list[Rfc2217Server]], Any]) -> Any:
    async def play() -> Any:
        server, served = await serve(port, answer)
        transport = Rfc2217Transport("127.0.0.1", server.sockets[0].getsockname()[1], FAST)
        try:
            return await scenario(transport, served)
        finally:
            transport.close()
            server.close()

    return asyncio.run(play())


async def all_of(transport: Rfc2217Transport, size: int) -> bytes:
    got, end = b"", asyncio.get_running_loop().time() + 2
    while len(got) < size and asyncio.get_running_loop().time() < end:
        got += await transport.read(end)
    return got


def test_every_byte_passes_both_ways_and_the_line_is_set() -> None:
    port = Port()

    async def scenario(transport: Rfc2217Transport, served: list[Rfc2217Server]) -> None:
        await transport.open()
        assert port.settings == FAST
        assert port.bytesize == 8
        assert not port.xonxoff, "flow control is off: 11 and 13 (hex) are data"
        transport.write(EVERY_BYTE)
        assert await all_of(transport, len(EVERY_BYTE)) == EVERY_BYTE
        assert bytes(served[0].heard) == EVERY_BYTE

    with_server(port, lambda request, settings: request, scenario)


def test_settings_are_changed_on_the_open_line() -> None:
    port = Port()

    async def scenario(transport: Rfc2217Transport, served: list[Rfc2217Server]) -> None:
        await transport.open()
        for settings in (SLOW, LineSettings(19200, "O", 2), LineSettings(115200, "N", 1)):
            await transport.adapt(settings)
            assert port.settings == settings
        transport.write(b"x")
        assert await all_of(transport, 1) == b"x"
        assert port.purged >= 4, "what the server still held of the old speed is thrown away"

    with_server(port, lambda request, settings: request, scenario)


def test_a_speed_the_server_has_not_got_is_told() -> None:
    async def scenario(transport: Rfc2217Transport, served: list[Rfc2217Server]) -> None:
        await transport.open()
        with pytest.raises(LineDown, match=r"cannot be set to 2400 8E1 \(baud 9600\); check what its port supports"):
            await transport.adapt(SLOW)

    with_server(Port(bauds=(9600, 19200)), nobody, scenario)


def test_a_modbus_and_a_dlt645_meter_behind_one_server() -> None:
    words, items = FakeMeter(), ItemMeter(ADDRESS, {"00010000": 123456.78}, {"02010100": 231.4, "02010200": 229.9})

    def answer(request: bytes, settings: LineSettings) -> bytes:
        if settings == FAST and request[0] == 1:
            return with_checksum(b"\x01" + words.answer(request[1:-2]))
        if settings == SLOW and request.startswith(b"\xfe\xfe\xfe\xfe\x68"):
            return items.answer(request)
        return b"\x00\xff\x00"  # at another speed a request is noise, and so is what comes of it

    async def scenario(transport: Rfc2217Transport, served: list[Rfc2217Server]) -> None:
        site = plant(
            {"kind": "rfc2217", "host": "127.0.0.1", "port": transport.port},
            {"profile": "eastron-sdm120"},
            {"profile": "few", "address": ADDRESS, "line": {"baud": 2400, "parity": "E"}},
            profiles={"few": FEW},
        )
        bus = site.buses["line"]
        (poll,) = await read_meter(bus, site.meters["m1"], SHIPPED["eastron-sdm120"], SystemClock())
        assert not poll.qualities
        (poll,) = await read_meter(bus, site.meters["m2"], FEW, SystemClock())
        assert [str(reading.value) for reading in poll.readings()] == ["123456.78", "231.4", "229.9"]

    with_server(Port(), answer, scenario)


def test_a_server_without_rfc2217_is_told_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.transports_rfc2217.AGREED_WITHIN_S", 0.1)

    async def scenario() -> None:
        async def transparent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async def plain_telnet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\xff\xfe\x2c\xff\xfb\x01")  # DON'T com port, WILL echo
            await reader.read()
            writer.close()

        for server, says in ((transparent, "says nothing of RFC 2217"), (plain_telnet, "refuses RFC 2217")):
            listening = await asyncio.start_server(server, "127.0.0.1", 0)
            transport = Rfc2217Transport("127.0.0.1", listening.sockets[0].getsockname()[1], FAST)
            with pytest.raises(LineDown, match=says):
                await transport.open()
            assert not transport.is_open
            listening.close()

    asyncio.run(scenario())


def test_the_server_hangs_up() -> None:
    async def scenario(transport: Rfc2217Transport, served: list[Rfc2217Server]) -> None:
        await transport.open()
        served[0].transport.abort()
        with pytest.raises(LineDown, match="closed the connection"):
            await transport.read(asyncio.get_running_loop().time() + 2)
        for use in (lambda: transport.write(b"x"), lambda: asyncio.ensure_future(transport.adapt(SLOW))):
            with pytest.raises(LineDown):
                await (use() or asyncio.sleep(0))
        await transport.open()
        assert transport.is_open

    with_server(Port(), nobody, scenario)


@given(st.binary(max_size=80), st.integers(1, 7))
def test_data_is_escaped_as_pyserial_understands_it(data: bytes, chunk: int) -> None:
    class Wire:
        def write(self, data: bytes) -> None: ...

    manager = manager_of(Port(), Wire())
    sent = escaped(data)
    heard = b"".join(b"".join(manager.filter(sent[n : n + chunk])) for n in range(0, len(sent), chunk))
    assert heard == data
    com_port = ComPort(lambda answer: None)
    back = b"".join(manager.escape(data))
    assert b"".join(com_port.received(back[n : n + chunk]) for n in range(0, len(back), chunk)) == data


@given(st.binary(max_size=200))
def test_whatever_a_server_says_nothing_breaks_and_no_loop_begins(data: bytes) -> None:
    sent: list[bytes] = []
    com_port = ComPort(sent.append)
    com_port.received(data)
    assert sum(map(len, sent)) <= 3 * len(data)
    sent.clear()
    com_port.received(b"\xff\xf0\xff\xfd\x03\xff\xfd\x03\xff\xfb\x01\xff\xfb\x01")
    assert sum(map(len, sent)) <= 9, "each option is answered once; a refusal may be repeated"
