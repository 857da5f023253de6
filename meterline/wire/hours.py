"""What a gateway states of each hour of its own batches: how many, their digests folded into one, the energy counted.

The statement travels inside a later batch, signed and chained like everything else. So a head-end whose store lost
something it had acknowledged long ago (a backup put back, a file deleted, a row removed) finds that out, and an auditor
finds it without the gateway. Both sides compute it with the `HourTally`; neither reads anything twice for it.

The fold of digests ``d1 d2 ...`` in order of their numbers is ``f(n) = SHA-256(f(n-1) + dn)`` with ``f(0)`` = 32 zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from meterline.clock import NS
from meterline.readings import Number, Poll, Shape, to_micro
from meterline.wire import fields
from meterline.wire.fields import MS

HOUR_NS = 3600 * NS
MOST_HOURS = 50
"""A batch states so many hours at most; more wait for the next one."""
COUNTED = "energy.active.import"
"""The counter whose advance is stated, as displayed (no ratio)."""
_START = bytes(32)
_HALF = 1 << 63


@dataclass(frozen=True, slots=True)
class HourDigest:
    """A run of batches of one epoch, formed in one hour (UTC), as the gateway knew them when it formed them.

    Attributes
    ----------
    hour_ns
        When the hour began, UTC. A clock set back can give two runs of one hour. [ns]
    first, last
        The numbers of the run, both ends included; there is none missing between them.
    digest
        Fold of their digests, see above.
    readings
        How many numbers they hold, with or without a value.
    advance_micro
        Energy: over all meters, last minus first displayed `COUNTED` of the run. A counter that rolled over counts
        backwards here: this is a check sum, not an account. Wraps around at 64 bits. [1e-6 kWh]
    """

    epoch: str
    hour_ns: int
    first: int
    last: int
    digest: bytes
    readings: int
    advance_micro: int

    @property
    def count(self) -> int:
        """How many batches."""
        return self.last - self.first + 1


class HourTally:
    """Adds up a run of batches, in order of their numbers.

    Parameters
    ----------
    epoch, hour_ns, first
        Of the run; see `HourDigest`.
    places
        Where the counter stands in each shape, by the shape's id; pass the same one on, so that it is looked for once.
    """

    def __init__(
        self, epoch: str, hour_ns: int, first: int, places: dict[str, tuple[int, int] | None] | None = None
    ) -> None:
        self.epoch, self.hour_ns, self.first, self.next_seq = epoch, hour_ns, first, first
        self.places = {} if places is None else places
        self._digest = _START
        self._readings = 0
        self._counters: dict[str, tuple[int, int]] = {}

    def batch(self, digest: bytes) -> None:
        """The next batch, by its chain digest."""
        self._digest = hashlib.sha256(self._digest + digest).digest()
        self.next_seq += 1

    def polls(self, polls: Iterable[Poll]) -> None:
        """The polls of a batch, in their order."""
        for poll in polls:
            self.poll(poll.meter, poll.shape, poll.numbers)

    def poll(self, meter: str, shape: Shape, numbers: Sequence[Number | None]) -> None:
        """One poll."""
        self._readings += len(numbers)
        try:
            place = self.places[shape.id]
        except KeyError:
            place = self.places[shape.id] = _place_of(shape)
        if place is None:
            return
        number = numbers[place[0]]
        if number is not None:
            micro = to_micro(number, place[1])
            known = self._counters.get(meter)
            self._counters[meter] = (micro if known is None else known[0], micro)

    def result(self) -> HourDigest:
        """The statement, of what has been added so far."""
        advance = sum(last - first for first, last in self._counters.values())
        advance = (advance + _HALF) % (2 * _HALF) - _HALF  # whatever a broken meter shows, it can be written down
        return HourDigest(
            self.epoch, self.hour_ns, self.first, self.next_seq - 1, self._digest, self._readings, advance
        )


def _place_of(shape: Shape) -> tuple[int, int] | None:
    for index, column in enumerate(shape.columns):
        if column.measurand == COUNTED:
            return index, column.exponent
    return None


def hour_of(t_ns: int) -> int:
    """When the hour of a moment began, UTC. [ns]"""
    return t_ns // HOUR_NS * HOUR_NS


def hour_body(hour: HourDigest) -> dict[str, Any]:
    """As it stands in the JSON body of a batch."""
    return {
        "epoch": hour.epoch,
        "hour": hour.hour_ns // MS,
        "first": hour.first,
        "last": hour.last,
        "digest": hour.digest.hex(),
        "readings": hour.readings,
        "advance": hour.advance_micro,
    }


def read_hour(body: dict[str, Any]) -> HourDigest:
    """Read what `hour_body` wrote; raises ValueError, KeyError or TypeError where it is none."""
    first, last = fields.sequence(body["first"]), fields.sequence(body["last"])
    if last < first:
        raise ValueError("a stated hour that runs backwards")
    readings, advance = fields.whole(body["readings"]), fields.whole(body["advance"])
    if readings < 0 or not -_HALF <= advance < _HALF:
        raise ValueError("a stated hour with impossible sums")
    hour_ns = fields.stamp(body["hour"])
    if hour_ns % HOUR_NS:
        raise ValueError("a stated hour that begins within one")
    return HourDigest(
        fields.epoch_name(body["epoch"]), hour_ns, first, last, fields.digest(body["digest"]), readings, advance
    )
