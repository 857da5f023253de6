"""Which page fits a meter that answers: ranked, with reasons, and an honest "cannot tell".

A page fits if the meter answers where the page says it should, with values that can be, and that agree with one
another: a power is the product of voltage, current and power factor only where addresses, types and scales are right.
Marks that a maker put there to be recognised by (SunSpec's, a type code) count more than any arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from collector.usual import is_usual, usual_range
from meterline.measurands import MEASURANDS, Kind
from meterline.profiles import Profile

Verdict = Literal["certain", "likely", "possible", "unclear", "unknown"]
"""How sure the best page is; ``unclear``: others fit as well; ``unknown``: none fits."""
PHASES = ("l1", "l2", "l3")
CLOSE = 0.9
"""A page whose score comes this near to the best one's fits as well."""
MANY = 8
"""So many plausible values that differ from zero speak for themselves."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks for or against a page.

    Attributes
    ----------
    code
        Stable word: ``mark``, ``probe``, ``answers``, ``odd-value``, ``power-fits``, ``sum-fits`` ...
    good
        Whether it speaks for the page.
    """

    code: str
    good: bool
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PageReading:
    """What a meter answered to a page's questions.

    Attributes
    ----------
    values
        Measurand -> value in the canonical unit, for those that came as numbers.
    absent
        Points without a value: the request was refused or unanswered, or the answer was no number.
    refused, silent
        Requests the meter refused, or left unanswered.
    """

    values: Mapping[str, float]
    absent: tuple[str, ...] = ()
    requests: int = 0
    refused: int = 0
    silent: int = 0


@dataclass(frozen=True)
class Candidate:
    """A page, and how well it fits."""

    profile: str
    score: float
    reasons: tuple[Reason, ...]
    values: Mapping[str, float] = field(default_factory=dict)
    marked: bool = False


@dataclass(frozen=True)
class Recognition:
    """The pages that fit, best first, and how sure the first is.

    Attributes
    ----------
    alike
        Pages that fit as well as the best one.
    maker
        What the meter says of itself, if it says anything.
    """

    verdict: Verdict
    candidates: tuple[Candidate, ...] = ()
    alike: tuple[str, ...] = ()
    maker: str = ""

    @property
    def best(self) -> Candidate | None:
        """The page that fits best."""
        return self.candidates[0] if self.candidates else None


def weigh(profile: Profile, reading: PageReading, *, mark: str = "") -> Candidate:
    """How well a page fits what a meter answered to its questions.

    Parameters
    ----------
    mark
        What the meter's own mark said, where it named this page.
    """
    reasons: list[Reason] = []
    score = 0.0
    if mark:
        reasons.append(Reason("mark", True, {"text": mark}))
        score += 100
    probe = profile.probe
    if probe is not None and probe.measurand in reading.values:
        value = reading.values[probe.measurand]
        fits = probe.between[0] <= value <= probe.between[1]
        reasons.append(Reason("probe", fits, {"measurand": probe.measurand, "value": _short(value)}))
        score += 2 if fits else -10
    points = len(reading.values) + len(reading.absent)
    whole = bool(points) and all(MEASURANDS[name].kind is Kind.STATE for name in reading.absent)
    reasons.append(Reason("answers", whole, {"count": str(len(reading.values)), "of": str(points)}))
    score -= sum(1.0 for name in reading.absent if MEASURANDS[name].kind is not Kind.STATE)
    odd = [name for name, value in reading.values.items() if not is_usual(name, value)]
    for name in odd[:3]:
        low, high = usual_range(name)
        reasons.append(
            Reason(
                "odd-value", False,
                {"measurand": name, "value": _short(reading.values[name]), "low": _short(low), "high": _short(high)},
            )
        )  # fmt: skip
    score -= 3.0 * len(odd)
    speaking = [
        name
        for name, value in reading.values.items()
        if value and name not in odd and MEASURANDS[name].kind is not Kind.STATE
    ]
    score += len(speaking)
    for reason in relations(reading.values):
        reasons.append(reason)
        score += 4 if reason.good else -8
    return Candidate(profile.profile, score, tuple(reasons), reading.values, bool(mark))


def rank(candidates: Iterable[Candidate], maker: str = "", *, by_standard: bool = False) -> Recognition:
    """The pages that fit, best first, with how sure the best one is.

    Parameters
    ----------
    by_standard
        Whether a standard says what stands where, so that a page without contradiction is enough.
    """
    fitting = sorted((each for each in candidates if each.score > 0), key=lambda each: (-each.score, each.profile))
    if not fitting:
        return Recognition("unknown", maker=maker)
    best = fitting[0]
    alike = tuple(each.profile for each in fitting[1:] if each.score >= CLOSE * best.score)
    verdict: Verdict = "likely"
    if best.marked and _is_convincing(best, by_standard=by_standard):
        verdict = "certain"  # a mark may name a whole family: it takes values, too
    elif alike:
        verdict = "unclear"
    elif not _is_convincing(best, by_standard=by_standard):
        verdict = "possible"
    return Recognition(verdict, tuple(fitting), alike, maker)


def _is_convincing(best: Candidate, *, by_standard: bool) -> bool:
    against = [reason for reason in best.reasons if not reason.good]
    speaking = sum(1 for value in best.values.values() if value)
    related = any(reason.code in ("power-fits", "sum-fits") and reason.good for reason in best.reasons)
    return not against and (by_standard or related or speaking >= MANY)


def relations(values: Mapping[str, float]) -> list[Reason]:
    """Which of the laws between values hold; nothing is said where there is no load to tell by."""
    found: list[Reason] = []
    volts = [values[name] for name in (f"voltage.{phase}n" for phase in PHASES) if values.get(name)]
    if len(volts) == 3:
        found.append(
            Reason(
                "phases-alike", max(volts) <= 1.3 * min(volts), {"low": _short(min(volts)), "high": _short(max(volts))}
            )
        )
    parts = [values[name] for name in (f"power.active.{phase}" for phase in PHASES) if name in values]
    total = values.get("power.active.total")
    if len(parts) == 3 and total is not None and max(map(abs, parts)) > 0:
        whole = sum(parts)
        fits = abs(whole - total) <= 0.05 * max(abs(total), abs(whole)) + 0.002
        found.append(Reason("sum-fits", fits, {"sum": _short(whole), "total": _short(total)}))
    for label, expected, power in _products(values):
        if abs(power) <= 0.002 and expected <= 0.01:
            continue
        fits = abs(abs(power) - expected) <= 0.1 * max(abs(power), expected) + 0.003
        found.append(Reason("power-fits", fits, {"where": label, "power": _short(power), "expected": _short(expected)}))
        break
    return found


def _products(values: Mapping[str, float]) -> Sequence[tuple[str, float, float]]:
    """(Phase, U·I·|PF| in kW, P in kW) for every phase that can be checked."""
    rows = []
    for phase in PHASES:
        names = (f"voltage.{phase}n", f"current.{phase}", f"power.active.{phase}")
        if not all(name in values for name in names):
            continue
        volts, amperes, power = (values[name] for name in names)
        apparent = abs(volts * amperes) / 1000
        factor = values.get(f"power_factor.{phase}")
        if factor is None:
            reactive = values.get(f"power.reactive.{phase}")
            if reactive is None:
                continue
            factor = math.sqrt(max(0.0, apparent**2 - reactive**2)) / apparent if apparent else 0.0
        rows.append((phase, apparent * abs(factor), power))
    return rows


def _short(value: float) -> str:
    return f"{value:.5g}"
