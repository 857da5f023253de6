"""Silence: a meter from which no usable reading comes."""

from __future__ import annotations

import numpy as np

from analytics.detectors.view import View
from analytics.findings import Finding
from analytics.kinds import KINDS
from analytics.series import SECOND_NS, IntArray, Span, is_no_value

MISSED_POLLS = 5
"""Fewer lost polls in a row are the daily life of a serial line, not a finding."""


def find_silence(t_ns: IntArray, start_ns: int, now_ns: int, poll_ns: int, *, missed: int = MISSED_POLLS) -> list[Span]:
    """Spans in which at least `missed` polls in a row, and at least five minutes, brought nothing.

    Parameters
    ----------
    t_ns : (n,) int64, strictly increasing
        When anything usable was read. [ns]
    start_ns, now_ns : int
        The window. Silence at its edges counts. [ns]
    poll_ns : int
        Time between polls. [ns]

    Returns
    -------
    list of Span
        From the first poll that was missed to the first reading after it, or to `now_ns`.
    """
    shortest = max((missed + 1) * poll_ns - poll_ns // 2, 300 * SECOND_NS)
    inside = t_ns[(t_ns >= start_ns) & (t_ns < now_ns)]
    if not inside.size:
        return [Span(start_ns, now_ns)] if now_ns - start_ns >= shortest else []
    before = np.concatenate(([start_ns - poll_ns], inside))
    after = np.concatenate((inside, [now_ns]))
    long = np.flatnonzero(after - before >= shortest)
    return [Span(int(before[k]) + poll_ns, int(after[k])) for k in long]


def detect(view: View) -> list[Finding]:
    """A finding per silence; one that lasts has no end."""
    window, context = view.window, view.context
    times = [series.known().t_ns for series in window.gauges.values()]
    times += [counter.t_ns[~is_no_value(counter.quality)] for counter in window.counters.values()]
    seen = np.unique(np.concatenate(times)) if times else np.zeros(0, np.int64)
    found: list[Finding] = []
    for span in find_silence(seen, window.start_ns, window.now_ns, context.poll_ns):
        lasts = span.end_ns >= window.now_ns
        missed = span.length_ns // context.poll_ns
        found.append(
            Finding(
                "gap",
                context.meter,
                span.start_ns,
                None if lasts else span.end_ns,
                KINDS["gap"].severity,
                1.0,
                {
                    "missed_polls": int(missed),
                    "last_seen_ns": int(span.start_ns - context.poll_ns),
                    "recorded_silent": int(any(span.overlaps(silent) for silent in window.silent)),
                },
                detected_ns=min(span.start_ns + MISSED_POLLS * context.poll_ns, window.now_ns),
            )
        )
    return found
