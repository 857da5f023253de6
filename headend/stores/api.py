"""What a store promises, and the shapes in which data goes in and comes out.

A store keeps raw readings as they were displayed, for good, with the evidence they came in. It knows nothing of
ratios, intervals or findings: those are derived, revisioned and kept in the catalogue beside it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headend.ledger import Link
from meterline.clock import NS
from meterline.readings import MissingSpan, Poll, Reading
from meterline.wire import Batch, LostRange, Ranges

_DAY_NS = 86_400 * NS
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
Key = tuple[str, str, int]
"""``(gateway, epoch, seq)``: what a batch is known by."""
Cursor = Mapping[str, int]
"""How far a consumer has come in the order of commits, per part of the store (a day's file); empty: nothing yet."""


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open stretch of time, UTC. [ns]"""

    start_ns: int
    end_ns: int

    def joined(self, other: Span) -> Span:
        """The shortest stretch that holds both."""
        return Span(min(self.start_ns, other.start_ns), max(self.end_ns, other.end_ns))


def day_name(t_ns: int) -> str:
    """The UTC day of a moment, ``YYYY-MM-DD``."""
    return dt.date.fromordinal(_EPOCH_DAY + t_ns // _DAY_NS).isoformat()


@dataclass(frozen=True, slots=True)
class Block:
    """A verified batch on its way into the store: the bytes that are the evidence, and what they say.

    Attributes
    ----------
    message, digest
        As received, and its chain digest.
    batch
        The same, unsealed.
    received_ns
        When ingest took it from the broker, UTC. [ns]
    """

    message: bytes
    digest: bytes
    batch: Batch
    received_ns: int

    @property
    def key(self) -> Key:
        """What the batch is known by."""
        return self.batch.gateway, self.batch.epoch, self.batch.seq


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an append changed.

    Attributes
    ----------
    new
        Keys that were not there; the others were there already, byte for byte.
    readings
        Numbers in the new batches.
    conflicts
        Keys under which *other* bytes are stored: a sequence number used twice. What is stored stays; the newcomer was
        not kept and belongs into quarantine.
    """

    new: tuple[Key, ...]
    readings: int
    conflicts: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class RawSeries:
    """Displayed values of one measurand of one meter, strictly ascending by slot.

    Attributes
    ----------
    slot_ns, read_ns : (n,) int64
        Nominal moment and arrival of the answer, UTC. [ns]
    value : (n,) float64
        In the canonical unit; NaN where there is none.
    micro : (n,) int64
        Counters only: the same as whole millionths of the unit, exactly; 0 where there is none, and for other kinds.
    quality : (n,) int32
        `meterline.readings.Quality` bits.
    """

    slot_ns: NDArray[np.int64]
    read_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    micro: NDArray[np.int64]
    quality: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.slot_ns.size)

    @classmethod
    def empty(cls) -> RawSeries:
        """No reading at all."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.zeros(0), none, np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is stored.

    Attributes
    ----------
    last_slot_ns
        Newest slot of any poll that is not ahead of its time, UTC; None while there is none. [ns]
    """

    batches: int
    readings: int
    last_slot_ns: int | None


class StoreReader(Protocol):
    """The reading half: any number of threads and processes at once, beside the one that writes."""

    def received(self, gateway: str) -> Mapping[str, Ranges]:
        """Per epoch, the sequence numbers that are stored or recorded as lost."""
        ...

    def gateways(self) -> tuple[str, ...]:
        """Every gateway something is stored of, sorted."""
        ...

    def lost(self, gateway: str) -> tuple[LostRange, ...]:
        """What the gateway said will never come, with the reasons, by epoch and number."""
        ...

    def links(self, gateway: str, epoch: str, after: int, most: int) -> list[Link]:
        """Places in the chain with numbers above `after`, ascending, at most so many."""
        ...

    def evidence(self, gateway: str, epoch: str, seq: int) -> bytes | None:
        """The message a batch came in, or None."""
        ...

    def origins(self, meter: str, span: Span) -> tuple[Key, ...]:
        """The batches that brought a meter's polls of the span: how a number is walked back to a signature.

        In order of epoch and number; empty for an unknown meter.
        """
        ...

    def series(self, meter: str, measurand: str, span: Span) -> RawSeries:
        """What is known inside the half-open span, by slot; empty for an unknown meter, never an error.

        Where several raw values claim one slot (a clock gone back) one counts, the same in whatever order they came:
        one with a number before one without, then the one read last, formed last (`Batch.at_ns`), with the higher
        ``(epoch, seq, index)``. All stay stored.
        """
        ...

    def columns(self, meter: str, span: Span, only: Collection[str] | None = None) -> Mapping[str, RawSeries]:
        """`series` of every measurand (or those named) that the meter has readings of in the span, in one pass."""
        ...

    def missing(self, meter: str, span: Span) -> tuple[MissingSpan, ...]:
        """Recorded silences that touch the span, in order of start; one that lasts has no end."""
        ...

    def latest(self) -> Mapping[tuple[str, str], Reading]:
        """Newest reading of every meter and measurand, by slot; of several polls of one slot the one read last.

        A slot that lay more than an hour ahead when it arrived does not count: a gateway's clock is wrong.
        """
        ...

    def changed(self, since: Cursor) -> tuple[Cursor, Mapping[str, Span]]:
        """What was committed after `since`: the cursor to go on from, and per meter the stretch of slots touched.

        The cursor follows the order of commits, not of time: late data shows up here like any other.
        """
        ...

    def messages(self, since: Cursor, most: int) -> Iterator[tuple[Cursor, bytes]]:
        """Batches in the order of their commits, at most so many, each with the cursor after it."""
        ...

    def totals(self) -> Totals:
        """How much is stored."""
        ...

    def close(self) -> None:
        """Let go of files and connections; appended data is safe without it."""
        ...


Rank = tuple[int, int, int, str, int, int]
"""Orders polls of one meter and shape, the same in whatever order they arrive; the greatest is the newest."""


AHEAD_NS = 3600 * NS
"""A slot further ahead of its own arrival comes from a wrong clock; it is kept, but it is never the newest."""


def is_ahead(poll: Poll, received_ns: int) -> bool:
    """Whether a poll claims a moment that had not come when it arrived."""
    return poll.slot_ns > received_ns + AHEAD_NS


def rank_of(poll: Poll, batch: Batch, place: int) -> Rank:
    """Slot, longest delay, then what tells batches apart."""
    return poll.slot_ns, max(poll.delays_ms, default=0), batch.at_ns, batch.epoch, batch.seq, place


def newest_readings(polls: Iterable[Poll]) -> dict[tuple[str, str], Reading]:
    """From the newest poll of every meter and shape to the newest reading of every meter and measurand."""
    found: dict[tuple[str, str], Reading] = {}
    for poll in polls:
        for reading in poll.readings():
            known = found.get((reading.meter, reading.measurand))
            if known is None or (reading.slot_ns, reading.read_ns, reading.profile) > (
                known.slot_ns, known.read_ns, known.profile,
            ):  # fmt: skip
                found[reading.meter, reading.measurand] = reading
    return found


class Store(StoreReader, Protocol):
    """Where readings live for good.

    A raw value is the same value if gateway, epoch, sequence and index agree: appending its block again changes
    nothing, so the uplink may replay at will. Each implementation states its commit point in its docstring; when
    `append` returns, the blocks have reached it.
    """

    def append(self, blocks: Sequence[Block]) -> Receipt:
        """Keep the blocks, each of them whole.

        Raises
        ------
        StoreUnavailable
            No block is half written. Nothing of the call was kept (where it spans several days: nothing of at least
            one of them); the same call again completes it and counts nothing twice.
        """
        ...
