"""What people and programs ask the head-end: the plant at a glance, a curve, intervals, the state of everything.

Opens its own connections, read-only, so that the command line answers beside a running server. All values are primary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytics.series import BitArray, FloatArray, IntArray
from headend.audit_book import STATES, AuditBook
from headend.catalogue import Catalogue
from headend.findings import FindingsBook
from headend.intervals import Interval, Resolution
from headend.ledger import holes
from headend.metered import account_of, power_of
from headend.plant_days import day_of, midnight_ns
from headend.primary import regime_at, regimes, scaled_micro, scaled_values
from headend.stores.api import RawSeries, Span, StoreReader
from headend.stores.embedded import EmbeddedReader
from meterline.clock import NS
from meterline.measurands import MEASURANDS, Carrier, Kind
from meterline.plant import Meter, Plant
from meterline.readings import NO_VALUE, Quality, Reading, Source
from meterline.settings import HeadendSettings
from meterline.wire import HOUR_NS

FRESH_NS = 300 * NS
"""A momentary value older than this is not "now" (on a simulated site's fast clock the head-end takes more)."""


@dataclass(frozen=True, slots=True)
class Now:
    """The newest value of one measurand of a meter.

    Attributes
    ----------
    value
        Primary, in the canonical unit; None where the reading has none.
    read_ns, age_s
        When it was read, UTC [ns], and how long ago. [s]
    slot_ns
        The nominal moment of its poll, by which its batch is found. [ns]
    source
        Where it came from (`meterline.readings.Source`).
    """

    measurand: str
    unit: str
    value: float | None
    quality: int
    read_ns: int
    age_s: float
    slot_ns: int = 0
    source: str = Source.WIRE.value


@dataclass(frozen=True, slots=True)
class CarrierNow:
    """One energy user's use of one carrier, now and today: the sum over the meters that measure it whole.

    Attributes
    ----------
    power, power_unit
        Sum of the fresh momentary values; None if none is fresh.
    power_age_s
        Age of the oldest value in that sum. [s]
    fresh, meters
        How many meters are in the sum, of how many.
    today, unit
        Amount since midnight of the plant; None if unknown. [canonical unit]
    today_coverage
        Share of the time since midnight that was measured, the least over the meters.
    today_quality
        `Quality` bits of the amounts.
    """

    carrier: Carrier
    power: float | None
    power_unit: str
    power_age_s: float | None
    fresh: int
    meters: int
    today: float | None
    unit: str
    today_coverage: float
    today_quality: int


@dataclass(frozen=True, slots=True)
class UserNow:
    """One energy user at a glance.

    Attributes
    ----------
    ok, silent
        Its meters (and those below it) that delivered lately, and those that did not.
    """

    user: str
    carriers: tuple[CarrierNow, ...]
    ok: int
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A measurand in time, thinned for a screen without hiding anything.

    Attributes
    ----------
    t_ns : (n,) int64
        Slot, or the middle of a thinning step, UTC. [ns]
    value, low, high : (n,) float64
        Mean, smallest and largest of the step, primary; NaN where nothing was measured: a line must break there.
    quality : (n,) int32
        `Quality` bits of everything in the step.
    step_ns
        Length of a thinning step; 0 if nothing was thinned. [ns]
    """

    meter: str
    measurand: str
    unit: str
    t_ns: IntArray
    value: FloatArray
    low: FloatArray
    high: FloatArray
    quality: BitArray
    step_ns: int


class Queries:
    """Answers from the store and the catalogue.

    Parameters
    ----------
    plant, store, catalogue
        The site, and what is known about it.
    fresh_ns
        A momentary value older than this is not "now". [ns]
    """

    def __init__(self, plant: Plant, store: StoreReader, catalogue: Catalogue, *, fresh_ns: int | None = None) -> None:
        self.plant, self.store, self.catalogue = plant, store, catalogue
        self._fresh_ns = fresh_ns

    @classmethod
    def of(cls, settings: HeadendSettings) -> Queries:
        """Beside a running head-end, in any process.

        Raises
        ------
        StoreUnavailable
            The head-end has not run yet, or its files cannot be read.
        """
        return cls(settings.plant, EmbeddedReader(settings.data), Catalogue(settings.data, write=False))

    def close(self) -> None:
        """Let go of files and connections."""
        self.store.close()
        self.catalogue.close()

    @property
    def fresh_ns(self) -> int:
        """How old a momentary value may be; as the running head-end says, where it is not given."""
        if self._fresh_ns is None:
            return int(self.catalogue.mark("figures", "fresh_ns") or FRESH_NS)
        return self._fresh_ns

    # -- now ---------------------------------------------------------------------------------------------------------
    def latest(self, now_ns: int) -> dict[str, dict[str, Now]]:
        """Meter -> measurand -> newest value, for the meters of the plant."""
        found: dict[str, dict[str, Now]] = {}
        for (name, measurand), reading in self.store.latest().items():
            meter = self.plant.meters.get(name)
            if meter is not None:
                found.setdefault(name, {})[measurand] = self._now(meter, reading, now_ns)
        return found

    def overview(self, now_ns: int) -> list[UserNow]:
        """Every energy user at a glance, in the order of the site file."""
        latest, fresh_s = self.latest(now_ns), self.fresh_ns / NS
        return [self._user(user, latest, now_ns, fresh_s) for user in self.plant.energy_users]

    def good_until(self) -> dict[str, int]:
        """Meter -> when its last usable value was read, UTC [ns]; a meter nothing was ever heard of is not in it."""
        found: dict[str, int] = {}
        for (name, _), reading in self.store.latest().items():
            if reading.number is not None:
                found[name] = max(reading.read_ns, found.get(name, 0))
        return found

    def _user(self, user: str, latest: dict[str, dict[str, Now]], now_ns: int, fresh_s: float) -> UserNow:
        below = self.plant.users_below(user)
        meters = [m for m in self.plant.site.meters if m.energy_user in below]
        carriers = [c for c in Carrier if any(self.plant.carrier_of(m) is c for m in meters)]
        ok = {m.id for m in meters if _is_fresh(latest.get(m.id, {}).values(), fresh_s)}
        return UserNow(
            user,
            tuple(self._carrier(user, carrier, latest, now_ns, fresh_s) for carrier in carriers),
            len(ok),
            tuple(m.id for m in meters if m.id not in ok),
        )

    def _carrier(
        self, user: str, carrier: Carrier, latest: dict[str, dict[str, Now]], now_ns: int, fresh_s: float
    ) -> CarrierNow:
        meters = self.plant.top_meters(user, carrier)
        powers: list[Now] = []
        days: list[Interval] = []
        unit = power_unit = ""
        midnight = midnight_ns(self.plant.site.site.zone, day_of(self.plant.site.site.zone, now_ns))
        for meter in meters:
            power, account = power_of(self.plant, meter), account_of(self.plant, meter)
            if power is not None:
                power_unit = MEASURANDS[power].unit
                now = latest.get(meter.id, {}).get(power)
                if now is not None and now.value is not None and now.age_s <= fresh_s:
                    powers.append(now)
            if account is not None:
                unit = MEASURANDS[account].unit
                today = self.catalogue.intervals(meter.id, account, "day", Span(midnight, now_ns + 1))
                days += [day for day in today if day.has_energy]
        elapsed = max(now_ns - midnight, 1)
        covered = [day.coverage * (day.end_ns - day.start_ns) / elapsed for day in days]
        return CarrierNow(
            carrier=carrier,
            power=sum(now.value for now in powers if now.value is not None) if powers else None,
            power_unit=power_unit,
            power_age_s=max((now.age_s for now in powers), default=None),
            fresh=len(powers),
            meters=len(meters),
            today=sum(day.micro for day in days) / 1e6 if days else None,
            unit=unit,
            today_coverage=min(1.0, min(covered)) if len(days) == len(meters) and days else 0.0,
            today_quality=int(np.bitwise_or.reduce([day.quality for day in days])) if days else int(Quality.MISSING),
        )

    def _now(self, meter: Meter, reading: Reading, now_ns: int) -> Now:
        measurand = MEASURANDS.get(reading.measurand)
        value = None if reading.value is None else float(reading.value)
        if value is not None and measurand:
            value = regime_at(regimes(self.plant, meter, reading.measurand), reading.slot_ns).value(value)
        age_s = max(0.0, (now_ns - reading.read_ns) / NS)
        return Now(
            reading.measurand, measurand.unit if measurand else "", value, int(reading.quality), reading.read_ns, age_s,
            reading.slot_ns, reading.source.value,
        )  # fmt: skip

    # -- history -----------------------------------------------------------------------------------------------------
    def curve(self, meter: str, measurand: str, span: Span, most: int = 1500) -> Curve:
        """One measurand of one meter, at most `most` points; empty for an unknown one."""
        raw = self.store.series(meter, measurand, span)
        known = self.plant.meters.get(meter)
        value = self._primary(known, measurand, raw) if known is not None else raw.value
        unit = MEASURANDS[measurand].unit if measurand in MEASURANDS else ""
        if len(raw) <= most:
            t, shown, quality = _broken_at_gaps(raw.slot_ns, value, raw.quality)
            return Curve(meter, measurand, unit, t, shown, shown, shown, quality, 0)
        return _thinned(Curve(meter, measurand, unit, raw.slot_ns, value, value, value, raw.quality, 0), span, most)

    def _primary(self, meter: Meter, measurand: str, raw: RawSeries) -> FloatArray:
        which = regimes(self.plant, meter, measurand)
        if MEASURANDS[measurand].kind is Kind.COUNTER and len(which) == 1:
            there = (raw.quality & int(NO_VALUE)) == 0
            return np.where(there, scaled_micro(raw.micro, which[0].factor) / 1e6, np.nan)
        return scaled_values(raw.value, raw.slot_ns, which)

    def intervals(self, meter: str, resolution: Resolution, span: Span, measurand: str | None = None) -> list[Interval]:
        """Interval amounts of a meter's account (or another counter), in order; what is not there is not known."""
        known = self.plant.meters.get(meter)
        name = measurand or (account_of(self.plant, known) if known is not None else None)
        return [] if name is None else self.catalogue.intervals(meter, name, resolution, span)

    # -- the state of everything -------------------------------------------------------------------------------------
    def status(self, now_ns: int) -> dict[str, Any]:
        """The state of gateways, ledger, store and meters, JSON-able: ``meterline status --json``."""
        totals = self.store.totals()
        latest = self.latest(now_ns)
        fresh_s = self.fresh_ns / NS
        silent = [m for m in self.plant.meters if not _is_fresh(latest.get(m, {}).values(), fresh_s)]
        health = self.catalogue.health()
        known = {meter for meter, _ in self.store.latest()}
        return {
            "site": self.plant.site.site.id,
            "now_ns": now_ns,
            "gateways": {
                name: self._gateway(name, health, now_ns) for name in sorted({*self.store.gateways(), *health})
            },
            "store": {
                "batches": totals.batches,
                "readings": totals.readings,
                "last_slot_ns": totals.last_slot_ns,
                "lag_s": None if totals.last_slot_ns is None else (now_ns - totals.last_slot_ns) / NS,
            },
            "quarantine": self.catalogue.quarantined(),
            "chain_breaks": [list(found) for found in self.catalogue.chain_breaks()],
            "audit": self._audit(),
            "meters": {"configured": len(self.plant.meters), "silent": silent},
            "findings": self._findings(now_ns),
            "unknown_meters": sorted(known - set(self.plant.meters)),
            "head_end": self.catalogue.marks("figures"),
        }

    def _audit(self) -> dict[str, dict[str, Any]]:
        """Gateway -> how many of the hours it stated are how, and up to when it has stated any. [ns]"""
        book = AuditBook(self.catalogue.path, write=False)
        try:
            newest, counts = book.newest(), book.counts()
        finally:
            book.close()
        return {
            gateway: {state: found.get(state, 0) for state in STATES} | {"until_ns": newest[gateway] + HOUR_NS}
            for gateway, found in sorted(counts.items())
        }

    def _findings(self, now_ns: int) -> dict[str, int]:
        """Severity -> how many findings last."""
        book = FindingsBook(self.catalogue.path, self.plant)
        try:
            return {str(severity): count for severity, count in book.counts(now_ns).items()}
        finally:
            book.close()

    def _gateway(self, name: str, health: dict[str, tuple[int, Any]], now_ns: int) -> dict[str, Any]:
        received = self.store.received(name)
        said: dict[str, Any] = {"state": "never heard"}
        if name in health:
            heard_ns, word = health[name]
            said = {
                "state": word.state,
                "heard_s_ago": (now_ns - heard_ns) / NS,
                "epoch": word.epoch,
                "next_seq": word.next_seq,
                "acked": word.acked,
                "software": word.software,
                "troubles": list(word.troubles),
                "figures": dict(word.figures),
            }
        return said | {
            "received": {epoch: [list(pair) for pair in ranges] for epoch, ranges in received.items()},
            "holes": {epoch: [list(pair) for pair in holes(ranges)] for epoch, ranges in received.items()},
            "lost": [[r.epoch, r.first, r.last, r.reason] for r in self.store.lost(name)],
        }


def _is_fresh(values: Iterable[Now], fresh_s: float) -> bool:
    return any(now.value is not None and now.age_s <= fresh_s for now in values)


def _broken_at_gaps(t: IntArray, value: FloatArray, quality: BitArray) -> tuple[IntArray, FloatArray, BitArray]:
    """Put a point without a value into every gap, so that a chart's line breaks there."""
    if t.size < 3:
        return t, value, quality
    steps = np.diff(t)
    gaps = np.flatnonzero(steps > 2.5 * np.median(steps))
    return (
        np.insert(t, gaps + 1, t[gaps] + steps[gaps] // 2),
        np.insert(value, gaps + 1, np.nan),
        np.insert(quality, gaps + 1, int(Quality.MISSING)),
    )


_STEPS_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
)  # fmt: skip
"""Steps people think in, so that a curve does not change its shape when it is looked at a second later. [s]"""


def _thinned(full: Curve, span: Span, most: int) -> Curve:
    first, last = max(span.start_ns, int(full.t_ns[0])), min(span.end_ns, int(full.t_ns[-1]) + 1)
    step = next((s * NS for s in _STEPS_S if s * NS * most >= last - first), -(-(last - first) // most))
    first = first // step * step
    at = (full.t_ns - first) // step
    count = int(at[-1]) + 1
    there = np.isfinite(full.value)
    mean, weight = np.zeros(count), np.zeros(count)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    quality = np.zeros(count, np.int32)
    np.add.at(mean, at[there], full.value[there])
    np.add.at(weight, at[there], 1.0)
    np.minimum.at(low, at[there], full.value[there])
    np.maximum.at(high, at[there], full.value[there])
    np.bitwise_or.at(quality, at, full.quality)
    empty = weight == 0
    quality[empty] |= int(Quality.MISSING)
    middle = first + step * np.arange(count, dtype=np.int64) + step // 2
    nothing = np.nan
    return Curve(
        full.meter, full.measurand, full.unit, middle,
        np.where(empty, nothing, mean / np.where(empty, 1.0, weight)),
        np.where(empty, nothing, low), np.where(empty, nothing, high), quality, step,
    )  # fmt: skip


def unit_sum(intervals: Sequence[Interval]) -> float:
    """Amount of several intervals in the canonical unit, exact until the last step."""
    return sum(interval.micro for interval in intervals if interval.has_energy) / 1e6
