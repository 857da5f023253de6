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
from meterline.lines import Baud, LineSettings, OwnLine, Parity, StopBits, packet_bytes
from meterline.profiles import Title

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-4]):[0-5][0-9]$")]
USB_DEVICE = re.compile(r"usb:[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}(:[^:\s]+)?")
"""A USB adapter by maker, product and, where there are several, serial number."""
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
    kind: Literal["modbus-tcp", "rtu-over-tcp", "rfc2217", "tcp-listen", "serial"]
    """Modbus/TCP; serial frames over TCP to a transparent serial server; the same to one that speaks RFC 2217, so that
    its line settings can be changed; serial frames over a connection that a DTU or serial server makes to the gateway;
    a serial port of the gateway."""
    gateway: Id
    host: str | None = None
    """Address of the meter or serial server; of ``tcp-listen`` the gateway's own address to listen at (default all)."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    device: str | None = None
    """Serial port: /dev/serial/by-id/... or usb:VID:PID:SERIAL on Linux, COM3 or usb:... on Windows."""
    baud: Baud = 9600
    parity: Parity = "N"
    stop_bits: StopBits = 1
    timeout_s: Annotated[float, Field(gt=0, le=60)] | None = None
    """Longest wait for an answer. Default 0.5 s on a serial line, 1 s over TCP. [s]"""
    gap_ms: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rest on the line between two requests beyond the protocol's own silence. [ms]"""
    in_flight: Annotated[int, Field(ge=1, le=16)] | None = None
    """Modbus/TCP questions that may be open at once. Default: what the page allows for a meter that has the connection
    to itself, else 1 (a gateway has one serial line behind it)."""
    tid_check: Literal["strict", "lenient"] = "strict"
    """``lenient`` for a gateway that does not return the transaction id of the question: unit, function and length
    must do, one question at a time, and the connection is made anew after each time-out."""
    broadcasts: tuple[Literal["time", "freeze"], ...] = ()
    """What may be told to all DL/T 645 meters of the line, once a day: the ``time`` (corrections up to five minutes),
    and to ``freeze`` their counters each midnight. The only frames that change anything in a meter; off by default."""
    echo: bool = False
    """The adapter plays back what we send: compare and drop it."""
    registration: str | None = None
    """What a DTU sends first when it dials in, as text or ``hex:...``: it says which line this is."""
    heartbeat: str | None = None
    """What a DTU sends now and then to keep its connection, as text or ``hex:...``: thrown away."""

    @field_validator("registration", "heartbeat")
    @classmethod
    def _packet(cls, text: str | None) -> str | None:
        if text is not None:
            packet_bytes(text)
        return text

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "serial":
            if not self.device:
                raise ValueError("a serial line needs 'device'; on Linux use the name under /dev/serial/by-id/")
            if self.host or self.port:
                raise ValueError("'host' and 'port' belong to TCP lines; for a serial server use kind: rtu-over-tcp")
            if self.device.startswith("usb:") and not USB_DEVICE.fullmatch(self.device):
                raise ValueError(
                    f"{self.device!r} names no USB adapter; write usb:VID:PID:SERIAL, such as usb:0403:6001:A50285BI"
                )
        elif self.kind == "tcp-listen":
            if not self.port:
                raise ValueError("a tcp-listen line needs 'port'; it is the one the DTU dials in to")
        elif not self.host:
            raise ValueError(f"a {self.kind} line needs 'host'; give the address of the meter or serial server")
        elif self.kind == "rfc2217" and not self.port:
            raise ValueError("an rfc2217 line needs 'port'; it is the telnet port of the serial server's line")
        if self.kind != "serial" and self.device:
            raise ValueError("'device' belongs to serial lines; remove it")
        if self.kind != "tcp-listen" and (self.registration or self.heartbeat):
            raise ValueError("'registration' and 'heartbeat' belong to lines of kind: tcp-listen; remove them")
        if self.kind != "modbus-tcp" and (self.in_flight is not None or self.tid_check != "strict"):
            raise ValueError("'in_flight' and 'tid_check' belong to lines of kind: modbus-tcp; remove them")
        if self.tid_check == "lenient" and (self.in_flight or 1) > 1:
            raise ValueError("without transaction ids only one question can be open; remove 'in_flight'")
        if self.kind == "modbus-tcp" and self.broadcasts:
            raise ValueError("'broadcasts' are for DL/T 645 meters, which hang on serial lines; remove it")
        if self.kind == "modbus-tcp" and self.echo:
            raise ValueError("'echo' belongs to serial lines; a Modbus/TCP connection has none: remove it")
        return self

    @property
    def tcp_port(self) -> int:
        """The port to connect to, or to listen at (502 unless said otherwise)."""
        return self.port or 502

    @property
    def settings(self) -> LineSettings:
        """Line settings of its meters, unless a meter says otherwise."""
        return LineSettings(self.baud, self.parity, self.stop_bits)

    @property
    def can_switch(self) -> bool:
        """Whether the gateway itself sets speed and parity, and so may change them from meter to meter."""
        return self.kind in ("serial", "rfc2217")

    @property
    def has_unstable_name(self) -> bool:
        """Whether its port may be another adapter after the next start: numbered in the order of finding."""
        return self.device is not None and re.fullmatch(r"/dev/tty(USB|ACM)\d+", self.device) is not None

    @property
    def where(self) -> str:
        """The port or address an electrician looks for."""
        if self.kind == "serial":
            return f"{self.device} {self.settings}"
        if self.kind == "tcp-listen":
            return f"port {self.tcp_port}" + (f" as {self.registration}" if self.registration else "")
        return f"{self.host}:{self.tcp_port}" + (f" {self.settings}" if self.kind == "rfc2217" else "")

    @property
    def answer_within_s(self) -> float:
        """Longest wait for an answer. [s]"""
        return self.timeout_s or (0.5 if self.kind == "serial" else 1.0)


class SignalSpan(Document):
    """What two values of an analog input mean: 4 and 20 mA, say, in the module's own counts."""

    raw: tuple[float, float]
    """As the module shows them."""
    value: tuple[float, float]
    """In the unit of the profile's point."""

    @model_validator(mode="after")
    def _has_a_slope(self) -> Self:
        if self.raw[0] == self.raw[1] or self.value[0] == self.value[1]:
            raise ValueError("both ends of the span are the same; give the values at 4 mA and at 20 mA")
        return self

    @property
    def slope(self) -> Fraction:
        """Value per step of the module."""
        (low, high), (least, most) = self.raw, self.value
        return (_decimal(most) - _decimal(least)) / (_decimal(high) - _decimal(low))

    @property
    def offset(self) -> Fraction:
        """Value at zero of the module."""
        return _decimal(self.value[0]) - self.slope * _decimal(self.raw[0])


def _decimal(number: float) -> Fraction:
    """The number as it was written: 0.1 is a tenth."""
    return Fraction(repr(number))


class Ratio(Document):
    """What turns the values a meter shows into primary ones, in force from a date on."""

    valid_from: dt.date
    """From 00:00 of this day, plant time."""
    ct: str = "1"
    """Current transformer, as on its plate: "200/5"."""
    vt: str = "1"
    """Voltage transformer: "10000/100"."""
    ct_class: str = ""
    """Accuracy class of the current transformer: "0.5S"."""
    vt_class: str = ""
    pulses: str | None = None
    """Of a pulse counter: pulses per unit (K-factor), as on the plate of the meter that gives them: "450", "1/10"."""
    span: SignalSpan | None = None
    """Of an analog input."""
    correction: bool = False
    """True: the earlier entry was wrong all along (recomputed from this date); false: the transformer was exchanged."""
    by: str = ""
    reason: str = ""

    @field_validator("ct", "vt", "pulses")
    @classmethod
    def _fraction(cls, text: str | None) -> str | None:
        if text is not None:
            parse_ratio(text)
        return text

    def factor(self, kinds: str) -> Fraction:
        """What a displayed value is multiplied by; `kinds` is the measurand's `ratio` (``c``, ``v``, ``cv``)."""
        factor = parse_ratio(self.ct) if "c" in kinds else Fraction(1)
        if "v" in kinds:
            factor *= parse_ratio(self.vt)
        if self.pulses is not None:
            factor /= parse_ratio(self.pulses)
        return factor if self.span is None else factor * self.span.slope

    @property
    def offset(self) -> Fraction:
        """What is added after that, in the unit of the point; only an analog input has one."""
        return Fraction(0) if self.span is None else self.span.offset


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


class Exchange(Document):
    """One meter replaced by another at the same place of the plant (换表)."""

    removed: dt.datetime
    """When the old one was taken out; plant time unless it says otherwise."""
    installed: dt.datetime | None = None
    """When the new one began to count; left out where it was done without a break."""
    old_end: Annotated[float, Field(ge=0)] | None = None
    """Last display of the old meter, in the unit of the account (kWh, m3 ...), as it stood there; no ratio applied."""
    new_start: Annotated[float, Field(ge=0)] | None = None
    """First display of the new one. Without both, what was used around the exchange is not known."""
    old_serial: str = ""
    by: str = ""
    reason: str = ""

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.installed is not None and self.installed < self.removed:
            raise ValueError("the new meter is installed before the old one is removed; check both times")
        return self

    def span_ns(self, zone: ZoneInfo) -> tuple[int, int]:
        """Removed, installed, UTC. [ns]"""
        ends = (self.removed, self.installed or self.removed)
        first, last = (round((t if t.tzinfo else t.replace(tzinfo=zone)).timestamp()) * 10**9 for t in ends)
        return first, last


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
    first_word: Annotated[int, Field(ge=0, le=0xFFFF)] = 0
    """Added to every address of a Modbus profile: which input of a module, where a model begins. [words]"""
    line: OwnLine = OwnLine()
    """Its own speed and parity, where they differ from the line's."""
    gap_ms: Annotated[int, Field(ge=0, le=5000)] = 0
    """Rest this one meter needs before each question, beyond what line and profile say. [ms]"""
    fed_by: Id | None = None
    """The meter upstream that also measures this one's energy."""
    rated: Annotated[float, Field(gt=0)] | None = None
    """Largest power (kW) or flow (m3/h, t/h) the connection can carry, primary."""
    nominal_v: Annotated[float, Field(gt=0)] = 230.0
    """Phase voltage that belongs here, primary. [V]"""
    idle: Annotated[float, Field(ge=0)] | None = None
    """Power or flow that is normal outside working time, primary; learnt where absent."""
    ratios: tuple[Ratio, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    """In order of time. They join the account's counter; other counters of the meter begin anew."""
    serial: str = ""
    accuracy_class: str = ""
    certificate: Certificate = Certificate()

    def settings_on(self, bus: Bus) -> LineSettings:
        """Speed and parity this meter is spoken to with."""
        return self.line.over(bus.settings)

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
