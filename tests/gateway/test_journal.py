"""What was committed is there after anything; what is not is named."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_firmware_py.journal import Journal
from meterline.errors import JournalError
from meterline.ranges import RangeSet
from meterline.wire import GENESIS, Sealed
from tests.gateway.memory_files import MemoryFiles

FOLDER = Path("/journal")
DAY = "2026-11-23"


def sealed(epoch: str, seq: int, size: int = 50) -> Sealed:
    return Sealed(epoch, seq, seq.to_bytes(4, "big") * (size // 4) + b"\1", bytes([seq % 256]) * 32)


def commit(journal: Journal, count: int, *, keep: bool = False, day: str = DAY, size: int = 50) -> None:
    for _ in range(count):
        journal.commit([sealed(journal.epoch, journal.next_seq, size)], keep=keep, day=day)


def message(journal: Journal, seq: int) -> bytes | None:
    return journal.read(journal.epoch, seq)


def reopened(journal: Journal, files: MemoryFiles) -> Journal:
    journal.close()
    return Journal(files, FOLDER)


def test_a_fresh_journal_begins_a_random_epoch_at_one() -> None:
    one, two = Journal(MemoryFiles(), FOLDER), Journal(MemoryFiles(), FOLDER)
    assert (one.next_seq, one.head) == (1, GENESIS)
    assert len(one.epoch) == 16
    assert one.epoch != two.epoch


def test_it_goes_on_after_a_restart_with_number_and_link() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 5)
    again = reopened(journal, files)
    assert (again.epoch, again.next_seq, again.head) == (journal.epoch, 6, bytes([5]) * 32)
    assert [message(again, seq) for seq in range(1, 6)] == [sealed("", seq).message for seq in range(1, 6)]
    assert message(again, 6) is None


def test_restarts_do_not_make_files() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    for _ in range(10):
        commit(journal, 1)
        journal = reopened(journal, files)
    assert len([name for name in files.names if name.suffix == ".seg"]) == 1


def test_days_classes_and_size_part_the_files_and_reading_does_not_care() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER, segment_bytes=2000)
    commit(journal, 20, size=400)
    commit(journal, 3, keep=True)
    commit(journal, 20, day="2026-11-24")
    commit(journal, 3, keep=True, day="2026-11-24")
    names = sorted(path.name for path in files.names if path.suffix == ".seg")
    assert names == [  # five records of 457 bytes pass 2000
        "2026-11-23-001-fast.seg", "2026-11-23-001-keep.seg", "2026-11-23-002-fast.seg", "2026-11-23-003-fast.seg",
        "2026-11-23-004-fast.seg", "2026-11-24-001-fast.seg", "2026-11-24-001-keep.seg",
    ]  # fmt: skip
    again = reopened(journal, files)
    assert again.held(again.epoch) == RangeSet([(1, 46)])
    assert [seq for seq, _ in again.messages(again.epoch)] == list(range(1, 47))


def test_the_index_of_a_closed_segment_is_only_a_shortcut() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 50)
    commit(journal, 1, day="2026-11-24")
    for path in [p for p in files.names if p.suffix == ".index"]:
        files.write_whole(path, b"not an index")
    assert reopened(journal, files).held(journal.epoch) == RangeSet([(1, 51)])


def test_a_long_segment_is_found_by_its_marks() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 300, size=2000)
    (segment,) = journal.segments()
    assert 5 <= len(segment.marks) <= segment.size // 65536 + 1  # memory stays small
    for seq in (1, 299, 150, 151, 2, 300):
        assert message(journal, seq) == sealed("", seq, 2000).message


def test_old_epochs_stay_readable_and_do_not_grow() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 3)
    old = journal.epoch
    journal.begin_epoch()
    commit(journal, 2)
    again = reopened(journal, files)
    assert again.epochs == (old, journal.epoch)
    assert (again.next_seq, again.read(old, 3)) == (3, sealed("", 3).message)


def test_a_failed_commit_counts_for_nothing_and_the_next_goes_to_another_file() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 2)
    files.fault = lambda name, number: OSError(errno.EIO, "bad sector") if name == "sync" else None
    with pytest.raises(JournalError, match="bad sector"):
        commit(journal, 1)
    assert (journal.next_seq, journal.held(journal.epoch)) == (3, RangeSet([(1, 2)]))
    files.fault = lambda name, number: None
    commit(journal, 1)
    assert len([name for name in files.names if name.suffix == ".seg"]) == 2
    again = reopened(journal, files)
    assert again.held(again.epoch) == RangeSet([(1, 3)])


def test_an_unreadable_end_ends_the_epoch() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 3)
    journal.close()
    (path,) = [p for p in files.names if p.suffix == ".seg"]
    files.names[path].now[-10] ^= 4
    again = Journal(files, FOLDER)
    assert again.tail_damaged
    assert again.held(again.epoch) == RangeSet([(1, 2)])
    assert Journal(files, FOLDER).tail_damaged, "as long as no new epoch was begun"


def test_damage_is_kept_for_a_look_and_costs_only_its_record() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 9)
    journal.close()
    (path,) = [p for p in files.names if p.suffix == ".seg"]
    files.names[path].now[4 * 107 + 60] ^= 1
    again = Journal(files, FOLDER)
    assert again.holes(again.epoch, RangeSet()) == ((5, 5),)
    assert not again.tail_damaged
    assert len(files.list_folder(FOLDER / "quarantine")) == 1
    commit(again, 1)
    assert Journal(files, FOLDER).held(again.epoch) == RangeSet([(1, 4), (6, 10)])


def test_bit_rot_in_a_closed_segment_is_found_when_it_is_read() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 9)
    commit(journal, 1, day="2026-11-24")
    path = next(p for p in files.names if p.name.startswith(DAY) and p.suffix == ".seg")
    files.names[path].now[4 * 107 + 60] ^= 1
    again = reopened(journal, files)
    assert again.damage == []
    assert message(again, 5) is None
    assert [message(again, seq) for seq in (4, 6)] == [sealed("", seq).message for seq in (4, 6)]
    assert again.damage
    assert again.holes(again.epoch, RangeSet()) == ((5, 5),)


def test_a_torn_end_on_a_disk_that_became_read_only_is_still_readable() -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER)
    commit(journal, 3)
    journal.close()
    (path,) = [p for p in files.names if p.suffix == ".seg"]
    del files.names[path].now[-20:]
    files.fault = lambda name, number: OSError(errno.EROFS, "read-only file system")
    again = Journal(files, FOLDER)
    assert again.held(again.epoch) == RangeSet([(1, 2)])


def test_the_growing_end_is_never_dropped() -> None:
    journal = Journal(MemoryFiles(), FOLDER)
    commit(journal, 2)
    commit(journal, 1, day="2026-11-24")
    first, last = journal.segments()
    with pytest.raises(ValueError, match="growing"):
        journal.drop(last)
    journal.drop(first)
    assert journal.held(journal.epoch) == RangeSet([(3, 3)])
    assert journal.holes(journal.epoch, RangeSet([(1, 1)])) == ((2, 2),)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from("34")), min_size=1, max_size=12), st.data())
def test_any_damage_to_any_file_never_yields_a_wrong_batch_and_every_loss_shows(
    groups: list[tuple[int, bool, str]], draw: st.DataObject
) -> None:
    files = MemoryFiles()
    journal = Journal(files, FOLDER, segment_bytes=300)
    for count, keep, day in groups:
        batches = [sealed(journal.epoch, journal.next_seq + i) for i in range(count)]
        journal.commit(batches, keep=keep, day=f"2026-11-2{day}")
    end = journal.next_seq
    journal.close()
    path = draw.draw(st.sampled_from(sorted(p for p in files.names if p.name != "epoch.json")))
    data = files.names[path].now
    place = draw.draw(st.integers(0, max(0, len(data) - 1)))
    if draw.draw(st.booleans()) or not data:
        del data[place:]
    else:
        data[place] ^= draw.draw(st.integers(1, 255))
    again = Journal(files, FOLDER)
    readable = {
        seq for seq in range(1, end) if (got := message(again, seq)) is not None and got == sealed("", seq).message
    }
    wrong = {seq for seq in range(1, end) if message(again, seq) is not None} - readable
    assert wrong == set()
    named = {seq for a, b in again.holes(again.epoch, RangeSet()) for seq in range(a, b + 1)}
    beyond = set(range(again.next_seq, end))  # above next_seq: what `State.used` remembers, see test_keeper
    assert readable | named | beyond == set(range(1, end))
    assert readable.isdisjoint(named | beyond)
