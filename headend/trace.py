"""Walk a number back: interval, readings at both its boundaries, their batches, signatures and ratio.

What is shown is read anew from the evidence, never from a cache: the value stands beside the bytes it was signed in.
The raw frames stay on the gateway; a trace gives their hash, and whoever has the frames compares.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headend.catalogue import Catalogue
from headend.intervals import Interval, Resolution
from headend.metered import account_of
from headend.primary import regime_at, regimes
from headend.stores.api import Key, RawSeries, Span, StoreReader
from meterline.clock import NS
from meterline.errors import WireError
from meterline.measurands import MEASURANDS, Kind
from meterline.plant import Meter, Plant, Ratio
from meterline.readings import Poll, Reading
from meterline.wire import Batch, digest_of, unseal, verify

REACH_NS = 7 * 86_400 * NS
"""How far from a boundary a reading is looked for. [ns]"""
DAY_NS = 25 * 3600 * NS
"""The longest interval: the day on which summer time ends. [ns]"""


@dataclass(frozen=True)
class Origin:
    """One reading and where it came from.

    Attributes
    ----------
    reading : Reading
        As the meter displayed it.
    primary : Decimal or None
        With the ratio in force; None where there is no value.
    ratio : Ratio or None
        The site's entry that applied on that day.
    key : (gateway, epoch, number)
        Of the batch.
    digest : bytes
        Of its message, by which the next batch of the chain names it.
    signature : str
        ``verified``, ``wrong``, ``no key`` or ``unreadable``.
    poll, place
        The whole row of the batch, and its place in it.
    """

    reading: Reading
    primary: Decimal | None
    ratio: Ratio | None
    key: Key
    digest: bytes
    signature: str
    batch: Batch
    poll: Poll
    place: int


@dataclass(frozen=True)
class Trace:
    """The whole way back from one number.

    Attributes
    ----------
    interval : Interval or None
        The one that holds the moment; None for a gauge, and where nothing was accounted.
    earlier : tuple of Interval
        What it said before, oldest first.
    events : tuple of str
        Breaks of the counter inside it.
    origins : tuple of Origin
        For an interval the readings on both sides of both its boundaries, in order; else the nearest reading.
    """

    meter: Meter
    measurand: str
    at_ns: int
    interval: Interval | None
    earlier: tuple[Interval, ...] = ()
    events: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = field(default=())


def trace(
    store: StoreReader,
    catalogue: Catalogue,
    plant: Plant,
    keys: Mapping[str, Ed25519PublicKey],
    meter: Meter,
    at_ns: int,
    *,
    measurand: str | None = None,
    resolution: Resolution = "15min",
) -> Trace | None:
    """Everything behind one number; None where the meter has no such number at that time.

    Parameters
    ----------
    measurand
        The account's counter if None.
    """
    name = measurand or account_of(plant, meter)
    if name is None:
        return None
    interval = None
    if MEASURANDS[name].kind is Kind.COUNTER:
        found = catalogue.intervals(meter.id, name, resolution, Span(at_ns - DAY_NS, at_ns + 1))
        interval = next((one for one in found if one.start_ns <= at_ns < one.end_ns), None)
    span = Span(at_ns, at_ns + 1) if interval is None else Span(interval.start_ns, interval.end_ns)
    raw = store.series(meter.id, name, Span(span.start_ns - REACH_NS, span.end_ns + REACH_NS))
    slots = _nearest(raw, at_ns) if interval is None else _around(raw, (interval.start_ns, interval.end_ns))
    if interval is None and not slots:
        return None
    found_origins = [_origin(store, plant, keys, meter, name, slot) for slot in slots]
    origins = tuple(origin for origin in found_origins if origin is not None)
    if interval is None:
        return Trace(meter, name, at_ns, None, origins=origins)
    events = catalogue.events(meter.id, name, span)
    return Trace(
        meter,
        name,
        at_ns,
        interval,
        tuple(catalogue.earlier(meter.id, name, resolution, interval.start_ns)),
        tuple(event.kind for event in events),
        origins,
    )


def _around(raw: RawSeries, boundaries: Sequence[int]) -> list[int]:
    """Slots of the last reading at or before and the first at or after each boundary, those with a value."""
    there = np.isfinite(raw.value)
    read, slots = raw.read_ns[there], raw.slot_ns[there]
    found: dict[int, None] = {}
    for boundary in boundaries:
        before = int(np.searchsorted(read, boundary, side="right")) - 1
        if before >= 0:
            found[int(slots[before])] = None
            if int(read[before]) == boundary:
                continue
        if before + 1 < read.size:
            found[int(slots[before + 1])] = None
    return sorted(found)


def _nearest(raw: RawSeries, at_ns: int) -> list[int]:
    return [int(raw.slot_ns[int(np.argmin(np.abs(raw.slot_ns - at_ns)))])] if len(raw) else []


def _origin(
    store: StoreReader,
    plant: Plant,
    keys: Mapping[str, Ed25519PublicKey],
    meter: Meter,
    measurand: str,
    slot_ns: int,
) -> Origin | None:
    """The reading that counts for a slot, from the batch that brought it; None where the batch is gone."""
    counting = store.series(meter.id, measurand, Span(slot_ns, slot_ns + 1)).read_ns.tolist()
    best: Origin | None = None
    for key in store.origins(meter.id, Span(slot_ns, slot_ns + 1)):
        message = store.evidence(*key)
        if message is None:
            continue
        try:
            batch = unseal(message)
        except WireError:
            continue
        for place, poll in enumerate(batch.polls):
            if poll.meter != meter.id or poll.slot_ns != slot_ns:
                continue
            for reading in poll.readings():
                if reading.measurand != measurand:
                    continue
                origin = _with_ratio(plant, meter, reading, key, message, batch, poll, place, keys)
                if best is None or reading.read_ns in counting:
                    best = origin
    return best


def _with_ratio(
    plant: Plant,
    meter: Meter,
    reading: Reading,
    key: Key,
    message: bytes,
    batch: Batch,
    poll: Poll,
    place: int,
    keys: Mapping[str, Ed25519PublicKey],
) -> Origin:
    regime = regime_at(regimes(plant, meter, reading.measurand), reading.slot_ns)
    primary = None
    if reading.value is not None:
        exact = regime.factor * reading.value.as_integer_ratio()[0] / reading.value.as_integer_ratio()[1]
        exact += regime.offset
        primary = Decimal(exact.numerator) / Decimal(exact.denominator)
    day = dt.datetime.fromtimestamp(reading.slot_ns / NS, plant.site.site.zone).date()
    applies = plant.profile_of(meter).value_reference == "secondary"
    return Origin(
        reading,
        primary,
        meter.ratio_at(day) if applies else None,
        key,
        digest_of(message),
        _signature(message, keys.get(key[0])),
        batch,
        poll,
        place,
    )


def _signature(message: bytes, key: Ed25519PublicKey | None) -> str:
    if key is None:
        return "no key"
    try:
        verify(message, key)
    except WireError as error:
        return "wrong" if error.reason == "signature" else "unreadable"
    return "verified"
