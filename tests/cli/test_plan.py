"""`meterline plan`: what a person and a machine read of a line's load, and what is refused before anything starts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from meterline.cli.bench_bus import bench_bus
from meterline.cli.bench_pages import block_page, four_blocks_page, meters_in_a_process, plant_of, written
from meterline.cli.bench_poll_runs import Tally, measure
from meterline.cli.screen import Screen
from meterline.profiles import load_profile
from tests.cli.running import Result

Cli = Callable[..., Result]
GATEWAY = "gateway: gw-1\nsite: site.yaml\nrates: {{fast_s: {fast}, normal_s: 60, slow_s: 900}}\n"


@pytest.fixture
def gateway_file(site_folder: Path) -> Callable[[float], Path]:
    """A gateway that asks this often."""

    def write(fast_s: float) -> Path:
        file = site_folder / "gateway.yaml"
        file.write_text(GATEWAY.format(fast=fast_s), encoding="utf-8")
        return file

    return write


def test_the_proof_as_a_machine_reads_it(cli: Cli, gateway_file: Callable[[float], Path]) -> None:
    result = cli("plan", str(gateway_file(10)), "--dead", "1", "--json")
    assert result.code == 0, result.err
    serial = next(bus for bus in result.json["buses"] if bus["bus"] == "hall-1-line")
    assert serial["verdict"] == "fine"
    full = max(serial["rounds"], key=lambda one: one["takes_s"])
    assert full["rates"] == ["fast", "normal", "slow"]
    # SDM630 in four requests of 20, 16, 58 and 6 words at 9600 baud: 8 + 5 + 2 n bytes of 11 bits, 3.5 characters each
    wire_s = sum((13 + 2 * n) * 11 / 9600 + 38.5 / 9600 for n in (20, 16, 58, 6))
    assert full["requests"] == 4
    assert full["wire_s"] == pytest.approx(wire_s, abs=0.0002)
    assert full["takes_s"] == pytest.approx(wire_s + 4 * 0.05, abs=0.0002)
    assert serial["round_with_dead_first_s"] == pytest.approx(2 * 2 * 1.0, abs=0.001)


def test_a_person_reads_a_table_and_what_to_do(cli: Cli, gateway_file: Callable[[float], Path]) -> None:
    result = cli("plan", str(gateway_file(0.26)))
    assert result.code == 1, "a finding, not a wrong input"
    assert "too slow" in result.out
    assert "hall-1-line" in result.out
    assert "Slots will be skipped" in result.err
    assert cli("plan", str(gateway_file(0.26)), "--turnaround", "5").code == 0, "measured, they are quicker"


@pytest.mark.parametrize("command", ["plan", "check", "gateway"])
def test_what_no_line_could_do_is_refused_before_anything_starts(
    cli: Cli, gateway_file: Callable[[float], Path], command: str
) -> None:
    result = cli(command, str(gateway_file(0.1)))
    assert result.code == 2
    assert "bus hall-1-line" in result.err
    assert "even if every meter answered at once" in result.err
    assert "raise the baud rate" in result.err


def test_check_warns_with_the_same_rule(cli: Cli, gateway_file: Callable[[float], Path]) -> None:
    result = cli("check", str(gateway_file(0.26)))
    assert result.code == 0
    assert "hall-1-line" in result.err
    assert "Slots will be skipped" in result.err


def test_pages_for_measuring_are_right(tmp_path: Path) -> None:
    for page, blocks in ((block_page(30, floats=True), 1), (block_page(30, floats=False), 1), (four_blocks_page(), 4)):
        file, profile = written(page, tmp_path)
        from collector import plan_of

        assert load_profile(file).id == profile.id
        assert len(plan_of(profile).blocks) == blocks
        assert len(plan_of(profile).points) in (30, len(profile.points))


def test_bench_bus_prints_the_object_of_the_contract(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline.cli.bench_bus.LINES", ((115_200, 1.08),))
    bench_bus(Screen(as_json=True), 2, 0.4, 1)
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"bench", "machine", "parameters", "figures"}
    value = {figure["name"]: figure["value"] for figure in said["figures"]}
    over = [value[name] for name in value if name.endswith("over the best")]
    assert len(over) == 2
    assert all(1.0 <= times < 3.0 for times in over), "a line is never faster than its wire"
    assert all(value[name] == 0 for name in value if name.endswith("not all good"))


def test_what_bench_poll_measures_adds_up(tmp_path: Path) -> None:
    file, profile = written(block_page(30, floats=True), tmp_path)
    with meters_in_a_process("collector.simulated.quick_meters", str(file)) as port:
        plant = plant_of(profile, [{"kind": "modbus-tcp", "host": "127.0.0.1", "port": int(port)}] * 5, 1)
        found = asyncio.run(measure(plant, 0.2, 0.6, Tally()))
    assert found["due"] == 5 * 3
    assert found["values"] == found["polls"] * 30
    assert found["polls"] >= 5
    assert found["doubtful"] == 0
    assert found["cpu_s"] > 0
