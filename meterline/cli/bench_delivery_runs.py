"""The processes of ``meterline bench delivery``: a gateway, a head-end's ingest with its store, a slow line between.

Both are the shipped parts. Left out are the buses (readings come from a table) and what a head-end does with readings
once they are stored (intervals, detectors, pages).
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from meterline.cli.bench_delivery_values import MINUTE_NS, Meters, Recording
from meterline.cli.broker import broker_program
from meterline.errors import Unreachable
from meterline.wire import Sealed

GATEWAY = "gw-bench"
Marks = dict[str, float]
"""What a process says of itself at one moment."""


@dataclass(frozen=True)
class Fleet:
    """Which meters, how often.

    Attributes
    ----------
    period_s
        Between two polls of each meter, real time. [s]
    frames
        Whether polls bring raw frames, as from a bus.
    """

    recordings: tuple[Recording, ...]
    meters: int
    points: int
    period_s: float = 60.0
    frames: bool = True

    def make(self) -> Meters:
        """The meters."""
        return Meters(self.recordings, count=self.meters, points=self.points)


class Child:
    """A process that answers ``mark`` with figures until it is told to stop."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def mark(self) -> Marks:
        """Its figures now.

        Raises
        ------
        Unreachable
            It has ended.
        """
        try:
            self._line.send("mark")
            return cast(Marks, self._line.recv())
        except (EOFError, OSError) as error:
            raise Unreachable("bench", "a process of the measurement ended early", "see its message above") from error

    def end(self) -> None:
        """Stop it in good order, or at last hard."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGTERM)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """An MQTT broker on a free port; gives the port.

    Raises
    ------
    Unreachable
        None on this machine, or it does not start.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    program = broker_program(folder, port)
    process = subprocess.Popen(
        program.command, env={**os.environ, **program.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end_s = time.monotonic() + 10
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > end_s or process.poll() is not None:
                raise Unreachable(program.name, "does not start", "try it alone")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


class SlowLine:
    """Listens on a port of its own and passes bytes to another one at so many a second, each way."""

    def __init__(self, target_port: int, bytes_per_s: float) -> None:
        self._target, self._rate = target_port, bytes_per_s
        self.upward = 0
        self._door = socket.socket()
        self._door.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 8192
        )  # a line holds little; the kernel would hold more
        self._door.bind(("127.0.0.1", 0))
        self._door.listen()
        self.port = int(self._door.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._door.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                return
            threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, up: bool) -> None:
        free_s = time.monotonic()
        try:
            while data := one.recv(2048):
                other.sendall(data)
                if up:
                    self.upward += len(data)
                free_s = max(free_s, time.monotonic() - 0.05) + len(data) / self._rate
                time.sleep(max(0.0, free_s - time.monotonic()))
        except OSError:
            free_s = 0.0
        for end in (one, other):
            end.close()


# --- the head-end's side ----------------------------------------------------------------------------------------------


def headend(line: Connection, folder: Path, port: int, key: bytes) -> None:
    """Ingest and store, as `headend.main` puts them together."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from headend.catalogue import Catalogue
    from headend.ingest import Ingest
    from headend.ingest_mqtt import IngestService
    from headend.stores.embedded import EmbeddedStore
    from headend.supervise import Supervisor
    from meterline.clock import SystemClock
    from meterline.settings import Broker

    clock, supervisor = SystemClock(), Supervisor()
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stopping.set())
    store, catalogue = EmbeddedStore(folder), Catalogue(folder)
    ingest = Ingest({GATEWAY: Ed25519PublicKey.from_public_bytes(key)}, store, catalogue, clock, supervisor)
    service = IngestService(ingest, Broker(port=port), folder, "bench-headend", clock, supervisor)
    supervisor.start("ingest", service.run)

    def marks() -> Marks:
        figures = ingest.figures
        return {"readings": figures.readings, "duplicates": figures.duplicates, "quarantined": figures.quarantined}

    _answer(line, marks)
    supervisor.stopping.wait()
    supervisor.stop(5)
    store.close()
    catalogue.close()


# --- the gateway's side -----------------------------------------------------------------------------------------------


def gateway(line: Connection, folder: Path, port: int, fleet: Fleet, commit_s: float) -> None:
    """A gateway whose bus is a table: polls of all meters once a period."""
    from gateway_firmware_py.batcher import Batcher
    from gateway_firmware_py.files import DiskFiles
    from gateway_firmware_py.main import Gateway
    from gateway_firmware_py.timekeeping import Machine
    from meterline.clock import SystemClock
    from meterline.settings import Broker, GatewayFile, GatewaySettings

    clock, meters = SystemClock(), fleet.make()
    lags = Lags(commit_s)

    class Measured(Gateway):
        def _kept(self, batches: Sequence[Sealed]) -> None:
            if self.uplink.connected and self.outbox.compared:
                lags.kept(batches)
            super()._kept(batches)

    def sources(sink: Batcher) -> dict[str, Callable[[], Awaitable[None]]]:
        async def bus() -> None:
            index = 0
            began_s = time.monotonic()
            while True:
                slot_ns = clock.now_ns() // 1_000_000_000 * 1_000_000_000
                for poll in meters.polls(index, slot_ns, frames=fleet.frames):
                    sink.poll(poll)
                index += 1
                await asyncio.sleep(max(0.0, began_s + index * fleet.period_s - time.monotonic()))

        return {"table": bus}

    file = GatewayFile(gateway=GATEWAY, broker=Broker(port=port), data="gateway", commit_s=commit_s)
    settings = GatewaySettings(file, folder, cast(Any, None))
    made = Measured(settings, clock, DiskFiles(), lambda said: None, sources, machine=Machine(lambda: True))
    threading.Thread(target=lags.watch, args=(made.state,), daemon=True).start()

    def marks() -> Marks:
        waiting = made.outbox.backlog + made.outbox.live + made.outbox.window.under_way
        return {
            "waiting": waiting, "sent": made.uplink.sent, "resent": made.uplink.resent, "polls": made.book.polls,
            "lag_s": lags.worst_s, "compared": float(made.uplink.connected and made.outbox.compared),
        }  # fmt: skip

    _answer(line, marks)
    try:
        asyncio.run(made.run())
    finally:
        made.close()


class Lags:
    """How long a batch made here takes until the head-end has stored it and said so."""

    def __init__(self, commit_s: float) -> None:
        self._commit_s = commit_s
        self._open: dict[tuple[str, int], float] = {}
        self.worst_s = 0.0

    def kept(self, batches: Sequence[Sealed]) -> None:
        """These have just been kept; their oldest reading may have waited `commit_s` for that."""
        now_s = time.monotonic()
        self._open |= {(batch.epoch, batch.seq): now_s - self._commit_s for batch in batches}

    def watch(self, state: Any) -> None:
        """Look for acknowledgements for ever."""
        while True:
            time.sleep(0.05)
            now_s = time.monotonic()
            for key, began_s in list(self._open.items()):
                if key[1] in state.acked(key[0]):
                    del self._open[key]
                self.worst_s = max(self.worst_s, now_s - began_s)


def _answer(line: Connection, marks: Callable[[], Marks]) -> None:
    """Answer ``mark`` in a thread of its own."""

    def run() -> None:
        with suppress(EOFError, OSError):
            while line.recv():
                usage = resource.getrusage(resource.RUSAGE_SELF)
                now = {"at_s": time.monotonic(), "cpu_s": usage.ru_utime + usage.ru_stime}
                memory = _own("status", "VmHWM:\t") or usage.ru_maxrss  # the latter begins with the parent's
                line.send({**now, "rss_kb": memory, "written": _own("io", "write_bytes: "), **marks()})

    threading.Thread(target=run, daemon=True).start()


def _own(file: str, head: str) -> float:
    """A number the kernel keeps of this process in a file of ``/proc/self``; 0 where there is none."""
    with suppress(OSError):
        for row in Path("/proc/self", file).read_text(encoding="ascii").splitlines():
            if row.startswith(head):
                return float(row[len(head) :].split()[0])
    return 0.0


def fill(folder: Path, fleet: Fleet, slots: int) -> tuple[int, int, int]:
    """Write a journal of so many past slots as a gateway without a head-end would have.

    Returns
    -------
    (int, int, int)
        Batches, readings, bytes of their messages.
    """
    from gateway_firmware_py.batcher import drafts
    from gateway_firmware_py.files import Appender, DiskFiles
    from gateway_firmware_py.journal import Journal
    from gateway_firmware_py.keeper import Keeper
    from gateway_firmware_py.keys import device_key
    from gateway_firmware_py.state import State
    from meterline.clock import ManualClock

    data = folder / "gateway"
    begin_ns = (time.time_ns() // MINUTE_NS - slots) * MINUTE_NS
    clock, state, meters = ManualClock(begin_ns), State(_made(data) / "state.db"), fleet.make()
    counted = [0, 0]

    def count(batches: Sequence[Sealed]) -> None:
        counted[0] += len(batches)
        counted[1] += sum(len(batch.message) for batch in batches)

    class Hasty(DiskFiles):
        """A past that needs no power cut survived: writing it is not what is measured."""

        def append(self, path: Path) -> Appender:
            file = super().append(path)
            file.sync = lambda: None  # type: ignore[method-assign]
            return file

    keeper = Keeper(
        gateway=GATEWAY, key=device_key(DiskFiles(), data), clock=clock, software="meterline bench",
        open_journal=lambda: Journal(Hasty(), data / "journal"), state=state, kept=count,
    )  # fmt: skip
    readings = 0
    for index in range(slots):
        clock.t_ns = begin_ns + index * MINUTE_NS
        polls = meters.polls(index, clock.t_ns)
        readings += sum(len(poll.numbers) for poll in polls)
        keeper.keep(drafts(polls, []))
    state.save()
    state.close()
    if keeper.journal is not None:
        keeper.journal.close()
    return counted[0], readings, counted[1]


def public_key(folder: Path) -> bytes:
    """Of the gateway below `folder`, made if there is none; 32 bytes."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from gateway_firmware_py.files import DiskFiles
    from gateway_firmware_py.keys import device_key

    return device_key(DiskFiles(), _made(folder / "gateway")).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def wear(line: Connection, folder: Path, fleet: Fleet, rounds: int) -> None:
    """Polls, commits, acknowledgements and housekeeping of `rounds` periods one after the other, then the marks.

    Frames are left to the kernel on a real gateway, which writes them about every half minute: so they are here.
    """
    from gateway_firmware_py.batcher import Batcher
    from gateway_firmware_py.files import DiskFiles
    from gateway_firmware_py.frames import FrameRing
    from gateway_firmware_py.health import MeterBook, Troubles
    from gateway_firmware_py.journal import Journal
    from gateway_firmware_py.keeper import Keeper
    from gateway_firmware_py.keys import device_key
    from gateway_firmware_py.state import State
    from gateway_firmware_py.timekeeping import Timekeeper
    from meterline.clock import ManualClock

    data = _made(folder / "gateway")
    clock = ManualClock(time.time_ns() // MINUTE_NS * MINUTE_NS)
    files, meters, state = DiskFiles(), fleet.make(), State(data / "state.db")
    frames, troubles = FrameRing(files, data / "frames"), Troubles(lambda said: None)

    def acknowledged(batches: Sequence[Sealed]) -> None:
        state.acknowledge(batches[0].epoch, [(batch.seq, batch.seq) for batch in batches])

    keeper = Keeper(
        gateway=GATEWAY, key=device_key(files, data), clock=clock, software="meterline bench", state=state,
        frames=frames, open_journal=lambda: Journal(files, data / "journal"),
        kept=acknowledged,
    )  # fmt: skip
    batcher = Batcher(keeper, state, clock, Timekeeper(clock), MeterBook(), troubles, commit_s=fleet.period_s)
    before, unwritten_s = _own("io", "write_bytes: "), 0.0
    for index in range(rounds):
        for poll in meters.polls(index, clock.t_ns, frames=fleet.frames):
            batcher.poll(poll)
        batcher.flush()
        batcher.keep_house()
        clock.advance(fleet.period_s)
        unwritten_s += fleet.period_s
        if unwritten_s >= 30:
            unwritten_s = 0.0
            for segment in frames.segments():
                handle = os.open(segment.path, os.O_RDONLY)
                os.fdatasync(handle)
                os.close(handle)
    line.recv()
    written = _own("io", "write_bytes: ") - before
    line.send({"written": written, "batches": float(keeper.next_seq - 1)})
    line.recv()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
