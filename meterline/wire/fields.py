"""The smallest pieces of the JSON bodies, each refused with a reason where it is not what the contract says."""

from __future__ import annotations

import math
import re
from typing import Any

from meterline.ranges import Ranges

MS = 1_000_000
"""Nanoseconds in the millisecond that times are written in."""
_END_OF_TIME_MS = 7_258_118_400_000
_MOST_DELAY_MS = 366 * 86_400_000
_EPOCH = re.compile(r"[0-9a-f]{16}\Z")
_HEX32 = re.compile(r"[0-9a-f]{64}\Z")


def whole(value: Any) -> int:
    """An integer; JSON's true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{str(value)[:20]} is no whole number")
    return value


def listed(value: Any) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{str(value)[:20]} is no list")
    return value


def short_text(value: Any) -> str:
    """At most 120 printable characters."""
    if not isinstance(value, str) or len(value) > 120 or not value.isprintable():
        raise ValueError(f"{str(value)[:20]!r} is no short text")
    return value


def stamp(value: Any) -> int:
    """Milliseconds since 1970 as nanoseconds."""
    # Beyond the year 2200 (or before 1970) nanoseconds leave 64 bits; a meter cannot mean it.
    if not 0 <= whole(value) < _END_OF_TIME_MS:
        raise ValueError(f"{value} is no time in milliseconds")
    return int(value) * MS


def delay(value: Any) -> int:
    """Milliseconds between slot and answer; long where the answer came from a meter's memory."""
    if abs(whole(value)) > _MOST_DELAY_MS:
        raise ValueError(f"a delay of {value} ms")
    return int(value)


def exponent(value: Any) -> int:
    """A power of ten a unit can be away."""
    if abs(whole(value)) > 30:
        raise ValueError(f"an exponent of {value}")
    return int(value)


def correction(value: Any) -> int:
    """By how much stamps were corrected. [ms]"""
    if abs(whole(value)) >= _END_OF_TIME_MS:
        raise ValueError(f"stamps corrected by {value} ms")
    return int(value)


def request(value: Any) -> int:
    """Which request of a poll brought a number."""
    if not 0 <= whole(value) < 1000:
        raise ValueError(f"a request number of {value}")
    return int(value)


def flag(value: Any) -> bool:
    """0 or 1."""
    if value not in (0, 1):
        raise ValueError(f"{str(value)[:20]} is neither 0 nor 1")
    return bool(value)


def truth(value: Any) -> bool:
    """JSON's true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{str(value)[:20]} is neither true nor false")
    return value


def quality(value: Any) -> int:
    """A set of quality bits; bits of a later version are let through."""
    if not 0 <= whole(value) < 1 << 31:
        raise ValueError(f"quality {value}")
    return int(value)


def sequence(value: Any) -> int:
    """A sequence number."""
    if not 0 < whole(value) < 1 << 63:
        raise ValueError(f"sequence number {value}")
    return int(value)


def count(value: Any) -> int:
    """A sequence number, or 0 for none."""
    return 0 if value == 0 and whole(value) == 0 else sequence(value)


def epoch_name(value: Any) -> str:
    """16 lower-case hex digits."""
    if not isinstance(value, str) or not _EPOCH.match(value):
        raise ValueError(f"epoch {str(value)[:20]!r}")
    return value


def digest(value: Any, *, may_be_empty: bool = False) -> bytes:
    """A SHA-256 as 64 lower-case hex digits."""
    if may_be_empty and value == "":
        return b""
    if not isinstance(value, str) or not _HEX32.match(value):
        raise ValueError(f"digest {str(value)[:20]!r}")
    return bytes.fromhex(value)


def finite(value: Any) -> float:
    """Any number that is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:20]} is no number")
    return float(value)


def ranges(value: Any) -> Ranges:
    """Closed ranges, ascending, neither overlapping nor touching."""
    found: list[tuple[int, int]] = []
    for first, last in map(listed, listed(value)):
        if sequence(first) > sequence(last) or (found and first <= found[-1][1] + 1):
            raise ValueError("ranges that do not ascend")
        found.append((first, last))
    return tuple(found)


def numbers(column: list[Any], *, floats: bool) -> None:
    """Check one column: integers of 64 bits, finite floats where the meter sends floats, None where there is none."""
    for number in column:
        if number is None:
            continue
        if isinstance(number, float):
            if not floats or not math.isfinite(number):
                raise ValueError(f"{number} among {'floats' if floats else 'whole numbers'}")
        elif not -(1 << 63) <= whole(number) < 1 << 63:
            raise ValueError(f"{number} needs more than 64 bits")


def folded(items: list[Any]) -> Any:
    """A list whose items are all alike is written as that item."""
    return items[0] if items and all(item == items[0] for item in items) else items


def unfolded(value: Any, length: int) -> list[Any]:
    """The list again."""
    if not isinstance(value, list):
        return [value] * length
    if len(value) != length:
        raise ValueError(f"{len(value)} items where {length} belong")
    return value
