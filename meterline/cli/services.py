"""The long-running commands: each loads its file, says one line per change of state, and ends cleanly on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meterline.cli.plan import check_capacity
from meterline.cli.screen import Screen
from meterline.cli.texts import text
from meterline.clock import NS, Clock, HeldClock, ScaledClock, SystemClock
from meterline.errors import ConfigError, Problem
from meterline.settings import GatewaySettings, load_gateway, load_headend

if TYPE_CHECKING:
    from collector.simulated import Factory


def clock_of(text: str | None) -> Clock:
    """The clock a parent handed over, or the real one.

    Raises
    ------
    ConfigError
        The text is no clock.
    """
    if text is None:
        return SystemClock()
    try:
        return HeldClock(Path(text.removeprefix("file:"))) if text.startswith("file:") else ScaledClock.parse(text)
    except (ValueError, OSError) as error:
        problem = f"{text!r} is no plant clock"
        raise ConfigError([Problem("command line", "--clock", problem, "it is handed over by `demo`")]) from error


def _log_to_output() -> None:
    """States and changes of state, one line each, beside what is announced."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)


def announce(line: str) -> None:
    """One line for a person, at once, also into a log file.

    Where it cannot be written (the log's disk is full, its reader has gone) the service goes on without it.
    """
    with contextlib.suppress(OSError):
        print(line, flush=True)


def gateway(screen: Screen, file: Path, clock: str | None, *, show_key: bool, last_good: bool) -> int:
    """Run a gateway, or print the public key its head-end must know."""
    instead = ""
    if last_good:
        from gateway_firmware_py import choose

        settings, instead = choose(file)
    else:
        settings = load_gateway(file)
    from gateway_firmware_py import public_key, run_gateway, sources_of

    if show_key:
        key = public_key(settings)
        screen.json({"gateway": settings.id, "public_key": key})
        screen.line(key)
        return 0
    for warning in check_capacity(settings, str(file)):
        announce(text(warning["warning"], screen.lang, **warning["values"]))
    _let_go_of_memory(settings)
    _log_to_output()
    _name_process("gateway")
    configured = () if instead else sources_of(settings, file)
    return run_gateway(settings, clock_of(clock), announce=announce, configured=configured, instead=instead)


def _let_go_of_memory(settings: GatewaySettings) -> None:
    """A small box runs for years on what is needed; all pages were read to check one site."""
    plant = settings.plant
    used = {meter.profile for meter in plant.site.meters}
    for name in set(plant.profiles) - used:
        del plant.profiles[name]
    gc.collect()
    if sys.platform == "linux":
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not every C library has it
        if trim is not None:
            trim(0)


def headend(file: Path, clock: str | None) -> int:
    """Run the head-end: ingest, store, jobs, alarms, pages."""
    settings = load_headend(file)
    from headend.main import run_headend

    _log_to_output()
    _name_process("headend")
    return run_headend(settings, clock_of(clock), announce=announce)


def simulate(
    screen: Screen, site: Path, clock: str | None, factor: float, state: Path | None, replay: Path | None
) -> int:
    """Run the simulated factory of a site until a signal comes."""
    from collector.simulated.demo_site import open_factory

    plant_clock: Clock = clock_of(clock)
    if clock is None and factor != 1:
        plant_clock = ScaledClock.starting_at(plant_clock.now_ns(), factor)
    factory = open_factory(site, plant_clock, state_dir=state, recording=replay)
    for bus in factory.plant.site.buses:
        meters = ", ".join(f"{m.id} ({m.address})" for m in factory.plant.meters_on(bus.id))
        announce(text("simulate.line", screen.lang, bus=bus.id, kind=bus.kind, where=bus.where, meters=meters))
    _name_process("factory")
    asyncio.run(_until_signal(factory, screen.lang))
    return 0


async def _until_signal(factory: Factory, lang: str) -> None:
    serving = asyncio.ensure_future(factory.serve(lambda: announce(text("simulate.ready", lang))))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(serving.cancel))
        else:
            loop.add_signal_handler(number, serving.cancel)
    telling = asyncio.ensure_future(_tell_faults(factory, lang))
    try:
        await serving
    except asyncio.CancelledError:
        return  # asked to end
    finally:
        telling.cancel()


async def _tell_faults(factory: Factory, lang: str) -> None:
    zone = factory.plant.site.site.zone
    for fault in factory.faults:
        if fault.start_ns >= factory.clock.now_ns():
            await factory.clock.sleep_until(fault.start_ns)
            at = dt.datetime.fromtimestamp(fault.start_ns / NS, zone)
            announce(text("simulate.planted", lang, at=f"{at:%Y-%m-%d %H:%M}", what=fault.text(lang)))


def _name_process(name: str) -> None:
    """Show up under one's own name in `top`, where the system allows it."""
    if sys.platform == "linux":
        Path("/proc/self/comm").write_text(f"ml-{name}", encoding="ascii")
