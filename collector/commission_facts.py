"""What a commissioning looks at, and how it is told: the watched values, the person's own readings, the checks."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from meterline.plant import Plant
from meterline.readings import NO_VALUE, Exchange, Poll
from meterline.site import Meter

State = Literal["passed", "failed", "unsure", "skipped"]
OFF_RATIOS = (10, 100, 1000, 1 / 10, 1 / 100, 1 / 1000)


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes
    ----------
    code, about
        What was checked, and of what (a phase, a measurand); stable words.
    say
        Which sentence tells the result; with `values` filled in.
    """

    code: str
    state: State
    say: str
    values: Mapping[str, str] = field(default_factory=dict)
    about: str = ""


@dataclass(frozen=True)
class Watched:
    """What a meter showed over a minute: polls in order, the first and last of them of the whole page."""

    polls: tuple[Poll, ...]

    @property
    def last(self) -> Mapping[str, float]:
        """Measurand -> newest value as displayed, in the canonical unit."""
        values: dict[str, float] = {}
        for poll in self.polls:
            values |= {
                reading.measurand: float(reading.value)
                for reading in poll.readings()
                if reading.value is not None and not reading.quality & NO_VALUE
            }
        return values

    def course(self, measurand: str) -> list[tuple[int, Decimal]]:
        """(When it was read [ns], value) of every poll that has it."""
        return [
            (reading.read_ns, reading.value)
            for poll in self.polls
            for reading in poll.readings()
            if reading.measurand == measurand and reading.value is not None
        ]

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every request and answer."""
        return tuple(exchange for poll in self.polls for exchange in poll.exchanges)


@dataclass(frozen=True)
class Told:
    """What the person read off instruments and plates.

    Attributes
    ----------
    display
        Measurand -> number on the display, as it stands there.
    ct, vt
        Ratios on the transformers' plates; empty if nobody looked.
    clamp_a
        Primary currents of L1, L2, L3 measured with a clamp. [A]
    number
        The meter's number on its plate.
    """

    display: Mapping[str, Decimal] = field(default_factory=dict)
    ct: str = ""
    vt: str = ""
    clamp_a: tuple[float, ...] = ()
    number: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything a check may look at.

    Attributes
    ----------
    values
        Measurand -> newest value as displayed, in the canonical unit.
    now
        The moment of the commissioning, plant time.
    """

    plant: Plant
    meter: Meter
    watched: Watched
    told: Told
    values: Mapping[str, float]
    now: dt.datetime

    def factor(self, measurand: str) -> float:
        """What turns the displayed value into the primary one."""
        return float(self.plant.primary_factor(self.meter, measurand, self.now.date()))

    @property
    def electric(self) -> bool:
        """Whether it meters electricity."""
        return any(name.startswith(("voltage.", "power.active", "energy.active")) for name in self.values)


def off_by(value: float, expected: float, facts: Facts, measurand: str = "power.active.total") -> str:
    """What single factor explains the difference: a power of ten, or the transformers' ratio."""
    if not value or not expected:
        return ""
    ratio = value / expected
    for factor in OFF_RATIOS:
        if abs(ratio / factor - 1) < 0.02:
            return f"{factor:g}"
    for name, factor in (("CT/VT", facts.factor(measurand)), ("√3", math.sqrt(3)), ("3", 3.0)):
        for exact in (factor, 1 / factor):
            if factor != 1 and abs(ratio / exact - 1) < 0.02:
                return f"{name} ({exact:.4g})"
    return ""


def text_of(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
