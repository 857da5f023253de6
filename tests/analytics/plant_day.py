"""A made-up meter for tests of detectors: two days of a shift load at one-minute polls, with everything consistent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.detectors import MeterContext, MeterWindow
from analytics.series import CounterSeries, Series, Span

S = 10**9
POLL = 60 * S
DAY = 1440
START = 1_700_006_400 * S  # 2023-11-15 00:00 UTC, a whole poll
EVERY = slice(None)


@dataclass
class PlantDay:
    """Arrays a test may break before asking for a window; the counter is made of the power unless it is given."""

    days: int = 2
    seed: int = 1
    idle_kw: float = 12.0
    work_kw: float = 60.0
    power: NDArray[np.float64] = field(init=False)
    volts: NDArray[np.float64] = field(init=False)
    amps: NDArray[np.float64] = field(init=False)
    kwh: NDArray[np.float64] = field(init=False)
    there: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        n = self.days * DAY
        minute = np.arange(n) % DAY
        level = np.where((minute >= 480) & (minute < 1080), self.work_kw, self.idle_kw)
        self.power = np.round(level * (1 + 0.04 * rng.standard_normal(n)), 2)
        self.volts = np.round(230 + 0.8 * rng.standard_normal((3, n)), 1)
        self.amps = np.round(self.power * 1000 / 3 / 230 / 0.9 * (1 + 0.02 * rng.standard_normal((3, n))), 2)
        self.kwh = np.round(5000 + np.cumsum(self.power) / 60, 2)
        self.there = np.ones(n, bool)

    @property
    def t_ns(self) -> NDArray[np.int64]:
        return START + np.arange(self.power.size) * POLL + 150_000_000

    @property
    def off_hours(self) -> tuple[Span, ...]:
        """Before 08:00 and after 18:00 of each day."""
        spans = []
        for day in range(self.days):
            midnight = START + day * DAY * POLL
            spans += [Span(midnight, midnight + 480 * POLL), Span(midnight + 1080 * POLL, midnight + DAY * POLL)]
        return tuple(spans)

    def window(
        self, *, only: tuple[str, ...] = ("power", "volts", "amps", "kwh"), calendar: bool = True
    ) -> MeterWindow:
        t, there = self.t_ns[self.there], self.there
        gauges: dict[str, Series] = {}
        if "power" in only:
            gauges["power.active.total"] = Series.of(t, self.power[there])
        for k in range(3):
            if "volts" in only:
                gauges[f"voltage.l{k + 1}n"] = Series.of(t, self.volts[k, there])
            if "amps" in only:
                gauges[f"current.l{k + 1}"] = Series.of(t, self.amps[k, there])
        counters: dict[str, CounterSeries] = {}
        if "kwh" in only:
            counters["energy.active.import"] = CounterSeries.of(t, np.round(self.kwh[there] * 1e6).astype(np.int64))
        end = START + self.power.size * POLL
        return MeterWindow(START, end, gauges, counters, (), self.off_hours if calendar else ())


CONTEXT = MeterContext(
    "m1", POLL, rated_kw=100.0, nominal_v=230.0, idle_kw=12.0, wraps_at_micro=10**12, counter_resolution_micro=10_000,
    power_resolution_kw=0.01,
)  # fmt: skip
