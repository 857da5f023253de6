"""Live first, but the backlog keeps its share; nothing is dropped, nothing given twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway_firmware_py.lanes import FRESH, Lanes

EPOCHS = ("old", "new")


def test_newest_live_first() -> None:
    lanes = Lanes()
    for seq in (1, 2, 3):
        lanes.add_live(("new", seq))
    assert [lanes.take() for _ in range(4)] == [("new", 3), ("new", 2), ("new", 1), None]


def test_backlog_is_oldest_first_and_older_epochs_go_first() -> None:
    lanes = Lanes()
    lanes.add_backlog("old", [(7, 8)])
    lanes.add_backlog("new", [(1, 1), (5, 5)])
    assert [lanes.take() for _ in range(4)] == [("old", 7), ("old", 8), ("new", 1), ("new", 5)]


@given(st.integers(1, 200), st.integers(1, 200))
def test_while_both_wait_one_of_five_is_backlog(live: int, backlog: int) -> None:
    lanes = Lanes(live_most=1000)
    lanes.add_backlog("old", [(1, backlog)])
    for seq in range(1, live + 1):
        lanes.add_live(("new", seq))
    taken: list[str] = []
    while lanes.live and lanes.backlog:
        key = lanes.take()
        assert key is not None
        taken.append(key[0])
    for start in range(len(taken) - 4):
        assert "old" in taken[start : start + 5]
        assert taken[start : start + 5].count("new") >= 4 or "old" in taken[start : start + 4]
    assert taken.count("new") >= 4 * (len(taken) // 5)


def test_too_much_live_becomes_backlog_from_its_old_end() -> None:
    lanes = Lanes(live_most=3)
    for seq in range(1, 6):
        lanes.add_live(("new", seq))
    assert (lanes.live, lanes.backlog) == (3, 2)
    assert lanes.waiting(("new", 1))
    assert lanes.take() == ("new", 5)


class LanesKeepASet(RuleBasedStateMachine):
    """Against a plain set: what is put in comes out once, whatever the order."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(live_most=4)
        self.lanes.add_backlog("old", ())
        self.model: set[tuple[str, int]] = set()

    @rule(epoch=st.sampled_from(EPOCHS), seq=st.integers(1, 30))
    def live(self, epoch: str, seq: int) -> None:
        if (epoch, seq) not in self.model:
            self.model.add((epoch, seq))
            self.lanes.add_live((epoch, seq))

    @rule(epoch=st.sampled_from(EPOCHS), first=st.integers(1, 30), count=st.integers(0, 9))
    def backlog(self, epoch: str, first: int, count: int) -> None:
        if not any((epoch, seq) in self.model for seq in range(first, first + count + 1)):
            self.model |= {(epoch, seq) for seq in range(first, first + count + 1)}
            self.lanes.add_backlog(epoch, [(first, first + count)])

    @rule(epoch=st.sampled_from(EPOCHS), first=st.integers(1, 30), count=st.integers(0, 9))
    def remove(self, epoch: str, first: int, count: int) -> None:
        self.model -= {(epoch, seq) for seq in range(first, first + count + 1)}
        self.lanes.remove(epoch, [(first, first + count)])

    @rule()
    def take(self) -> None:
        key = self.lanes.take()
        if key is None:
            assert not self.model
        else:
            self.model.remove(key)

    @rule()
    def fold(self) -> None:
        newest = self.lanes.live
        self.lanes.fold()
        assert self.lanes.live == min(newest, FRESH), "what was read last still goes first"

    @invariant()
    def same_size(self) -> None:
        assert self.lanes.live + self.lanes.backlog == len(self.model)
        assert all(self.lanes.waiting(key) for key in self.model)


TestLanesKeepASet = LanesKeepASet.TestCase
