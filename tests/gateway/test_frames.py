"""The raw frames behind a batch are found again, byte for byte, and prove themselves by the batch's hash."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway_firmware_py.frames import FrameRing, KeptPoll
from meterline.readings import Exchange, Poll, Quality
from meterline.wire import frames_digest
from tests.gateway.memory_files import MemoryFiles
from tests.gateway.polls import poll

E = "e" * 16
FOLDER = Path("/frames")
EXCHANGES = st.lists(
    st.builds(
        Exchange,
        st.binary(max_size=12),
        st.binary(max_size=260),
        st.integers(0, 1 << 62),
        st.none() | st.integers(0, 1 << 62),
        st.sampled_from(["", "silent", "refused:02"]),
    ),
    max_size=4,
)


def with_exchanges(number: int, exchanges: list[Exchange]) -> Poll:
    return replace(poll(number), exchanges=tuple(exchanges))


@given(st.lists(EXCHANGES, min_size=1, max_size=4))
def test_what_was_put_away_is_found_and_hashes_to_what_the_batch_says(lists: list[list[Exchange]]) -> None:
    files = MemoryFiles()
    ring = FrameRing(files, FOLDER)
    polls = [with_exchanges(n, exchanges) for n, exchanges in enumerate(lists)]
    ring.add(E, 4, [poll(9, frames=True)], keep=False, day="2026-11-23")
    ring.add(E, 5, polls, keep=True, day="2026-11-23")
    found = FrameRing(files, FOLDER).find(E, 5)
    if not any(lists):
        assert found is None
        return
    assert found == tuple(KeptPoll(p.meter, p.exchanges) for p in polls)
    assert frames_digest([with_exchanges(0, list(kept.exchanges)) for kept in found]) == frames_digest(polls)


def test_expired_or_unknown_is_none() -> None:
    ring = FrameRing(MemoryFiles(), FOLDER)
    ring.add(E, 1, [poll(1, frames=True)], keep=False, day="2026-11-23")
    assert ring.find(E, 2) is None
    assert ring.find("f" * 16, 1) is None


def test_a_damaged_record_hides_no_other() -> None:
    files = MemoryFiles()
    ring = FrameRing(files, FOLDER)
    for seq in (1, 2, 3):
        ring.add(E, seq, [poll(seq, frames=True)], keep=False, day="2026-11-23")
    ring.flush()
    (path,) = files.names
    files.names[path].now[30] ^= 255
    assert ring.find(E, 1) is None
    assert ring.find(E, 3) is not None


def test_frames_of_fast_samples_are_written_together_and_those_kept_for_long_at_once() -> None:
    files = MemoryFiles()
    ring = FrameRing(files, FOLDER)
    ring.add(E, 1, [poll(1, frames=True)], keep=False, day="2026-11-23")
    assert [len(inode.now) for inode in files.names.values()] == [0]
    assert ring.find(E, 1) is not None, "asked for, they are written"
    ring.add(E, 2, [poll(2, frames=True)], keep=True, day="2026-11-23")
    assert all(inode.now for inode in files.names.values())
    for seq in range(3, 2000):
        ring.add(E, seq, [poll(seq, frames=True)], keep=False, day="2026-11-23")
    assert ring.size - sum(len(inode.now) for inode in files.names.values()) < 65536 + 200


def test_doubtful_answers_are_kept_with_the_long_lived() -> None:
    ring = FrameRing(MemoryFiles(), FOLDER)
    doubtful = replace(poll(1, frames=True), qualities=(0, int(Quality.SUSPECT), 0))
    ring.add(E, 1, [poll(1, frames=True)], keep=False, day="2026-11-23")
    ring.add(E, 2, [doubtful], keep=False, day="2026-11-23")
    assert sorted((s.keep, s.size > 0) for s in ring.segments()) == [(False, True), (True, True)]


def test_a_full_disk_costs_frames_and_says_so() -> None:
    files = MemoryFiles()
    ring = FrameRing(files, FOLDER)
    files.fault = lambda name, number: OSError(errno.ENOSPC, "No space left on device") if name == "write" else None
    ring.add(E, 1, [poll(1, frames=True)], keep=False, day="2026-11-23")
    ring.flush()
    assert "space" in ring.trouble
    files.fault = lambda name, number: None
    ring.add(E, 2, [poll(2, frames=True)], keep=False, day="2026-11-23")
    ring.flush()
    assert ring.trouble == ""
    assert ring.find(E, 2) is not None
