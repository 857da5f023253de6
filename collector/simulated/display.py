"""What a simulated meter's display shows of a measurand at a moment, whatever protocol it is read by.

Counters step as the maker's resolution does, floats lose the digits a float32 loses, a meter behind transformers shows
what its terminals see. How the display leaves the meter is its protocol's business: `meters` (Modbus words),
`item_meters` (DL/T 645).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from collector.simulated.counting import HOUR_NS, modulus_of, tally_of
from collector.simulated.electrical import STANDARD_PER_ACTUAL, Grid, electric_gauges, pipe_gauges
from collector.simulated.faults import Fault
from collector.simulated.noise import seed_of
from collector.simulated.own_words import own_words
from collector.simulated.physics import STEP_NS, Physics
from collector.simulated.words import bounds, is_float, kept, written
from meterline.clock import NS
from meterline.measurands import MEASURANDS, Carrier, Kind
from meterline.plant import Plant
from meterline.profiles import Cells, DataType, Point
from meterline.site import Meter


class Shown(NamedTuple):
    """What a display shows: the number as the meter gives it, and where its decimal point stands.

    A float32 is written with the fewest digits that mean it, as readings carry it; parts are summed as written.
    """

    number: int | float
    exponent: int

    @property
    def value(self) -> Decimal:
        """In the measurand's canonical unit, at the meter's terminals. Exact."""
        return Decimal(repr(self.number)).scaleb(self.exponent)


@dataclass(frozen=True, slots=True)
class Part:
    """One value in the meter's memory.

    Attributes
    ----------
    least, most
        What it can hold.
    number
        Plant time [ns] -> the number kept here.
    cells
        Where it is, in a meter of words.
    """

    point: Point
    kind: DataType
    least: int
    most: int
    number: Callable[[int], int | float]
    cells: Cells | None = None


class Display:
    """One meter of the factory, as far as its protocol does not matter.

    Parameters
    ----------
    meter, plant
        The site's entry, and the whole for profile and ratios.
    physics, grid
        What it measures.
    faults
        Those planted on this meter.
    seed
        The factory's.
    """

    def __init__(
        self, meter: Meter, plant: Plant, physics: Physics, grid: Grid, faults: Sequence[Fault], seed: int
    ) -> None:
        self.meter, self.plant, self.carrier = meter, plant, plant.carrier_of(meter)
        self._physics, self._grid, self._seed = physics, grid, seed_of(meter.id, seed)
        self._display_faults = [fault for fault in faults if fault.where == "display"]
        self._line_faults = [fault for fault in faults if fault.where == "line"]
        self._faults = list(faults)
        self._gauges: tuple[int, dict[str, float]] = (-1, {})
        self._tallies: tuple[int, dict[str, int]] = (-1, {})
        self._zone = plant.site.site.zone
        self._factors: tuple[int, dict[str, Fraction]] = (-1, {})
        self._corrected = plant.profile_of(meter).point("volume.standard") is not None
        self._points: dict[str, list[Part]] = {}
        self.events: dict[str, list[int]] = {}
        """Measurand of an event count -> when its events began. [ns]"""
        self.clock_ahead_s = 0.0
        """How far the meter's own clock is ahead. [s]"""

    def own_ns(self, t_ns: int) -> int:
        """A moment by the meter's own clock. [ns]"""
        return t_ns + round(self.clock_ahead_s * NS)

    def line_fault(self, t_ns: int) -> Fault | None:
        """What is wrong between the meter and whoever asks, at a moment."""
        return next((fault for fault in self._line_faults if fault.active(t_ns)), None)

    @property
    def counters(self) -> list[str]:
        """Measurands of every counter of the display."""
        return [name for name in self._points if MEASURANDS[name].kind is Kind.COUNTER]

    def shown(self, measurand: str, t_ns: int) -> Shown:
        """What the display shows of a measurand at a moment.

        Raises
        ------
        KeyError
            The profile does not offer it.
        """
        parts = self._points[measurand]
        numbers = [written(part.kind, self.number_of(part, t_ns)) for part in parts]
        number = numbers[0]
        if len(numbers) > 1:
            total = sum(Decimal(repr(each)) for each in numbers)
            number = int(total) if all(isinstance(each, int) for each in numbers) else float(total)
        return Shown(number, parts[0].point.exponent)

    def number_of(self, part: Part, t_ns: int) -> int | float:
        """The number of one cell, display faults applied."""
        scale = 1.0
        for fault in self._display_faults:
            if fault.active(t_ns):
                if fault.kind == "frozen":
                    t_ns = fault.start_ns
                elif fault.measurand == part.point.measurand:
                    scale = fault.level
        number = part.number(t_ns)
        return number if scale == 1.0 else _held(part.kind, part.least, part.most, number * scale)

    def counter(self, point: Point, kind: DataType, index: int, of: int, split: str) -> Callable[[int], int | float]:
        name, unit = tally_of(point.measurand, index, of if split == "tariff" else 1)
        names = name.split("+") if name else []
        step = unit / Fraction(10) ** point.exponent
        if point.measurand == "volume" and self._corrected:
            step *= Fraction(STANDARD_PER_ACTUAL[1], STANDARD_PER_ACTUAL[0])
        modulus = modulus_of(point, kind)

        def count(t_ns: int) -> Fraction:
            tallies = self._tallies_at(t_ns)
            return sum(tallies[each] for each in names) * step / self._factor(point.measurand, t_ns)

        def whole(t_ns: int) -> int:
            return math.floor(count(t_ns)) % (modulus or 1 << 64)

        def floating(t_ns: int) -> float:
            amount = Fraction(math.floor(count(t_ns) * 1000), 1000)  # no meter counts finer than this
            return kept(kind, float(amount % modulus if modulus else amount))

        def whole_part(t_ns: int) -> int:
            return math.floor(count(t_ns))

        def fraction_part(t_ns: int) -> float:
            return kept(kind, float(count(t_ns) % 1))

        if split == "fraction" and of > 1:
            return fraction_part if is_float(kind) else whole_part
        return floating if is_float(kind) else whole

    def gauge(self, point: Point, kind: DataType, index: int, limits: tuple[int, int]) -> Callable[[int], int | float]:
        measurand, per_unit = point.measurand, 10.0**-point.exponent

        def number(t_ns: int) -> int | float:
            if index:
                return 0
            if point.kind is Kind.STATE:
                words = own_words(self.meter, t_ns, self.own_ns(t_ns), self._zone, self._faults, self.events)
                return words[measurand]
            value = self._gauges_at(t_ns)[measurand] / float(self._factor(measurand, t_ns))
            return _held(kind, *limits, value * per_unit)

        return number

    def _gauges_at(self, t_ns: int) -> dict[str, float]:
        step = t_ns // STEP_NS
        if self._gauges[0] != step:
            self._physics.advance(t_ns)
            state = self._physics.state(self.meter.id, step)
            if self.carrier is Carrier.ELECTRICITY:
                values = electric_gauges(
                    state, self._grid, self.meter.nominal_v, self.meter.rated or 0.0, self._seed, self._faults
                )
            else:
                values = pipe_gauges(state, self.carrier, self._seed, corrected=self._corrected)
            self._gauges = (step, values)
        return self._gauges[1]

    def _tallies_at(self, t_ns: int) -> dict[str, int]:
        if self._tallies[0] != t_ns:
            self._tallies = (t_ns, self._physics.tallies(self.meter.id, t_ns))
        return self._tallies[1]

    def _factor(self, measurand: str, t_ns: int) -> Fraction:
        """Primary value over displayed value, on the plant's day of the moment."""
        hour = t_ns // HOUR_NS
        if self._factors[0] != hour:
            self._factors = (hour, {})
        known = self._factors[1].get(measurand)
        if known is None:
            day = dt.datetime.fromtimestamp(t_ns / NS, self._zone).date()
            known = self._factors[1][measurand] = self.plant.primary_factor(self.meter, measurand, day)
        return known


def limits_of(kind: DataType) -> tuple[int, int]:
    """Smallest and largest number of a cell; of no account for a float."""
    return (0, 0) if is_float(kind) else bounds(kind)


def _held(kind: DataType, least: int, most: int, number: float) -> int | float:
    """A momentary value as the meter keeps it: rounded, and held at the limit instead of overflowing."""
    return kept(kind, number) if is_float(kind) else max(least, min(most, round(number)))
