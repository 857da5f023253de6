"""What cannot work on a line: an address no meter can have there, settings it cannot change, an end used twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meterline.lines import LineSettings, packet_bytes
from meterline.profiles import Profile
from meterline.site import Bus, Meter

DLT645_BAUDS = (600, 1200, 2400, 4800, 9600, 19_200)
SPOKEN = {"dlt645": "DL/T 645", "cjt188": "CJ/T 188", "mbus": "M-Bus"}
EVERYWHERE = ("", "0.0.0.0", "::")


def address_problem(profile: Profile, kind: str, address: str) -> tuple[str, str] | None:
    """Why an address cannot be one of this protocol on a line of this kind, and what to write instead."""
    if profile.protocol == "dlt645":
        if not (address.isascii() and address.isdigit() and len(address) == 12):
            return (
                f"{address!r} is no DL/T 645 address",
                'write the twelve digits of the nameplate in quotes, zeros too, for example "000012345678"',
            )
        if address == "9" * 12:
            return (
                f"{address!r} is the DL/T 645 broadcast address: no meter answers it",
                "write the twelve digits of the nameplate",
            )
        return None
    if profile.protocol == "cjt188":
        if address.isascii() and address.isdigit() and len(address) == 14:
            return None
        return (
            f"{address!r} is no CJ/T 188 address",
            'write fourteen digits in quotes, the maker\'s code in front, for example "78330011223344"',
        )
    if profile.protocol == "mbus":
        if address.isascii() and address.isdigit() and 1 <= int(address) <= 250:
            return None
        return f"{address!r} is no M-Bus address", 'use "1" to "250", as set on the meter'
    low, high = (0, 255) if kind == "modbus-tcp" else (1, 247)
    if not (address.isascii() and address.isdigit() and low <= int(address) <= high):
        return f"{address!r} is no Modbus address on a {kind} line", f'use "{low}" to "{high}", as set on the meter'
    return None


def line_problem(profile: Profile, bus: Bus, settings: LineSettings | None = None) -> tuple[str, str] | None:
    """Why a meter of this type cannot be spoken to on this line, and what to do about it.

    Parameters
    ----------
    settings
        The meter's own settings; those of the bus if None.
    """
    settings = settings or bus.settings
    if profile.protocol == "modbus":
        return None
    spoken = SPOKEN[profile.protocol]
    if bus.kind == "modbus-tcp":
        return (
            f"{profile.profile} speaks {spoken}, which does not travel in Modbus/TCP frames",
            "set the serial server to pass bytes through (TCP server, transparent) and use kind: rtu-over-tcp",
        )
    if bus.can_switch and (settings.parity, settings.stop_bits) != ("E", 1):
        return (
            f"{profile.profile} speaks {spoken} with even parity and 1 stop bit, not {settings}",
            "give this meter settings of its own, for example line: {baud: 2400, parity: E}",
        )
    if bus.can_switch and profile.protocol == "dlt645" and settings.baud not in DLT645_BAUDS:
        return (
            f"{profile.profile} speaks {spoken}, which knows no {settings.baud} baud",
            f"use one of {', '.join(map(str, DLT645_BAUDS))}, as set on the meter (usually 2400)",
        )
    return None


def switch_problem(meter: Meter, bus: Bus) -> tuple[str, str] | None:
    """Why a meter cannot have line settings of its own on this line."""
    settings = meter.settings_on(bus)
    if bus.can_switch or settings == bus.settings:
        return None
    if bus.kind == "modbus-tcp":
        return (
            f"a {bus.kind} line has no settings ({settings}): they are the serial server's own",
            "remove 'line' here and set the serial server's port as the meter is set",
        )
    return (
        f"{meter.id} wants {settings}, but a {bus.kind} line stays as its serial server is set ({bus.settings})",
        "switch the serial server to RFC 2217 and use kind: rfc2217, or set all meters of the line alike",
    )


def bus_problems(buses: Iterable[Bus]) -> Iterator[tuple[str, str, str]]:
    """Lines that are one and the same, or doors that cannot tell their DTUs apart: (bus, problem, hint)."""
    ends: dict[tuple[str, ...], str] = {}
    doors: list[Bus] = []
    for bus in buses:
        if bus.kind == "tcp-listen":
            for other in doors:
                if wrong := _at_one_door(bus, other):
                    yield bus.id, *wrong
                    break
            doors.append(bus)
            continue
        end = (bus.gateway, str(bus.device)) if bus.kind == "serial" else (str(bus.host), str(bus.tcp_port))
        first = ends.setdefault(end, bus.id)
        if first != bus.id:
            yield bus.id, f"{bus.id} and {first} are the same line", "one line has one entry: put its meters on it"


def _at_one_door(bus: Bus, other: Bus) -> tuple[str, str] | None:
    if (bus.gateway, bus.tcp_port) != (other.gateway, other.tcp_port):
        return None
    if (bus.host or "") != (other.host or ""):
        if (bus.host or "") in EVERYWHERE or (other.host or "") in EVERYWHERE:
            return (
                f"{bus.id} and {other.id} listen at port {bus.tcp_port} of overlapping addresses",
                "give both the same 'host', or different ports",
            )
        return None
    if bus.registration is None or other.registration is None:
        return (
            f"{bus.id} and {other.id} listen at port {bus.tcp_port}, and one of them has no registration",
            "give each a 'registration' as set in its DTU, or its own port",
        )
    own, others = packet_bytes(bus.registration), packet_bytes(other.registration)
    if own == others:
        return (
            f"{bus.id} and {other.id} have one registration, {bus.registration!r}, at port {bus.tcp_port}",
            "give every DTU a registration of its own, in the DTU and here",
        )
    if own.startswith(others) or others.startswith(own):
        return (
            f"the registrations of {bus.id} and {other.id} begin alike: {bus.registration!r}, {other.registration!r}",
            "make them equally long, so that none is the beginning of another",
        )
    return None
