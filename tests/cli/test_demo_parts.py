"""Parts of the demo: its processes, ports and memory, and how findings are matched with what was planted."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path

import pytest

from meterline.cli.broker import broker_program
from meterline.cli.demo import Demo, Wish, default_folder
from meterline.cli.demo_facts import FOUND_AS, DemoFacts, EnergyCheck, Found, PlantedFault, amount
from meterline.cli.processes import Child, end_leftovers, free_port, port_is_free, wait_for
from meterline.cli.screen import Screen
from meterline.clock import NS
from meterline.errors import Unreachable
from meterline.paths import profiles_dir, sites_dir
from meterline.plant import load_plant
from tests.servers.waiting import wait_until

SLEEPER = "import signal, sys, time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
MINUTE = 60 * NS


def _child(folder: Path, code: str) -> Child:
    child = Child("child", [sys.executable, "-c", code, str(folder)], folder)
    child.start()
    wait_until(lambda: "up" in child.last_words(), within=10, what="the child")
    return child


def test_a_child_is_asked_to_end(tmp_path: Path) -> None:
    child = _child(tmp_path, SLEEPER)
    assert child.stop(grace_s=5) == -signal.SIGTERM


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    child = _child(tmp_path, STUBBORN)
    assert child.stop(grace_s=0.2) == -signal.SIGKILL


def test_a_child_that_ends_at_once_is_said_with_its_last_words(tmp_path: Path) -> None:
    child = Child("child", [sys.executable, "-c", "import sys; print('no broker here'); sys.exit(3)"], tmp_path)
    child.start()
    with pytest.raises(Unreachable, match="exit code 3") as refused:
        wait_for("the child", lambda: False, [child], within_s=10)
    assert "no broker here" in refused.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux")
def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from meterline.cli.processes import Child\n"
        f"child = Child('grandchild', [sys.executable, '-c', {SLEEPER!r}], Path({str(tmp_path)!r})); child.start()\n"
        "print('up', child.pid, flush=True); time.sleep(60)"
    )
    parent = _child(tmp_path, code)
    grandchild = int(parent.last_words().split()[1])
    parent.kill()
    parent.stop(5)
    wait_until(lambda: not Path(f"/proc/{grandchild}").exists(), within=5, what="the end of the grandchild")


@pytest.mark.skipif(sys.platform != "linux", reason="command lines are looked up in /proc")
def test_only_what_names_the_folder_is_ended(tmp_path: Path) -> None:
    child = _child(tmp_path, SLEEPER)
    try:
        assert end_leftovers([child.pid, 1, 2**22 + 1], str(tmp_path / "another")) == []
        assert child.ended is None
        assert end_leftovers([child.pid], str(tmp_path), grace_s=0.1) == [child.pid]
        assert wait_until(lambda: child.ended, within=5) in (-signal.SIGTERM, -signal.SIGKILL)
    finally:
        child.stop(1)


def test_ports_that_are_taken_are_not_given() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not port_is_free(port)
        other = free_port(port)
        assert other != port
        assert free_port(other) == other
        assert free_port(other, taken=[other]) != other


@pytest.mark.parametrize("wish", ["iotcore", "mosquitto"])
def test_the_broker_listens_on_the_loopback_only(tmp_path: Path, wish: str) -> None:
    if wish == "iotcore":
        pytest.importorskip("iotcore")
    try:
        program = broker_program(tmp_path, 21883, wish)
    except Unreachable:
        pytest.skip("server missing: mosquitto")
    (config,) = (path for path in tmp_path.iterdir() if path.suffix in (".conf", ".toml"))
    text = config.read_text("utf-8")
    assert str(config) in program.command
    assert "21883" in text
    assert "127.0.0.1" in text
    assert "0.0.0.0" not in text


def test_no_broker_at_all_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meterline.cli.broker._mosquitto", lambda: None)
    with pytest.raises(Unreachable, match="apt-get install mosquitto"):
        broker_program(tmp_path, 21883, "mosquitto")


@pytest.mark.parametrize(
    ("memory", "begins"),
    [
        ({"plant_ns": 1_000_000 * MINUTE + 7, "clean": True}, 1_000_001 * MINUTE),
        # killed: its clock may have been 5 s x 400 further than it had written down, which is 33 minutes and a bit
        ({"plant_ns": 1_000_000 * MINUTE, "clean": False}, 1_000_034 * MINUTE),
    ],
)
def test_the_clock_goes_on_after_the_last_slot(tmp_path: Path, memory: dict[str, object], begins: int) -> None:
    (tmp_path / "run.json").write_text(json.dumps(memory), "utf-8")
    plant = load_plant(sites_dir() / "demo" / "site.yaml", profiles_dir())
    assert Demo(Screen(), Wish(), tmp_path)._origin(plant, 400.0) == (begins, True)


def test_a_torn_memory_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"plant_ns": 17', "utf-8")
    plant = load_plant(sites_dir() / "demo" / "site.yaml", profiles_dir())
    _, resumed = Demo(Screen(), Wish(), tmp_path)._origin(plant, 400.0)
    assert not resumed


def test_the_folder_is_hidden_in_a_checkout_and_named_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_folder(replay=False) == tmp_path / "meterline-demo" / "plant"
    (tmp_path / "meterline" / "cli").mkdir(parents=True)
    (tmp_path / "meterline" / "cli" / "demo.py").touch()
    assert default_folder(replay=True) == tmp_path / ".demo" / "replay"


def _found(**changes: object) -> Found:
    usual: dict[str, object] = {
        "number": 1, "kind": "gap", "meters": ("m-saw",), "start_ns": 100 * MINUTE, "end_ns": None,
        "seen_ns": 110 * MINUTE, "times": 1, "en": "", "zh": "",
    }  # fmt: skip
    return Found(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"kind": "stuck"}, False),
        ({"meters": ("m-press",)}, False),
        ({"meters": ("m-press", "m-saw")}, True),
        ({"seen_ns": 90 * MINUTE}, False),  # was there before anything was planted
        ({"start_ns": 300 * MINUTE, "seen_ns": 310 * MINUTE}, False),  # long after it was over
    ],
)
def test_a_finding_names_a_fault_by_kind_meter_and_time(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], right: bool
) -> None:
    facts = object.__new__(DemoFacts)
    fault = PlantedFault("silent", "m-saw", 100 * MINUTE, 160 * MINUTE, "", "")
    assert (facts.match(fault, [_found(**changes)]) is not None) is right


def test_every_kind_of_fault_has_its_findings() -> None:
    from analytics.findings import KINDS
    from collector.simulated.faults import KINDS as FAULTS

    assert set(FOUND_AS) == set(FAULTS)
    assert set().union(*FOUND_AS.values()) <= set(KINDS)


def test_the_energy_check_counts_what_a_reset_takes() -> None:
    # 100 kWh shown, reset to 0 unseen at 130, 20 shown at the end: 30 + 20 counted
    assert EnergyCheck("m", "energy.active.import", "kWh", 50_000_000, -80_000_000, 1, 130_000_000).exact
    assert not EnergyCheck("m", "energy.active.import", "kWh", 50_000_001, -80_000_000, 1, 130_000_000).exact


@pytest.mark.parametrize(("micro", "shown"), [(0, "0"), (1_234_567_890_000, "1,234,567.89"), (-1, "-0.000001")])
def test_amounts_are_shown_exactly(micro: int, shown: str) -> None:
    assert amount(micro) == shown
