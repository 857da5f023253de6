"""What goes first when space runs out, and that nothing goes without a record."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from gateway_firmware_py.frames import FrameRing
from gateway_firmware_py.journal import Journal
from gateway_firmware_py.retention import RESERVE_BYTES, hold_reserve, make_room, over_quota, prune
from gateway_firmware_py.state import State
from meterline.ranges import RangeSet
from meterline.settings import JournalSettings
from meterline.wire import LostRange, Sealed
from tests.gateway.memory_files import MemoryFiles
from tests.gateway.polls import T0_NS, poll

DAY_NS = 86_400_000_000_000
TODAY = "2026-11-23"
RULES = JournalSettings(quota_mb=8)


class Disk:
    """Segments of one batch of 2 MB each, one a day, newest last."""

    def __init__(self, days: list[tuple[str, bool]], size: int = 2_000_000) -> None:
        self.files = MemoryFiles()
        self.state = State()
        self.journal = Journal(self.files, Path("/journal"), segment_bytes=64)
        self.frames = FrameRing(self.files, Path("/frames"))
        for day, keep in days:
            seq = self.journal.next_seq
            self.journal.commit(
                [Sealed(self.journal.epoch, seq, b"x" * min(size, 1 << 20), bytes(32))], keep=keep, day=day
            )

    def ack(self, *ranges: tuple[int, int]) -> None:
        self.state.acknowledge(self.journal.epoch, ranges)

    def prune(self, rules: JournalSettings = RULES) -> list[tuple[int, int]]:
        prune(self.journal, self.frames, self.state, rules, T0_NS)
        return list(self.journal.held(self.journal.epoch))


def test_half_a_year_for_quarter_hours_two_weeks_for_the_rest_but_only_what_is_stored() -> None:
    disk = Disk(
        [
            ("2026-05-23", True),  # 184 days
            ("2026-05-24", True),  # 183 days
            ("2026-05-24", True),
            ("2026-11-08", False),  # 15 days
            ("2026-11-09", False),  # 14 days
            ("2026-11-08", False),
            (TODAY, False),
        ],
        size=100,
    )
    disk.ack((1, 5))
    assert disk.prune() == [(2, 3), (5, 7)]
    assert disk.state.undeclared() == ()


def test_the_quota_takes_stored_fast_samples_then_stored_quarter_hours() -> None:
    disk = Disk([("2026-11-20", True), ("2026-11-20", False), ("2026-11-21", True), *[("2026-11-22", False)] * 7])
    disk.ack((1, 5))
    assert disk.prune() == [(1, 1), (3, 3), (6, 10)]
    assert disk.journal.size <= 8_000_000
    assert disk.state.undeclared() == ()


def test_the_quota_takes_stored_quarter_hours_before_anything_that_is_not_stored() -> None:
    disk = Disk([("2026-11-20", True), ("2026-11-20", False), ("2026-11-21", True), *[("2026-11-22", False)] * 7])
    disk.ack((1, 3))
    assert disk.prune() == [(4, 10)]
    assert disk.state.undeclared() == ()


def test_with_nothing_stored_the_oldest_goes_with_a_record() -> None:
    disk = Disk([("2026-11-22", False)] * 12)
    assert disk.prune() == [(6, 12)]
    assert disk.journal.size <= 8_000_000
    assert RangeSet((lost.first, lost.last) for lost in disk.state.undeclared()) == RangeSet([(1, 5)])
    assert {lost.reason for lost in disk.state.undeclared()} == {"quota"}
    assert disk.journal.holes(disk.journal.epoch, disk.state.accounted(disk.journal.epoch)) == ()


def test_what_of_a_segment_is_stored_is_not_declared_lost() -> None:
    disk = Disk([("2026-11-22", False)] * 12)
    disk.state.lose(LostRange(disk.journal.epoch, 3, 3, "bitrot"))
    disk.ack((2, 2))
    disk.prune()
    assert set(range(1, 6)) - disk_lost(disk) == {2}


def disk_lost(disk: Disk) -> set[int]:
    return {seq for lost in disk.state.undeclared() for seq in range(lost.first, lost.last + 1)}


def test_where_the_past_is_worth_more_nothing_goes_and_nothing_new_is_taken() -> None:
    disk = Disk([("2026-11-22", False)] * 12)
    rules = JournalSettings(quota_mb=8, when_full="refuse-new")
    assert disk.prune(rules) == [(1, 12)]
    assert disk.state.undeclared() == ()
    assert over_quota(disk.journal, disk.frames, rules)
    disk.ack((1, 5))
    assert disk.prune(rules) == [(6, 12)]
    assert not over_quota(disk.journal, disk.frames, rules)


def test_the_growing_end_stays_whatever_the_quota() -> None:
    disk = Disk([("2026-11-22", False)])
    disk.ack((1, 1))
    assert disk.prune(JournalSettings(quota_mb=8, keep_days=1)) == [(1, 1)]
    assert not make_room(disk.journal, None, disk.state, disk.files)


def test_old_frames_go_by_age_and_before_any_batch() -> None:
    disk = Disk([("2026-11-22", False)] * 7)
    disk.ack((1, 7))
    for day in ("2026-11-15", "2026-11-16", TODAY):
        for seq in range(3):
            disk.frames.add("e" * 16, seq, [poll(1, frames=True)], keep=False, day=day)
    disk.prune()
    assert [segment.day for segment in disk.frames.segments()] == ["2026-11-16", TODAY]
    assert make_room(disk.journal, disk.frames, disk.state, disk.files)
    assert [segment.day for segment in disk.frames.segments()] == [TODAY]
    assert len(disk.journal.segments()) == 7


def test_the_reserve_is_given_up_last_and_taken_back_when_there_is_plenty() -> None:
    disk = Disk([("2026-11-22", False), (TODAY, False)], size=100)
    disk.ack((1, 1))
    hold_reserve(disk.journal, disk.files)
    assert disk.files.used > RESERVE_BYTES
    assert make_room(disk.journal, None, disk.state, disk.files)
    assert disk.files.used > RESERVE_BYTES, "first what is stored elsewhere"
    assert make_room(disk.journal, None, disk.state, disk.files)
    assert disk.files.used < RESERVE_BYTES
    assert not make_room(disk.journal, None, disk.state, disk.files)
    disk.files.capacity = disk.files.used + 2 * RESERVE_BYTES
    hold_reserve(disk.journal, disk.files)
    assert disk.files.used < RESERVE_BYTES, "the disk is nearly full"
    disk.files.capacity = None
    hold_reserve(disk.journal, disk.files)
    assert disk.files.used > RESERVE_BYTES
    assert Journal(disk.files, Path("/journal")).held(disk.journal.epoch) == RangeSet([(2, 2)])


def test_c14_a_long_life_in_compressed_time_takes_no_more_disk_than_what_is_to_be_kept() -> None:
    rules = JournalSettings(keep_days=60, fast_days=14)
    disk = Disk([])
    begin, sizes = dt.date(2026, 1, 1), list[int]()
    for n in range(130):
        today = begin + dt.timedelta(days=n)
        for keep in (True, False, False):
            seq = disk.journal.next_seq
            batch = Sealed(disk.journal.epoch, seq, b"x" * 5000, bytes(32))
            disk.journal.commit([batch], keep=keep, day=today.isoformat())
        disk.frames.add("e" * 16, n, [poll(1, frames=True)], keep=False, day=today.isoformat())
        disk.ack((1, disk.journal.next_seq - 1))
        now_ns = int(dt.datetime(today.year, today.month, today.day, tzinfo=dt.UTC).timestamp()) * 10**9
        prune(disk.journal, disk.frames, disk.state, rules, now_ns)
        sizes.append(disk.files.used)
    assert max(sizes[62:]) <= 1.01 * sizes[61], "a plateau"
    held = [s for s in disk.journal.segments() if s.seqs]
    assert {s.day for s in held if s.keep} == {(begin + dt.timedelta(days=n)).isoformat() for n in range(69, 130)}
    assert {s.day for s in held if not s.keep} == {(begin + dt.timedelta(days=n)).isoformat() for n in range(115, 130)}
    assert disk.state.undeclared() == ()
