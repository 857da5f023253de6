"""What is shown, to people and programs: plain values in both languages, each with its age and its doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Grade = Literal["measured", "estimated", "suspect", "missing", "old", "partial"]
"""A value's doubt in one word; `old` is a good value that is no longer "now", `partial` an amount with gaps."""
MeterState = Literal["fresh", "silent", "never"]


@dataclass(frozen=True, slots=True)
class Name:
    """A name in both languages."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Value:
    """One number with its doubt; `value` None is a value that is not known, never zero."""

    measurand: str
    value: float | None
    unit: str
    quality: tuple[str, ...]
    grade: Grade
    age_s: float | None
    read_at: str | None
    source: str = "wire"


@dataclass(frozen=True, slots=True)
class Amount:
    """What was counted since the plant's midnight."""

    value: float | None
    unit: str
    coverage: float
    quality: tuple[str, ...]
    grade: Grade


@dataclass(frozen=True, slots=True)
class CarrierLine:
    """One carrier of one energy user."""

    carrier: str
    now: Value
    today: Amount
    fresh: int
    meters: int


@dataclass(frozen=True, slots=True)
class UserLine:
    """One energy user at a glance."""

    id: str
    name: Name
    level: str
    depth: int
    carriers: tuple[CarrierLine, ...]
    meters: tuple[MeterLine, ...]
    ok: int
    total: int
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeterLine:
    """One meter at a glance; `spark` are values at even steps, None where nothing was measured."""

    id: str
    name: Name
    carrier: str
    now: Value | None
    today: Amount
    spark: tuple[float | None, ...]
    state: MeterState
    findings: int
    worst: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The plant at a glance.

    Attributes
    ----------
    findings : mapping of severity to int
        Those that last.
    unacknowledged : int
        Those that are over and that nobody has acknowledged.
    """

    now: str
    site: str
    name: Name
    simulated: bool
    users: tuple[UserLine, ...]
    meters: int
    fresh: int
    findings: Mapping[str, int]
    unacknowledged: int
    spark_hours: int
    heard_anything: bool


@dataclass(frozen=True, slots=True)
class CurveData:
    """A measurand in time. Times are plant time with its offset; values are None where nothing was measured."""

    meter: str
    measurand: str
    name: Name
    unit: str
    start: str
    end: str
    step_s: float
    t: tuple[str, ...]
    value: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    quality: tuple[int, ...]
    suspect: tuple[int, ...]
    findings: tuple[Shade, ...]


@dataclass(frozen=True, slots=True)
class Shade:
    """A finding's span on a chart."""

    finding: int
    title: Name
    severity: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A signed batch that brought readings of a meter.

    Attributes
    ----------
    digest : str
        SHA-256 of its compressed body, which the next batch of the epoch names.
    url : str
        Where its bytes are.
    """

    gateway: str
    epoch: str
    seq: int
    digest: str
    size: int
    url: str


@dataclass(frozen=True, slots=True)
class IntervalData:
    """One interval amount."""

    start: str
    end: str
    value: float | None
    coverage: float
    quality: tuple[str, ...]
    grade: Grade
    open: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a figure cannot be had."""

    code: str
    need: str
    have: str


@dataclass(frozen=True, slots=True)
class FactorLine:
    """One carrier turned into coal equivalent or carbon, or the reason why not."""

    carrier: str
    amount: float | None
    unit: str
    coverage: float
    factor: float | None
    factor_unit: str
    factor_name: Name | None
    edition: str
    result_t: float | None
    indicative: bool
    refused: Refusal | None


@dataclass(frozen=True, slots=True)
class LoadLine:
    """How evenly the plant's electric load runs."""

    mean_kw: float
    peak_kw: float
    peak_at: str
    load_factor: float
    base_kw: float
    base_share: float
    coverage: float


@dataclass(frozen=True, slots=True)
class ProductLine:
    """Energy per unit of product over an entry of output."""

    product: Name
    start: str
    end: str
    output: float
    output_unit: str
    value: float | None
    unit: str
    grade: str | None
    to_next: float | None
    limit: float | None
    source: str
    refused: Refusal | None


@dataclass(frozen=True, slots=True)
class EnergyData:
    """The plant's efficiency over whole days; of the last one what has passed."""

    first: str
    last: str
    purpose: str | None
    coal: tuple[FactorLine, ...]
    coal_t: float
    carbon: tuple[FactorLine, ...]
    carbon_t: float | None
    carbon_refused: Refusal | None
    load: LoadLine | None
    load_refused: Refusal | None
    products: tuple[ProductLine, ...]


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One finding of the book, for programs."""

    id: int
    kind: str
    title: Name
    scope: str
    subject: str
    about: Name
    meters: tuple[str, ...]
    severity: str
    state: str
    condition: str
    start: str
    end: str | None
    last_seen: str
    times: int
    confidence: float
    energy: float | None
    energy_unit: str
    evidence: Mapping[str, object]
    cause: int | None
    stale: bool
    acknowledged_by: str
    acknowledged_why: str
