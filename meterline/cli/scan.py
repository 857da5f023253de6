"""``meterline scan``: who is on a line; shown while it runs, as a table, as JSON, or as lines for the site file."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.text import Text

from meterline.cli.scan_report import SHOWN, Report
from meterline.cli.screen import Screen, quiet_collector
from meterline.cli.target import Target, target_of
from meterline.cli.texts import text
from meterline.clock import SystemClock
from meterline.errors import EXIT_FINE, EXIT_INTERRUPTED, EXIT_UNREACHABLE, ConfigError, LineDown, Problem, Unreachable
from meterline.lines import Parity

if TYPE_CHECKING:
    from collector.scan import Event, Scan
    from collector.scan_plan import Progress, Stage, Tongue

PROTOCOLS: dict[str, tuple[Tongue, ...]] = {
    "modbus": ("modbus",),
    "dlt645": ("dlt645", "dlt645-1997"),
    "cjt188": ("cjt188",),
    "mbus": ("mbus",),
}
BAR = 24
REFRESH = 4


@dataclass(frozen=True)
class Wish:
    """What the person asked for, beside the line."""

    site: Path | None = None
    baud: int | None = None
    parity: Parity | None = None
    protocol: str | None = None
    addresses: str | None = None
    timeout_s: float | None = None
    profiles: Path | None = None
    anyway: bool = False
    thorough: bool = False
    why: bool = False
    yaml: bool = False


def scan(screen: Screen, name: str, wish: Wish) -> int:
    """Scan a line and print who is there.

    Raises
    ------
    ConfigError
        It names no line, or an option is wrong.
    Unreachable
        The line cannot be opened.
    """
    quiet_collector()
    settings = {"timeout_s": wish.timeout_s} if wish.timeout_s else {}
    target = target_of(name, wish.site, settings, wish.profiles)
    tongues, addresses = _tongues(wish.protocol), _addresses(wish.addresses)
    quiet = Screen(screen.lang, as_json=True) if wish.yaml else screen
    if target.guessed:
        target = _framing(quiet, target, addresses)
    running, interrupted = _prepared(target, wish, tongues, addresses), False
    watch = _Watch(quiet, running)
    began = time.monotonic()
    complete = True
    try:
        watch.opening(target)
        with watch:
            complete = asyncio.run(_run(running))
    except KeyboardInterrupt:
        complete, interrupted = False, True
    except LineDown as error:
        if not running.scan.found:
            reason, _, hint = str(error).partition("; ")
            raise Unreachable(target.where, reason, hint) from error
        complete = False
    report = Report(target, running.scan, time.monotonic() - began, complete=complete)
    if wish.yaml:
        print(report.yaml(), end="")
    else:
        report.show(screen, why=wish.why)
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FINE if running.scan.found else EXIT_UNREACHABLE


@dataclass
class _Running:
    """A scan that is going to run, and who watches it."""

    scan: Scan
    stages: list[Stage]
    listeners: list[Any]


def _prepared(target: Target, wish: Wish, tongues: Sequence[Tongue], addresses: Sequence[int]) -> _Running:
    from collector.scan import Scan
    from collector.scan_plan import stages_of

    bus = target.bus
    fixed = not bus.can_switch
    if bus.kind == "serial":
        from collector.transports_serial import is_pseudo_terminal

        fixed = is_pseudo_terminal(str(bus.device))
    stages = stages_of(
        bus,
        fixed=fixed,
        profiles=target.profiles.values(),
        baud=wish.baud,
        parity=wish.parity,
        tongues=tongues,
        addresses=addresses,
        patience_s=wish.timeout_s,
    )
    if not stages:
        raise ConfigError(
            [
                Problem(
                    "command line", "--protocol", "nothing is left to scan", "leave --baud, --parity or --protocol out"
                )
            ]
        )
    if target.plant is not None:  # what the site file says comes first
        stages.sort(key=lambda stage: stage.setting != bus.settings)
        known = [int(m.address) for m in target.plant.meters_on(bus.id) if m.address.isdigit() and len(m.address) < 4]
        for stage in stages:
            inside = [unit for unit in known if unit in stage.addresses]
            stage.addresses = tuple(dict.fromkeys([*inside, *stage.addresses]))
    listeners: list[Any] = []

    def notify(event: Event) -> None:
        for listener in listeners:
            listener(event)

    scan = Scan(bus, SystemClock(), stages, target.profiles, notify, anyway=wish.anyway, thorough=wish.thorough)
    return _Running(scan, stages, listeners)


async def _run(running: _Running) -> bool:
    """Whether the scan came to its end."""
    from collector.scan import AnotherMaster

    try:
        await running.scan.run()
    except AnotherMaster:
        return False  # the remark says it
    return True


def _framing(screen: Screen, target: Target, units: Sequence[int]) -> Target:
    """Find out what travels on a TCP connection that nobody described."""
    from collector.scan import speaks_modbus_tcp

    try:
        is_tcp = asyncio.run(speaks_modbus_tcp(target.bus, SystemClock(), units))
    except LineDown as error:
        reason, _, hint = str(error).partition("; ")
        raise Unreachable(target.where, reason, hint) from error
    if is_tcp:
        screen.say("scan.is_tcp", where=target.where)
        return target
    screen.say("scan.is_rtu", where=target.where)
    return Target(target.bus.model_copy(update={"kind": "rtu-over-tcp"}), target.profiles)


def _tongues(protocol: str | None) -> tuple[Tongue, ...]:
    if protocol is None:
        return ()
    if protocol not in PROTOCOLS:
        raise ConfigError(
            [Problem("command line", "--protocol", f"no protocol {protocol!r}", f"there are: {', '.join(PROTOCOLS)}")]
        )
    return PROTOCOLS[protocol]


def _addresses(text_: str | None) -> tuple[int, ...]:
    """``1-40,126`` as numbers."""
    numbers: list[int] = []
    for part in (text_ or "").replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not part:
            continue
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ConfigError([Problem("command line", "--addresses", f"{part!r} is none", "write them as 1-40,126")])
        numbers += range(int(first), int(last or first) + 1)
    if any(not 0 <= number <= 255 for number in numbers):
        raise ConfigError([Problem("command line", "--addresses", "Modbus addresses go from 1 to 247", "1-40,126")])
    return tuple(dict.fromkeys(numbers))


def time_text(seconds: float, lang: str) -> str:
    """A time still to come, no more exact than it is known."""
    if seconds < 10:
        return text("time.less", lang)
    if seconds < 90:
        return text("time.seconds", lang, n=round(seconds / 5) * 5)
    return text("time.minutes", lang, n=round(seconds / 60))


class _Watch:
    """Shows a scan while it runs: one line that moves on a terminal, one line a step elsewhere."""

    def __init__(self, screen: Screen, running: _Running) -> None:
        self._screen, self._running = screen, running
        self._live = (
            Live(Text(""), console=screen.err, refresh_per_second=REFRESH, transient=True)
            if sys.stderr.isatty()
            else None
        )
        self._latest = ""
        self._told: object = None
        self._stack = ExitStack()

    def opening(self, target: Target) -> None:
        """Say what is going to happen, and how long it takes."""
        left = self._running.scan.estimate.left_s()
        self._screen.say(
            "scan.head", style="bold", line=target.where, stages=len(self._running.stages),
            time=time_text(left, self._screen.lang),
        )  # fmt: skip
        self._screen.say("scan.promise", style="dim")
        if left > 120:
            self._screen.say("scan.narrow", style="dim")

    def __enter__(self) -> None:
        self._running.listeners.append(self._hear)
        if self._live is not None:
            self._stack.enter_context(self._live)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hear(self, event: Event) -> None:
        from collector.scan import Found
        from collector.scan_plan import Progress

        if isinstance(event, Found):
            best = event.recognition.best.profile if event.recognition and event.recognition.best else ""
            self._latest = f"{SHOWN[event.tongue]} {event.address}  {best}".rstrip()
        elif isinstance(event, Progress):
            if self._live is not None:
                self._live.update(self._bar(event))
            elif event.stage is not None and event.stage is not self._told:
                self._told = event.stage
                self._screen.err.print(self._words(event), style="dim")

    def _bar(self, progress: Progress) -> Text:
        full = round(BAR * progress.share)
        line = Text("━" * full, style="green") + Text("━" * (BAR - full), style="bright_black")
        line.append(f" {round(100 * progress.share):3d} %  ", style="bold").append(self._words(progress))
        if self._latest:
            line.append(f"\n{self._latest}", style="dim")
        return line

    def _words(self, progress: Progress) -> str:
        lang = self._screen.lang
        left = time_text(progress.left_s, lang)
        if progress.at_least:
            left = text("time.at_least", lang, time=left)
        stage = progress.stage
        what = f"{SHOWN[stage.tongue]} {stage.setting or ''}".strip() if stage else ""
        return text("scan.bar", lang, stage=what, left=left, found=progress.found)
