"""`make setup` on a machine where something is missing: it names the thing and the line that installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The script asks an interpreter whether it is new enough and whether it has venv; these stand-ins answer that.
TOO_OLD = "exit 1\n"
WITHOUT_VENV = """case "$2" in
    *version_info*"(3, 11)"*) exit 0 ;;
    *ensurepip*) exit 1 ;;
    *) echo python3.12 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a checkout that was never set up, with a PATH folder `bin` for stand-ins."""
    tree = tmp_path / "checkout"
    (tree / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup.sh", tree / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tree)
    (tree / "bin").mkdir()
    for tool in ("sh", "dirname", "cat", "cksum", "rm"):
        path = shutil.which(tool)
        assert path
        (tree / "bin" / tool).symlink_to(path)
    return tree


def stand_in(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + body, encoding="utf-8")
    path.chmod(0o755)


def setup(checkout: Path, kind: str = "runtime") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout / "bin"), "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        ["/bin/sh", "scripts/setup.sh", kind],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_no_python_at_all(checkout: Path) -> None:
    done = setup(checkout)
    assert done.returncode == 1
    assert "sudo apt-get install -y python3 python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_only_an_old_python(checkout: Path) -> None:
    stand_in(checkout / "bin" / "python3", TOO_OLD)
    done = setup(checkout)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr


def test_python_without_venv_names_the_package_of_that_version(checkout: Path) -> None:
    stand_in(checkout / "bin" / "python3", WITHOUT_VENV)
    done = setup(checkout)
    assert done.returncode == 1
    assert "sudo apt-get install -y python3.12-venv" in done.stderr


def test_a_set_up_checkout_is_left_alone_and_a_moved_one_is_not(checkout: Path) -> None:
    stand_in(checkout / ".venv" / "bin" / "python", 'case "$1" in -V) echo Python 3.12.1 ;; esac\n')
    digest = subprocess.run(
        "cat pyproject.toml constraints.txt | cksum", shell=True, capture_output=True, text=True, cwd=checkout
    )
    (checkout / ".venv" / ".meterline-dev").write_text(
        f"{digest.stdout.strip()} Python 3.12.1 {checkout}\n", encoding="utf-8"
    )
    for kind in ("runtime", "dev"):  # dev includes runtime
        done = setup(checkout, kind)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    (checkout / ".venv" / ".meterline-root").write_text("/elsewhere\n", encoding="utf-8")
    done = setup(checkout)
    assert "the checkout has moved" in done.stdout
    assert done.returncode == 1  # no Python in this PATH to make it anew
    assert not (checkout / ".venv").exists()


def test_an_unknown_kind_is_refused(checkout: Path) -> None:
    assert "runtime or dev" in setup(checkout, "everything").stderr
