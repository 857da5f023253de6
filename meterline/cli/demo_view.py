"""What the demo shows while it runs, and what it sums up at its end."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import TracebackType

from rich.live import Live
from rich.text import Text

from meterline.cli.demo_facts import DemoFacts, EnergyCheck, Found, PlantedFault, Progress, amount
from meterline.cli.screen import Screen
from meterline.cli.texts import text
from meterline.clock import NS, Clock
from meterline.plant import Plant

STATUS_LINE_EVERY_S = 10.0
"""Where nobody watches a terminal, a line of numbers this often. [s]"""


class DemoView:
    """Prints events as they come, and keeps one line of numbers up to date on a terminal.

    Parameters
    ----------
    since_ns
        Plant time at which this run began: what is older was told by the run before.
    """

    def __init__(self, screen: Screen, folder: Path, plant: Plant, since_ns: int) -> None:
        self._screen, self._folder, self._plant, self._since_ns = screen, folder, plant, since_ns
        self._zone = plant.site.site.zone
        self._live = (
            Live(Text(""), console=screen.out, refresh_per_second=4, transient=True) if _watched(screen) else None
        )
        self._told: set[object] = set()
        self._mails_before = -1
        self._next_line_s = 0.0
        self._has_data = False

    def __enter__(self) -> None:
        if self._live:
            self._live.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def opening(self, *, resumed: bool, factor: float, page: str, mails: Path) -> None:
        """Where everything is."""
        say = self._screen.say
        say("demo.resumes" if resumed else "demo.begins", at=self._at(self._since_ns), folder=self._folder)
        say("demo.speed", factor=f"{factor:g}")
        say("demo.page", style="bold green", url=page)
        say("demo.mails", folder=mails)
        say("demo.logs", folder=self._folder / "logs")

    def look(self, facts: DemoFacts, now_ns: int, elapsed_s: float) -> None:
        """Tell what is new."""
        for fault in facts.planted(now_ns):
            if fault.end_ns > self._since_ns:
                self._tell(
                    ("fault", fault.start_ns, fault.meter, fault.kind), fault.start_ns, "demo.planted", fault, "yellow"
                )
                if fault.end_ns <= now_ns:
                    self._tell(
                        ("over", fault.start_ns, fault.meter, fault.kind), fault.end_ns, "demo.fault_over", fault, "dim"
                    )
        found = facts.found(now_ns)
        for finding in found:
            if finding.seen_ns >= self._since_ns:
                self._tell(("found", finding.number, finding.times), finding.seen_ns, "demo.found", finding, "bold red")
        mails = self._new_mails(facts, now_ns)
        status = facts.status(now_ns)
        if status is not None:
            self._numbers(Progress.of(status), now_ns, elapsed_s, len(found), mails)

    def _new_mails(self, facts: DemoFacts, now_ns: int) -> int:
        """Tell those that came since; returns how many there are in all."""
        mails = facts.mails()
        if self._mails_before < 0:
            self._mails_before = len(mails)
        for name, subject in mails[self._mails_before :]:
            if name not in self._told:
                self._told.add(name)
                self._line(now_ns, "demo.mail", f"{subject}  ({name})", "cyan")
        return len(mails)

    def _numbers(self, progress: Progress, now_ns: int, elapsed_s: float, found: int, mails: int) -> None:
        if progress.readings and not self._has_data and (progress.last_slot_ns or 0) >= self._since_ns:
            self._has_data = True
            self._screen.say("demo.first_data", seconds=f"{elapsed_s:.1f}")
        lag = "-" if progress.last_slot_ns is None else f"{max(0, now_ns - progress.last_slot_ns) / NS:.0f}"
        line = text(
            "demo.status", self._screen.lang, at=self._at(now_ns), readings=f"{progress.readings:,}",
            batches=f"{progress.batches:,}", lag=lag, backlog=progress.backlog, findings=found, mails=mails,
        )  # fmt: skip
        if self._live:
            self._live.update(Text(line, style="reverse"))
        elif elapsed_s >= self._next_line_s:
            self._next_line_s = elapsed_s + STATUS_LINE_EVERY_S
            self._screen.line(line)
            self._screen.out.file.flush()

    def _tell(self, key: tuple[object, ...], at_ns: int, text_key: str, what: PlantedFault | Found, style: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._line(at_ns, text_key, what.text(self._screen.lang), style)

    def _line(self, at_ns: int, key: str, what: str, style: str) -> None:
        self._screen.line(f"{self._at(at_ns)}  {text(key, self._screen.lang, what=what)}", style)
        self._screen.out.file.flush()

    def _at(self, t_ns: int) -> str:
        return f"{dt.datetime.fromtimestamp(t_ns / NS, self._zone):%Y-%m-%d %H:%M}"

    # --- at the end ----------------------------------------------------------------------------------------------

    def stopping(self) -> None:
        """The user has to wait a moment."""
        self._screen.say("demo.stopping")

    def summary(self, facts: DemoFacts, clock: Clock, origin_ns: int, elapsed_s: float, replay: Path | None) -> None:
        """What came of it: numbers, energy, planted against found."""
        now_ns = clock.now_ns()
        screen = self._screen
        hours = f"{elapsed_s * clock.factor / 3600:.1f}"
        screen.say("demo.stopped", style="bold", seconds=f"{elapsed_s:.0f}", hours=hours)
        status = facts.status(now_ns)
        if status is not None:
            progress = Progress.of(status)
            screen.say(
                "demo.total", readings=f"{progress.readings:,}", batches=f"{progress.batches:,}",
                lost=progress.lost, holes=progress.holes,
            )  # fmt: skip
        self._energy(facts.energy())
        if replay is not None:
            self._replayed(facts, replay)
        else:
            self._faults(facts, now_ns)
        self._new_mails(facts, now_ns)
        screen.say("demo.again", folder=self._folder)

    def _energy(self, checks: list[EnergyCheck]) -> None:
        if not checks:
            return
        self._screen.line("")
        self._screen.say("demo.energy", style="bold")
        rows = []
        for check in checks:
            key = "demo.energy_ok" if not check.breaks else "demo.energy_breaks"
            said = text(key if check.exact else "demo.energy_differs", self._screen.lang, count=check.breaks)
            rows.append(
                (
                    check.meter, check.measurand, amount(check.intervals_micro), amount(check.counter_micro),
                    check.unit,
                    Text(said, "green" if check.exact else "bold red"),
                )
            )  # fmt: skip
        self._screen.table(
            ("head.meter", "head.measurand", "head.sum", "head.counter", "head.unit", "head.verdict"),
            rows, right=(2, 3),
        )  # fmt: skip

    def _replayed(self, facts: DemoFacts, replay: Path) -> None:
        from meterline.cli.demo_replay import replayed_days

        days = replayed_days(facts, replay)
        if not days:
            return
        self._screen.line("")
        self._screen.say("demo.replayed", style="bold")
        self._screen.table(
            ("head.day", "head.meter", "head.sum", "head.counter", "head.recorded", "head.difference", "head.unit"),
            [
                (
                    day.day, day.meter, amount(day.intervals_micro), amount(day.counter_micro),
                    amount(day.recorded_micro), amount(day.intervals_micro - day.recorded_micro), "kWh",
                )
                for day in days
            ],
            right=(2, 3, 4, 5),
        )  # fmt: skip

    def _faults(self, facts: DemoFacts, now_ns: int) -> None:
        faults = [fault for fault in facts.planted(now_ns) if fault.end_ns > self._since_ns]
        found = facts.found(now_ns)
        self._screen.line("")
        self._screen.say("demo.faults", style="bold")
        if not faults:
            self._screen.say("demo.nothing_planted")
            return
        rows = []
        named: set[int] = set()
        for fault in faults:
            finding = facts.match(fault, found)
            named |= {finding.number} if finding else set()
            after = "" if finding is None else f"{(finding.seen_ns - fault.start_ns) / NS / 60:.0f} min"
            said = text("demo.not_found", self._screen.lang) if finding is None else finding.text(self._screen.lang)
            rows.append((self._at(fault.start_ns), fault.text(self._screen.lang), said, after))
        self._screen.table(("head.at", "head.fault", "head.finding", "head.after"), rows, right=(3,))
        for finding in found:
            if finding.number not in named and finding.seen_ns >= self._since_ns:
                self._screen.say(
                    "demo.besides", style="yellow", at=self._at(finding.seen_ns), what=finding.text(self._screen.lang)
                )


def _watched(screen: Screen) -> bool:
    return screen.out.is_terminal and not screen.as_json
