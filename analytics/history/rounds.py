"""All questions to all meters of a plant, and one finding for one cause.

The order matters: what a meter's clock, counter and values say about themselves comes first; what the metering tree
says about the meters comes second, from values that were not found wrong; how the plant uses energy comes last, from
loads that nobody doubts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analytics.findings import Finding
from analytics.history import balance, clocks, phases, registers, standing, values
from analytics.history.consumption import ConsumptionWatch, compare, hourly, peers_without_cycle
from analytics.history.record import Mark, MeterRecord
from analytics.kinds import KINDS
from analytics.series import FloatArray, IntArray

NEAR = 8
"""Claims of one kind at one meter so few polls apart are one (two hours of quarters)."""
BEFORE, AFTER = 2, 3
"""Polls beside a wrong stretch that are not believed either."""
HIDES: dict[str, tuple[str, ...]] = {
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
BY_THE_PLANT = (
    "ratio_change", "theft", "sum_mismatch", "leak", "base_load", "unusual_level", "unusual_shape", "missing_cycle",
    "off_hours",
)  # fmt: skip
"""Findings that rest on readings of other meters, too."""
LOAD_IS_RIGHT = (
    "duplicate_ts",
    "clock_jump",
    "dst_shift",
    "counter_reset",
    "counter_rollover",
    "counter_backwards",
    "gap",
)
"""Findings that leave the load believable."""


@dataclass
class MeterRound:
    """What one meter says about itself.

    Attributes
    ----------
    record : MeterRecord
    marks : list of Mark
    load_kw : (m,) float64
        The believable load on the slots. [kW]
    counted_kw : (m,) float64 or None
        Mean power by the counter, for the balance; NaN where the meter is not to be believed. [kW]
    """

    record: MeterRecord
    marks: list[Mark]
    load_kw: FloatArray
    counted_kw: FloatArray | None


def examine_meter(record: MeterRecord) -> MeterRound:
    """What is wrong with a meter by its own readings."""
    marks = [*clocks.find_repeats(record), *clocks.find_shifts(record), *standing.find_gaps(record)]
    steps = registers.follow(record, values.clean_power(record))
    counted, digit = None, 0.0
    if steps is not None:
        marks += steps.marks
        counted, digit = np.where(steps.exact, steps.kwh / record.hours, np.nan), steps.digit
    garbage = values.garbage(record)
    check = values.check_power(record, counted, digit)
    spoilt = np.zeros(record.size, bool)
    marks += garbage
    if check is not None:
        marks += check.marks
        spoilt |= check.wrong
    marks += standing.find_frozen(record, counted, digit)
    marks += standing.find_zero(record, counted, digit)
    marks += phases.find_lost_voltages(record)
    marks += phases.find_lost_currents(record, spoilt)
    marks += phases.find_reversed(record)
    marks = without_echoes(joined(marks))
    load = np.full(record.size, np.nan) if counted is None else counted.copy()
    if check is not None:
        load = np.where(np.isfinite(load), load, check.power_kw)
    for mark in marks:
        wrong_power_only = mark.kind in ("spike", "noise") and counted is not None
        if mark.kind in LOAD_IS_RIGHT or wrong_power_only or mark.evidence.get("channel") == "current":
            continue
        cut = slice(max(mark.first - BEFORE, 0), mark.last + AFTER)
        load[cut] = np.nan
        if counted is not None:
            counted[cut] = np.nan
    return MeterRound(record, marks, load, counted)


def joined(marks: Sequence[Mark]) -> list[Mark]:
    """Claims of one kind that touch are one; the first that was certain counts for the time of knowing."""
    result: list[Mark] = []
    for mark in sorted(marks, key=lambda m: (m.kind, m.first)):
        last = result[-1] if result else None
        if last is not None and last.kind == mark.kind and mark.first - last.last <= NEAR:
            energies = [m.energy_kwh for m in (last, mark) if m.energy_kwh is not None]
            result[-1] = replace(
                last,
                last=max(last.last, mark.last),
                seen=min(last.seen, mark.seen),
                energy_kwh=sum(energies) if energies else None,
            )
        else:
            result.append(mark)
    return sorted(result, key=lambda m: m.first)


def without_echoes(marks: Sequence[Mark]) -> list[Mark]:
    """Leave out what another claim explains."""
    kept = []
    for mark in marks:
        length = mark.last - mark.first + 1
        hidden = any(
            mark.kind in HIDES.get(other.kind, ())
            and min(mark.last, other.last + NEAR) - max(mark.first, other.first - NEAR) + 1 >= 0.5 * length
            for other in marks
            if other is not mark
        )
        if not hidden:
            kept.append(mark)
    return kept


def examine_plant(records: Sequence[MeterRecord], closed_days: frozenset[int] = frozenset()) -> list[Finding]:
    """What is wrong with the meters of a plant and with its use of energy.

    Parameters
    ----------
    records : sequence of MeterRecord
        One a meter; `MeterFacts.parent` gives the metering tree. Meters need not begin or end together.
    closed_days : frozenset of int
        Holidays and shutdowns, as days since the epoch: how energy is used on them is neither judged nor learnt.

    Returns
    -------
    list of Finding
        In order of time. `Finding.detected_ns` is the arrival of the last reading the claim needs: the readings up to
        then give the same claim.
    """
    records = [record for record in records if len(record)]
    if not records:
        return []
    heard = np.sort(np.concatenate([record.rx_ns for record in records]))
    records = [
        record if record.until_ns is not None else replace(record, until_ns=int(heard[-1])) for record in records
    ]
    rounds = {record.facts.meter: examine_meter(record) for record in records}
    _judge_balances(rounds)
    _judge_use(rounds, closed_days)
    findings = [_as_finding(done.record, mark, heard) for done in rounds.values() for mark in done.marks]
    return sorted(findings, key=lambda f: (f.start_ns, f.meter, f.kind))


def _judge_balances(rounds: dict[str, MeterRound]) -> None:
    for name, main in rounds.items():
        subs = [other for other in rounds.values() if other.record.facts.parent == name]
        everyone = [*subs, main]
        if not subs or any(done.counted_kw is None for done in everyone):
            continue
        first = min(done.record.first_slot for done in everyone)
        last = max(done.record.first_slot + done.record.size for done in everyone)
        grid = np.full((len(everyone), last - first), np.nan)
        for row, done in zip(grid, everyone, strict=True):
            lead = done.record.first_slot - first
            row[lead : lead + done.record.size] = done.counted_kw if done.counted_kw is not None else np.nan
        per_day = main.record.per_day
        found = balance.judge(grid[-1], grid[:-1], per_day, first % per_day)
        names = [done.record.facts.meter for done in everyone]
        said = balance.as_marks(found, names, len(subs), main.record.hours, grid)
        for row, done in zip(found.lacking, everyone, strict=True):
            lead = done.record.first_slot - first
            moved = [
                replace(mark, first=mark.first - lead, last=mark.last - lead, seen=mark.seen - lead)
                for mark in said[done.record.facts.meter]
            ]
            done.marks += moved
            done.load_kw[row[lead : lead + done.record.size] != 0.0] = np.nan


def _judge_use(rounds: dict[str, MeterRound], closed_days: frozenset[int]) -> None:
    """Use at every meter that no other subdivides; a main's is its sub-meters' and would be said twice."""
    parents = {done.record.facts.parent for done in rounds.values()}
    ends = [done for name, done in rounds.items() if name not in parents]
    days = {}
    for done in ends:
        record = done.record
        if record.per_day % 24:
            continue
        hours, first_day = hourly(done.load_kw, record.first_slot, record.per_day)
        whole = (
            record.first_slot + record.size - 1
        ) // record.per_day  # the day is over when midnight's reading is there
        days[record.facts.meter] = (hours[: max(whole - first_day, 0)], first_day)
    if not days:
        return
    watches = {name: ConsumptionWatch() for name in days}
    begin = min(first for _, first in days.values())
    finish = max(first + len(hours) for hours, first in days.values())
    for day in range(begin, finish):
        if day in closed_days:
            continue
        here = {name: hours[day - first] for name, (hours, first) in days.items() if first <= day < first + len(hours)}
        facts = []
        for name, hours in here.items():
            expected = watches[name].book.expected(day)
            facts.append(None if expected is None else compare(hours, expected, watches[name].book.range))
        for (name, hours), off in zip(here.items(), peers_without_cycle(facts), strict=True):
            watches[name].day(day, hours, peers_off=off)
    for name, watch in watches.items():
        record = rounds[name].record
        per_hour = record.per_day // 24
        lead = 1 - record.first_slot  # a reading covers the slot before it
        rounds[name].marks += [
            replace(
                mark,
                first=max(mark.first * per_hour + lead, 0),
                last=min((mark.last + 1) * per_hour - 1 + lead, record.size - 1),
                seen=(mark.seen + 1) * per_hour - 1 + lead,
            )
            for mark in watch.marks
        ]


def _as_finding(record: MeterRecord, mark: Mark, heard: IntArray) -> Finding:
    interval = record.facts.interval_ns
    times = record.slot_rx_ns

    def when(slot: int) -> int:
        if slot < record.size:
            return int(times[slot])
        return (slot + record.first_slot) * interval

    if mark.kind == "gap":
        # known when another meter's reading shows that the poll is over
        after = int(np.searchsorted(heard, (mark.seen + 1 + record.first_slot) * interval))
        detected = int(heard[min(after, heard.size - 1)])
    else:
        later = np.flatnonzero(record.arrived[mark.seen :])
        seen = mark.seen + int(later[0]) if later.size else record.size - 1
        # all rows of that poll, and of the other meters' where they were asked, too
        rows = heard if mark.kind in BY_THE_PLANT else record.rx_ns
        detected = int(rows[np.searchsorted(rows, (seen + 1 + record.first_slot) * interval) - 1])
    kind = KINDS[mark.kind]
    return Finding(
        mark.kind,
        record.facts.meter,
        when(mark.first),
        when(mark.last) + interval,
        kind.severity,
        mark.confidence,
        mark.evidence,
        mark.energy_kwh,
        detected,
    )
