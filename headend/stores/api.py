"""What a store promises, and the shapes in which data goes in and comes out.

A store keeps raw readings as they were displayed, for good, with the evidence they came in. It knows nothing of
ratios, intervals or findings: those are derived, revisioned and kept in the catalogue beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from meterline.readings import MissingSpan, Reading
from meterline.wire import Batch, Ranges


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open stretch of time, UTC. [ns]"""

    start_ns: int
    end_ns: int


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


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an append changed: keys ``(gateway, epoch, seq)`` that were new; the others were there already."""

    new: tuple[tuple[str, str, int], ...]
    readings: int


@dataclass(frozen=True, slots=True)
class RawSeries:
    """Displayed values of one measurand of one meter, in order of slot.

    Attributes
    ----------
    slot_ns, read_ns : (n,) int64
        Nominal moment and arrival of the answer, UTC. [ns]
    value : (n,) float64
        In the canonical unit; NaN where there is none.
    micro : (n,) int64
        The same as whole millionths of the unit, exactly (for counters); 0 where there is none.
    quality : (n,) int32
        `meterline.readings.Quality` bits.
    """

    slot_ns: NDArray[np.int64]
    read_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    micro: NDArray[np.int64]
    quality: NDArray[np.int32]


class Store(Protocol):
    """Where readings live for good.

    A raw value is the same value if gateway, epoch, sequence and index agree: appending its block again changes
    nothing, so the uplink may replay at will. Each implementation states its commit point in its docstring; when
    `append` returns, the blocks have reached it.
    """

    def append(self, blocks: Sequence[Block]) -> Receipt:
        """Keep all of the blocks or none.

        Raises
        ------
        StoreUnavailable
            Nothing was kept; the same call may work later.
        StoreRejected
            Rows that will never be taken, by name; the others were kept.
        """
        ...

    def received(self, gateway: str) -> Mapping[str, Ranges]:
        """Per epoch, the sequence numbers that are stored or recorded as lost."""
        ...

    def evidence(self, gateway: str, epoch: str, seq: int) -> bytes | None:
        """The message a batch came in, or None."""
        ...

    def series(self, meter: str, measurand: str, span: Span) -> RawSeries:
        """What is known inside the half-open span, by slot; empty for an unknown meter, never an error.

        Where two raw values claim one slot (a clock gone back) the one read last counts, then the higher
        ``(epoch order of arrival, seq, index)``; both stay stored.
        """
        ...

    def missing(self, meter: str, span: Span) -> tuple[MissingSpan, ...]:
        """Recorded silences that touch the span, in order of start."""
        ...

    def latest(self) -> Mapping[tuple[str, str], Reading]:
        """Newest reading of every meter and measurand, by slot."""
        ...

    def close(self) -> None:
        """Let go of files and connections; appended data is safe without it."""
        ...
