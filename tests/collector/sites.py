"""Small plants for the tests of the collector, written as an electrician would write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meterline.paths import profiles_dir
from meterline.plant import Plant
from meterline.profiles import ModbusProfile, Profile, load_profiles
from meterline.readings import MissingSpan, Poll
from meterline.site import Site

SHIPPED: dict[str, Profile] = load_profiles(profiles_dir())
MODBUS: dict[str, ModbusProfile] = {name: page for name, page in SHIPPED.items() if isinstance(page, ModbusProfile)}


def plant(bus: dict[str, Any], *meters: dict[str, Any], profiles: Mapping[str, Profile] | None = None) -> Plant:
    """One energy user, one bus, some meters; each meter names its profile and address, and what else matters."""
    title = {"en": "x", "zh": "x"}
    site = Site.model_validate_json(
        _json(
            {
                "site": {"id": "works", "name": title},
                "energy_users": [{"id": "all", "name": title, "level": "organisation"}],
                "buses": [{"id": "line", "gateway": "gw", **bus}],
                "meters": [
                    {"id": f"m{n}", "name": title, "energy_user": "all", "bus": "line", "address": str(n), **meter}
                    for n, meter in enumerate(meters, start=1)
                ],
            }
        )
    )
    return Plant(site, SHIPPED | dict(profiles or {}))


def _json(data: dict[str, Any]) -> bytes:
    import json

    return json.dumps(data).encode()


class Collected:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.polls: list[Poll] = []
        self.spans: list[MissingSpan] = []

    def poll(self, poll: Poll) -> None:
        self.polls.append(poll)

    def missing(self, span: MissingSpan) -> None:
        self.spans.append(span)

    def values(self, meter: str) -> dict[str, str]:
        """The newest value of each measurand of a meter, as exact decimals."""
        newest: dict[str, str] = {}
        for poll in self.polls:
            if poll.meter == meter:
                newest |= {reading.measurand: str(reading.value) for reading in poll.readings()}
        return newest
