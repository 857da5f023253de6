"""``meterline plan``: can the lines carry what the site wishes? Computed from the files; no line is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterline.cli.screen import Screen
from meterline.cli.texts import text
from meterline.errors import EXIT_FINE, EXIT_FOUND, ConfigError, Problem
from meterline.paths import profiles_dir
from meterline.plant import Plant, load_plant
from meterline.settings import GatewaySettings, Rates, load_gateway

if TYPE_CHECKING:
    from collector.capacity import BusProof


def plan(screen: Screen, path: Path | None, dead: int, turnaround_ms: float | None) -> int:
    """Print the proof of each bus.

    Returns
    -------
    int
        0 if every line keeps up, 1 if one probably does not.

    Raises
    ------
    ConfigError
        The files are wrong, or a line is asked for what no line of its speed can do.
    """
    from collector.capacity import prove

    plant, rates, file, gateway = _read(path)
    buses = [bus for bus in plant.site.buses if gateway in (None, bus.gateway)]
    turnaround_s = None if turnaround_ms is None else turnaround_ms / 1000
    proofs = [prove(bus, plant, rates, dead=dead, turnaround_s=turnaround_s) for bus in buses]
    screen.json(
        {
            "file": str(file),
            "rates": rates.model_dump(),
            "turnaround_ms": turnaround_ms,
            "buses": [_json(proof) for proof in proofs],
        }
    )
    if not screen.as_json:
        _table(screen, proofs, rates)
    impossible = list(impossible_wishes(proofs, str(file)))
    if impossible:
        raise ConfigError(impossible)
    return EXIT_FOUND if any(proof.too_slow for proof in proofs) else EXIT_FINE


def _read(path: Path | None) -> tuple[Plant, Rates, Path, str | None]:
    """The plant and its rates, from a gateway file, or from a site file with the usual rates."""
    if path is not None and path.is_dir():
        path = path / "gateway.yaml" if (path / "gateway.yaml").exists() else path / "site.yaml"
    if path is None:
        path = Path("gateway.yaml") if Path("gateway.yaml").exists() else Path("site.yaml")
    from meterline.cli.check import kind_of_file

    if kind_of_file(path) == "gateway":
        settings = load_gateway(path)
        return settings.plant, settings.file.rates, path, settings.id
    return load_plant(path, profiles_dir()), Rates(), path, None


def check_capacity(settings: GatewaySettings, file: str) -> list[dict[str, Any]]:
    """What ``check`` and the gateway's start say about the lines: warnings, as keys of sentences with their values.

    Raises
    ------
    ConfigError
        A line is asked for what no line of its speed can do.
    """
    from collector.capacity import prove

    plant = settings.plant
    proofs = [prove(bus, plant, settings.file.rates) for bus in plant.site.buses if bus.gateway == settings.id]
    impossible = list(impossible_wishes(proofs, file))
    if impossible:
        raise ConfigError(impossible)
    return [{"warning": key, "values": values} for key, values in doubtful_wishes(proofs)]


def impossible_wishes(proofs: list[BusProof], file: str) -> Iterator[Problem]:
    """Lines that cannot do what they are asked for even with meters that answer at once."""
    for proof in proofs:
        if proof.impossible:
            yield Problem(
                file,
                f"bus {proof.bus}",
                f"the line would be busy {proof.busy_at_least:.0%} of the time even if every meter answered at once",
                "ask more seldom (rates), raise the baud rate, or spread the meters over more lines",
            )


def doubtful_wishes(proofs: list[BusProof]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines that will probably skip slots, or have hardly any room: key of the sentence and its values."""
    for proof in proofs:
        if proof.too_slow and not proof.impossible:
            yield "plan.warn_too_slow", {"bus": proof.bus, "busy": f"{proof.busy:.0%}"}
        elif proof.is_tight:
            yield "plan.warn_tight", {"bus": proof.bus, "busy": f"{proof.busy:.0%}"}


def _json(proof: BusProof) -> dict[str, Any]:
    return {
        "bus": proof.bus,
        "line": proof.where,
        "meters": proof.meters,
        "points": proof.points,
        "rounds": [
            {
                "rates": sorted(one.rates),
                "every_s": round(one.every_s, 3),
                "requests": round(one.load.requests),
                "bytes": round(one.load.bytes),
                "wire_s": round(one.load.wire_s, 4),
                "wait_s": round(one.load.wait_s, 4),
                "takes_s": round(one.load.total_s, 4),
            }
            for one in proof.rounds
        ],
        "counters_s": round(proof.counters.total_s, 4),
        "utilisation": round(proof.busy, 4),
        "utilisation_at_least": round(proof.busy_at_least, 4),
        "dead_meters": proof.dead,
        "round_with_dead_first_s": round(proof.dead_first_s, 3),
        "round_with_dead_later_s": round(proof.dead_after_s, 3),
        "verdict": _verdict(proof),
    }


def _verdict(proof: BusProof) -> str:
    if proof.impossible:
        return "impossible"
    if proof.too_slow:
        return "too-slow"
    return "tight" if proof.is_tight else "fine"


def _table(screen: Screen, proofs: list[BusProof], rates: Rates) -> None:
    screen.say("plan.rates", fast=f"{rates.fast_s:g}", normal=f"{rates.normal_s:g}", slow=f"{rates.slow_s:g}")
    rows: list[tuple[object, ...]] = []
    for proof in proofs:
        full = proof.fullest
        rows.append(
            (
                proof.bus, proof.where, proof.meters, proof.points,
                f"{full.load.requests:.0f}" if full else "-",
                f"{full.load.wire_s:.2f}" if full else "-",
                f"{full.load.total_s:.2f}" if full else "-",
                f"{proof.counters.total_s:.2f}", f"{proof.dead_first_s:.2f}", f"{proof.dead_after_s:.2f}",
                f"{proof.busy:.0%}", text(f"plan.{_verdict(proof)}", screen.lang),
            )
        )  # fmt: skip
    heads = (
        "head.bus", "head.line", "head.meters", "head.points", "head.requests", "plan.wire", "plan.round",
        "plan.counters", "plan.dead_first", "plan.dead_after", "plan.busy", "plan.verdict",
    )  # fmt: skip
    screen.table(heads, rows, right=tuple(range(2, 11)))
    screen.say("plan.explained", dead=max((proof.dead for proof in proofs), default=0))
    for key, values in doubtful_wishes(proofs):
        screen.warn(key, **values)
