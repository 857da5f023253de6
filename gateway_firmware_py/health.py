"""What the gateway says about itself every few seconds: so that silence is never mistaken for good health."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from meterline.readings import MissingSpan, Poll, Quality, Source
from meterline.wire import Health

_NO_VALUE = int(Quality.MISSING | Quality.INVALID)


class MeterBook:
    """The last good slot of each meter, and why it is silent if it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: dict[str, tuple[int, str]] = {}
        self.polls = 0
        self.readings = 0
        self.readings_without_value = 0

    def poll(self, poll: Poll) -> bool:
        """A meter was asked; returns whether any value came."""
        empty = sum(1 for bits in poll.qualities if bits & _NO_VALUE)
        with self._lock:
            self.polls += 1
            self.readings += len(poll.numbers)
            self.readings_without_value += empty
            if empty < len(poll.numbers) and poll.source is not Source.METER_MEMORY:
                self._meters[poll.meter] = (poll.slot_ns, "")
        return empty < len(poll.numbers)

    def missing(self, span: MissingSpan) -> None:
        """A silence began or ended."""
        with self._lock:
            last_ns, _ = self._meters.get(span.meter, (0, ""))
            self._meters[span.meter] = (last_ns, span.cause if span.end_ns is None else "")

    def meters(self) -> dict[str, tuple[int, str]]:
        """Meter -> last good slot [ns] and the cause of its silence, or an empty text."""
        with self._lock:
            return dict(self._meters)


class Troubles:
    """What is wrong now. A state is announced when it begins and when it ends, not while it lasts.

    One that comes and goes all the time is announced a few times a minute at most, and then once how often it has:
    the log of a gateway that nobody visits must not fill its disk.

    Parameters
    ----------
    announce
        Takes one line for a person.
    monotonic_s
        For the measure of a minute. [s]
    """

    def __init__(
        self, announce: Callable[[str], None], monotonic_s: Callable[[], float] = time.monotonic, *, most: int = 6
    ) -> None:
        self._announce, self._monotonic_s, self._most = announce, monotonic_s, most
        self._lock = threading.Lock()
        self._now: dict[str, str] = {}
        self._spoken: dict[str, tuple[float, int]] = {}  # word -> since when, how many lines since then
        self.silenced = 0
        """Lines that were not announced because there were too many."""

    def set(self, word: str, detail: str) -> None:
        """`word` is wrong; empty `detail` means it is right again."""
        with self._lock:
            before = self._now.pop(word, "")
            if detail:
                self._now[word] = detail
            changed = bool(detail) != bool(before)
            lines = self._lines(word, detail) if changed else []
        for line in lines:
            self._announce(line)

    def _lines(self, word: str, detail: str) -> list[str]:
        """What to say of a change: nothing if too much has been said of this word within the minute."""
        now_s = self._monotonic_s()
        since_s, count = self._spoken.get(word, (now_s, 0))
        lines: list[str] = []
        if now_s - since_s >= 60.0:
            if count > self._most:
                lines.append(f"{word}: has come and gone {count} times in {now_s - since_s:.0f} s")
            since_s, count = now_s, 0
        self._spoken[word] = (since_s, count + 1)
        if count >= self._most:
            self.silenced += 1
            return lines
        return [*lines, f"{word}: {detail}" if detail else f"{word}: over"]

    def now(self) -> tuple[str, ...]:
        """``word: detail`` of each, sorted."""
        with self._lock:
            texts = [f"{word}: {detail}"[:120] for word, detail in sorted(self._now.items())]
        return tuple("".join(c if c.isprintable() else " " for c in text) for text in texts)


class HealthDesk:
    """Puts the health message together from whoever knows.

    Parameters
    ----------
    basics
        Gives a `Health` with the fields of identity and journal filled in, for a given state.
    """

    def __init__(self, basics: Callable[[str], Health], book: MeterBook, troubles: Troubles) -> None:
        self._basics, self._book, self._troubles = basics, book, troubles
        self._figures: list[Callable[[], dict[str, float]]] = []

    def add(self, figures: Callable[[], dict[str, float]]) -> None:
        """Let somebody contribute named numbers."""
        self._figures.append(figures)

    def message(self, state: str) -> Health:
        """The message now; `state` is ``running``, ``stopping`` or ``gone``."""
        health = self._basics(state)
        figures = {
            "polls": float(self._book.polls),
            "readings": float(self._book.readings),
            "readings_without_value": float(self._book.readings_without_value),
        }
        for more in self._figures:
            figures |= more()
        return Health(
            gateway=health.gateway,
            epoch=health.epoch,
            state=state,
            at_ns=health.at_ns,
            first_seq=health.first_seq,
            next_seq=health.next_seq,
            acked=health.acked,
            software=health.software,
            simulated=health.simulated,
            figures=figures,
            meters=self._book.meters(),
            troubles=self._troubles.now(),
        )
