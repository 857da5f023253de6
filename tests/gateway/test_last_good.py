"""A configuration that does not work costs a line in the health message, not a dark box."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_firmware_py.last_good import CRASHES, LastGood, choose
from meterline.errors import ConfigError
from tests.gateway.memory_files import MemoryFiles, PowerCut

SITE = """
site: {id: plant, name: {en: Plant, zh: 工厂}}
energy_users: [{id: works, name: {en: Works, zh: 工厂}, level: organisation}]
buses: [{id: line-1, kind: modbus-tcp, gateway: gw1, host: 127.0.0.1, port: 1502}]
meters:
  - {id: m1, name: {en: Main, zh: 总表}, energy_user: works, profile: eastron-sdm630, bus: line-1, address: "1"}
"""
GOOD = "gateway: gw1\ncommit_s: 0.5\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "gateway.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "gateway-data").mkdir()
    return tmp_path / "gateway.yaml"


def record(file: Path) -> LastGood:
    from gateway_firmware_py.files import DiskFiles

    return LastGood(DiskFiles(), file.parent / "gateway-data", (file, file.parent / "site.yaml"))


def works(file: Path) -> None:
    """A run of the present files that proves them."""
    run = record(file)
    run.begin()
    run.good()


def test_what_works_is_used_as_it_is(file: Path) -> None:
    works(file)
    settings, instead = choose(file)
    assert (settings.file.commit_s, instead) == (0.5, "")


def test_a_file_that_cannot_be_used_gives_way_to_the_last_good_one(file: Path) -> None:
    works(file)
    file.write_text("gateway: gw1\ncommit_s: many\n", encoding="utf-8")
    settings, instead = choose(file)
    assert settings.file.commit_s == 0.5
    assert settings.data == file.parent / "gateway-data", "paths start where they did"
    assert instead.startswith("running with the last good one, since gateway.yaml:")
    (file.parent / "site.yaml").write_text("nonsense: [", encoding="utf-8")
    assert choose(file)[0].file.commit_s == 0.5


def test_not_even_yaml(file: Path) -> None:
    works(file)
    file.write_bytes(b"\x00\xff{{{")
    assert choose(file)[0].file.commit_s == 0.5


def test_without_a_last_good_one_the_problems_are_told(file: Path) -> None:
    file.write_text("gateway: gw1\ncommit_s: many\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="commit_s"):
        choose(file)


def test_three_crashes_in_a_row_with_new_files_are_enough(file: Path) -> None:
    works(file)
    file.write_text("gateway: gw1\ncommit_s: 7\n", encoding="utf-8")
    for _ in range(CRASHES):
        assert choose(file)[1] == ""
        record(file).begin()  # and never ends
    settings, instead = choose(file)
    assert settings.file.commit_s == 0.5
    assert instead == "running with the last good one, since gateway.yaml crashed 3 times in a row"
    file.write_text("gateway: gw1\ncommit_s: 8\n", encoding="utf-8")
    assert choose(file)[0].file.commit_s == 8, "other files deserve a try of their own"


def test_files_that_have_worked_are_not_at_fault_for_crashes(file: Path) -> None:
    works(file)
    for _ in range(10):
        record(file).begin()
    assert choose(file)[1] == ""


def test_an_end_in_good_order_is_no_crash(file: Path) -> None:
    works(file)
    file.write_text("gateway: gw1\ncommit_s: 7\n", encoding="utf-8")
    for _ in range(10):
        run = record(file)
        run.begin()
        run.end()
    assert choose(file)[0].file.commit_s == 7


def test_files_edited_while_it_runs_are_not_taken_for_tried(file: Path) -> None:
    works(file)
    run = record(file)
    run.begin()
    file.write_text("gateway: gw1\ncommit_s: many\n", encoding="utf-8")
    run.good()
    assert choose(file)[0].file.commit_s == 0.5


def test_a_power_cut_while_keeping_leaves_a_whole_copy() -> None:
    data, sources = Path("/data"), (Path("/etc/gateway.yaml"), Path("/etc/site.yaml"))

    def disk(text: bytes, files: MemoryFiles | None = None) -> MemoryFiles:
        files = files or MemoryFiles()
        files.make_folder(data)
        files.make_folder(Path("/etc"))
        for source in sources:
            files.write_whole(source, text + source.name.encode())
        return files

    quiet = disk(b"old")
    LastGood(quiet, data, sources).good()
    disk(b"new", quiet)
    before = quiet.operations
    LastGood(quiet, data, sources).good()
    for cut in range(1, quiet.operations - before + 1):
        files = disk(b"old")
        LastGood(files, data, sources).good()
        disk(b"new", files)
        files.fail_on(files.operations + cut, PowerCut())
        with pytest.raises(PowerCut):
            LastGood(files, data, sources).good()
        after = files.power_cut()
        copy = data / "last-good" / after.read(data / "last-good" / "current").decode()
        kept = [after.read(copy / source.name) for source in sources]
        whole = [[text + source.name.encode() for source in sources] for text in (b"old", b"new")]
        assert kept in whole, "never a mixture"
