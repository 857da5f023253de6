"""Work that must go on: one meter's fault is not the next one's, and a thread that fails starts again.

The only place of the head-end that catches what nobody foresaw.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable

_LOG = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
_CALM_S = 60.0
"""After running so long a thread's next failure counts as its first."""


class Troubles:
    """What goes wrong now, by the name of the work; logged when it begins, changes and ends, not each time."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        self._guard = threading.Lock()

    def begin(self, name: str, what: str) -> None:
        """Note a trouble; one line in the log if it is news."""
        with self._guard:
            news = self._now.get(name) != what
            self._now[name] = what
        if news:
            _LOG.error("%s: %s", name, what)

    def end(self, name: str) -> None:
        """The work goes well (again)."""
        with self._guard:
            before = self._now.pop(name, None)
        if before is not None:
            _LOG.info("%s: works again", name)

    def tell(self, name: str, what: str) -> None:
        """`begin` with what is wrong, or `end` if nothing is (empty)."""
        if what:
            self.begin(name, what)
        else:
            self.end(name)

    @property
    def now(self) -> dict[str, str]:
        """Name of the work -> what is wrong."""
        with self._guard:
            return dict(self._now)


class Supervisor:
    """Runs threads and single pieces of work.

    Attributes
    ----------
    stopping
        Set when everything is to end; threads return soon after.
    troubles
        What fails now.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.troubles = Troubles()
        self._threads: list[threading.Thread] = []

    def attempt(
        self, name: str, work: Callable[[], object], *, but: tuple[type[Exception], ...] = ()
    ) -> Exception | None:
        """Do a piece of work; what it raises becomes a trouble and is returned, except the types in `but`."""
        try:
            work()
        except but:
            raise
        except Exception as error:  # noqa: BLE001 - here and nowhere else: one meter's or message's fault is its own
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.troubles.begin(name, f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})")
            _LOG.debug("%s", name, exc_info=error)
            return error
        self.troubles.end(name)
        return None

    def isolated(self, name: str, work: Callable[[], None]) -> bool:
        """`attempt`, as a claim: whether it worked."""
        return self.attempt(name, work) is None

    def start(self, name: str, run: Callable[[], None]) -> None:
        """Keep `run` running in a thread until `stopping`; if it fails, it starts again after a pause."""
        thread = threading.Thread(target=self._forever, args=(name, run), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, within_s: float) -> list[str]:
        """Ask everything to end and wait; the names of those that did not."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(within_s)
        return [thread.name for thread in self._threads if thread.is_alive()]

    def _forever(self, name: str, run: Callable[[], None]) -> None:
        pause_s = FIRST_PAUSE_S
        while not self.stopping.is_set():
            calm = threading.Event()
            timer = threading.Timer(_CALM_S, calm.set)
            timer.daemon = True
            timer.start()
            failed = self.attempt(name, run) is not None
            timer.cancel()
            if not failed:
                return
            pause_s = FIRST_PAUSE_S if calm.is_set() else pause_s
            self.stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
