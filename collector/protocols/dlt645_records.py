"""What a DL/T 645-2007 meter remembers, as pure functions: moments, and the records of its load curve.

References
----------
DL/T 645-2007, annex A tables A.4 (events), A.6 (freeze) and A.7 (load records), annex B (format of a load record):
``A0 A0``, a length, the time, up to six classes of values each closed by ``AA``, a sum, ``E5``. ``E0 E0`` marks a
record the meter itself holds for damaged. Packed decimals never contain ``AA``, so the closing bytes can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collector.protocols.dlt645 import digits
from meterline.errors import FrameError

CLASSES = 6
ENERGIES = 3
"""Which class (from 0) holds the energies: active forward and reverse, combined reactive 1 and 2."""
EACH_ENERGY = 4
_HEAD, _TAIL = 8, 2
_GOOD, _DAMAGED, _CLOSE, _LAST = b"\xa0\xa0", b"\xe0\xe0", 0xAA, 0xE5


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """One record of the load curve.

    Attributes
    ----------
    minute
        Digits YYYYMMDDhhmm of plant time.
    classes
        The bytes of each class; empty where the meter does not record it.
    is_damaged
        Whether the meter itself says so.
    """

    minute: int
    classes: tuple[bytes, ...]
    is_damaged: bool

    def energies(self) -> tuple[int | None, ...]:
        """The counters of the record, in hundredths of a kWh; empty where none are recorded."""
        raw = self.classes[ENERGIES]
        return tuple(digits(raw[n : n + EACH_ENERGY]) for n in range(0, len(raw) - EACH_ENERGY + 1, EACH_ENERGY))


def load_records(data: bytes) -> Iterator[LoadRecord]:
    """The records of an answer.

    Raises
    ------
    FrameError
        A record that does not add up: nothing after it can be trusted.
    """
    at = 0
    while at < len(data):
        start = data[at : at + 2]
        if start not in (_GOOD, _DAMAGED) or len(data) < at + _HEAD + _TAIL or data[at + 2] < _HEAD - 3:
            raise FrameError(f"no load record: {data[at : at + 8].hex(' ')}")
        end = at + 3 + data[at + 2] + _TAIL
        if end > len(data) or data[end - 1] != _LAST or sum(data[at : end - _TAIL]) & 0xFF != data[end - _TAIL]:
            raise FrameError(f"load record of {data[at + 2]} bytes does not add up: {data[at : at + 8].hex(' ')}")
        minute = digits(data[at + 3 : at + _HEAD])
        body = data[at + _HEAD : end - _TAIL]
        parts = body.split(bytes((_CLOSE,)))  # some makers leave out the last one, which closes the last class
        if minute is None or not CLASSES <= len(parts) <= CLASSES + 1 or any(parts[CLASSES:]):
            raise FrameError(f"load record of {len(parts)} classes: {data[at : at + 8].hex(' ')}")
        yield LoadRecord(200_000_000_000 + minute, tuple(parts[:CLASSES]), start == _DAMAGED)
        at = end


def records_from(minute: int, count: int) -> bytes:
    """What follows the identifier when records from a minute on are asked for: how many, then the time.

    Parameters
    ----------
    minute
        Digits YYYYMMDDhhmm of plant time.
    """
    return bytes((int(f"{count:02d}", 16),)) + bytes.fromhex(f"{minute % 10_000_000_000:010d}")[::-1]


def moment(data: bytes) -> int | None:
    """A time of five or six bytes (YYMMDDhhmm, YYMMDDhhmmss; low byte first) as digits YYYYMMDDhhmmss.

    Zero for an event that never happened (all digits zero); None where they are no digits.
    """
    number = digits(data)
    if number is None or len(data) not in (5, 6):
        return None
    if not number:
        return 0
    return 20_000_000_000_000 + (number * 100 if len(data) == 5 else number)
