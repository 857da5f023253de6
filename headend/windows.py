"""What a detector is shown of a meter: a window of the store's readings, primary side, with the plant's off-hours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np

from analytics.detectors import Learnt, MeterContext, MeterWindow
from analytics.series import CounterSeries, Series
from analytics.series import Span as Stretch
from headend.metered import DEFAULT_POLL_NS, context_of, poll_ns_of
from headend.plant_days import day_of
from headend.primary import factor_at, regimes, scaled_micro, scaled_values
from headend.stores.api import RawSeries, Span, StoreReader
from meterline.clock import NS
from meterline.measurands import MEASURANDS, Kind
from meterline.plant import Meter, Plant
from meterline.site import Calendar


def window_of(
    plant: Plant,
    store: StoreReader,
    meter: Meter,
    span: Span,
    *,
    off_hours: tuple[Stretch, ...] = (),
    learnt: Learnt | None = None,
    only: Collection[str] | None = None,
) -> tuple[MeterContext, MeterWindow]:
    """A meter's context and its readings in a span, as detectors take them.

    Parameters
    ----------
    span
        Up to the moment the detectors are to stand at.
    off_hours
        See `off_hours_of`; the same for all meters.
    only
        Measurands to read; all without it.
    """
    raw = store.columns(meter.id, span, only)
    gauges: dict[str, Series] = {}
    states: dict[str, Series] = {}
    counters: dict[str, CounterSeries] = {}
    for name, series in raw.items():
        measurand = MEASURANDS.get(name)
        if measurand is None:
            continue
        which = regimes(plant, meter, name)
        if measurand.kind is Kind.COUNTER:
            # an exchanged transformer is no jump of the counter: the whole window is seen through today's ratio
            micro = scaled_micro(series.micro, factor_at(which, span.end_ns))
            counters[name] = CounterSeries(series.read_ns, micro, series.quality)
        elif measurand.kind is Kind.GAUGE:
            value = scaled_values(series.value, series.slot_ns, which)
            gauges[name] = Series.from_readings(series.read_ns, value, series.quality)
        elif measurand.kind is Kind.STATE:
            states[name] = Series.from_readings(series.read_ns, series.value, series.quality)
    silent = tuple(
        Stretch(s.start_ns, span.end_ns if s.end_ns is None else s.end_ns) for s in store.missing(meter.id, span)
    )
    window = MeterWindow(span.start_ns, span.end_ns, gauges, counters, silent, off_hours, states)
    return context_of(plant, meter, _fastest(raw), learnt), window


def _fastest(raw: Mapping[str, RawSeries]) -> int:
    """How often the measurand asked most often is asked. [ns]"""
    slots = max((series.slot_ns for series in raw.values()), key=len, default=np.zeros(0, np.int64))
    return poll_ns_of(slots, DEFAULT_POLL_NS)


def off_hours_of(plant: Plant, span: Span) -> tuple[Stretch, ...]:
    """Time outside the shifts, inside the span; none where the plant never stops."""
    site = plant.site.site
    if not site.calendar.shifts:
        return ()
    day = day_of(site.zone, span.start_ns) - dt.timedelta(days=1)
    last = day_of(site.zone, span.end_ns) + dt.timedelta(days=1)
    edges = {span.start_ns, span.end_ns}
    while day <= last:
        edges |= {int(moment.timestamp()) * NS for moment in _changes(site.calendar, day, site.zone)}
        day += dt.timedelta(days=1)
    inside = sorted(edge for edge in edges if span.start_ns <= edge <= span.end_ns)
    found: list[Stretch] = []
    for start, end in pairwise(inside):
        if site.calendar.working(dt.datetime.fromtimestamp((start + end) // 2 // NS, tz=site.zone)):
            continue
        if found and found[-1].end_ns == start:
            found[-1] = Stretch(found[-1].start_ns, end)
        else:
            found.append(Stretch(start, end))
    return tuple(found)


def _changes(calendar: Calendar, day: dt.date, zone: dt.tzinfo) -> list[dt.datetime]:
    """Moments of a day at which work can begin or end."""
    midnight = dt.datetime.combine(day, dt.time(), tzinfo=zone)
    minutes = {0}
    for shift in calendar.shifts:
        for text in (shift.start, shift.end):
            minutes.add(int(text[:2]) * 60 + int(text[3:]))
    return [
        midnight + dt.timedelta(days=1) if m == 24 * 60 else midnight.replace(hour=m // 60, minute=m % 60)
        for m in sorted(minutes)
    ]
