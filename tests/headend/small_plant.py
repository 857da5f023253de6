"""A plant small enough to keep in mind: two gateways, three lines, six meters."""

from __future__ import annotations

import datetime as dt

from meterline.paths import profiles_dir
from meterline.plant import Plant, Site
from meterline.profiles import load_profiles

T0 = int(dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC).timestamp()) * 10**9
"""A Monday, 16:00 in Jinan. [ns]"""
MINUTE = 60 * 10**9
HOUR = 60 * MINUTE


def small_site(**names: str) -> Site:
    def meter(number: str, user: str, bus: str, address: str, fed_by: str | None = "m-main") -> dict[str, object]:
        name = names.get(number.replace("-", "_"), f"Meter {number}")
        return {
            "id": number, "name": {"en": name, "zh": f"{name} 表"}, "energy_user": user, "bus": bus, "address": address,
            "profile": "eastron-sdm630", "fed_by": fed_by, "rated": 250,
        }  # fmt: skip

    return Site.model_validate(
        {
            "site": {"id": "jinan", "name": {"en": names.get("site", "Jinan works"), "zh": "济南工厂"}},
            "energy_users": (
                {"id": "works", "name": {"en": "Works", "zh": "全厂"}, "level": "organisation"},
                {"id": "press", "name": {"en": "Press shop", "zh": "冲压车间"}, "level": "sub_unit", "parent": "works"},
                {"id": "paint", "name": {"en": "Paint shop", "zh": "涂装车间"}, "level": "sub_unit", "parent": "works"},
            ),
            "buses": (
                {"id": "line-1", "kind": "modbus-tcp", "gateway": "gw-1", "host": "127.0.0.1", "port": 5020},
                {"id": "line-2", "kind": "serial", "gateway": "gw-1", "device": "/dev/ttyS1"},
                {"id": "line-3", "kind": "modbus-tcp", "gateway": "gw-2", "host": "127.0.0.1", "port": 5021},
            ),
            "meters": (
                meter("m-main", "works", "line-1", "1", None),
                meter("m-p1", "press", "line-1", "2"),
                meter("m-p2", "press", "line-2", "1"),
                meter("m-p3", "press", "line-2", "2"),
                meter("m-c1", "paint", "line-3", "1"),
                meter("m-c2", "paint", "line-3", "2"),
            ),
        }
    )


def small_plant(**names: str) -> Plant:
    return Plant(small_site(**names), load_profiles(profiles_dir()))
