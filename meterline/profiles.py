"""A meter type as a page a non-programmer can write: where its values are, and what they mean.

A profile states the maker's own words (addresses, data types, units) and binds each to a measurand of the closed
list. Vendor vocabulary lives here and nowhere else. What all pages share is in `meterline.profile_page`; each protocol
adds its own part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from meterline.documents import read_plain, validate
from meterline.errors import ConfigError, Problem
from meterline.profile_cjt188 import Cjt188Profile, FieldPoint
from meterline.profile_dlt645 import DailyFreeze, Dlt645Profile, ItemPoint, LoadRecords, Manners
from meterline.profile_mbus import MbusProfile, RecordPoint
from meterline.profile_modbus import (
    WORDS,
    CellPoint,
    Cells,
    DataType,
    Defaults,
    Limits,
    ModbusProfile,
    Order,
    Table,
)
from meterline.profile_page import Line, Point, Probe, Profile, Rate, Title, power_of_ten

__all__ = [
    "PROTOCOLS",
    "WORDS",
    "CellPoint",
    "Cells",
    "Cjt188Profile",
    "DailyFreeze",
    "DataType",
    "Defaults",
    "Dlt645Profile",
    "FieldPoint",
    "ItemPoint",
    "Limits",
    "Line",
    "LoadRecords",
    "Manners",
    "MbusProfile",
    "ModbusProfile",
    "Order",
    "Point",
    "Probe",
    "Profile",
    "Rate",
    "RecordPoint",
    "Table",
    "Title",
    "load_profile",
    "load_profiles",
    "power_of_ten",
]

AnyProfile = ModbusProfile | Dlt645Profile | Cjt188Profile | MbusProfile
PROTOCOLS: dict[str, type[AnyProfile]] = {
    "modbus": ModbusProfile,
    "dlt645": Dlt645Profile,
    "cjt188": Cjt188Profile,
    "mbus": MbusProfile,
}
"""``protocol`` of a page -> its model."""


def _shared_problems(profile: Profile, file: str) -> Iterator[Problem]:
    if profile.profile != Path(file).stem:
        yield Problem(file, "profile", f"{profile.profile!r} is not the file's name", f"name it {profile.profile}.yaml")
    seen: dict[str, int] = {}
    for index, point in enumerate(profile.points):
        if point.measurand in seen and point.enabled:
            place = f"points[{index}] ({point.measurand})"
            yield Problem(file, place, f"is also points[{seen[point.measurand]}]", "keep one of them")
        if point.enabled:
            seen[point.measurand] = index
    if all(profile.rate_of(p) in (Rate.HOURLY, Rate.DAILY) for p in profile.points if p.enabled) and seen:
        yield Problem(file, "points", "all are hourly or daily", "one needs rate: fast, normal or slow: it is the poll")
    if profile.probe and profile.point(profile.probe.measurand) is None:
        yield Problem(file, "probe.measurand", f"{profile.probe.measurand!r} is no enabled point of this profile")


def load_profile(path: Path) -> Profile:
    """Read one profile file.

    Raises
    ------
    ConfigError
        With every problem of the page.
    """
    file = str(path)
    data, lines = read_plain(path)
    protocol = data.get("protocol", "modbus") if isinstance(data, dict) else "modbus"
    model = PROTOCOLS.get(protocol) if isinstance(protocol, str) else None
    if model is None:
        raise ConfigError(
            [Problem(file, "protocol", f"no protocol {protocol!r} is spoken", f"there are: {', '.join(PROTOCOLS)}")]
        )
    profile = validate(data, model, file, lines)
    problems = [*_shared_problems(profile, file), *profile.problems(file)]
    if problems:
        raise ConfigError(problems)
    return profile


def load_profiles(*folders: Path) -> dict[str, Profile]:
    """Every profile of the folders by id; a later folder (the site's own) replaces an earlier one's page.

    Raises
    ------
    ConfigError
        With every problem of every page.
    """
    profiles: dict[str, Profile] = {}
    problems: list[Problem] = []
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            try:
                profile = load_profile(path)
            except ConfigError as error:
                problems += error.problems
            else:
                profiles[profile.profile] = profile
    if problems:
        raise ConfigError(problems)
    return profiles
