"""The real disk and its twin in memory behave alike, so that what is proved on the twin holds."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from gateway_firmware_py.files import DiskFiles, Files
from tests.gateway.memory_files import MemoryFiles


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, Path]:
    files: Files = DiskFiles() if request.param == "disk" else MemoryFiles()
    folder = tmp_path / "a" / "b"
    files.make_folder(folder)
    return files, folder


def test_appending_goes_on_where_it_ended(place: tuple[Files, Path]) -> None:
    files, folder = place
    for part in (b"one ", b"two"):
        file = files.append(folder / "log")
        file.write(part)
        file.sync()
        file.close()
    assert files.read(folder / "log") == b"one two"
    assert files.read(folder / "log", 4, 2) == b"tw"
    assert files.size(folder / "log") == 7


def test_write_whole_replaces_and_leaves_no_draft(place: tuple[Files, Path]) -> None:
    files, folder = place
    files.write_whole(folder / "card", b"old and longer")
    files.write_whole(folder / "card", b"new")
    assert files.read(folder / "card") == b"new"
    assert files.list_folder(folder) == ["card"]


def test_truncate_rename_unlink(place: tuple[Files, Path]) -> None:
    files, folder = place
    files.write_whole(folder / "x", b"12345")
    files.truncate(folder / "x", 2)
    files.rename(folder / "x", folder / "y")
    assert not files.exists(folder / "x")
    assert files.read(folder / "y") == b"12"
    files.unlink(folder / "y")
    assert files.list_folder(folder) == []
    with pytest.raises(FileNotFoundError):
        files.size(folder / "y")


def test_making_a_folder_twice_and_listing_none(place: tuple[Files, Path]) -> None:
    files, folder = place
    files.make_folder(folder)
    assert files.list_folder(folder.parent) == ["b"]
    assert files.list_folder(folder / "nowhere") == []
    assert files.free_space(folder) > 0


def test_a_private_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    DiskFiles().write_whole(tmp_path / "secret", b"x", private=True)
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0


def test_the_twin_forgets_what_was_not_synced() -> None:
    files, folder = MemoryFiles(), Path("/j")
    files.make_folder(folder)
    file = files.append(folder / "log")
    file.write(b"safe")
    file.sync()
    files.sync_folder(folder)
    file.write(b" lost")
    files.append(folder / "unnamed").sync()
    after = files.power_cut()
    assert after.read(folder / "log") == b"safe"
    assert after.list_folder(folder) == ["log"]


def test_the_twin_can_tear_what_was_not_synced() -> None:
    files, folder = MemoryFiles(), Path("/j")
    files.make_folder(folder)
    file = files.append(folder / "log")
    file.sync()
    files.sync_folder(folder)
    file.write(b"12345678")
    seen = {files.power_cut(random.Random(n)).read(folder / "log") for n in range(200)}
    assert {b"", b"1234", b"12345678", bytes(8), b"12\0"} <= seen


def test_the_twin_runs_full_in_the_middle_of_a_write() -> None:
    files, folder = MemoryFiles(), Path("/j")
    files.make_folder(folder)
    files.capacity = 5
    file = files.append(folder / "log")
    with pytest.raises(OSError) as caught:
        file.write(b"1234567")
    assert caught.value.errno == errno.ENOSPC
    assert files.read(folder / "log") == b"12345"
