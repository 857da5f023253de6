"""How many batches may be under way, and when one is sent again. Pure: the caller brings the monotonic time.

Two limits, for two peers. The broker confirms what it took (PUBACK); never more than the window may be unconfirmed, and
the window never exceeds what the broker announced. The head-end acknowledges what it stored; never more than a few
windows may be unacknowledged, so that a head-end that is down does not fill the broker's queue, which would drop the
newest without a word.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_firmware_py.lanes import Key

SPREAD = 4
"""Unacknowledged batches allowed per place in the window."""


@dataclass(slots=True)
class Flight:
    """One batch under way.

    Attributes
    ----------
    sent_s
        When it was last sent, monotonic. [s]
    wait_s
        How long the acknowledgement may take before it is sent again. [s]
    confirmed
        Whether the broker has taken it.
    """

    sent_s: float
    wait_s: float
    confirmed: bool = False


class Window:
    """AIMD window with a retransmission timer from the measured end-to-end latency (after RFC 6298).

    Parameters
    ----------
    start, most
        Window at the beginning of a connection, and its limit.
    floor_s, ceiling_s
        Shortest and longest wait for an acknowledgement. [s]
    """

    def __init__(self, *, start: int = 4, most: int = 10, floor_s: float = 5.0, ceiling_s: float = 300.0) -> None:
        self._start, self._most, self._floor_s, self._ceiling_s = start, most, floor_s, ceiling_s
        self._size = float(start)
        self._limit = most
        self._flights: dict[Key, Flight] = {}
        self._patience: dict[Key, float] = {}  # wait of batches that were given back for another try
        self._latency_s: float | None = None
        self._halved_s = -ceiling_s

    def restart(self, receive_maximum: int) -> list[Key]:
        """A new connection: begin small. Returns what was under way and must be sent again."""
        self._limit = max(1, min(self._most, receive_maximum))
        self._size = float(min(self._start, self._limit))
        under_way = list(self._flights)
        self._flights.clear()
        self._patience.clear()
        return under_way

    @property
    def size(self) -> int:
        """Unconfirmed batches allowed."""
        return int(self._size)

    @property
    def under_way(self) -> int:
        """Batches sent and not acknowledged."""
        return len(self._flights)

    @property
    def latency_s(self) -> float | None:
        """Smoothed time from publish to acknowledgement; None before the first. [s]"""
        return self._latency_s

    def has_room(self) -> bool:
        """Whether another batch may be sent now."""
        if len(self._flights) >= SPREAD * self.size:
            return False
        return sum(not f.confirmed for f in self._flights.values()) < self.size

    def __contains__(self, key: Key) -> bool:
        return key in self._flights

    def sent(self, key: Key, now_s: float) -> None:
        """The batch has been published."""
        wait_s = self._patience.get(key)
        if wait_s is None:
            wait_s = max(self._floor_s, 4 * (self._latency_s or 0.0))
        self._flights[key] = Flight(now_s, min(wait_s, self._ceiling_s))

    def confirmed(self, key: Key) -> None:
        """The broker has taken it."""
        if key in self._flights:
            self._flights[key].confirmed = True

    def refused(self, key: Key, now_s: float) -> None:
        """The broker refused it (quota and the like): fewer at a time from now on."""
        if self._flights.pop(key, None) is not None:
            self._halve(now_s)

    def acknowledged(self, key: Key, now_s: float) -> None:
        """The head-end has stored it."""
        flight = self._flights.pop(key, None)
        retried = self._patience.pop(key, None) is not None
        if flight is None:
            return
        if not retried:  # Karn: which of the sendings was answered is not known
            taken_s = now_s - flight.sent_s
            self._latency_s = taken_s if self._latency_s is None else 0.875 * self._latency_s + 0.125 * taken_s
        self._size = min(self._limit, self._size + 1 / max(1.0, self._size))

    def overdue(self, now_s: float) -> list[Key]:
        """Batches not acknowledged in time; they are no longer under way, and get twice the time on the next try."""
        late = [key for key, flight in self._flights.items() if now_s - flight.sent_s >= flight.wait_s]
        for key in late:
            self._patience[key] = min(2 * self._flights.pop(key).wait_s, self._ceiling_s)
        if late:
            self._halve(now_s)
        return late

    def stale(self, key: Key, now_s: float) -> bool:
        """Whether the batch was sent so long ago that a head-end still asking for it has surely missed it."""
        flight = self._flights.get(key)
        return flight is not None and now_s - flight.sent_s > max(1.0, 2 * (self._latency_s or 0.0))

    def forget(self, key: Key) -> None:
        """It is under way no more, and nobody's fault."""
        self._flights.pop(key, None)

    def next_deadline_s(self) -> float | None:
        """When `overdue` will next name one, monotonic. [s]"""
        return min((f.sent_s + f.wait_s for f in self._flights.values()), default=None)

    def batches(self) -> list[Key]:
        """What is under way."""
        return list(self._flights)

    def _halve(self, now_s: float) -> None:
        if now_s - self._halved_s >= max(1.0, self._latency_s or 0.0):  # once per round trip
            self._size = max(1.0, self._size / 2)
            self._halved_s = now_s
