"""Only the head-end's word moves a batch out of our care."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from gateway_firmware_py.outbox import Outbox
from gateway_firmware_py.state import State
from meterline.ranges import RangeSet
from meterline.wire import Ack, LostRange, Refusal, Sealed, refusal_digest


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


def make(shelf: Shelf, stored: Iterable[int] = (), **more: object) -> tuple[Outbox, State]:
    """An outbox connected to a head-end that holds these numbers, and is asked about them."""
    state = State()
    outbox = Outbox("gw1", state, **more)  # type: ignore[arg-type]
    outbox.attach(shelf)
    outbox.connected(65535)
    answer(outbox, {seq: digest(seq) for seq in stored})
    return outbox, state


def digest(seq: int) -> bytes:
    return refusal_digest(str(seq).encode())


def answer(outbox: Outbox, stored: dict[int, bytes], now_s: float = 0.0) -> int:
    """Answer as a head-end with these batches would, until there are no more questions; returns how many there were."""
    rounds = 0
    while asks := outbox.questions(now_s):
        rounds += 1
        for ask in asks:
            wanted = {*ask.digests, max(stored, default=0)} & stored.keys()
            digests = tuple((seq, stored[seq]) for seq in sorted(wanted))
            received = RangeSet((seq, seq) for seq in stored).ranges
            outbox.acknowledge(Ack("gw1", ask.epoch, received, (), 0, digests, ask.nonce), now_s)
    return rounds


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
    assert drain(outbox) == [], "the head-end is asked first"
    answer(outbox, {})
    assert drain(outbox) == [1, 2]


def test_older_epochs_go_first_and_losses_are_not_sent() -> None:
    shelf = Shelf(3, epochs=("a" * 16, E))
    state = State()
    state.lose(LostRange("a" * 16, 2, 3, "resealed"))
    outbox = Outbox("gw1", state)
    outbox.attach(shelf)
    outbox.connected(65535)
    answer(outbox, {})
    keys = [item[0] for _ in range(4) if (item := outbox.take(0.0))]
    assert keys == [("a" * 16, 1), (E, 1), (E, 2), (E, 3)]


# --- comparing before sending -----------------------------------------------------------------------------------------


def test_nothing_is_sent_before_the_head_end_has_answered_this_very_question() -> None:
    shelf = Shelf(5)
    state = State()
    outbox = Outbox("gw1", state)
    outbox.attach(shelf)
    outbox.connected(65535)
    (ask,) = outbox.questions(0.0)
    assert outbox.questions(4.9) == []
    assert outbox.questions(5.0) == [ask], "asked again"
    outbox.acknowledge(ack([(1, 3)]), 0.0)  # retained, from who knows when
    outbox.acknowledge(Ack("gw1", E, ((1, 3),), answers="another question"), 0.0)
    assert drain(outbox) == []
    assert state.acked(E) == RangeSet()
    outbox.acknowledge(Ack("gw1", E, ((1, 3),), digests=((3, digest(3)),), answers=ask.nonce), 0.0)
    assert drain(outbox) == [4, 5]
    assert state.acked(E) == RangeSet([(1, 3)])


@pytest.mark.parametrize("there", [3, 4, 40, 100, 5000])
@pytest.mark.parametrize("here", [4, 30, 100, 5000])
@pytest.mark.parametrize("same", [0, 1, 3])
def test_the_place_where_two_histories_part_is_found(there: int, here: int, same: int) -> None:
    parted: list[tuple[str, int]] = []
    outbox, state = make(Shelf(here), parted=lambda epoch, first: parted.append((epoch, first)))
    outbox.connected(65535)
    theirs = {seq: digest(seq) if seq <= same else digest(-seq) for seq in range(1, there + 1)}
    assert answer(outbox, theirs) <= 5
    if same == there:
        assert parted == []
        return
    assert parted == [(E, same + 1)]
    assert drain(outbox) == []
    assert state.acked(E) == RangeSet(), "what is stored under our numbers is not ours"
    outbox.renumbered(E, same + 1, here)
    answer(outbox, theirs)
    assert drain(outbox) == list(range(1, same + 1))


def test_what_has_been_numbered_anew_is_not_numbered_anew_on_every_connection() -> None:
    parted: list[tuple[str, int]] = []
    old = "a" * 16
    shelf = Shelf(9, epochs=(old, E))
    state = State()
    state.lose(LostRange(old, 4, 9, "forked"))
    outbox = Outbox("gw1", state, parted=lambda *what: parted.append(what))
    outbox.attach(shelf)
    outbox.connected(65535)
    theirs = {seq: digest(seq if seq < 4 else -seq) for seq in range(1, 8)}
    for ask in [a for a in outbox.questions(0.0) if a.epoch == E]:
        outbox.acknowledge(Ack("gw1", E, (), answers=ask.nonce), 0.0)
    while asks := [a for a in outbox.questions(10.0) if a.epoch == old]:
        for ask in asks:
            digests = tuple((seq, theirs[seq]) for seq in sorted({*ask.digests, 7} & theirs.keys()))
            outbox.acknowledge(Ack("gw1", old, ((1, 7),), (), 0, digests, ask.nonce), 10.0)
    assert parted == []
    assert outbox.compared


def test_a_longer_history_of_the_same_batches_is_a_restored_copy() -> None:
    parted: list[tuple[str, int]] = []
    make(Shelf(3), stored=range(1, 9), parted=lambda *what: parted.append(what))
    assert parted == [(E, 4)], "nothing is void, and the next number is used already"


def test_a_hole_below_where_histories_part_is_void_too() -> None:
    parted: list[tuple[str, int]] = []
    outbox, _ = make(Shelf(9), parted=lambda *what: parted.append(what))
    outbox.connected(65535)
    answer(outbox, {1: digest(1), 2: digest(2), 5: digest(-5)})
    assert parted == [(E, 3)]


def test_a_number_pruned_here_is_compared_by_what_is_left() -> None:
    shelf = Shelf(9)
    shelf.shelves[E].remove(4, 7)
    parted: list[tuple[str, int]] = []
    outbox, state = make(shelf, stored=range(1, 7), parted=lambda *what: parted.append(what))
    assert parted == []
    assert state.acked(E) == RangeSet([(1, 6)])
    assert drain(outbox) == [8, 9]


def test_a_wiped_store_is_found_out_by_the_question() -> None:
    shelf = Shelf(6)
    outbox, state = make(shelf, stored=range(1, 7))
    assert drain(outbox) == []
    outbox.audit()
    answer(outbox, {})
    assert drain(outbox) == [1, 2, 3, 4, 5, 6]
    assert state.counters()["retracted"] == 6


def test_batches_go_on_during_an_audit() -> None:
    shelf = Shelf(6)
    outbox, _ = make(shelf)
    outbox.audit()
    (ask,) = outbox.questions(0.0)
    assert drain(outbox) == [1, 2, 3, 4, 5, 6]
    shelf.add(outbox)
    stored = tuple((seq, digest(seq)) for seq in (7,))
    outbox.acknowledge(Ack("gw1", E, ((1, 7),), digests=stored, answers=ask.nonce), 0.0)
    assert outbox.compared


# --- refused ----------------------------------------------------------------------------------------------------------


def refuse(outbox: Outbox, seq: int, reason: str, now_s: float = 0.0) -> bool:
    return outbox.refused(Refusal("gw1", digest(seq), reason), now_s)


def test_a_batch_refused_three_times_is_declared_and_the_others_go_on() -> None:
    outbox, state = make(Shelf(3))
    assert drain(outbox) == [1, 2, 3]
    assert not refuse(outbox, 2, "schema")
    outbox.acknowledge(ack([(1, 1), (3, 3)], [(2, 2)]), 10.0)
    assert drain(outbox, 10.0) == [], "asking for it does not bring it sooner"
    for wait_s in (60.0, 700.0):
        assert outbox.parked == 1
        outbox.tick(wait_s)
        assert drain(outbox, wait_s) == [2]
        assert not refuse(outbox, 2, "schema", wait_s)
    assert state.undeclared() == (LostRange(E, 2, 2, "refused"),)
    assert state.counters()["refused:schema"] == 3
    outbox.tick(10_000.0)
    assert drain(outbox, 10_000.0) == []


@pytest.mark.parametrize("reason", ["signature", "unknown-gateway", "version"])
def test_what_every_batch_would_meet_costs_none(reason: str) -> None:
    outbox, state = make(Shelf(3))
    drain(outbox)
    for _ in range(20):
        assert refuse(outbox, 2, reason)
    assert state.undeclared() == ()
    assert drain(outbox) == [2]


def test_a_head_end_that_refuses_everything_costs_nothing() -> None:
    outbox, state = make(Shelf(12))
    sent = drain(outbox)
    verdicts = [refuse(outbox, seq, "store") for seq in sent]
    assert verdicts == [False] * 8 + [True] * (len(sent) - 8)
    assert state.undeclared() == ()


def test_a_refusal_of_bytes_never_sent_means_nothing() -> None:
    outbox, state = make(Shelf(3))
    drain(outbox)
    assert not refuse(outbox, 77, "schema")
    assert not outbox.refused(Refusal("gw2", digest(1), "schema"), 0.0)
    assert outbox.parked == 0
    assert state.counters() == {"refusals-foreign": 2}


def test_a_conflict_leads_to_the_question_and_to_new_numbers() -> None:
    parted: list[tuple[str, int]] = []
    outbox, _ = make(Shelf(9), parted=lambda *what: parted.append(what))
    drain(outbox)
    assert not refuse(outbox, 6, "conflict")
    assert drain(outbox) == []
    answer(outbox, {seq: digest(seq if seq < 4 else -seq) for seq in range(1, 8)})
    assert parted == [(E, 4)]
