"""What a gateway states of its hours: all its numbers, each once, true to the bytes, whatever happened in between."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_firmware_py.keeper import Draft
from gateway_firmware_py.state import State
from meterline.clock import ManualClock
from meterline.wire import HourDigest, HourTally, Sealed, hour_of, unseal
from tests.gateway.memory_files import MemoryFiles
from tests.gateway.polls import T0_NS, poll
from tests.gateway.rig import Rig

HOUR = 3600 * 10**9
EIO = OSError(errno.EIO, "Input/output error")


def hours_of(batches: Iterable[Sealed]) -> list[HourDigest]:
    return [hour for batch in batches for hour in unseal(batch.message).hours]


def assert_true(hours: Sequence[HourDigest], batches: Sequence[Sealed]) -> None:
    """Each statement is what somebody who has the batches works out himself."""
    sent = {(batch.epoch, batch.seq): batch for batch in batches}
    for hour in hours:
        tally = HourTally(hour.epoch, hour.hour_ns, hour.first)
        for seq in range(hour.first, hour.last + 1):
            batch = unseal(sent[hour.epoch, seq].message)
            assert hour_of(batch.at_ns) == hour.hour_ns
            tally.batch(sent[hour.epoch, seq].digest)
            tally.polls(batch.polls)
        assert tally.result() == hour


def later(rig: Rig, hours: float) -> None:
    rig.clock.t_ns += round(hours * HOUR)


def test_the_first_batch_of_an_hour_states_the_one_before() -> None:
    rig = Rig(MemoryFiles())
    for n in range(1, 4):
        rig.keep(n)
    assert hours_of(rig.sent) == []
    later(rig, 1)
    rig.keep(3601)
    (hour,) = hours_of(rig.sent)
    assert (hour.first, hour.last, hour.readings, hour.hour_ns) == (1, 3, 9, T0_NS)
    assert hour.advance_micro == 2 * 10_000, "0.01 kWh from each poll to the next"
    assert unseal(rig.sent[3].message).hours == (hour,), "before the readings, in a batch of its own"
    assert_true([hour], rig.sent)


def test_an_hour_is_stated_although_no_reading_follows() -> None:
    rig = Rig(MemoryFiles())
    rig.keep(1)
    later(rig, 1)
    rig.keeper.keep([])
    rig.keeper.keep([])
    assert [hour.last for hour in hours_of(rig.sent)] == [1]
    assert len(rig.sent) == 2


def test_a_clock_set_back_makes_two_runs_of_one_hour() -> None:
    rig = Rig(MemoryFiles())
    rig.keep(1)
    later(rig, 1)
    rig.keep(2)
    later(rig, -1)
    rig.keep(3)
    later(rig, 1)
    rig.keep(4)
    hours = hours_of(rig.sent)
    assert [hour.hour_ns for hour in hours] == [T0_NS, T0_NS + HOUR, T0_NS]
    assert_true(hours, rig.sent)


def test_a_restart_takes_the_open_hour_up() -> None:
    files, clock = MemoryFiles(), ManualClock(T0_NS)
    rig = Rig(files, clock=clock)
    for n in range(1, 6):
        rig.keep(n)
    later(rig, 1)
    rig.keep(3600)
    rig.keep(3601)
    again = Rig(files.power_cut(), State(), clock)
    again.keep(3602)
    later(again, 1)
    again.keep(7200)
    batches = [*rig.sent, *again.sent]
    hours = hours_of(batches)
    assert [(hour.first, hour.last) for hour in hours] == [(1, 5), (6, 9)]
    assert_true(hours, batches)


def test_the_last_hour_of_an_epoch_is_stated_by_the_next_one() -> None:
    rig = Rig(MemoryFiles())
    rig.keep(1)
    rig.keep(2)
    old = rig.keeper.epoch
    rig.files.fail_on(rig.files.operations + 1, EIO, repeat=True)  # type: ignore[attr-defined]
    rig.keep(3)
    rig.keep(4)
    assert rig.keeper.epoch != old
    (hour,) = hours_of(rig.sent)
    assert (hour.epoch, hour.first, hour.last) == (old, 1, 2)
    assert_true([hour], rig.sent)


def test_void_numbers_are_not_stated() -> None:
    files, clock = MemoryFiles(), ManualClock(T0_NS)
    before = Rig(files, clock=clock)
    before.keep(1)
    before.keep(2)
    rig = Rig(files.power_cut(), State(), clock)
    rig.keep(3)
    old = rig.keeper.epoch
    rig.keeper.renumber(old, 3)
    later(rig, 1)
    rig.keep(3600)
    assert all(hour.epoch != old for hour in hours_of(rig.sent))
    assert_true(hours_of(rig.sent), rig.sent)


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_every_number_is_stated_once_whatever_happens(rng: random.Random) -> None:
    """Random commits, pauses and power cuts: the statements of an epoch tile its numbers, and all of them are true."""
    files, clock, state = MemoryFiles(), ManualClock(T0_NS), State()
    sent: list[Sealed] = []
    rig = Rig(files, state, clock)
    for n in range(rng.randrange(5, 40)):
        happens = rng.random()
        if happens < 0.15:
            sent += rig.sent
            files = files.power_cut(rng)
            rig = Rig(files, state, clock)
        elif happens < 0.4:
            later(rig, rng.choice((0.3, 0.9, 1, 2.5)))
        else:
            rig.keeper.keep([Draft((poll(n),)) for _ in range(rng.randrange(1, 3))])
    later(rig, 1)
    rig.keep(99)
    sent += rig.sent
    hours = hours_of(sent)
    assert_true(hours, sent)
    for epoch in {batch.epoch for batch in sent}:
        stated = sorted((hour.first, hour.last) for hour in hours if hour.epoch == epoch)
        expected = 1
        for first, last in stated:
            assert first == expected
            expected = last + 1
        top = max(batch.seq for batch in sent if batch.epoch == epoch)
        assert expected - 1 >= top - 2, "only the batches of the hour that runs are not stated yet"
