"""Pages and plants made for measuring: as many meters of one type as wanted, on as many lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable
from typing import Any

from meterline.measurands import MEASURANDS, Kind
from meterline.paths import profiles_dir
from meterline.plant import Plant
from meterline.profiles import Dlt645Profile, Profile, load_profile
from meterline.site import Site

FOUR_BLOCKS = frozenset({"0001FF00", "0201FF00", "0202FF00", "0203FF00"})
TITLE = {"en": "bench", "zh": "测试"}


def block_page(points: int, *, floats: bool) -> dict[str, Any]:
    """A Modbus page whose points lie side by side: one counter to nine gauges; 32-bit floats, or scaled integers."""
    electric = [
        row for row in MEASURANDS.values() if row.unit in ("V", "A", "kW", "kvar", "kVA", "kWh", "kvarh", "Hz", "1")
    ]
    gauges = [row for row in electric if row.kind is Kind.GAUGE and row.name != "flow.velocity"]
    counters = [row for row in electric if row.kind is Kind.COUNTER]
    wanted = gauges[: points - points // 10] + counters[: points // 10]
    rows, at = [], 0
    for row in wanted[:points]:
        wide = floats or row.kind is Kind.COUNTER
        kind = "float32" if floats else ("uint32" if wide else "int16")
        rows.append({"measurand": row.name, "unit": row.unit, "at": at, "type": kind})
        if not floats:
            rows[-1]["scale"] = 0.01
        at += 2 if wide else 1
    return {
        "profile": f"bench-{'floats' if floats else 'integers'}-{points}", "revision": 1, "title": TITLE,
        "protocol": "modbus", "carrier": "electricity", "source": "made for measuring", "evidence": "unverified",
        "value_reference": "primary", "points": rows,
    }  # fmt: skip


def four_blocks_page() -> dict[str, Any]:
    """The shipped DL/T 645 page, cut down to the four blocks of energies, voltages, currents and powers."""
    shipped = load_profile(profiles_dir() / "dlt645-2007-three-phase.yaml")
    assert isinstance(shipped, Dlt645Profile)
    points = tuple(point for point in shipped.points if point.block in FOUR_BLOCKS)
    page: dict[str, Any] = json.loads(
        shipped.model_copy(update={"profile": "bench-blocks", "points": points}).model_dump_json(exclude_none=True)
    )
    del page["memory"]
    page["probe"] = page.get("probe") or {"measurand": points[0].measurand, "between": [0, 1e9]}
    return page


def written(page: Mapping[str, Any], folder: Path) -> tuple[Path, Profile]:
    """A page as the file another process reads, and as we do."""
    file = folder / f"{page['profile']}.yaml"
    file.write_text(json.dumps(page), encoding="utf-8")  # JSON is YAML
    return file, load_profile(file)


def plant_of(profile: Profile, buses: list[dict[str, Any]], meters_a_bus: int) -> Plant:
    """So many meters of one type on each line; addresses 1, 2, 3 ..., of DL/T 645 the same as twelve digits."""
    width = 12 if profile.protocol == "dlt645" else 1
    site = {
        "site": {"id": "bench", "name": TITLE},
        "energy_users": [{"id": "all", "name": TITLE, "level": "organisation"}],
        "buses": [{"id": f"b{n}", "gateway": "bench", **bus} for n, bus in enumerate(buses)],
        "meters": [
            {"id": f"b{n}m{m}", "name": TITLE, "energy_user": "all", "profile": profile.profile, "bus": f"b{n}",
             "address": f"{m:0{width}d}", "rated": 1000.0}
            for n in range(len(buses))
            for m in range(1, meters_a_bus + 1)
        ],
    }  # fmt: skip
    return Plant(Site.model_validate_json(json.dumps(site)), {profile.profile: profile})


@contextmanager
def meters_in_a_process(module: str, *options: str) -> Iterator[str]:
    """Simulated meters beside us; gives what they said first: their port, or the path of their line."""
    with Popen([executable, "-m", module, *options], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            finally:
                process.kill()
