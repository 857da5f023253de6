"""Words to numbers: the only place where byte order, scaled integers, packed decimals and "no value" patterns exist.

A number is kept as the meter gave it. Integers stay integers, a 32-bit float becomes the shortest decimal that a
32-bit float reads back to the same bits (230.1, not 230.10000610351562), sums of parts are exact. Scale and unit live
in the column's exponent and touch no digit. What is no number becomes INVALID, never a number.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from operator import itemgetter

from collector.float32 import shortest_float32 as shortest_float32
from collector.float32 import shortest_float32s
from collector.plan import Block, Item, block_of, words_of
from meterline.profile_page import power_of_ten
from meterline.profiles import WORDS, CellPoint, Cells, DataType, Order
from meterline.readings import Number, Quality

FORMAT: dict[DataType, str] = {
    "uint16": "H", "int16": "h", "bcd16": "H", "uint32": "I", "int32": "i", "bcd32": "I", "bcd48": "Q",
    "uint64": "Q", "int64": "q", "float32": "f", "float64": "d",
}  # fmt: skip
"""How :mod:`struct` reads each type from most-significant-first bytes; bcd48 is padded to eight bytes."""
INVALID = int(Quality.INVALID)
MOST_DIGITS = 12
"""An exponent further than this from the finest one is a word that is none (the 0x8000 of a SunSpec meter, say)."""

Convert = Callable[[Number], Number | None]


def wire_order(order: Order, type_: DataType) -> list[int]:
    """Where each byte of a value, most significant first, stands among the bytes on the wire.

    ``CDAB`` and ``DCBA`` turn the order of the words, ``BADC`` and ``DCBA`` the two bytes inside each word.
    """
    words = list(range(WORDS[type_]))
    if order in ("CDAB", "DCBA"):
        words.reverse()
    swap = order in ("BADC", "DCBA")
    return [2 * word + (half ^ swap) for word in words for half in (0, 1)]


class BlockDecoder:
    """One request's answer, ready to be taken apart: made once per plan, used at every poll."""

    __slots__ = ("_floats", "_gather", "_pick", "_plain", "_run", "_special", "_unpack", "size")

    def __init__(self, block: Block, points: tuple[CellPoint, ...]) -> None:
        self.size = 2 * block.count
        cells: list[tuple[int, Cells]] = []
        plain: list[tuple[int, int]] = []
        floats: list[tuple[int, int]] = []
        special: list[tuple[int, Callable[[tuple[Number, ...]], Number | None]]] = []
        for item in block.items:
            index = len(cells)
            cells += [(2 * (cell.at - block.address), cell) for cell in item.cells]
            not_available = points[item.column].not_available
            converts = [_converter(cell, not_available) for cell in item.cells]
            if points[item.column].scale_at is not None:
                special.append((item.column, _scaled(index, converts[0], power_of_ten(points[item.column].scale))))
                continue
            if converts == [_as_is]:
                plain.append((item.column, index))
            elif len(item.cells) == 1 and item.cells[0].type == "float32" and not not_available:
                floats.append((item.column, index))
            else:
                special.append((item.column, _composite(index, converts, [cell.times for cell in item.cells])))
        self._gather, layout = _layout(cells, self.size)
        self._unpack = struct.Struct(layout).unpack
        self._run = _run_of(plain)
        self._plain = () if self._run else tuple(plain)
        self._floats = tuple(column for column, _ in floats)
        self._pick = _picker([index for _, index in floats], len(cells))
        self._special = tuple(special)

    def into(self, payload: bytes, numbers: list[Number | None], qualities: list[int]) -> bool:
        """Write the numbers of one answer into their columns; return whether any of them is no number.

        Raises
        ------
        ValueError
            The answer has another length than was asked for; the codec should have refused it.
        """
        if len(payload) != self.size:
            raise ValueError(f"{len(payload)} bytes where {self.size} were asked for")
        raw = self._unpack(payload if self._gather is None else bytes(self._gather(payload + b"\0")))
        if self._run is not None:
            to, of = self._run
            numbers[to] = raw[of]
        for column, index in self._plain:
            numbers[column] = raw[index]
        doubtful = False
        if self._floats:
            values = raw if self._pick is None else self._pick(raw)
            for column, number in zip(self._floats, shortest_float32s(values), strict=True):
                numbers[column] = number
                if number is None:
                    qualities[column] = INVALID
                    doubtful = True
        for column, convert in self._special:
            number = convert(raw)
            numbers[column] = number
            if number is None:
                qualities[column] = INVALID
                doubtful = True
        return doubtful


def _run_of(plain: list[tuple[int, int]]) -> tuple[slice, slice] | None:
    """Where integers that stand side by side in the answer go side by side into the poll: both stretches at once."""
    if len(plain) < 2:
        return None
    (column, index), count = plain[0], len(plain)
    if plain != [(column + n, index + n) for n in range(count)]:
        return None
    return slice(column, column + count), slice(index, index + count)


def _picker(indexes: list[int], cells: int) -> Callable[[tuple[Number, ...]], tuple[Number, ...]] | None:
    """What takes some cells out of all, as a tuple; None where it would take all."""
    if indexes == list(range(cells)):
        return None
    if len(indexes) == 1:
        (only,) = indexes
        return lambda raw: (raw[only],)
    return itemgetter(*indexes) if indexes else None


def _layout(cells: list[tuple[int, Cells]], size: int) -> tuple[Callable[[bytes], tuple[int, ...]] | None, str]:
    """How to unpack all cells at once: as they stand where their bytes are in order, else gathered byte by byte first.

    The gatherer sees the payload followed by one zero byte, with which it fills a bcd48 up to eight bytes.
    """
    layout, at, picks, straight = ">", 0, list[int](), True
    for offset, cell in cells:
        assert cell.type is not None
        assert cell.order is not None
        order = wire_order(cell.order, cell.type)
        straight = straight and cell.type != "bcd48" and offset >= at and order == sorted(order)
        layout += (f"{offset - at}x" if straight and offset > at else "") + FORMAT[cell.type]
        at = offset + len(order)
        picks += [size, size] if cell.type == "bcd48" else []
        picks += [offset + place for place in order]
    if straight:
        return None, layout + (f"{size - at}x" if size > at else "")
    picked = ">" + "".join(FORMAT[cell.type] for _, cell in cells if cell.type)
    return itemgetter(*picks), picked


def _composite(index: int, converts: list[Convert], times: list[int]) -> Callable[[tuple[Number, ...]], Number | None]:
    if len(converts) == 1 and times == [1]:
        convert = converts[0]
        return lambda raw: convert(raw[index])
    last = index + len(converts)

    def add(raw: tuple[Number, ...]) -> Number | None:
        parts = [convert(number) for convert, number in zip(converts, raw[index:last], strict=True)]
        if None in parts:
            return None
        return _exact_sum([part for part in parts if part is not None], times)

    return add


def _scaled(index: int, convert: Convert, finest: int) -> Callable[[tuple[Number, ...]], Number | None]:
    """A value whose decimal exponent stands in the next cell, in steps of 10**finest; None for no exponent."""

    def scale(raw: tuple[Number, ...]) -> Number | None:
        number, shift = convert(raw[index]), int(raw[index + 1]) - finest
        return None if number is None or not 0 <= shift <= MOST_DIGITS else number * 10**shift

    return scale


def _exact_sum(parts: list[Number], times: list[int]) -> Number:
    """The sum of parts as a decimal reader would add them; a float only if one of them is a float."""
    if all(isinstance(part, int) for part in parts):
        return sum(part * factor for part, factor in zip(parts, times, strict=True))
    return float(sum((Decimal(repr(part)) * factor for part, factor in zip(parts, times, strict=True)), Decimal(0)))


def _as_is(number: Number) -> Number | None:
    return number


def _converter(cell: Cells, not_available: tuple[int, ...]) -> Convert:
    """What turns one unpacked cell into its number, or None for a pattern that is none."""
    assert cell.type is not None
    bits = 16 * words_of(cell)
    patterns = frozenset(pattern & ((1 << bits) - 1) for pattern in not_available)
    if cell.type in ("float32", "float64"):
        absent = frozenset(_float_of(pattern, bits) for pattern in patterns)
        return _float32(absent) if cell.type == "float32" else _float64(absent)
    if cell.type.startswith("bcd"):
        return _packed_decimal(patterns)
    if not patterns:
        return _as_is
    if cell.type.startswith("int"):
        patterns = frozenset(p - (1 << bits) if p >> (bits - 1) else p for p in patterns)
    return lambda number: None if number in patterns else number


def _float_of(pattern: int, bits: int) -> float:
    value: float = struct.unpack(">f" if bits == 32 else ">d", pattern.to_bytes(bits // 8, "big"))[0]
    return value


def _float32(absent: frozenset[float]) -> Convert:
    def convert(number: Number) -> Number | None:
        if not math.isfinite(number) or number in absent:
            return None
        return shortest_float32(number)

    return convert


def _float64(absent: frozenset[float]) -> Convert:
    return lambda number: number if math.isfinite(number) and number not in absent else None


def _packed_decimal(patterns: frozenset[int]) -> Convert:
    def convert(number: Number) -> Number | None:
        if number in patterns:
            return None
        digits = format(number, "x")
        return int(digits) if digits.isdecimal() else None

    return convert


def decode_item(item: Item, point: CellPoint, words: bytes) -> Number | None:
    """One point from the bytes of its own span, for tools and tests; None where they are no number."""
    block = block_of((replace(item, column=0),))
    numbers: list[Number | None] = [None]
    BlockDecoder(block, (point,)).into(words, numbers, [0])
    return numbers[0]
