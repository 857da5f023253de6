"""Ratios, applied once: what turns the values a meter displayed into primary ones, and since when.

Readings keep what the display showed. A counter is multiplied reading by reading, before any interval is formed, so
that the sum of the intervals is exactly the difference of the primary readings; across an exchange of transformers that
holds piece by piece.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from headend.plant_days import midnight_ns
from meterline.plant import Meter, Plant

_EVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Regime:
    """A factor, the moment from which it holds [ns], and what is added after it (the zero of an analog input)."""

    from_ns: int
    factor: Fraction
    offset: Fraction = Fraction(0)

    def value(self, displayed: float) -> float:
        """A displayed value as the primary one."""
        return displayed * float(self.factor) + float(self.offset)


def regimes(plant: Plant, meter: Meter, measurand: str) -> tuple[Regime, ...]:
    """The factors of one measurand of a meter in order of time; the first holds since ever."""
    zone = plant.site.site.zone
    days = sorted({ratio.valid_from for ratio in meter.ratios})
    first = days[0] - dt.timedelta(days=1) if days else dt.date.min
    found = [
        Regime(_EVER, plant.primary_factor(meter, measurand, first), plant.primary_offset(meter, measurand, first))
    ]
    for day in days:
        factor, offset = plant.primary_factor(meter, measurand, day), plant.primary_offset(meter, measurand, day)
        if (factor, offset) != (found[-1].factor, found[-1].offset):
            found.append(Regime(midnight_ns(zone, day), factor, offset))
    return tuple(found)


def regime_at(which: Sequence[Regime], t_ns: int) -> Regime:
    """The regime in force at a moment."""
    now = which[0]
    for regime in which[1:]:
        if t_ns >= regime.from_ns:
            now = regime
    return now


def factor_at(which: Sequence[Regime], t_ns: int) -> Fraction:
    """The factor in force at a moment."""
    return regime_at(which, t_ns).factor


def scaled_micro(micro: NDArray[np.int64], factor: Fraction) -> NDArray[np.int64]:
    """Whole millionths times a factor; exact for whole ratios, else rounded half up at each reading.

    Raises
    ------
    OverflowError
        The product does not fit 64 bits: no display times ratio reaches 9.2e12 units.
    """
    if factor == 1:
        return micro
    above, below = factor.numerator, factor.denominator
    most = int(np.abs(micro).max(initial=0))
    if most * above >= 2**63:
        raise OverflowError(f"{most} millionths times {factor}")
    product = micro * above
    return (
        product
        if below == 1
        else (2 * product + below) // (2 * below)
        if most * above < 2**61
        else _slowly(product, below)
    )


def _slowly(product: NDArray[np.int64], below: int) -> NDArray[np.int64]:
    return np.array([(2 * p + below) // (2 * below) for p in product.tolist()], dtype=np.int64)


def scaled_values(value: NDArray[np.float64], t_ns: NDArray[np.int64], which: Sequence[Regime]) -> NDArray[np.float64]:
    """A gauge's displayed values as primary ones."""
    if len(which) == 1 and not which[0].offset:
        return value if which[0].factor == 1 else value * float(which[0].factor)
    at = np.searchsorted(np.array([r.from_ns for r in which]), t_ns, side="right") - 1
    factors: NDArray[np.float64] = np.array([float(r.factor) for r in which])[at]
    offsets: NDArray[np.float64] = np.array([float(r.offset) for r in which])[at]
    return value * factors + offsets
