"""The sites of ``meterline demo`` and ``meterline simulate``: files written into a data folder, ready to run.

A demo must not meet whatever else listens on the machine, so its files are copies of the shipped ones with free ports
of the loopback interface and a line path inside the folder. Only these places differ; the rest is the shipped text.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field

from collector.simulated.factory import Factory
from collector.simulated.faults import Recipe
from collector.simulated.lines import Timing
from collector.simulated.loads import Load
from collector.simulated.replay import read_recording, recorded_loads
from meterline.clock import NS, Clock
from meterline.documents import Document, read_document
from meterline.errors import ConfigError, Problem
from meterline.paths import profiles_dir, sites_dir
from meterline.plant import Plant, load_plant

DEMO_FACTOR = 400.0
"""Plant seconds per real second: 90 s are ten hours, from the afternoon shift into the night."""
REPLAY_FACTOR = 1440.0
"""The same when a recording is replayed: a day a minute, so that days can be compared with it."""
REPLAY_LEAD_S = 1.5
"""Real time by which a replay's clock begins before the recording, so that its first midnight is read. [s]"""
DEMO_BEGINS = dt.time(13, 30)
"""Time of day at the first start of a demo."""


class FactoryFile(Document):
    """One ``factory.yaml``: how the simulated factory of a site behaves."""

    seed: int = 1
    turnaround_ms: float = Field(default=2.0, ge=0, le=5000)
    """Real time from a request to its answer. [ms]"""
    wire_time: bool = False
    """Whether serial lines take the time their baud rate needs."""
    loads: dict[str, Load] = Field(default_factory=dict)
    """Meter -> what hangs on it beside the meters it feeds."""
    faults: tuple[Recipe, ...] = ()
    """The timetable of a run."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the loopback interface.

    Attributes
    ----------
    buses
        One for each TCP line of the site, in the file's order.
    """

    buses: tuple[int, ...]
    broker: int
    mail: int
    web: int

    @classmethod
    def free(cls, buses: int = 3, *, broker: int = 0, mail: int = 0, web: int = 0) -> Self:
        """Ports nobody listens on now; those given (not 0) are taken as they are."""
        held = [socket.socket() for _ in range(buses + 3)]
        try:
            for each in held:
                each.bind(("127.0.0.1", 0))
            numbers = [each.getsockname()[1] for each in held]
        finally:
            for each in held:
                each.close()
        return cls(tuple(numbers[3:]), broker or numbers[0], mail or numbers[1], web or numbers[2])


@dataclass(frozen=True, slots=True)
class SiteFiles:
    """The files of a demo site in its folder."""

    site: Path
    gateway: Path
    headend: Path
    factory: Path


def demo_site(folder: Path, ports: Ports) -> SiteFiles:
    """Write the demo plant's files; those of an earlier run are replaced (its data is not touched)."""
    return _write("demo", folder, ports)


def replay_site(folder: Path, ports: Ports, recording: Path) -> SiteFiles:
    """Write the files of the plant that replays a recording.

    The ratings follow the recording, so that its peak is neither an overload nor a trifle. Which meter gets what:
    `collector.simulated.replay.recorded_loads`.

    Raises
    ------
    ConfigError
        The recording cannot be used.
    """
    files = _write("replay", folder, ports)
    zone = load_plant(files.site, profiles_dir()).site.site.zone
    peak = read_recording(recording, zone).peak_kw
    text = files.site.read_text(encoding="utf-8")
    for marker, share in (("1000", 1.0), ("500", 0.5), ("300", 0.3)):
        text = _once(text, f"rated: {marker}\n", f"rated: {_plate(peak * share * 1.25)}\n", files.site)
    files.site.write_text(text, encoding="utf-8")
    return files


def open_factory(
    site: Path,
    clock: Clock,
    *,
    state_dir: Path | None = None,
    recording: Path | None = None,
    journal_reads: bool = False,
) -> Factory:
    """The factory of a site file: with ``factory.yaml`` beside it if there is one, else with loads of its own making.

    Parameters
    ----------
    recording
        Replay this file instead of modelled loads; no faults are planted then.

    Raises
    ------
    ConfigError
        With every problem of every file.
    """
    plant = load_plant(site, profiles_dir())
    path = site.parent / "factory.yaml"
    file = FactoryFile()
    if path.exists():
        file, _ = read_document(path, FactoryFile)
        unknown = [
            Problem(str(path), place, f"no meter {name!r}", "see meters in the site file")
            for place, name in _named(file)
            if name not in plant.meters
        ]
        if unknown:
            raise ConfigError(unknown)
    return Factory(
        plant,
        clock,
        seed=file.seed,
        loads=file.loads,
        faults=() if recording else file.faults,
        replay=recorded_loads(read_recording(recording, plant.site.site.zone), plant) if recording else None,
        state_dir=state_dir,
        timing=Timing(file.turnaround_ms / 1000, file.wire_time),
        journal_reads=journal_reads,
    )


def demo_start_ns(plant: Plant, today: dt.date) -> int:
    """Where the plant's clock of a new demo begins: a Tuesday to Thursday, not after `today`, in the afternoon. [ns]"""
    day = today
    while day.weekday() not in (1, 2, 3):
        day -= dt.timedelta(days=1)
    return round(dt.datetime.combine(day, DEMO_BEGINS, plant.site.site.zone).timestamp()) * NS


def _named(file: FactoryFile) -> Iterable[tuple[str, str]]:
    yield from ((f"loads.{name}", name) for name in file.loads)
    yield from ((f"faults[{index}].meter", recipe.meter) for index, recipe in enumerate(file.faults))


def _write(name: str, folder: Path, ports: Ports) -> SiteFiles:
    source = sites_dir() / name
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        file: (source / f"{file}.yaml").read_text(encoding="utf-8")
        for file in ("site", "gateway", "headend", "factory")
    }
    lines = re.findall(r"port: 1502[0-9]\b", texts["site"])
    for index, port in enumerate(ports.buses[: len(lines)]):
        texts["site"] = _once(texts["site"], f"port: {15021 + index}", f"port: {port}", source / "site.yaml")
    texts["site"] = re.sub(
        r"device: (lines/[a-z0-9-]+\.tty)", lambda found: f'device: "{(folder / found[1]).resolve()}"', texts["site"]
    )
    for file in ("gateway", "headend"):
        texts[file] = _once(texts[file], "port: 1883", f"port: {ports.broker}", source / f"{file}.yaml")
    headend = source / "headend.yaml"
    texts["headend"] = _once(texts["headend"], "port: 8420", f"port: {ports.web}", headend)
    texts["headend"] = _once(texts["headend"], "port: 8025", f"port: {ports.mail}", headend)
    paths = {}
    for file, text in texts.items():
        paths[file] = folder / f"{file}.yaml"
        paths[file].write_text(text, encoding="utf-8")
    return SiteFiles(**paths)


def _once(text: str, old: str, new: str, file: Path) -> str:
    if text.count(old) != 1:
        raise ConfigError([Problem(str(file), "", f"{old.strip()!r} stands there {text.count(old)} times, not once")])
    return text.replace(old, new)


def _plate(kw: float) -> float:
    """A rating as it would stand on a plate: two digits, rounded up."""
    digit: float = 10.0 ** (math.floor(math.log10(kw)) - 1)
    return round(math.ceil(kw / digit) * digit, 3)
