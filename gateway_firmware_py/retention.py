"""What goes when the disk fills or time has passed: whole files, by class, age and acknowledgement.

In this order:

1. frames beyond their age;
2. acknowledged fast samples beyond two weeks, acknowledged quarter-hour values beyond half a year (by the settings);
3. over the quota: the oldest frames, then the oldest acknowledged fast samples, then the oldest acknowledged
   quarter-hour values (quota beats age, but only for what is stored elsewhere);
4. still over it: the oldest unacknowledged segment, and the head-end is told which numbers, and why; or, if the
   settings say so, nothing: then no new readings are taken until there is room (see `Batcher.full`).

That a batch was acknowledged, or given up, is on the disk before the batch goes: after a power cut in between nobody
could tell any more what became of it.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator
from contextlib import suppress

from gateway_firmware_py.files import Files
from gateway_firmware_py.frames import FrameRing
from gateway_firmware_py.journal import Journal
from gateway_firmware_py.segments import Segment
from gateway_firmware_py.state import State
from meterline.clock import NS
from meterline.ranges import RangeSet
from meterline.settings import JournalSettings
from meterline.wire import LostRange

RESERVE, RESERVE_BYTES = "reserve", 1 << 20


def prune(journal: Journal, frames: FrameRing | None, state: State, rules: JournalSettings, now_ns: int) -> int:
    """Bring the disk within the rules; returns how many files went.

    Raises
    ------
    OSError
        A file could not be removed.
    """
    today = dt.datetime.fromtimestamp(now_ns // NS, dt.UTC).date()
    accounted = {epoch: state.accounted(epoch) for epoch in journal.epochs}
    gone = 0
    if frames is not None:
        for kept in frames.segments():
            days = rules.keep_days if kept.keep else rules.frames_days
            if _older(kept.day, today, days) and not frames.is_active(kept):
                frames.drop(kept)
                gone += 1
    for segment in _stored(journal, accounted):
        if _older(segment.day, today, rules.keep_days if segment.keep else rules.fast_days):
            _drop(journal, state, segment)
            gone += 1
    while over_quota(journal, frames, rules):
        unstored = rules.when_full == "drop-oldest"
        if not (
            _drop_frames(frames)
            or _drop_stored(journal, state, accounted)
            or (unstored and _drop_unstored(journal, state, accounted))
        ):
            break
        gone += 1
    return gone


def over_quota(journal: Journal, frames: FrameRing | None, rules: JournalSettings) -> bool:
    """Whether journal and frames take more than they may."""
    return journal.size + (frames.size if frames is not None else 0) > rules.quota_mb * 1_000_000


def make_room(journal: Journal, frames: FrameRing | None, state: State, files: Files) -> bool:
    """The disk is full by somebody else's doing: give up the oldest file that is not needed, at last the reserve.

    Returns
    -------
    bool
        False if there was nothing to give up.
    """
    accounted = {epoch: state.accounted(epoch) for epoch in journal.epochs}
    if _drop_frames(frames) or _drop_stored(journal, state, accounted):
        return True
    reserve = journal.folder / RESERVE
    if not files.exists(reserve):
        return False
    files.unlink(reserve)
    return True


def hold_reserve(journal: Journal, files: Files) -> None:
    """Keep some space aside while there is plenty, for the minutes in which a full disk is noticed and repaired.

    Raises
    ------
    OSError
        The disk does not take it.
    """
    reserve = journal.folder / RESERVE
    if not files.exists(reserve) and files.free_space(journal.folder) > 16 * RESERVE_BYTES:
        files.write_whole(reserve, bytes(RESERVE_BYTES))


def _older(day: str, today: dt.date, days: int) -> bool:
    return (today - dt.date.fromisoformat(day)).days > days


def _stored(journal: Journal, accounted: dict[str, RangeSet]) -> Iterator[Segment]:
    """Segments whose every number is acknowledged or declared lost, oldest first."""
    for segment in journal.segments():
        if not journal.is_active(segment) and all(
            accounted[segment.epoch].holds_all(first, last) for first, last in segment.seqs
        ):
            yield segment


def _drop_frames(frames: FrameRing | None) -> bool:
    if frames is None:
        return False
    for keep in (False, True):
        for segment in frames.segments():
            if segment.keep is keep and not frames.is_active(segment):
                frames.drop(segment)
                return True
    return False


def _drop(journal: Journal, state: State, segment: Segment) -> None:
    # On a disk that takes nothing more the segment is what makes room, so it goes all the same.
    with suppress(sqlite3.Error):
        state.save()
    journal.drop(segment)


def _drop_stored(journal: Journal, state: State, accounted: dict[str, RangeSet]) -> bool:
    segments = list(_stored(journal, accounted))
    oldest = next((s for s in segments if not s.keep), next(iter(segments), None))
    if oldest is None:
        return False
    _drop(journal, state, oldest)
    return True


def _drop_unstored(journal: Journal, state: State, accounted: dict[str, RangeSet]) -> bool:
    oldest = next((s for s in journal.segments() if not journal.is_active(s)), None)
    if oldest is None:
        return False
    for first, last in oldest.seqs:
        for a, b in accounted[oldest.epoch].gaps(first, last):
            state.lose(LostRange(oldest.epoch, a, b, "quota"))
    _drop(journal, state, oldest)
    return True
