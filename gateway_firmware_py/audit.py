"""What the gateway states of its own hours: added up as batches are committed, sealed into the chain when an hour ends.

Nothing is read again for it but once: after a start the open hour is taken up from the end of the journal, back to the
batch that states the one before (see `meterline.wire.hours`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from meterline.errors import WireError
from meterline.readings import Poll
from meterline.wire import MOST_HOURS, HourDigest, HourTally, Sealed, digest_of, hour_of, hours_in, unseal

Read = Callable[[str, int], bytes | None]
MOST_BATCHES = 20_000
"""So far back the open hour is looked for after a start: five batches a second for an hour, and then some."""


class HourBook:
    """The open hour, and closed ones no batch has stated yet. For the committing thread alone."""

    def __init__(self) -> None:
        self._tally: HourTally | None = None
        self._places: dict[str, tuple[int, int] | None] = {}
        self._due: list[HourDigest] = []

    def add(self, batch: Sealed, at_ns: int, polls: Iterable[Poll]) -> None:
        """A batch was kept; `at_ns` is when it was formed."""
        hour_ns, tally = hour_of(at_ns), self._tally
        if tally is None or (tally.epoch, tally.hour_ns, tally.next_seq) != (batch.epoch, hour_ns, batch.seq):
            self._close()
            tally = self._tally = HourTally(batch.epoch, hour_ns, batch.seq, self._places)
        tally.batch(batch.digest)
        tally.polls(polls)

    def due(self, epoch: str, now_ns: int) -> tuple[HourDigest, ...]:
        """What the next batch of `epoch`, formed now, has to state."""
        tally = self._tally
        if tally is not None and (tally.epoch, tally.hour_ns) != (epoch, hour_of(now_ns)):
            self._close()
        return tuple(self._due[:MOST_HOURS])

    def stated(self, hours: Sequence[HourDigest]) -> None:
        """A kept batch states these."""
        self._due = [hour for hour in self._due if hour not in hours]

    def void(self, epoch: str, first: int, again: Iterable[HourDigest] = ()) -> None:
        """The numbers of `epoch` from `first` on mean other batches; `again` stood in them and is still true."""
        tally = self._tally
        if tally is not None and tally.epoch == epoch and tally.next_seq > first:
            self._tally = None
        hours = dict.fromkeys([*again, *self._due])
        self._due = [hour for hour in hours if hour.epoch != epoch or hour.last < first]

    def take_up(self, epoch: str, next_seq: int, read: Read) -> None:
        """Go on where a former life ended: everything behind the last number that is stated.

        What cannot be read any more is not stated; its numbers are the ledger's business.
        """
        first = next_seq
        try:
            while first > 1 and next_seq - first < MOST_BATCHES:
                message = read(epoch, first - 1)
                if message is None:
                    break
                first -= 1
                if any(hour.epoch == epoch and hour.last == first - 1 for hour in hours_in(message)):
                    break
            for seq in range(first, next_seq):
                message = read(epoch, seq)
                if message is not None:
                    batch = unseal(message)
                    self.add(Sealed(epoch, seq, message, digest_of(message)), batch.at_ns, batch.polls)
        except (OSError, WireError):
            self._tally = None

    def _close(self) -> None:
        if self._tally is not None:
            self._due.append(self._tally.result())
        self._tally = None
