"""Found, missed, false: findings against labels, event by event.

A finding *matches* a label when at least `MIN_OVERLAP` of the finding lies inside that label widened by `TOLERANCE_S`:
an alarm that covers everything matches nothing but labels of its own size. A label is found when a finding matches it;
precision counts found labels against wrong findings, so that fragments of one event neither pay nor cost. *Strict*
counts a label as found only when a matching finding has the right name. What lies mostly in labels or in ignored time
(the echo of a fault elsewhere) and matches nothing is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE_S = 3600.0
MERGE_S = 3600.0
MIN_OVERLAP = 0.3
USE = (
    "drift", "base_load", "leak", "off_hours", "missing_cycle", "unusual_level", "unusual_shape", "theft",
    "sum_mismatch",
)  # fmt: skip
"""Kinds that are about the use of energy; all others are about meters."""


@dataclass(frozen=True, slots=True)
class Label:
    """An event that is there.

    Attributes
    ----------
    start_s, end_s : float
        First and last affected reading. [s]
    also : frozenset of str
        Other names that are right.
    ignore : bool
        Neither right nor wrong.
    """

    meter: str
    kind: str
    start_s: float
    end_s: float
    also: frozenset[str] = frozenset()
    ignore: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A finding, as far as it is scored."""

    meter: str
    kind: str
    start_s: float
    end_s: float
    known_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one label.

    Attributes
    ----------
    found, named : bool
    delay_s : float
        From its start to the earliest matching finding's time of knowing; NaN when missed.
    """

    label: Label
    found: bool
    named: bool
    delay_s: float


@dataclass(frozen=True)
class Scores:
    """Labels with what became of them, and what was said in vain, meter by meter."""

    outcomes: tuple[Outcome, ...]
    false: tuple[Said, ...]
    misnamed: tuple[tuple[str, str], ...]
    """(meter, name) of matching findings under a wrong name, one for each name and label."""

    @property
    def recall(self) -> float:
        return _share(sum(o.found for o in self.outcomes), len(self.outcomes))

    @property
    def f1(self) -> float:
        found = sum(o.found for o in self.outcomes)
        return _f1(found, len(self.false), len(self.outcomes))

    @property
    def strict_f1(self) -> float:
        named = sum(o.named for o in self.outcomes)
        return _f1(named, len(self.false) + len(self.misnamed), len(self.outcomes))

    def of_meters(self, meters: Sequence[str]) -> Scores:
        """The same for some meters; a meter named twice counts twice (bootstrap)."""
        outcomes: list[Outcome] = []
        false: list[Said] = []
        misnamed: list[tuple[str, str]] = []
        for meter in meters:
            outcomes += [o for o in self.outcomes if o.label.meter == meter]
            false += [f for f in self.false if f.meter == meter]
            misnamed += [m for m in self.misnamed if m[0] == meter]
        return Scores(tuple(outcomes), tuple(false), tuple(misnamed))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _f1(right: int, wrong: int, labels: int) -> float:
    precision, recall = (right / n if n else 0.0 for n in (right + wrong, labels))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def score(labels: Iterable[Label], said: Iterable[Said], only: frozenset[str] | None = None) -> Scores:
    """Score findings against labels.

    Parameters
    ----------
    labels : iterable of Label
    said : iterable of Said
    only : frozenset of str or None
        Only these kinds count: labels of others are ignored, findings of others (unless a counted label allows their
        name) are left out.
    """
    labels = list(labels)
    if only is not None:
        allowed = set(only).union(*(label.also for label in labels if label.kind in only and not label.ignore))
        said = [finding for finding in said if finding.kind in allowed]
    outcomes: list[Outcome] = []
    false: list[Said] = []
    misnamed: list[tuple[str, str]] = []
    by_meter: dict[str, tuple[list[Label], list[Said]]] = {}
    for label in labels:
        by_meter.setdefault(label.meter, ([], []))[0].append(label)
    for finding in said:
        by_meter.setdefault(finding.meter, ([], []))[1].append(finding)
    for meter in sorted(by_meter):
        all_labels, findings = by_meter[meter]
        counted = [label for label in all_labels if not label.ignore and (only is None or label.kind in only)]
        known = _union([(label.start_s - TOLERANCE_S, label.end_s + TOLERANCE_S) for label in all_labels])
        matches: list[tuple[Said, list[Label]]] = []
        for finding in _joined(findings):
            a, b = finding.start_s - 1.0, finding.end_s + 1.0
            hit = [
                label
                for label in counted
                if _inside(a, b, [(label.start_s - TOLERANCE_S, label.end_s + TOLERANCE_S)]) >= MIN_OVERLAP * (b - a)
            ]
            if hit:
                matches.append((finding, hit))
            elif _inside(a, b, known) < 0.5 * (b - a):
                false.append(finding)
        wrong = {
            (finding.kind, hit[0])
            for finding, hit in matches
            if not any(finding.kind == label.kind or finding.kind in label.also for label in hit)
        }
        misnamed += [(meter, kind) for kind, _ in wrong]
        for label in counted:
            mine = [finding for finding, hit in matches if label in hit]
            named = any(finding.kind == label.kind or finding.kind in label.also for finding in mine)
            delay = max(0.0, min(f.known_s for f in mine) - label.start_s) if mine else float("nan")
            outcomes.append(Outcome(label, bool(mine), named, delay))
    return Scores(tuple(outcomes), tuple(false), tuple(misnamed))


def _joined(findings: Sequence[Said]) -> list[Said]:
    """Findings of one kind that are close together, as one."""
    joined: list[Said] = []
    for finding in sorted(findings, key=lambda f: (f.kind, f.start_s)):
        last = joined[-1] if joined else None
        if last is not None and last.kind == finding.kind and finding.start_s - last.end_s <= MERGE_S:
            end, known = max(last.end_s, finding.end_s), min(last.known_s, finding.known_s)
            joined[-1] = Said(last.meter, last.kind, last.start_s, end, known)
        else:
            joined.append(finding)
    return joined


def _union(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    union: list[tuple[float, float]] = []
    for a, b in sorted(spans):
        if union and a <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], b))
        else:
            union.append((a, b))
    return union


def _inside(a: float, b: float, spans: Sequence[tuple[float, float]]) -> float:
    return sum(max(0.0, min(b, y) - max(a, x)) for x, y in spans)


def wilson(part: int, whole: int) -> tuple[float, float]:
    """95 % confidence interval of a share (score interval of Wilson).

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22 (1927).
    """
    if whole == 0:
        return 0.0, 1.0
    z = 1.959964
    share = part / whole
    middle = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z / (1 + z * z / whole) * np.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
    return max(0.0, middle - float(half)), min(1.0, middle + float(half))


def bootstrap(scores: Scores, meters: Sequence[str], seed: int = 1, draws: int = 300) -> dict[str, tuple[float, float]]:
    """95 % intervals of ``f1`` and ``strict_f1`` by drawing meters again and again (a meter's events stay together)."""
    rng = np.random.default_rng(seed)
    names = list(meters)
    drawn = [scores.of_meters([names[k] for k in rng.integers(len(names), size=len(names))]) for _ in range(draws)]
    return {
        name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
        for name, values in (("f1", [s.f1 for s in drawn]), ("strict_f1", [s.strict_f1 for s in drawn]))
    }
