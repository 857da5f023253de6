"""Lives of a gateway process, and the fixtures of the tests that start some."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.gateway.fake_headend import FakeHeadend

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
    runs: dict[int, list[int]] = {}
    for batch in headend.batches():
        for poll in batch.polls:
            number = poll.numbers[0]
            assert isinstance(number, int)
            runs.setdefault(number // 1_000_000, []).append(number % 1_000_000)
    return runs


def assert_nothing_lost_or_doubled(headend: FakeHeadend) -> None:
    """Numbers without gaps, links without breaks, each poll of each life once and none left out before its end."""
    assert headend.problems == []
    assert headend.chain_breaks() == []
    for epoch in headend.received:
        seqs = [seq for e, seq in headend.stored if e == epoch]
        assert sorted(seqs) == list(range(1, max(seqs) + 1))
    for run, seen in polls_by_run(headend).items():
        assert sorted(seen) == list(range(len(seen))), f"run {run}"
