"""Breaks of the counter's track, said as findings: reset, roll-over, running backwards, jump, wrong readings."""

from __future__ import annotations

from collections.abc import Iterable

from analytics.counter_model import CounterEvent, EventKind
from analytics.detectors.view import View
from analytics.findings import Finding
from analytics.fitness import NotFit
from analytics.kinds import KINDS

SAID_AS: dict[EventKind, tuple[str, float]] = {
    EventKind.RESET: ("counter_reset", 0.95),
    EventKind.ROLLOVER: ("counter_rollover", 0.99),
    EventKind.BACKWARDS: ("counter_backwards", 0.9),
    EventKind.JUMP: ("counter_jump", 0.9),
    EventKind.DROP: ("counter_jump", 0.9),
    EventKind.GLITCH: ("spike", 0.9),
    EventKind.STALE: ("stuck", 0.8),
}
"""Kind and confidence of each break; the others (conflict, over rate, unconfirmed) are no findings of their own."""


def breaks_as_findings(meter: str, events: Iterable[CounterEvent], poll_ns: int) -> list[Finding]:
    """One finding per break.

    Parameters
    ----------
    meter : str
    events : iterable of CounterEvent
        As `counter_track.follow_track` names them.
    poll_ns : int
        Time between readings: a break begins one poll after the last good reading. [ns]
    """
    found: list[Finding] = []
    for event in events:
        if event.kind not in SAID_AS:
            continue
        kind, confidence = SAID_AS[event.kind]
        if event.kind is EventKind.GLITCH and _fell_a_little(event):
            kind = "counter_backwards"
        # wrong readings end before the first good one; a new track begins with it
        returned = event.set_aside > 0 and event.kind in (EventKind.GLITCH, EventKind.STALE)
        start = event.t_before_ns if event.kind is EventKind.STALE else event.t_before_ns + poll_ns
        end = event.t_after_ns if returned else event.t_after_ns + poll_ns
        found.append(
            Finding(
                kind,
                meter,
                min(start, event.t_after_ns),
                end,
                KINDS[kind].severity,
                confidence,
                {
                    "break": event.kind.value,
                    "before_kwh": event.before_micro / 1e6,
                    "after_kwh": event.after_micro / 1e6,
                    "booked_kwh": (event.after_micro - event.before_micro + event.correction_micro) / 1e6,
                    "set_aside": event.set_aside,
                    "odd_kwh": tuple(value / 1e6 for value in event.odd_micro),
                },
                energy_kwh=abs(event.correction_micro) / 1e6 if event.kind is EventKind.BACKWARDS else None,
                detected_ns=event.t_after_ns,
            )
        )
    return found


def _fell_a_little(event: CounterEvent) -> bool:
    """Whether the odd readings lie below the old track but near it: a display that went back, not a zero or garbage.

    The rule of the grid companies' on-line checks (示度下降): a reading below the one before it, without a roll-over or
    an exchange.
    """
    return bool(event.odd_micro) and all(
        event.before_micro < 2 * odd < 2 * event.before_micro for odd in event.odd_micro
    )


def detect(view: View) -> list[Finding] | NotFit:
    """The breaks of the account's counter in the window."""
    if view.track is None:
        return NotFit.because("no-counter", "readings of the counter", "none in the window")
    return breaks_as_findings(view.context.meter, view.track.events, view.context.poll_ns)
