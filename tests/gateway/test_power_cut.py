"""C05: a power cut at every operation of a life with everything in it, on the shipped code.

The disk keeps what was synced, and with a seed some of what was not, whole or as zeros. What has to hold afterwards:
what was sent is there, byte for byte; no number is used for two batches; every number is held, acknowledged or
declared lost, and nothing the head-end holds is declared lost.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway_firmware_py.frames import FrameRing
from gateway_firmware_py.retention import hold_reserve, prune
from gateway_firmware_py.state import State
from meterline.ranges import RangeSet
from meterline.settings import JournalSettings
from meterline.wire import Sealed, unseal
from tests.gateway.memory_files import MemoryFiles, PowerCut
from tests.gateway.polls import T0_NS, poll
from tests.gateway.rig import Rig, numbers_of

RULES = JournalSettings(quota_mb=8, keep_days=2, fast_days=1)
DAY_S = 86_400.0


@dataclass
class Remote:
    """What the world outside has seen: batches sent, numbers the head-end holds."""

    sent: list[Sealed] = field(default_factory=list)
    stored: dict[str, RangeSet] = field(default_factory=dict)

    def acknowledge(self, rig: Rig, last: int) -> None:
        epoch = rig.keeper.epoch
        self.stored.setdefault(epoch, RangeSet()).add(1, last)
        rig.state.acknowledge(epoch, [(1, last)])


def life(files: MemoryFiles, state: State, remote: Remote) -> None:
    """Six days: both classes, frames, a reserve, acknowledgements, pruning by age, a disk that fails and comes back."""
    rig = Rig(files, state, segment_bytes=900)
    rig.keeper._kept = remote.sent.extend
    frames = FrameRing(files, Path("/data/frames"))
    rig.keeper._frames = frames
    assert rig.keeper.journal is not None
    number = 0
    for day in range(6):
        for _ in range(4):
            number += 1
            rig.keep(number if number % 3 else number * 900)
        journal = rig.keeper.journal
        if day % 2:
            remote.acknowledge(rig, rig.keeper.next_seq - 2)
            hold_reserve(journal, files)
            prune(journal, frames, state, RULES, rig.clock.now_ns())
            state.save()
        rig.clock.advance(DAY_S)
    journal.close()
    frames.close()


def number_of(n: int) -> int:
    return n if n % 3 else n * 900


@pytest.mark.slow
def test_at_every_operation() -> None:
    quiet, done = MemoryFiles(), list[str]()
    quiet.fault = lambda name, number: done.append(name)
    life(quiet, State(), Remote())
    assert quiet.operations > 80
    assert done.count("unlink") > 3, "something is pruned, too"
    for cut in range(1, quiet.operations + 1):
        files, remote, state = MemoryFiles(), Remote(), State()
        files.fail_on(cut, PowerCut())
        with suppress(PowerCut):
            life(files, state, remote)
        for seed, remembered in ((None, True), (3, True), (3, False)):
            back = as_saved(state) if remembered else State()
            after = Rig(files.power_cut(None if seed is None else random.Random(seed)), back, segment_bytes=900)
            after.clock.advance(6 * DAY_S)
            judge(after, remote, f"cut at {cut}, seed {seed}, state.db {'as saved' if remembered else 'lost'}")


def as_saved(state: State) -> State:
    """What a start finds of a state: the database, without what was only in memory."""
    found = State()
    state._database.backup(found._database)
    found._load()
    return found


def judge(after: Rig, remote: Remote, where: str) -> None:
    for batch in remote.sent:
        gone = batch.seq in remote.stored.get(batch.epoch, RangeSet())  # acknowledged and old: may be pruned
        held = after.keeper.read(batch.epoch, batch.seq)
        assert held == batch.message or (gone and held is None), where
    after.keep(700_001)
    after.keep(700_002)
    keys = {(batch.epoch, batch.seq): batch.message for batch in remote.sent}
    for batch in after.sent:
        assert keys.setdefault((batch.epoch, batch.seq), batch.message) == batch.message, where
    journal = after.keeper.journal
    assert journal is not None
    for epoch in journal.epochs:
        assert journal.holes(epoch, after.state.accounted(epoch)) == (), where
    lost = [lost for batch in after.sent for lost in unseal(batch.message).lost]
    for declared in lost:
        claimed = RangeSet([(declared.first, declared.last)])
        for first, last in remote.stored.get(declared.epoch, ()):
            assert claimed.within(first, last) == (), f"{where}: {declared} is stored"
        sent = {batch.seq for batch in remote.sent if batch.epoch == declared.epoch}
        assert not any(seq in claimed for seq in sent), f"{where}: {declared} was sent and is there"
    assert 700_001 in numbers_of(after.sent), where


def test_poll_numbers_tell_the_class() -> None:
    assert poll(number_of(3)).slot_ns % (900 * 10**9) == T0_NS % (900 * 10**9)
