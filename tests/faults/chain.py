"""The whole chain as processes: meters, gateway, proxy, mosquitto, proxy, head-end; and what a scene may ask of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from meterline.clock import HeldClock, SystemClock
from tests.faults.checker import Checker, Counted, Excuse, Oracle, Violations
from tests.faults.evidence import newest_slots, stored_keys, whole
from tests.faults.mqtt_proxy import MqttProxy
from tests.faults.plant_files import GATEWAY, METERS, Wish, write_plant
from tests.faults.program import Program
from tests.servers.broker import Mosquitto
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until

NS = 1_000_000_000
ORIGIN_NS = 1_794_535_170 * NS
"""Thirty plant seconds before a full hour, early on a day (UTC), so that a run stays inside one day. [ns]"""
HERE = Path(__file__).resolve().parent
_HOMES = {"gateway": ("gateway_firmware_py", "collector"), "headend": ("headend",)}
METERLINE = [str(Path(sys.executable).parent / "meterline")]


class NotHere(Exception):
    """This machine cannot play the scene; the reason is its text."""


@dataclass(frozen=True)
class Recovery:
    """How long it took after the fault's end. None: not within the time given."""

    live_s: float | None
    backlog_s: float | None


class Chain:
    """One plant with everything that runs for it.

    Parameters
    ----------
    folder
        Of its own; kept when something fails.
    """

    def __init__(self, folder: Path, wish: Wish, seed: int) -> None:
        self.folder, self.wish, self.rng = folder, wish, Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.data, self.store = folder / "gateway-data", folder / "headend-data"
        self.state = folder / "factory-state"
        self.period_ns = round(wish.period_s * NS)
        (folder / "acl").write_text("topic readwrite #\n", encoding="utf-8")
        self.broker = Mosquitto(folder / "broker", wish.broker.replace("{folder}", str(folder)))
        self.bus_port, self.web_port = free_port(), free_port()
        self.excuses: list[Excuse] = []
        self.doubts: list[Excuse] = []
        self.disk_mb = 0.0
        self._mounted = False
        self.programs: list[Program] = []
        self.links: list[MqttProxy] = []
        self._watching = threading.Event()

    # --- begin and end ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything up, and the first readings stored."""
        if self.wish.data_mb:
            self._mount()
        self.broker.start()
        self.up, self.down = MqttProxy(self.broker.port), MqttProxy(self.broker.port)
        self.links = [self.up, self.down]
        write_plant(
            self.folder, self.wish, bus_port=self.bus_port, gateway_broker=self.up.port,
            headend_broker=self.down.port, web=self.web_port,
        )  # fmt: skip
        from gateway_firmware_py import public_key
        from meterline.settings import load_gateway

        public_key(load_gateway(self.folder / "gateway.yaml"))
        raw = (self.data / "gateway.pub").read_text(encoding="ascii").strip()
        import base64

        self.key = Ed25519PublicKey.from_public_bytes(base64.b64decode(raw))
        self.checker = Checker(gateway=GATEWAY, key=self.key, meters=METERS, period_ns=self.period_ns)
        if self.wish.real_clock:
            self.clock: HeldClock | SystemClock = SystemClock()
            timed: list[str] = []
        else:
            self.clock = HeldClock.hold(self.folder / "clock", ORIGIN_NS, self.wish.factor)
            timed = ["--clock", f"file:{self.folder / 'clock'}"]
        meters = [sys.executable, str(HERE / "meters_process.py"), str(self.folder / "site.yaml")]
        meters += [timed[-1] if timed else "real", str(self.state)]
        self.meters = Program("meters", meters, self.folder, {"PYTHONPATH": str(HERE.parents[1])})
        self.gateway = self._program("gateway", [str(self.folder / "gateway.yaml"), *timed, *self.wish.options])
        self.headend = self._program("headend", [str(self.folder / "headend.yaml"), *timed])
        self.programs = [self.gateway, self.headend, self.meters]
        self.begin_ns = self.clock.now_ns()
        self.meters.start()
        self.headend.start()
        self.meters.wait_said("ready")
        self.gateway.start()
        threading.Thread(target=self._watch, daemon=True).start()
        for program in (self.gateway, self.headend):
            program.wait_said("connected to the broker", within_s=60)
        if isinstance(self.clock, HeldClock):
            self.clock.release()
        self.settle(within_s=60)

    def _mount(self) -> None:
        if os.geteuid() != 0:
            raise NotHere("a file system of its own needs root")
        self.data.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.wish.data_mb}m", "tmpfs", str(self.data)]
        if subprocess.run(command, check=False, capture_output=True).returncode != 0:
            raise NotHere("this machine lets nobody mount")
        self._mounted = True

    def _program(self, name: str, arguments: Sequence[str]) -> Program:
        environment = {key: value.replace("{folder}", str(self.folder)) for key, value in self.wish.environment.items()}
        targets = ",".join(t.partition("@")[2] for t in self.wish.hooks if t.startswith(f"{name}@"))
        constants = {at: value for at, value in self.wish.constants.items() if at.startswith(_HOMES[name])}
        if not targets and not constants:
            return Program(name, [*METERLINE, name, *arguments], self.folder, environment)
        orders = self.folder / f"orders-{name}.json"
        command = [sys.executable, str(HERE / "hooked_process.py"), str(orders), targets, json.dumps(constants), name]
        return Program(name, [*command, *arguments], self.folder, {"PYTHONPATH": str(HERE.parents[1]), **environment})

    def order(self, program: str, orders: dict[str, dict[str, object]]) -> None:
        """Tell a hooked program what happens where; an empty order ends all."""
        path = self.folder / f"orders-{program}.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(orders), encoding="utf-8")
        fresh.replace(path)

    def stop(self) -> None:
        """End all that was begun, in the order of the data."""
        self._watching.set()
        for program in self.programs:
            program.stop()
        self.broker.stop()
        for link in self.links:
            link.close()
        if self._mounted:
            subprocess.run(["umount", "-l", str(self.data)], check=True)

    def finish(self, within_s: float = 60.0) -> float:
        """Stop the gateway, let the head-end take in all and make one more round. Returns the gateway's stop time."""
        took_s = self.gateway.stop()
        self.excuses.append((self.clock.now_ns() - 3 * self.period_ns, 1 << 62, "stopped"))
        if self.headend.running:
            wait_until(
                lambda: self.checker.note_journal(self.data / "journal") <= stored_keys(self.store)
                or not self.headend.running,
                within=within_s, every=0.1, what="the last batches in the store",
            )  # fmt: skip
            now_ns = self.clock.now_ns()
            wait_until(lambda: self.rounds_ns() > now_ns, within=within_s, every=0.1, what="a round of the head-end")
        return took_s

    def rounds_ns(self) -> int:
        """Plant time of the head-end's last round. [ns]"""
        try:
            with closing(sqlite3.connect(f"file:{self.store}/catalogue.sqlite?mode=ro", uri=True, timeout=2)) as db:
                row = db.execute("SELECT value FROM marks WHERE job = 'figures' AND name = 'round_ns'").fetchone()
        except sqlite3.Error:
            return 0
        return int(row[0]) if row else 0

    # --- what scenes do --------------------------------------------------------------------------------------------

    def kill_gateway(self, pause_s: float = 0.0) -> None:
        """SIGKILL and start again; the slots it could not poll are excused."""
        killed_ns = self.clock.now_ns()
        self.gateway.kill()
        if pause_s:
            threading.Event().wait(pause_s)
        self.restart_gateway(killed_ns)

    def restart_gateway(self, died_ns: int) -> None:
        """Start a gateway that is dead since a moment."""
        began = time.monotonic()
        self.gateway.start()
        self.excuse_gateway(died_ns, began)

    def excuse_gateway(self, died_ns: int, since: float, within_s: float = 20.0) -> None:
        """Wait until it polls again and excuse what was between."""
        self.gateway.wait_said("bus(es)", since=since, within_s=within_s)
        self.excuses.append((died_ns - self.lag_ns, self.clock.now_ns() + self.period_ns, "gateway dead"))

    def kill_headend(self) -> None:
        """SIGKILL and start again."""
        self.headend.kill()
        self.headend.start()

    @property
    def lag_ns(self) -> int:
        """From a slot to its commit, at most: the poll, the group commit, the plant's clock. [ns]"""
        return self.period_ns + round((self.wish.commit_s + 0.7) * self.factor * NS)

    @property
    def notify_name(self) -> str:
        """The abstract socket on which the gateway talks to its service manager."""
        return f"meterline-faults-{self.folder}"

    @property
    def factor(self) -> float:
        return self.clock.factor

    def wipe_broker(self) -> None:
        """SIGKILL, and its database is gone; then it comes back."""
        self.broker.kill()
        shutil.rmtree(self.broker.directory / "data")
        (self.broker.directory / "data").mkdir()
        self.broker.start()

    def pass_time(self, real_s: float) -> None:
        """Let the plant run on."""
        threading.Event().wait(real_s)

    # --- what scenes and runner ask --------------------------------------------------------------------------------

    @property
    def fresh_ns(self) -> int:
        """Two periods; on a clock on which that is no time at all, what a group commit and its way take. [ns]"""
        return max(2 * self.period_ns, round((self.wish.commit_s + 1.3) * self.factor * NS))

    def fresh(self, meters: Sequence[str] = METERS, after_ns: int = 0) -> bool:
        """Whether every meter has a slot younger than two periods in the store, begun after a moment."""
        now_ns = self.clock.now_ns()
        newest = newest_slots(self.store, now_ns - self.fresh_ns, now_ns + self.period_ns)
        return all(newest.get(meter, 0) >= max(1, after_ns) for meter in meters)

    def drained(self) -> bool:
        """Whether everything the gateway's journal holds is stored or declared, and nothing below it is open."""
        stored = stored_keys(self.store)
        return self.checker.note_journal(self.data / "journal") <= stored and whole(stored)

    def recover(self, since: float, within_s: float, meters: Sequence[str] = METERS) -> Recovery:
        """Wait until live data is fresh and the backlog is gone; both counted from the fault's end."""
        live = backlog = None
        ended_ns = self.clock.now_ns() - round((time.monotonic() - since) * self.factor * NS)
        while time.monotonic() < since + within_s and (live is None or backlog is None):
            if live is None and self.fresh(meters, ended_ns):
                live = time.monotonic() - since
            if backlog is None and self.drained():
                backlog = time.monotonic() - since
            if live is None or backlog is None:
                threading.Event().wait(0.05)
        return Recovery(live, backlog)

    def settle(self, within_s: float = 30.0) -> None:
        """Wait until nothing is the matter."""

        def settled() -> bool:
            for program in (self.gateway, self.headend):
                assert program.running, f"{program.name} ended by itself:\n{program.last_words()}"
            return self.fresh() and self.drained()

        wait_until(settled, within=within_s, every=0.1, what="a chain without backlog")

    def judge(self, until_ns: int | None = None) -> tuple[Violations, Counted]:
        """Everything up to now, slots on their way left out."""
        self.checker.note_journal(self.data / "journal")
        until_ns = until_ns or self.clock.now_ns() - self.lag_ns - self.period_ns
        return self.checker.look(
            store=self.store, oracle=Oracle(self.state), excuses=self.excuses,
            until_ns=until_ns // self.period_ns * self.period_ns,
            clean=self.doubts if self.wish.judge_slots and not self.wish.real_clock else None,
            slots=self.wish.judge_slots,
        )  # fmt: skip

    def _watch(self) -> None:
        while not self._watching.wait(0.25):
            for program in (self.gateway, self.headend):
                program.measure()
            self.disk_mb = max(self.disk_mb, (_size(self.data) + _size(self.store)) / 1e6)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # pruned or renamed while we looked
    return total
