"""A Modbus meter of any profile: the words it answers with.

Built from the same page the collector reads with, but by other code; a read the maker does not allow is refused as the
meter would.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from collector.simulated.counting import COUNTERS
from collector.simulated.display import Display, Part, Shown, limits_of
from collector.simulated.electrical import Grid
from collector.simulated.faults import Fault
from collector.simulated.physics import Physics
from collector.simulated.words import is_float, words_of
from meterline.measurands import MEASURANDS, Kind
from meterline.plant import Plant
from meterline.profile_page import power_of_ten
from meterline.profiles import WORDS, CellPoint, ModbusProfile, Table
from meterline.site import Meter

__all__ = ["MeterRefuses", "Shown", "SimulatedMeter", "readable_addresses"]

ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3
"""Modbus exception codes (Modbus Application Protocol V1.1b3, section 7)."""


class MeterRefuses(Exception):
    """The meter answers with an exception code instead of words."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exception {code:02d}")


class SimulatedMeter(Display):
    """One Modbus meter of the factory; parameters as those of `Display`."""

    def __init__(
        self, meter: Meter, plant: Plant, physics: Physics, grid: Grid, faults: Sequence[Fault], seed: int
    ) -> None:
        super().__init__(meter, plant, physics, grid, faults, seed)
        profile = plant.profile_of(meter)
        assert isinstance(profile, ModbusProfile)
        self.profile, self.address = profile, int(meter.address)
        self._parts: dict[tuple[Table, int], Part] = {}
        for point in profile.points:
            if point.enabled:
                self._add(point)
        self._readable = readable_addresses(profile)
        self._inside = {
            (table, at + word) for (table, at), part in self._parts.items() for word in range(1, WORDS[part.kind])
        }

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
            order = (part.cells and part.cells.order) or "ABCD"
            words += words_of(part.kind, order, self.number_of(part, t_ns))
            at += size
        return words

    def counters_in(self, table: Table, address: int, count: int) -> list[str]:
        """Measurands of the counters a read shows in full."""
        return [
            name
            for name, parts in self._points.items()
            if MEASURANDS[name].kind is Kind.COUNTER
            and all(
                part.cells is not None and part.cells.table == table and address <= part.cells.at and
                part.cells.at + WORDS[part.kind] <= address + count
                for part in parts
            )
        ]  # fmt: skip

    def _add(self, point: CellPoint) -> None:
        cells = self.profile.cells_of(point)
        kinds = [cell.type for cell in cells if cell.type]
        mixed = len({is_float(kind) for kind in kinds}) > 1
        parts = []
        for index, (cell, kind) in enumerate(zip(cells, kinds, strict=True)):
            if point.measurand in COUNTERS:
                number = self.counter(point, kind, index, len(cells), "fraction" if mixed else "tariff")
            else:
                number = self.gauge(point, kind, index, limits_of(kind))
            part = Part(point, kind, *limits_of(kind), number, cell)
            parts.append(part)
            assert cell.table
            self._parts[cell.table, cell.at] = part
        self._points[point.measurand] = parts
        exponent = self.profile.exponent_cell(point)
        if exponent is not None:
            assert exponent.table
            assert exponent.type
            finest = power_of_ten(point.scale)
            self._parts[exponent.table, exponent.at] = Part(
                point, exponent.type, *limits_of(exponent.type), lambda _t_ns: finest, exponent
            )


def readable_addresses(profile: ModbusProfile) -> dict[Table, frozenset[int]]:
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
                for cell in filter(None, (*profile.cells_of(point), profile.exponent_cell(point)))
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
