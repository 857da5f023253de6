"""From stored polls back to series: one array per measurand, one value per slot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headend.stores.api import RawSeries
from headend.stores.exact import micros_of, values_of
from meterline.measurands import MEASURANDS, Kind
from meterline.readings import NO_VALUE, Number, Quality, Shape

Tie = tuple[int, str, int, int]
"""When the batch was formed, its epoch, its seq, the index of the number in it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Polls of one meter under one shape, as parallel lists.

    Attributes
    ----------
    qualities
        Per poll; empty where all numbers are good.
    ties
        Gives for the poll at an index and the column at an index what decides between values of one slot; asked only
        where there are several.
    """

    shape: Shape
    slots: Sequence[int]
    delays: Sequence[Sequence[int]]
    numbers: Sequence[Sequence[Number | None]]
    qualities: Sequence[Sequence[int]]
    ties: Callable[[int, int], Tie]


@dataclass(frozen=True, slots=True)
class _Piece:
    group: Group
    column: int
    slot: NDArray[np.int64]
    read: NDArray[np.int64]
    value: NDArray[np.float64]
    micro: NDArray[np.int64]
    quality: NDArray[np.int32]


def assemble(groups: Iterable[Group], only: Collection[str] | None = None) -> dict[str, RawSeries]:
    """Every measurand of the groups (or those named) as a series, ascending by slot."""
    pieces: dict[str, list[_Piece]] = {}
    for group in groups:
        slot = np.array(group.slots, dtype=np.int64)
        reads: dict[int, NDArray[np.int64]] = {}
        for index, column in enumerate(group.shape.columns):
            if only is not None and column.measurand not in only:
                continue
            if column.request not in reads:
                delay = np.array([d[column.request] for d in group.delays], dtype=np.int64)
                reads[column.request] = slot + delay * 1_000_000
            numbers = [row[index] for row in group.numbers]
            quality = np.array([row[index] if row else 0 for row in group.qualities], dtype=np.int32)
            measurand = MEASURANDS.get(column.measurand)
            micro = np.zeros(slot.size, np.int64)
            if measurand is not None and measurand.kind is Kind.COUNTER:
                micro, fits = micros_of(numbers, column.exponent)
                # a counter that claims more than 9.2e12 units is not counting: there is a number, but no amount
                quality[~fits & ((quality & int(NO_VALUE)) == 0)] |= int(Quality.INVALID)
            pieces.setdefault(column.measurand, []).append(
                _Piece(group, index, slot, reads[column.request], values_of(numbers, column.exponent), micro, quality)
            )
    return {measurand: _joined(parts) for measurand, parts in pieces.items()}


def _joined(parts: list[_Piece]) -> RawSeries:
    slot = np.concatenate([p.slot for p in parts])
    order = np.argsort(slot, kind="stable")
    in_order = slot[order]
    if in_order.size > 1 and bool((in_order[1:] == in_order[:-1]).any()):
        order = _one_per_slot(parts, order, in_order)
    return RawSeries(
        slot[order],
        np.concatenate([p.read for p in parts])[order],
        np.concatenate([p.value for p in parts])[order],
        np.concatenate([p.micro for p in parts])[order],
        np.concatenate([p.quality for p in parts])[order],
    )


def _one_per_slot(parts: list[_Piece], order: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of several values of one slot keep the one that counts (the rule stands in `StoreReader.series`)."""
    starts = np.flatnonzero(np.concatenate(([True], slots[1:] != slots[:-1])))
    ends = np.append(starts[1:], slots.size)
    offsets = np.cumsum([0, *(p.slot.size for p in parts)])

    def rank(at: int) -> tuple[bool, int, Tie]:
        which = int(np.searchsorted(offsets, at, side="right")) - 1
        part, row = parts[which], at - int(offsets[which])
        return bool(np.isfinite(part.value[row])), int(part.read[row]), part.group.ties(row, part.column)

    keep = order[starts].copy()
    for k in np.flatnonzero(ends - starts > 1).tolist():
        keep[k] = max(order[starts[k] : ends[k]].tolist(), key=rank)
    return keep
