"""Answers of CJ/T 188 to numbers: each field at its place, its unit as the meter says it, never a float."""

from __future__ import annotations

from collector.plan_answer import WholeAnswer
from collector.protocols.cjt188 import in_steps
from collector.protocols.dlt645 import digits
from meterline.measurands import MEASURANDS
from meterline.profiles import FieldPoint
from meterline.readings import Number, Quality

MISSING, INVALID = int(Quality.MISSING), int(Quality.INVALID)


class FieldDecoder:
    """One answer, ready to be taken apart.

    Parameters
    ----------
    unit_first
        Whether the unit byte stands before its number.
    """

    __slots__ = ("_block", "_unit_first")

    def __init__(self, block: WholeAnswer[FieldPoint], *, unit_first: bool = False) -> None:
        self._block, self._unit_first = block, unit_first

    def into(self, payload: bytes, numbers: list[Number | None], qualities: list[int]) -> bool:
        """Write the numbers of one answer into their columns; return whether any of them is no number.

        A maker who leaves out the last fields gives a shorter answer: what it does not hold is MISSING.
        """
        doubtful = False
        for item in self._block.items:
            point = item.point
            raw = payload[point.at : point.at + point.bytes_each]
            number = self._number(point, raw) if len(raw) == point.bytes_each else None
            numbers[item.column] = number
            if number is None:
                qualities[item.column] = INVALID if len(raw) == point.bytes_each else MISSING
                doubtful = True
        return doubtful

    def _number(self, point: FieldPoint, raw: bytes) -> int | None:
        if point.type == "bits":
            return int.from_bytes(raw, "little")
        if point.decimals is None:
            return digits(raw)
        number, unit_byte = (digits(raw[1:]), raw[0]) if self._unit_first else (digits(raw[:-1]), raw[-1])
        if number is None:
            return None
        return in_steps(number, unit_byte, MEASURANDS[point.measurand].unit, point.decimals, point.exponent)
