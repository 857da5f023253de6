"""What is known about a counter, what can break its track, and the track itself: the words of the counter engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from analytics.series import SECOND_NS, BitArray, BoolArray, IntArray


class EventKind(StrEnum):
    """What broke the track."""

    ROLLOVER = "rollover"
    RESET = "reset"
    GLITCH = "glitch"
    STALE = "stale"
    BACKWARDS = "backwards"
    JUMP = "jump"
    DROP = "drop"
    OVER_RATE = "over_rate"
    CONFLICT = "conflict"
    """Two different readings of one instant; the less doubtful, then the smaller, counts."""
    EXCHANGE = "exchange"
    """Another meter took its place, as the plant entered it."""
    UNCONFIRMED = "unconfirmed"
    """The newest readings left the track and too few followed to say why: held back, judged again with more."""


@dataclass(frozen=True, slots=True)
class CounterEvent:
    """One break of a counter's track.

    Attributes
    ----------
    t_before_ns, t_after_ns : int
        Last reading before and first believed reading after it (for ``unconfirmed``: the last reading there is). [ns]
    before_micro, after_micro : int
        What the display showed then. [1e-6 unit]
    correction_micro : int
        Added to ``after - before`` to give the energy of this step. [1e-6 unit]
    set_aside : int
        How many readings in between do not count.
    odd_micro : tuple of int
        The first of them (at most eight), as evidence. [1e-6 unit]
    """

    kind: EventKind
    t_before_ns: int
    t_after_ns: int
    before_micro: int
    after_micro: int
    correction_micro: int = 0
    set_aside: int = 0
    odd_micro: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """Another meter took the place of the old one.

    Attributes
    ----------
    removed_ns, installed_ns : int
        When the old one was taken out and the new one began to count; equal where it was done without a break. [ns]
    old_end_micro, new_start_micro : int or None
        What the old one showed last and the new one first; None: nobody wrote it down, then the energy from the last
        reading of the old to the first of the new is not known. [1e-6 unit]
    """

    removed_ns: int
    installed_ns: int
    old_end_micro: int | None = None
    new_start_micro: int | None = None


@dataclass(frozen=True, slots=True)
class CounterRules:
    """What is known about a counter.

    Attributes
    ----------
    max_gap_ns : int
        Readings further apart leave a gap: its energy is a true total, its split over intervals an estimate. [ns]
    max_rate : float or None
        The fastest the counter can physically run; see `rate_of_power`. None: unknown, then only falls can be judged
        (wrong readings upwards are seen when they come back within three readings). [1e-6 unit / s]
    wraps_at : int or None
        The display's modulus: after ``wraps_at - 1`` comes 0. None: never seen to roll over. [1e-6 unit]
    resolution : int
        The display's last digit. [1e-6 unit]
    glitch_max_ns : int
        The longest time for which wrong readings may last and still be recognised by the return to the old track. [ns]
    may_run_backwards : bool
        A net counter, or an old disc: falls within the rate are energy, not faults.
    exchanges : tuple of Exchange
        In order of time, none before the end of the one before.
    """

    max_gap_ns: int
    max_rate: float | None = None
    wraps_at: int | None = None
    resolution: int = 1
    glitch_max_ns: int = 6 * 3600 * SECOND_NS
    may_run_backwards: bool = False
    exchanges: tuple[Exchange, ...] = ()

    def limit(self, dt_ns: IntArray) -> IntArray:
        """The most the counter can have moved in `dt_ns`: the rate, 5 s of clock slack and two display digits."""
        if self.max_rate is None:
            return np.full(np.shape(dt_ns), np.iinfo(np.int64).max // 4, dtype=np.int64)
        seconds = (dt_ns + 5 * SECOND_NS) / SECOND_NS
        return np.floor(np.minimum(self.max_rate * seconds, 2.0**61)).astype(np.int64) + 2 * self.resolution


def rate_of_power(kw: float) -> float:
    """The rate of an energy counter [1e-6 kWh / s] at a power [kW]; likewise of a volume counter at a flow [unit/h]."""
    return kw * 1e6 / 3600.0


@dataclass(frozen=True)
class Track:
    """The believed readings of a counter.

    Attributes
    ----------
    t_ns, micro : (n,) int64
        Time [ns] and display [1e-6 unit] of the believed readings.
    account : (n,) int64
        The display freed from breaks; ``account[0] == micro[0]``. [1e-6 unit]
    known : (n - 1,) bool
        Whether the energy of each step is known (false: a jump, a drop, a reverse run; the account stands still there).
    covered : (n - 1,) bool
        Known, and between readings no further apart than the longest gap, and no lower bound only.
    flags : (n - 1,) int32
        `Quality` bits of each step.
    events : tuple of CounterEvent
        In order of time.
    """

    t_ns: IntArray
    micro: IntArray
    account: IntArray
    known: BoolArray
    covered: BoolArray
    flags: BitArray
    events: tuple[CounterEvent, ...]

    @cached_property
    def dt(self) -> IntArray:
        """(n - 1,) int64: length of each step. [ns]"""
        return np.diff(self.t_ns)

    @cached_property
    def rise(self) -> IntArray:
        """(n - 1,) int64: energy of each step by the account. [1e-6 unit]"""
        return np.diff(self.account)
