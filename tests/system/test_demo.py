"""Main job, command 1: the demo as a user runs it, judged by the journal that the simulated meters keep themselves."""

from __future__ import annotations

import datetime as dt
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

FAULTS_TO_SEE = 6  # of the factory's timetable; at 400 times real time they take about forty seconds
ON_THE_WAY_NS = 10 * 60 * 10**9  # an answer leaves the meter up to 1.5 s before it is stamped; plant time
TIME_TO_FIND_NS = 40 * 60 * 10**9  # a detector wants some values, an alarm its delay, a head-end its round; plant time
EVER = Span(0, 2**62)
RESET = "m-machining"  # its counter falls to zero on purpose
WATER = {"m-water", "m-canteen-water"}

# what a person would call each planted fault, in the words of analytics/kinds.py
RIGHT_NAMES = {
    "silent": {"gap"},
    "noise": {"gap", "spike"},
    "frozen": {"stuck"},
    "spike": {"spike"},
    "overload": {"overload"},
    "counter_reset": {"counter_reset"},
    "phase_loss": {"phase_voltage_loss"},
    "night_load": {"off_hours"},
}


@dataclass
class DemoRun:
    """A demo that was started, watched, and ended by Ctrl-C."""

    folder: Path
    port: int
    first_data_s: float = 0.0
    findings: list[dict[str, Any]] = field(default_factory=list)
    due: list[dict[str, Any]] = field(default_factory=list)
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
        run.due = sorted(_planted(run.folder), key=lambda fault: int(fault["start_ns"]))[:FAULTS_TO_SEE]
        enough_ns = run.due[-1]["start_ns"] + TIME_TO_FIND_NS
        wait_until(
            lambda: not command.running or _plant_ns(run.port) >= enough_ns,
            within=120,
            every=0.3,
            what="planted faults",
        )
        run.findings = page(run.port, "/api/findings")
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


def _planted(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "factory-state" / "factory.json").read_text(encoding="utf-8")
    faults: list[dict[str, Any]] = json.loads(text)["faults"]
    return faults


def _plant_ns(port: int) -> float:
    return dt.datetime.fromisoformat(page(port, "/api/site")["now"]).timestamp() * 1e9


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
    assert gateway["lost"] == []
    assert gateway["received"] == {gateway["epoch"]: [[1, demo.status["store"]["batches"]]]}
    # what was committed in the last moment may still be in the gateway's journal: the next start sends it
    assert 0 <= gateway["next_seq"] - 1 - demo.status["store"]["batches"] <= 3
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
                if not shown or meter.id == RESET:
                    continue
                series = queries.store.series(meter.id, measurand, EVER)
                at = np.array([t for t, _ in shown])
                value = np.array([float(v * float(step)) for _, v in shown])
                before = np.searchsorted(at, series.read_ns - ON_THE_WAY_NS, side="right") - 1
                after = np.searchsorted(at, series.read_ns, side="left")
                inside = (before >= 0) & (after < at.size) & ~np.isnan(series.value)
                low, high = value[before[inside]], value[after[inside]]
                got = series.value[inside]
                slack = 1e-6 + 1e-7 * np.abs(got)  # a float32 display
                assert np.all((low - slack <= got) & (got <= high + slack)), (meter.id, measurand)
                checked += int(inside.sum())
    finally:
        queries.close()
    assert checked > 5_000


def test_interval_energies_add_up_to_last_minus_first(demo: DemoRun) -> None:
    """To the last digit, whatever was planted: silence, noise, a frozen display, a spike of the power."""
    settings = load_headend(demo.headend_file)
    queries = Queries.of(settings)
    try:
        for meter in settings.plant.site.meters:
            if meter.id == RESET:
                continue
            counter = "volume" if meter.id in WATER else "energy.active.import"
            (ratio,) = [Fraction(period.ct) if period.ct else 1 for period in meter.ratios] or [1]
            shown = queries.store.series(meter.id, counter, EVER)
            known = shown.micro[~np.isnan(shown.value)]
            rows = queries.catalogue.intervals(meter.id, counter, "15min", EVER)
            assert len(rows) >= 16, meter.id
            assert sum(row.micro for row in rows) == (int(known[-1]) - int(known[0])) * ratio, meter.id
    finally:
        queries.close()


def test_every_planted_fault_was_found(demo: DemoRun) -> None:
    """What the factory planted is its own word; what was found is what the page says."""
    found = {(finding["kind"], meter) for finding in demo.findings for meter in finding["meters"]}
    missed = [f for f in demo.due if not {(kind, f["meter"]) for kind in RIGHT_NAMES[f["kind"]]} & found]
    assert missed == []


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
    (was,), (gateway,) = demo.status["gateways"].values(), state["gateways"].values()
    assert gateway["lost"] == []
    (ranges,) = gateway["received"].values()
    assert ranges == [[1, after["batches"]]]
    assert after["batches"] >= was["next_seq"] - 1  # also what the first run had not yet sent when it was stopped
    assert processes_naming(str(demo.folder)) == []
