"""A run that left something out, or became slow, says so and cannot be mistaken for a full one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_pytest(*arguments: str, skip: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"METERLINE_SKIP_SERVERS": skip}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=ROOT, env=environment, check=False)


def test_servers_left_out_are_counted_aloud_with_the_reason() -> None:
    done = run_pytest("tests/servers/test_broker.py", skip="mosquitto")
    assert "SKIPPED SERVERS: 5 tests did not run" in done.stdout
    assert "SKIPPED SERVERS: 5 x mosquitto: left out by METERLINE_SKIP_SERVERS" in done.stdout
    assert "5 skipped" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_suite_over_its_budget_fails_the_run_and_is_named(tmp_path: Path, workers: list[str]) -> None:
    """The budgets are read from pyproject.toml, so a copy of the test rig with a budget of nothing must fail."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "servers").symlink_to(ROOT / "tests" / "servers")
    for name in ("pyproject.toml", "tests/conftest.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace('"others" = 60', '"others" = 0'), encoding="utf-8")
    quick = tmp_path / "tests" / "slow_suite" / "test_it.py"
    quick.parent.mkdir()
    quick.write_text("def test_it() -> None:\n    assert sum(range(1000)) == 499500\n", encoding="utf-8")
    arguments = [str(quick), f"--rootdir={tmp_path}", "-c", str(tmp_path / "pyproject.toml"), *workers]
    assert run_pytest(*arguments).returncode == 0
    kept = run_pytest(*arguments, "--keep-budget")
    assert kept.returncode == 1
    assert "1 passed" in kept.stdout
    (line,) = [line for line in kept.stdout.splitlines() if line.startswith("slow_suite")]
    assert line.endswith("OVER BUDGET")
