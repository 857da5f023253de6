"""DTUs and serial servers that dial in: who they are, what they say besides, and what becomes of dead connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from collector import BusMaster, read_meter
from collector.transports_listen import ListenTransport
from meterline.clock import SystemClock
from meterline.errors import LineDown, Silent
from meterline.settings import Rates
from meterline.site import Bus
from tests.collector.peers import FakeMeter, ItemMeter, sealed
from tests.collector.sites import SHIPPED, Collected, plant
from tests.collector.test_line_settings import ADDRESS, FEW
from tests.servers.processes import free_port

WORDS = SHIPPED["eastron-sdm120"]


def bus(port: int, registration: str | None = None, heartbeat: str | None = None, name: str = "line") -> Bus:
    return Bus(
        id=name, kind="tcp-listen", gateway="gw", host="127.0.0.1", port=port, registration=registration,
        heartbeat=heartbeat,
    )  # fmt: skip


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + 5
    while not condition():
        assert asyncio.get_running_loop().time() < end, "waited in vain"
        await asyncio.sleep(0.002)


class Dtu:
    """A device that dials in and passes bytes between the network and its meters."""

    def __init__(self, port: int, *first: bytes) -> None:
        self.port, self.first = port, first
        self.meters: dict[int, FakeMeter] = {1: FakeMeter()}
        self.items: ItemMeter | None = None
        self.cut: Callable[[bytes], list[bytes]] = lambda frame: [frame]
        self.deaf = False

    async def dial(self) -> Dtu:
        end = asyncio.get_running_loop().time() + 5
        while True:
            try:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                break
            except ConnectionRefusedError:
                assert asyncio.get_running_loop().time() < end, "nobody listens"
                await asyncio.sleep(0.01)
        for piece in self.first:
            self.writer.write(piece)
            for _ in range(5):
                await asyncio.sleep(0)  # both ends are on this loop: a segment of its own
        self._task = asyncio.create_task(self._serve())
        return self

    async def _serve(self) -> None:
        while request := await self.reader.read(300):
            if self.deaf:
                continue
            if request.lstrip(b"\xfe")[:1] == b"\x68":
                assert self.items is not None
                frame = self.items.answer(request)
            else:
                meter = self.meters.get(request[0])
                if meter is None:
                    continue
                frame = sealed(request[:1] + meter.answer(request[1:-2]))
            for piece in self.cut(frame):
                self.writer.write(piece)
                await self.writer.drain()
                await asyncio.sleep(0.002)

    async def closed(self) -> bool:
        """Whether the gateway ended the connection; waits for it."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                await self._task
        return self.reader.at_eof() or self.reader.exception() is not None

    async def hang_up(self) -> None:
        self._task.cancel()
        self.writer.close()


@contextlib.asynccontextmanager
async def waiting(*buses: Bus) -> AsyncIterator[list[ListenTransport]]:
    transports = [ListenTransport(bus) for bus in buses]
    tasks = [asyncio.ensure_future(transport.open()) for transport in transports]
    await asyncio.sleep(0)
    try:
        yield transports
    finally:
        for task, transport in zip(tasks, transports, strict=True):
            task.cancel()
            transport.close()
        with contextlib.suppress(asyncio.CancelledError, LineDown):
            await asyncio.gather(*tasks)


def test_a_modbus_meter_behind_a_dtu_is_read() -> None:
    async def scenario() -> None:
        port = free_port()
        site = plant(
            {"kind": "tcp-listen", "host": "127.0.0.1", "port": port, "registration": "DTU-7"},
            {"profile": "eastron-sdm120"},
        )
        dialling = asyncio.ensure_future(Dtu(port, b"DTU-7\r\n").dial())
        (poll,) = await read_meter(site.buses["line"], site.meters["m1"], WORDS, SystemClock())
        assert not poll.qualities
        assert await (await dialling).closed(), "a one-shot reading lets go of the device"

    play(scenario)


def test_a_dlt645_meter_behind_a_dtu_is_read() -> None:
    async def scenario() -> None:
        port = free_port()
        site = plant(
            {"kind": "tcp-listen", "host": "127.0.0.1", "port": port, "registration": "hex:01 FF 00", "baud": 2400},
            {"profile": "few", "address": ADDRESS},
            profiles={"few": FEW},
        )
        dtu = Dtu(port, b"\x01\xff\x00")
        dtu.items = ItemMeter(ADDRESS, {"00010000": 123456.78}, {"02010100": 231.4, "02010200": 229.9})
        dialling = asyncio.ensure_future(dtu.dial())
        (poll,) = await read_meter(site.buses["line"], site.meters["m1"], FEW, SystemClock())
        assert [str(reading.value) for reading in poll.readings()] == ["123456.78", "231.4", "229.9"]
        await dialling

    play(scenario)


@pytest.mark.parametrize(
    "first",
    [
        (b"DTU-7",),
        (b"DT", b"U-7\r\n"),
        (b"ping", b"DTU-7"),
        (b"pingping", b"DTU-7"),
        (b"pi", b"ngDTU-7"),
        tuple(bytes((byte,)) for byte in b"DTU-7"),
    ],
)
def test_the_registration_is_recognised_however_it_comes(first: tuple[bytes, ...]) -> None:
    async def scenario() -> None:
        port = free_port()
        async with waiting(bus(port, "DTU-7", "ping"), bus(port, "DTU-8", name="other")) as (seven, eight):
            await Dtu(port, *first).dial()
            await until(lambda: seven.is_open)
            assert not eight.is_open
            assert seven.drain() == b""

    play(scenario)


def test_each_line_of_a_port_gets_its_own_device() -> None:
    async def scenario() -> None:
        port = free_port()
        async with waiting(bus(port, "DTU-7"), bus(port, "DTU-8", name="other")) as lines:
            devices = {name: await Dtu(port, name).dial() for name in (b"DTU-8", b"DTU-7")}
            await until(lambda: all(line.is_open for line in lines))
            for line, name in zip(lines, (b"DTU-7", b"DTU-8"), strict=True):
                devices[name].writer.write(b"I am " + name)
                got = await line.read(asyncio.get_running_loop().time() + 2)
                assert got == b"I am " + name

    play(scenario)


def test_who_nobody_expects_is_sent_away_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.transports_listen.DIAL_IN_WITHIN_S", 0.3)

    async def scenario() -> None:
        port = free_port()
        transport = ListenTransport(bus(port, "DTU-7"))
        opening = asyncio.ensure_future(transport.open())
        await asyncio.sleep(0)
        stranger = await Dtu(port, b"DTU-9").dial()
        assert await stranger.closed()
        with pytest.raises(LineDown, match=r"as DTU-7; the last caller said DTU-9 \(at 127\.0\.0\.1\): correct it"):
            await opening
        transport.close()

    play(scenario)


def test_who_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.transports_listen.REGISTER_WITHIN_S", 0.05)

    async def scenario() -> None:
        port = free_port()
        async with waiting(bus(port, "DTU-7")):
            assert await (await Dtu(port).dial()).closed()

    play(scenario)


def test_nobody_dials_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.transports_listen.DIAL_IN_WITHIN_S", 0.05)

    async def scenario() -> None:
        port = free_port()
        transport = ListenTransport(bus(port))
        with pytest.raises(LineDown, match=r"no device has dialled in to port .*; check its server address"):
            await transport.open()
        transport.close()
        again = ListenTransport(bus(port))  # the port is free again
        with pytest.raises(LineDown, match="no device has dialled in"):
            await again.open()
        again.close()

    play(scenario)


def test_a_port_that_is_taken() -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        with pytest.raises(LineDown, match=f"cannot listen at port {port}: .*another program holds it"):
            await ListenTransport(bus(port, "x")).open()
        server.close()

    play(scenario)


def test_a_line_without_registration_takes_anybody() -> None:
    async def scenario() -> None:
        port = free_port()
        async with waiting(bus(port)) as (line,):
            device = await Dtu(port, b"hello").dial()
            await until(lambda: line.is_open)
            assert await line.read(asyncio.get_running_loop().time() + 2) == b"hello"
            await device.hang_up()
            with pytest.raises(LineDown, match="closed the connection"):
                await line.read(asyncio.get_running_loop().time() + 2)

    play(scenario)


def test_a_device_that_dials_in_anew_takes_over_from_its_dead_connection() -> None:
    """Its power went, it never said goodbye: the old connection looks alive until nobody answers over it."""

    async def scenario() -> None:
        port = free_port()
        async with waiting(bus(port, "DTU-7")) as (line,):
            dead = await Dtu(port, b"DTU-7").dial()
            await until(lambda: line.is_open)
            again = await Dtu(port, b"DTU-7").dial()
            await until(lambda: line.rivals == 1)
            line.doubt()
            assert line.is_open, "the new connection is there at once"
            assert await dead.closed()
            again.writer.write(b"alive")
            assert await line.read(asyncio.get_running_loop().time() + 2) == b"alive"

    play(scenario)


def test_two_devices_with_one_registration_are_never_mixed(caplog: pytest.LogCaptureFixture) -> None:
    """Behind the second one meter 1 is another meter: not one of its values may be taken for ours."""

    async def scenario() -> None:
        port = free_port()
        site = plant(
            {"kind": "tcp-listen", "host": "127.0.0.1", "port": port, "registration": "DTU-7", "timeout_s": 0.2},
            {"profile": "eastron-sdm120"},
            {"profile": "eastron-sdm120", "address": "9"},  # a dead one: its silence must not bring the other device in
        )
        got = Collected()
        master = BusMaster(site.buses["line"], site, Rates(fast_s=0.2, normal_s=0.2, slow_s=0.2), SystemClock(), got)
        running = asyncio.create_task(master.run())
        ours, other = Dtu(port, b"DTU-7"), Dtu(port, b"DTU-7")
        other.meters[1].words = lambda address: 0x4242
        await ours.dial()
        await until(lambda: len(got.polls) >= 2)
        for _ in range(3):
            await other.dial()
            await until(lambda n=len(got.polls): len(got.polls) >= n + 4)  # type: ignore[misc]
        assert not other.meters[1].asked
        assert all(number != 0x4242_4242 for poll in got.polls for number in poll.numbers)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    play(scenario)
    assert len([r for r in caplog.records if "a second device, at 127.0.0.1, registers as DTU-7" in r.message]) == 1


@pytest.mark.parametrize("heartbeat", ["ping", "hex:FE", "hex:00", "hex:01 04"])
def test_heartbeats_before_between_and_inside_answers_cost_nothing(heartbeat: str) -> None:
    async def scenario() -> None:
        port = free_port()
        site = plant(
            {"kind": "tcp-listen", "host": "127.0.0.1", "port": port, "registration": "DTU-7",
             "heartbeat": heartbeat, "timeout_s": 0.3},
            {"profile": "eastron-sdm120"},
        )  # fmt: skip
        beat = bytes.fromhex(heartbeat[4:]) if heartbeat.startswith("hex:") else heartbeat.encode()
        ways: list[Callable[[bytes], list[bytes]]] = [
            lambda frame: [beat, frame],
            lambda frame: [frame, beat],
            lambda frame: [beat + frame],
            lambda frame: [frame[:7], beat, frame[7:]],
            lambda frame: [frame[:4] + beat + frame[4:]],
            lambda frame: [b"DTU-7" + frame],
        ]
        dtu = Dtu(port, b"DTU-7")
        count = 0

        def cut(frame: bytes) -> list[bytes]:
            nonlocal count
            count += 1
            return ways[count % len(ways)](frame)

        dtu.cut = cut
        got = Collected()
        master = BusMaster(site.buses["line"], site, Rates(fast_s=0.1, normal_s=0.1, slow_s=0.1), SystemClock(), got)
        running = asyncio.create_task(master.run())
        await dtu.dial()
        await until(lambda: count >= 2 * len(ways))
        figures = master.counts["m1"]
        assert figures["garbled"] == figures["silent"] == figures["late_bytes"] == 0, figures
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        numbers = {poll.shape.id: poll.numbers for poll in got.polls}
        assert all(poll.numbers == numbers[poll.shape.id] and not poll.qualities for poll in got.polls)

    play(scenario)


def test_only_heartbeats_are_silence() -> None:
    async def scenario() -> None:
        port = free_port()
        site = plant(
            {"kind": "tcp-listen", "host": "127.0.0.1", "port": port, "heartbeat": "hex:FE FE", "timeout_s": 0.1},
            {"profile": "eastron-sdm120"},
        )
        dtu = Dtu(port)
        dtu.cut = lambda frame: [b"\xfe\xfe"]
        dialling = asyncio.ensure_future(dtu.dial())
        with pytest.raises(Silent, match="no answer within"):
            await read_meter(site.buses["line"], site.meters["m1"], WORDS, SystemClock())
        await dialling

    play(scenario)


def test_a_device_that_comes_back_is_polled_at_once() -> None:
    async def scenario() -> None:
        port = free_port()
        site = plant(
            {"kind": "tcp-listen", "host": "127.0.0.1", "port": port, "registration": "DTU-7", "timeout_s": 0.2},
            {"profile": "eastron-sdm120"},
        )
        got = Collected()
        master = BusMaster(site.buses["line"], site, Rates(fast_s=0.2, normal_s=0.2, slow_s=0.2), SystemClock(), got)
        running = asyncio.create_task(master.run())
        for _ in range(3):
            dtu = await Dtu(port, b"DTU-7").dial()
            await until(lambda n=len(got.polls): len(got.polls) >= n + 2)  # type: ignore[misc]
            await dtu.hang_up()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    play(scenario)
