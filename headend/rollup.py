"""Raw counter readings become interval amounts: quarters, hours and days of the plant, primary side, revisioned.

Nothing is recomputed that did not change. The store says which meters and slots were touched since the last run; around
these a window of readings is judged anew, wide enough that its edges agree with what is already in the catalogue. So
late data, replays and a process killed anywhere lead to the same numbers as data that came in order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from analytics.counter_model import CounterEvent, CounterRules, Exchange
from analytics.counters import QUARTER_NS, IntervalEnergies, interval_energies, roll_up
from analytics.series import CounterSeries, grid
from headend.catalogue import Catalogue, dump_cursor, load_cursor
from headend.intervals import EventRow, Interval, Resolution
from headend.metered import DEFAULT_POLL_NS, counters_of, poll_ns_of, rules_of
from headend.plant_days import day_edges
from headend.primary import Regime, regimes, scaled_micro
from headend.stores.api import RawSeries, Span, StoreReader
from meterline.clock import NS
from meterline.plant import Meter, Plant
from meterline.readings import NO_VALUE, Quality

_LOG = logging.getLogger(__name__)
_HOUR_NS = 3600 * NS
_LOOK_BACK_NS = 7 * _HOUR_NS
"""A wrong reading can be told up to six hours later (`CounterRules.glitch_max_ns`); one hour more to stand on."""
_PAST_NS = 3653 * 24 * _HOUR_NS
_FUTURE_NS = 24 * _HOUR_NS
_JOB = "rollup"
_PENDING = "rollup.pending"
_KNOWN = "rollup.known"
_RATIOS = "rollup.ratios"

Isolated = Callable[[str, Callable[[], None]], bool]
"""Runs one meter's part and says whether it worked; a failure is somebody else's to log."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a run did.

    Attributes
    ----------
    meters
        Meters brought up to date.
    revised
        Closed intervals that got another value.
    """

    meters: tuple[str, ...]
    revised: int


class Rollup:
    """Keeps the catalogue's intervals true to the store's readings.

    Parameters
    ----------
    plant, store, catalogue
        Where ratios, readings and results are.
    """

    def __init__(self, plant: Plant, store: StoreReader, catalogue: Catalogue) -> None:
        self._plant, self._store, self._catalogue = plant, store, catalogue

    def run(self, now_ns: int, isolated: Isolated) -> Rolled:
        """Bring everything touched since the last run up to date.

        What is touched is first written down as pending, with the store's cursor, then worked off meter by meter: a
        meter that fails, or a process that ends, leaves its part pending.
        """
        self._note_touched(Span(now_ns - _PAST_NS, now_ns + _FUTURE_NS))
        self._note_ratios()
        done: list[str] = []
        revised = 0

        for name, pending in sorted(self._catalogue.marks(_PENDING).items()):
            meter = self._plant.meters.get(name)
            if meter is None:  # not in the site file (any more): raw data stays, intervals are nobody's
                self._catalogue.drop_mark(_PENDING, name)
                continue

            def work(meter: Meter = meter, pending: str = pending) -> None:
                nonlocal revised
                revised += self._bring_up(meter, pending, now_ns)
                done.append(meter.id)

            isolated(f"intervals of {name}", work)
        return Rolled(tuple(done), revised)

    def _note_touched(self, believable: Span) -> None:
        old = self._catalogue.mark(_JOB, "cursor")
        cursor, touched = self._store.changed(load_cursor(old))
        text = dump_cursor(cursor)
        if text == old:
            return
        marks = {(_JOB, "cursor"): text}
        known = self._catalogue.marks(_KNOWN)
        for meter, slots in touched.items():
            # a clock that stood in 1970 or runs in 2100 must not open decades of intervals; the raw data stays
            span = Span(max(slots.start_ns, believable.start_ns), min(slots.end_ns, believable.end_ns))
            if span.start_ns >= span.end_ns:
                continue
            held = _span(known.get(meter))
            late = held is not None and span.start_ns < held.end_ns
            self._pend(marks, meter, span, "late data" if late else "readings")
            marks[_KNOWN, meter] = _text(span.joined(held) if held else span)
        self._catalogue.set_marks(marks)

    def _note_ratios(self) -> None:
        """A ratio or an exchange that was entered, changed or taken back: everything from the earliest that differs."""
        held, zone = self._catalogue.marks(_RATIOS), self._plant.site.site.zone
        known = self._catalogue.marks(_KNOWN)
        marks: dict[tuple[str, str], str] = {}
        for name, meter in self._plant.meters.items():
            lines = [
                f"{r.from_ns}*{r.factor}"
                for m in counters_of(self._plant, meter)
                for r in regimes(self._plant, meter, m)
            ]
            for x in meter.exchanges:
                start_ns, end_ns = x.span_ns(zone)
                lines.append(f"{start_ns}*exchange {end_ns} {x.old_end} {x.new_start}".replace(" ", "_"))
            text = " ".join(sorted(set(lines)))
            before = held.get(name)
            if before == text:
                continue
            marks[_RATIOS, name] = text
            span = _span(known.get(name))
            if before is not None and span is not None:
                differ = set(before.split()) ^ set(lines)
                start = max(span.start_ns, min(int(line.split("*")[0]) for line in differ))
                if start < span.end_ns:
                    reason = "exchange" if all("*exchange" in line for line in differ) else "ratio"
                    self._pend(marks, name, Span(start, span.end_ns), reason)
        if marks:
            self._catalogue.set_marks(marks)

    def _pend(self, marks: dict[tuple[str, str], str], meter: str, span: Span, reason: str) -> None:
        before = self._catalogue.mark(_PENDING, meter)
        if before is not None:
            held, why = _pending(before)
            span = span.joined(held)
            reason = reason if why == "readings" else why
        marks[_PENDING, meter] = f"{_text(span)} {reason}"

    def _bring_up(self, meter: Meter, pending: str, now_ns: int) -> int:
        span, reason = _pending(pending)
        known = _span(self._catalogue.mark(_KNOWN, meter.id)) or span
        revised = 0
        with self._catalogue.transaction():
            for measurand in counters_of(self._plant, meter):
                account = _Account(self._plant, self._store, self._catalogue, meter, measurand, known)
                revised += account.bring_up(span, now_ns, reason)
            self._catalogue.drop_mark(_PENDING, meter.id)
        return revised


class _Account:
    """One counter of one meter."""

    def __init__(
        self, plant: Plant, store: StoreReader, catalogue: Catalogue, meter: Meter, measurand: str, known: Span
    ) -> None:
        self._plant, self._store, self._catalogue = plant, store, catalogue
        self._meter, self._measurand, self._known = meter, measurand, known
        self._regimes = regimes(plant, meter, measurand)

    def bring_up(self, touched: Span, now_ns: int, reason: str) -> int:
        """Recompute what the touched slots can have changed; how many closed intervals were revised."""
        new = self._store.series(self._meter.id, self._measurand, touched)
        if not bool(((new.quality & int(NO_VALUE)) == 0).any()):
            return 0  # polls of other measurands, or of a point this meter does not have
        window = Span(touched.start_ns - _LOOK_BACK_NS, touched.end_ns + _LOOK_BACK_NS)
        while True:
            window = Span(max(window.start_ns, self._known.start_ns), min(window.end_ns, self._known.end_ns))
            at_start, at_end = window.start_ns == self._known.start_ns, window.end_ns == self._known.end_ns
            raw = self._store.series(self._meter.id, self._measurand, window)
            before, after = _holds(raw, touched)
            wider_left, wider_right = not (before or at_start), not (after or at_end)
            if not (wider_left or wider_right):
                energies = self._energies(raw)
                if energies is None:
                    return 0
                fresh, last_ns = self._judged(energies, raw, at_start, at_end)
                wider_left = not at_start and not self._agrees(fresh[:1])
                wider_right = not at_end and not self._agrees(fresh[-1:])
                if not (wider_left or wider_right):
                    newest_ns = last_ns if at_end else self._known.end_ns
                    return self._write(fresh, energies, newest_ns, now_ns, reason)
            length = window.end_ns - window.start_ns
            window = Span(window.start_ns - wider_left * 2 * length, window.end_ns + wider_right * 2 * length)

    def _energies(self, raw: RawSeries) -> IntervalEnergies | None:
        """Quarters over all readings of the window, each stretch of one ratio by itself."""
        parts: list[IntervalEnergies] = []
        rules = rules_of(self._plant, self._meter, self._measurand, poll_ns_of(raw.slot_ns, DEFAULT_POLL_NS))
        order = np.argsort(raw.read_ns, kind="stable")
        t, micro, quality = raw.read_ns[order], raw.micro[order], raw.quality[order]
        ends = [regime.from_ns for regime in self._regimes[1:]] + [2**62]
        newest = self._regimes[-1].factor
        for regime, end_ns in zip(self._regimes, ends, strict=True):
            part = _of_regime(t, micro, quality, regime, end_ns)
            if part is None:
                continue
            scale = regime.factor / newest
            mine = replace(
                rules,
                wraps_at=None if rules.wraps_at is None else int(rules.wraps_at * scale),
                resolution=max(1, int(rules.resolution * scale)),
                exchanges=tuple(_scaled(x, scale) for x in rules.exchanges),
            )
            energies = _quarters(part, mine, regime.from_ns, end_ns)
            if energies is not None:
                parts.append(energies)
        return _in_a_row(parts)

    def _judged(
        self, energies: IntervalEnergies, raw: RawSeries, at_start: bool, at_end: bool
    ) -> tuple[list[Interval], int]:
        """The intervals of the window that its readings decide: those its edges cut are left as they are."""
        there = (raw.quality & int(NO_VALUE)) == 0
        first_ns, last_ns = int(raw.read_ns[there].min()), int(raw.read_ns[there].max())
        held_back = [e.t_before_ns for e in energies.events if e.kind == "unconfirmed"]
        last_ns = min([last_ns, *held_back])
        keep = np.ones(len(energies), bool)
        if not at_start:
            keep &= energies.start_ns >= first_ns
        if not at_end:
            keep &= energies.end_ns <= last_ns
        return self._rows("15min", energies, keep, last_ns), last_ns

    def _rows(
        self, resolution: Resolution, energies: IntervalEnergies, keep: NDArray[np.bool_], last_ns: int
    ) -> list[Interval]:
        u = np.where(np.isfinite(energies.u_micro), energies.u_micro, -1.0)
        return [
            Interval(
                self._meter.id, self._measurand, resolution, start, end,
                amount, None if doubt < 0 else doubt, coverage, bits, open=end > last_ns,
            )
            for start, end, amount, doubt, coverage, bits, mine in zip(
                energies.start_ns.tolist(), energies.end_ns.tolist(), energies.micro.tolist(), u.tolist(),
                energies.coverage.tolist(), energies.quality.tolist(), keep.tolist(), strict=True,
            )
            if mine
        ]  # fmt: skip

    def _agrees(self, edge: Sequence[Interval]) -> bool:
        """Whether an interval at the window's edge came out as it stands in the catalogue (or is not there yet)."""
        for interval in edge:
            stored = self._catalogue.intervals(
                self._meter.id, self._measurand, "15min", Span(interval.start_ns, interval.end_ns)
            )
            if stored and not stored[0].open and stored[0].micro != interval.micro:
                return False
        return True

    def _write(
        self, fresh: list[Interval], energies: IntervalEnergies, newest_ns: int, now_ns: int, reason: str
    ) -> int:
        if not fresh:
            return 0
        within = Span(fresh[0].start_ns, fresh[-1].end_ns)
        revised = self._catalogue.put_intervals(fresh, within, now_ns, reason)
        self._catalogue.put_events(self._meter.id, self._measurand, within, [_event(e) for e in energies.events])
        edges = day_edges(self._plant.site.site.zone, within.start_ns, within.end_ns)
        fine = _as_energies(
            self._catalogue.intervals(self._meter.id, self._measurand, "15min", Span(edges[0], edges[-1]))
        )
        coarse: list[tuple[Resolution, NDArray[np.int64]]] = [
            ("hour", np.arange(edges[0], edges[-1] + 1, _HOUR_NS, dtype=np.int64)),
            ("day", np.array(edges, dtype=np.int64)),
        ]
        for resolution, boundaries in coarse:
            rolled = roll_up(fine, boundaries)
            touched = (rolled.end_ns > fine.boundaries_ns[0]) & (rolled.start_ns < fine.boundaries_ns[-1])
            rows = self._rows(resolution, rolled, touched, newest_ns)
            revised += self._catalogue.put_intervals(rows, Span(edges[0], edges[-1]), now_ns, reason)
        return revised


def _scaled(exchange: Exchange, scale: Fraction) -> Exchange:
    """What was written down, in the ratio of a stretch."""

    def micro(amount: int | None) -> int | None:
        return None if amount is None else round(amount * scale)

    old, new = micro(exchange.old_end_micro), micro(exchange.new_start_micro)
    return replace(exchange, old_end_micro=old, new_start_micro=new)


def _holds(raw: RawSeries, touched: Span) -> tuple[bool, bool]:
    """Whether the readings reach far enough to both sides of the touched slots.

    A reading changes the display at the edges of every quarter between its neighbours: the readings must begin before
    the quarter of the neighbour before, and end after that of the neighbour behind.
    """
    there = (raw.quality & int(NO_VALUE)) == 0
    slot, read = raw.slot_ns[there], raw.read_ns[there]
    left, right = read[slot < touched.start_ns], read[slot >= touched.end_ns]
    before = left.size > 0 and int(read.min()) <= int(left.max()) // QUARTER_NS * QUARTER_NS
    after = right.size > 0 and int(read.max()) >= -(-int(right.min()) // QUARTER_NS) * QUARTER_NS
    return bool(before), bool(after)


def _of_regime(
    t: NDArray[np.int64], micro: NDArray[np.int64], quality: NDArray[np.int32], regime: Regime, end_ns: int
) -> CounterSeries | None:
    """The readings under one ratio, with the neighbours outside that are needed to find the display at its edges."""
    first = max(int(np.searchsorted(t, regime.from_ns)) - 1, 0)
    last = min(int(np.searchsorted(t, end_ns)) + 1, t.size)
    if last - first < 2 or t[first] >= end_ns or t[last - 1] < regime.from_ns:
        return None
    return CounterSeries(t[first:last], scaled_micro(micro[first:last], regime.factor), quality[first:last])


def _quarters(counter: CounterSeries, rules: CounterRules, from_ns: int, to_ns: int) -> IntervalEnergies | None:
    there = (counter.quality & int(NO_VALUE)) == 0
    if int(there.sum()) < 2:
        return None
    t = counter.t_ns[there]
    boundaries = grid(max(int(t[0]), from_ns), min(int(t[-1]), to_ns), QUARTER_NS)
    return interval_energies(counter, rules, boundaries_ns=boundaries)


def _in_a_row(parts: Sequence[IntervalEnergies]) -> IntervalEnergies | None:
    """Join stretches that follow each other; a ratio changes at midnight, which every grid has."""
    if not parts:
        return None
    events: dict[tuple[str, int, int], CounterEvent] = {}
    for part in parts:
        events.update({(e.kind, e.t_before_ns, e.t_after_ns): e for e in part.events})
    return IntervalEnergies(
        np.concatenate([parts[0].boundaries_ns[:1], *(p.boundaries_ns[1:] for p in parts)]),
        np.concatenate([p.micro for p in parts]),
        np.concatenate([p.u_micro for p in parts]),
        np.concatenate([p.coverage for p in parts]),
        np.concatenate([p.quality for p in parts]),
        tuple(sorted(events.values(), key=lambda e: (e.t_before_ns, e.t_after_ns))),
    )


def _as_energies(rows: Sequence[Interval]) -> IntervalEnergies:
    """Stored quarters as arrays; a quarter nobody knows anything about is MISSING."""
    boundaries = np.arange(rows[0].start_ns, rows[-1].end_ns + 1, QUARTER_NS, dtype=np.int64)
    count = boundaries.size - 1
    at = np.array([(row.start_ns - rows[0].start_ns) // QUARTER_NS for row in rows])
    micro, coverage = np.zeros(count, np.int64), np.zeros(count)
    u, quality = np.full(count, np.nan), np.full(count, int(Quality.MISSING), np.int32)
    micro[at] = [row.micro for row in rows]
    coverage[at] = [row.coverage for row in rows]
    u[at] = [np.nan if row.u_micro is None else row.u_micro for row in rows]
    quality[at] = [row.quality for row in rows]
    return IntervalEnergies(boundaries, micro, u, coverage, quality)


def _event(event: CounterEvent) -> EventRow:
    return EventRow(
        str(event.kind), event.t_before_ns, event.t_after_ns, event.before_micro, event.after_micro,
        event.correction_micro, event.set_aside,
    )  # fmt: skip


def _text(span: Span) -> str:
    return f"{span.start_ns} {span.end_ns}"


def _span(text: str | None) -> Span | None:
    if text is None:
        return None
    start, end = text.split(" ")[:2]
    return Span(int(start), int(end))


def _pending(text: str) -> tuple[Span, str]:
    start, end, reason = text.split(" ", 2)
    return Span(int(start), int(end)), reason
