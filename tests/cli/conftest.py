from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import SITE, Result


@pytest.fixture
def site_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small right site file; also the current folder."""
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command in this process: ``cli("check", "site.yaml")``."""
    from meterline.cli import main

    monkeypatch.setenv("METERLINE_LANG", "en")

    def run(*args: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["meterline", *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Result(left.value.code if isinstance(left.value.code, int) else int(bool(left.value.code)), out, err)

    return run
