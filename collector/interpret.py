"""One place in a meter's memory, read in every way a maker may have meant it.

The arithmetic is that of `collector.decode`: what is shown here is what a profile with that type and order would give.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import get_args

from collector.decode import FORMAT, shortest_float32, wire_order
from collector.usual import is_common, is_usual
from meterline.profiles import WORDS, DataType, Order
from meterline.readings import Number, exact

ORDERS: tuple[Order, ...] = get_args(Order)
TYPES: tuple[DataType, ...] = (
    "uint16", "int16", "bcd16", "uint32", "int32", "float32", "bcd32", "bcd48", "uint64", "int64", "float64",
)  # fmt: skip
SCALES = (0, -1, -2, -3, -4, 1, 2, 3)
"""Decimal exponents tried, the usual ones first."""
MOVED = 0.03
"""A value may have moved this much between a look at the display and the reading."""
TELLING: tuple[str, ...] = ("voltage.l1n", "voltage.l12", "frequency")
"""Measurands whose usual values are narrow enough to be recognised without being told."""


@dataclass(frozen=True, slots=True)
class Interpretation:
    """The same bytes, read one way.

    Attributes
    ----------
    number
        None where they are no number of this type (NaN, digits beyond nine).
    """

    type: DataType
    order: Order
    number: Number | None


@dataclass(frozen=True, slots=True)
class Fit:
    """An interpretation that can be meant.

    Attributes
    ----------
    exponent
        The value is number * 10**exponent, in the canonical unit.
    measurand
        What it would be; empty where only a displayed number was matched.
    off
        How far from the displayed number, as a share; 0 where none was given.
    common
        Whether it is a value that most plants show.
    """

    interpretation: Interpretation
    exponent: int
    measurand: str = ""
    off: float = 0.0
    common: bool = False

    @property
    def value(self) -> Decimal:
        """The value itself."""
        assert self.interpretation.number is not None
        return exact(self.interpretation.number, self.exponent)


def interpretations(words: bytes) -> list[Interpretation]:
    """Every type and order that some words may be read with; each value begins at the first word."""
    found = []
    for type_ in TYPES:
        if 2 * WORDS[type_] > len(words):
            continue
        orders: tuple[Order, ...] = ORDERS if WORDS[type_] > 1 else ("ABCD", "BADC")
        found += [Interpretation(type_, order, _number(words, type_, order)) for order in orders]
    return found


def _number(words: bytes, type_: DataType, order: Order) -> Number | None:
    raw = bytes(words[place] for place in wire_order(order, type_))
    if type_ == "bcd48":
        raw = bytes(2) + raw
    number: Number = struct.unpack(">" + FORMAT[type_], raw)[0]
    if type_.startswith("bcd"):
        digits = format(number, "x")
        return int(digits) if digits.isdecimal() else None
    if isinstance(number, float):
        if not math.isfinite(number):
            return None
        return shortest_float32(number) if type_ == "float32" else number
    return number


def fits(every: Iterable[Interpretation], measurand: str = "", shown: Decimal | None = None) -> list[Fit]:
    """The interpretations that can be meant, best first.

    Parameters
    ----------
    measurand
        What the place is thought to hold; empty: whatever is recognised by itself.
    shown
        What the display shows, in the canonical unit.
    """
    found: dict[tuple[int, bool, str, Decimal], Fit] = {}
    for each in every:
        if each.number is None or (shown is None and each.number == 0):
            continue
        for exponent in SCALES:
            if isinstance(each.number, float) and exponent not in (0, -3, 3):
                continue
            fit = _fit(each, exponent, measurand, shown)
            if fit is not None:
                # A positive number is the same with and without a sign: it is told once.
                key = (WORDS[each.type], each.type.startswith("bcd"), fit.measurand, fit.value)
                found.setdefault(key, fit)
    return sorted(found.values(), key=_worth)


def _fit(each: Interpretation, exponent: int, measurand: str, shown: Decimal | None) -> Fit | None:
    assert each.number is not None
    value = float(each.number) * 10.0**exponent
    off = 0.0
    if shown is not None:
        # A display rounds its last place, or cuts off what is beyond it.
        place = 10.0 ** int(shown.as_tuple().exponent)
        beyond = abs(value) - abs(float(shown))
        if value * float(shown) < 0:
            return None
        gap = max(0.0, beyond - place if beyond > 0 else -beyond - 0.5 * place)
        off = gap / max(abs(float(shown)), place)
        if off > MOVED:
            return None
    if measurand:
        if not is_usual(measurand, value) or (shown is None and not _telling(measurand, value)):
            return None
        return Fit(each, exponent, measurand, off, is_common(measurand, value))
    if shown is not None:
        return Fit(each, exponent, "", off)
    name = next((name for name in TELLING if is_common(name, value)), "")
    return Fit(each, exponent, name, 0.0, True) if name else None


def _telling(measurand: str, value: float) -> bool:
    """Of voltages, frequencies and power factors only common values; of others all that are usual."""
    narrow = measurand == "frequency" or measurand.startswith(("voltage.", "power_factor"))
    return is_common(measurand, value) if narrow else abs(value) >= 1e-4


_RANK = {name: rank for rank, name in enumerate(TYPES)}


def _worth(fit: Fit) -> tuple[object, ...]:
    each = fit.interpretation
    widest = isinstance(each.number, float)
    # A float in a narrow range is hardly ever chance; a 16-bit number often is.
    return (round(fit.off, 3), not fit.common, not widest, SCALES.index(fit.exponent), ORDERS.index(each.order),
            _RANK[each.type])  # fmt: skip
