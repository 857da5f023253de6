"""What is written about the commands is what they are; what they say exists in both languages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from meterline.cli.app import app
from meterline.cli.texts import TEXTS, language, problem_text
from tests.cli.running import ROOT, SITE

EDGE_COMMANDS = ("check", "scan", "read", "monitor", "import-points", "export-points", "gateway")


def _commands() -> list[str]:
    return [name for name, _ in _group().commands.items()]


def _group() -> typer.core.TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group


def test_the_page_of_commands_names_each_with_every_option() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    chapters = dict(re.findall(r"^## `meterline ([a-z-]+)[^\n]*\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert len(_commands()) >= 11
    assert set(chapters) == set(_commands())
    for name, command in _group().commands.items():
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and not getattr(parameter, "hidden", False) and option != "--help":
                    assert f"`{option}" in chapters[name], f"{name}: {option} is not in docs/commands.md"


def test_every_sentence_that_is_said_exists() -> None:
    said: set[str] = set()
    for path in (ROOT / "meterline" / "cli").glob("*.py"):
        said |= set(re.findall(r"""["']((?:[a-z]+)\.[a-z_0-9]+)["']""", path.read_text("utf-8")))
    keys = set(TEXTS.rows("en"))
    families = {key.split(".")[0] for key in keys if "." in key}
    used = {
        key for key in said if key.split(".")[0] in families and not key.endswith((".yaml", ".py", ".lock", ".json"))
    }
    assert len(used) > 60
    assert used <= keys


@pytest.mark.parametrize(
    ("wish", "environment", "speaks"),
    [
        ("zh", {}, "zh"),
        (None, {"METERLINE_LANG": "zh_CN"}, "zh"),
        (None, {"LANG": "zh_CN.UTF-8"}, "zh"),
        ("en", {"METERLINE_LANG": "zh"}, "en"),
        (None, {"METERLINE_LANG": "en", "LC_ALL": "zh_CN.UTF-8"}, "en"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language_is_the_option_s_then_the_environment_s(
    monkeypatch: pytest.MonkeyPatch, wish: str | None, environment: dict[str, str], speaks: str
) -> None:
    for name in ("METERLINE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language(wish) == speaks


def test_a_problem_without_translation_is_said_as_it_is() -> None:
    assert problem_text("something new", "zh") == "something new"
    assert problem_text("no bus 'x'", "zh") == "没有总线 'x'"


LIGHT = """
import sys
missing = ("numpy", "duckdb", "fastapi", "uvicorn", "jinja2", "influxdb_client", "grafana_api", "matplotlib", "plotly",
           "xlsxwriter", "openpyxl", "aiosmtpd")
sys.modules.update(dict.fromkeys(missing))
from meterline.cli import main
main()
"""


def _light(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("command", EDGE_COMMANDS)
def test_edge_commands_start_without_the_server_s_libraries(tmp_path: Path, command: str) -> None:
    done = _light(command, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_check_and_a_csv_list_work_without_the_server_s_libraries(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE, "utf-8")
    assert _light("check", cwd=tmp_path).returncode == 0
    assert _light("export-points", "points.csv", "--site", "site.yaml", cwd=tmp_path).returncode == 0
    assert _light("import-points", "points.csv", cwd=tmp_path).returncode == 0
    (tmp_path / "points.xlsx").write_bytes(b"PK\x03\x04")
    refused = _light("import-points", "points.xlsx", cwd=tmp_path)
    assert refused.returncode == 2
    assert ".csv" in refused.stderr
