"""A 32-bit float as the decimal its maker meant: 230.1, not 230.10000610351562."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache


def shortest_float32(x: float) -> float:
    """The double whose decimal is the shortest that reads back as this 32-bit float.

    Six digits always survive a 32-bit float and nine always suffice. A candidate within half a step of the 32-bit
    grid reads back (half a step is 2**28 steps of the double's grid; below a power of two the grid is twice as fine,
    so candidates there must be within a quarter). Exactly half a step reads back where the 24-bit mantissa is even.
    """
    if x == 0.0:
        return x
    if -1.1754943508222875e-38 < x < 1.1754943508222875e-38:
        return _shortest_subnormal(x)
    half = math.ulp(x) * 268435456.0
    for pattern in ("%.6g", "%.7g", "%.8g"):
        candidate = float(pattern % x)
        off = abs(candidate - x)
        if off < half and (off < half / 2 or not (abs(candidate) < abs(x) and math.frexp(x)[0] in (0.5, -0.5))):
            return candidate
        if off == half:
            mantissa = math.frexp(x)[0]
            even = int(mantissa * 16777216.0) % 2 == 0
            if even and (abs(candidate) > abs(x) or mantissa not in (0.5, -0.5)):
                return candidate
    return float(f"{x:.9g}")


def _shortest_subnormal(x: float) -> float:
    for digits in range(1, 9):
        candidate = float(f"{x:.{digits}g}")
        if struct.unpack(">f", struct.pack(">f", candidate))[0] == x:
            return candidate
    return float(f"{x:.9g}")


class _Row:
    """How so many floats are written down and packed at once."""

    __slots__ = ("eight", "pack", "seven", "unpack")

    def __init__(self, count: int) -> None:
        layout = struct.Struct(f">{count}f")
        self.pack, self.unpack = layout.pack, layout.unpack
        self.seven, self.eight = " ".join(["%.7g"] * count), " ".join(["%.8g"] * count)


_row = lru_cache(maxsize=512)(_Row)


def shortest_float32s(values: Sequence[float]) -> list[float | None]:
    """What `shortest_float32` makes of each, in a fraction of the time; None for what is not finite.

    From 0.001 to ten million seven digits are never more than a float needs by themselves: there the decimals of
    32-bit floats with seven digits lie further apart than the floats, so the nearest one is the only one that can read
    back, and a shorter one shows as trailing zeros. Elsewhere, and for what needs nine digits, each value goes its own
    way.
    """
    row = _row(len(values))
    text = row.seven % tuple(values)
    if "e" in text or "n" in text or "0.0009" in text:  # an exponent; not a number, infinite; just below 0.001
        return [shortest_float32(x) if math.isfinite(x) else None for x in values]
    found: list[float | None] = [*map(float, text.split())]
    back = row.unpack(row.pack(*found))
    if back == values:
        return found
    rest = [index for index, x in enumerate(values) if back[index] != x]
    wanted = tuple([values[index] for index in rest])
    row = _row(len(rest))
    longer = [*map(float, (row.eight % wanted).split())]
    if row.unpack(row.pack(*longer)) != wanted:
        longer = [*map(shortest_float32, wanted)]
    for index, number in zip(rest, longer, strict=True):
        found[index] = number
    return found
