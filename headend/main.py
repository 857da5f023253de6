"""The head-end as one process: ingest, store, rounds, alarms, page. Everything is put together here."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headend.alerts.service import Alerting
from headend.audit import Audit
from headend.audit_book import AuditBook
from headend.catalogue import Catalogue
from headend.completeness import Completeness
from headend.completeness_book import CompletenessBook
from headend.energy_report import PURPOSES
from headend.findings import FindingsBook
from headend.ingest import Ingest
from headend.ingest_mqtt import IngestService
from headend.jobs import Jobs
from headend.mirror import Mirror
from headend.queries import FRESH_NS, Queries
from headend.stores.embedded import EmbeddedReader, EmbeddedStore
from headend.stores.influxdb import InfluxWriter
from headend.supervise import Supervisor
from headend.trust import trusted_keys
from headend.watch import Watch
from headend.web import create_app, serve_in_thread
from meterline.clock import NS, Clock, SystemClock
from meterline.errors import EXIT_FINE, EXIT_UNREACHABLE, StoreUnavailable
from meterline.settings import HeadendSettings

_LOG = logging.getLogger(__name__)
STOP_WITHIN_S = 8.0


def run_headend(
    settings: HeadendSettings,
    clock: Clock,
    *,
    announce: Callable[[str], None],
    stopping: threading.Event | None = None,
) -> int:
    """Run until SIGINT or SIGTERM (or `stopping`).

    Parameters
    ----------
    announce
        Gets one line per change of state, for a person.
    stopping
        Ends the head-end when set; for a caller that is not the main thread.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    ConfigError
        A key or a password is not where the settings say; nothing was opened.
    """
    keys = trusted_keys(settings)
    supervisor = Supervisor()
    if stopping is not None:
        supervisor.stopping = stopping
    with ExitStack() as closing:
        try:
            headend = _Headend(settings, clock, supervisor, announce, closing)
        except StoreUnavailable as error:
            announce(str(error))
            return EXIT_UNREACHABLE
        _on_signals(supervisor.stopping, closing)
        headend.start(keys)
        supervisor.stopping.wait()
        left = supervisor.stop(STOP_WITHIN_S)
        if left:
            _LOG.warning("did not end in time: %s", ", ".join(left))
    announce("stopped")
    return EXIT_FINE


class _Headend:
    """All parts, made but not started."""

    def __init__(
        self,
        settings: HeadendSettings,
        clock: Clock,
        supervisor: Supervisor,
        announce: Callable[[str], None],
        closing: ExitStack,
    ) -> None:
        self._settings, self._clock, self._supervisor, self._announce = settings, clock, supervisor, announce
        self._factor = clock.factor
        plant = settings.plant
        self._influx = InfluxWriter(settings.file.influx, settings.folder) if settings.file.influx else None
        self.store = EmbeddedStore(settings.data)
        closing.callback(self.store.close)
        self.catalogue = Catalogue(settings.data)
        closing.callback(self.catalogue.close)
        self.audits = AuditBook(self.catalogue.path)
        closing.callback(self.audits.close)
        self.slots = CompletenessBook(self.catalogue.path)
        closing.callback(self.slots.close)
        self.book = FindingsBook(self.catalogue.path, plant)
        closing.callback(self.book.close)
        # pages and mails read on connections of their own: a round in progress does not make them wait
        looked_at = Catalogue(settings.data, write=False)
        self.queries = Queries(plant, EmbeddedReader(settings.data), looked_at, fresh_ns=self._fresh_ns)
        closing.callback(self.queries.close)
        web = settings.file.web
        self.alerting = Alerting(
            settings, self.catalogue.path, self.book, self.queries, clock, page=f"http://{web.host}:{web.port}"
        )
        closing.callback(self.alerting.close)
        self._closing = closing

    @property
    def _fresh_ns(self) -> int:
        """On a fast clock seconds on the way are hours of plant time."""
        return max(FRESH_NS, int(10 * self._factor * NS))

    def start(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        """Start all threads; each is supervised."""
        file, plant = self._settings.file, self._settings.plant
        self._ingest = Ingest(keys, self.store, self.catalogue, self._clock, self._supervisor)
        service = IngestService(
            self._ingest, file.broker, self._settings.folder, f"meterline-headend-{plant.site.site.id}", self._clock,
            self._supervisor,
        )  # fmt: skip
        self._supervisor.start("ingest", service.run)
        if file.mail is None:
            self._announce("no mails: headend.yaml names no mail server")
        self._supervisor.start("mail", lambda: self.alerting.run(self._supervisor.stopping))
        completeness = Completeness(plant, self.store, self.catalogue, self.slots, self._factor)
        audit = Audit(
            self.store, self.catalogue, self.audits, self._clock, keys, self._ingest.ask, self._settings.data,
            completeness.reread, lambda words: self._supervisor.troubles.tell("store audit", words),
        )  # fmt: skip
        watch = Watch(
            self._settings, self.store, self.catalogue, self.alerting.outbox, self._clock, SystemClock()
        )  # fmt: skip
        jobs = Jobs(
            plant, self.store, self.catalogue, self.book, self._clock, self._supervisor,
            heard=self._ingest.heard, after=self._after_round, factor=self._factor,
            more={"audit": audit.once, "completeness": completeness.once, "watch": watch.once},
        )  # fmt: skip
        self._supervisor.start("rounds", lambda: jobs.run(file.jobs_s))
        self._supervisor.start("page", self._serve)
        if self._influx is not None:
            self._start_mirror(self._influx)

    def _start_mirror(self, influx: InfluxWriter) -> None:
        reader, catalogue = EmbeddedReader(self._settings.data), Catalogue(self._settings.data)
        for part in (influx, reader, catalogue):
            self._closing.callback(part.close)
        mirror = Mirror(self._settings.plant, reader, catalogue, influx, self._clock, self._supervisor)
        self._supervisor.start("mirror", mirror.run)

    def _serve(self) -> None:
        """Serve the page until the end; a port in use is a trouble, tried again until it is free."""
        web = self._settings.file.web
        wanted = self._settings.file.purpose
        app = create_app(
            self.queries, self.book, self._settings.plant, self._clock, outbox=self.alerting.outbox,
            purpose=PURPOSES[wanted] if wanted else None,
        )  # fmt: skip
        serving = serve_in_thread(app, web.host, web.port)
        self._announce(f"page: {serving.url}/")
        self._supervisor.stopping.wait()
        serving.stop()

    def _after_round(self, now_ns: int) -> None:
        figures, troubles = self._ingest.figures, self._supervisor.troubles.now
        self.catalogue.set_marks(
            {("figures", name): str(getattr(figures, name)) for name in figures.__slots__}
            | {("figures", "fresh_ns"): str(self._fresh_ns), ("figures", "round_ns"): str(now_ns)}
            | {("figures", "factor"): str(self._factor)}
            | {("figures", "troubles"): "; ".join(f"{name}: {what}" for name, what in troubles.items())}
        )
        self.alerting.step(now_ns)


def _on_signals(stopping: threading.Event, closing: ExitStack) -> None:
    """Let SIGINT and SIGTERM end the head-end; only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(number, lambda *_: stopping.set())
        closing.callback(signal.signal, number, before)
