"""Put a gateway together and run it: buses, batcher, journal, uplink."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO

from collector import BusMaster, Wheel
from gateway_firmware_py.batcher import Batcher
from gateway_firmware_py.files import DiskFiles, Files
from gateway_firmware_py.frames import FrameRing
from gateway_firmware_py.hatch import Hatch, Reader
from gateway_firmware_py.health import HealthDesk, MeterBook, Troubles
from gateway_firmware_py.journal import Journal
from gateway_firmware_py.keeper import Keeper
from gateway_firmware_py.keys import device_key, public_text
from gateway_firmware_py.last_good import GOOD_S, LastGood
from gateway_firmware_py.outbox import Outbox
from gateway_firmware_py.retention import hold_reserve, make_room, over_quota, prune
from gateway_firmware_py.state import State
from gateway_firmware_py.supervise import Supervisor, tell_service_manager
from gateway_firmware_py.timekeeping import Machine, Timekeeper
from gateway_firmware_py.uplink import Uplink
from meterline.clock import Clock
from meterline.errors import EXIT_FINE, Unreachable
from meterline.settings import GatewaySettings
from meterline.software import software_id
from meterline.wire import Health, Sealed

Sources = dict[str, Callable[[], Awaitable[None]]]
STOP_S = 4.0
"""Everything has ended, and the last commit is made, within this. [s]"""
LOOK_S = 1.0
"""How often the clock is looked at and the watchdog fed. [s]"""
STUCK_S = 60.0
"""No progress of the committing thread for so long: the service manager's watchdog is no longer fed. [s]"""


def public_key(settings: GatewaySettings) -> str:
    """The gateway's public key in base64, for the head-end's file; made first if there is none yet."""
    return public_text(device_key(DiskFiles(), settings.data))


def run_gateway(
    settings: GatewaySettings,
    clock: Clock,
    *,
    announce: Callable[[str], None],
    configured: Sequence[Path] = (),
    instead: str = "",
) -> int:
    """Collect, keep and send until SIGINT or SIGTERM.

    Parameters
    ----------
    announce
        Takes one line for a person, at changes of state only.
    configured
        The files the settings came from, to be kept as the last good ones once they have proved so; none: not kept.
    instead
        Why these are not the settings a person wrote (see `last_good.choose`); shown in health as long as it runs.

    Returns
    -------
    int
        Exit code: 0 after a clean stop.

    Raises
    ------
    Unreachable
        Another process runs this gateway.
    ConfigError
        The key file cannot be used.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    with only_one(settings.data):
        readers: dict[str, Reader] = {}
        gateway = Gateway(
            settings,
            clock,
            DiskFiles(),
            announce,
            lambda sink: _buses(settings, clock, sink, readers),
            services={"hatch": Hatch(settings.data, readers).run},
        )
        if instead:
            gateway.troubles.set("configuration", instead)
        elif configured:
            gateway.last_good = LastGood(DiskFiles(), settings.data, configured)
            gateway.last_good.begin()
        try:
            asyncio.run(gateway.run())
        finally:
            gateway.close()
        if gateway.last_good is not None:
            gateway.last_good.end()
    return EXIT_FINE


class Gateway:
    """The parts of one gateway, wired.

    Parameters
    ----------
    sources
        Makes what brings polls to the sink it is given: name -> coroutine function, one for each bus.
    machine
        What says how far the clock can be believed; the kernel unless given.
    services
        What else runs beside the buses.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        clock: Clock,
        files: Files,
        announce: Callable[[str], None],
        sources: Callable[[Batcher], Sources],
        *,
        machine: Machine | None = None,
        services: Sources | None = None,
    ) -> None:
        file = settings.file
        self._settings, self._clock, self._files, self._announce = settings, clock, files, announce
        self._sources, self._services = sources, services or {}
        self.troubles = Troubles(announce)
        self.book = MeterBook()
        self.state = State(settings.data / "state.db")
        if self.state.moved_aside is not None:
            announce(f"state.db was damaged and is now {self.state.moved_aside.name}; the journal has what matters")
        self.frames = FrameRing(files, settings.data / "frames")
        self.outbox = Outbox(settings.id, self.state, parted=self._parted)
        self.keeper = Keeper(
            gateway=settings.id,
            key=device_key(files, settings.data),
            clock=clock,
            software=software_id(),
            open_journal=self._open_journal,
            state=self.state,
            frames=self.frames,
            room=lambda journal: make_room(journal, self.frames, self.state, self._files),
            kept=self._kept,
            now_ns=lambda: self.timekeeper.now_ns(),
        )
        self.timekeeper = Timekeeper(clock, machine, newest_ns=self.keeper.newest_ns())
        self.desk = HealthDesk(self._basics, self.book, self.troubles)
        self.uplink = Uplink(
            gateway=settings.id,
            broker=file.broker,
            folder=settings.folder,
            outbox=self.outbox,
            health=self.desk.message,
            health_s=file.health_s,
            monotonic_s=clock.monotonic_s,
            troubles=self.troubles,
            announce=announce,
        )
        self.batcher = Batcher(
            self.keeper,
            self.state,
            clock,
            self.timekeeper,
            self.book,
            self.troubles,
            commit_s=file.commit_s,
            prune=self._prune,
        )
        self.outbox.attach(self.keeper)
        self.desk.add(self._figures)
        self.supervisor = Supervisor(self.troubles, clock.monotonic_s)
        self.last_good: LastGood | None = None
        self._began_s = clock.monotonic_s()

    async def run(self) -> None:
        """Until a signal comes (so it wants the process's main thread)."""
        stop = asyncio.Event()
        _on_signals(stop)
        self.supervisor.watch_thread("journal", self.batcher.run)
        self.supervisor.watch_thread("uplink", self.uplink.run)
        sources = self._sources(self.batcher)
        for name, run in sources.items():
            self.supervisor.watch(f"bus-{name}", run)
        for name, run in self._services.items():
            self.supervisor.watch(name, run)
        self.supervisor.watch("clock", self._look_at_clock)
        tell_service_manager("READY=1")
        held = sum(len(self.keeper.held(epoch)) for epoch in self.keeper.epochs)
        self._announce(f"gateway {self._settings.id}: {len(sources)} bus(es), {held} batch(es) in the journal")
        await stop.wait()
        self._announce(f"gateway {self._settings.id}: stopping")
        tell_service_manager("STOPPING=1")
        late = await self.supervisor.stop(STOP_S)
        if late:
            self._announce(f"did not end in time: {', '.join(late)}")

    def close(self) -> None:
        """Save the cursors and let go of all files."""
        self.batcher.save()
        if self.keeper.journal is not None:
            self.keeper.journal.close()
        self.frames.close()
        self.state.close()

    # --- wiring ----------------------------------------------------------------------------------------------------

    def _open_journal(self) -> Journal:
        return Journal(self._files, self._settings.data / "journal")

    def _kept(self, batches: Sequence[Sealed]) -> None:
        self.outbox.announce(batches)
        self.uplink.wake()

    def _parted(self, epoch: str, first: int) -> None:
        self.troubles.set("epoch", f"the head-end holds other batches from number {first} on; numbering anew")
        self.batcher.errand(lambda: self._renumber(epoch, first))
        self.uplink.wake()

    def _renumber(self, epoch: str, first: int) -> None:
        try:
            self.outbox.renumbered(epoch, *self.keeper.renumber(epoch, first))
            self.troubles.set("epoch", "")
        except OSError as error:
            self.outbox.not_renumbered(epoch)
            self.troubles.set("epoch", f"not numbered anew: {error.strerror or error}")
        self.uplink.wake()

    def _prune(self) -> None:
        if self.keeper.journal is not None:
            rules = self._settings.file.journal
            hold_reserve(self.keeper.journal, self._files)
            prune(self.keeper.journal, self.frames, self.state, rules, self.timekeeper.now_ns())
            self.batcher.full = over_quota(self.keeper.journal, self.frames, rules)

    async def _look_at_clock(self) -> None:
        while True:
            steps = self.timekeeper.steps
            self.timekeeper.look()
            if self.timekeeper.steps != steps:
                self._announce(f"the clock jumped by {self.timekeeper.last_step_s:+.1f} s; readings are marked")
            now_s = self._clock.monotonic_s()
            if now_s - self.batcher.progress_s < STUCK_S:
                tell_service_manager("WATCHDOG=1")
            if self.last_good is not None and self.outbox.stored and now_s - self._began_s >= GOOD_S:
                self._keep_configuration(self.last_good)
            await asyncio.sleep(LOOK_S)

    def _keep_configuration(self, last_good: LastGood) -> None:
        try:
            last_good.good()
        except OSError as error:
            self._announce(f"this configuration works, but cannot be kept as the last good one: {error.strerror}")

    def _basics(self, state: str) -> Health:
        epoch = self.keeper.epoch
        held = self.keeper.held(epoch)
        return Health(
            gateway=self._settings.id,
            epoch=epoch,
            state=state,
            at_ns=self._clock.now_ns(),
            first_seq=held.first if held else 0,
            next_seq=self.keeper.next_seq,
            acked=self.state.acked(epoch).reaches(),
            software=software_id(),
            simulated=self._clock.simulated,
        )

    def _figures(self) -> dict[str, float]:
        journal = self.keeper.journal
        window = self.outbox.window
        return {
            "journal_bytes": float(journal.size if journal is not None else 0),
            "frames_bytes": float(self.frames.size),
            "memory_only_bytes": float(self.keeper.waiting_in_memory),
            "backlog": float(self.outbox.backlog),
            "live": float(self.outbox.live),
            "refused_waiting": float(self.outbox.parked),
            "under_way": float(window.under_way),
            "window": float(window.size),
            "latency_s": window.latency_s or 0.0,
            "sent": float(self.uplink.sent),
            "resent": float(self.uplink.resent),
            "connections": float(self.uplink.connections),
            "commits": float(self.batcher.commits),
            "slowest_commit_s": self.batcher.slowest_commit_s,
            "disk_free_bytes": float(self._files.free_space(self._settings.data)),
            "quota_bytes": self._settings.file.journal.quota_mb * 1e6,
            **{name: float(value) for name, value in self._settings.file.rates.model_dump().items()},
            "clock_state": float(self.timekeeper.state),
            "clock_steps": float(self.timekeeper.steps),
            "clock_drift_ppm": round(self.timekeeper.drift_ppm, 2),
            "held_readings": float(self.batcher.held_readings),
            "restarts": float(self.supervisor.restarts),
            **{name: float(value) for name, value in self.state.counters().items()},
        }


def _buses(settings: GatewaySettings, clock: Clock, sink: Batcher, readers: dict[str, Reader]) -> Sources:
    plant, wheel = settings.plant, Wheel(clock)
    masters = {
        bus.id: BusMaster(bus, plant, settings.file.rates, clock, sink, wheel=wheel, missed_since_ns=sink.stopped_ns)
        for bus in plant.buses.values()
        if bus.gateway == settings.id
    }
    readers |= {meter.id: master for bus, master in masters.items() for meter in plant.meters_on(bus)}
    return {bus: master.run for bus, master in masters.items()}


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        else:
            loop.add_signal_handler(number, stop.set)


class only_one:  # noqa: N801 - used as a statement
    """Hold the folder's lock while the block runs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        file = self._path.open("a+", encoding="ascii")
        try:
            _lock(file)
        except OSError as error:
            file.seek(0)
            owner = file.read(20).strip() or "?"
            file.close()
            raise Unreachable(
                str(self._path.parent),
                f"process {owner} already runs this gateway",
                "stop it first, or give this one its own 'data' folder",
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _lock(file: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
