"""Answers of M-Bus to numbers: the records the page names, in the unit and power of ten the meter gives them in."""

from __future__ import annotations

from collector.plan_answer import WholeAnswer
from collector.protocols.mbus import records_in
from meterline.errors import FrameError
from meterline.measurands import MEASURANDS
from meterline.profiles import RecordPoint
from meterline.readings import Number, Quality, exact
from meterline.units import whole_steps

MISSING, INVALID = int(Quality.MISSING), int(Quality.INVALID)
BASE: dict[tuple[str, str], tuple[int, int]] = {
    # quantity of a record, canonical unit -> factor and exponent from the record's base unit to the canonical one
    ("energy.wh", "kWh"): (1, -3), ("energy.wh", "GJ"): (36, -7), ("energy.j", "GJ"): (1, -9),
    ("volume", "m3"): (1, 0), ("mass", "t"): (1, -3), ("power.w", "kW"): (1, -3), ("flow.volume", "m3/h"): (1, 0),
    ("flow.mass", "t/h"): (1, -3), ("temperature.flow", "degC"): (1, 0), ("temperature.return", "degC"): (1, 0),
    ("temperature.external", "degC"): (1, 0), ("pressure", "MPa"): (1, -1), ("hours.on", "h"): (1, 0),
    ("hours.operating", "h"): (1, 0), ("identity", "1"): (1, 0), ("status", "1"): (1, 0),
}  # fmt: skip


Key = tuple[str, str, int, int, int]


class RecordDecoder:
    """One answer, ready to be taken apart."""

    __slots__ = ("_wanted",)

    def __init__(self, block: WholeAnswer[RecordPoint]) -> None:
        self._wanted = [(item.column, item.point) for item in block.items]

    def into(self, payload: bytes, numbers: list[Number | None], qualities: list[int]) -> bool:
        """Write the numbers of one answer into their columns; return whether any of them is no number.

        A record the meter does not send is MISSING; one that is no whole number of the column's steps is INVALID.
        """
        found: dict[Key, Number | None] = {}
        powers: dict[Key, tuple[int, int]] = {}
        try:
            for record in records_in(payload):
                key = (record.quantity, record.function, record.storage, record.tariff, record.subunit)
                if record.quantity and key not in found:
                    found[key], powers[key] = record.number, (record.factor, record.power)
        except FrameError:
            found.clear()
        doubtful = False
        for column, point in self._wanted:
            key = (point.quantity, point.function, point.storage, point.tariff, point.subunit)
            raw = found.get(key)
            number: Number | None = None
            base = BASE.get((point.quantity, MEASURANDS[point.measurand].unit))
            if raw is not None and base is not None:
                factor, power = powers[key][0] * base[0], powers[key][1] + base[1]
                if point.is_float:
                    number = float(exact(raw, power) * factor)
                elif isinstance(raw, int):
                    number = whole_steps(raw, factor, power - point.exponent)
            numbers[column] = number
            if number is None:
                qualities[column] = INVALID if key in found else MISSING
                doubtful = True
        return doubtful
