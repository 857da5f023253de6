"""What a meter says about itself: whether its own status casts doubt on its counters, its number, its clock.

None of it changes a value. A counter read while the meter reports a lost phase, or from a meter that is not the one in
the inventory, is kept as it came and marked SUSPECT; so is a clock that is off by more than a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from meterline.clock import NS
from meterline.measurands import Kind
from meterline.meter_clock import DRIFT_S, offset_s
from meterline.profiles import Point
from meterline.readings import Number, Quality, Shape

log = logging.getLogger(__name__)
SUSPECT = int(Quality.SUSPECT)
_OWN = ("clock.", "identity.")


class Watch:
    """One meter's word about itself.

    Parameters
    ----------
    meter, serial
        Id, and the number the inventory says (empty: it says none).
    zone
        The plant's, in which the meter's clock runs.

    Attributes
    ----------
    clock_offset_s
        How far the meter's clock was ahead of ours when it was last read; None if it never was. [s]
    clock_read_ns
        When that was. [ns]
    number
        The number it gave; None if it was never asked.
    is_other
        Whether that is not the number of the inventory: a swapped cable, address or meter.
    """

    def __init__(self, meter: str, serial: str, zone: ZoneInfo) -> None:
        self._meter, self._zone = meter, zone
        self._wanted = int(serial) if serial.isascii() and serial.isdigit() else None
        self._doubts: dict[str, bool] = {}
        self._clock: dict[str, tuple[int, int]] = {}
        self._of_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.clock_offset_s: float | None = None
        self.clock_read_ns = 0
        self.number: int | None = None
        self.is_other = False
        self._warned = ""

    @property
    def casts_doubt(self) -> bool:
        """Whether what it said last makes its counters doubtful."""
        return self.is_other or (bool(self._doubts) and any(self._doubts.values()))

    @staticmethod
    def has_part_in(points: Sequence[Point]) -> bool:
        """Whether the meter's word about itself is among the points."""
        return any(point.doubt_if or point.measurand.startswith(_OWN) for point in points)

    def judge(
        self,
        points: Sequence[Point],
        shape: Shape,
        numbers: Sequence[Number | None],
        qualities: list[int],
        read_ns: Callable[[int], int],
    ) -> bool:
        """Look at one poll and mark what its meter itself casts doubt on; return whether anything was marked.

        Parameters
        ----------
        read_ns
            When the number of a column was read, UTC. [ns]
        """
        known = self._of_shape.get(shape.id)
        if known is None:
            known = self._of_shape[shape.id] = (
                tuple(
                    sorted(  # the date before the time that belongs to it
                        (n for n, p in enumerate(points) if p.doubt_if or p.measurand.startswith(_OWN)),
                        key=lambda n: points[n].measurand,
                    )
                ),
                tuple(n for n, p in enumerate(points) if p.kind is Kind.COUNTER),
            )
        states, counters = known
        marked = False
        for index in states:
            number = numbers[index]
            if isinstance(number, int) and self._suspect(points[index], number, read_ns(index)):
                qualities[index] |= SUSPECT
                marked = True
        if self.is_other or any(self._doubts.values()):
            for index in counters:
                if numbers[index] is not None:
                    qualities[index] |= SUSPECT
                    marked = True
        return marked

    def _suspect(self, point: Point, number: int, at_ns: int) -> bool:
        """Take one word in; whether it is itself to be doubted (a status word never is: it is the witness)."""
        if point.doubt_if:
            self._doubts[point.measurand] = bool(number & point.doubt_if)
            return False
        if point.measurand == "identity.number":
            self.number = number
            self.is_other = self._wanted is not None and number != self._wanted
            self._warn("number", f"is number {number}, the site file says {self._wanted}" if self.is_other else "")
            return self.is_other
        self._clock[point.measurand] = (number, at_ns)
        return point.measurand == "clock.time" and self._drifts()

    def _drifts(self) -> bool:
        time, at_ns = self._clock["clock.time"]
        date: int | None
        date, date_ns = self._clock.get("clock.date", (0, 0))
        if abs(at_ns - date_ns) > DRIFT_S * NS or not 100 <= time < 235_900:
            date = None  # an old date, or one that may have changed between the two answers
        offset = offset_s(date, time, at_ns, self._zone)
        if offset is None:
            return True
        self.clock_offset_s, self.clock_read_ns = offset, at_ns
        drifts = abs(offset) > DRIFT_S
        self._warn("clock", f"its clock is {offset:+.0f} s from ours" if drifts else "")
        return drifts

    def _warn(self, about: str, what: str) -> None:
        """Say a state once, when it begins."""
        if what and about not in self._warned:
            log.warning("%s: %s", self._meter, what)
            self._warned += about
        elif not what:
            self._warned = self._warned.replace(about, "")
