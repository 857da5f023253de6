"""``meterline demo``: the whole chain on this machine, on one plant clock, from frames to a mail and a page."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from meterline.cli.broker import broker_program
from meterline.cli.demo_facts import DemoFacts
from meterline.cli.demo_view import DemoView
from meterline.cli.processes import MAIN, Child, answers, end_leftovers, free_port, port_is_free, wait_for
from meterline.cli.screen import Screen
from meterline.clock import NS, HeldClock
from meterline.errors import ConfigError, Problem, Unreachable
from meterline.paths import profiles_dir, sites_dir
from meterline.plant import Plant, load_plant
from meterline.settings import load_gateway

WEB_PORT = 8420
LOOK_EVERY_S = 1.0
UP_WITHIN_S = 30.0
BEGIN_ANYWAY_S = 12.0
"""The plant's time begins to run when all processes are up, or after this. [s]"""
RESUME_AFTER_CRASH_S = 5.0
"""Real time by which the clock of a run that was killed may be ahead of what it had written down. [s]"""
GRACE_S = 8.0
LAST_ROUND_WITHIN_S = 10.0


@dataclass(frozen=True)
class Wish:
    """What the command line asks for."""

    folder: Path | None = None
    seconds: float | None = None
    replay: Path | None = None
    factor: float | None = None
    port: int | None = None
    broker: str = ""


def demo(screen: Screen, wish: Wish) -> int:
    """Run the demo until its time is over or a signal comes; returns the exit code.

    Raises
    ------
    ConfigError
        The recording or the folder cannot be used.
    Unreachable
        A port is in use, there is no broker, another demo runs in the folder, or a process ended by itself.
    """
    folder = (wish.folder or default_folder(replay=wish.replay is not None)).resolve()
    if wish.replay is not None and not wish.replay.is_file():
        raise ConfigError([Problem(str(wish.replay), "", "there is no such file", "check the path")])
    if wish.port is not None and not port_is_free(wish.port):
        raise Unreachable(f"127.0.0.1:{wish.port}", "the port is in use", "choose another one with --port")
    folder.mkdir(parents=True, exist_ok=True)
    with _OnlyOne(folder):
        return Demo(screen, wish, folder).run()


def default_folder(*, replay: bool) -> Path:
    """``.demo`` in a checkout (git ignores it there), ``meterline-demo`` anywhere else."""
    here = Path.cwd()
    inside = (here / "meterline" / "cli" / "demo.py").exists()
    return here / (".demo" if inside else "meterline-demo") / ("replay" if replay else "plant")


class Demo:
    """One run of the demo in its folder."""

    def __init__(self, screen: Screen, wish: Wish, folder: Path) -> None:
        self._screen, self._wish, self._folder = screen, wish, folder
        self._memory = folder / "run.json"
        self._past = _read_json(self._memory)
        self._children: list[Child] = []
        self._stop = self._hurry = False
        self._logs = folder / "logs"
        self._mails = folder / "mails"

    def run(self) -> int:
        """Start everything, watch, stop everything, sum up."""
        ended = end_leftovers(self._past.get("pids", []), str(self._folder))
        if ended:
            self._screen.say("demo.ended", pids=", ".join(map(str, ended)))
        from headend.alerts.mailbox import Mailbox

        ports, files = self._write_files()
        plant = load_plant(files.site, profiles_dir())
        factor = self._factor()
        origin_ns, resumed = self._origin(plant, factor)
        view = DemoView(self._screen, self._folder, plant, origin_ns)
        view.opening(resumed=resumed, factor=factor, page=f"http://127.0.0.1:{ports.web}/", mails=self._mails)
        if self._wish.port is None and ports.web != WEB_PORT:
            self._screen.say("demo.page_moved", port=ports.web)
        mailbox = Mailbox(self._mails, ports.mail)
        mailbox.start()
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        started_s = time.monotonic()
        clock = HeldClock.hold(self._folder / "clock", origin_ns, factor)
        facts = DemoFacts(self._folder)
        try:
            self._start(ports, files, clock)
            self._await_all(ports.web, started_s)
            clock.release()
            with view:
                self._watch(view, facts, clock, started_s)
            view.stopping()
        finally:
            self._end(clock, facts)
            mailbox.stop()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        try:
            view.summary(facts, clock, origin_ns, time.monotonic() - started_s, self._wish.replay)
        finally:
            facts.close()
        return 0

    # --- before --------------------------------------------------------------------------------------------------

    def _write_files(self) -> tuple[Any, Any]:
        from collector.simulated.demo_site import Ports, demo_site, replay_site

        past = {key: int(port) for key, port in self._past.get("ports", {}).items()}
        text = (sites_dir() / ("replay" if self._wish.replay else "demo") / "site.yaml").read_text(encoding="utf-8")
        names = ["web", "broker", "mail", *(f"bus{n}" for n in range(text.count("port: 150")))]
        chosen: dict[str, int] = {}
        for name in names:
            wish = (self._wish.port or WEB_PORT) if name == "web" else past.get(name, 0)
            chosen[name] = free_port(wish, chosen.values())
        self._past["ports"] = chosen
        buses = tuple(port for name, port in chosen.items() if name.startswith("bus"))
        ports = Ports(buses, chosen["broker"], chosen["mail"], chosen["web"])
        if self._wish.replay:
            files = replay_site(self._folder, ports, self._wish.replay)
        else:
            files = demo_site(self._folder, ports)
        from gateway_firmware_py import public_key

        public_key(load_gateway(files.gateway))  # the head-end's file names the key: it must be there
        return ports, files

    def _factor(self) -> float:
        from collector.simulated.demo_site import DEMO_FACTOR, REPLAY_FACTOR

        return self._wish.factor or (REPLAY_FACTOR if self._wish.replay else DEMO_FACTOR)

    def _origin(self, plant: Plant, factor: float) -> tuple[int, bool]:
        """Plant time to begin at: after the last slot of the run before, or where a new plant begins."""
        past = self._past.get("plant_ns")
        if past is not None:
            ahead = 0 if self._past.get("clean") else round(RESUME_AFTER_CRASH_S * factor * NS)
            return ((int(past) + ahead) // (60 * NS) + 1) * 60 * NS, True
        if self._wish.replay:
            from collector.simulated.demo_site import REPLAY_LEAD_S
            from collector.simulated.replay import read_recording

            start_ns = read_recording(self._wish.replay, plant.site.site.zone).start_ns
            return start_ns - round(REPLAY_LEAD_S * factor * NS), False
        from collector.simulated.demo_site import demo_start_ns

        return demo_start_ns(plant, dt.datetime.now(plant.site.site.zone).date()), False

    # --- while it runs -------------------------------------------------------------------------------------------

    def _start(self, ports: Any, files: Any, clock: HeldClock) -> None:
        self._logs.mkdir(exist_ok=True)
        for log in self._logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        lang = ["--lang", self._screen.lang]
        timed = ["--clock", f"file:{self._folder / 'clock'}"]
        replay = ["--replay", str(self._wish.replay.resolve())] if self._wish.replay else []
        state = ["--state", str(self._folder / "factory-state")]
        program = broker_program(self._folder, ports.broker, self._wish.broker)
        self._screen.say("demo.broker", name=program.name, port=ports.broker)
        broker = Child("broker", program.command, self._logs, program.env)
        factory = Child("factory", [*MAIN, *lang, "simulate", str(files.site), *timed, *state, *replay], self._logs)
        headend = Child("headend", [*MAIN, *lang, "headend", str(files.headend), *timed], self._logs)
        gateway = Child("gateway", [*MAIN, *lang, "gateway", str(files.gateway), *timed], self._logs)
        for child in (broker, factory, headend):
            self._begin(child, clock)
        ready = ("ready", "就绪")
        wait_for("the factory", lambda: factory.last_words(1) in ready, [broker, factory], UP_WITHIN_S)
        wait_for("the broker", lambda: answers(ports.broker), [broker, factory], UP_WITHIN_S)
        self._begin(gateway, clock)

    def _begin(self, child: Child, clock: HeldClock) -> None:
        child.start()
        self._children.append(child)
        self._remember(clock, clean=False)

    def _await_all(self, page: int, started_s: float) -> None:
        """Until page and gateway are there; a slow machine's gateway may be late, and the demo goes on without it."""
        gateway = self._children[-1]
        until = started_s + BEGIN_ANYWAY_S
        while not self._stop and time.monotonic() < until and all(child.ended is None for child in self._children):
            if answers(page) and "connected to the broker" in gateway.last_words(20):
                self._screen.say("demo.page_up", seconds=f"{time.monotonic() - started_s:.1f}")
                return
            time.sleep(0.05)

    def _watch(self, view: DemoView, facts: DemoFacts, clock: HeldClock, started_s: float) -> None:
        while not self._stop:
            elapsed = time.monotonic() - started_s
            if self._wish.seconds is not None and elapsed >= self._wish.seconds:
                return
            for child in self._children:
                if child.ended is not None:
                    said = f"{self._screen_text('demo.died', code=child.ended)}\n{child.last_words()}"
                    raise Unreachable(child.name, said, f"see {child.log}")
            view.look(facts, clock.now_ns(), elapsed)
            self._remember(clock, clean=False)
            _nap(LOOK_EVERY_S, lambda: self._stop)

    def _screen_text(self, key: str, **values: object) -> str:
        from meterline.cli.texts import text

        return text(key, self._screen.lang, **values)

    def _remember(self, clock: HeldClock, *, clean: bool) -> None:
        """Where the plant's clock is and who runs, for the next run."""
        self._past |= {"plant_ns": clock.now_ns(), "clean": clean}
        self._save()

    def _save(self) -> None:
        body = self._past | {"pids": [child.pid for child in self._children if child.ended is None]}
        fresh = self._memory.with_suffix(".new")
        fresh.write_text(json.dumps(body), encoding="utf-8")
        fresh.replace(self._memory)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stop:  # asked twice: no graces
            self._hurry = True
            for child in self._children:
                child.kill()
        self._stop = True

    def _end(self, clock: HeldClock, facts: DemoFacts) -> None:
        """Stop in the order of the data, so that what was measured still arrives and is counted."""
        self._stop_child("gateway")
        if self._children:
            self._remember(clock, clean=True)
        if any(child.name == "headend" and child.ended is None for child in self._children):
            self._await_round(clock, facts)
        for name in ("headend", "factory", "broker"):
            self._stop_child(name)
        if self._children:
            self._save()

    def _stop_child(self, name: str) -> None:
        for child in self._children:
            if child.name == name:
                child.stop(GRACE_S)

    def _await_round(self, clock: HeldClock, facts: DemoFacts) -> None:
        """Let the head-end take in the last batches and make one more round over them, if it does so soon."""
        settled_ns = clock.now_ns() + round(0.3 * clock.factor * NS)
        until = time.monotonic() + LAST_ROUND_WITHIN_S
        while time.monotonic() < until and not self._hurry:
            status = facts.status(clock.now_ns())
            if status is None or int(status["head_end"].get("round_ns", 0)) > settled_ns:
                return
            time.sleep(0.1)


class _OnlyOne:
    """Hold the folder for this demo while the block runs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "demo.lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        file = self._path.open("a+", encoding="ascii")
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read(20).strip() or "?"
            file.close()
            raise Unreachable(
                str(self._path.parent), f"another demo runs here (process {owner})", "stop it, or give --folder"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _nap(seconds: float, ended: Any) -> None:
    until = time.monotonic() + seconds
    while not ended() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
