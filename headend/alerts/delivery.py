"""The thread that empties the outbox. A mail server that hangs holds up this thread and nothing else."""

from __future__ import annotations

import logging
import threading
from typing import Self

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
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mail", daemon=True)
        self._down = False

    def start(self) -> Self:
        """Settle what a crash left behind, then start sending."""
        again = self._outbox.recover()
        if again:
            log.warning("%d mail(s) were being sent when the program stopped; sending them once more", again)
        self._thread.start()
        return self

    def stop(self, within_s: float = 5.0) -> None:
        """Ask the thread to end; a mail that is with the server just now is settled by the next start."""
        self._stop.set()
        self._thread.join(within_s)

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

    def _run(self) -> None:
        while not self._stop.is_set():
            self.once()
            next_ns = self._outbox.next_try_ns()
            left = self._every_s if next_ns is None else (next_ns - self._wall.now_ns()) / NS
            self._stop.wait(min(max(left, 0.05), self._every_s))
