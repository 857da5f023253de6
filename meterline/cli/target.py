"""The line a person names: a bus of the site file, or a port or network address as it stands on the box."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meterline.documents import validate
from meterline.errors import ConfigError, Problem
from meterline.paths import profiles_dir
from meterline.plant import Plant, load_plant
from meterline.profiles import Profile, load_profiles
from meterline.site import Bus

SCHEMES = {
    "tcp": "modbus-tcp",
    "modbus-tcp": "modbus-tcp",
    "rtu-over-tcp": "rtu-over-tcp",
    "rfc2217": "rfc2217",
    "serial": "serial",
}
HINT = (
    "name a bus of the site file, or write /dev/ttyUSB0, COM3, modbus-tcp://HOST:502, rtu-over-tcp://HOST:PORT, "
    "rfc2217://HOST:PORT"
)


@dataclass(frozen=True)
class Target:
    """A line, and the plant it belongs to if it is one of a site file.

    Attributes
    ----------
    guessed
        Only ``tcp://`` or host and port were given: what travels there is to be found out.
    site
        The site file, where the line is one of it.
    """

    bus: Bus
    profiles: dict[str, Profile]
    plant: Plant | None = None
    site: Path | None = None
    guessed: bool = False

    @property
    def where(self) -> str:
        """The port or address, as a person looks for it."""
        return str(self.bus.device) if self.bus.kind == "serial" else f"{self.bus.host}:{self.bus.tcp_port}"


def target_of(
    text: str, site: Path | None, settings: dict[str, Any] | None = None, profiles: Path | None = None
) -> Target:
    """What a person means by ``BUS-or-URL``.

    Parameters
    ----------
    settings
        Line settings given beside it (baud, parity, stop_bits, timeout_s); None values are left out.
    profiles
        A further folder of profiles.

    Raises
    ------
    ConfigError
        It names no line.
    """
    extra = (profiles,) if profiles else ()
    own = {key: value for key, value in (settings or {}).items() if value is not None}
    described = _described(text)
    if described is not None:
        where, guessed = described
        data = {"id": "line", "gateway": "here"} | where | own
        bus = validate(data, Bus, "command line")
        return Target(bus, load_profiles(profiles_dir(), *extra), guessed=guessed)
    path = site or Path("site.yaml")
    if not path.exists() and site is None:
        raise ConfigError(
            [Problem("command line", "BUS", f"{text!r} is no line, and there is no site.yaml here", HINT)]
        )
    plant = load_plant(path, profiles_dir(), *extra)
    found = plant.buses.get(text)
    if found is None:
        there = ", ".join(plant.buses) or "none"
        raise ConfigError([Problem(str(path), "buses", f"no bus {text!r}", f"there are: {there}; or {HINT}")])
    return Target(found.model_copy(update=own), plant.profiles, plant, path)


def _described(text: str) -> tuple[dict[str, Any], bool] | None:
    """Keys of a bus that a name describes by itself, and whether the framing is a guess; None for an id."""
    scheme, colon, rest = text.partition("://")
    if not colon:
        if re.fullmatch(r"/dev/.+|COM[0-9]+|usb:.+|\.{0,2}/.+|.+\.tty", text):
            return {"kind": "serial", "device": text}, False
        if re.fullmatch(r"[\w.-]+:[0-9]+|\[[0-9a-fA-F:]+\]:[0-9]+|[0-9]+(\.[0-9]+){3}", text):
            scheme, rest = "tcp", text
        else:
            return None
    if scheme not in SCHEMES:
        raise ConfigError([Problem("command line", "BUS", f"no line of kind {scheme!r}", HINT)])
    if scheme == "serial":
        return {"kind": "serial", "device": rest}, False
    host, found, port = rest.rpartition(":")
    if not found:
        host, port = rest, "502"
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ConfigError([Problem("command line", "BUS", f"{rest!r} is no address", "write HOST:PORT")])
    return {"kind": SCHEMES[scheme], "host": host.strip("[]"), "port": int(port)}, scheme == "tcp"
