"""`scan` as an electrician runs it, on a floor of the simulated factory and on libmodbus."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.running import ROOT, Result
from tests.servers.modbus import MeterFactory
from tests.servers.processes import free_port
from tests.servers.serial_lines import SerialLine
from tests.servers.waiting import wait_until
from tests.system.commands import Command

Cli = Callable[..., Result]

SITE = """\
site: {{id: works, name: {{en: Works, zh: "工厂"}}}}
energy_users: [{{id: works, name: {{en: Works, zh: "工厂"}}, level: organisation}}]
buses:
  - {{id: incomer, kind: modbus-tcp, gateway: gw-1, host: 127.0.0.1, port: {tcp}}}
  - {{id: hall, kind: rtu-over-tcp, gateway: gw-1, host: 127.0.0.1, port: {rtu}}}
  - {{id: line, kind: serial, gateway: gw-1, device: {tty}}}
meters:
  - {{id: m-main, name: {{en: Main, zh: "总表"}}, energy_user: works, profile: siemens-pac3200, bus: incomer,
     address: "1"}}
  - {{id: m-press, name: {{en: Press, zh: "冲床"}}, energy_user: works, profile: acrel-dtsd1352, bus: hall,
     address: "3", rated: 40, ratios: [{{valid_from: 2020-01-01, ct: "200/5"}}]}}
  - {{id: m-wash, name: {{en: Washer, zh: "清洗机"}}, energy_user: works, profile: dlt645-2007-three-phase, bus: hall,
     address: "220641537708", rated: 40}}
  - {{id: m-saw, name: {{en: Saw, zh: "锯床"}}, energy_user: works, profile: eastron-sdm630, bus: line, address: "7",
     rated: 40}}
"""
NARROW = ("--addresses", "2-5", "--timeout", "0.1", "--protocol", "modbus")


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("works")
    site = folder / "site.yaml"
    site.write_text(SITE.format(tcp=free_port(), rtu=free_port(), tty=folder / "line.tty"), encoding="utf-8")
    factory = Command(folder / "factory.txt", "simulate", site)
    try:
        wait_until(lambda: "ready" in factory.said or not factory.running, within=20, what="the factory")
        assert factory.running, factory.said
        yield site
    finally:
        factory.clear_away()
    assert factory.exit_code(within=1) == 0


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meters of this machine answer at once; how long a scan waits on real lines is tested on virtual time."""
    monkeypatch.setattr("collector.scan.LISTEN_FIRST_S", 0.2)
    monkeypatch.setattr("collector.scan.STRAGGLERS_S", 0.2)
    monkeypatch.setattr("collector.scan_plan.PATIENCE_S", {"dlt645": 0.2, "dlt645-1997": 0.2, "cjt188": 0.2})


def _line(works: Path, bus: str) -> str:
    row = next(b for b in yaml.safe_load(works.read_text("utf-8"))["buses"] if b["id"] == bus)
    return str(row["device"]) if row["kind"] == "serial" else f"{row['host']}:{row['port']}"


def test_item_meters_are_found_by_their_numbers(cli: Cli, works: Path) -> None:
    result = cli("scan", f"rtu-over-tcp://{_line(works, 'hall')}", "--protocol", "dlt645", "--json")
    assert result.code == 0, result.err
    (found,) = result.json["found"]
    assert (found["address"], found["protocol"]) == ("220641537708", "dlt645")
    assert (found["profile"], found["verdict"]) == ("dlt645-2007-three-phase", "likely")
    assert result.json["complete"] is True


def test_a_meter_with_a_port_of_its_own_is_one_meter(cli: Cli, works: Path) -> None:
    result = cli("scan", _line(works, "incomer"), "--addresses", "1-3", "--json")
    assert [row["address"] for row in result.json["found"]] == ["1"]
    assert result.json["found"][0]["profile"] == "siemens-pac3200"


def test_against_the_site_file_it_says_who_is_missing_and_why_a_page_fits(cli: Cli, works: Path) -> None:
    other = works.parent / "other.yaml"
    other.write_text(works.read_text("utf-8").replace('address: "3", rated', 'address: "5", rated'), encoding="utf-8")
    result = cli("scan", "hall", "--site", str(other), *NARROW, "--why")
    assert "In the site file, but silent: m-press (5)\n" in result.out  # m-wash was not asked
    assert "new" in result.out
    assert "U·I·PF" in result.out
    assert "points have a value" in result.out


def test_the_lines_for_the_site_file_are_ones_it_accepts(cli: Cli, works: Path, tmp_path: Path) -> None:
    out = cli("scan", _line(works, "hall"), *NARROW, "--yaml").out
    assert {meter["address"] for meter in yaml.safe_load(out)["meters"]} == {"3"}
    head = 'site: {id: works, name: {en: Works, zh: "工厂"}}\n'
    head += 'energy_users: [{id: w, name: {en: W, zh: "厂"}, level: organisation}]\n'
    (tmp_path / "site.yaml").write_text(head + out.replace("CHANGE-ME", "w"), encoding="utf-8")
    assert cli("check", str(tmp_path / "site.yaml")).code == 0


def test_a_serial_line_is_scanned_where_speed_means_nothing(cli: Cli, works: Path) -> None:
    result = cli("scan", _line(works, "line"), "--addresses", "6-8", "--protocol", "modbus", "--timeout", "0.1")
    assert result.code == 0
    assert "eastron-sdm630" in result.out


def test_nobody_there_is_exit_code_3_in_the_persons_language(cli: Cli, works: Path) -> None:
    narrow = ("--addresses", "40-42", "--protocol", "modbus", "--timeout", "0.1")
    result = cli("--lang", "zh", "scan", "hall", "--site", str(works), *narrow)
    assert result.code == 3
    assert "无任何应答" in result.out
    assert "m-press" not in result.out  # nobody asked it


def test_a_line_that_is_not_there_is_unreachable(cli: Cli, tmp_path: Path) -> None:
    result = cli("scan", "/dev/ttyNONE7")
    assert result.code == 3
    assert "there is no port" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("scan", "no-such-bus"), "no site.yaml here"),
        (("scan", "ftp://x:1"), "no line of kind 'ftp'"),
        (("scan", "modbus-tcp://h:x"), "is no address"),
        (("scan", "/dev/null", "--addresses", "1-x"), "write them as 1-40,126"),
        (("scan", "/dev/null", "--addresses", "300"), "Modbus addresses"),
        (("scan", "/dev/null", "--protocol", "knx"), "no protocol 'knx'"),
    ],
)
def test_wrong_wishes_are_refused_before_anything_is_opened(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*arguments)
    assert result.code == 2
    assert said in result.err


def test_ctrl_c_prints_what_was_found(works: Path) -> None:
    line = f"rtu-over-tcp://{_line(works, 'hall')}"
    process = subprocess.Popen(
        [sys.executable, "-c", "from meterline.cli import main; main()", "scan", line],
        cwd=works.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        env={**os.environ, "METERLINE_LANG": "en", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Scanning")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(6)  # two seconds of listening, three addresses, one look at a meter
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "acrel-dtsd1352" in out
    assert "Interrupted:" in out


def _three_phase_words() -> dict[int, int]:
    """Eastron SDM630 protocol, input words: a three-phase load of 3 x 230 V x 10 A at cos phi 0.9."""
    words = dict.fromkeys(range(0x0180), 0)
    phases = (230.0, 231.0, 229.0, 10.0, 10.0, 10.0, 2070.0, 2079.0, 2061.0)
    values = dict(zip(range(0x00, 0x12, 2), phases, strict=True))
    values |= {0x1E: 0.9, 0x20: 0.9, 0x22: 0.9, 0x34: 6210.0, 0x3E: 0.9, 0x46: 50.0, 0x48: 123.4}
    for address, value in values.items():
        words[address], words[address + 1] = struct.unpack(">HH", struct.pack(">f", value))
    return words


@pytest.mark.needs_libmodbus
@pytest.mark.parametrize("over", ["tcp", "rtu"])
def test_a_meter_that_is_not_ours_is_found_and_recognised(
    cli: Cli, libmodbus_meter: MeterFactory, serial_line: SerialLine, over: str
) -> None:
    words = {5: {"input": _three_phase_words(), "holding": dict.fromkeys(range(4), 0)}}
    device = serial_line.server_path if over == "rtu" else None
    meter = libmodbus_meter(words, device=device)
    line = serial_line.client_path if over == "rtu" else meter.where
    # libmodbus takes a question after one that nobody answered for its answer: its own address goes first
    result = cli("scan", line, "--addresses", "5-6", "--protocol", "modbus", "--timeout", "0.8", "--json")
    assert result.code == 0, result.err
    (found,) = [row for row in result.json["found"] if row["address"] == "5"]
    assert found["profile"] == "eastron-sdm630", found
    assert any(reason["code"] == "power-fits" and reason["good"] for reason in found["reasons"])
