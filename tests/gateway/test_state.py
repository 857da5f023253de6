"""Cursors outlive a restart; a damaged file costs repetition, not data."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from gateway_firmware_py.state import State
from meterline.ranges import RangeSet
from meterline.readings import MissingSpan
from meterline.wire import LostRange

E, F = "e" * 16, "f" * 16


def test_everything_saved_is_there_again(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    state.acknowledge(E, [(1, 5), (9, 9)])
    state.note_used(E, 12)
    lost = [LostRange(E, 6, 7, "quota"), LostRange(F, 1, 2, "bitrot")]
    for one in lost:
        state.lose(one)
    state.declare(lost[:1], E, 10)
    state.note_silence(MissingSpan("m1", 5, None, "silent"))
    state.note_silence(MissingSpan("m2", 5, None, "silent"))
    state.note_silence(MissingSpan("m2", 5, 9, "silent"))
    state.count("acks-foreign", 3)
    state.save()
    state.close()
    again = State(tmp_path / "state.db")
    assert again.acked(E) == RangeSet([(1, 5), (9, 9)])
    assert again.used(E) == 12
    assert again.undeclared() == (lost[1],)
    assert again.accounted(E) == RangeSet([(1, 7), (9, 9)])
    assert again.silences() == {"m1": MissingSpan("m1", 5, None, "silent")}
    assert again.counters() == {"acks-foreign": 3}
    again.close()


def test_used_is_never_below_what_was_acknowledged() -> None:
    state = State()
    state.acknowledge(E, [(1, 9)])
    state.note_used(E, 5)
    assert state.used(E) == 10
    assert state.used(F) == 1


def test_acknowledgements_count_once() -> None:
    state = State()
    assert state.acknowledge(E, [(1, 5)]) == 5
    assert state.acknowledge(E, [(3, 7)]) == 2
    assert state.unsaved_acks == 7
    state.save()
    assert state.unsaved_acks == 0


@pytest.mark.parametrize("damage", [b"not a database at all" * 300, b""], ids=["garbage", "empty"])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(damage)
    state = State(path)
    assert state.acked(E) == RangeSet()
    if damage:
        assert state.moved_aside == tmp_path / "state.db.corrupt-1"
        assert state.moved_aside.read_bytes() == damage
    state.acknowledge(E, [(1, 1)])
    state.save()
    state.close()
    assert State(path).acked(E) == RangeSet([(1, 1)])


def test_a_page_overwritten_inside_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State(path)
    state.acknowledge(E, [(n, n) for n in range(1, 4000, 2)])
    state.save()
    state.close()
    data = bytearray(path.read_bytes())
    data[4096:8192] = bytes(4096)
    path.write_bytes(data)
    assert State(path).moved_aside is not None


def test_a_disk_that_takes_its_time_holds_up_nobody_but_who_saves(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    slow, go_on, real = threading.Event(), threading.Event(), state._database

    class Slow:
        def __enter__(self) -> None:
            slow.set()
            go_on.wait(10)
            real.__enter__()

        def __exit__(self, *what: object) -> None:
            real.__exit__(*what)  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    state._database = Slow()  # type: ignore[assignment]
    state.acknowledge(E, [(1, 5)])
    saving = threading.Thread(target=state.save)
    saving.start()
    assert slow.wait(5)
    state.note_silence(MissingSpan("m1", 1, None, "silent"))  # what a bus does meanwhile
    state.acknowledge(E, [(6, 9)])
    go_on.set()
    saving.join(5)
    state._database = real
    state.save()
    state.close()
    again = State(tmp_path / "state.db")
    assert again.acked(E) == RangeSet([(1, 9)])
    assert "m1" in again.silences()
    again.close()


def test_what_could_not_be_saved_is_saved_later(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    state.lose(LostRange(E, 1, 2, "quota"))
    state._database.execute("PRAGMA query_only=ON")
    with pytest.raises(sqlite3.Error):
        state.save()
    assert state.pressing
    state._database.execute("PRAGMA query_only=OFF")
    state.save()
    assert state.pressing is bool(state.unsaved_acks)
    state.close()
    again = State(tmp_path / "state.db")
    assert again.undeclared() == (LostRange(E, 1, 2, "quota"),)
    again.close()
