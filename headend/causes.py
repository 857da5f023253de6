"""One cause, one alarm: a cut line that silences twelve meters is one thing to repair, not twelve.

```
 gap m01 ┐
 gap m02 ├─ every meter of line-1 ─► Claim(bus, line-1) ┐
 gap m03 ┘                                              ├─ every line of gw-1 ─► Claim(gateway, gw-1) ─► plant
 gap m04 ─── every meter of line-2 ─► Claim(bus, ...)   ┘
```
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from analytics.findings import Finding
from meterline.plant import Plant


class Scope(StrEnum):
    """How much of the plant a finding speaks of."""

    METER = "meter"
    BUS = "bus"
    GATEWAY = "gateway"
    PLANT = "plant"


@dataclass(frozen=True, slots=True)
class Claim:
    """A finding and what it is about: one meter, or everything behind one cause.

    Attributes
    ----------
    scope, subject
        ``bus`` and the id of the bus, and so on.
    meters
        Everyone concerned, in the site file's order.
    """

    scope: Scope
    subject: str
    meters: tuple[str, ...]
    finding: Finding


def claims_of(
    findings: Iterable[Finding], plant: Plant, *, looked: Collection[str], gone: Collection[str] = ()
) -> list[Claim]:
    """Put silences with one cause together; every other finding is a claim of its own.

    Parameters
    ----------
    findings
        Of one pass over the plant.
    looked
        The meters the pass examined; a meter that was not examined neither makes a line silent nor saves it.
    gone
        Gateways that are known to be away (no health message): the cause is the gateway even if it has one line only.
    """
    claims: list[Claim] = []
    silent: dict[str, Finding] = {}
    for finding in findings:
        if finding.kind == "gap" and finding.end_ns is None and finding.meter in plant.meters:
            silent[finding.meter] = finding
        else:
            claims.append(Claim(Scope.METER, finding.meter, (finding.meter,), finding))
    for scope, subject, meters in _widest_first(plant, looked, gone):
        if all(meter in silent for meter in meters):
            claims.append(_common(scope, subject, meters, silent))
            for meter in meters:
                del silent[meter]
    claims += [Claim(Scope.METER, meter, (meter,), finding) for meter, finding in silent.items()]
    return claims


def _widest_first(
    plant: Plant, looked: Collection[str], gone: Collection[str]
) -> list[tuple[Scope, str, tuple[str, ...]]]:
    """Everything that can fail as a whole, with its meters; a whole of one part is called by the part's name."""
    lines = {bus: tuple(m.id for m in plant.meters_on(bus) if m.id in looked) for bus in plant.buses}
    lines = {bus: meters for bus, meters in lines.items() if meters}
    boxes: dict[str, list[str]] = {}
    for bus in lines:
        boxes.setdefault(plant.buses[bus].gateway, []).append(bus)
    wholes: list[tuple[Scope, str, tuple[str, ...]]] = []
    if len(boxes) > 1:
        wholes.append((Scope.PLANT, plant.site.site.id, tuple(m for meters in lines.values() for m in meters)))
    wholes += [
        (Scope.GATEWAY, box, tuple(m for bus in buses for m in lines[bus]))
        for box, buses in boxes.items()
        if len(buses) > 1 or box in gone
    ]
    wholes += [(Scope.BUS, bus, meters) for bus, meters in lines.items() if len(meters) > 1]
    return [whole for whole in wholes if whole[2]]


def _common(scope: Scope, subject: str, meters: tuple[str, ...], silent: Mapping[str, Finding]) -> Claim:
    """All are silent since the last one fell silent; the evidence says how long each has been."""
    members = [silent[meter] for meter in meters]
    last = max(members, key=lambda finding: finding.start_ns)
    finding = Finding(
        kind="gap",
        meter=meters[0],
        start_ns=last.start_ns,
        end_ns=None,
        severity=max((f.severity for f in members), key=lambda severity: severity.rank),
        confidence=max(f.confidence for f in members),
        evidence={"silent_meters": len(meters), "first_silent_ns": min(f.start_ns for f in members)},
        detected_ns=max(f.detected_ns for f in members),
    )
    return Claim(scope, subject, meters, finding)
