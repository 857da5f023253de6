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
    """

    meter: str
    slot_ns: int
    rates: frozenset[Rate]
    rank: int = 1
    order: int = 0
    work: W | None = None


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
    """

    periods: Mapping[Rate, int]
    meters: Mapping[str, frozenset[Rate]]
    rank_of: Callable[[str, int, frozenset[Rate]], int | None]
    skipped: dict[str, int] = field(init=False)
    waiting: list[Turn[W]] = field(init=False, default_factory=list)
    _last: dict[Rate, int] = field(init=False, default_factory=dict)
    _served: dict[str, int] = field(init=False, default_factory=dict)
    _serial: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.skipped = dict.fromkeys(self.meters, 0)
        used = frozenset[Rate]().union(*self.meters.values()) if self.meters else frozenset()
        self.periods = {rate: period for rate, period in self.periods.items() if rate in used}

    def start(self, now_ns: int) -> None:
        """Begin with the next slot of each rate, not with one that has passed."""
        self._last = {rate: (now_ns - 1) // period * period for rate, period in self.periods.items()}

    def next_ns(self) -> int | None:
        """The next slot of any rate; None if there is nothing to do, ever. [ns]"""
        return min((self._last[rate] + period for rate, period in self.periods.items()), default=None)

    def advance(self, now_ns: int) -> list[Turn[W]]:
        """Bring the waiting turns up to date; returns those given up although they had been begun."""
        due: dict[int, set[Rate]] = {}
        lost: dict[Rate, int] = {}
        for rate, period in self.periods.items():
            newest = now_ns // period * period
            last = self._last[rate]
            if newest < last - period:  # the clock went back: its slots come again, and are told apart downstream
                self._last[rate] = newest
                due.setdefault(newest, set()).add(rate)
            elif newest > last:
                lost[rate] = (newest - last) // period - 1
                self._last[rate] = newest
                due.setdefault(newest, set()).add(rate)
        given_up: list[Turn[W]] = []
        if not due:
            return given_up
        for slot_ns in sorted(due):
            given_up += self._enter(slot_ns, frozenset(due[slot_ns]))
        for meter, rates in self.meters.items():
            self.skipped[meter] += max((lost.get(rate, 0) for rate in rates), default=0)
        return given_up

    def pick(self) -> Turn[W] | None:
        """The turn to serve now: by rank, then who has waited longest since it was last served."""
        if not self.waiting:
            return None
        best = min(
            self.waiting, key=lambda turn: (turn.rank, self._served.get(turn.meter, 0), turn.slot_ns, turn.order)
        )
        self.waiting.remove(best)
        self._serial += 1
        self._served[best.meter] = self._serial
        return best

    def put_back(self, turn: Turn[W], rank: int) -> None:
        """Let a turn wait once more."""
        turn.rank = rank
        self.waiting.append(turn)

    def _enter(self, slot_ns: int, rates: frozenset[Rate]) -> list[Turn[W]]:
        given_up: list[Turn[W]] = []
        kept: list[Turn[W]] = []
        for turn in self.waiting:
            taken_over = turn.rates & rates
            if not taken_over:
                kept.append(turn)
            elif turn.work is not None:
                if turn.rank >= 2:
                    given_up.append(turn)
                else:
                    kept.append(turn)
            else:
                if turn.rank < 3:
                    self.skipped[turn.meter] += 1
                turn.rates -= taken_over
                if turn.rates:
                    kept.append(turn)
        self.waiting = kept
        for order, (meter, has) in enumerate(self.meters.items()):
            if has & rates and (rank := self.rank_of(meter, slot_ns, has & rates)) is not None:
                self.waiting.append(Turn(meter, slot_ns, has & rates, rank, order))
        return given_up


def periods_of(rates: Rates) -> dict[Rate, int]:
    """The site's rate classes as periods. [ns]"""
    return {
        Rate.FAST: round(rates.fast_s * NS),
        Rate.NORMAL: round(rates.normal_s * NS),
        Rate.SLOW: round(rates.slow_s * NS),
    }
