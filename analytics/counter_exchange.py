"""The account goes on when a meter is exchanged: the old one's last display and the new one's first join the tracks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from analytics.counter_model import CounterEvent, CounterRules, EventKind, Exchange, Track
from analytics.series import CounterSeries, IntArray
from meterline.readings import Quality

WORK = int(Quality.MAINTENANCE)


def follow_over(
    counter: CounterSeries,
    rules: CounterRules,
    exchanges: Sequence[Exchange],
    follow: Callable[[CounterSeries, CounterRules], Track],
) -> Track:
    """Follow each meter by itself and join the tracks.

    Parameters
    ----------
    exchanges
        Those that fall between the readings, in order.
    follow
        How one meter's track is followed.
    """
    edges = [x.removed_ns for x in exchanges]
    part = np.searchsorted(np.array(edges), counter.t_ns, side="right")
    # What is read while no meter counts belongs to neither.
    for index, x in enumerate(exchanges, start=1):
        part[(part == index) & (counter.t_ns < x.installed_ns)] = -1
    whole: Track | None = None
    for index in range(len(exchanges) + 1):
        mine = part == index
        track = follow(CounterSeries(counter.t_ns[mine], counter.micro[mine], counter.quality[mine]), rules)
        if not track.t_ns.size:
            continue
        whole = track if whole is None else _join(whole, track, exchanges[index - 1], rules)
    return whole if whole is not None else follow(counter, rules)


def _join(old: Track, new: Track, x: Exchange, rules: CounterRules) -> Track:
    """Two tracks and what was written down when one took the other's place."""
    before, after = int(old.micro[-1]), int(new.micro[0])
    t: list[int] = []
    display: list[int] = []
    rises: list[int] = []  # energy of each step from the old track's last reading to the new one's first
    known: list[bool] = []
    ends = _believable(old, new, x, rules)
    if ends is None:
        rises, known = [0], [False]
    else:
        old_end, new_start, by_old, by_new = ends
        rises, known, at = [by_old], [True], [x.removed_ns]
        display = [old_end]
        if x.installed_ns > x.removed_ns:  # nothing counted in between: what was used then nobody knows
            rises, known, at, display = [*rises, 0], [*known, False], [*at, x.installed_ns], [*display, new_start]
        rises.append(by_new)
        known.append(True)
        t = at
        if t[-1] == int(new.t_ns[0]):  # read in the very moment
            t.pop()
            display.pop()
            rises[-2:] = [rises[-2] + rises[-1]]
            known[-2:] = [known[-2] and known[-1]]
    energy = sum(rises)
    event = CounterEvent(
        EventKind.EXCHANGE, int(old.t_ns[-1]), int(new.t_ns[0]), before, after, energy - (after - before)
    )
    steps = np.diff(np.array([int(old.t_ns[-1]), *t, int(new.t_ns[0])], np.int64))
    flags = np.full(len(rises), WORK, np.int32)
    flags[(steps > rules.max_gap_ns) & np.array(known)] |= int(Quality.ESTIMATED)
    flags[~np.array(known)] |= int(Quality.SUSPECT)
    account = int(old.account[-1]) + np.cumsum(np.array(rises, np.int64))
    shift = int(account[-1]) - int(new.account[0])
    return Track(
        _run(old.t_ns, t, new.t_ns),
        _run(old.micro, display, new.micro),
        _run(old.account, account[:-1].tolist(), new.account + shift),
        np.concatenate([old.known, np.array(known), new.known]),
        np.concatenate([old.covered, np.array(known) & (steps <= rules.max_gap_ns), new.covered]),
        np.concatenate([old.flags, flags, new.flags]),
        (*old.events, event, *new.events),
    )


def _believable(old: Track, new: Track, x: Exchange, rules: CounterRules) -> tuple[int, int, int, int] | None:
    """Both displays as written down and what each meter counted up to and from there; None if no counter can have.

    It cannot have fallen below its last reading (but for a roll-over), nor run too fast.
    """
    if x.old_end_micro is None or x.new_start_micro is None or x.removed_ns <= int(old.t_ns[-1]):
        return None
    by_old = _rise(int(old.micro[-1]), x.old_end_micro, x.removed_ns - int(old.t_ns[-1]), rules)
    by_new = _rise(x.new_start_micro, int(new.micro[0]), int(new.t_ns[0]) - x.installed_ns, rules)
    return None if by_old is None or by_new is None else (x.old_end_micro, x.new_start_micro, by_old, by_new)


def _rise(before: int, after: int, dt_ns: int, rules: CounterRules) -> int | None:
    rise = after - before
    if rise < 0 and rules.wraps_at is not None:
        rise += rules.wraps_at
    return rise if 0 <= rise <= int(rules.limit(np.array([dt_ns]))[0]) else None


def _run(old: IntArray, between: Sequence[int], new: IntArray) -> IntArray:
    return np.concatenate([old, np.array(between, np.int64), new])
