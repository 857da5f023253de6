"""From a number to the words a meter keeps it in: the factory's own encoder.

Written from the Modbus specification and IEEE 754, and on purpose not shared with the collector's decoder: two
mistakes that agree would make every test green.
"""

from __future__ import annotations

import math
import struct

from meterline.profiles import WORDS, DataType, Order

_FORMAT = {
    "uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "uint64": ">Q", "int64": ">q",
    "float32": ">f", "float64": ">d",
}  # fmt: skip
_RANGE = {
    "uint16": (0, 2**16 - 1), "int16": (-(2**15), 2**15 - 1), "uint32": (0, 2**32 - 1), "int32": (-(2**31), 2**31 - 1),
    "uint64": (0, 2**64 - 1), "int64": (-(2**63), 2**63 - 1),
    "bcd16": (0, 10**4 - 1), "bcd32": (0, 10**8 - 1), "bcd48": (0, 10**12 - 1),
}  # fmt: skip


def is_float(kind: DataType) -> bool:
    """Whether values of this type carry their own decimal point."""
    return kind in ("float32", "float64")


def bounds(kind: DataType) -> tuple[int, int]:
    """Smallest and largest whole number the type can hold."""
    return _RANGE[kind]


def kept(kind: DataType, number: float) -> float:
    """The number as a float cell keeps it: a float32 loses digits, a value too large for it is infinite."""
    if kind == "float64":
        return number
    try:
        return float(struct.unpack(">f", struct.pack(">f", number))[0])
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def written(kind: DataType, number: int | float) -> int | float:
    """How a kept number is written down: a float32 by the fewest digits that mean this very float32 (230.1)."""
    if kind != "float32" or not math.isfinite(number):
        return number
    return next(short for digits in range(1, 10) if kept(kind, short := float(f"{number:.{digits}g}")) == number)


def words_of(kind: DataType, order: Order, number: int | float) -> tuple[int, ...]:
    """Pack a number into 16-bit words.

    Parameters
    ----------
    kind
        The maker's data type.
    order
        ``A`` is the most significant byte. Longer values follow the same two habits: are the words turned round
        (CDAB, DCBA), are the bytes in each word turned round (BADC, DCBA).
    number
        Whole for integer and BCD types. The caller has clamped it to `bounds`.

    Raises
    ------
    ValueError
        The number does not fit the type.
    """
    count = WORDS[kind]
    if kind.startswith("bcd"):
        low, high = _RANGE[kind]
        if not low <= number <= high:
            raise ValueError(f"{number} does not fit {kind}")
        raw = bytes.fromhex(f"{int(number):0{count * 4}d}")
    else:
        try:
            raw = struct.pack(_FORMAT[kind], number)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{number} does not fit {kind}") from error
    if order in ("BADC", "DCBA"):
        words = [raw[i + 1] << 8 | raw[i] for i in range(0, 2 * count, 2)]
    else:
        words = [raw[i] << 8 | raw[i + 1] for i in range(0, 2 * count, 2)]
    return tuple(reversed(words)) if order in ("CDAB", "DCBA") else tuple(words)
