"""The alarm side of a head-end put together: notices after each round of the jobs, mails from a thread of their own."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path

from headend.alerts.chart import chinese_font
from headend.alerts.compose import Composer
from headend.alerts.delivery import Delivery
from headend.alerts.mail import Mailer
from headend.alerts.outbox import Outbox
from headend.alerts.rules import Notifier
from headend.findings import FindingsBook
from headend.queries import Queries
from headend.stores.api import Span
from meterline.clock import Clock, SystemClock
from meterline.settings import HeadendSettings, Mail


class Alerting:
    """Who is told, and that it leaves. Without a mail server in the settings the book is kept and nobody is mailed.

    Parameters
    ----------
    settings : HeadendSettings
    catalogue : Path
        The catalogue's file.
    book : FindingsBook
    queries : Queries
        For the curves in the mails; used from the caller of `step` only.
    clock : Clock
        The plant's: says whether the site is simulated.
    page : str
        Address of the page, for links.

    Raises
    ------
    ConfigError
        The mail server's password is not where the settings say.
    """

    def __init__(
        self,
        settings: HeadendSettings,
        catalogue: Path,
        book: FindingsBook,
        queries: Queries,
        clock: Clock,
        *,
        page: str = "",
        wall: Clock | None = None,
    ) -> None:
        wall = wall or SystemClock()
        self.outbox = Outbox(catalogue)
        mail: Mail | None = settings.file.mail
        self._delivery = Delivery(self.outbox, Mailer(mail, settings.folder), wall) if mail else None
        self._queries = queries
        self._notifier = Notifier(
            catalogue,
            book=book,
            outbox=self.outbox,
            plant=settings.plant,
            alerts=settings.file.alerts if mail else settings.file.alerts.model_copy(update={"recipients": ()}),
            composer=Composer(settings.plant, page=page, simulated=clock.simulated, curve_of=self._curve),
            sender=mail.sender if mail else "meterline@localhost",
            wall=wall,
        )

    def step(self, now_ns: int) -> int:
        """Turn what has happened into mails in the outbox; gives how many. Call it after each round of the jobs."""
        return self._notifier.step(now_ns)

    def run(self, stopping: threading.Event) -> None:
        """Send mails until `stopping`; run it in a thread, because a mail server may hang."""
        if self._delivery is None:
            stopping.wait()
            return
        chinese_font()  # matplotlib looks through all fonts once; not in the round that has an alarm to tell
        self._delivery.run(stopping)

    def close(self) -> None:
        """Let go of the outbox; after the thread of `run` has ended."""
        self.outbox.close()

    def _curve(self, meter: str, measurand: str, span: Span) -> tuple[Sequence[int], Sequence[float | None]]:
        curve = self._queries.curve(meter, measurand, span, most=600)
        return curve.t_ns.tolist(), [None if math.isnan(value) else value for value in curve.value.tolist()]
