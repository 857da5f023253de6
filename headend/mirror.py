"""Keeps an InfluxDB level with store and catalogue, from marks of its own: nobody waits for it, nothing is skipped."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Protocol

from headend.catalogue import Catalogue, dump_cursor, load_cursor
from headend.primary import regimes
from headend.stores.api import StoreReader
from headend.stores.influxdb import InfluxBusy, Lines, Refused
from headend.supervise import Supervisor
from meterline.clock import Clock
from meterline.errors import StoreUnavailable
from meterline.plant import Plant
from meterline.wire import ShapeCache, unseal

_LOG = logging.getLogger(__name__)
BATCHES, INTERVALS = 200, 5_000
"""How much is written before the mark moves."""
LOOK_EVERY_S, FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 1.0, 60.0
_JOB = "mirror"


class Writer(Protocol):
    """Who takes lines (`headend.stores.influxdb.InfluxWriter`)."""

    def write(self, lines: Sequence[str]) -> list[Refused]: ...


class Mirror:
    """Readings in the order of their commits, then intervals in the order of their changes.

    Parameters
    ----------
    catalogue
        Of its own: it keeps the marks, and what the database refused.
    """

    def __init__(
        self,
        plant: Plant,
        store: StoreReader,
        catalogue: Catalogue,
        writer: Writer,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._plant, self._store, self._catalogue, self._writer = plant, store, catalogue, writer
        self._clock, self._supervisor = clock, supervisor
        self._lines, self._shapes = Lines(plant), ShapeCache()

    def run(self) -> None:
        """Follow until the supervisor says stop; while the database is away, wait for it."""
        named, pause_s = False, FIRST_PAUSE_S
        while not self._supervisor.stopping.is_set():
            try:
                if not named:
                    self._start_anew_after_new_ratios()
                    self._keep(self._writer.write([*self._lines.of_meters(self._clock.now_ns())]))
                    named = True
                moved = self.step()
            except StoreUnavailable as error:
                self._supervisor.troubles.begin("mirror to InfluxDB", str(error))
                self._supervisor.stopping.wait(error.wait_s if isinstance(error, InfluxBusy) else pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self._supervisor.troubles.end("mirror to InfluxDB")
            pause_s = FIRST_PAUSE_S
            if not moved:
                self._supervisor.stopping.wait(LOOK_EVERY_S)

    def _start_anew_after_new_ratios(self) -> None:
        """Primary values written with a ratio that was corrected since are written again, all of them."""
        ratios = {
            f"{name} {measurand} {regime.from_ns} {regime.factor} {regime.offset}"
            for name, meter in self._plant.meters.items()
            for measurand in (point.measurand for point in self._plant.profile_of(meter).points)
            for regime in regimes(self._plant, meter, measurand)
        }
        text = hashlib.sha256("\n".join(sorted(ratios)).encode()).hexdigest()
        before = self._catalogue.mark(_JOB, "ratios")
        if before != text:
            start = {} if before is None else {(_JOB, "readings"): dump_cursor({})}
            self._catalogue.set_marks({(_JOB, "ratios"): text} | start)

    def step(self) -> bool:
        """Write the next part of what is new; whether there was any.

        Raises
        ------
        StoreUnavailable
            The database (or the store) cannot do it now; the marks have not moved.
        """
        readings = self._readings()
        return self._intervals() or readings

    def _readings(self) -> bool:
        cursor, lines = load_cursor(self._catalogue.mark(_JOB, "readings")), list[str]()
        moved = False
        for after, message in self._store.messages(cursor, BATCHES):
            cursor, moved = dict(after), True
            for poll in unseal(message, self._shapes).polls:
                lines += self._lines.of_poll(poll)
        if moved:
            self._keep(self._writer.write(lines))
            self._catalogue.set_mark(_JOB, "readings", dump_cursor(cursor))
        return moved

    def _intervals(self) -> bool:
        mark = int(self._catalogue.mark(_JOB, "intervals") or 0)
        changed = self._catalogue.intervals_since(mark, INTERVALS)
        if not changed:
            return False
        self._keep(self._writer.write([self._lines.of_interval(interval) for _, interval in changed]))
        self._catalogue.set_mark(_JOB, "intervals", str(changed[-1][0]))
        return True

    def _keep(self, refused: Sequence[Refused]) -> None:
        """A line the database will never take is put away with its reason; the store has it anyway."""
        if refused:
            _LOG.error("InfluxDB refuses %d line(s): %s", len(refused), refused[0].reason)
        now_ns = self._clock.now_ns()
        for line in refused:
            self._catalogue.quarantine(now_ns, "influxdb", "influxdb", line.reason, line.line.encode())
