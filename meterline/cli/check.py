"""``meterline check``: everything a person wrote, read as the services would read it, without opening a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from meterline.cli.plan import check_capacity
from meterline.cli.screen import Screen
from meterline.commission_record import proofs
from meterline.documents import parse_yaml
from meterline.errors import ConfigError, Problem
from meterline.paths import profiles_dir, sites_dir
from meterline.plant import Plant, load_plant
from meterline.profiles import load_profile, load_profiles
from meterline.settings import load_gateway, load_headend

Kind = Literal["site", "gateway", "headend", "profile"]


def check(screen: Screen, paths: list[Path], profiles: Path | None) -> None:
    """Check the files and print what they contain.

    Raises
    ------
    ConfigError
        With every problem of every file.
    """
    paths = paths or _default(screen)
    problems: list[Problem] = []
    report: dict[str, Any] = {"ok": True, "sites": [], "gateways": [], "headends": [], "profiles": 0, "warnings": []}
    extra = (profiles,) if profiles else ()
    known: set[str] = set()
    try:
        if profiles and not profiles.is_dir():
            raise ConfigError([Problem(str(profiles), "", "there is no such folder", "check the path")])
        known |= set(load_profiles(profiles_dir(), *extra))
    except ConfigError as error:
        problems += error.problems
    files = 0
    for path, kind in _kinds(paths, problems):
        files += 1
        try:
            known |= _check_one(path, kind, extra, report)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    report["profiles"] = len(known)
    _print(screen, report, files)


def _default(screen: Screen) -> list[Path]:
    here = Path()
    if any(here.glob(pattern) for pattern in ("site*.yaml", "gateway*.yaml", "headend*.yaml")) and _documents(here):
        return [here]
    screen.warn("check.nothing_here", folder=here.resolve())
    try:
        return sorted(path for path in sites_dir().iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _documents(folder: Path) -> list[Path]:
    found = [
        path for pattern in ("site*.yaml", "gateway*.yaml", "headend*.yaml") for path in sorted(folder.glob(pattern))
    ]
    return found + sorted((folder / "profiles").glob("*.yaml"))


def _kinds(paths: Iterable[Path], problems: list[Problem]) -> Iterable[tuple[Path, Kind]]:
    """Each file with what it is, told by its content: people rename files."""
    for path in paths:
        if path.is_dir():
            inside = _documents(path)
            if not inside:
                problems.append(
                    Problem(str(path), "", "there is no site, gateway or head-end file in it", "name a file")
                )
            yield from _kinds(inside, problems)
            continue
        try:
            data, _ = parse_yaml(_read(path), str(path))
        except ConfigError as error:
            problems += error.problems
            continue
        kind = _kind_of(data)
        if kind is None:
            problems.append(
                Problem(
                    str(path), "", "is neither a site, a gateway, a head-end nor a profile file",
                    "a site has 'site:', a gateway 'gateway:', a head-end 'gateways:', a profile 'profile:'",
                )
            )  # fmt: skip
        else:
            yield path, kind


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError([Problem(str(path), "", "there is no such file", "check the path")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "", "is not UTF-8 text", "save it as UTF-8")]) from error
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), "", f"cannot be read: {error.strerror}", "check its permissions")]
        ) from error


def _kind_of(data: object) -> Kind | None:
    if not isinstance(data, dict):
        return None
    if "profile" in data:
        return "profile"
    if "gateways" in data:
        return "headend"
    if isinstance(data.get("gateway"), str):
        return "gateway"
    return "site" if {"site", "energy_users", "meters"} & set(data) else None


def kind_of_file(path: Path) -> Kind | None:
    """What a file is, told by its content.

    Raises
    ------
    ConfigError
        It cannot be read.
    """
    return _kind_of(parse_yaml(_read(path), str(path))[0])


def _check_one(path: Path, kind: Kind, extra: tuple[Path, ...], report: dict[str, Any]) -> set[str]:
    if kind == "profile":
        return {load_profile(path).profile}
    if kind == "site":
        plant = load_plant(path, profiles_dir(), *extra)
        report["sites"].append(_site(path, plant))
        report["warnings"] += [
            {"warning": "check.unstable_port", "values": {"file": str(path), "bus": bus.id, "device": bus.device}}
            for bus in plant.site.buses
            if bus.has_unstable_name
        ]
        return set(plant.profiles)
    if kind == "gateway":
        gateway = load_gateway(path)
        buses = [bus for bus in gateway.plant.site.buses if bus.gateway == gateway.id]
        broker = gateway.file.broker
        report["warnings"] += check_capacity(gateway, str(path))
        report["gateways"].append(
            {
                "file": str(path),
                "gateway": gateway.id,
                "buses": len(buses),
                "meters": sum(len(gateway.plant.meters_on(bus.id)) for bus in buses),
                "broker": f"{broker.host}:{broker.port}",
            }
        )
        return set(gateway.plant.profiles)
    headend = load_headend(path)
    broker = headend.file.broker
    report["headends"].append(
        {
            "file": str(path),
            "gateways": len(headend.file.gateways),
            "meters": len(headend.plant.meters),
            "broker": f"{broker.host}:{broker.port}",
            "recipients": len(headend.file.alerts.recipients),
        }
    )
    return set(headend.plant.profiles)


def _site(path: Path, plant: Plant) -> dict[str, Any]:
    from collector import plan_of

    requests = {name: len(plan_of(plant.profiles[name]).blocks) for name in {m.profile for m in plant.site.meters}}

    def points(meters: Iterable[Any]) -> int:
        return sum(1 for m in meters for point in plant.profile_of(m).points if point.enabled)

    return {
        "file": str(path),
        "proven": sorted(proofs(path, {id_: plant.profile_of(meter) for id_, meter in plant.meters.items()})),
        "site": plant.site.site.id,
        "name": plant.site.site.name.model_dump(),
        "energy_users": len(plant.energy_users),
        "meters": len(plant.meters),
        "points": points(plant.meters.values()),
        "buses": [
            {
                "bus": bus.id,
                "kind": bus.kind,
                "line": bus.where,
                "gateway": bus.gateway,
                "meters": len(plant.meters_on(bus.id)),
                "points": points(plant.meters_on(bus.id)),
                "requests": sum(requests[meter.profile] for meter in plant.meters_on(bus.id)),
            }
            for bus in plant.site.buses
        ],
    }


def _print(screen: Screen, report: dict[str, Any], files: int) -> None:
    screen.json(report)
    for site in report["sites"]:
        screen.say(
            "check.site",
            file=site["file"],
            name=site["name"][screen.lang],
            users=site["energy_users"],
            buses=len(site["buses"]),
            meters=site["meters"],
            points=site["points"],
        )
        screen.table(
            ("head.bus", "head.line", "head.meters", "head.points", "head.requests"),
            [
                (bus["bus"], f"{bus['kind']} {bus['line']}", bus["meters"], bus["points"], bus["requests"])
                for bus in site["buses"]
            ],
            right=(2, 3, 4),
        )
        if site["proven"]:
            screen.say("check.proven", count=len(site["proven"]), of=site["meters"], meters=", ".join(site["proven"]))
    for gateway in report["gateways"]:
        screen.say("check.gateway", **(gateway | {"name": gateway["gateway"]}))
    for headend in report["headends"]:
        screen.say("check.headend", **headend)
    for warning in report["warnings"]:
        screen.warn(warning["warning"], **warning["values"])
    screen.say("check.fine", style="green", files=files, profiles=report["profiles"])
