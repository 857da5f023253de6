"""`read` and `monitor` on meters that answer: libmodbus as the meter, and the simulated factory for a whole line."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.running import Result, spawn
from tests.servers.modbus import MeterFactory
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until
from tests.system.commands import Command

Cli = Callable[..., Result]

SITE = """\
site: {{id: works, name: {{en: Works, zh: "工厂"}}}}
energy_users: [{{id: works, name: {{en: Works, zh: "工厂"}}, level: organisation}}]
buses:
  - {{id: incomer, kind: modbus-tcp, gateway: gw-1, host: 127.0.0.1, port: {tcp}, timeout_s: 0.3}}
  - {{id: hall, kind: rtu-over-tcp, gateway: gw-1, host: 127.0.0.1, port: {rtu}, timeout_s: 0.3}}
  - {{id: line, kind: serial, gateway: gw-1, device: {tty}, timeout_s: 0.3}}
meters:
  - {{id: m-main, name: {{en: Main, zh: "总表"}}, energy_user: works, profile: siemens-pac3200, bus: incomer,
     address: "1"}}
  - {{id: m-press, name: {{en: Press, zh: "冲床"}}, energy_user: works, profile: acrel-dtsd1352, bus: hall,
     address: "3", ratios: [{{valid_from: 2020-01-01, ct: "200/5"}}]}}
  - {{id: m-saw, name: {{en: Saw, zh: "锯床"}}, energy_user: works, profile: eastron-sdm630, bus: line, address: "7"}}
"""


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A site file whose three lines answer (`meterline simulate`)."""
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


@pytest.mark.parametrize("meter", ["m-main", "m-press", "m-saw"])
def test_a_meter_is_read_by_its_id(cli: Cli, works: Path, meter: str) -> None:
    result = cli("read", meter, "--site", str(works), "--json")
    assert result.code == 0
    values = {reading["measurand"]: reading for reading in result.json["readings"]}
    assert values["energy.active.import"]["unit"] == "kWh"
    assert float(values["energy.active.import"]["value"]) > 0
    assert {reading["quality"] for reading in values.values()} == {"good"}
    assert len(result.json["response_ms"]) == len(result.json["exchanges"])


def test_a_ratio_shows_the_primary_value_beside_the_displayed_one(cli: Cli, works: Path) -> None:
    (power,) = [
        reading
        for reading in cli("read", "m-press", "--site", str(works), "--json").json["readings"]
        if reading["measurand"] == "energy.active.import"
    ]
    assert power["primary"] == pytest.approx(float(power["value"]) * 200 / 5)


@pytest.mark.needs_libmodbus
def test_a_meter_that_is_not_ours_is_read_without_a_site_file(
    cli: Cli, tmp_path: Path, libmodbus_meter: MeterFactory
) -> None:
    # Eastron SDM630 protocol, input words: active power of all phases at 0x0034 [W], import at 0x0048 [kWh]
    words = dict.fromkeys(range(0x180), 0)
    for address, value in ((0x0034, 12345.6), (0x0048, 78.9)):
        words[address], words[address + 1] = struct.unpack(">HH", struct.pack(">f", value))
    meter = libmodbus_meter({1: {"input": words}})
    result = cli("read", "--profile", "eastron-sdm630", "--tcp", meter.where, "--address", "1", "--json")
    assert result.code == 0
    values = {reading["measurand"]: (reading["value"], reading["unit"]) for reading in result.json["readings"]}
    assert values["power.active.total"] == ("12.3456", "kW")
    assert values["energy.active.import"] == ("78.9", "kWh")


def test_the_table_names_values_in_both_languages(cli: Cli, works: Path) -> None:
    assert "active energy, import" in cli("read", "m-main", "--site", str(works)).out
    assert "正向有功电能" in cli("--lang", "zh", "read", "m-main", "--site", str(works)).out


def test_raw_bytes_come_with_their_meaning(cli: Cli, works: Path) -> None:
    out = cli("read", "m-press", "--site", str(works), "--raw").out
    assert "→ 03 03 " in out  # address 3, read holding words
    assert "unit 3, function 03" in out


def test_nobody_at_an_address_is_said_with_what_to_check(cli: Cli, works: Path) -> None:
    port = next(line for line in works.read_text("utf-8").splitlines() if "hall, kind" in line).split("port: ")[1]
    line = f"127.0.0.1:{port.split(',')[0]}"
    result = cli("read", "--profile", "acrel-dtsd1352", "--rtu-over-tcp", line, "--address", "9", "--timeout", "0.2")
    assert result.code == 3
    assert f"meter (address 9 on {line}): no answer within 0.2 s" in result.err
    assert "check power, address, baud, parity" in result.err
    assert result.out == ""


def test_an_unknown_meter_is_wrong_input(cli: Cli, works: Path) -> None:
    result = cli("read", "m-mian", "--site", str(works))
    assert result.code == 2
    assert "no meter 'm-mian'" in result.err


def test_monitor_shows_bytes_times_meaning_and_a_summary(cli: Cli, works: Path) -> None:
    result = cli("monitor", "hall", "--site", str(works), "--seconds", "1.5", "--every", "0.5")
    assert result.code == 0
    assert "→ 03 03 " in result.out
    assert "energy.active.import" in result.out
    assert "ms m-press" in result.out
    assert "checksum errors" in result.out


def test_monitor_speaks_json_lines(cli: Cli, works: Path) -> None:
    result = cli("monitor", "incomer", "--site", str(works), "--seconds", "1.2", "--every", "0.5", "--json")
    rows = [json.loads(line) for line in result.out.splitlines()]
    *exchanges, summary = rows
    assert summary["meter"] == "m-main"
    assert summary["requests"] == summary["good"] == len(exchanges) > 0
    request = bytes.fromhex(exchanges[0]["request"])
    unit, function = struct.unpack_from(">BB", request, 6)  # behind the 6 bytes of the TCP header
    assert (unit, function) == (1, 3)
    assert exchanges[0]["ms"] > 0


def test_an_unknown_bus_is_wrong_input(works: Path) -> None:
    result = spawn("monitor", "hal", "--site", str(works), cwd=works.parent)
    assert result.code == 2
    assert "no bus 'hal'" in result.err
    assert "incomer, hall, line" in result.err
