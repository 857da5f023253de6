"""``meterline read``: one meter, once, by its profile. What an electrician uses beside the cabinet."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from meterline.cli.screen import Screen, quiet_collector
from meterline.clock import NS, SystemClock
from meterline.documents import read_document, validate
from meterline.errors import BusError, ConfigError, Problem, Unreachable
from meterline.measurands import MEASURANDS
from meterline.paths import profiles_dir
from meterline.plant import Plant, load_plant
from meterline.profiles import load_profiles
from meterline.readings import NO_VALUE, Exchange, Poll, Quality, Reading
from meterline.settings import GatewayFile
from meterline.site import Bus, Meter, Site
from meterline.site_rules import address_problem, line_problem
from meterline.units import DISPLAY


@dataclass(frozen=True)
class AdHoc:
    """A meter named on the command line instead of in a site file."""

    profile: str
    tcp: str | None = None
    rtu_over_tcp: str | None = None
    serial: str | None = None
    rfc2217: str | None = None
    listen: int | None = None
    registration: str | None = None
    address: str = "1"
    baud: int | None = None
    parity: Literal["N", "E", "O"] | None = None
    stop_bits: Literal[1, 2] | None = None
    timeout_s: float | None = None

    def plant(self, *profile_dirs: Path) -> Plant:
        """A site of this one meter.

        Raises
        ------
        ConfigError
            An option is wrong or missing.
        """
        profiles = load_profiles(profiles_dir(), *profile_dirs)
        ends = {
            "modbus-tcp": self.tcp, "rtu-over-tcp": self.rtu_over_tcp, "rfc2217": self.rfc2217, "serial": self.serial,
            "tcp-listen": self.listen,
        }  # fmt: skip
        given = {kind: end for kind, end in ends.items() if end}
        if len(given) != 1:
            raise _option(
                "--tcp", "a line is needed", "give one of --serial, --tcp, --rtu-over-tcp, --rfc2217, --listen"
            )
        if self.profile not in profiles:
            raise _option("--profile", f"no profile {self.profile!r}", f"there are: {', '.join(sorted(profiles))}")
        line = profiles[self.profile].line
        ((kind, end),) = given.items()
        bus: dict[str, Any] = {
            "id": "line", "gateway": "here", "timeout_s": self.timeout_s, "kind": kind, "baud": self.baud or line.baud,
            "parity": self.parity or line.parity, "stop_bits": self.stop_bits or line.stop_bits,
            "registration": self.registration,
        }  # fmt: skip
        if kind == "serial":
            bus["device"] = end
        elif kind == "tcp-listen":
            bus["port"] = end
        else:
            bus["host"], bus["port"] = _host_port(kind, str(end))
        name = {"en": self.profile, "zh": self.profile}
        data = {
            "site": {"id": "here", "name": name},
            "energy_users": [{"id": "here", "name": name, "level": "equipment"}],
            "buses": [{key: value for key, value in bus.items() if value is not None}],
            "meters": [
                {"id": "meter", "name": name, "energy_user": "here", "profile": self.profile, "bus": "line",
                 "address": self.address},
            ],
        }  # fmt: skip
        plant = Plant(validate(data, Site, "command line"), profiles)
        if wrong := address_problem(profiles[self.profile], kind, self.address):
            raise _option("--address", *wrong)
        if wrong := line_problem(profiles[self.profile], plant.buses["line"]):
            raise _option(f"--{kind.removeprefix('modbus-')}", *wrong)
        return plant


def _option(name: str, problem: str, hint: str) -> ConfigError:
    return ConfigError([Problem("command line", name, problem, hint)])


def _host_port(kind: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, "502" if kind == "modbus-tcp" else ""
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        option = f"--{kind.removeprefix('modbus-')}"
        raise _option(option, f"{text!r} is no address", "write host:port, for example 192.0.2.5:502")
    return host.strip("[]"), int(port)


def read(screen: Screen, meter_id: str | None, site: Path | None, ad_hoc: AdHoc | None, *, raw: bool) -> None:
    """Read one meter and print what it shows.

    Raises
    ------
    ConfigError
        The site, or the meter's name, is wrong.
    Unreachable
        The meter, or its line, does not answer.
    """
    quiet_collector()
    if ad_hoc and ad_hoc.listen:
        screen.say("read.waits", port=ad_hoc.listen)
    plant = ad_hoc.plant() if ad_hoc else load_plant(site or Path("site.yaml"), profiles_dir())
    meter = plant.meters.get(meter_id or "meter")
    if meter is None:
        there = ", ".join(sorted(plant.meters)[:20]) or "none"
        raise ConfigError(
            [Problem(str(site or "site.yaml"), "meters", f"no meter {meter_id!r}", f"there are: {there}")]
        )
    bus = plant.buses[meter.bus]
    try:
        poll = None if ad_hoc else _by_gateway(screen, (site or Path("site.yaml")).parent, bus, meter)
        if poll is None:
            poll = asyncio.run(_read(plant, bus, meter))
    except BusError as error:
        reason, _, hint = str(error).partition("; ")
        raise Unreachable(f"{meter.id} (address {meter.address} on {bus.where})", reason, hint) from error
    readings = list(poll.readings())
    primary = _primary(plant, meter, readings)
    screen.json(_json(meter, poll, readings, primary))
    _table(screen, plant, meter, poll, readings, primary)
    if raw:
        from collector import describe

        for exchange in poll.exchanges:
            asked, answered = describe(bus.kind, exchange, plant.profile_of(meter), screen.lang)
            screen.line(f"→ {exchange.request.hex(' ')}   {asked}")
            screen.line(f"← {exchange.response.hex(' ')}   {answered}")


async def _read(plant: Plant, bus: Bus, meter: Meter) -> Poll:
    from collector import read_meter

    (poll,) = await read_meter(bus, meter, plant.profile_of(meter), SystemClock())
    return poll


def _by_gateway(screen: Screen, folder: Path, bus: Bus, meter: Meter) -> Poll | None:
    """Let the gateway that holds the line read the meter, if its file lies beside the site's and it runs."""
    from gateway_firmware_py import ask_gateway

    for path in sorted(folder.glob("gateway*.yaml")):
        try:
            file, _ = read_document(path, GatewayFile)
        except ConfigError:
            continue  # not what is asked here: `check` says what is wrong with it
        if file.gateway == bus.gateway and (poll := ask_gateway(folder / file.data, meter.id)) is not None:
            screen.say("read.by_gateway", gateway=file.gateway)
            return poll
    return None


def _primary(plant: Plant, meter: Meter, readings: list[Reading]) -> dict[str, float]:
    """Measurand -> primary value, of those that have one and show another."""
    today = dt.datetime.now(plant.site.site.zone).date()
    found: dict[str, float] = {}
    for reading in readings:
        factor = plant.primary_factor(meter, reading.measurand, today)
        offset = plant.primary_offset(meter, reading.measurand, today)
        if reading.value is not None and (factor != 1 or offset):
            found[reading.measurand] = float(reading.value) * float(factor) + float(offset)
    return found


def quality_text(quality: Quality) -> str:
    """The doubts by name; empty for a good value."""
    return " ".join(str(flag.name).lower() for flag in Quality if flag and flag in quality)


def _took_ms(exchange: Exchange) -> float | None:
    return None if exchange.answered_ns is None else (exchange.answered_ns - exchange.sent_ns) / NS * 1000


def _json(meter: Meter, poll: Poll, readings: list[Reading], primary: dict[str, float]) -> dict[str, Any]:
    return {
        "meter": meter.id,
        "profile": poll.shape.profile,
        "read_at": dt.datetime.fromtimestamp(poll.slot_ns / NS, dt.UTC).isoformat(),
        "response_ms": [took if took is None else round(took, 1) for took in map(_took_ms, poll.exchanges)],
        "readings": [
            {
                "measurand": reading.measurand,
                "value": None if reading.value is None else str(reading.value),
                "unit": MEASURANDS[reading.measurand].unit,
                "quality": quality_text(reading.quality) or "good",
                **({"primary": primary[reading.measurand]} if reading.measurand in primary else {}),
            }
            for reading in readings
        ],
        "exchanges": [
            {"request": e.request.hex(), "response": e.response.hex(), "cause": e.cause} for e in poll.exchanges
        ],
    }


def _table(
    screen: Screen, plant: Plant, meter: Meter, poll: Poll, readings: list[Reading], primary: dict[str, float]
) -> None:
    names = {"en": meter.name.en, "zh": meter.name.zh}
    times = [took for took in map(_took_ms, poll.exchanges) if took is not None]
    title = plant.profile_of(meter).title
    screen.say(
        "read.head", style="bold", meter=meter.id, name=names[screen.lang], profile=getattr(title, screen.lang),
        requests=len(poll.exchanges), ms=f"{sum(times) / len(times):.0f}" if times else "-",
    )  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for reading in readings:
        measurand = MEASURANDS[reading.measurand]
        unit = DISPLAY.get(measurand.unit, measurand.unit)
        shown = "-" if reading.quality & NO_VALUE or reading.value is None else f"{reading.value:f}"
        other = f"{primary[reading.measurand]:,.6g}" if reading.measurand in primary else ""
        rows.append(
            (
                measurand.zh if screen.lang == "zh" else measurand.en, reading.measurand, shown,
                *((other,) if primary else ()), unit, quality_text(reading.quality),
            )
        )  # fmt: skip
    heads = ["head.name", "head.measurand", "head.value", *(["head.primary"] if primary else []), "head.unit"]
    screen.table([*heads, "head.quality"], rows, right=(2, 3) if primary else (2,))
