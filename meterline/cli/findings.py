"""``meterline findings``: what was found, why, what to check first, and what people say of it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterline.cli.screen import Screen
from meterline.clock import NS
from meterline.errors import ConfigError, Problem, StoreUnavailable, Unreachable
from meterline.settings import HeadendSettings, load_headend

if TYPE_CHECKING:
    from headend.entries import Entry
    from headend.findings import FindingsBook

CORRECTED = ("theft", "ratio_change", "phase_voltage_loss", "phase_current_loss", "phase_reversal")
"""Kinds whose energy is what the meter did not count (or counted too much)."""
SEEN = ("seen_kw", "rest_kw", "seen_v", "seen_a", "seen", "counted_kw", "odd_kwh", "rise_kwh", "seen_off_s", "values")
UNITS = {"kw": "kW", "v": "V", "a": "A", "kwh": "kWh", "s": "s"}
EXPECTED = ("expected_kw", "counted_kw")
PLOT_WIDTH, PLOT_HEIGHT = 72, 12


def list_findings(screen: Screen, file: Path, meter: str | None, *, everything: bool, most: int) -> None:
    """Print findings, the newest first."""
    with _book(file) as (settings, book, now_ns):
        from headend.entries import State
        from headend.words import about, heading, severity_words, state_words

        states = None if everything else {State.OPEN, State.ACKNOWLEDGED, State.RETURNED}
        entries = book.entries(now_ns=now_ns, states=states, meter=meter, most=most)
        screen.json({"findings": [_json(entry, now_ns) for entry in entries]})
        if not entries:
            screen.say("findings.none")
            return
        zone = settings.plant.site.site.zone
        heads = ("number", "since", "until", "severity", "state", "where", "what", "energy")
        screen.table(
            [f"findings.{head}" for head in heads],
            [
                (
                    entry.id, _at(entry.start_ns, zone), _at(entry.until_ns, zone),
                    severity_words(entry.severity, screen.lang), state_words(entry, now_ns, screen.lang),
                    about(entry, settings.plant, screen.lang), heading(entry, screen.lang),
                    "" if entry.energy_kwh is None else f"{entry.energy_kwh:,.1f}",
                )
                for entry in entries
            ],
            right=(0, 7),
        )  # fmt: skip


def show_finding(screen: Screen, file: Path, number: int, png: Path | None) -> None:
    """Print one finding with a plot of its evidence, and write the plot as a picture."""
    with _book(file) as (settings, book, now_ns):
        entry = _entry(book, number, file)
        seen, expected = curves(entry)
        screen.json(_json(entry, now_ns) | {"evidence": dict(entry.evidence)})
        _head(screen, settings, entry, now_ns)
        if seen:
            screen.line("")
            for line in plotted(seen, expected):
                screen.line(line)
            screen.say("findings.seen", "dim")
        else:
            screen.say("findings.no_curve", "dim")
        if png is not None:
            png.write_bytes(_picture(entry, seen, settings, screen))
            screen.say("findings.png", file=png)


def explain_finding(screen: Screen, file: Path, number: int) -> None:
    """Print why a finding was made, what it means, and what to check first."""
    with _book(file) as (settings, book, now_ns):
        from headend.words import checks, facts, meaning

        entry = _entry(book, number, file)
        history = book.history(number)
        verdicts = book.verdicts(number)
        said = {"meaning": meaning(entry, screen.lang), "check_first": checks(entry, screen.lang)}
        screen.json(
            _json(entry, now_ns) | said | {
                "evidence": dict(entry.evidence),
                "history": [{"at_ns": e.at_ns, "what": e.what, "who": e.who, "why": e.why} for e in history],
                "feedback": [{"verdict": v.verdict, "who": v.who, "why": v.why, "at_ns": v.at_ns} for v in verdicts],
            }
        )  # fmt: skip
        _head(screen, settings, entry, now_ns)
        screen.line(str(said["meaning"]))
        screen.say("findings.confidence", "dim", percent=round(100 * entry.confidence))
        screen.say("findings.evidence", "bold")
        for fact in facts(entry, settings.plant, screen.lang):
            screen.line(f"  {fact.label}: {fact.value}")
        if entry.energy_kwh is not None:
            key = "findings.correction" if entry.kind in CORRECTED else "findings.amount"
            screen.say(key, kwh=f"{entry.energy_kwh:,.1f}")
        screen.say("findings.check", "bold")
        for place, check in enumerate(said["check_first"], 1):
            screen.line(f"  {place}. {check}")
        screen.say("findings.history", "bold")
        zone = settings.plant.site.site.zone
        for event in history:
            screen.line(f"  {_at(event.at_ns, zone)}  {event.what} {event.who} {event.why}".rstrip())


def give_feedback(screen: Screen, file: Path, number: int, verdict: str, why: str, who: str) -> None:
    """Keep what a person says of a finding; a running head-end takes it in itself.

    Raises
    ------
    ConfigError
        No such finding, or neither a name nor a reason.
    """
    from headend.feedback import Feedback, FeedbackBox, Verdict

    with _book(file) as (settings, book, now_ns):
        _entry(book, number, file)
        try:
            said = Feedback(number, Verdict(verdict), who, why, now_ns)
        except ValueError as error:
            hint = "give --why and --who, such as --who 'Li Wei'"
            raise ConfigError([Problem(str(file), f"finding {number}", str(error), hint)]) from error
        running = _is_running(settings)
        if running:
            FeedbackBox(book.folder).put(said)
        else:
            book.feedback(said)
    screen.json({"finding": number, "verdict": verdict, "why": why, "who": who, "waiting": running})
    screen.say("findings.waiting" if running else "findings.kept", "green", number=number, verdict=verdict, why=why)


# -- what is shown ---------------------------------------------------------------------------------------------------
def unit_of_curve(entry: Entry) -> str:
    """Unit of the seen curve, by the name of its evidence; empty if the name does not say."""
    arrays = [key for key, value in entry.evidence.items() if isinstance(value, tuple)]
    key = next((key for key in SEEN if key in arrays), "")
    return UNITS.get(key.rpartition("_")[2], "")


def curves(entry: Entry) -> tuple[list[float | None], list[float | None]]:
    """What was seen and what was expected, as far as the evidence has curves."""
    arrays = {key: list(value) for key, value in entry.evidence.items() if isinstance(value, tuple)}
    seen = next((arrays[key] for key in SEEN if key in arrays), next(iter(arrays.values()), []))
    expected = next((arrays[key] for key in EXPECTED if key in arrays and arrays[key] != seen), [])
    return seen, expected


def plotted(seen: Sequence[float | None], expected: Sequence[float | None]) -> list[str]:
    """A plot in characters: the seen curve over the expected one, with the scale at the left."""
    known = [v for v in (*seen, *expected) if v is not None]
    if not known:
        return []
    low, high = min(0.0, *known), max(known)
    span = high - low or 1.0
    width = min(PLOT_WIDTH, max(len(seen), len(expected), 2))
    rows = [[" "] * width for _ in range(PLOT_HEIGHT)]
    for curve, sign in ((expected, "·"), (seen, "●")):
        for column in range(width if curve else 0):
            value = curve[round(column * (len(curve) - 1) / max(width - 1, 1))]
            if value is not None:
                rows[round((high - value) / span * (PLOT_HEIGHT - 1))][column] = sign
    labels = {0: f"{high:,.4g}", PLOT_HEIGHT - 1: f"{low:,.4g}"}
    wide = max(len(label) for label in labels.values())
    return [f"{labels.get(k, ''):>{wide}} ┤{''.join(row).rstrip()}" for k, row in enumerate(rows)]


def _picture(entry: Entry, seen: Sequence[float | None], settings: HeadendSettings, screen: Screen) -> bytes:
    from headend.alerts.chart import Curve, draw
    from headend.words import heading

    end = entry.until_ns or entry.last_seen_ns
    step = max((end - entry.start_ns) // max(len(seen) - 1, 1), 1)
    times = [entry.start_ns + k * step for k in range(len(seen))]
    curve = Curve(heading(entry, screen.lang), unit_of_curve(entry) or "–", times, list(seen))
    return draw(curve, start_ns=entry.start_ns, end_ns=end, zone=settings.plant.site.site.zone)


def _head(screen: Screen, settings: HeadendSettings, entry: Entry, now_ns: int) -> None:
    from headend.words import about, heading, severity_words, state_words

    zone = settings.plant.site.site.zone
    screen.line(f"#{entry.id}  {heading(entry, screen.lang)}", style="bold")
    state = f"{severity_words(entry.severity, screen.lang)}, {state_words(entry, now_ns, screen.lang)}"
    screen.line(
        f"{about(entry, settings.plant, screen.lang)}  {_at(entry.start_ns, zone)} – {_at(entry.until_ns, zone)}"
    )
    screen.line(state)


def _at(t_ns: int | None, zone: dt.tzinfo) -> str:
    return "" if t_ns is None else f"{dt.datetime.fromtimestamp(t_ns // NS, zone):%Y-%m-%d %H:%M}"


def _json(entry: Entry, now_ns: int) -> dict[str, Any]:
    return {
        "number": entry.id, "kind": entry.kind, "scope": entry.scope, "subject": entry.subject,
        "meters": list(entry.meters), "severity": entry.severity, "state": entry.state(now_ns),
        "start_ns": entry.start_ns, "end_ns": entry.until_ns, "confidence": entry.confidence,
        "energy_kwh": entry.energy_kwh, "cause": entry.cause, "acknowledged_by": entry.acknowledged_by,
        "acknowledged_why": entry.acknowledged_why,
    }  # fmt: skip


# -- the book --------------------------------------------------------------------------------------------------------
@contextmanager
def _book(file: Path) -> Iterator[tuple[HeadendSettings, FindingsBook, int]]:
    settings = load_headend(file)
    from headend.findings import FindingsBook
    from headend.queries import Queries

    try:
        queries = Queries.of(settings)
    except StoreUnavailable as error:
        raise Unreachable(str(settings.data), str(error), f"start it: meterline headend {file}") from error
    try:
        heard = [word for _, word in queries.catalogue.health().values() if word.simulated]
        now_ns = max((int(word.at_ns) for word in heard), default=time.time_ns())
        book = FindingsBook(queries.catalogue.path, settings.plant)
        try:
            yield settings, book, now_ns
        finally:
            book.close()
    finally:
        queries.close()


def _entry(book: FindingsBook, number: int, file: Path) -> Entry:
    entry = book.find(number)
    if entry is None:
        hint = f"meterline findings list {file} --all names them"
        raise ConfigError([Problem(str(file), f"finding {number}", "there is no such finding", hint)])
    return entry


def _is_running(settings: HeadendSettings) -> bool:
    """Whether a head-end holds the store: then it is the only one that writes."""
    from headend.stores.embedded import is_held

    return is_held(settings.data)
