"""Bad input and what cannot be reached: the message says where, what and what to do; the exit code tells them apart."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.running import SITE, Result, spawn
from tests.servers.processes import free_port
from tests.system.commands import Command, wait_for_output

Cli = Callable[..., Result]
HEADEND = """\
broker: {{port: {broker}}}
gateways: [{{id: gw-1, public_key: "{key}"}}]
web: {{port: {web}}}
"""
KEY = "idRbV3JDGeJ6TA2kdLoikNkcjumTndewVX+lJfJEetM="


@pytest.fixture
def listener() -> Iterator[int]:
    """A port somebody else has."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_serial_port_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    result = cli("read", "--profile", "eastron-sdm630", "--serial", str(tmp_path / "ttyUSB7"))
    assert result.code == 3
    assert f"there is no port {tmp_path / 'ttyUSB7'}" in result.err
    assert "plug the adapter in" in result.err


def test_a_meter_that_refuses_the_connection(cli: Cli) -> None:
    result = cli("read", "--profile", "eastron-sdm630", "--tcp", f"127.0.0.1:{free_port()}", "--json")
    assert result.code == 3
    assert result.json["error"] == "unreachable"
    assert "refused the connection" in result.json["reason"]
    assert "check the port number" in result.json["hint"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "eastron-sdm360", "--tcp", "127.0.0.1"], "no profile 'eastron-sdm360'"),
        (["--profile", "eastron-sdm630"], "a line is needed"),
        (["--profile", "eastron-sdm630", "--tcp", "127.0.0.1:modbus"], "is no address"),
        (["--profile", "eastron-sdm630", "--serial", "COM3", "--address", "0"], "'0' is no Modbus address"),
        (["--profile", "eastron-sdm630", "--tcp", "127.0.0.1", "--serial", "COM3"], "give one of"),
        ([], "give a meter's id"),
        (["m-main", "--profile", "eastron-sdm630"], "give a meter's id"),
        (["--profile", "eastron-sdm630", "--serial", "COM3", "--parity", "X"], "N, E or O"),
    ],
)
def test_a_wrong_way_of_asking(cli: Cli, arguments: list[str], said: str) -> None:
    result = cli("read", *arguments)
    assert result.code == 2
    assert said in " ".join(result.err.replace("│", " ").split())


def test_a_wrong_gateway_file_touches_nothing(site_folder: Path) -> None:
    (site_folder / "gateway.yaml").write_text("gateway: gw-1\nbroker: {prot: 1883}\n", "utf-8")
    (site_folder / "site.yaml").write_text(SITE.replace('address: "7"', "address: 007"), "utf-8")
    result = spawn("gateway", "gateway.yaml", cwd=site_folder)
    assert result.code == 2
    for words in (
        "gateway.yaml",
        "unknown key 'prot'",
        "did you mean 'port'?",
        "site.yaml",
        "meters[1].address",
        "quotes",
    ):
        assert words in result.err
    assert sorted(path.name for path in site_folder.iterdir()) == ["gateway.yaml", "site.yaml"]


def test_a_gateway_no_bus_belongs_to(site_folder: Path) -> None:
    (site_folder / "gateway.yaml").write_text("gateway: gw-2\n", "utf-8")
    result = spawn("gateway", cwd=site_folder)
    assert result.code == 2
    assert "no bus of site.yaml belongs to gateway 'gw-2'" in result.err


def test_a_gateway_without_a_broker_keeps_on_and_says_so_once(site_folder: Path) -> None:
    (site_folder / "gateway.yaml").write_text(f"gateway: gw-1\nbroker: {{port: {free_port()}}}\n", "utf-8")
    gateway = Command(site_folder / "said.txt", "gateway", site_folder / "gateway.yaml")
    try:
        wait_for_output(gateway, "no broker at 127.0.0.1", within=15)
        gateway.interrupt()
        assert gateway.exit_code(within=10) == 0
    finally:
        gateway.clear_away()
    assert gateway.said.count("no broker at") == 1
    assert "everything is kept in the journal" in gateway.said


def test_a_second_gateway_on_the_same_data(site_folder: Path) -> None:
    (site_folder / "gateway.yaml").write_text(f"gateway: gw-1\nbroker: {{port: {free_port()}}}\n", "utf-8")
    first = Command(site_folder / "said.txt", "gateway", site_folder / "gateway.yaml")
    try:
        wait_for_output(first, "gateway gw-1", within=15)
        second = spawn("gateway", cwd=site_folder)
        assert second.code == 3
        assert "already runs this gateway" in second.err
        assert first.running
    finally:
        first.clear_away()


def test_the_key_for_the_head_end_stays_the_same(site_folder: Path) -> None:
    (site_folder / "gateway.yaml").write_text("gateway: gw-1\n", "utf-8")
    first = spawn("gateway", "--show-key", cwd=site_folder)
    assert first.code == 0
    assert len(first.out.strip()) == 44  # 32 bytes in base64
    assert spawn("gateway", "--show-key", "--json", cwd=site_folder).json["public_key"] == first.out.strip()


def test_the_page_s_port_is_in_use_and_the_rest_runs_on(site_folder: Path, listener: int) -> None:
    text = HEADEND.format(broker=free_port(), key=KEY, web=listener)
    (site_folder / "headend.yaml").write_text(text, "utf-8")
    headend = Command(site_folder / "said.txt", "headend", site_folder / "headend.yaml")
    try:
        wait_for_output(headend, f"127.0.0.1:{listener}: ", within=20)
        assert headend.running
        headend.interrupt()
        assert headend.exit_code(within=15) == 0
    finally:
        headend.clear_away()
    (line,) = [line for line in headend.said.splitlines() if f"127.0.0.1:{listener}" in line]
    assert "in use" in line
    assert "choose another port in headend.yaml" in line


def test_a_head_end_without_a_broker_keeps_on(site_folder: Path) -> None:
    text = HEADEND.format(broker=free_port(), key=KEY, web=free_port())
    (site_folder / "headend.yaml").write_text(text, "utf-8")
    headend = Command(site_folder / "said.txt", "headend", site_folder / "headend.yaml")
    try:
        wait_for_output(headend, "page: http://127.0.0.1:", within=20)
        status = spawn("status", "--json", cwd=site_folder)
        assert status.code == 0
        assert status.json["store"]["readings"] == 0
        headend.interrupt()
        assert headend.exit_code(within=15) == 0
    finally:
        headend.clear_away()


def test_a_key_that_is_none(site_folder: Path) -> None:
    text = HEADEND.format(broker=1883, key="c2hvcnQ=", web=free_port())
    (site_folder / "headend.yaml").write_text(text, "utf-8")
    result = spawn("headend", cwd=site_folder)
    assert result.code == 2
    assert "gw-1" in result.err or "gateways[0]" in result.err


def test_the_state_of_what_never_ran(site_folder: Path) -> None:
    (site_folder / "headend.yaml").write_text(HEADEND.format(broker=1883, key=KEY, web=8420), "utf-8")
    result = spawn("status", "--json", cwd=site_folder)
    assert result.code == 3
    assert result.json["error"] == "unreachable"
    assert "meterline headend" in result.json["hint"]


def test_a_demo_on_a_port_in_use_starts_nothing(tmp_path: Path, listener: int) -> None:
    result = spawn("demo", "--folder", "plant", "--port", str(listener), "--seconds", "1", cwd=tmp_path)
    assert result.code == 3
    assert f"127.0.0.1:{listener}: the port is in use" in result.err
    assert "--port" in result.err
    assert not (tmp_path / "plant").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no such file"), ("a,b\n1,2\n", "needs the columns"), ("time,kwh\nnow,1\n", "line 2")],
)
def test_a_recording_that_cannot_be_used(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "load.csv").write_text(content, "utf-8")
    result = spawn("demo", "--folder", "plant", "--replay", "load.csv", "--seconds", "1", cwd=tmp_path)
    assert result.code == 2
    assert "load.csv" in result.err
    assert said in result.err


def test_a_factory_whose_port_is_taken(site_folder: Path, listener: int) -> None:
    (site_folder / "site.yaml").write_text(SITE.replace("port: 5020", f"port: {listener}"), "utf-8")
    result = spawn("simulate", "site.yaml", cwd=site_folder)
    assert result.code == 3
    assert str(listener) in result.err
