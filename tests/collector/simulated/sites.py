"""Small sites for the tests of the simulated factory, with profiles of their own so that no shipped page decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meterline.documents import validate
from meterline.paths import profiles_dir
from meterline.plant import Plant
from meterline.profiles import ModbusProfile, Profile, load_profiles
from meterline.site import Site

MONDAY_NS = 1_779_062_400_000_000_000
"""2026-05-18 08:00 in Shanghai, a Monday. [ns]"""
CALENDAR = {"shifts": [{"from": "08:00", "to": "16:00"}, {"from": "16:00", "to": "21:00"}]}


def meter(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name, "name": {"en": name, "zh": name}, "energy_user": "works", "profile": "three-phase", "bus": "tcp",
        "address": "1", "rated": 100.0,
    } | more  # fmt: skip


def profile(name: str = "three-phase", **more: Any) -> ModbusProfile:
    page = {
        "profile": name, "revision": 1, "title": {"en": name, "zh": name}, "protocol": "modbus",
        "carrier": "electricity", "source": "made for the tests", "evidence": "unverified",
        "value_reference": "primary", "defaults": {"table": "input", "type": "float32", "order": "ABCD"},
        "points": [
            {"measurand": "voltage.l1n", "at": 0, "unit": "V"},
            {"measurand": "power.active.total", "at": 2, "unit": "W"},
            {"measurand": "energy.active.import", "at": 4, "type": "uint32", "unit": "kWh", "scale": 0.01},
        ],
    } | more  # fmt: skip
    return validate(page, ModbusProfile, f"{name}.yaml")


def plant(meters: list[dict[str, Any]], buses: list[dict[str, Any]], *profiles: Profile) -> Plant:
    site = validate(
        {
            "site": {"id": "works", "name": {"en": "Works", "zh": "工厂"}, "calendar": CALENDAR},
            "energy_users": [{"id": "works", "name": {"en": "Works", "zh": "工厂"}, "level": "organisation"}],
            "buses": buses,
            "meters": meters,
        },
        Site,
        "site.yaml",
    )
    pages = {page.profile: page for page in profiles or (profile(),)}
    return Plant(site, load_profiles(profiles_dir()) | pages)


def tcp_bus(port: int, kind: str = "modbus-tcp", name: str = "tcp") -> dict[str, Any]:
    return {"id": name, "kind": kind, "gateway": "gw", "host": "127.0.0.1", "port": port}


def serial_bus(path: Path, name: str = "line") -> dict[str, Any]:
    return {"id": name, "kind": "serial", "gateway": "gw", "device": str(path)}
