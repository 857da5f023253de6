"""Real input: a steel plant's recorded year replayed through meters on the wire, judged by the recording itself."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from collector.simulated.journal import read_shown
from headend.intervals import Resolution
from headend.queries import Queries
from headend.stores.api import Span
from meterline.settings import load_headend
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until
from tests.system.commands import Command, processes_naming, status

RECORDING = Path(__file__).resolve().parents[3] / "shared" / "data" / "steel_industry_15min.csv.gz"
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not RECORDING.exists(), reason=f"no recording beside the checkout: {RECORDING.name}"),
]

FACTOR = 2400  # a day in 36 seconds
DAY_NS, HOUR_NS = 86_400 * 10**9, 3600 * 10**9
ZONE = ZoneInfo("Asia/Shanghai")
FIRST_DAY_NS = int(dt.datetime(2018, 1, 1, tzinfo=ZONE).timestamp()) * 10**9
EVER = Span(0, 2**62)
KWH = 10**6  # millionths
# What the replay site gives each meter (its rating's part, less a tenth nobody meters), the CT ratio, one step of the
# display in kWh, and what one of the meter's own journal stands for in kWh: PAC3200 (Wh), DTSD1352 (0.01 kWh), SDM630
# (kWh as float32: 1/32 kWh between 262 144 and 524 288 kWh, where this one stands).
METERS = {
    "m-main": (1.0, 1, 0.001, 0.001),
    "m-rolling": (0.9 * 500 / 800, 120, 0.01, 0.01),
    "m-finishing": (0.9 * 300 / 800, 1, 1 / 32, 1.0),
}


def recorded_kwh(day: int) -> float:
    """Sum of the recording's quarter hours of one day, the first is 0. [kWh]"""
    with gzip.open(RECORDING, "rt", encoding="utf-8-sig") as file:
        return sum(float(row["Usage_kWh"]) for row in islice(csv.DictReader(file), 96 * day, 96 * day + 96))


@dataclass(frozen=True)
class Replay:
    """A replay that ran over one whole day of the plant, the `day`-th of the recording."""

    folder: Path
    day: int

    @property
    def span(self) -> Span:
        begin = FIRST_DAY_NS + self.day * DAY_NS
        return Span(begin, begin + DAY_NS)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """Run until a day that began after the first reading is over; on a slow machine that is the second one."""
    work = tmp_path_factory.mktemp("replay")
    folder = work / "plant"
    arguments: list[str | Path] = [
        "--replay",
        RECORDING,
        "--folder",
        folder,
        "--port",
        str(free_port()),
        "--factor",
        str(FACTOR),
    ]
    command = Command(work / "output.txt", "demo", *arguments)

    def last_slot() -> int:
        if not command.running:
            raise AssertionError(command.said[-3000:])
        state = status(folder / "headend.yaml") if (folder / "headend.yaml").exists() else None
        return (state or {"store": {}})["store"].get("last_slot_ns") or 0

    try:
        first_seen = wait_until(last_slot, within=60, every=0.5, what="the first reading")
        day = max(0, (first_seen - FIRST_DAY_NS) // DAY_NS + 1)
        enough = FIRST_DAY_NS + (day + 1) * DAY_NS + HOUR_NS
        wait_until(lambda: last_slot() >= enough, within=110, every=1.0, what="the end of a whole day")
        command.interrupt()
        assert command.exit_code(within=40) == 0, command.said[-3000:]
    finally:
        command.clear_away()
    assert "Traceback" not in command.said
    assert processes_naming(str(folder)) == []
    return Replay(folder, day)


def test_the_displays_moved_by_what_was_recorded(replayed: Replay) -> None:
    """The replaying meters themselves: their own journal, written before any frame left."""
    shown = {
        (row["meter"], int(row["t"])): row["shown"]["energy.active.import"]
        for row in read_shown(replayed.folder / "factory-state")
        if row["why"] == "grid"
    }
    recorded = recorded_kwh(replayed.day)
    for meter, (share, ratio, step_kwh, unit_kwh) in METERS.items():
        moved = (shown[meter, replayed.span.end_ns] - shown[meter, replayed.span.start_ns]) * unit_kwh * ratio
        assert moved == pytest.approx(recorded * share, abs=step_kwh * ratio), meter


def test_a_replayed_day_is_the_recorded_day(replayed: Replay) -> None:
    """Interval energies agree with the recording, but for a display step and what passed unseen at midnight.

    At this speed polls are minutes apart, and between two of them energy is split along a straight line: at each end of
    the day the error is less than what the display moved from the reading before midnight to the one after.
    """
    recorded = recorded_kwh(replayed.day)
    queries = Queries.of(load_headend(replayed.folder / "headend.yaml"))
    try:
        for meter, (share, ratio, step_kwh, _) in METERS.items():
            rows = queries.catalogue.intervals(meter, "energy.active.import", "15min", replayed.span)
            assert len(rows) == 96, meter
            series = queries.store.series(meter, "energy.active.import", EVER)
            edges = np.searchsorted(series.read_ns, [replayed.span.start_ns, replayed.span.end_ns])
            unseen = sum(int(series.micro[edge] - series.micro[edge - 1]) for edge in edges) * ratio / KWH
            day_kwh = sum(row.micro for row in rows) / KWH
            assert day_kwh == pytest.approx(recorded * share, abs=unseen + step_kwh * ratio), meter
            assert unseen < 0.02 * recorded, "the machine is too slow for this to prove anything"
    finally:
        queries.close()


def test_interval_energies_are_what_the_display_did_to_the_last_digit(replayed: Replay) -> None:
    queries = Queries.of(load_headend(replayed.folder / "headend.yaml"))
    try:
        for meter, (_, ratio, _, _) in METERS.items():

            def total(resolution: Resolution, span: Span, meter: str = meter) -> int:
                rows = queries.catalogue.intervals(meter, "energy.active.import", resolution, span)
                return sum(row.micro for row in rows)

            displayed = queries.store.series(meter, "energy.active.import", EVER)
            there = displayed.micro[~np.isnan(displayed.value)]
            assert total("15min", EVER) == (int(there[-1]) - int(there[0])) * ratio, meter
            assert total("15min", replayed.span) == total("hour", replayed.span) == total("day", replayed.span)
    finally:
        queries.close()


def test_nothing_was_lost_on_the_way(replayed: Replay) -> None:
    state = status(replayed.folder / "headend.yaml")
    assert state is not None
    (gateway,) = state["gateways"].values()
    assert [ranges for ranges in gateway["holes"].values() if ranges] == []
    assert gateway["lost"] == []
    assert (state["quarantine"], state["chain_breaks"]) == ({}, [])
