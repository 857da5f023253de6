"""The whole gateway against a real broker and a head-end that misbehaves."""

from __future__ import annotations

import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.gateway.conftest import Begin
from tests.gateway.fake_headend import FakeHeadend
from tests.gateway.life import assert_nothing_lost_or_doubled, polls_by_run
from tests.servers.broker import Mosquitto
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until

pytestmark = [pytest.mark.needs_mosquitto, pytest.mark.slow]


def wait_for_batches(headend: FakeHeadend, count: int, within: float = 15) -> None:
    wait_until(lambda: len(headend.stored) >= count, within=within, what=f"{count} batches")


def wait_until_all_acknowledged(headend: FakeHeadend) -> None:
    """Until the gateway's health says that nothing waits any more."""
    wait_until(
        lambda: headend.health[-1].next_seq - 1 - headend.health[-1].acked < 20 and not headend.health[-1].troubles,
        within=30,
        what="the backlog to be gone",
    )


def test_a_clean_stop_is_quick_and_the_rest_follows_at_the_next_start(
    mosquitto: Mosquitto, headend: FakeHeadend, begin: Begin
) -> None:
    life = begin(mosquitto.port, 1)
    wait_for_batches(headend, 20)
    began_s = time.monotonic()
    assert life.end(signal.SIGTERM) == 0
    assert time.monotonic() - began_s < 5
    wait_until(lambda: headend.health[-1].state == "stopping", what="the farewell")
    assert headend.health[-1].meters["m1"][1] == ""
    assert re.search(r"connected to the broker at 127\.0\.0\.1:\d+", life.said())
    begin(mosquitto.port, 2)
    wait_until(lambda: 2 in polls_by_run(headend), within=15, what="the second life")
    wait_until_all_acknowledged(headend)
    assert_nothing_lost_or_doubled(headend)


def test_kill_9_again_and_again(mosquitto: Mosquitto, headend: FakeHeadend, begin: Begin) -> None:
    for run in range(1, 5):
        life = begin(mosquitto.port, run)
        wait_for_batches(headend, len(headend.stored) + 7 * run)
        life.end(signal.SIGKILL)
    wait_until(lambda: headend.health[-1].state == "gone", what="the last will")
    begin(mosquitto.port, 5)
    wait_until(lambda: 5 in polls_by_run(headend), within=15, what="the last life")
    assert_nothing_lost_or_doubled(headend)
    assert len(headend.received) == 1, "a killed process goes on in its epoch"


def test_no_broker_is_one_line_and_nothing_is_lost_meanwhile(
    tmp_path: Path, mosquitto: Mosquitto, headend: FakeHeadend, begin: Begin
) -> None:
    mosquitto.stop()
    life = begin(mosquitto.port, 1)
    wait_until(lambda: "no broker at" in life.said(), what="the line")
    wait_until(lambda: (tmp_path / "run1.log").stat().st_mtime < time.time() - 1.5, within=8, what="a quiet while")
    assert life.said().count("no broker at") == 1
    assert "kept in the journal" in life.said()
    mosquitto.start()
    wait_for_batches(headend, 100)
    wait_until_all_acknowledged(headend)
    assert_nothing_lost_or_doubled(headend)


def test_a_broker_killed_with_its_database_gone(mosquitto: Mosquitto, headend: FakeHeadend, begin: Begin) -> None:
    begin(mosquitto.port, 1)
    wait_for_batches(headend, 20)
    headend.stop()  # the broker takes more batches for it, and they are lost with the broker
    taken = len(headend.stored)
    wait_until(lambda: mosquitto.log().count("Received PUBLISH from meterline-gw1") > taken + 8, what="more batches")
    mosquitto.kill()
    shutil.rmtree(mosquitto.directory / "data")
    (mosquitto.directory / "data").mkdir()
    mosquitto.start()
    headend.start()
    wait_for_batches(headend, len(headend.stored) + 40, within=20)
    wait_until_all_acknowledged(headend)
    assert_nothing_lost_or_doubled(headend)


def test_a_restart_learns_from_the_retained_acknowledgement(
    mosquitto: Mosquitto, headend: FakeHeadend, begin: Begin, tmp_path: Path
) -> None:
    life = begin(mosquitto.port, 1)
    wait_for_batches(headend, 40)
    wait_until_all_acknowledged(headend)
    life.end(signal.SIGKILL)
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (tmp_path / "gateway-data" / name).unlink(missing_ok=True)
    doubles = headend.doubles
    begin(mosquitto.port, 2)
    wait_until(lambda: len(polls_by_run(headend).get(2, ())) > 20, what="the second life")
    wait_until_all_acknowledged(headend)
    assert headend.doubles - doubles <= 20, "only what was under way is sent again"
    assert_nothing_lost_or_doubled(headend)


def test_an_old_copy_of_the_disk_overwrites_nothing(
    mosquitto: Mosquitto, headend: FakeHeadend, begin: Begin, tmp_path: Path
) -> None:
    data = tmp_path / "gateway-data"
    life = begin(mosquitto.port, 1)
    wait_for_batches(headend, 10)
    life.end(signal.SIGTERM)
    shutil.copytree(data, tmp_path / "backup")
    life = begin(mosquitto.port, 2)
    wait_for_batches(headend, len(headend.stored) + 30)
    wait_until_all_acknowledged(headend)
    life.end(signal.SIGTERM)
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "backup", data)
    begin(mosquitto.port, 3)
    wait_until(lambda: len(polls_by_run(headend).get(3, ())) > 30, within=20, what="the third life")
    wait_until_all_acknowledged(headend)
    assert len(headend.received) == 2
    assert_nothing_lost_or_doubled(headend)


def test_a_wiped_store_gets_everything_again(mosquitto: Mosquitto, headend: FakeHeadend, begin: Begin) -> None:
    begin(mosquitto.port, 1)
    wait_for_batches(headend, 40)
    wait_until_all_acknowledged(headend)
    before = set(headend.stored)
    with headend.lock:
        headend.stored.clear()
        headend.received.clear()
    wait_until(lambda: before <= set(headend.stored), within=20, what="all of it again")
    assert_nothing_lost_or_doubled(headend)


def test_a_second_instance_is_refused(mosquitto: Mosquitto, headend: FakeHeadend, begin: Begin) -> None:
    first = begin(mosquitto.port, 1)
    wait_for_batches(headend, 1)
    second = begin(mosquitto.port, 2)
    assert second.wait() == 3
    assert f"process {first.process.pid} already runs this gateway" in second.said()


def test_nothing_listens_and_sigterm_still_ends_at_once(begin: Begin) -> None:
    life = begin(free_port(), 1)
    wait_until(lambda: "no broker" in life.said(), what="the line")
    began_s = time.monotonic()
    assert life.end(signal.SIGTERM) == 0
    assert time.monotonic() - began_s < 5
