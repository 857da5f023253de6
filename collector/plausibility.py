"""Cheap doubts at the source: a value that cannot be is kept as it came and marked SUSPECT.

What the edge can know without history is little, and it decides nothing: it only says "look at this one". Gauges are
held against what the connection can carry, counters against their own last value. Whether a counter that fell was
reset, exchanged or read wrongly is the head-end's to say, with more to go by.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from collector.watch import Watch
from meterline.clock import NS
from meterline.measurands import MEASURANDS, Carrier, Kind
from meterline.plant import Plant
from meterline.profiles import Point, Profile, power_of_ten
from meterline.readings import Number, Quality, Shape
from meterline.site import Meter
from meterline.units import shift_to_canonical

SUSPECT = int(Quality.SUSPECT)
OVER_RATED = 1.2
"""A gauge this far above the rating is doubted (FAULTS A20)."""
BELOW_SPAN, ABOVE_SPAN = 0.025, 0.0625
"""A 4-20 mA signal below 3.6 or above 21 mA is a broken wire or a faulty transmitter, no value (NAMUR NE 43)."""
JUMP = 1.5
"""A counter that ran this much faster than the rating allows is doubted."""
OVER_NOMINAL_V = 1.5
ROOT_3 = math.sqrt(3)
HOUR_NS = 3_600 * NS
_HUGE = 1 << 100

_RATED_UNITS: dict[Carrier, frozenset[str]] = {
    # Units of the counters and gauges a rating bounds: it is given in kW for electricity, in the flow's unit else.
    Carrier.ELECTRICITY: frozenset({"kW", "kvar", "kVA", "kWh", "kvarh", "kVAh"}),
    Carrier.NATURAL_GAS: frozenset({"m3/h", "m3"}),
    Carrier.WATER: frozenset({"m3/h", "m3"}),
    Carrier.COMPRESSED_AIR: frozenset({"m3/h", "m3"}),
    Carrier.STEAM: frozenset({"t/h", "t"}),
    Carrier.HEAT: frozenset({"kW"}),
}


@dataclass(slots=True)
class _Counter:
    """What one counter showed last, and a doubted value that may prove to be its new course."""

    number: Number
    at_ns: int
    doubted: Number | None = None
    doubted_ns: int = 0


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Rules:
    """What holds for the columns of one shape.

    Attributes
    ----------
    bounds
        Per column, lowest and highest number of a gauge; a counter's never refuse anything.
    counters
        (column, its request, the point, steps it may run in a nanosecond) of each counter.
    witnesses
        Whether the meter's word about itself is among the columns.
    profile
        The page they were made for.
    """

    profile: Profile
    bounds: tuple[tuple[Number, ...], tuple[Number, ...]]
    counters: tuple[tuple[int, int, Point, float], ...]
    witnesses: bool


_SHARED: WeakValueDictionary[tuple[object, ...], _Rules] = WeakValueDictionary()
"""The rules of meters of one type, rating and ratio: hundreds of them are alike, and making them takes a while."""


@dataclass
class Plausibility:
    """The rules for one meter; remembers the last value of its counters."""

    meter: Meter
    plant: Plant
    _rules: dict[str, _Rules] = field(default_factory=dict)
    _counters: dict[str, _Counter] = field(default_factory=dict)
    _hour: int = -1
    _today: dt.date = dt.date.min
    watch: Watch = field(init=False)
    """What the meter says about itself."""

    def __post_init__(self) -> None:
        self.watch = Watch(self.meter.id, self.meter.serial, self.plant.site.site.zone)

    def judge(
        self,
        points: Sequence[Point],
        shape: Shape,
        numbers: Sequence[Number | None],
        qualities: list[int],
        slot_ns: int,
        delays_ms: Sequence[int],
    ) -> bool:
        """Mark what cannot be in `qualities`; return whether anything was marked."""
        if slot_ns // HOUR_NS != self._hour:
            self._look_at_day(slot_ns)
        rules = self._rules.get(shape.id)
        if rules is None:
            rules = self._rules[shape.id] = self._shared_rules(points, shape)
        doubtful = False
        if rules.witnesses or self.watch.casts_doubt:
            doubtful = self.watch.judge(
                points, shape, numbers, qualities, lambda n: slot_ns + delays_ms[shape.columns[n].request] * 1_000_000
            )
        if not _all_inside(numbers, *rules.bounds):
            for index, (number, low, high) in enumerate(zip(numbers, *rules.bounds, strict=True)):
                if number is not None and not low <= number <= high:
                    qualities[index] |= SUSPECT
                    doubtful = True
        counters = self._counters
        for index, request, point, per_ns in rules.counters:
            number = numbers[index]
            if number is None:
                continue
            at_ns = slot_ns + delays_ms[request] * 1_000_000
            last = counters.get(point.measurand)
            if last is not None and 0 <= number - last.number <= per_ns * (at_ns - last.at_ns) and number >= 0:
                last.number, last.at_ns, last.doubted = number, at_ns, None
            elif self._counter(point, number, at_ns, per_ns):
                qualities[index] |= SUSPECT
                doubtful = True
        return doubtful

    def _look_at_day(self, slot_ns: int) -> None:
        """A new hour may be a new day, from which another ratio is in force."""
        self._hour = slot_ns // HOUR_NS
        before, self._today = (
            self._today,
            dt.datetime.fromtimestamp(slot_ns // NS, self.plant.site.site.zone).date(),
        )
        if self.meter.ratio_at(before) is not self.meter.ratio_at(self._today):
            self._rules.clear()

    def _shared_rules(self, points: Sequence[Point], shape: Shape) -> _Rules:
        meter, profile = self.meter, self.plant.profile_of(self.meter)
        key = (id(profile), shape.id, meter.rated, meter.nominal_v, repr(meter.ratio_at(self._today)))
        known = _SHARED.get(key)
        if known is None or known.profile is not profile:
            known = _SHARED[key] = self._rules_of(points, shape)
        return known

    def _rules_of(self, points: Sequence[Point], shape: Shape) -> _Rules:
        lows, highs = list[Number](), list[Number]()
        for point, column in zip(points, shape.columns, strict=True):
            low, high = (-math.inf, math.inf) if point.kind is Kind.COUNTER else self._bounds_of(point)
            if not column.is_float:  # whole numbers are compared faster with whole numbers
                low = -_HUGE if low == -math.inf else math.ceil(low)
                high = _HUGE if high == math.inf else math.floor(high)
            lows.append(low)
            highs.append(high)
        counters = tuple(
            (index, column.request, point, JUMP * self._most_per_hour(point) / HOUR_NS)
            for index, (point, column) in enumerate(zip(points, shape.columns, strict=True))
            if point.kind is Kind.COUNTER
        )
        return _Rules(
            self.plant.profile_of(self.meter), (tuple(lows), tuple(highs)), counters, Watch.has_part_in(points)
        )

    def _counter(self, point: Point, number: Number, at_ns: int, per_ns: float) -> bool:
        last = self._counters.get(point.measurand)
        if last is None:
            self._counters[point.measurand] = _Counter(number, at_ns)
            return number < 0
        if _follows(point, last.number, last.at_ns, number, at_ns, per_ns) or (
            # A second value that follows the doubted one: the counter really went there (reset, exchange, correction).
            last.doubted is not None and _follows(point, last.doubted, last.doubted_ns, number, at_ns, per_ns)
        ):
            last.number, last.at_ns, last.doubted = number, at_ns, None
            return number < 0
        last.doubted, last.doubted_ns = number, at_ns
        return True

    def _most_per_hour(self, point: Point) -> float:
        """The rating as the meter would count it in an hour, in the counter's own steps; infinite if none is known."""
        unit = MEASURANDS[point.measurand].unit
        if self.meter.rated is None or unit not in _RATED_UNITS[self.plant.carrier_of(self.meter)]:
            return math.inf
        return self.meter.rated / self._primary(point) * 10.0**-point.exponent

    def _bounds_of(self, point: Point) -> tuple[float, float]:
        """Lowest and highest number the point may show: canonical limits, taken back to the meter's own display."""
        row = MEASURANDS[point.measurand]
        name, unit = row.name, row.unit
        most = math.inf
        least = -math.inf if row.signed or unit == "degC" else 0.0
        meter = self.meter
        ratio = meter.ratio_at(self._today)
        if ratio is not None and ratio.span is not None:
            low, high = sorted(ratio.span.raw)
            return low - BELOW_SPAN * (high - low), high + ABOVE_SPAN * (high - low)
        if name.startswith("power_factor"):
            least, most = -1.005, 1.005  # a float's last digit may lie above one
        elif name == "frequency":
            most = 70.0
        elif unit == "V":
            line = name.startswith(("voltage.l12", "voltage.l23", "voltage.l31", "voltage.ll"))
            most = meter.nominal_v * OVER_NOMINAL_V * (ROOT_3 if line else 1.0) / self._primary(point)
        elif meter.rated is not None and unit in _RATED_UNITS[self.plant.carrier_of(meter)]:
            most = OVER_RATED * meter.rated / self._primary(point)
        elif meter.rated is not None and unit == "A" and self.plant.carrier_of(meter) is Carrier.ELECTRICITY:
            most = OVER_RATED * meter.rated * 10.0 ** -shift_to_canonical("W") / meter.nominal_v / self._primary(point)
        if row.signed and most != math.inf:
            least = -most
        per_number = 10.0**-point.exponent
        return least * per_number, most * per_number

    def _primary(self, point: Point) -> float:
        """What the display is multiplied by to give the primary value, today."""
        return float(self.plant.primary_factor(self.meter, point.measurand, self._today))


def _all_inside(numbers: Sequence[Number | None], lows: Sequence[Number], highs: Sequence[Number]) -> bool:
    """Whether every column has a number, and none is out of bounds."""
    if None in numbers:
        return False
    for number, low, high in zip(numbers, lows, highs, strict=True):  # noqa: SIM110 - a generator takes twice the time
        if not low <= number <= high:  # type: ignore[operator]  # None is not among them
            return False
    return True


def _follows(point: Point, before: Number, before_ns: int, number: Number, at_ns: int, per_ns: float) -> bool:
    """Whether a counter may have run from one value to the other in that time."""
    moved = number - before
    if moved < 0 and point.wraps_at is not None:
        # wraps_at is in the maker's unit; the number is in steps of `scale`
        moved += point.wraps_at * 10.0 ** -power_of_ten(point.scale)
    if moved < 0:
        return False
    step = 1.0 if isinstance(number, int) else abs(number) * 2.0**-22
    return moved <= per_ns * max(at_ns - before_ns, NS) + 2 * step
