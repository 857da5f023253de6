"""What is claimed of the meters of a fleet, while it grows: one claim for one thing, echoes left out.

A claim begins when it is certain and grows while its cause lasts. What a later claim explains (a noisy channel moves
the shares of the phases) is an echo and is left out at the end, not forgotten: a person may ask what was thought.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from analytics.findings import MOST_POINTS, Evidence

NEAR = 8
"""Claims of one kind at one meter so few polls apart are one (two hours of quarters)."""
HIDES: Mapping[str, tuple[str, ...]] = {
    "word_swap": ("spike", "noise", "stuck", "zero", "phase_voltage_loss", "phase_current_loss", "phase_reversal"),
    "noise": ("spike", "phase_current_loss", "phase_reversal"),
    "stuck": ("zero", "noise", "phase_current_loss", "duplicate_ts"),
    "zero": ("stuck", "phase_current_loss"),
    "phase_voltage_loss": ("phase_current_loss", "noise", "stuck"),
    "phase_reversal": ("phase_current_loss", "noise", "counter_backwards"),
    "phase_current_loss": ("noise",),
    "counter_reset": ("noise", "spike"),
    "counter_backwards": ("noise", "spike"),
    "counter_rollover": ("noise", "spike"),
    "gap": ("noise",),
}
"""What a finding explains: claims of these kinds that lie for the most part inside it are its echoes."""
FORGET = 1000
"""A claim that has not grown for so many polls is over, and no run that a later claim may name began before it."""


@dataclass
class Mark:
    """A claim in slots, before it becomes a finding.

    Attributes
    ----------
    meter : int
        Row of the meter in its fleet.
    kind : str
    first, last : int
        First and last affected slot, counted from the epoch.
    seen : int
        The slot whose readings made the claim possible.
    seen_ns : int
        When the last of these readings arrived. [ns]
    confidence : float
        0..1.
    evidence : dict
        Numbers; ``traces`` hold the arrays while they grow.
    energy_kwh : float or None
    readings : int
        How often it was claimed.
    withdrawn : bool
        It turned out to be part of another claim.
    """

    meter: int
    kind: str
    first: int
    last: int
    seen: int
    seen_ns: int
    confidence: float
    evidence: dict[str, float | int | str | tuple[float | None, ...]]
    energy_kwh: float | None = None
    traces: dict[str, list[float]] = field(default_factory=dict)
    readings: int = 0
    withdrawn: bool = False

    def trace(self, values: Mapping[str, float]) -> None:
        """Add a point to the arrays of the evidence; the first day of it is kept."""
        for name, value in values.items():
            points = self.traces.setdefault(name, [])
            if len(points) < MOST_POINTS:
                points.append(float(value))

    def whole_evidence(self) -> Evidence:
        """Numbers and arrays together, None for NaN."""
        arrays = {name: tuple(None if v != v else v for v in points) for name, points in self.traces.items()}
        return {**self.evidence, "readings": self.readings, **arrays}


class Ledger:
    """The claims of a fleet."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self.latest: dict[tuple[int, str], Mark] = {}

    def claim(
        self,
        meter: int,
        kind: str,
        first: int,
        last: int,
        seen: int,
        seen_ns: int,
        confidence: float,
        evidence: Evidence,
        *,
        kwh: float | None = None,
        near: int = NEAR,
        trace: Mapping[str, float] | None = None,
    ) -> Mark:
        """Make a claim, or let the one that is there grow."""
        mark = self.latest.get((meter, kind))
        if mark is None or mark.withdrawn or first - mark.last > near:
            mark = Mark(meter, kind, first, last, seen, seen_ns, confidence, dict(evidence), kwh)
            self.marks.append(mark)
            self.latest[meter, kind] = mark
        else:
            mark.last = max(mark.last, last)
            if kwh is not None:
                mark.energy_kwh = (mark.energy_kwh or 0.0) + kwh
        mark.readings += 1
        if trace is not None:
            mark.trace(trace)
        return mark

    def drain(self, now: int) -> list[Mark]:
        """Hand over the claims that are over, echoes left out, and forget them.

        Parameters
        ----------
        now : int
            The slot that was judged last.
        """
        over = [mark for mark in self.marks if mark.withdrawn or now - mark.last > FORGET]
        if not over:
            return []
        gone = {id(mark) for mark in over}
        said = [mark for mark in without_echoes(self.marks) if id(mark) in gone]
        self.marks = [mark for mark in self.marks if id(mark) not in gone]
        self.latest = {key: mark for key, mark in self.latest.items() if id(mark) not in gone}
        return said


def without_echoes(marks: Iterable[Mark]) -> list[Mark]:
    """Leave out what was withdrawn and what another claim at the same meter explains."""
    by_meter: dict[int, list[Mark]] = {}
    for mark in marks:
        if not mark.withdrawn:
            by_meter.setdefault(mark.meter, []).append(mark)
    return [mark for own in by_meter.values() for mark in own if not _is_echo(mark, own)]


def _is_echo(mark: Mark, others: Sequence[Mark]) -> bool:
    return any(
        _explains(other, mark) and not (_explains(mark, other) and _weight(mark) > _weight(other)) for other in others
    )


def _explains(other: Mark, mark: Mark) -> bool:
    if mark.kind not in HIDES.get(other.kind, ()):
        return False
    shared = min(mark.last, other.last + NEAR) - max(mark.first, other.first - NEAR) + 1
    return 2 * shared >= mark.last - mark.first + 1


def _weight(mark: Mark) -> tuple[int, float]:
    """Of two claims that could each explain the other, the longer one does."""
    return mark.last - mark.first, mark.confidence
