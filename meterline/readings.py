"""A value with its doubt, its source and its two times; and the `Poll`, the shape in which values move.

From the bus to the store values stay in columns: a `Shape` says once what the columns mean, a `Poll` brings one row
of numbers for it. A `Reading` is the view of one number of a poll, for people, rules and tests; nothing on the fast
path makes one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, IntFlag, StrEnum

Number = int | float


class Quality(IntFlag):
    """Why a value may not be taken at its word (bits after IEC 62361-2 and IEEE 2030.5 reading qualities).

    The bits travel unchanged to the last chart and report; `GOOD` is the absence of doubt, not a bit.
    """

    GOOD = 0
    MISSING = 1
    """No answer; there is no value."""
    INVALID = 2
    """The meter's own "not available" pattern, or digits that are none; there is no value."""
    SUSPECT = 4
    """A value came, but fails a plausibility rule; it is kept as it came."""
    LATE = 8
    """Reached the head-end after its interval had been closed."""
    ESTIMATED = 16
    """Ours, not the meter's."""
    CLOCK_UNSYNC = 32
    """Stamped by a clock that nothing had set."""
    CLOCK_STEP = 64
    """Stamped next to a step of the clock."""
    ROLLOVER = 128
    RESET = 256
    SUBSTITUTED = 512
    """Replaced by a person, with who and why."""
    MAINTENANCE = 1024


NO_VALUE = Quality.MISSING | Quality.INVALID


class ClockState(IntEnum):
    """How far the stamping clock could be believed."""

    SYNCED = 0
    UNSYNCED = 1
    STEPPED = 2
    SIMULATED = 3


class Source(StrEnum):
    """Where a value came from."""

    WIRE = "wire"
    METER_MEMORY = "meter-memory"
    IMPORTED = "imported"
    MANUAL = "manual"
    THIRD_PARTY = "third-party"


@dataclass(frozen=True, slots=True)
class Column:
    """What one number of a poll means.

    Attributes
    ----------
    measurand
        Name from the closed list.
    exponent
        Value in the canonical unit = number * 10**exponent.
    is_float
        Whether the meter sent a binary float (the number is kept as such) rather than an integer.
    request
        Which request of the poll brought it: index into the poll's `delays_ms`.
    """

    measurand: str
    exponent: int
    is_float: bool = False
    request: int = 0


@dataclass(frozen=True)
class Shape:
    """The column heads of a poll: one per profile revision and rate class, shared by every meter that has it.

    Attributes
    ----------
    profile
        ``name@revision`` of the profile these columns were decoded with.
    columns
        In the order of the values.
    """

    profile: str
    columns: tuple[Column, ...]
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        text = self.profile + "".join(f"|{c.measurand},{c.exponent},{c.is_float:d},{c.request}" for c in self.columns)
        object.__setattr__(self, "id", hashlib.sha256(text.encode()).hexdigest()[:8])

    @property
    def requests(self) -> int:
        """How many requests one poll of this shape takes."""
        return 1 + max((column.request for column in self.columns), default=0)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came back, as bytes: the last evidence a number can be walked back to.

    Attributes
    ----------
    sent_ns, answered_ns
        When the request left and the answer was complete, UTC; `answered_ns` is None if none came. [ns]
    cause
        Empty, or the `BusError.cause` that ended it.
    """

    request: bytes
    response: bytes
    sent_ns: int
    answered_ns: int | None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """One meter asked once: a row of numbers under a `Shape`.

    Attributes
    ----------
    meter
        Id from the plant file.
    shape
        What the numbers mean.
    slot_ns
        The nominal moment, aligned to the grid, UTC. [ns]
    delays_ms
        Per request: answer complete minus slot; ``read_ns = slot_ns + delay``. [ms]
    clock
        How far the stamps can be believed.
    numbers
        As the meter gave them; None exactly where the quality says MISSING or INVALID.
    qualities
        One bit set per number; empty means all good.
    source
        Where the row came from.
    exchanges
        The raw frames, in order of the requests; not sent, kept in the gateway's ring.
    """

    meter: str
    shape: Shape
    slot_ns: int
    delays_ms: tuple[int, ...]
    clock: ClockState
    numbers: tuple[Number | None, ...]
    qualities: tuple[int, ...] = ()
    source: Source = Source.WIRE
    exchanges: tuple[Exchange, ...] = ()

    def read_ns(self, index: int) -> int:
        """When the answer holding number `index` was complete, UTC. [ns]"""
        return self.slot_ns + self.delays_ms[self.shape.columns[index].request] * 1_000_000

    def quality(self, index: int) -> Quality:
        """The doubt on number `index`."""
        return Quality(self.qualities[index]) if self.qualities else Quality.GOOD

    def readings(self) -> Iterator[Reading]:
        """Each number as a `Reading`, for people, rules and tests."""
        for index, (column, number) in enumerate(zip(self.shape.columns, self.numbers, strict=True)):
            yield Reading(
                meter=self.meter,
                measurand=column.measurand,
                number=number,
                exponent=column.exponent,
                is_float=column.is_float,
                quality=self.quality(index),
                source=self.source,
                slot_ns=self.slot_ns,
                read_ns=self.read_ns(index),
                clock=self.clock,
                profile=self.shape.profile,
            )


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one measurand of one meter at one moment, with everything that can be doubted about it."""

    meter: str
    measurand: str
    number: Number | None
    exponent: int
    is_float: bool
    quality: Quality
    source: Source
    slot_ns: int
    read_ns: int
    clock: ClockState
    profile: str

    @property
    def value(self) -> Decimal | None:
        """The displayed value in the measurand's canonical unit, exactly; None where there is none."""
        return None if self.number is None else exact(self.number, self.exponent)


@dataclass(frozen=True, slots=True)
class MissingSpan:
    """A meter did not answer from `start_ns` on: one record for the whole silence, not a row per point and slot.

    Attributes
    ----------
    start_ns
        The first slot without an answer. [ns]
    end_ns
        The first slot with an answer again (half-open), or None while it lasts. [ns]
    cause
        The `BusError.cause` that began it.
    """

    meter: str
    start_ns: int
    end_ns: int | None
    cause: str


def exact(number: Number, exponent: int) -> Decimal:
    """`number` * 10**`exponent` without rounding; a float counts as its shortest decimal, which is what was sent."""
    return (Decimal(number) if isinstance(number, int) else Decimal(repr(number))).scaleb(exponent)


MICRO = 6
"""Interval energies are whole millionths of the canonical unit, so that their sums are exact."""


def to_micro(number: Number, exponent: int) -> int:
    """A counter's number as whole millionths of its canonical unit (rounded half even below that).

    Raises
    ------
    ValueError
        The float is not finite; a decoder must have marked it INVALID.
    """
    if isinstance(number, int):
        shift = exponent + MICRO
        if shift >= 0:
            return int(number * 10**shift)
    value = exact(number, exponent + MICRO)
    if not value.is_finite():
        raise ValueError(f"{number} is not a number a counter can show")
    return int(value.to_integral_value())
