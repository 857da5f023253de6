"""What is shipped is what was tested: a wheel, installed where no checkout is near, runs and finds its own files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("meterline", "collector", "gateway_firmware_py", "headend", "analytics", "config", "dashboards")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Installed:
    """A fresh virtual environment that holds the wheel and, by a .pth file, the checkout's third-party packages."""

    source: Path  # what the wheel was built from
    wheel: Path
    bin: Path
    site: Path

    def run(self, *command: str, cwd: Path, within: float = 60) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "METERLINE"))}
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            timeout=within,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )


def run(command: Sequence[str | Path], cwd: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build from a copy of the source (setuptools writes beside it), install without network and dependencies."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in SHIPPED:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", work, source], work)
    (wheel,) = work.glob("meterline-*.whl")

    run([sys.executable, "-m", "venv", "--without-pip", work / "venv"], work)
    paths = {"base": str(work / "venv"), "platbase": str(work / "venv")}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    scripts = Path(sysconfig.get_path("scripts", "venv", paths))
    python = scripts / "python"
    run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], work)
    # A line in a .pth file adds a folder but not that folder's own .pth files: the editable checkout stays invisible.
    (site / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return Installed(source, wheel, scripts, site)


def test_wheel_holds_our_packages_their_data_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"meterline", "collector", "gateway_firmware_py", "headend", "analytics"}
    for folder, package in (("config", "shipped_config"), ("dashboards", "shipped_dashboards")):
        files = [
            f.relative_to(installed.source / folder) for f in (installed.source / folder).rglob("*") if f.is_file()
        ]
        missing = {f.as_posix() for f in files if "__pycache__" not in f.parts and f.suffix != ".py"} - {
            name.removeprefix(f"meterline/{package}/") for name in names
        }
        assert missing == set(), f"{folder}/ does not travel whole"
    for package in ("meterline", "collector", "gateway_firmware_py", "headend", "analytics"):
        ours = {
            f.relative_to(installed.source).as_posix()
            for f in (installed.source / package).rglob("*")
            if f.is_file() and "__pycache__" not in f.parts
        }
        assert ours - names == set()
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_installed_code_is_the_wheel_not_the_checkout(installed: Installed, tmp_path: Path) -> None:
    done = installed.run(
        "python", "-c", "import meterline, analytics; print(meterline.__file__, analytics.__file__)", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(place).is_relative_to(installed.site) for place in done.stdout.split())


def test_wheel_and_checkout_are_the_same_software(installed: Installed, tmp_path: Path) -> None:
    """The identification is a digest over the code that measures and counts: packaging must not change a byte of it."""
    done = installed.run("meterline", "--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("meterline 0.1.0 (")
    tell = "from meterline.software import software_id; print(software_id())"
    here = subprocess.run(
        [sys.executable, "-c", tell], capture_output=True, text=True, timeout=60, cwd=installed.source, check=True
    )
    assert done.stdout == here.stdout


def test_shipped_sites_and_profiles_pass_check_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    done = installed.run("meterline", "check", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["profiles"] == len(list((installed.source / "config" / "profiles").glob("*.yaml")))
    assert sum(site["meters"] for site in report["sites"]) > 0
    assert list(tmp_path.iterdir()) == [], "check writes nothing"
