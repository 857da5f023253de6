"""When which meter is due: a grid without drift, nothing asked twice, nothing owed for ever.

Slots are the multiples of each rate's period since 1970 UTC, so that two gateways, and one gateway before and after a
restart, mean the same moments. A meter's turn waits until the line is free; if the next slot comes first, the older
turn is given up and counted. A line that cannot keep up therefore skips evenly and never falls behind or bursts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from meterline.clock import NS
from meterline.profiles import Rate
from meterline.settings import Rates

QUARTER_NS = 900 * NS
"""Accounts are kept on quarter hours: at these slots counters are read before anything else."""
W = TypeVar("W")


@dataclass(slots=True)
class Turn(Generic[W]):
    """A meter to be asked for one slot.

    Attributes
    ----------
    rates
        The classes due at this slot; shrinks when a newer slot takes one over.
    rank
        Less is sooner: 0 counters at a quarter hour, 1 in the normal course, 2 a second chance, 3 a silent meter.
    work
        What the poller has done of it so far; None until it is begun.
    ends_ns
        When the next slot of its fastest class begins: until then it should be served. [ns]
    owed
        Whether its faster classes were given up: the line is too slow, and what is left (the counters) goes first.
    """

    meter: str
    slot_ns: int
    rates: frozenset[Rate]
    rank: int = 1
    order: int = 0
    work: W | None = None
    ends_ns: int = 0
    owed: bool = False


@dataclass
class Schedule(Generic[W]):
    """The turns of one bus.

    Attributes
    ----------
    periods
        Rate -> period. [ns]
    meters
        Meter -> the rate classes its page has.
    rank_of
        Says how urgent a new turn is (meter, slot, rates), or None if the meter is not to be asked this time.
    skipped
        Meter -> slots given up, wholly or in part, because the line was busy.
    lost, stalled
        Meter -> half-open span of slots given up since it was last looked at: because the line was busy; because they
        went by while the process stood still, or the clock was set forward. [ns]
    """

    periods: Mapping[Rate, int]
    meters: Mapping[str, frozenset[Rate]]
    rank_of: Callable[[str, int, frozenset[Rate]], int | None]
    skipped: dict[str, int] = field(init=False)
    lost: dict[str, tuple[int, int]] = field(init=False, default_factory=dict)
    stalled: dict[str, tuple[int, int]] = field(init=False, default_factory=dict)
    waiting: list[Turn[W]] = field(init=False, default_factory=list)
    _last: dict[Rate, int] = field(init=False, default_factory=dict)
    _served: dict[str, int] = field(init=False, default_factory=dict)
    _serial: int = field(init=False, default=0)
    _by_rates: dict[frozenset[Rate], list[tuple[str, frozenset[Rate], int, int]]] = field(
        init=False, default_factory=dict
    )
    _seen_ns: int = field(init=False, default=0)
    _next_ns: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.skipped = dict.fromkeys(self.meters, 0)
        used = frozenset[Rate]().union(*self.meters.values()) if self.meters else frozenset()
        self.periods = {rate: period for rate, period in self.periods.items() if rate in used}

    def start(self, now_ns: int) -> None:
        """Begin with the next slot of each rate, not with one that has passed."""
        self._last = {rate: (now_ns - 1) // period * period for rate, period in self.periods.items()}
        self._seen_ns, self._next_ns = now_ns, self._soonest()

    def next_ns(self) -> int | None:
        """The next slot of any rate; None if there is nothing to do, ever. [ns]"""
        return self._next_ns

    def advance(self, now_ns: int) -> list[Turn[W]]:
        """Bring the waiting turns up to date; returns those given up although they had been begun."""
        next_ns = self._next_ns
        if next_ns is None or self._seen_ns <= now_ns < next_ns:
            return []
        self._seen_ns = now_ns
        due: dict[int, set[Rate]] = {}
        stalled: dict[Rate, tuple[int, int]] = {}
        for rate, period in self.periods.items():
            newest = now_ns // period * period
            last = self._last[rate]
            if newest < last - period:  # the clock went back: its slots come again, and are told apart downstream
                self._last[rate] = newest
                due.setdefault(newest, set()).add(rate)
            elif newest > last:
                if newest - last > period:
                    stalled[rate] = (last + period, newest)
                self._last[rate] = newest
                due.setdefault(newest, set()).add(rate)
        self._next_ns = self._soonest()
        if stalled:
            self._note_stall(stalled)
        given_up: list[Turn[W]] = []
        for slot_ns in sorted(due):
            given_up += self._enter(slot_ns, frozenset(due[slot_ns]))
        return given_up

    def pick(self) -> Turn[W] | None:
        """The turn to serve now: by rank, what is owed, whose slot ends first, who has waited longest to be served."""
        return self.pick_if(lambda turn: True)

    def pick_if(self, suits: Callable[[Turn[W]], bool]) -> Turn[W] | None:
        """Like `pick`, among the turns that suit."""
        waiting = self.waiting
        if len(waiting) == 1:
            if not suits(waiting[0]):
                return None
            return self._serve(waiting.pop())
        best = min((turn for turn in waiting if suits(turn)), key=self._urgency, default=None)
        if best is None:
            return None
        waiting.remove(best)
        return self._serve(best)

    def put_back(self, turn: Turn[W], rank: int) -> None:
        """Let a turn wait once more."""
        turn.rank = rank
        self.waiting.append(turn)

    def _urgency(self, turn: Turn[W]) -> tuple[int, bool, int, int, int]:
        return (turn.rank, not turn.owed, turn.ends_ns, self._served.get(turn.meter, 0), turn.order)

    def _serve(self, turn: Turn[W]) -> Turn[W]:
        self._serial += 1
        self._served[turn.meter] = self._serial
        return turn

    def _soonest(self) -> int | None:
        return min((self._last[rate] + period for rate, period in self.periods.items()), default=None)

    def _note_stall(self, stalled: Mapping[Rate, tuple[int, int]]) -> None:
        """The process stood still, or the clock was set forward: slots went by unseen."""
        for meter, rates in self.meters.items():
            spans = [(*stalled[rate], self.periods[rate]) for rate in rates if rate in stalled]
            if spans:
                slots = max((end - start) // period for start, end, period in spans)
                self.skipped[meter] += slots
                _widen(self.stalled, meter, min(span[0] for span in spans), max(span[1] for span in spans))

    def _having(self, rates: frozenset[Rate]) -> list[tuple[str, frozenset[Rate], int, int]]:
        """The meters that have any of some rates: which of them, their place in the order, and the shortest period."""
        known = self._by_rates.get(rates)
        if known is None:
            known = self._by_rates[rates] = [
                (meter, has & rates, order, min(self.periods[rate] for rate in has & rates))
                for order, (meter, has) in enumerate(self.meters.items())
                if has & rates
            ]
        return known

    def _enter(self, slot_ns: int, rates: frozenset[Rate]) -> list[Turn[W]]:
        given_up: list[Turn[W]] = []
        if self.waiting:
            self.waiting, waiting = [], self.waiting
            for turn in waiting:
                taken_over = turn.rates & rates
                if not taken_over:
                    self.waiting.append(turn)
                elif turn.work is not None:
                    (given_up if turn.rank >= 2 else self.waiting).append(turn)
                else:
                    if turn.rank < 3:
                        self.skipped[turn.meter] += 1
                        _widen(self.lost, turn.meter, turn.slot_ns, turn.ends_ns)
                    turn.rates -= taken_over
                    if turn.rates:
                        turn.owed = True
                        turn.ends_ns = turn.slot_ns + min(self.periods[rate] for rate in turn.rates)
                        self.waiting.append(turn)
        waiting, rank_of = self.waiting, self.rank_of
        for meter, wanted, order, period in self._having(rates):
            rank = rank_of(meter, slot_ns, wanted)
            if rank is not None:
                waiting.append(Turn(meter, slot_ns, wanted, rank, order, None, slot_ns + period))
        return given_up


def _widen(spans: dict[str, tuple[int, int]], meter: str, start_ns: int, end_ns: int) -> None:
    before = spans.get(meter, (start_ns, end_ns))
    spans[meter] = (min(start_ns, before[0]), max(end_ns, before[1]))


def periods_of(rates: Rates) -> dict[Rate, int]:
    """The site's rate classes as periods. [ns]"""
    return {
        Rate.FAST: round(rates.fast_s * NS),
        Rate.NORMAL: round(rates.normal_s * NS),
        Rate.SLOW: round(rates.slow_s * NS),
    }
