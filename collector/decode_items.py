"""Answers of DL/T 645 to numbers: packed decimals as scaled integers, never floats; a block by the length that came."""

from __future__ import annotations

from collector.plan_items import MOST_ITEMS, ItemBlock, MeterItem
from collector.protocols.dlt645 import digits
from meterline.readings import Number, Quality

MISSING, INVALID = int(Quality.MISSING), int(Quality.INVALID)


class ItemDecoder:
    """One request's answer, ready to be taken apart."""

    __slots__ = ("_block",)

    def __init__(self, block: ItemBlock) -> None:
        self._block = block

    def into(self, payload: bytes, numbers: list[Number | None], qualities: list[int]) -> bool:
        """Write the numbers of one answer into their columns; return whether any of them is no number.

        A meter with fewer tariffs gives a shorter block: what it does not have is MISSING. An answer that is not a
        whole number of items is of another layout than the page says: all of it is INVALID.
        """
        block, doubtful = self._block, False
        came, rest = divmod(len(payload), block.each)
        if rest or not 1 <= came <= (MOST_ITEMS if block.is_block else 1):
            came = -1
        for item in block.items:
            number = None
            if item.index < came:
                number = item_number(item, payload[item.index * block.each :])
            numbers[item.column] = number
            if number is None:
                qualities[item.column] = MISSING if 0 <= came <= item.index else INVALID
                doubtful = True
        return doubtful


def item_number(item: MeterItem, data: bytes) -> int | None:
    """The number of one item from the bytes that begin with it; None where they are no digits."""
    point = item.point
    raw = data[: point.length]
    if point.type == "bits":
        return int.from_bytes(raw, "little")
    if point.type == "date":
        date = digits(raw[1:])
        return None if date is None else 20_000_000 + date
    return digits(raw, signed=point.signed)
