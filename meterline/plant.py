"""A site as its people know it: who uses energy, which meter feeds which, on which line it hangs, with what ratio.

One ``site.yaml`` describes a plant; gateway and head-end read the same file, so that a meter has one name everywhere.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from meterline.documents import read_document
from meterline.errors import ConfigError, Problem
from meterline.measurands import MEASURANDS, Carrier, Kind
from meterline.profiles import ModbusProfile, Profile, load_profiles
from meterline.site import (
    Benchmark,
    Bus,
    Calendar,
    Certificate,
    EnergyUser,
    Id,
    Meter,
    Output,
    Product,
    Ratio,
    Shift,
    Site,
    SiteInfo,
    parse_ratio,
)
from meterline.site_rules import site_problems

__all__ = [
    "Benchmark",
    "Bus",
    "Calendar",
    "Certificate",
    "EnergyUser",
    "Id",
    "Meter",
    "Output",
    "Plant",
    "Product",
    "Ratio",
    "Shift",
    "Site",
    "SiteInfo",
    "load_plant",
    "parse_ratio",
]


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
        self._moved: dict[tuple[str, int], Profile] = {}

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
        """The page of a meter's type, its addresses moved to where this meter has them."""
        page = self.profiles[meter.profile]
        if not meter.first_word or not isinstance(page, ModbusProfile):
            return page
        moved = self._moved.get((meter.profile, meter.first_word))
        if moved is None:
            moved = self._moved[meter.profile, meter.first_word] = page.moved_by(meter.first_word)
        return moved

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

    def primary_offset(self, meter: Meter, measurand: str, day: dt.date) -> Fraction:
        """What is added to the multiplied value on a day: the zero of an analog input, else nothing."""
        if self.profile_of(meter).value_reference == "primary" or MEASURANDS[measurand].kind is not Kind.GAUGE:
            return Fraction(0)
        ratio = meter.ratio_at(day)
        return ratio.offset if ratio else Fraction(0)


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
    problems += site_problems(site, profiles if not problems else None, str(path), lines)
    if problems:
        raise ConfigError(problems)
    return Plant(site, profiles)
