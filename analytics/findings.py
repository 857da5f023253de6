"""What a detector says: `Finding`. The words for mail and page are in `kinds`.

A finding is a claim with its evidence: what was expected, what was seen, over which span, how sure, and what to look at
first. The kinds have the names that the labelled data sets use, so that what is said and what is scored is one word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from analytics.kinds import KINDS, Kind, Severity, Words

__all__ = ["KINDS", "Evidence", "Finding", "Kind", "Severity", "Words", "merge", "thinned"]

Evidence = Mapping[str, float | int | str | tuple[float | None, ...]]
MOST_POINTS = 96
"""Longest evidence array; longer ones are thinned evenly. A day of quarters."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong, with a meter or with the use of energy.

    Attributes
    ----------
    kind : str
        A key of `KINDS`.
    meter : str
        Id of the meter it was seen at.
    start_ns, end_ns : int, int or None
        The affected span, half-open, UTC; `end_ns` None while it lasts. [ns]
    severity : Severity
    confidence : float
        0..1: how often such evidence means this kind, as judged by the method's page.
    evidence : mapping of str to number, text or tuple of numbers
        Small: what was expected and what was seen (``expected_kw``, ``seen_kw``, ``t_ns`` ...), JSON-able.
    energy_kwh : float or None
        Energy that is in doubt, or that was used without need; None where the kind has none. Hours of the meter's power
        unit: kWh, for a flow the amount itself. [kWh, m3, t]
    detected_ns : int
        Time of the last sample the claim needs: an earlier cut of the data would not have shown it. [ns]
    """

    kind: str
    meter: str
    start_ns: int
    end_ns: int | None
    severity: Severity
    confidence: float
    evidence: Evidence = field(default_factory=dict)
    energy_kwh: float | None = None
    detected_ns: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of finding; known: {', '.join(KINDS)}")
        if not self.evidence:
            raise ValueError(f"a finding without evidence: {self.kind} at {self.meter}")

    def same_as(self, other: Finding, within_ns: int) -> bool:
        """Whether both speak of one thing: same kind, same meter, spans not further apart than `within_ns`."""
        if (self.kind, self.meter) != (other.kind, other.meter):
            return False
        mine = self.end_ns if self.end_ns is not None else 2**62
        theirs = other.end_ns if other.end_ns is not None else 2**62
        return self.start_ns <= theirs + within_ns and other.start_ns <= mine + within_ns


def thinned(array: NDArray[np.generic] | Sequence[float]) -> tuple[float | None, ...]:
    """An evidence array of at most `MOST_POINTS` numbers, evenly picked, first and last included; None for NaN."""
    values = np.asarray(array)
    if values.size > MOST_POINTS:
        values = values[np.linspace(0, values.size - 1, MOST_POINTS).round().astype(np.int64)]
    return tuple(None if x != x else x for x in values.tolist())


def merge(findings: Iterable[Finding], within_ns: int = 0) -> list[Finding]:
    """Findings that speak of one thing become one: the earliest start, the latest end, the strongest evidence.

    Energies are not added: windows overlap, so the larger one is kept.
    """
    merged: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.meter, f.kind, f.start_ns)):
        last = merged[-1] if merged else None
        if last is None or not last.same_as(finding, within_ns):
            merged.append(finding)
            continue
        strongest = max(last, finding, key=lambda f: (f.severity.rank, f.confidence))
        ends = (last.end_ns, finding.end_ns)
        energies = [f.energy_kwh for f in (last, finding) if f.energy_kwh is not None]
        merged[-1] = replace(
            strongest,
            start_ns=last.start_ns,
            end_ns=None if None in ends else max(end for end in ends if end is not None),
            energy_kwh=max(energies, default=None),
            detected_ns=min(last.detected_ns, finding.detected_ns),
        )
    return sorted(merged, key=lambda f: (f.start_ns, f.meter, f.kind))
