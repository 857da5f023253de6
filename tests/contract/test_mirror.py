"""What the InfluxDB mirror shows, on a real InfluxDB 1.6.7: readings as primary values, and the intervals."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.catalogue import Catalogue
from headend.intervals import Interval
from headend.mirror import Mirror
from headend.rollup import Rollup
from headend.stores.api import Span
from headend.stores.influxdb import InfluxBusy, InfluxReader, InfluxWriter, Lines, Refused, quoted, tag
from headend.stores.memory import MemoryStore
from headend.supervise import Supervisor
from meterline.clock import ManualClock
from meterline.errors import StoreUnavailable
from meterline.plant import Plant
from meterline.readings import Quality
from meterline.settings import InfluxTarget
from tests.headend.gateway_twin import ENERGY, MINUTE, POWER, T0, Twin, poll
from tests.headend.test_rollup import METER, plant_of
from tests.servers.influx_server import InfluxServer

EVER = Span(0, 2**62)
RATIO = {"valid_from": dt.date(2026, 1, 1), "ct": "200/5"}
LATER = {"valid_from": dt.date(2026, 3, 3), "ct": "400/5"}
MIDNIGHT = int(dt.datetime.fromisoformat("2026-03-03T00:00:00+08:00").timestamp()) * 10**9
SITE = "s"


class Rig:
    """Store, catalogue and mirror, without threads."""

    def __init__(self, folder: Path, url: str, plant: Plant) -> None:
        self.plant, self.twin, self.store = plant, Twin(), MemoryStore()
        self.catalogue, self.clock = Catalogue(folder), ManualClock(T0)
        target = InfluxTarget(url=url, bucket="meterline")
        self.writer, self.reader = InfluxWriter(target, folder), InfluxReader(target, folder)
        self.mirror = self.another()

    def another(self) -> Mirror:
        return Mirror(self.plant, self.store, self.catalogue, self.writer, self.clock, Supervisor())

    def follow(self) -> int:
        steps = 0
        while self.mirror.step():
            steps += 1
        return steps

    def series(self, measurand: str, span: Span = EVER, meter: str = METER) -> list[tuple[int, float | None, int]]:
        return self.reader.series(SITE, meter, measurand, span)

    def close(self) -> None:
        self.writer.close()
        self.reader.close()
        self.catalogue.close()


@pytest.fixture
def rig(influxdb: InfluxServer, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "data", influxdb.url, plant_of((RATIO, LATER)))
    yield made
    made.close()


@pytest.mark.needs_influxdb
def test_readings_are_shown_as_primary_values(rig: Rig) -> None:
    rig.store.append(
        [rig.twin.block(poll(METER, slot, 12345, 5000), at_ns=slot) for slot in (MIDNIGHT - MINUTE, MIDNIGHT)]
    )
    rig.follow()
    assert rig.series(ENERGY) == [(MIDNIGHT - MINUTE, 123.45 * 40, 0), (MIDNIGHT, 123.45 * 80, 0)]
    assert rig.series(POWER, Span(MIDNIGHT - MINUTE, MIDNIGHT)) == [(MIDNIGHT - MINUTE, 200.0, 0)]
    assert rig.series("heat") == rig.series(POWER, meter="nobody") == []


@pytest.mark.needs_influxdb
def test_absence_is_a_quality_and_no_zero(rig: Rig, influxdb: InfluxServer) -> None:
    bits = (int(Quality.SUSPECT), int(Quality.INVALID))
    rig.store.append([rig.twin.block(poll(METER, T0, 100, None, qualities=bits))])
    rig.follow()
    assert rig.series(ENERGY) == [(T0, 40.0, bits[0])]
    assert rig.series(POWER) == [(T0, None, bits[1])]
    assert influxdb.query('SELECT count("value") FROM "reading" WHERE "measurand" = \'power.active.total\'') == []


@pytest.mark.needs_influxdb
def test_writing_again_changes_nothing_and_a_mark_is_kept(rig: Rig, influxdb: InfluxServer) -> None:
    rig.store.append([rig.twin.block(poll(METER, T0 + k * MINUTE, k, k)) for k in range(450)])
    assert rig.follow() == 3
    rig.mirror = rig.another()
    assert rig.follow() == 0
    before = rig.series(ENERGY)
    rig.catalogue.set_mark("mirror", "readings", "{}")
    assert rig.follow() == 3
    assert rig.series(ENERGY) == before
    assert len(before) == 450
    assert influxdb.query('SELECT count("value") FROM "reading"')[0]["count"] == 900


@pytest.mark.needs_influxdb
def test_a_revised_interval_replaces_the_old_one(rig: Rig, influxdb: InfluxServer) -> None:
    def roll() -> None:
        Rollup(rig.plant, rig.store, rig.catalogue).run(T0 + 100 * MINUTE, Supervisor().isolated)
        rig.follow()

    rig.store.append([rig.twin.block(poll(METER, T0 + k * MINUTE, 10 * k, 0)) for k in (*range(40), *range(60, 100))])
    roll()
    question = (
        'SELECT "value", "coverage", "quality", "revision" FROM "interval"'
        " WHERE \"site\" = 's' AND \"resolution\" = '15min' AND \"measurand\" = 'energy.active.import'"
    )
    first = influxdb.query(question)
    rig.store.append([rig.twin.block(poll(METER, T0 + k * MINUTE, 10 * k + 5, 0)) for k in range(40, 60)])
    roll()
    second = influxdb.query(question)
    total = 99 * 10 * 0.01 * 40
    assert sum(row["value"] for row in first) == pytest.approx(total, abs=1e-9)
    assert sum(row["value"] for row in second) == pytest.approx(total, abs=1e-9)
    assert len(first) == len(second)
    assert {row["revision"] for row in first} == {1}
    assert {row["revision"] for row in second} == {1, 2}
    assert min(row["coverage"] for row in second[1:-1]) > min(row["coverage"] for row in first[1:-1])
    kept = rig.catalogue.intervals(METER, ENERGY, "15min", EVER)
    assert [(row["time"], row["value"]) for row in second] == [(i.start_ns, i.micro / 1e6) for i in kept]


@pytest.mark.needs_influxdb
def test_a_corrected_ratio_writes_everything_again(rig: Rig) -> None:
    rig.store.append([rig.twin.block(poll(METER, T0, 100, 1000))])
    rig.mirror._start_anew_after_new_ratios()
    rig.follow()
    assert rig.series(POWER) == [(T0, 40.0, 0)]
    rig.plant = plant_of(({"valid_from": dt.date(2026, 1, 1), "ct": "300/5"},))
    rig.mirror = rig.another()
    rig.mirror._start_anew_after_new_ratios()
    rig.follow()
    assert rig.series(POWER) == [(T0, 60.0, 0)]


@pytest.mark.needs_influxdb
def test_a_type_conflict_is_named_and_the_others_are_in(rig: Rig, influxdb: InfluxServer) -> None:
    good = [f"reading,measurand=x,meter=m,site=s value={k}.5,quality=0i {T0 + k}" for k in range(40)]
    bad = [f'reading,measurand=x,meter=m,site=s value="text",quality=0i {T0 + 100}', "nonsense"]
    rig.writer.write(good[:1])
    refused = rig.writer.write(good[1:20] + bad[:1] + good[20:] + bad[1:])
    assert [r.line for r in refused] == bad
    assert "conflict" in refused[0].reason
    assert influxdb.query('SELECT count("value") FROM "reading"')[0]["count"] == 40


@pytest.mark.needs_influxdb
def test_odd_names_stay_what_they_are(rig: Rig, influxdb: InfluxServer) -> None:
    names = ["a b", "a,b=c", "表1", "it's", 'say "hi"']
    rig.store.append([rig.twin.block(*(poll(name, T0, 100, 1) for name in names))])
    rig.follow()
    for name in names:
        assert rig.series(ENERGY, meter=name) == [(T0, 1.0, 0)], name
    assert influxdb.query("SELECT * FROM \"reading\" WHERE \"meter\" = 'x' OR 'a'='a'") != []


@pytest.mark.needs_influxdb
def test_names_are_there_to_be_joined(rig: Rig, influxdb: InfluxServer) -> None:
    rig.writer.write([*Lines(rig.plant).of_meters(T0)])
    (row,) = influxdb.query('SELECT * FROM "meter"')
    assert (row["meter"], row["name_zh"], row["carrier"], row["energy_user"]) == (METER, "m", "electricity", "u")


@pytest.mark.needs_influxdb
def test_a_database_that_is_away_or_missing_moves_no_mark(rig: Rig, influxdb: InfluxServer) -> None:
    rig.store.append([rig.twin.block(poll(METER, T0, 100, 1))])
    influxdb.query('DROP DATABASE "meterline"')
    with pytest.raises(StoreUnavailable, match="no bucket 'meterline'"):
        rig.mirror.step()
    influxdb.kill()
    with pytest.raises(StoreUnavailable):
        rig.mirror.step()
    assert rig.catalogue.mark("mirror", "readings") is None
    influxdb.start()
    influxdb.query('CREATE DATABASE "meterline"')
    rig.follow()
    assert rig.series(ENERGY) == [(T0, 40.0, 0)]


# --- answers that are easier to have from a stand-in ----------------------------------------------------------------


class Answers(ThreadingHTTPServer):
    """Answers each write with the next status told, and remembers the bodies."""

    daemon_threads = True

    def __init__(self, *statuses: tuple[int, dict[str, str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.statuses = list(statuses)
        self.tokens: list[str | None] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: Answers

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.append(self.headers.get("Authorization"))
        status, headers, words = self.server.statuses.pop(0)
        body = json.dumps({"message": words}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep silent."""


@pytest.fixture
def answering() -> Iterator[list[Answers]]:
    servers: list[Answers] = []
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def written(
    answering: list[Answers], folder: Path, *statuses: tuple[int, dict[str, str], str], lines: int = 1
) -> list[Refused]:
    server = Answers(*statuses)
    answering.append(server)
    (folder / "token").write_text("s3cret\n", encoding="utf-8")
    target = InfluxTarget(url=f"http://127.0.0.1:{server.server_address[1]}", token_file="token")
    writer = InfluxWriter(target, folder)
    try:
        return writer.write([f"reading value={k}" for k in range(lines)])
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        (401, {}, "refuses the token"),
        (403, {}, "refuses the token"),
        (404, {}, "no bucket 'meterline'"),
        (500, {}, "500 because"),
    ],
)
def test_answers_by_what_they_mean(
    answering: list[Answers], tmp_path: Path, status: int, headers: dict[str, str], says: str
) -> None:
    with pytest.raises(StoreUnavailable, match=says) as caught:
        written(answering, tmp_path, (status, headers, "because"))
    assert "s3cret" not in str(caught.value)
    assert answering[0].tokens == ["Token s3cret"]


@pytest.mark.parametrize(("status", "after", "wait_s"), [(429, "7", 7.0), (503, None, 5.0)])
def test_a_busy_server_says_how_long(
    answering: list[Answers], tmp_path: Path, status: int, after: str | None, wait_s: float
) -> None:
    with pytest.raises(InfluxBusy) as caught:
        written(answering, tmp_path, (status, {"Retry-After": after} if after else {}, "slow down"))
    assert caught.value.wait_s == wait_s


def test_too_large_is_halved(answering: list[Answers], tmp_path: Path) -> None:
    large, fine = (413, dict[str, str](), "too large"), (204, dict[str, str](), "")
    assert written(answering, tmp_path, large, fine, large, fine, fine, lines=4) == []
    assert answering[0].statuses == []


# --- text ----------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=30))
def test_a_tag_cannot_end_itself(text: str) -> None:
    written_as = tag(text)
    assert written_as
    plain = written_as.replace("\\,", "").replace("\\=", "").replace("\\ ", "")
    assert not set(plain) & set(", =\n\\")


@given(st.text(max_size=30))
def test_a_literal_cannot_end_itself(text: str) -> None:
    inside = quoted(text)[1:-1]
    assert "'" not in inside.replace("\\\\", "").replace("\\'", "")


def test_an_interval_without_energy_has_no_value() -> None:
    interval = Interval(METER, ENERGY, "15min", T0, T0 + 1, 0, None, 0.0, int(Quality.MISSING), open=False)
    assert Lines(plant_of()).of_interval(interval) == (
        "interval,measurand=energy.active.import,meter=m1,resolution=15min,site=s"
        f" coverage=0.0,quality=1i,revision=1i {T0}"
    )
