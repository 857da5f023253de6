"""Lives of a gateway process, and the fixtures of the tests that start some."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from meterline.wire import Batch
from tests.gateway.fake_headend import FakeHeadend
from tests.servers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Life:
    """One process; `said` is what it told its operator."""

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
        return self.log.read_text(encoding="utf-8")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(10)
        self._out.close()
        return code

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        if not self._out.closed:
            self._out.close()


def polls_by_run(headend: FakeHeadend) -> dict[int, list[int]]:
    """Run -> numbers of its polls, in order of (epoch, seq)."""
    return by_run(headend.batches())


def by_run(batches: list[Batch]) -> dict[int, list[int]]:
    """The same for these batches."""
    runs: dict[int, list[int]] = {}
    for batch in batches:
        for poll in batch.polls:
            number = poll.numbers[0]
            assert isinstance(number, int)
            runs.setdefault(number // 1_000_000, []).append(number % 1_000_000)
    return runs


def without_holes(headend: FakeHeadend) -> list[Batch] | None:
    """All batches, at a moment when no number is missing between them; None at another moment."""
    batches = headend.batches()
    seqs: dict[str, list[int]] = {}
    for batch in batches:
        seqs.setdefault(batch.epoch, []).append(batch.seq)
    return batches if all(found == list(range(1, len(found) + 1)) for found in seqs.values()) else None


def assert_nothing_lost_or_doubled(headend: FakeHeadend) -> None:
    """Numbers without gaps, links without breaks, each poll of each life once and none left out before its end.

    The gateway must be running: what is live goes first, so a hole may stand for a moment.
    """
    assert headend.problems == [], headend.problems
    batches = wait_until(lambda: without_holes(headend), within=20, what="a moment without holes")
    assert headend.problems == [], headend.problems
    assert headend.chain_breaks() == []
    for run, seen in by_run(batches or []).items():
        assert sorted(seen) == list(range(len(seen))), f"run {run}"
