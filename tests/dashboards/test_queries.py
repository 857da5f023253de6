"""Every query of every dashboard, expanded by Grafana's own rules and run on a real InfluxDB 1.6.7 our writer filled.

The numbers expected are numpy's, from the arrays the data were made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headend.grafana import read_boards
from headend.intervals import Interval, Resolution
from headend.stores.influxdb import InfluxWriter, Lines
from meterline.paths import dashboards_dir
from meterline.readings import ClockState, Column, Poll, Quality, Shape
from meterline.settings import InfluxTarget
from tests.headend.small_plant import HOUR, MINUTE, small_plant
from tests.servers.influx_server import InfluxServer

BOARDS = {board["uid"]: board for board in read_boards(dashboards_dir())}
QUERIES = [
    (board, panel, target) for board in BOARDS.values() for panel in board["panels"] for target in panel["targets"]
]
START = 1_772_409_600 * 10**9  # 2026-03-02 00:00 UTC
HOURS = 6
HOLE = slice(130, 160)
"""Minutes of m-main about which nothing is known."""
DOUBTED = 200
"""A minute of m-main whose values are suspect."""
SITE, METER, OTHER = "jinan", "m-main", "m-p1"
VARIABLES = {"site": SITE, "meter": METER, "incomer": METER}
STEPS: dict[Resolution, int] = {"15min": 15 * MINUTE, "hour": HOUR}
SHAPE = Shape(
    "eastron-sdm630@1",
    tuple(
        Column(name, -3)
        for name in (
            "power.active.total", "power.reactive.total", "voltage.l1n", "voltage.l2n", "voltage.l3n", "current.l1",
            "current.l2", "current.l3", "power_factor.total", "energy.active.import",
        )
    ),
)  # fmt: skip
NAMES = [column.measurand for column in SHAPE.columns]


@dataclass
class Truth:
    """What was written: per meter the thousandths of each measurand by minute, and which minutes there were."""

    slots: np.ndarray = field(default_factory=lambda: START + np.arange(HOURS * 60) * MINUTE)
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    there: dict[str, np.ndarray] = field(default_factory=dict)
    intervals: list[Interval] = field(default_factory=list)

    def values(self, meter: str, measurand: str) -> tuple[np.ndarray, np.ndarray]:
        """``(slots, values)`` of what was read."""
        there = self.there[meter]
        return self.slots[there], self.numbers[meter][there, NAMES.index(measurand)] / 1000


def make() -> Truth:
    truth, rng = Truth(), np.random.default_rng(7)
    for meter in (METER, OTHER):
        numbers = rng.integers(1_000, 400_000, (HOURS * 60, len(NAMES)))
        numbers[:, -1] = np.cumsum(rng.integers(0, 5_000, HOURS * 60))
        there = np.ones(HOURS * 60, bool)
        if meter == METER:
            there[HOLE] = False
        truth.numbers[meter], truth.there[meter] = numbers, there
        for name, step in STEPS.items():
            for k in range(HOURS * HOUR // step):
                begin = START + k * step
                truth.intervals.append(
                    Interval(
                        meter, "energy.active.import", name, begin, begin + step,
                        micro=int(rng.integers(10**6, 10**9)), u_micro=None, coverage=float(rng.integers(1, 100)) / 100,
                        quality=0, open=False,
                    )
                )  # fmt: skip
    return truth


def lines_of(truth: Truth) -> Iterator[str]:
    lines = Lines(small_plant())
    for meter, numbers in truth.numbers.items():
        for minute in map(int, np.flatnonzero(truth.there[meter])):
            doubt = int(Quality.SUSPECT) if (meter, minute) == (METER, DOUBTED) else 0
            row = tuple(int(n) for n in numbers[minute])
            qualities = (doubt,) * len(row) if doubt else ()
            yield from lines.of_poll(
                Poll(meter, SHAPE, int(truth.slots[minute]), (5,), ClockState.SYNCED, row, qualities)
            )
    for interval in truth.intervals:
        yield lines.of_interval(interval)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make()


@pytest.fixture
def influx(influxdb: InfluxServer, truth: Truth, tmp_path: Path) -> InfluxServer:
    writer = InfluxWriter(InfluxTarget(url=influxdb.url, bucket="meterline"), tmp_path)
    assert writer.write(list(lines_of(truth))) == []
    writer.close()
    return influxdb


def expanded(query: str, interval: str = "5m") -> str:
    """As Grafana's InfluxDB back end does it (pkg/tsdb/influxdb/models/query.go), after the variables of the page."""
    for name, value in VARIABLES.items():
        query = query.replace(f"${name}", value)
    begin, end = START // 10**6, (START + HOURS * HOUR) // 10**6 - 1
    query = query.replace("$timeFilter", f"time >= {begin}ms and time <= {end}ms")
    milliseconds = {"5m": 300_000, "15m": 900_000, "1h": 3_600_000}[interval]
    query = query.replace("$__interval_ms", str(milliseconds)).replace("$__interval", interval)
    assert "$" not in query, query
    return query


def by_bucket(slots: np.ndarray, values: np.ndarray, width_ns: int, how: Any) -> dict[int, float]:
    buckets = slots // width_ns * width_ns
    return {int(b): float(how(values[buckets == b])) for b in np.unique(buckets)}


def same(rows: list[dict[str, Any]], column: str, expected: dict[int, float]) -> None:
    """Known buckets have numpy's number, the others are there and empty: a gap is no zero and no line across."""
    got = {row["time"]: row[column] for row in rows}
    assert {t: v for t, v in got.items() if v is not None} == pytest.approx(expected, rel=1e-12)
    assert set(expected) <= set(got)


@pytest.mark.needs_influxdb
class TestOnRealInfluxDB:
    def test_every_query_brings_what_was_written(self, influx: InfluxServer, truth: Truth) -> None:
        """One server, all queries: a fresh InfluxDB for each would only take longer."""
        checked = 0
        for board, panel, target in QUERIES:
            rows = influx.query(expanded(target["query"]))
            assert rows, f"{board['title']} / {panel['title']}: no rows"
            judge(panel["title"], target["query"], rows, truth)
            checked += 1
        assert checked >= 16

    def test_the_choices_of_the_variables(self, influx: InfluxServer) -> None:
        for board in BOARDS.values():
            for variable in board["templating"]["list"]:
                if variable["type"] == "query":
                    found = {row["value"] for row in influx.query(expanded(variable["query"]))}
                    assert found == ({SITE} if variable["name"] == "site" else {METER, OTHER})


def judge(title: str, query: str, rows: list[dict[str, Any]], truth: Truth) -> None:
    intervals = [i for i in truth.intervals if i.meter == METER and i.resolution == "15min"]
    match title:
        case "Power of the incomer":
            assert rows[0]["last"] == truth.values(METER, "power.active.total")[1][-1]
        case "Energy of the incomer in this time":
            assert rows[0]["sum"] == pytest.approx(sum(i.micro for i in intervals) / 1e6, rel=1e-12)
        case "Measured share" if "mean(" in query:
            expected = np.mean([i.coverage for i in truth.intervals if i.resolution == "15min"])
            assert rows[0]["mean"] == pytest.approx(expected, rel=1e-12)
        case "Doubtful readings" if "fill" not in query:
            assert rows[0]["count"] == len(NAMES)
        case "Doubtful readings":
            assert sum(row["count"] for row in rows) == len(NAMES)
            assert {row["time"]: row["count"] for row in rows}[START + DOUBTED * MINUTE] == len(NAMES)
        case "Active power by meter":
            for meter in (METER, OTHER):
                slots, values = truth.values(meter, "power.active.total")
                same([r for r in rows if r["meter"] == meter], "mean", by_bucket(slots, values, 5 * MINUTE, np.mean))
            holes = [r for r in rows if r["meter"] == METER and r["mean"] is None]
            assert len(holes) == 6  # half an hour of five-minute steps
        case "Energy per hour by meter":
            for meter in (METER, OTHER):
                hours = {
                    i.start_ns: i.micro / 1e6 for i in truth.intervals if (i.meter, i.resolution) == (meter, "hour")
                }
                same([r for r in rows if r["meter"] == meter], "last", hours)
        case "Measured share by meter":
            for meter in (METER, OTHER):
                mine = {i.start_ns: i.coverage for i in truth.intervals if (i.meter, i.resolution) == (meter, "15min")}
                same([r for r in rows if r["meter"] == meter], "min", mine)
        case "Last value of each meter":
            assert {row["meter"]: row["power"] for row in rows} == {
                meter: truth.values(meter, "power.active.total")[1][-1] for meter in (METER, OTHER)
            }
            assert {row["quality"] for row in rows} == {0}
        case "Quarter-hour amounts":
            same(rows, "last", {i.start_ns: i.micro / 1e6 for i in intervals})
        case "Measured share":
            same(rows, "last", {i.start_ns: i.coverage for i in intervals})
        case "Counters":
            slots, values = truth.values(METER, "energy.active.import")
            same(rows, "last", by_bucket(slots, values, 5 * MINUTE, lambda v: v[-1]))
        case "Active and reactive power" | "Phase voltages" | "Phase currents" | "Power factor":
            measurand = re.search(r"\"measurand\" = '([^']+)'", query)
            assert measurand
            slots, values = truth.values(METER, measurand.group(1))
            same(rows, "mean", by_bucket(slots, values, 5 * MINUTE, np.mean))
        case _:
            pytest.fail(f"nothing says what {title!r} should bring")
