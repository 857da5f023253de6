"""Main job, command 1: the demo as a user runs it, judged by the journal that the simulated meters keep themselves."""

from __future__ import annotations

import email
import email.policy
import json
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collector.simulated.journal import read_shown
from headend.queries import Queries
from headend.stores.api import Span
from meterline.settings import load_headend
from tests.servers.browser import Chromium
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until
from tests.system.commands import Command, page, page_or_none, processes_naming, status, wait_for_output

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RUN_S = 50.0  # 400 x 50 s: five and a half hours of the plant, with seven planted faults
EVER = Span(0, 2**62)


@dataclass
class DemoRun:
    """A demo that was started, watched, and ended by Ctrl-C."""

    folder: Path
    port: int
    first_data_s: float = 0.0
    overview: Any = None
    dom: dict[str, str] = field(default_factory=dict)
    picture: Path | None = None
    exit_code: int = -1
    end_s: float = 0.0
    said: str = ""
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def headend_file(self) -> Path:
        return self.folder / "headend.yaml"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    work = tmp_path_factory.mktemp("demo")
    run = DemoRun(work / "plant", free_port())
    begun = time.monotonic()
    command = Command(work / "output.txt", "demo", "--folder", run.folder, "--port", str(run.port))
    try:
        wait_until(lambda: _has_data(run.port) or not command.running, within=45, what="values on the page")
        run.first_data_s = time.monotonic() - begun
        assert command.running, command.said
        wait_until(lambda: time.monotonic() - begun > RUN_S or not command.running, within=RUN_S + 5, every=0.2)
        run.overview = page(run.port, "/api/overview")
        command.interrupt()
        asked = time.monotonic()
        run.exit_code = command.exit_code(within=40)
        run.end_s = time.monotonic() - asked
    finally:
        command.clear_away()
    run.said = command.said
    state = status(run.headend_file)
    assert state is not None
    run.status = state
    return run


def _has_data(port: int) -> bool:
    overview = page_or_none(port, "/api/overview")
    return overview is not None and '"value":' in json.dumps(overview).replace('"value": null', "").replace(" ", "")


def test_values_are_on_the_page_soon(demo: DemoRun) -> None:
    assert demo.first_data_s <= 15.0


def test_ctrl_c_ends_it_cleanly(demo: DemoRun) -> None:
    assert demo.exit_code == 0, demo.said
    assert demo.end_s <= 20
    assert "Traceback" not in demo.said
    assert processes_naming(str(demo.folder)) == []


def test_nothing_was_lost_on_the_way(demo: DemoRun) -> None:
    (gateway,) = demo.status["gateways"].values()
    assert [ranges for ranges in gateway["holes"].values() if ranges] == []
    assert gateway["lost"] == []
    assert gateway["acked"] == gateway["next_seq"] - 1 == demo.status["store"]["batches"]
    assert (demo.status["quarantine"], demo.status["chain_breaks"]) == ({}, [])
    assert demo.status["store"]["readings"] > 20_000


def test_stored_counters_lie_between_what_the_displays_showed(demo: DemoRun) -> None:
    """The meters wrote down their displays each quarter hour before any frame left; every stored value must fit in."""
    displays: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in read_shown(demo.folder / "factory-state"):
        if row["why"] == "grid":
            for measurand, shown in row["shown"].items():
                displays.setdefault((row["meter"], measurand), []).append((int(row["t"]), float(shown)))
    settings = load_headend(demo.headend_file)
    queries = Queries.of(settings)
    checked = 0
    try:
        for meter in settings.plant.site.meters:
            profile = settings.plant.profile_of(meter)
            counters = {p.measurand: Fraction(10) ** p.exponent for p in profile.points if p.enabled}
            for measurand, step in counters.items():
                shown = displays.get((meter.id, measurand))
                if not shown or meter.id == "m-machining":  # its counter is reset on purpose
                    continue
                series = queries.store.series(meter.id, measurand, EVER)
                at = np.array([t for t, _ in shown])
                value = np.array([float(v * float(step)) for _, v in shown])
                index = np.searchsorted(at, series.read_ns, side="right")
                inside = (index > 0) & (index < at.size) & ~np.isnan(series.value)
                low, high = value[index[inside] - 1], value[index[inside]]
                got = series.value[inside]
                slack = 1e-6 + 1e-7 * np.abs(got)  # a float32 display
                assert np.all((low - slack <= got) & (got <= high + slack)), (meter.id, measurand)
                checked += int(inside.sum())
    finally:
        queries.close()
    assert checked > 5_000


def test_interval_energies_add_up_to_last_minus_first(demo: DemoRun) -> None:
    said = demo.said[demo.said.index("Energy: sum of the intervals") :]
    rows = [line.split() for line in said.splitlines() if line.startswith("m-")]
    assert len(rows) == len(load_headend(demo.headend_file).plant.meters)
    assert {row[0]: row[5] for row in rows if row[0] != "m-machining"} == {
        row[0]: "exact" for row in rows if row[0] != "m-machining"
    }
    assert {row[2] == row[3] for row in rows if row[0] != "m-machining"} == {True}


def test_every_planted_fault_was_found(demo: DemoRun) -> None:
    table = demo.said[demo.said.index("Planted and found") :]
    planted = [line for line in table.splitlines() if line.startswith("20")]
    assert len(planted) >= 6
    # the last one may have begun seconds before the end
    assert [line for line in planted[:-1] if "min" not in line.split()[-1]] == []
    assert "not found" not in "\n".join(planted[:-1])


def test_mails_arrived_in_both_languages_and_say_that_the_plant_is_simulated(demo: DemoRun) -> None:
    mails = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in sorted((demo.folder / "mails").glob("*.eml"))
    ]
    subjects = [str(mail["Subject"]) for mail in mails]
    assert len(subjects) >= 4
    assert all(subject.startswith("[SIMULATED]") for subject in subjects), subjects
    assert {str(mail["To"]).rpartition("@")[0].rpartition("<")[2] for mail in mails} == {"energy.manager", "nengyuan"}
    assert any("Machining" in subject or "findings" in subject for subject in subjects)
    assert any("泉城铸造" in subject for subject in subjects)


@pytest.mark.needs_chromium
def test_run_again_it_goes_on_and_a_browser_shows_the_plant(demo: DemoRun, chromium: Chromium, tmp_path: Path) -> None:
    before = demo.status["store"]
    again = Command(
        tmp_path / "again.txt", "demo", "--folder", demo.folder, "--port", str(demo.port), "--seconds", "25"
    )
    try:
        wait_for_output(again, "Goes on", within=20)
        wait_until(lambda: _has_data(demo.port), within=20, what="values on the page")
        dom = chromium.dump_dom(f"http://127.0.0.1:{demo.port}/", page_ms=4000)
        picture = chromium.screenshot(f"http://127.0.0.1:{demo.port}/", page_ms=4000)
        assert again.exit_code(within=60) == 0, again.said
    finally:
        again.clear_away()
    assert "City of Springs Foundry" in dom
    assert "Machining shop" in dom
    assert picture.stat().st_size > 20_000  # a page that shows nothing compresses to less
    state = status(demo.headend_file)
    assert state is not None
    after = state["store"]
    assert after["readings"] > before["readings"]
    assert after["last_slot_ns"] > before["last_slot_ns"]
    (gateway,) = state["gateways"].values()
    assert [ranges for ranges in gateway["holes"].values() if ranges] == []
    assert gateway["acked"] == gateway["next_seq"] - 1 == after["batches"]
    assert processes_naming(str(demo.folder)) == []
