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

from collector.watch import Watch
from meterline.clock import NS
from meterline.measurands import MEASURANDS, Carrier, Kind
from meterline.plant import Plant
from meterline.profiles import Point, power_of_ten
from meterline.readings import Number, Quality, Shape
from meterline.site import Meter
from meterline.units import shift_to_canonical

SUSPECT = int(Quality.SUSPECT)
OVER_RATED = 1.2
"""A gauge this far above the rating is doubted (FAULTS A20)."""
JUMP = 1.5
"""A counter that ran this much faster than the rating allows is doubted."""
OVER_NOMINAL_V = 1.5
ROOT_3 = math.sqrt(3)
HOUR_NS = 3_600 * NS

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


@dataclass
class Plausibility:
    """The rules for one meter; remembers the last value of its counters."""

    meter: Meter
    plant: Plant
    _bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    _rated: dict[str, float] = field(default_factory=dict)
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
        if (hour := slot_ns // HOUR_NS) != self._hour:
            self._hour = hour
            self._today = dt.datetime.fromtimestamp(slot_ns // NS, self.plant.site.site.zone).date()
            self._bounds.clear()  # the ratio that applies today may be another one
            self._rated.clear()
        doubtful = self.watch.judge(
            points, shape, numbers, qualities, lambda n: slot_ns + delays_ms[shape.columns[n].request] * 1_000_000
        )
        for index, number in enumerate(numbers):
            if number is None:
                continue
            point = points[index]
            if point.kind is Kind.COUNTER:
                suspect = self._counter(point, number, slot_ns + delays_ms[shape.columns[index].request] * 1_000_000)
            else:
                bounds = self._bounds.get(point.measurand)
                if bounds is None:
                    bounds = self._bounds[point.measurand] = self._bounds_of(point)
                suspect = not bounds[0] <= number <= bounds[1]
            if suspect:
                qualities[index] |= SUSPECT
                doubtful = True
        return doubtful

    def _counter(self, point: Point, number: Number, at_ns: int) -> bool:
        last = self._counters.get(point.measurand)
        if last is None:
            self._counters[point.measurand] = _Counter(number, at_ns)
            return number < 0
        if self._follows(point, last.number, last.at_ns, number, at_ns) or (
            # A second value that follows the doubted one: the counter really went there (reset, exchange, correction).
            last.doubted is not None and self._follows(point, last.doubted, last.doubted_ns, number, at_ns)
        ):
            last.number, last.at_ns, last.doubted = number, at_ns, None
            return number < 0
        last.doubted, last.doubted_ns = number, at_ns
        return True

    def _follows(self, point: Point, before: Number, before_ns: int, number: Number, at_ns: int) -> bool:
        """Whether a counter may have run from one value to the other in that time."""
        moved = number - before
        if moved < 0 and point.wraps_at is not None:
            # wraps_at is in the maker's unit; the number is in steps of `scale`
            moved += point.wraps_at * 10.0 ** -power_of_ten(point.scale)
        if moved < 0:
            return False
        rated = self._rated.get(point.measurand)
        if rated is None:
            rated = self._rated[point.measurand] = self._most_per_hour(point)
        step = 1.0 if isinstance(number, int) else abs(number) * 2.0**-22
        return moved <= JUMP * rated * max(at_ns - before_ns, NS) / HOUR_NS + 2 * step

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
