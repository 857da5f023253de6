"""Emptying the outbox. It runs in a thread of its own: a mail server that hangs holds up this thread only."""

from __future__ import annotations

import logging
import threading

from headend.alerts.outbox import Outbox, Sender
from meterline.clock import NS, Clock

log = logging.getLogger(__name__)


class Delivery:
    """Sends what is due, until it is stopped.

    Parameters
    ----------
    every_s
        How often the outbox is looked at while nothing wakes the thread. [s]
    """

    def __init__(self, outbox: Outbox, sender: Sender, wall: Clock, *, every_s: float = 1.0) -> None:
        self._outbox, self._sender, self._wall, self._every_s = outbox, sender, wall, every_s
        self._down = False

    def run(self, stopping: threading.Event) -> None:
        """Settle what a crash left behind, then send until `stopping`.

        A mail that is with the server at the end is settled by the next start.
        """
        again = self._outbox.recover()
        if again:
            log.warning("%d mail(s) were being sent when the program stopped; sending them once more", again)
        while not stopping.is_set():
            self.once()
            next_ns = self._outbox.next_try_ns()
            left = self._every_s if next_ns is None else (next_ns - self._wall.now_ns()) / NS
            stopping.wait(min(max(left, 0.05), self._every_s))

    def once(self) -> int:
        """One round; gives how many mails were taken."""
        taken = self._outbox.deliver(self._sender, self._wall.now_ns())
        waiting = [mail for mail in self._outbox.mails("waiting") if mail.attempts]
        if waiting and not self._down:
            log.warning("mail waits: %s", waiting[0].answer)
        elif self._down and not waiting:
            log.info("mail goes out again")
        self._down = bool(waiting)
        return taken
