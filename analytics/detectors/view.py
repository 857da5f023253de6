"""What a detector looks at: what is known about a meter, a window of its readings, and both prepared once for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analytics.counter_model import CounterRules, Track, rate_of_power
from analytics.counter_track import follow_track
from analytics.counters import QUARTER_NS, IntervalEnergies, spread
from analytics.series import SECOND_NS, BoolArray, CounterSeries, FloatArray, IntArray, Series, Span, grid, is_no_value
from meterline.measurands import MEASURANDS

PHASES = ("l1", "l2", "l3")
_PER_HOUR = {("kWh", "kW"): 1.0, ("GJ", "kW"): 0.0036}
"""Counter's unit, power's unit: what is counted in an hour at 1; one kWh is 3.6 MJ by definition."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a meter normally does, learnt from weeks of its history by `analytics.detectors.learning.learn`.

    Attributes
    ----------
    idle_kw, idle_spread_kw : float or None
        Level of the quiet nights and its robust standard deviation from night to night. [kW]
    work_kw : float or None
        Median in working time. [kW]
    floor_kw : float or None
        Below this the power was in less than 1 in 1000 samples. [kW]
    peak_kw : float or None
        Above this the power was in less than 1 in 1000 samples. [kW]
    current_share : tuple of 3 floats or None
        Median share of each phase in the sum of the currents, under load.
    """

    idle_kw: float | None = None
    idle_spread_kw: float | None = None
    work_kw: float | None = None
    floor_kw: float | None = None
    peak_kw: float | None = None
    current_share: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class MeterContext:
    """What is known about a meter besides its readings. Everything primary side, canonical units.

    Attributes
    ----------
    meter : str
        Id.
    poll_ns : int
        Time between two polls of the fast measurands. [ns]
    rated_kw : float or None
        Largest power (or flow, in the unit of `power_name`) the connection can carry. [kW]
    nominal_v : float or None
        Phase voltage that belongs here. [V]
    idle_kw : float or None
        Declared as normal outside working time. [kW]
    wraps_at_micro : int or None
        Modulus of the counter. [1e-6 unit]
    counter_resolution_micro : int
        Last digit of the counter. [1e-6 unit]
    power_resolution_kw : float
        Last digit of the power; 0 if unknown. [kW]
    may_run_backwards : bool
        Own generation behind this meter, or a net counter.
    counter_name, power_name : str
        The measurands the account is kept with and the momentary use is shown by.
    learnt : Learnt or None
    """

    meter: str
    poll_ns: int
    rated_kw: float | None = None
    nominal_v: float | None = None
    idle_kw: float | None = None
    wraps_at_micro: int | None = None
    counter_resolution_micro: int = 1
    power_resolution_kw: float = 0.0
    may_run_backwards: bool = False
    counter_name: str = "energy.active.import"
    power_name: str = "power.active.total"
    learnt: Learnt | None = None

    @property
    def counted_per_hour(self) -> float | None:
        """What the counter counts in an hour at a power (or flow) of 1; None where the two do not measure one thing."""
        counter, power = (MEASURANDS[name].unit for name in (self.counter_name, self.power_name))
        return 1.0 if f"{counter}/h" == power else _PER_HOUR.get((counter, power))

    def counter_rules(self, counter_poll_ns: int | None = None) -> CounterRules:
        """How the counter of this meter is judged: believed up to 1.5 times the rating.

        Parameters
        ----------
        counter_poll_ns : int, optional
            Where the counter is asked less often than the fast measurands. [ns]
        """
        per_hour = self.counted_per_hour
        known = self.rated_kw is not None and per_hour is not None
        return CounterRules(
            max_gap_ns=max(5 * (counter_poll_ns or self.poll_ns), 60 * SECOND_NS),
            max_rate=rate_of_power(1.5 * (self.rated_kw or 0.0) * (per_hour or 0.0)) if known else None,
            wraps_at=self.wraps_at_micro,
            resolution=self.counter_resolution_micro,
            may_run_backwards=self.may_run_backwards,
        )


@dataclass(frozen=True)
class MeterWindow:
    """A trailing window of a meter's readings, as the store has them.

    Attributes
    ----------
    start_ns, now_ns : int
        The window is ``[start_ns, now_ns)``; `now_ns` is the clock of the caller. [ns]
    gauges : mapping of measurand to Series
    counters : mapping of measurand to CounterSeries
    silent : tuple of Span
        Spans recorded as missing at the gateway (a meter that did not answer); one that lasts ends at `now_ns`.
    off_hours : tuple of Span
        Time outside the shifts, from the plant's calendar; empty where the plant never stops.
    states : mapping of measurand to Series
        Status words, counts of events, clock and number of the meter, as it gave them.
    """

    start_ns: int
    now_ns: int
    gauges: Mapping[str, Series] = field(default_factory=dict)
    counters: Mapping[str, CounterSeries] = field(default_factory=dict)
    silent: tuple[Span, ...] = ()
    off_hours: tuple[Span, ...] = ()
    states: Mapping[str, Series] = field(default_factory=dict)


class View:
    """A meter's context and window, with what several detectors need worked out once and only when asked for.

    Gauges are laid on the common grid of polls (slot k is ``start + k * poll``), so that what was read in one poll
    stands in one column although its answers came milliseconds apart; NaN where there is no value.
    """

    def __init__(self, context: MeterContext, window: MeterWindow) -> None:
        self.context = context
        self.window = window

    @cached_property
    def slot_ns(self) -> IntArray:
        """(n,) int64: the start of each poll slot of the window. [ns]"""
        poll = self.context.poll_ns
        return np.arange(self.window.start_ns // poll, -(-self.window.now_ns // poll), dtype=np.int64) * poll

    def gauge(self, name: str) -> FloatArray | None:
        """(n,) float64 on the slots, or None if this measurand has no value in the window."""
        series = self.window.gauges.get(name)
        if series is None or not self.slot_ns.size:
            return None
        known = series.between(self.window.start_ns, self.window.now_ns).known()
        if not len(known):
            return None
        values = np.full(self.slot_ns.size, np.nan)
        values[(known.t_ns - self.slot_ns[0]) // self.context.poll_ns] = known.value
        return values

    @cached_property
    def power(self) -> FloatArray | None:
        """(n,) float64 on the slots. [kW]"""
        return self.gauge(self.context.power_name)

    @cached_property
    def load(self) -> FloatArray | None:
        """(n,) float64 on the slots: the power, or without a power gauge the counter's mean over each quarter. [kW]

        Many gas and water meters have nothing but a counter. A quarter that is not fully measured is NaN.
        """
        if self.power is not None:
            return self.power
        quarters, per_hour = self.quarters, self.context.counted_per_hour
        if quarters is None or per_hour is None or not self.slot_ns.size:
            return None
        mean = np.append(quarters.mean_per_hour / per_hour, np.nan)
        at = np.searchsorted(quarters.boundaries_ns, self.slot_ns, side="right") - 1
        values = mean[np.where((at >= 0) & (at < len(quarters)), at, len(quarters))]
        return values if bool(np.isfinite(values).any()) else None

    @property
    def load_resolution_kw(self) -> float:
        """The last digit of `load`. [kW]"""
        if self.power is not None:
            return self.context.power_resolution_kw
        return self.resolution_kwh / (QUARTER_NS / 3.6e12)

    @property
    def resolution_kwh(self) -> float:
        """The counter's last digit, in hours of power. [kWh]"""
        return self.context.counter_resolution_micro / 1e6 / (self.context.counted_per_hour or 1.0)

    @cached_property
    def voltages(self) -> FloatArray | None:
        """(3, n) float64, phase to neutral, or None unless all three are there. [V]"""
        return self._three("voltage.{}n")

    @cached_property
    def currents(self) -> FloatArray | None:
        """(3, n) float64, or None unless all three are there. [A]"""
        return self._three("current.{}")

    def _three(self, pattern: str) -> FloatArray | None:
        rows = [self.gauge(pattern.format(phase)) for phase in PHASES]
        found = [row for row in rows if row is not None]
        return np.stack(found) if len(found) == 3 else None

    @cached_property
    def track(self) -> Track | None:
        """The believed readings of the account's counter; None if there is no counter."""
        counter = self.window.counters.get(self.context.counter_name)
        return follow_track(counter, self.rules) if counter is not None and len(counter) else None

    @cached_property
    def rules(self) -> CounterRules:
        """How the account's counter is judged, by how often it is really read."""
        counter = self.window.counters.get(self.context.counter_name)
        read_ns = np.zeros(0, np.int64) if counter is None else np.sort(counter.t_ns[~is_no_value(counter.quality)])
        usual = int(np.median(np.diff(read_ns))) if read_ns.size > 2 else 0
        return self.context.counter_rules(max(usual, self.context.poll_ns))

    @cached_property
    def quarters(self) -> IntervalEnergies | None:
        """Energies of the quarter-hours that enclose the counter's readings; None for fewer than two readings."""
        track = self.track
        if track is None or track.t_ns.size < 2:
            return None
        boundaries = grid(int(track.t_ns[0]), int(track.t_ns[-1]), QUARTER_NS)
        return spread(track, self.rules, boundaries)

    @cached_property
    def display(self) -> FloatArray | None:
        """(n,) float64 on the slots: what the counter showed, as it came, in hours of power. [kWh]

        None if there is no counter, or power and counter do not measure one thing.
        """
        counter, per_hour = self.window.counters.get(self.context.counter_name), self.context.counted_per_hour
        if counter is None or per_hour is None or not self.slot_ns.size:
            return None
        inside = (counter.t_ns >= self.slot_ns[0]) & (counter.t_ns < self.window.now_ns) & ~is_no_value(counter.quality)
        if not bool(inside.any()):
            return None
        shown = np.full(self.slot_ns.size, np.nan)
        shown[(counter.t_ns[inside] - self.slot_ns[0]) // self.context.poll_ns] = counter.micro[inside] / 1e6 / per_hour
        return shown

    def displayed_kwh(self, a: int, b: int) -> float | None:
        """How far the display itself moved over the slots ``[a, b)``; None if unknown. [kWh]"""
        if self.display is None:
            return None
        shown = self.display[a:b]
        shown = shown[np.isfinite(shown)]
        return float(shown[-1] - shown[0]) if shown.size >= 2 else None

    def counted_kwh(self, start_ns: int, end_ns: int) -> float | None:
        """What the counter counted between two instants, None unless between believed readings. [kWh]"""
        track, per_hour = self.track, self.context.counted_per_hour
        if (
            track is None
            or per_hour is None
            or track.t_ns.size < 2
            or start_ns < track.t_ns[0]
            or end_ns > track.t_ns[-1]
        ):
            return None
        account = np.interp([start_ns, end_ns], track.t_ns, track.account)
        return float(account[1] - account[0]) / 1e6 / per_hour

    def in_spans(self, spans: tuple[Span, ...]) -> BoolArray:
        """(n,) bool: the slots that start inside one of the spans."""
        inside = np.zeros(self.slot_ns.size, bool)
        for span in spans:
            inside |= (self.slot_ns >= span.start_ns) & (self.slot_ns < span.end_ns)
        return inside
