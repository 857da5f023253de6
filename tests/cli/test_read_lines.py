"""`read` where the line is not simply opened: a running gateway holds it, a DTU dials in, a server speaks RFC 2217."""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway_firmware_py.hatch import Hatch
from meterline.cli.texts import problem_text
from meterline.errors import Silent
from meterline.lines import LineSettings
from meterline.readings import ClockState, Column, Exchange, Poll, Shape
from tests.cli.running import ROOT, Result
from tests.collector.peers import FakeMeter, sealed
from tests.collector.rfc2217_server import Port, serve
from tests.collector.test_transports_listen import Dtu
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until

Cli = Callable[..., Result]
POLL = Poll(
    "m-main", Shape("eastron-sdm630@2", (Column("voltage.l1n", 0, True), Column("energy.active.import", 0, True))),
    1_700_000_100_000_000_000, (12,), ClockState.SYNCED, (230.5, None), (0, 1),
    exchanges=(Exchange(b"\x01\x04", b"\x01\x04\x04", 1_700_000_100_000_000_000, 1_700_000_100_012_000_000),),
)  # fmt: skip


@contextmanager
def beside(service: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """Run something on a loop of its own meanwhile."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(service())

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(task.cancel)
        thread.join(5)


class Reader:
    """A running gateway's bus."""

    def __init__(self, answer: Poll | Silent) -> None:
        self.answer = answer

    async def read_now(self, meter: str) -> Poll:
        if isinstance(self.answer, Silent):
            raise self.answer
        return self.answer


@contextmanager
def gateway(folder: Path, answer: Poll | Silent) -> Iterator[None]:
    (folder / "gateway.yaml").write_text("gateway: gw-1\ndata: gateway-data\n", encoding="utf-8")
    data = folder / "gateway-data"
    data.mkdir()
    with beside(Hatch(data, {"m-main": Reader(answer)}).run):
        wait_until(lambda: (data / "hatch.sock").exists(), within=5, what="the hatch")
        yield


def test_a_running_gateway_reads_for_us(cli: Cli, site_folder: Path) -> None:
    with gateway(site_folder, POLL):
        shown = cli("read", "m-main")
        assert shown.code == 0
        assert "Gateway gw-1 holds this line and reads the meter now." in shown.out
        assert "230.5" in shown.out
        result = cli("read", "m-main", "--json")
        assert [(r["value"], r["quality"]) for r in result.json["readings"]] == [("230.5", "good"), (None, "missing")]
        assert result.json["response_ms"] == [12.0]
        assert "网关 gw-1 正在使用该线路" in cli("--lang", "zh", "read", "m-main").out


def test_what_the_running_gateway_found_is_told_as_if_read_here(cli: Cli, site_folder: Path) -> None:
    with gateway(site_folder, Silent("no answer within 1 s; check power, address, baud, parity and the A/B wires")):
        result = cli("read", "m-main")
    assert result.code == 3
    assert "m-main (address 1 on 127.0.0.1:5020): no answer within 1 s" in result.err
    assert "check power" in result.err


def test_a_gateway_of_another_line_is_not_asked(cli: Cli, site_folder: Path) -> None:
    with gateway(site_folder, POLL):
        (site_folder / "gateway.yaml").write_text("gateway: gw-2\ndata: gateway-data\n", encoding="utf-8")
        result = cli("read", "m-main", "--json")
    assert result.code == 3, "nobody listens there: the line was opened here"
    assert result.json["error"] == "unreachable"


def test_a_device_that_dials_in_is_read_without_a_site_file(cli: Cli) -> None:
    port = free_port()

    async def device() -> None:
        dtu = Dtu(port, b"DTU-7")
        await dtu.dial()
        await dtu.closed()

    with beside(device):
        result = cli("read", "--profile", "eastron-sdm120", "--listen", str(port), "--registration", "DTU-7", "--json")
    assert result.code == 0, result.err
    assert {reading["quality"] for reading in result.json["readings"]} == {"good"}


def test_a_server_that_speaks_rfc2217_is_read_without_a_site_file(cli: Cli) -> None:
    port, ready, where = Port(), threading.Event(), list[int]()
    meter = FakeMeter()

    def answer(request: bytes, settings: LineSettings) -> bytes:
        assert str(settings) == "19200 8E1"
        return sealed(b"\x05" + meter.answer(request[1:-2]))

    async def server() -> None:
        listening, _ = await serve(port, answer)
        where.append(listening.sockets[0].getsockname()[1])
        ready.set()
        async with listening:
            await listening.serve_forever()

    with beside(server):
        assert ready.wait(5)
        result = cli(
            "read", "--profile", "eastron-sdm120", "--rfc2217", f"127.0.0.1:{where[0]}", "--address", "5",
            "--baud", "19200", "--parity", "E", "--json",
        )  # fmt: skip
    assert result.code == 0, result.err
    assert {reading["quality"] for reading in result.json["readings"]} == {"good"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give one of --serial, --tcp, --rtu-over-tcp, --rfc2217, --listen"),
        (["--tcp", "h:502", "--listen", "5000"], "a line is needed"),
        (["--rfc2217", "h"], "--rfc2217: 'h' is no address"),
        (["--tcp", "h", "--registration", "x"], "belong to lines of kind: tcp-listen"),
    ],
)
def test_wrong_lines_are_refused(cli: Cli, options: list[str], says: str) -> None:
    result = cli("read", "--profile", "eastron-sdm120", *options)
    assert result.code == 2
    assert says in result.err


def test_a_protocol_that_does_not_travel_there_is_refused(cli: Cli) -> None:
    result = cli("read", "--profile", "dlt645-2007-three-phase", "--tcp", "h:502", "--address", "000012345678")
    assert result.code == 2
    assert "does not travel in Modbus/TCP frames" in result.err


MESSAGES = ("LineDown", "Silent", "Garbled", "Unreachable")
SPEAKERS = ("bus", "transports", "transports_serial", "transports_listen", "transports_rfc2217")


def _sentences() -> Iterator[str]:
    """Every sentence a line may say, with something in place of its values."""
    for speaker in SPEAKERS:
        tree = ast.parse((ROOT / "collector" / f"{speaker}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            said: ast.expr | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MESSAGES:
                said = node.args[0]
            elif isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr) and "; " in ast.unparse(node):
                said = node.value
            parts = said.values if isinstance(said, ast.JoinedStr) else [said]
            if all(isinstance(part, ast.Constant | ast.FormattedValue) for part in parts):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else _value(ast.unparse(part))
                    for part in parts
                    if isinstance(part, ast.Constant | ast.FormattedValue)
                )


def _value(expression: str) -> str:
    if expression == "{remedy}":
        return "plug the adapter in; 'ls /dev/serial/by-id' lists the ports that are there"
    if "within" in expression.lower():
        return "within 5 s" if "WITHIN" not in expression else "5"
    return "no device has dialled in to port 5 as x" if "who" in expression else "x"


def test_every_sentence_of_a_line_has_its_chinese() -> None:
    sentences = sorted(set(_sentences()))
    assert len(sentences) >= 20
    for sentence in sentences:
        reason, _, hint = sentence.partition("; ")
        for part in (reason, hint):
            assert not part or problem_text(part, "zh") != part, f"{part!r} stays English"


def test_an_electrician_reads_chinese(cli: Cli) -> None:
    result = cli(
        "--lang", "zh", "read", "--profile", "eastron-sdm120", "--tcp", f"127.0.0.1:{free_port()}", "--timeout", "0.1"
    )
    assert result.code == 3
    assert "拒绝连接" in result.err
    assert "请检查端口号" in result.err
