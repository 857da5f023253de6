"""The documents of a ``site.yaml``: who uses energy, which line there is, which meter hangs where and feeds what.

Everything that can change in time (ratios) is dated; a change touches nothing before its date.
"""

from __future__ import annotations

import datetime as dt
import re
from fractions import Fraction
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from meterline.documents import Document
from meterline.profiles import Title

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
