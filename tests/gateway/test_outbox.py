"""Only the head-end's word moves a batch out of our care."""

from __future__ import annotations

import pytest

from gateway_firmware_py.outbox import Outbox
from gateway_firmware_py.state import State
from meterline.ranges import RangeSet
from meterline.wire import Ack, LostRange, Sealed


class Shelf:
    """Stands for the keeper: batches whose message is their number."""

    def __init__(self, count: int, epochs: tuple[str, ...] = ("e" * 16,)) -> None:
        self.epochs = epochs
        self.epoch = epochs[-1]
        self.next_seq = count + 1
        self.shelves = {epoch: RangeSet([(1, count)] if count else ()) for epoch in epochs}
        self.broken: OSError | None = None

    def held(self, epoch: str) -> RangeSet:
        return self.shelves[epoch].copy()

    def read(self, epoch: str, seq: int) -> bytes | None:
        if self.broken:
            raise self.broken
        return str(seq).encode() if seq in self.shelves[epoch] else None

    def add(self, outbox: Outbox) -> None:
        self.shelves[self.epoch].add(self.next_seq)
        outbox.announce([Sealed(self.epoch, self.next_seq, b"", b"")])
        self.next_seq += 1


E = "e" * 16


def make(shelf: Shelf, **more: object) -> tuple[Outbox, State]:
    state = State()
    outbox = Outbox("gw1", state, **more)  # type: ignore[arg-type]
    outbox.attach(shelf)
    outbox.connected(65535)
    return outbox, state


def drain(outbox: Outbox, now_s: float = 0.0) -> list[int]:
    taken = []
    while (item := outbox.take(now_s)) is not None:
        assert item[1] == str(item[0][1]).encode()
        taken.append(item[0][1])
        outbox.confirmed(item[0])
    return taken


def ack(received: list[tuple[int, int]], wanted: list[tuple[int, int]] | None = None, **more: str) -> Ack:
    return Ack(more.get("gateway", "gw1"), more.get("epoch", E), tuple(received), tuple(wanted or ()))


def test_confirmed_by_the_broker_is_not_stored() -> None:
    shelf = Shelf(3)
    outbox, state = make(shelf)
    assert drain(outbox) == [1, 2, 3]
    assert state.acked(E) == RangeSet()
    assert outbox.tick(5.0) == 3
    assert drain(outbox, 5.0) == [1, 2, 3]


def test_acknowledged_is_never_sent_again() -> None:
    shelf = Shelf(10)
    outbox, state = make(shelf)
    assert outbox.acknowledge(ack([(1, 4), (7, 7)]), 0.0) == 5
    assert drain(outbox) == [5, 6, 8, 9, 10]
    assert outbox.acknowledge(ack([(1, 10)]), 1.0) == 5
    assert outbox.tick(1000.0) == 0
    assert outbox.acknowledge(ack([(1, 10)]), 2.0) == 0
    assert state.acked(E) == RangeSet([(1, 10)])


def test_live_goes_before_the_backlog() -> None:
    shelf = Shelf(100)
    outbox, _ = make(shelf)
    shelf.add(outbox)
    shelf.add(outbox)
    assert drain(outbox)[:3] == [102, 101, 1]


def test_foreign_and_unknown_acknowledgements_are_counted_and_change_nothing() -> None:
    shelf = Shelf(3)
    outbox, state = make(shelf)
    outbox.acknowledge(ack([(1, 3)], gateway="gw2"), 0.0)
    outbox.acknowledge(ack([(1, 3)], epoch="f" * 16), 0.0)
    assert state.counters() == {"acks-foreign": 1, "acks-unknown-epoch": 1}
    assert drain(outbox) == [1, 2, 3]


def test_a_hole_is_filled_at_once_if_its_batch_was_surely_missed() -> None:
    shelf = Shelf(3)
    outbox, _ = make(shelf)
    drain(outbox)
    outbox.acknowledge(ack([(1, 1), (3, 3)], [(2, 2)]), 0.5)
    assert drain(outbox, 0.5) == [], "it may still be on its way"
    outbox.acknowledge(ack([(1, 1), (3, 3)], [(2, 2)]), 3.0)
    assert drain(outbox, 3.0) == [2]


def test_what_was_acknowledged_and_is_wanted_again_is_sent_again() -> None:
    shelf = Shelf(6)
    outbox, state = make(shelf)
    drain(outbox)
    outbox.acknowledge(ack([(1, 6)]), 1.0)
    shelf.add(outbox)
    drain(outbox, 2.0)
    outbox.acknowledge(ack([(7, 7)], [(1, 6)]), 3.0)  # the store was wiped
    assert drain(outbox, 3.0) == [1, 2, 3, 4, 5, 6]
    assert state.acked(E) == RangeSet([(7, 7)])
    assert state.counters()["retracted"] == 6


def test_what_is_wanted_and_not_kept_any_more_becomes_a_loss_once() -> None:
    shelf = Shelf(9)
    shelf.shelves[E].remove(1, 4)
    outbox, state = make(shelf)
    state.acknowledge(E, [(1, 4)])
    for _ in range(2):
        outbox.acknowledge(ack([(9, 9)], [(1, 8)]), 1.0)
    assert state.undeclared() == (LostRange(E, 1, 4, "pruned"),)
    assert drain(outbox) == [5, 6, 7, 8]


def test_numbers_never_used_here_are_a_conflict() -> None:
    called: list[int] = []
    shelf = Shelf(3)
    outbox, state = make(shelf, conflict=lambda: called.append(1))
    outbox.acknowledge(ack([(1, 5)]), 0.0)
    assert called == [1]
    assert state.acked(E) == RangeSet()


def test_a_batch_that_rotted_away_becomes_a_loss() -> None:
    shelf = Shelf(3)
    outbox, state = make(shelf)
    shelf.shelves[E].remove(2)
    assert drain(outbox) == [1, 3]
    assert state.undeclared() == (LostRange(E, 2, 2, "bitrot"),)


def test_a_disk_that_cannot_be_read_keeps_the_batch_waiting() -> None:
    shelf = Shelf(1)
    outbox, _ = make(shelf)
    shelf.broken = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input"):
        outbox.take(0.0)
    shelf.broken = None
    assert drain(outbox) == [1]


def test_a_new_connection_sends_again_what_was_under_way() -> None:
    shelf = Shelf(2)
    outbox, _ = make(shelf)
    drain(outbox)
    outbox.connected(10)
    assert drain(outbox) == [1, 2]


def test_older_epochs_go_first_and_losses_are_not_sent() -> None:
    shelf = Shelf(3, epochs=("a" * 16, E))
    state = State()
    state.lose(LostRange("a" * 16, 2, 3, "resealed"))
    outbox = Outbox("gw1", state)
    outbox.attach(shelf)
    outbox.connected(65535)
    keys = [item[0] for _ in range(4) if (item := outbox.take(0.0))]
    assert keys == [("a" * 16, 1), (E, 1), (E, 2), (E, 3)]
