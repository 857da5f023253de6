"""A replayed recording, day by day: the store's intervals against the meters' displays and against the recording."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from meterline.cli.demo_facts import DemoFacts
from meterline.clock import NS
from meterline.readings import MICRO, to_micro


@dataclass(frozen=True)
class ReplayedDay:
    """One meter, one whole day of the plant.

    Attributes
    ----------
    intervals_micro
        Sum of the day's 15-minute intervals in the store, primary. [1e-6 kWh]
    counter_micro
        What its display showed at the end of the day less at its begin, times the ratio; written down by the simulated
        meter itself, before any frame left. [1e-6 kWh]
    recorded_micro
        The recording's energy of the day, this meter's share. [1e-6 kWh]
    resolution_micro
        One step of the display, times the ratio. [1e-6 kWh]
    """

    day: str
    meter: str
    intervals_micro: int
    counter_micro: int
    recorded_micro: int
    resolution_micro: int


def replayed_days(facts: DemoFacts, replay: Path) -> list[ReplayedDay]:
    """Every day that was replayed from midnight to midnight without a gap, meter by meter."""
    from collector.simulated.journal import read_shown
    from collector.simulated.replay import read_recording, recorded_loads
    from headend.metered import account_of
    from headend.plant_days import day_edges, day_of
    from headend.stores.api import Span

    shown: dict[tuple[str, int], dict[str, int | float]] = {}
    for row in read_shown(facts.folder / "factory-state"):
        if row["why"] == "grid":
            shown[row["meter"], int(row["t"])] = row["shown"]
    if not shown:
        return []
    recording = read_recording(replay, facts.zone)
    end_ns = recording.start_ns + sum(recording.lengths_s) * NS
    first, last = min(t for _, t in shown), min(max(t for _, t in shown), end_ns)
    edges = [edge for edge in day_edges(facts.zone, first, last + 1) if first <= edge <= last]
    days: list[ReplayedDay] = []
    for begin, end in pairwise(edges):
        for meter, load in recorded_loads(recording, facts.plant).items():
            known = facts.plant.meters[meter]
            account = account_of(facts.plant, known)
            assert account is not None
            rows = facts.intervals(meter, account, Span(begin, end))
            whole = len(rows) * 900 * NS == end - begin and all(row.has_energy for row in rows)
            before, after = shown.get((meter, begin)), shown.get((meter, end))
            if not whole or before is None or after is None:
                continue
            factor = facts.plant.primary_factor(known, account, day_of(facts.zone, begin))
            point = facts.plant.profile_of(known).point(account)
            assert point is not None
            counted = to_micro(after[account], point.exponent) - to_micro(before[account], point.exponent)
            energy = recording.energy_until(end // NS) - recording.energy_until(begin // NS)
            days.append(
                ReplayedDay(
                    str(day_of(facts.zone, begin)), meter, sum(row.micro for row in rows), int(counted * factor),
                    round(energy * load.share * 10**MICRO), int(Fraction(10) ** (point.exponent + MICRO) * factor),
                )
            )  # fmt: skip
    return days
