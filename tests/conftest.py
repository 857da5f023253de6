"""What every test gets: real servers as fixtures, a loud count of what was skipped, and a time budget per suite."""

from __future__ import annotations

import os
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.programs import NEEDS, SKIP_WORD, why_missing

pytest_plugins = [
    "tests.servers.broker",
    "tests.servers.browser",
    "tests.servers.flaky_link",
    "tests.servers.influx_server",
    "tests.servers.modbus",
    "tests.servers.serial_lines",
    "tests.servers.smtp",
]

ROOT = Path(__file__).resolve().parent.parent
BUDGET_SECONDS: dict[str, float] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "meterline"
]["test-budget-seconds"]

# A shared machine stalls now and then: a slow example is no bug. `ci` repeats the same examples in every run.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--keep-budget", action="store_true", help="fail when a suite takes longer than pyproject.toml allows"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose server is not there, with the reason that `make servers` wrote down."""
    for marker, names in NEEDS.items():
        if item.get_closest_marker(marker):
            for name in names:
                if reason := why_missing(name):
                    pytest.skip(f"{SKIP_WORD}: {name}: {reason}")
    if item.get_closest_marker("needs_root") and (not hasattr(os, "geteuid") or os.geteuid() != 0):
        pytest.skip(f"{SKIP_WORD}: root: this test makes network namespaces or mounts")


def suite_of(path: str) -> str:
    """Name the suite a test file belongs to: the first folder below tests/, or `.` for the files beside them."""
    parts = Path(path).parts
    below = parts[parts.index("tests") + 1 :] if "tests" in parts else parts
    return below[0] if len(below) > 1 else "."


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say aloud what was not tested for want of a server, and what each suite cost against its budget."""
    missing: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if SKIP_WORD in reason:
            missing[reason.split(f"{SKIP_WORD}: ", 1)[1]] += 1
    if missing:
        terminalreporter.section(
            f"SKIPPED SERVERS: {sum(missing.values())} tests did not run", sep="!", red=True, bold=True
        )
        for reason, count in missing.most_common():
            terminalreporter.write_line(f"SKIPPED SERVERS: {count} x {reason}")

    spent = spent_seconds(terminalreporter)
    if spent:
        terminalreporter.section("seconds per suite (budget: pyproject.toml, tool.meterline)")
    for suite, seconds in sorted(spent.items()):
        over = seconds > budget_of(suite)
        line = f"{suite:<12} {seconds:7.1f} s of {budget_of(suite):.0f} s{'   OVER BUDGET' if over else ''}"
        terminalreporter.write_line(line, red=over)


def budget_of(suite: str) -> float:
    return BUDGET_SECONDS.get(suite, BUDGET_SECONDS["others"])


def spent_seconds(reporter: pytest.TerminalReporter) -> dict[str, float]:
    """Sum what the tests of each suite took, set-up and tear-down included."""
    spent: defaultdict[str, float] = defaultdict(float)
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent[suite_of(report.nodeid.split("::")[0])] += report.duration
    return spent


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With `--keep-budget`, a suite that became slow is a failure, not a habit."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("--keep-budget") or not isinstance(reporter, pytest.TerminalReporter):
        return
    if exitstatus == pytest.ExitCode.OK and any(s > budget_of(suite) for suite, s in spent_seconds(reporter).items()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
