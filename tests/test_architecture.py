"""The rooms of the house (DESIGN §2) and its few prohibitions, checked on the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("meterline", "collector", "gateway_firmware_py", "headend", "analytics")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

MOST_LINES = 500
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "tools"}
EDGE_LIVES_WITHOUT = (
    "duckdb",
    "fastapi",
    "grafana_api",
    "influxdb_client",
    "jinja2",
    "matplotlib",
    "numpy",
    "openpyxl",
    "plotly",
    "starlette",
    "uvicorn",
    "xlsxwriter",
)


def source_files(*folders: str) -> list[Path]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) >= len(folders), "the search found nothing: this test would prove nothing"
    return files


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


# ------------------------------------------------------------------------------------------------ packages and names


def test_every_folder_with_python_files_is_listed_in_pyproject() -> None:
    on_disk = {".".join(file.parent.relative_to(ROOT).parts) for file in source_files(*OURS)}
    data = set(PROJECT["tool"]["setuptools"]["package-dir"])
    assert on_disk == set(PROJECT["tool"]["setuptools"]["packages"]) - data


def test_folders_that_are_not_ours_to_import_hold_no_package() -> None:
    offenders = [
        name_of(f) for folder in ("config", "dashboards", "tests") for f in (ROOT / folder).rglob("__init__.py")
    ]
    assert offenders == []


def test_our_top_level_names_belong_to_us_alone() -> None:
    owners = packages_distributions()
    assert {name: set(owners.get(name, ())) for name in OURS} == {name: {"meterline"} for name in OURS}


def test_edge_requirements_are_the_first_part_of_the_dependencies() -> None:
    lines = (ROOT / "requirements" / "edge.txt").read_text(encoding="utf-8").splitlines()
    edge = [line for line in lines if line and not line.startswith("#")]
    assert edge == PROJECT["project"]["dependencies"][: len(edge)]
    names = {re.split(r"[<>=;\[ ]", requirement)[0].replace("-", "_").lower() for requirement in edge}
    assert names.isdisjoint(EDGE_LIVES_WITHOUT)


def test_constraints_pin_every_direct_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].replace("_", "-").lower() for line in lines if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"].values()
    asked = [*PROJECT["project"]["dependencies"], *(requirement for extra in extras for requirement in extra)]
    wanted = {re.split(r"[<>=;\[ ]", requirement)[0].replace("_", "-").lower() for requirement in asked}
    assert wanted - pinned == set()


# ------------------------------------------------------------------------------------------------ who imports whom

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({absent!r}))
names = []
for room in {rooms!r}:
    package = importlib.import_module(room)
    names += [room, *(m.name for m in pkgutil.walk_packages(package.__path__, room + "."))]
names = [n for n in names if not n.startswith("meterline.cli") and not n.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_edge_starts_without_server_packages() -> None:
    script = IMPORT_EVERYTHING.format(
        absent=EDGE_LIVES_WITHOUT, rooms=("meterline", "collector", "gateway_firmware_py")
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10


def test_command_line_starts_without_server_packages() -> None:
    script = f"import sys; sys.modules.update(dict.fromkeys({EDGE_LIVES_WITHOUT!r})); import meterline.cli"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr


def importlinter_settings() -> str:
    """Give pyproject's import-linter tables as text, for a copy that checks a toy tree."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    begin = text.index("[tool.importlinter]")
    return text[begin:]


def lint_toy(tree: Path, module: str, line: str) -> str:
    """Build empty rooms with one offending import, and return what lint-imports says of them."""
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        if "shipped" not in package:
            folder = tree.joinpath(*package.split("."))
            folder.mkdir(parents=True)
            (folder / "__init__.py").touch()
    for home in ("collector.transports", "collector.protocols.modbus", "headend.stores.influxdb", "meterline.wire"):
        tree.joinpath(*home.split(".")).with_suffix(".py").touch()
    tree.joinpath(*module.split(".")).with_suffix(".py").write_text(line + "\n", encoding="utf-8")
    (tree / "pyproject.toml").write_text(importlinter_settings(), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tree, check=False)
    assert ("0 broken" in done.stdout) == (done.returncode == 0), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("meterline.plant", "import collector", "the kernel imports none of us"),
        ("meterline.plant", "import numpy", "the edge starts on a box without numpy"),
        ("meterline.plant", "import typer", "typer and rich live"),
        ("meterline.verify.judge", "import meterline.wire", "verify: the standard library"),
        ("collector.plan", "import headend.stores", "edge and head-end meet only"),
        ("collector.plan", "import gateway_firmware_py", "never upwards"),
        ("collector.bus", "import meterline.cli", "nobody imports the command line"),
        ("collector.bus", "import serial", "pyserial lives"),
        ("collector.plan", "from pymodbus.pdu import ModbusPDU", "pymodbus lives"),
        ("collector.protocols.dlt645", "import logging", "no I/O and no logging"),
        ("gateway_firmware_py.journal", "import numpy", "the edge starts on a box without numpy"),
        ("gateway_firmware_py.health", "import paho.mqtt.client", "paho-mqtt lives"),
        ("headend.rollup", "import collector", "the head-end knows nothing of buses"),
        ("headend.rollup", "import influxdb_client", "influxdb-client lives"),
        ("headend.rollup", "import duckdb", "duckdb lives"),
        ("headend.rollup", "import grafana_api", "grafana-api lives"),
        ("analytics.series", "import headend", "never upwards"),
        ("analytics.series", "import sqlite3", "arrays in, findings out"),
        ("analytics.detectors.flatline", "import logging", "arrays in, findings out"),
    ],
)
def test_import_contracts_bite(tmp_path: Path, module: str, line: str, broken: str) -> None:
    said = " ".join(lint_toy(tmp_path, module, line).split())
    assert re.search(re.escape(broken) + r"[^\n]*? BROKEN", said), said


def test_import_contracts_allow_the_homes(tmp_path: Path) -> None:
    allowed = lint_toy(tmp_path, "collector.transports", "import serial, asyncio, meterline.wire")
    assert "0 broken" in allowed


# ------------------------------------------------------------------------------------------------ habits


def test_no_module_is_too_long_to_read() -> None:
    lengths = {name_of(f): len(f.read_text(encoding="utf-8").splitlines()) for f in source_files(*OURS, "tests")}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [name_of(f) for f in source_files(*OURS) if f.stem in SAYS_NOTHING] == []


def test_everything_is_caught_in_one_place_only() -> None:
    """A blanket `except` hides faults; the supervisor alone may catch what it then restarts."""
    offenders = [
        f"{name_of(file)}:{node.lineno}"
        for file in source_files(*OURS)
        if file.name != "supervise.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and (node.type is None or "'Exception'" in ast.dump(node.type))
    ]
    assert offenders == []


def test_nothing_is_left_for_later() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|pass  # later|raise NotImplementedError")
    here = Path(__file__)
    offenders = [
        f"{name_of(file)}:{number}"
        for file in source_files(*OURS, "tests", "scripts")
        if file != here
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert offenders == []


def sleeps_outside_loops(tree: ast.AST) -> Iterator[int]:
    """Give the lines of `time.sleep(...)` and `asyncio.sleep(more than 0)` that are in no loop with a condition."""
    in_loops = {
        id(node)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
        for node in ast.walk(loop)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "sleep":
            continue
        module = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        yields_only = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if module in ("time", "asyncio") and not yields_only and id(node) not in in_loops:
            yield node.lineno


def test_tests_wait_for_conditions_and_never_just_sleep() -> None:
    assert list(sleeps_outside_loops(ast.parse("import time\ntime.sleep(1)"))) == [2]
    assert list(sleeps_outside_loops(ast.parse("while not ready():\n    time.sleep(1)"))) == []
    offenders = [
        f"{name_of(file)}:{line}"
        for file in source_files("tests")
        for line in sleeps_outside_loops(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert offenders == []
