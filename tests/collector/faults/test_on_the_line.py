"""Echoes, garbage, adapters pulled out, frozen servers, bad item frames, slow lines: what the poller makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import time
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from collector import BusMaster
from meterline.clock import SystemClock
from meterline.plant import Plant
from meterline.settings import Rates
from tests.collector.peers import FakeMeter, ItemMeter, MemoryLine, sealed
from tests.collector.sites import Collected, plant
from tests.collector.test_floor import EACH_TEN, SIX, Floor
from tests.collector.test_line_settings import ADDRESS, FEW
from tests.collector.virtual_time import LoopClock, during, run
from tests.servers.modbus import MeterFactory

EACH_HALF = Rates(fast_s=0.5, normal_s=0.5, slow_s=0.5)
SDM = {"profile": "eastron-sdm120"}


async def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(master: BusMaster):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(master.run())
    try:
        yield task
        assert not task.done(), "the poll loop has died"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# --- A07: echo -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
def test_a07_an_echo_is_dropped_and_told_once(announced: bool, caplog: pytest.LogCaptureFixture) -> None:
    floor = Floor(2, echo=True)
    floor.meters[2].silent = True
    floor.plant = plant(
        {"kind": "serial", "device": "/dev/null", "echo": announced}, *[{"profile": "six"}] * 2, profiles={"six": SIX}
    )
    floor.play(60)
    assert len(floor.slots("m1")) == 6
    assert not floor.wrong()
    assert [(span.meter, span.cause) for span in floor.got.spans] == [("m2", "silent")]
    counts = floor.master.counts["bus:line"]
    assert counts["garbled"] == counts["late_bytes"] == 0
    told = [record for record in caplog.records if "plays back what we send" in record.message]
    assert (counts["echoes"] > 0, len(told)) == ((False, 0) if announced else (True, 1))


def test_a07_a_damaged_echo_costs_nothing_but_itself() -> None:
    """Two talked at once: the echo differs from what was sent, and the answer behind it is still found."""
    floor = Floor(1)
    floor.plant = plant(
        {"kind": "serial", "device": "/dev/null", "echo": True}, {"profile": "six"}, profiles={"six": SIX}
    )
    write = floor.line.write

    def echo_badly(data: bytes) -> None:
        write(data)
        floor.line.inbox.feed(data[:3] + b"\x00" + data[4:])

    floor.line.write = echo_badly  # type: ignore[method-assign]
    floor.play(60)
    assert len(floor.slots("m1")) == 6
    assert not floor.wrong()


# --- A15: another speed or parity ------------------------------------------------------------------------------------


def test_a15_framing_garbage_is_a_named_state_and_a_quiet_log(caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(15)
    floor = Floor(3)
    for meter in floor.meters.values():
        meter.spoil = lambda frame: [dice.randbytes(dice.randint(1, 2 * len(frame)))]
    with caplog.at_level(logging.INFO):
        floor.play(3600)
    assert not floor.got.polls
    assert {span.cause for span in floor.got.spans} == {"garbled"}
    assert len(floor.got.spans) == 3
    assert len(caplog.records) <= 6, "a state is told once, not at each try"
    tries = len(floor.line.sent) / 3600
    assert tries < 0.5, "garbage is no reason to storm the line"


# --- A14, A10, A13: ports and connections ----------------------------------------------------------------------------


def answer_on(master_fd: int, meter: FakeMeter) -> None:
    with contextlib.suppress(OSError):
        request = os.read(master_fd, 300)
        if request:
            os.write(master_fd, sealed(request[:1] + meter.answer(request[1:-2])))


def test_a14_an_adapter_that_comes_back_under_another_name_is_found_within_ten_seconds(tmp_path: Path) -> None:
    by_id = tmp_path / "usb-FTDI_FT232R_A50285BI-if00-port0"
    meter = FakeMeter()

    def plug_in() -> tuple[int, int]:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        by_id.unlink(missing_ok=True)
        by_id.symlink_to(os.ttyname(theirs))
        asyncio.get_running_loop().add_reader(ours, answer_on, ours, meter)
        return ours, theirs

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = plug_in()
        site = plant({"kind": "serial", "device": str(by_id), "timeout_s": 0.1}, SDM)
        got = Collected()
        master = BusMaster(site.buses["line"], site, EACH_HALF, SystemClock(), got)
        async with running(master):
            await until(lambda: len(got.polls) >= 2)
            loop.remove_reader(ours)
            os.close(theirs)
            os.close(ours)
            by_id.unlink()
            await until(lambda: any(span.cause == "line-down" for span in got.spans))
            back = time.monotonic()
            ours, theirs = plug_in()
            seen = len(got.polls)
            await until(lambda: len(got.polls) > seen, within=10)
            assert time.monotonic() - back < 10
            assert got.spans[-1].end_ns is not None
        loop.remove_reader(ours)
        os.close(theirs)
        os.close(ours)

    asyncio.run(scenario())


@pytest.mark.needs_libmodbus
def test_a10_a_meter_that_freezes_and_one_that_is_killed_come_back(libmodbus_meter: MeterFactory) -> None:
    words = {1: {"input": dict.fromkeys(range(0x180), 7)}}

    async def scenario() -> None:
        meter = libmodbus_meter(words)
        site = plant({"kind": "modbus-tcp", "host": "127.0.0.1", "port": meter.port, "timeout_s": 0.2}, SDM)
        got = Collected()
        master = BusMaster(site.buses["line"], site, EACH_HALF, SystemClock(), got)
        async with running(master):
            await until(lambda: len(got.polls) >= 2)
            os.kill(meter._process.pid, signal.SIGSTOP)
            await until(lambda: any(span.end_ns is None for span in got.spans))
            os.kill(meter._process.pid, signal.SIGCONT)
            seen, back = len(got.polls), time.monotonic()
            await until(lambda: len(got.polls) > seen, within=10)
            assert time.monotonic() - back < 10
            connections = master.counts["bus:line"]["reconnects"]
            meter.stop()
            await until(lambda: got.spans[-1].end_ns is None)
            again = libmodbus_meter(words, port=meter.port)
            assert again.port == meter.port
            seen = len(got.polls)
            await until(lambda: len(got.polls) > seen)
            assert master.counts["bus:line"]["reconnects"] > connections
            assert all(number == got.polls[0].numbers[0] for number in got.polls[-1].numbers[:1])

    asyncio.run(scenario())


def test_a13_there_is_never_a_second_connection_and_none_leaks() -> None:
    """A meter that takes one client and hangs up on it now and then."""

    async def scenario() -> None:
        now, most, served = 0, 0, 0
        meter = FakeMeter()

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal now, most, served
            now, served = now + 1, served + 1
            most = max(most, now)
            try:
                for _ in range(3):
                    head = await reader.readexactly(6)
                    frame = await reader.readexactly(int.from_bytes(head[4:6], "big"))
                    answer = frame[:1] + meter.answer(frame[1:])
                    writer.write(head[:4] + len(answer).to_bytes(2, "big") + answer)
            except asyncio.IncompleteReadError:
                pass
            finally:
                now -= 1
                writer.close()

        server = await asyncio.start_server(client, "127.0.0.1", 0)
        bus = {"kind": "modbus-tcp", "host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]}
        site = plant(bus, *[SDM | {"address": str(n)} for n in (1, 2, 3)])
        got = Collected()
        fast = Rates(fast_s=0.1, normal_s=0.1, slow_s=0.1)
        before = len(os.listdir("/proc/self/fd"))
        master = BusMaster(site.buses["line"], site, fast, SystemClock(), got)
        async with running(master):
            await until(lambda: served >= 12)
            assert (await master.read_now("m2")).meter == "m2"
            assert len(os.listdir("/proc/self/fd")) <= before + 3
        assert most == 1
        assert not [span for span in got.spans if span.cause == "line-down"]
        server.close()

    asyncio.run(scenario())


# --- A21: bad item frames --------------------------------------------------------------------------------------------


def _spoilt_frames() -> dict[str, Callable[[bytes], bytes]]:
    def checksum(frame: bytes) -> bytes:
        return frame[:-2] + bytes(((frame[-2] + 1) & 0xFF, frame[-1]))

    def with_right_checksum(frame: bytes, change: Callable[[bytearray], None]) -> bytes:
        lead = len(frame) - len(frame.lstrip(b"\xfe"))
        body = bytearray(frame[lead:])
        change(body)
        body[-2] = sum(body[:-2]) & 0xFF
        return frame[:lead] + bytes(body)

    def other_address(body: bytearray) -> None:
        body[1] ^= 0x01

    def no_offset(body: bytearray) -> None:
        body[10:-2] = bytes((byte - 0x33) & 0xFF for byte in body[10:-2])

    def other_item(body: bytearray) -> None:
        body[11] ^= 0x10

    def its_length(body: bytearray) -> None:
        body[9] += 1

    return {
        "checksum": checksum,
        "address": lambda frame: with_right_checksum(frame, other_address),
        "offset 33H left out": lambda frame: with_right_checksum(frame, no_offset),
        "another item": lambda frame: with_right_checksum(frame, other_item),
        "length": lambda frame: with_right_checksum(frame, its_length),
        "no end": lambda frame: frame[:-1] + b"\x00",
        "cut": lambda frame: frame[: len(frame) // 2],
    }


@pytest.mark.parametrize("kind", ["serial", "rtu-over-tcp"])
@pytest.mark.parametrize("wrong", list(_spoilt_frames()))
def test_a21_a_bad_item_frame_is_rejected_and_asked_again(wrong: str, kind: str) -> None:
    spoil = _spoilt_frames()[wrong]
    where = {"device": "/dev/null", "baud": 2400, "parity": "E"} if kind == "serial" else {"host": "127.0.0.1"}
    site = plant({"kind": kind, **where}, {"profile": "few", "address": ADDRESS}, profiles={"few": FEW})
    meter = ItemMeter(ADDRESS, {"00010000": 123456.78}, {"02010100": 231.4, "02010200": 229.9})
    line, got = MemoryLine({}), Collected()
    line.items.append(meter)

    async def scenario(clock: LoopClock) -> None:
        loop = asyncio.get_running_loop()
        master = BusMaster(site.buses["line"], site, EACH_TEN, clock, got, transport=line)
        meter.spoil = lambda frame: [spoil(frame)]
        loop.call_later(60, lambda: setattr(meter, "spoil", lambda frame: [frame]))
        await during(180, master.run())

    run(scenario)
    right = {"energy.active.import": "123456.78", "voltage.l1n": "231.4", "voltage.l2n": "229.9"}
    for poll in got.polls:
        for reading in poll.readings():
            assert reading.value is None or str(reading.value) == right[reading.measurand], wrong
    assert not [poll for poll in got.polls if poll.slot_ns < got.spans[0].start_ns + 40 * 10**9]
    assert got.values("m1") == right
    assert got.spans[-1].end_ns is not None


# --- A22: forty meters at 1200 baud ----------------------------------------------------------------------------------


def test_a22_forty_meters_at_1200_baud_take_turns_evenly_and_nothing_lags() -> None:
    """A sweep takes 80 s: four questions of 0.5 s a meter, by the formula of the protocol. 20 s are wished."""
    baud = 1200

    def forty() -> Plant:
        meters = [{"profile": "few", "address": f"{n:012d}"} for n in range(1, 41)]
        return plant(
            {"kind": "serial", "device": "/dev/null", "baud": baud, "parity": "E"}, *meters, profiles={"few": FEW}
        )

    site, line, got = forty(), MemoryLine({}), Collected()
    for n in range(1, 41):
        meter = ItemMeter(f"{n:012d}", {"00010000": float(n)}, {"02010100": 231.4, "02010200": 229.9})
        # one request and its answer on the wire, and the meter's own 100 ms: 11 bits a byte
        meter.delay_s = (20 + 24) * 11 / baud + 0.1
        line.items.append(meter)
    wish = Rates(fast_s=20, normal_s=20, slow_s=20)

    async def scenario(clock: LoopClock) -> BusMaster:
        master = BusMaster(site.buses["line"], site, wish, clock, got, transport=line)
        await during(1200, master.run())
        return master

    master = run(scenario)
    reads = {f"m{n}": len([poll for poll in got.polls if poll.meter == f"m{n}"]) for n in range(1, 41)}
    assert max(reads.values()) - min(reads.values()) <= 2, reads
    assert min(reads.values()) >= 14
    lag = [poll.delays_ms[-1] for poll in got.polls]
    assert max(lag[len(lag) // 2 :]) <= 1.2 * max(lag[: len(lag) // 2]), "no growing lag"
    assert max(lag) < 110_000, "a whole sweep, after the counters of all at a quarter hour, and no more"
    assert {span.cause for span in got.spans} == {"overrun"}
    assert sum(figures["skipped"] for name, figures in master.counts.items() if name != "bus:line") > 1400
