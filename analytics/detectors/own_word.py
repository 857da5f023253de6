"""What a meter says of itself: it was opened or changed, its clock is off, it is another meter than the inventory's."""

from __future__ import annotations

import numpy as np

from analytics.detectors.view import View
from analytics.findings import Evidence, Finding
from analytics.fitness import NotFit
from analytics.kinds import KINDS
from analytics.series import BitArray, FloatArray, Series, runs
from meterline.readings import Quality

OPENED = ("events.cover_open", "events.terminal_cover_open")
CHANGED = ("events.programming", "events.meter_clear", "events.demand_clear", "events.event_clear")
DOUBTED = {"clock.time": "clock_drift", "identity.number": "other_meter"}
"""State that the gateway marks SUSPECT when it is wrong -> what that is called."""


def find_rises(count: FloatArray) -> list[tuple[int, int]]:
    """Where a count of events is higher than at its last reading: (index before, index of the higher one).

    Parameters
    ----------
    count : (n,) float64
        As the meter showed it; NaN is no value. A fall (the events were cleared, the meter exchanged) is no rise.
    """
    known = np.flatnonzero(np.isfinite(count))
    up = np.flatnonzero(np.diff(count[known]) > 0)
    return [(int(known[k]), int(known[k + 1])) for k in up]


def find_doubted(quality: BitArray) -> list[tuple[int, int]]:
    """Runs of readings that the gateway found wrong as they came (half-open)."""
    return runs((quality & int(Quality.SUSPECT)) != 0)


def detect(view: View) -> list[Finding] | NotFit:
    """A finding per rise of a count and per run of doubted words."""
    states = view.window.states
    found: list[Finding] = []
    for kind, names in (("cover_opened", OPENED), ("meter_changed", CHANGED)):
        for name in names:
            if name in states:
                found += _rises(view, kind, name, states[name])
    for name, kind in DOUBTED.items():
        if name in states:
            found += _doubted(view, kind, name, states[name])
    if not states:
        return NotFit.because("no-states", "status words or event counts", "none in the window")
    return sorted(found, key=lambda finding: finding.start_ns)


def _rises(view: View, kind: str, name: str, series: Series) -> list[Finding]:
    made = []
    for before, after in find_rises(series.value):
        start_ns, end_ns = int(series.t_ns[before]), int(series.t_ns[after])
        evidence: Evidence = {
            "what": name.removeprefix("events."),
            "count_before": float(series.value[before]),
            "count_after": float(series.value[after]),
        }
        last = view.window.states.get(f"{name}.last")
        if last is not None:
            inside = np.flatnonzero((last.t_ns > start_ns) & (last.t_ns <= end_ns) & np.isfinite(last.value))
            if inside.size:
                start_ns = int(last.t_ns[inside[-1]])  # the meter's own record of when it was
                end_ns = max(end_ns, start_ns + 1)
        made.append(
            Finding(kind, view.context.meter, start_ns, end_ns, KINDS[kind].severity, 0.95, evidence, None, end_ns)
        )
    return made


def _doubted(view: View, kind: str, name: str, series: Series) -> list[Finding]:
    made = []
    for a, b in find_doubted(series.quality):
        end_ns = int(series.t_ns[b]) if b < len(series) else None
        evidence: Evidence = {"what": name, "seen": float(np.nan_to_num(series.value[a])), "readings": b - a}
        made.append(
            Finding(
                kind, view.context.meter, int(series.t_ns[a]), end_ns, KINDS[kind].severity, 0.9, evidence, None,
                int(series.t_ns[a]),
            )
        )  # fmt: skip
    return made
