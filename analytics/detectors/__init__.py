"""Detectors: one idea a file, each a pure function over arrays, each with a page under ``docs/methods/``.

How a job calls them::

    context = MeterContext(meter="m07", poll_ns=60 * 10**9, rated_kw=160, nominal_v=230, wraps_at_micro=..., ...)
    window = MeterWindow(start_ns, now_ns, gauges={"power.active.total": Series(...), ...},
                         counters={"energy.active.import": CounterSeries(...)}, silent=..., off_hours=...)
    findings = run_detectors(context, window)

- **State-free.** The same window gives the same findings. Call once a minute (or per closed quarter) with a trailing
  window of 24 to 48 hours, per meter; merge into what is stored with `Finding.same_as` or `analytics.findings.merge`
  (same kind, same meter, spans that touch). ``end_ns is None`` means: lasts at ``now_ns``. A stored finding that lasted
  and is not found again has ended only if the meter delivers good data; missing data resolves nothing.
- **Primary values.** Ratios are applied before; NaN or a MISSING/INVALID bit is "no value".
- **Causal.** Only the window up to ``now_ns`` is used; `Finding.detected_ns` is the last sample the claim needed.
- **Nothing raises** on poor data: what could not be judged, and why, is in `examine(...)["..."]` as `NotFit`.
- **Learning.** Once a day, from the last four weeks: ``learning.learn(context, window)`` gives `Learnt`.
  Without it detectors use what is declared (`rated_kw`, `idle_kw`) or say that they cannot tell.

One more detector costs one file, one row in `DETECTORS`, a test, a page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analytics.detectors import (
    counter_breaks,
    frozen,
    off_hours,
    overload,
    own_word,
    phase_loss,
    register_power,
    silent,
    spikes,
    zero,
)
from analytics.detectors.view import Learnt, MeterContext, MeterWindow, View
from analytics.findings import Finding, merge
from analytics.fitness import NotFit
from analytics.series import Span

__all__ = ["DETECTORS", "Detector", "Learnt", "MeterContext", "MeterWindow", "View", "examine", "run_detectors"]


@dataclass(frozen=True, slots=True)
class Detector:
    """One row of the table.

    Attributes
    ----------
    detect : function of View to findings
        `NotFit` with reasons where it cannot judge.
    kinds : tuple of str
        What it may say.
    needs : tuple of str
        Measurands it looks at; it does with what is there.
    """

    name: str
    detect: Callable[[View], list[Finding] | NotFit]
    kinds: tuple[str, ...]
    needs: tuple[str, ...]


DETECTORS: tuple[Detector, ...] = (
    Detector("silent", silent.detect, ("gap",), ("any",)),
    Detector(
        "counter-breaks",
        counter_breaks.detect,
        ("counter_reset", "counter_rollover", "counter_backwards", "counter_jump", "spike", "stuck"),
        ("counter",),
    ),
    Detector("frozen", frozen.detect, ("stuck",), ("power", "counter", "voltage.*", "current.*")),
    Detector("zero", zero.detect, ("zero",), ("power", "counter", "voltage.*")),
    Detector("spikes", spikes.detect, ("spike",), ("power", "voltage.*", "current.*")),
    Detector("overload", overload.detect, ("overload",), ("power",)),
    Detector("off-hours", off_hours.detect, ("off_hours",), ("power", "counter")),
    Detector("phase-loss", phase_loss.detect, ("phase_voltage_loss", "phase_current_loss"), ("voltage.*", "current.*")),
    Detector(
        "own-word",
        own_word.detect,
        ("cover_opened", "meter_changed", "clock_drift", "other_meter"),
        ("events.*", "clock.time", "identity.number"),
    ),
    Detector("register-power", register_power.detect, ("register_mismatch",), ("power", "counter")),
)


def examine(context: MeterContext, window: MeterWindow) -> Mapping[str, list[Finding] | NotFit]:
    """What every detector says about one meter, refusals included, by detector name."""
    view = View(context, window)
    return {detector.name: detector.detect(view) for detector in DETECTORS}


def run_detectors(context: MeterContext, window: MeterWindow) -> list[Finding]:
    """What is wrong at one meter in this window, one finding per thing, in order of time.

    Parameters
    ----------
    context : MeterContext
    window : MeterWindow

    Returns
    -------
    list of Finding
        Findings of one kind that are less than two polls apart are one. What a lying meter says about the use of
        energy is not repeated as a finding of its own (one cause, one finding).
    """
    said = examine(context, window).values()
    found = [finding for findings in said if not isinstance(findings, NotFit) for finding in findings]
    return _without_echoes(merge(found, within_ns=2 * context.poll_ns), window.now_ns)


LYING = ("stuck", "spike", "zero")
ECHOES = ("off_hours", "overload", "register_mismatch")


def _without_echoes(findings: list[Finding], now_ns: int) -> list[Finding]:
    """Leave out what rests for at least half of its span on values that another finding calls wrong."""
    lies = [Span(f.start_ns, f.end_ns or now_ns) for f in findings if f.kind in LYING]
    kept: list[Finding] = []
    for finding in findings:
        span = Span(finding.start_ns, finding.end_ns or now_ns)
        shared = sum(max(0, min(span.end_ns, lie.end_ns) - max(span.start_ns, lie.start_ns)) for lie in lies)
        if finding.kind not in ECHOES or 2 * shared < span.length_ns:
            kept.append(finding)
    return kept
