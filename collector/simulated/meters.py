"""A meter of any profile: what its display shows, and the words it answers with.

The display is built from the same page the collector reads with, but by other code: counters step as the maker's
resolution does, floats lose the digits a float32 loses, a meter behind transformers shows what its terminals see, and
a read the maker does not allow is refused as the meter would.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from collector.simulated.counting import COUNTERS, HOUR_NS, modulus_of, tally_of
from collector.simulated.electrical import STANDARD_PER_ACTUAL, Grid, electric_gauges, pipe_gauges
from collector.simulated.faults import Fault
from collector.simulated.noise import seed_of
from collector.simulated.physics import STEP_NS, Physics
from collector.simulated.words import bounds, is_float, kept, words_of, written
from meterline.clock import NS
from meterline.measurands import MEASURANDS, Carrier, Kind
from meterline.plant import Plant
from meterline.profiles import WORDS, Cells, DataType, Point, Profile, Table
from meterline.site import Meter

ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3
"""Modbus exception codes (Modbus Application Protocol V1.1b3, section 7)."""


class MeterRefuses(Exception):
    """The meter answers with an exception code instead of words."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exception {code:02d}")


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
class _Part:
    """One value in the meter's memory."""

    point: Point
    cells: Cells
    kind: DataType
    number: Callable[[int], int | float]
    """Plant time [ns] -> the number kept here."""


class SimulatedMeter:
    """One meter of the factory.

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
        self.meter, self.plant, self.profile = meter, plant, plant.profile_of(meter)
        self.address = int(meter.address)
        self._physics, self._grid, self._seed = physics, grid, seed_of(meter.id, seed)
        self._display_faults = [fault for fault in faults if fault.where == "display"]
        self._line_faults = [fault for fault in faults if fault.where == "line"]
        self._faults = list(faults)
        self._gauges: tuple[int, dict[str, float]] = (-1, {})
        self._tallies: tuple[int, dict[str, int]] = (-1, {})
        self._zone = plant.site.site.zone
        self._factors: tuple[int, dict[str, Fraction]] = (-1, {})
        self._parts: dict[tuple[Table, int], _Part] = {}
        self._points: dict[str, list[_Part]] = {}
        for point in self.profile.points:
            if point.enabled:
                self._add(point)
        self._readable = readable_addresses(self.profile)
        self._inside = {
            (table, at + word) for (table, at), part in self._parts.items() for word in range(1, WORDS[part.kind])
        }

    def line_fault(self, t_ns: int) -> Fault | None:
        """What is wrong between the meter and whoever asks, at a moment."""
        return next((fault for fault in self._line_faults if fault.active(t_ns)), None)

    def read(self, table: Table, address: int, count: int, t_ns: int) -> list[int]:
        """Answer a request for `count` words from `address`, as of a moment of plant time.

        Raises
        ------
        MeterRefuses
            Code 3: more words than the meter gives at once. Code 2: an address it does not have, an odd one where
            it wants even ones, or a read that cuts a value in two.
        """
        limits = self.profile.limits
        if not 1 <= count <= limits.max_words:
            raise MeterRefuses(ILLEGAL_VALUE)
        if limits.align == 2 and (address % 2 or count % 2):
            raise MeterRefuses(ILLEGAL_ADDRESS)
        readable = self._readable[table]
        if any(at not in readable for at in range(address, address + count)):
            raise MeterRefuses(ILLEGAL_ADDRESS)
        words: list[int] = []
        at, end = address, address + count
        while at < end:
            part = self._parts.get((table, at))
            if part is None:
                if (table, at) in self._inside:
                    raise MeterRefuses(ILLEGAL_ADDRESS)
                words.append(0)
                at += 1
                continue
            size = WORDS[part.kind]
            if at + size > end:
                raise MeterRefuses(ILLEGAL_ADDRESS)
            order = part.cells.order or "ABCD"
            words += words_of(part.kind, order, self._number(part, t_ns))
            at += size
        return words

    def counters_in(self, table: Table, address: int, count: int) -> list[str]:
        """Measurands of the counters a read shows in full."""
        return [
            name
            for name, parts in self._points.items()
            if MEASURANDS[name].kind is Kind.COUNTER
            and all(
                part.cells.table == table and address <= part.cells.at and
                part.cells.at + WORDS[part.kind] <= address + count
                for part in parts
            )
        ]  # fmt: skip

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
        numbers = [written(part.kind, self._number(part, t_ns)) for part in parts]
        number = numbers[0]
        if len(numbers) > 1:
            total = sum(Decimal(repr(each)) for each in numbers)
            number = int(total) if all(isinstance(each, int) for each in numbers) else float(total)
        return Shown(number, parts[0].point.exponent)

    # ------------------------------------------------------------------------------------------------- the display

    def _number(self, part: _Part, t_ns: int) -> int | float:
        """The number of one cell, display faults applied."""
        scale = 1.0
        for fault in self._display_faults:
            if fault.active(t_ns):
                if fault.kind == "frozen":
                    t_ns = fault.start_ns
                elif fault.measurand == part.point.measurand:
                    scale = fault.level
        number = part.number(t_ns)
        return number if scale == 1.0 else _as_kept(part.kind, number * scale)

    def _add(self, point: Point) -> None:
        cells = self.profile.cells_of(point)
        kinds = [cell.type for cell in cells if cell.type]
        mixed = len({is_float(kind) for kind in kinds}) > 1
        parts = []
        for index, (cell, kind) in enumerate(zip(cells, kinds, strict=True)):
            if point.measurand in COUNTERS:
                number = self._counter(point, kind, index, len(cells), "fraction" if mixed else "tariff")
            else:
                number = self._gauge(point, kind, index)
            part = _Part(point, cell, kind, number)
            parts.append(part)
            assert cell.table
            self._parts[cell.table, cell.at] = part
        self._points[point.measurand] = parts

    def _counter(self, point: Point, kind: DataType, index: int, of: int, split: str) -> Callable[[int], int | float]:
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

    def _gauge(self, point: Point, kind: DataType, index: int) -> Callable[[int], int | float]:
        measurand, per_unit = point.measurand, 10.0**-point.exponent

        def number(t_ns: int) -> int | float:
            if index:
                return 0
            value = self._gauges_at(t_ns)[measurand] / float(self._factor(measurand, t_ns))
            return _as_kept(kind, value * per_unit)

        return number

    @property
    def _corrected(self) -> bool:
        return self.profile.point("volume.standard") is not None

    def _gauges_at(self, t_ns: int) -> dict[str, float]:
        step = t_ns // STEP_NS
        if self._gauges[0] != step:
            self._physics.advance(t_ns)
            state = self._physics.state(self.meter.id, step)
            if self.profile.carrier is Carrier.ELECTRICITY:
                values = electric_gauges(
                    state, self._grid, self.meter.nominal_v, self.meter.rated or 0.0, self._seed, self._faults
                )
            else:
                values = pipe_gauges(state, self.profile.carrier, self._seed, corrected=self._corrected)
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


def readable_addresses(profile: Profile) -> dict[Table, frozenset[int]]:
    """The addresses a meter of this profile answers for.

    Its own values, those listed but switched off, and the unused words between them as far as the profile says that
    they may be read across.
    """
    found: dict[Table, frozenset[int]] = {}
    for table in Table:
        used = sorted(
            {
                address
                for point in profile.points
                for cell in profile.cells_of(point)
                if cell.table == table and cell.type
                for address in range(cell.at, cell.at + WORDS[cell.type])
            }
        )
        readable = set(used)
        for left, right in pairwise(used):
            hole = range(left + 1, right)
            if len(hole) <= profile.limits.max_gap and not any(
                first <= address <= last for first, last in profile.limits.no_bridge for address in hole
            ):
                readable.update(hole)
        found[table] = frozenset(readable)
    return found


def _as_kept(kind: DataType, number: float) -> int | float:
    """A momentary value as the cell keeps it: rounded, and held at the type's limit instead of overflowing."""
    if is_float(kind):
        return kept(kind, number)
    low, high = bounds(kind)
    return max(low, min(high, round(number)))
