"""The promise itself: a batch once sent has its number for good, and every number ends here, there or in a loss."""

from __future__ import annotations

import errno
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_firmware_py.keeper import PACKED_BYTES, Draft
from gateway_firmware_py.state import State
from meterline.ranges import RangeSet
from meterline.readings import Column, MissingSpan, Shape
from meterline.wire import GENESIS, LostRange, Sealed, digest_of, unseal, verify
from tests.gateway.memory_files import MemoryFiles, PowerCut
from tests.gateway.polls import poll
from tests.gateway.rig import FOLDER, KEY, Rig, numbers_of

EIO = OSError(errno.EIO, "Input/output error")


def assert_chain(batches: list[Sealed]) -> None:
    heads: dict[str, bytes] = {}
    for batch in batches:
        prev = unseal(batch.message).prev
        assert prev == heads.get(batch.epoch, GENESIS if batch.seq == 1 else prev)
        heads[batch.epoch] = digest_of(batch.message)


def everything_held(rig: Rig) -> list[Sealed]:
    """What a head-end would get from this disk, in order of epochs and numbers."""
    journal = rig.keeper.journal
    assert journal is not None
    return [
        Sealed(epoch, seq, message, digest_of(message))
        for epoch in journal.epochs
        for seq, message in journal.messages(epoch)
    ]


def assert_all_accounted(rig: Rig) -> None:
    """Every number of every epoch on the disk is held, acknowledged or declared lost."""
    journal = rig.keeper.journal
    assert journal is not None
    for epoch in journal.epochs:
        assert journal.holes(epoch, rig.state.accounted(epoch)) == ()


def test_batches_are_numbered_chained_and_signed() -> None:
    rig = Rig(MemoryFiles())
    for n in range(1, 5):
        rig.keep(n)
    assert [batch.seq for batch in rig.sent] == [1, 2, 3, 4]
    assert numbers_of(rig.sent) == [1, 2, 3, 4]
    assert_chain(rig.sent)
    for batch in rig.sent:
        assert verify(batch.message, KEY.public_key()) == batch.digest


def test_it_goes_on_after_a_restart() -> None:
    files = MemoryFiles()
    first = Rig(files)
    first.keep(1)
    second = Rig(files, first.state)
    second.keep(2)
    assert_chain(first.sent + second.sent)
    assert second.sent[0].seq == 2


def test_nothing_to_say_makes_no_batch() -> None:
    rig = Rig(MemoryFiles())
    assert rig.keeper.keep([]) == []
    assert rig.keeper.next_seq == 1


def test_a_batch_that_packs_too_large_is_split() -> None:
    rig = Rig(MemoryFiles())
    rng = random.Random(1)
    wide = Shape("wide@1", tuple(Column(f"energy.active.import.{i}", 0) for i in range(40)))
    polls = []
    for n in range(60):
        p = poll(n)
        polls.append(type(p)(p.meter, wide, p.slot_ns, (1,), p.clock, tuple(rng.getrandbits(62) for _ in wide.columns)))
    rig.keeper.keep([Draft(tuple(polls))])
    assert len(rig.sent) > 1
    assert all(len(batch.message) <= PACKED_BYTES for batch in rig.sent)
    assert [p for batch in rig.sent for p in unseal(batch.message).polls] == polls


def test_a_poll_the_contract_cannot_carry_costs_itself_only() -> None:
    rig = Rig(MemoryFiles())
    bad = poll(2)
    bad = type(bad)(bad.meter, bad.shape, bad.slot_ns, (20,), bad.clock, (1 << 70, 1, float("nan")))
    rig.keeper.keep([Draft((poll(1), bad, poll(3)))])
    assert numbers_of(rig.sent) == [1, 3]
    (span,) = [span for batch in rig.sent for span in unseal(batch.message).missing]
    assert span == MissingSpan("m1", bad.slot_ns, bad.slot_ns + 1_000_000, "gateway-unsendable")
    assert rig.state.counters() == {"unsendable:json": 1}


# --- power cuts -------------------------------------------------------------------------------------------------------


def play(rig: Rig) -> None:
    """A life with two classes, several files, acknowledgements and a saved state."""
    for n in (1, 2, 900, 3, 4, 1800, 5, 6, 7, 8):
        rig.keep(n, n + 10_000)
        if n == 3:
            rig.state.acknowledge(rig.keeper.epoch, [(1, 2)])
            rig.state.save()


def test_a_power_cut_at_any_operation_loses_nothing_that_was_sent_and_uses_no_number_twice() -> None:
    quiet = MemoryFiles()
    play(Rig(quiet))
    assert quiet.operations > 30
    for cut in range(1, quiet.operations + 1):
        for seed in (None, 1, 2):
            files = MemoryFiles()
            files.fail_on(cut, PowerCut())
            rig: Rig | None = None
            sent: list[Sealed] = []
            try:
                rig = Rig(files)
                sent = rig.sent
                play(rig)
            except PowerCut:
                pass
            after = Rig(files.power_cut(None if seed is None else random.Random(seed)))  # state.db is gone, too
            for batch in sent:
                assert after.keeper.read(batch.epoch, batch.seq) == batch.message, f"cut at {cut}"
            after.keep(77)
            after.keep(78)
            keys = {(b.epoch, b.seq): b.message for b in sent}
            for batch in after.sent:
                assert keys.setdefault((batch.epoch, batch.seq), batch.message) == batch.message
            assert_all_accounted(after)
            assert_chain(everything_held(after))


# --- failing disks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "until repaired"])
def test_a_disk_that_fails_at_any_operation_stops_nothing_and_nothing_is_lost_or_doubled(lasting: bool) -> None:
    quiet = MemoryFiles()
    play(Rig(quiet))
    for bad in range(1, quiet.operations + 8):
        files = MemoryFiles()
        files.fail_on(bad, EIO, repeat=lasting)
        rig = Rig(files)
        play(rig)
        files.fault = lambda name, number: None
        rig.clock.advance(10)
        assert rig.keeper.recover(), bad
        rig.keep(99)
        assert sorted(numbers_of(rig.sent)) == sorted(
            [n + k for n in (1, 2, 900, 3, 4, 1800, 5, 6, 7, 8) for k in (0, 10_000)] + [99]
        )
        assert_chain(rig.sent)
        after = Rig(files.power_cut(), rig.state)
        after.keeper.keep([])
        assert_all_accounted(after)
        for batch in rig.sent:
            stored = batch.seq in rig.state.acked(batch.epoch)
            assert stored or after.keeper.read(batch.epoch, batch.seq) == batch.message, bad
        void = {epoch: rig.state.accounted(epoch) for epoch in after.keeper.epochs}
        for epoch, ranges in void.items():
            for first, last in rig.state.acked(epoch):
                ranges.remove(first, last)
        seen = numbers_of([b for b in everything_held(after) if b.seq not in void[b.epoch]])
        assert len(seen) == len(set(seen)), f"a reading under two numbers after failure {bad}"


def test_a_full_disk_is_lived_through_in_memory_and_made_good_afterwards() -> None:
    files = MemoryFiles()
    rig = Rig(files)
    rig.keep(1)
    epoch = rig.keeper.epoch
    files.capacity = files.used + 100
    for n in range(2, 12):
        rig.keep(n)
        rig.clock.advance(1)
        assert not rig.keeper.recover()
    assert "space" in rig.keeper.trouble
    assert rig.keeper.epoch != epoch, "numbers made without a disk belong to an epoch of their own"
    assert [rig.keeper.read(b.epoch, b.seq) for b in rig.sent] == [b.message for b in rig.sent]
    files.capacity = None
    rig.clock.advance(10)
    assert rig.keeper.recover()
    assert rig.keeper.trouble == ""
    rig.keep(12)
    after = Rig(files.power_cut(), rig.state)
    assert [after.keeper.read(b.epoch, b.seq) for b in rig.sent] == [b.message for b in rig.sent]
    assert numbers_of(rig.sent) == list(range(1, 13))
    assert_chain(rig.sent)


def test_a_disk_that_lets_nothing_be_removed_either_costs_no_reading() -> None:
    def no_room(journal: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    files = MemoryFiles()
    rig = Rig(files, room=no_room)
    rig.keep(1)
    files.fail_on(files.operations + 1, OSError(errno.EROFS, "Read-only file system"), repeat=True)
    for n in range(2, 6):
        rig.keep(n)
    assert rig.keeper.trouble == "Read-only file system"
    assert numbers_of(rig.sent) == list(range(1, 6))
    assert_chain(rig.sent)


def test_old_batches_stay_readable_while_nothing_can_be_written() -> None:
    files = MemoryFiles()
    rig = Rig(files)
    for n in range(1, 4):
        rig.keep(n)
    again = Rig(files, rig.state)
    files.fault = lambda name, number: OSError(errno.EROFS, "Read-only file system")
    again.keep(4)
    assert again.keeper.trouble == "Read-only file system (/data/journal)"
    assert again.keeper.read(rig.keeper.epoch, 2) == rig.sent[1].message
    assert again.keeper.held(rig.keeper.epoch) == RangeSet([(1, 3)])
    assert again.keeper.epochs == (rig.keeper.epoch, again.keeper.epoch)


def test_a_power_cut_while_memory_moves_back_to_the_disk_uses_no_number_twice() -> None:
    def life(files: MemoryFiles, sent: list[Sealed]) -> None:
        rig = Rig(files)
        sent_of(rig, sent)
        rig.keep(1)
        healthy, files.fault = files.fault, lambda name, number: EIO
        for n in range(2, 6):
            rig.keep(n)
        files.fault = healthy
        rig.clock.advance(10)
        rig.keeper.recover()
        rig.keep(6)
        rig.clock.advance(10)
        rig.keeper.recover()
        rig.keep(7)

    quiet = MemoryFiles()
    life(quiet, [])
    for stop in range(1, quiet.operations + 1):
        for end in (PowerCut(), EIO):
            files, sent = MemoryFiles(), list[Sealed]()
            files.fail_on(stop, end)
            with suppress(PowerCut):
                life(files, sent)
            after = Rig(files.power_cut())  # with nothing remembered: state.db is gone, too
            for n in range(50, 56):
                after.keep(n)
            keys = {(batch.epoch, batch.seq): batch.message for batch in sent}
            for batch in after.sent:
                assert keys.setdefault((batch.epoch, batch.seq), batch.message) == batch.message, stop


def sent_of(rig: Rig, sent: list[Sealed]) -> None:
    """Let the rig tell this list, too, so that it survives the rig's end."""
    rig.sent = sent
    rig.keeper._kept = sent.extend


def test_what_died_with_the_memory_is_named_after_the_restart() -> None:
    files = MemoryFiles()
    rig = Rig(files)
    rig.keep(1)
    files.fault = lambda name, number: EIO
    for n in range(2, 6):
        rig.keep(n)
    rig.state.acknowledge(rig.keeper.epoch, [(1, 2)])
    after = Rig(files.power_cut(), rig.state)
    after.keep(6)
    assert unseal(after.sent[0].message).lost == (LostRange(rig.keeper.epoch, 3, rig.sent[-1].seq, "missing"),)


def test_a_journal_removed_while_it_is_written_is_noticed_and_begun_anew() -> None:
    files = MemoryFiles()
    rig = Rig(files)
    for n in range(1, 4):
        rig.keep(n)
    old = rig.keeper.epoch
    for path in list(files.names):
        del files.names[path], files.safe_names[path]
    files.folders.clear()
    rig.keeper.check_disk()
    assert rig.keeper.trouble
    rig.keep(4)
    rig.clock.advance(10)
    assert rig.keeper.recover()
    rig.keep(5)
    assert LostRange(old, 1, 3, "missing") in unseal(rig.sent[-2].message).lost + unseal(rig.sent[-1].message).lost
    assert Rig(files, rig.state).keeper.held(rig.keeper.epoch) == RangeSet([(1, rig.keeper.next_seq - 1)])


def test_memory_is_bounded_and_what_it_gives_up_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_firmware_py.keeper.MEMORY_BYTES", 4000)
    files = MemoryFiles()
    files.fault = lambda name, number: OSError(errno.EROFS, "Read-only file system")
    rig = Rig(files)
    for n in range(1, 60):
        rig.keep(n)
    assert 0 < rig.keeper.waiting_in_memory <= 4000
    held = rig.keeper.held(rig.keeper.epoch)
    lost = RangeSet()
    for batch in rig.sent:
        for r in unseal(batch.message).lost:
            assert (r.epoch, r.reason) == (rig.keeper.epoch, "disk-trouble")
            lost.add(r.first, r.last)
    for r in rig.state.undeclared():
        lost.add(r.first, r.last)
    for first, last in held:
        lost.add(first, last)
    assert lost == RangeSet([(1, rig.keeper.next_seq - 1)])


# --- what is not there any more ---------------------------------------------------------------------------------------


def hurt(files: MemoryFiles, seq: int) -> None:
    """Flip a bit inside the record with this number."""
    for path, inode in files.names.items():
        if path.suffix == ".seg":
            from gateway_firmware_py.segments import scan

            for record in scan(bytes(inode.now)).records:
                if record.seq == seq:
                    inode.now[record.start + 5] ^= 1


def test_bit_rot_is_declared_in_the_next_batch() -> None:
    files = MemoryFiles()
    rig = Rig(files, segment_bytes=100_000)
    for n in range(1, 9):
        rig.keep(n)
    hurt(files, 4)
    after = Rig(files, rig.state)
    after.keep(9)
    lost = unseal(after.sent[0].message).lost
    assert lost == (LostRange(rig.keeper.epoch, 4, 4, "bitrot"),)
    assert after.sent[0].seq == 9
    assert Rig(files, after.state).keeper.keep([]) == [], "it is declared once"


def test_a_rotten_end_closes_the_epoch_so_that_its_number_is_not_used_again() -> None:
    files = MemoryFiles()
    rig = Rig(files)
    for n in range(1, 4):
        rig.keep(n)
    hurt(files, 3)
    after = Rig(files)  # with nothing remembered
    after.keep(4)
    assert after.sent[0].epoch != rig.keeper.epoch
    assert unseal(after.sent[0].message).lost == (LostRange(rig.keeper.epoch, 3, 3, "bitrot"),)


def test_numbers_remembered_as_used_but_gone_close_the_epoch() -> None:
    files = MemoryFiles()
    rig = Rig(files)
    for n in range(1, 4):
        rig.keep(n)
    backup = files.power_cut()
    for n in range(4, 9):
        rig.keep(n)
    rig.state.acknowledge(rig.keeper.epoch, [(1, 6)])
    after = Rig(backup, rig.state)  # an older copy of the journal under a newer state
    after.keep(9)
    assert after.sent[0].epoch != rig.keeper.epoch
    assert unseal(after.sent[0].message).lost == (LostRange(rig.keeper.epoch, 7, 8, "regression"),)


def test_a_head_end_that_knows_more_than_the_journal_makes_it_number_anew() -> None:
    files = MemoryFiles()
    rig = Rig(files)
    for n in range(1, 4):
        rig.keep(n)
    restored = Rig(files.power_cut())  # the whole card was put back, state and all
    restored.keep(50)
    restored.keep(51)
    collided = restored.keeper.epoch
    assert restored.keeper.renumber(collided, 4) == (4, 5)
    again = [b for b in restored.sent if b.epoch != collided]
    assert numbers_of(again) == [50, 51]
    assert [b.seq for b in again] == list(range(1, len(again) + 1))
    restored.keep(52)
    (declared,) = (lost for batch in restored.sent[len(again) :] for lost in unseal(batch.message).lost)
    assert declared == LostRange(collided, 4, 5, "forked"), "the head-end's own 4 and 5 stand"


def test_what_a_lost_batch_had_declared_is_declared_again() -> None:
    state = State()
    first = LostRange("a" * 16, 5, 6, "quota")
    state.lose(first)
    state.declare([first], "a" * 16, 9)
    assert state.undeclared() == ()
    state.lose(LostRange("a" * 16, 8, 9, "bitrot"))
    assert set(state.undeclared()) == {first, LostRange("a" * 16, 8, 9, "bitrot")}


@settings(max_examples=40)
@given(st.integers(1, 40), st.floats(0, 0.999), st.floats(0, 0.999))
def test_a_journal_cut_anywhere_with_its_state_intact_names_every_loss(count: int, where: float, cut: float) -> None:
    files = MemoryFiles()
    rig = Rig(files, segment_bytes=1500)
    for n in range(1, count + 1):
        rig.keep(n)
    paths = sorted((p for p in files.names if p.suffix == ".seg"), key=lambda p: p.name)
    data = files.names[paths[int(where * len(paths))]].now
    del data[int(cut * len(data)) :]
    after = Rig(files, rig.state)
    after.keep(1000)
    held = after.keeper.held(rig.keeper.epoch)
    named = RangeSet(
        (r.first, r.last) for b in after.sent for r in unseal(b.message).lost if r.epoch == rig.keeper.epoch
    )
    for seq in range(1, count + 1):
        assert (seq in held) != (seq in named)
        if seq in held:
            assert after.keeper.read(rig.keeper.epoch, seq) == rig.sent[seq - 1].message
    assert FOLDER in files.folders
