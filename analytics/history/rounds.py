"""Findings of whole plants from their records: the fleet is fed a day, or a poll, at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from analytics.findings import Finding
from analytics.history.block import Rows
from analytics.history.claims import Mark, without_echoes
from analytics.history.fleet import Fleet
from analytics.history.record import MeterFacts, MeterRecord
from analytics.kinds import KINDS


def examine_plant(
    records: Sequence[MeterRecord],
    closed_days: frozenset[int] = frozenset(),
    *,
    sensitivity: float = 1.0,
    weather: Mapping[int, float] = MappingProxyType({}),
    at_a_time: int | None = None,
) -> list[Finding]:
    """What is wrong with the meters of one or more plants and with their use of energy.

    Parameters
    ----------
    records : sequence of MeterRecord
        One a meter; `MeterFacts.plant` and `MeterFacts.parent` say what belongs together. Meters need not begin or end
        together.
    closed_days : frozenset of int
        Holidays and shutdowns, as days since the epoch: how energy is used on them is neither judged nor learnt.
    sensitivity : float
        Evidence must be 1/sensitivity times as strong as by default; see `Fleet`.
    weather : mapping of int to float
        Mean temperature of days since the epoch: a warmer or colder day is no witness of a raised floor. [degC]
    at_a_time : int, optional
        Polls fed at once; a day of them by default. The findings are the same for any number.

    Returns
    -------
    list of Finding
        In order of time. `Finding.detected_ns` is the arrival of the last reading the claim needs: the readings up to
        then give the same claim.
    """
    records = [record for record in records if len(record)]
    findings: list[Finding] = []
    for interval in sorted({record.facts.interval_ns for record in records}):
        alike = [record for record in records if record.facts.interval_ns == interval]
        findings += _examine(alike, closed_days, sensitivity, weather, at_a_time)
    return sorted(findings, key=lambda f: (f.start_ns, f.meter, f.kind))


def _examine(
    records: Sequence[MeterRecord],
    closed_days: frozenset[int],
    sensitivity: float,
    weather: Mapping[int, float],
    at_a_time: int | None,
) -> list[Finding]:
    last_heard: dict[str, int] = {}
    for record in records:
        plant = plant_of(record.facts)
        last_heard[plant] = max(last_heard.get(plant, 0), int(record.rx_ns[-1]))
    records = [
        record if record.until_ns is not None else replace(record, until_ns=last_heard[plant_of(record.facts)])
        for record in records
    ]
    rows = Rows(records)
    fleet = Fleet([record.facts for record in records], closed_days, sensitivity, weather)
    width = at_a_time or fleet.facts.per_day
    marks: list[Mark] = []
    for begin in range(fleet.first_of_day(fleet.day_of(rows.first)), rows.until + 1, width):
        fleet.feed(rows.block(begin, min(width, rows.until + 1 - begin)))
        marks += fleet.ledger.drain(begin)
    marks += without_echoes(fleet.ledger.marks)
    return [as_finding(fleet.facts.meters[mark.meter], mark) for mark in marks]


def plant_of(facts: MeterFacts) -> str:
    """The plant a meter belongs to; without a plant's name, a metering tree is a plant."""
    return facts.plant or facts.parent or facts.meter


def as_finding(facts: MeterFacts, mark: Mark) -> Finding:
    """A claim as a finding of its meter."""
    interval = facts.interval_ns
    return Finding(
        mark.kind,
        facts.meter,
        mark.first * interval,
        (mark.last + 1) * interval,
        KINDS[mark.kind].severity,
        mark.confidence,
        mark.whole_evidence(),
        mark.energy_kwh,
        mark.seen_ns,
    )
