"""What a plant's consumers do all day: shifts, breaks, cycles, base load. Pure functions of the plant's time.

A load is asked for the *mean of a step* of ten plant seconds and answers with whole milliwatts per phase. Power is
constant within a step, so that what a meter shows as power is exactly what its counter integrates.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from collector.simulated.noise import Wander, chance
from meterline.documents import Document
from meterline.site import Calendar, ClockTime

STEP_S = 10
"""Power is constant over this stretch of plant time. [s]"""
MILLIONTHS = 1_000_000
"""Powers and flows are whole millionths of the carrier's unit (mW for a kW): integers add up without a remainder."""
RAMP_S = 1200
"""How long a shift takes to reach its pace, and to run down after it. [s]"""


class Flows(NamedTuple):
    """What passes a metering point during one step, by phase.

    For electricity `p` [mW] and `q` [mvar] of the three phases. For a pipe the flow stands in `p1` alone, in
    millionths of the carrier's unit per hour, and the rest is 0.
    """

    p1: int
    p2: int
    p3: int
    q1: int
    q2: int
    q3: int

    @property
    def p(self) -> int:
        """Of all phases."""
        return self.p1 + self.p2 + self.p3

    @property
    def q(self) -> int:
        """Of all phases."""
        return self.q1 + self.q2 + self.q3


NOTHING = Flows(0, 0, 0, 0, 0, 0)


class Moment(NamedTuple):
    """One step of the plant's time, as the loads see it."""

    t_s: int
    """Start of the step, seconds since 1970 UTC."""
    day_s: int
    """Seconds since local midnight."""
    weekday: int
    """0 is Monday."""
    activity: float
    """0: the plant stands still, 1: it works; in between while a shift starts or ends."""


class PlantDay:
    """Turns plant time into what a worker's watch and calendar say.

    Parameters
    ----------
    calendar
        Shifts and days off of the site.
    zone
        The site's time zone.
    """

    def __init__(self, calendar: Calendar, zone: dt.tzinfo) -> None:
        self._calendar, self._zone = calendar, zone
        self._working: dict[int, bool] = {}
        self._activity: tuple[int, float] = (-1, 0.0)

    def moment(self, step: int) -> Moment:
        """Describe step number `step`, counted from 1970."""
        t_s = step * STEP_S
        local = dt.datetime.fromtimestamp(t_s, self._zone)
        minute = t_s // 60
        if self._activity[0] != minute:
            seen = [self.working(t_s - part * RAMP_S // 4) for part in range(5)]
            self._activity = (minute, sum(seen) / 5)
        day_s = local.hour * 3600 + local.minute * 60 + local.second
        return Moment(t_s, day_s, local.weekday(), self._activity[1])

    def working(self, t_s: int) -> bool:
        """Whether a shift is on."""
        minute = t_s // 60
        known = self._working.get(minute)
        if known is None:
            if len(self._working) > 10_000:
                self._working.clear()
            local = dt.datetime.fromtimestamp(minute * 60, self._zone)
            known = self._working[minute] = self._calendar.working(local)
        return known


class Load(Document):
    """What hangs behind a meter, beside the meters it feeds."""

    shape: Literal["workshop", "furnace", "compressor", "lighting", "office", "base", "tap"] = "workshop"
    peak: Annotated[float, Field(ge=0)]
    """Power (kW) or flow (m3/h) at full work."""
    idle: Annotated[float, Field(ge=0)] = 0.0
    """Power or flow while the plant stands still."""
    power_factor: Annotated[float, Field(gt=0.2, le=1)] = 0.88
    """At full load; it falls as the load does."""
    late: Annotated[float, Field(ge=0, le=1)] = 0.75
    """Share of the day's pace that the evening shift keeps up (from 17:00)."""
    lull: tuple[ClockTime, ClockTime] = ("11:40", "12:30")
    """The meal break."""
    cycle_min: Annotated[float, Field(gt=0)] = 75.0
    """Length of a furnace's charge. [min]"""
    unrest: Annotated[float, Field(ge=0, le=1)] = 0.12
    """How far the load wanders about its pace."""
    unbalance: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """How unequal the three phases are."""


class Consumer:
    """A `Load` in motion.

    Parameters
    ----------
    load
        What it is.
    seed
        Its own chance.
    three_phase
        False for a pipe: one flow, no reactive power.
    """

    def __init__(self, load: Load, seed: int, *, three_phase: bool = True) -> None:
        self.load, self.seed, self.three_phase = load, seed, three_phase
        self._wander = Wander(seed)
        self._pace = SHAPES[load.shape]
        first, second, third = ((chance(seed, 77, n) - 0.5) * 2 * load.unbalance for n in range(3))
        mean = (first + second + third) / 3
        self._shares = (1 / 3 + (first - mean) / 3, 1 / 3 + (second - mean) / 3)
        self._lull = (_seconds(load.lull[0]), _seconds(load.lull[1]))

    def pace(self, moment: Moment) -> float:
        """Share of the day's full pace the people work at, breaks and evening counted."""
        share = moment.activity
        start, end = self._lull
        if start <= moment.day_s < end:
            share *= 0.35
        if moment.day_s >= 17 * 3600 or moment.day_s < 5 * 3600:
            share *= self.load.late
        return share

    def flows(self, moment: Moment) -> Flows:
        """What this consumer draws during one step."""
        load = self.load
        value = max(0.0, self._pace(self, moment, self._wander.at(moment.t_s)))
        total = round(value * MILLIONTHS)
        if not self.three_phase:
            return Flows(total, 0, 0, 0, 0, 0)
        p1 = round(total * self._shares[0])
        p2 = round(total * self._shares[1])
        utilisation = min(1.0, value / load.peak) if load.peak else 0.0
        factor = load.power_factor * (0.55 + 0.45 * math.sqrt(utilisation))
        lag = math.sqrt(1.0 - factor * factor) / factor
        p3 = total - p1 - p2
        return Flows(p1, p2, p3, round(p1 * lag), round(p2 * lag), round(p3 * lag))


def _seconds(text: str) -> int:
    return int(text[:2]) * 3600 + int(text[3:]) * 60


def _workshop(consumer: Consumer, moment: Moment, unrest: float) -> float:
    load, pace = consumer.load, consumer.pace(moment)
    return load.idle * (1 + 0.1 * unrest) + (load.peak - load.idle) * pace * (1 - load.unrest + load.unrest * unrest)


def _furnace(consumer: Consumer, moment: Moment, unrest: float) -> float:
    load = consumer.load
    if consumer.pace(moment) < 0.3:
        return load.idle
    number, within = divmod(moment.t_s, round(load.cycle_min * 60))
    progress = within / (load.cycle_min * 60)
    strength = 0.9 + 0.1 * chance(consumer.seed, 1, number)
    if progress < 0.62 + 0.1 * chance(consumer.seed, 2, number):
        return load.peak * strength * (0.97 + 0.03 * unrest)  # melting
    if progress < 0.85:
        return load.peak * 0.18 * (1 + 0.2 * unrest)  # holding
    return max(load.idle, load.peak * 0.04)  # tapping and charging


def _compressor(consumer: Consumer, moment: Moment, unrest: float) -> float:
    load, pace = consumer.load, consumer.pace(moment)
    if pace < 0.1:
        return load.idle
    cycle_s = 160 + consumer.seed % 50
    number, within = divmod(moment.t_s, cycle_s)
    loaded = 0.3 + 0.55 * pace + 0.1 * unrest + 0.1 * (chance(consumer.seed, number) - 0.5)
    return load.peak * (0.98 + 0.02 * unrest) if within < cycle_s * loaded else load.peak * 0.33


def _lighting(consumer: Consumer, moment: Moment, unrest: float) -> float:
    load = consumer.load
    dark = moment.day_s < 6 * 3600 + 1800 or moment.day_s > 17 * 3600 + 1800
    work = moment.activity * (1.0 if dark else 0.6)
    return load.idle + (load.peak - load.idle) * work * (0.99 + 0.01 * unrest)


def _office(consumer: Consumer, moment: Moment, unrest: float) -> float:
    load = consumer.load
    hour = moment.day_s / 3600
    day = max(0.0, math.sin(math.pi * (hour - 7) / 11.5)) if 7 < hour < 18.5 and moment.weekday < 5 else 0.0
    return load.idle * (1 + 0.05 * unrest) + (load.peak - load.idle) * math.sqrt(day) * (0.9 + 0.1 * unrest)


def _base(consumer: Consumer, _moment: Moment, unrest: float) -> float:
    return consumer.load.peak * (1 - consumer.load.unrest + consumer.load.unrest * unrest)


def _tap(consumer: Consumer, moment: Moment, unrest: float) -> float:
    """Draws of a few minutes, more often while people work."""
    load, number = consumer.load, moment.t_s // 240
    drawing = chance(consumer.seed, 5, number) < 0.08 + 0.6 * consumer.pace(moment)
    return load.idle + ((load.peak - load.idle) * (0.4 + 0.5 * chance(consumer.seed, 6, number)) if drawing else 0.0)


Pace = Callable[[Consumer, Moment, float], float]
SHAPES: dict[str, Pace] = {
    "workshop": _workshop, "furnace": _furnace, "compressor": _compressor, "lighting": _lighting, "office": _office,
    "base": _base, "tap": _tap,
}  # fmt: skip
