"""The whole gateway against a real broker and a head-end that is not ours to trust."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_firmware_py.files import DiskFiles
from gateway_firmware_py.keys import device_key
from meterline.wire import Ack
from tests.gateway.fake_headend import FakeHeadend
from tests.servers.broker import Mosquitto
from tests.servers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.needs_mosquitto, pytest.mark.slow]


class Process:
    """One life of the gateway."""

    def __init__(self, folder: Path, port: int, run: int, rate: float = 200) -> None:
        self.log = folder / f"run{run}.log"
        self._out = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.gateway_process", str(folder), str(port), str(run), str(rate)],
            cwd=ROOT,
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )

    def said(self) -> str:
        return self.log.read_text()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(10)
        self._out.close()
        return code

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        if not self._out.closed:
            self._out.close()


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for life in started:
        life.clean_up()


@pytest.fixture
def headend(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[FakeHeadend]:
    (tmp_path / "gateway-data").mkdir()
    key = device_key(DiskFiles(), tmp_path / "gateway-data")
    headend = FakeHeadend(mosquitto.port, key.public_key())
    headend.start()
    yield headend
    headend.stop()


def numbers(headend: FakeHeadend) -> dict[int, list[int]]:
    """Run -> numbers of its polls, in order of (epoch, seq)."""
    runs: dict[int, list[int]] = {}
    for batch in headend.batches():
        for poll in batch.polls:
            number = poll.numbers[0]
            assert isinstance(number, int)
            runs.setdefault(number // 1_000_000, []).append(number % 1_000_000)
    return runs


def assert_nothing_lost_or_doubled(headend: FakeHeadend) -> None:
    assert headend.problems == []
    assert headend.chain_breaks() == []
    for epoch in headend.received:
        seqs = [seq for e, seq in headend.stored if e == epoch]
        assert sorted(seqs) == list(range(1, max(seqs) + 1))
    for run, seen in numbers(headend).items():
        assert sorted(seen) == list(range(len(seen))), f"run {run}"


def test_polls_arrive_and_a_clean_stop_leaves_nothing_behind(
    tmp_path: Path, mosquitto: Mosquitto, headend: FakeHeadend, lives: list[Process]
) -> None:
    life = Process(tmp_path, mosquitto.port, 1)
    lives.append(life)
    wait_until(lambda: len(headend.stored) >= 20, within=15, what="20 batches")
    assert life.end(signal.SIGTERM) == 0
    wait_until(lambda: headend.health and headend.health[-1].state == "stopping", what="the farewell")
    assert_nothing_lost_or_doubled(headend)
    assert headend.health[-1].next_seq == len(headend.stored) + 1 or headend.health[-1].figures["backlog"] > 0
    assert "connected to the broker" in life.said()


def test_kill_9_again_and_again_loses_and_doubles_nothing(
    tmp_path: Path, mosquitto: Mosquitto, headend: FakeHeadend, lives: list[Process]
) -> None:
    for run in range(1, 6):
        life = Process(tmp_path, mosquitto.port, run)
        lives.append(life)
        before = len(headend.stored)
        wait_until(lambda before=before: len(headend.stored) > before + 7 * run, within=15, what="batches")
        life.end(signal.SIGKILL)
    life = Process(tmp_path, mosquitto.port, 6)
    lives.append(life)
    wait_until(lambda: 6 in numbers(headend), within=15, what="the last life")
    life.end(signal.SIGTERM)
    assert_nothing_lost_or_doubled(headend)
    assert len(headend.received) == 1, "a killed process goes on in its epoch"
