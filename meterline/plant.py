"""A site as its people know it: who uses energy, which meter feeds which, on which line it hangs, with what ratio.

One ``site.yaml`` describes a plant; gateway and head-end read the same file, so that a meter has one name everywhere.
Everything that can change in time (ratios) is dated; a change touches nothing before its date.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from meterline.documents import Document, Lines, PathKey, place_text, read_document
from meterline.errors import ConfigError, Problem
from meterline.measurands import MEASURANDS, Carrier
from meterline.profiles import Profile, Title, load_profiles

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-4]):[0-5][0-9]$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Shift(Document):
    """One stretch of working time of a day; ``to`` before ``from`` runs past midnight."""

    days: tuple[Day, ...] = DAYS[:5]
    start: Annotated[ClockTime, Field(alias="from")]
    end: Annotated[ClockTime, Field(alias="to")]


class Calendar(Document):
    """When the plant works, in its own local time."""

    shifts: tuple[Shift, ...] = ()
    """Empty: never idle (continuous operation)."""
    holidays: tuple[dt.date, ...] = ()
    """Days off, whatever the weekday."""
    workdays: tuple[dt.date, ...] = ()
    """Make-up days: worked like a Monday, whatever the weekday."""

    def working(self, local: dt.datetime) -> bool:
        """Whether the plant works at this moment of its local time."""
        if not self.shifts:
            return True
        minute = local.hour * 60 + local.minute
        today, yesterday = local.date(), local.date() - dt.timedelta(days=1)
        for shift in self.shifts:
            start, end = _minutes(shift.start), _minutes(shift.end)
            if start < end:
                if self._runs(shift, today) and start <= minute < end:
                    return True
            elif (self._runs(shift, today) and minute >= start) or (self._runs(shift, yesterday) and minute < end):
                return True
        return False

    def _runs(self, shift: Shift, day: dt.date) -> bool:
        if day in self.holidays:
            return False
        return (DAYS[0] if day in self.workdays else DAYS[day.weekday()]) in shift.days


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


class SiteInfo(Document):
    """The plant as a whole."""

    id: Id
    name: Title
    timezone: str = "Asia/Shanghai"
    region: str = ""
    """Grid region or province whose emission factor applies, as named in config/factors."""
    calendar: Calendar = Calendar()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"unknown time zone {name!r}; use a name such as 'Asia/Shanghai'") from error
        return name

    @property
    def zone(self) -> ZoneInfo:
        """The plant's time zone."""
        return ZoneInfo(self.timezone)


class EnergyUser(Document):
    """Who uses energy (用能单位 / 次级用能单位 / 用能设备); the level is data, not a class."""

    id: Id
    name: Title
    level: Literal["organisation", "sub_unit", "equipment"]
    parent: Id | None = None


class Bus(Document):
    """One physical line or TCP endpoint; exactly one task of one gateway owns it."""

    id: Id
    kind: Literal["modbus-tcp", "rtu-over-tcp", "serial"]
    gateway: Id
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    device: str | None = None
    """Serial port: /dev/serial/by-id/... on Linux, COM3 on Windows."""
    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout_s: Annotated[float, Field(gt=0, le=60)] | None = None
    """Longest wait for an answer. Default 0.5 s on a serial line, 1 s over TCP. [s]"""
    gap_ms: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rest on the line between two requests beyond the protocol's own silence. [ms]"""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "serial":
            if not self.device:
                raise ValueError("a serial line needs 'device'; on Linux use the name under /dev/serial/by-id/")
            if self.host or self.port:
                raise ValueError("'host' and 'port' belong to TCP lines; for a serial server use kind: rtu-over-tcp")
        elif not self.host:
            raise ValueError(f"a {self.kind} line needs 'host'; give the address of the meter or serial server")
        elif self.device:
            raise ValueError("'device' belongs to serial lines; remove it")
        return self

    @property
    def tcp_port(self) -> int:
        """The port to connect to (502 unless said otherwise)."""
        return self.port or 502

    @property
    def answer_within_s(self) -> float:
        """Longest wait for an answer. [s]"""
        return self.timeout_s or (0.5 if self.kind == "serial" else 1.0)


class Ratio(Document):
    """Transformer ratios in force from a date on; a metered value of the meter's terminals times these is primary."""

    valid_from: dt.date
    """From 00:00 of this day, plant time."""
    ct: str = "1"
    """Current transformer, as on its plate: "200/5"."""
    vt: str = "1"
    """Voltage transformer: "10000/100"."""
    correction: bool = False
    """True: the earlier entry was wrong all along (recomputed from this date); false: the transformer was exchanged."""
    by: str = ""
    reason: str = ""

    @field_validator("ct", "vt")
    @classmethod
    def _fraction(cls, text: str) -> str:
        parse_ratio(text)
        return text

    def factor(self, kinds: str) -> Fraction:
        """What a displayed value is multiplied by; `kinds` is the measurand's `ratio` (``c``, ``v``, ``cv``)."""
        return (parse_ratio(self.ct) if "c" in kinds else Fraction(1)) * (
            parse_ratio(self.vt) if "v" in kinds else Fraction(1)
        )


def parse_ratio(text: str) -> Fraction:
    """``200/5`` as an exact number.

    Raises
    ------
    ValueError
        Not of the form a plate shows.
    """
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?(\s*/\s*[0-9]+(\.[0-9]+)?)?", text.strip()):
        raise ValueError(f'ratio {text!r} cannot be read; write it as on the plate, for example "200/5"')
    upper, _, lower = text.partition("/")
    below = Fraction(lower.strip() or "1")
    if below == 0 or Fraction(upper.strip()) == 0:
        raise ValueError(f"ratio {text!r} contains a zero; write it as on the plate")
    return Fraction(upper.strip()) / below


class Certificate(Document):
    """The verification certificate of an instrument."""

    number: str = ""
    verified_on: dt.date | None = None
    valid_until: dt.date | None = None


class Meter(Document):
    """One installed instrument: its place in the plant, on the line, and in the ledger of instruments."""

    id: Id
    name: Title
    energy_user: Id
    profile: str
    bus: Id
    address: str
    """The meter's address on its line, in quotes (a leading zero counts in DL/T 645)."""
    fed_by: Id | None = None
    """The meter upstream that also measures this one's energy."""
    rated: Annotated[float, Field(gt=0)] | None = None
    """Largest power (kW) or flow (m3/h, t/h) the connection can carry, primary."""
    nominal_v: Annotated[float, Field(gt=0)] = 230.0
    """Phase voltage that belongs here, primary. [V]"""
    idle: Annotated[float, Field(ge=0)] | None = None
    """Power or flow that is normal outside working time, primary; learnt where absent."""
    ratios: tuple[Ratio, ...] = ()
    serial: str = ""
    accuracy_class: str = ""
    certificate: Certificate = Certificate()

    def ratio_at(self, day: dt.date) -> Ratio | None:
        """The ratio in force on a day of the plant: the latest not after it; corrections count from their date."""
        return max((r for r in self.ratios if r.valid_from <= day), key=lambda r: r.valid_from, default=None)


class Benchmark(Document):
    """Quota of a product's specific energy (限定值 / 准入值 / 先进值): lower is better."""

    limit: Annotated[float, Field(gt=0)]
    entry: Annotated[float, Field(gt=0)] | None = None
    advanced: Annotated[float, Field(gt=0)] | None = None
    unit: str = "kgce/t"
    source: str
    """Standard, edition and clause, or who set it."""


class Output(Document):
    """How much of a product was made, as entered by the plant."""

    start: Annotated[dt.date, Field(alias="from")]
    end: Annotated[dt.date, Field(alias="to")]
    """Last day included."""
    amount: Annotated[float, Field(ge=0)]


class Product(Document):
    """What is made with the energy of one energy user."""

    id: Id
    name: Title
    energy_user: Id
    unit: str = "t"
    benchmark: Benchmark | None = None
    output: tuple[Output, ...] = ()


class Site(Document):
    """One ``site.yaml``."""

    site: SiteInfo
    energy_users: Annotated[tuple[EnergyUser, ...], Field(min_length=1)]
    buses: tuple[Bus, ...] = ()
    meters: tuple[Meter, ...] = ()
    products: tuple[Product, ...] = ()


class Plant:
    """A checked site with its profiles: what gateway and head-end work with.

    Attributes
    ----------
    site
        The document.
    profiles
        Profile name -> page, for every profile the site's meters use (and the others found).
    """

    def __init__(self, site: Site, profiles: Mapping[str, Profile]) -> None:
        self.site = site
        self.profiles = dict(profiles)

    @cached_property
    def meters(self) -> dict[str, Meter]:
        """Id -> meter."""
        return {meter.id: meter for meter in self.site.meters}

    @cached_property
    def buses(self) -> dict[str, Bus]:
        """Id -> bus."""
        return {bus.id: bus for bus in self.site.buses}

    @cached_property
    def energy_users(self) -> dict[str, EnergyUser]:
        """Id -> energy user."""
        return {user.id: user for user in self.site.energy_users}

    def profile_of(self, meter: Meter) -> Profile:
        """The page of a meter's type."""
        return self.profiles[meter.profile]

    def carrier_of(self, meter: Meter) -> Carrier:
        """What the meter meters."""
        return self.profiles[meter.profile].carrier

    def meters_on(self, bus: str) -> tuple[Meter, ...]:
        """The meters of one line, in the file's order."""
        return tuple(meter for meter in self.site.meters if meter.bus == bus)

    def gateways(self) -> tuple[str, ...]:
        """Every gateway that owns a line of this site."""
        return tuple(dict.fromkeys(bus.gateway for bus in self.site.buses))

    def users_below(self, user: str) -> set[str]:
        """An energy user and everything under it."""
        found, grew = {user}, True
        while grew:
            more = {u.id for u in self.site.energy_users if u.parent in found} - found
            found |= more
            grew = bool(more)
        return found

    def top_meters(self, user: str, carrier: Carrier) -> tuple[Meter, ...]:
        """The meters whose sum is the user's whole use of a carrier: those not fed by another one below the user."""
        inside = self.users_below(user)
        own = {m.id: m for m in self.site.meters if m.energy_user in inside and self.carrier_of(m) == carrier}
        return tuple(m for m in own.values() if m.fed_by not in own)

    def primary_factor(self, meter: Meter, measurand: str, day: dt.date) -> Fraction:
        """What turns a displayed value into the primary one on a day; 1 for a meter that shows primary values."""
        if self.profile_of(meter).value_reference == "primary":
            return Fraction(1)
        ratio = meter.ratio_at(day)
        return ratio.factor(MEASURANDS[measurand].ratio) if ratio else Fraction(1)


def load_plant(path: Path, *profile_dirs: Path) -> Plant:
    """Read a site file and the profiles it needs, and check what only the whole shows.

    Parameters
    ----------
    path
        The ``site.yaml``; a folder ``profiles`` beside it holds the site's own profiles.
    profile_dirs
        Folders of shipped profiles.

    Raises
    ------
    ConfigError
        With every problem of every file; no line has been opened.
    """
    problems: list[Problem] = []
    profiles: dict[str, Profile] = {}
    try:
        profiles = load_profiles(*profile_dirs, path.parent / "profiles")
    except ConfigError as error:
        problems += error.problems
    try:
        site, lines = read_document(path, Site)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    problems += _site_problems(site, profiles if not problems else None, str(path), lines)
    if problems:
        raise ConfigError(problems)
    return Plant(site, profiles)


def _site_problems(site: Site, profiles: Mapping[str, Profile] | None, file: str, lines: Lines) -> Iterator[Problem]:
    def at(*path: str | int) -> str:
        key: PathKey = path
        return place_text(key, lines.nearest(key))

    users = {user.id for user in site.energy_users}
    buses = {bus.id: bus for bus in site.buses}
    meters = {meter.id: meter for meter in site.meters}
    for group, items in (
        ("energy_users", site.energy_users), ("buses", site.buses), ("meters", site.meters), ("products", site.products),
    ):  # fmt: skip
        ids = [item.id for item in items]  # type: ignore[attr-defined]
        counts = Counter(ids)
        for index, name in enumerate(ids):
            if counts[name] > 1:
                yield Problem(file, at(group, index, "id"), f"id {name!r} is used twice", "ids are unique")
    for index, user in enumerate(site.energy_users):
        if user.parent is not None and user.parent not in users:
            yield Problem(
                file, at("energy_users", index, "parent"), f"no energy user {user.parent!r}", _among(user.parent, users)
            )
    yield from _loops({u.id: u.parent for u in site.energy_users}, file, at("energy_users"), "parent")
    yield from _loops({m.id: m.fed_by for m in site.meters}, file, at("meters"), "fed_by")
    taken: dict[tuple[str, str], str] = {}
    for index, meter in enumerate(site.meters):
        if meter.energy_user not in users:
            yield Problem(
                file,
                at("meters", index, "energy_user"),
                f"no energy user {meter.energy_user!r}",
                _among(meter.energy_user, users),
            )
        if meter.fed_by is not None and meter.fed_by not in meters:
            yield Problem(
                file, at("meters", index, "fed_by"), f"no meter {meter.fed_by!r}", _among(meter.fed_by, meters)
            )
        if meter.bus not in buses:
            yield Problem(file, at("meters", index, "bus"), f"no bus {meter.bus!r}", _among(meter.bus, buses))
        other = taken.setdefault((meter.bus, meter.address), meter.id)
        if other != meter.id:
            yield Problem(
                file, at("meters", index, "address"), f"{meter.id} and {other} both have address {meter.address!r} on bus {meter.bus}",
                "two meters on one address answer at once: change one, on the meter and here",
            )  # fmt: skip
        if profiles is not None:
            profile = profiles.get(meter.profile)
            if profile is None:
                yield Problem(
                    file,
                    at("meters", index, "profile"),
                    f"no profile {meter.profile!r}",
                    _among(meter.profile, profiles),
                )
            elif meter.bus in buses:
                yield from _meter_problems(
                    meter, profile, buses[meter.bus], file, lambda *p, i=index: at("meters", i, *p)
                )
    ends: dict[tuple[str | None, ...], str] = {}
    for index, bus in enumerate(site.buses):
        end = (bus.device,) if bus.kind == "serial" else (bus.host, str(bus.tcp_port))
        first = ends.setdefault(end, bus.id)
        if first != bus.id:
            yield Problem(
                file,
                at("buses", index),
                f"{bus.id} and {first} are the same line",
                "one line has one entry: put its meters on it",
            )
    for index, product in enumerate(site.products):
        if product.energy_user not in users:
            yield Problem(
                file,
                at("products", index, "energy_user"),
                f"no energy user {product.energy_user!r}",
                _among(product.energy_user, users),
            )


def _meter_problems(meter: Meter, profile: Profile, bus: Bus, file: str, at: object) -> Iterator[Problem]:
    assert callable(at)
    low = 1 if bus.kind != "modbus-tcp" else 0
    if not (meter.address.isascii() and meter.address.isdigit() and low <= int(meter.address) <= (247 if low else 255)):
        yield Problem(
            file, at("address"), f"{meter.address!r} is no Modbus address on a {bus.kind} line",
            f"use \"{low}\" to \"{247 if low else 255}\", as set on the meter",
        )  # fmt: skip
    if profile.value_reference == "primary" and any(
        parse_ratio(r.ct) != 1 or parse_ratio(r.vt) != 1 for r in meter.ratios
    ):
        yield Problem(
            file, at("ratios"), f"{profile.profile} already shows primary values; this ratio would count twice",
            "remove it here and set it in the meter",
        )  # fmt: skip
    days = Counter(ratio.valid_from for ratio in meter.ratios if not ratio.correction)
    for day, count in days.items():
        if count > 1:
            yield Problem(
                file,
                at("ratios"),
                f"{count} ratios are valid from {day}",
                "keep one, or mark the later one correction: true",
            )


def _loops(above: Mapping[str, str | None], file: str, place: str, key: str) -> Iterator[Problem]:
    done: set[str] = set()
    for start in above:
        path: list[str] = []
        here: str | None = start
        while here is not None and here not in done and here in above:
            if here in path:
                ring = " -> ".join([*path[path.index(here) :], here])
                yield Problem(file, place, f"{key} runs in a circle: {ring}", "one of them must be the top")
                break
            path.append(here)
            here = above[here]
        done.update(path)


def _among(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names[:12]) or 'none'}"
