"""Made-up plants with planted faults, by seed: what the detectors are tried on where nobody can know the truth.

A plant is a main meter and sub-meters with loads of different trades. What the plant does wrong is planted into the
load, before anything is measured, so that the main sees it, too; what a meter does wrong is planted into its columns.
It proves that a detector finds what it says it finds, not that real plants look like this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analytics.history.record import MeterFacts, MeterRecord
from analytics.series import SECOND_NS, FloatArray, IntArray

QUARTER = 900 * SECOND_NS
PER_DAY = 96
BEGIN = 1_704_067_200 * SECOND_NS
"""2024-01-01, a Monday, UTC."""
TRADES = ("two-shift", "office", "process", "cold-store", "bakery")
CYCLIC = ("two-shift", "office", "bakery")
WITH_CYCLE = ("off_hours", "missing_cycle", "unusual_shape")
"""Kinds that only mean something where there is a daily cycle."""
LOSS, UNMETERED = 0.015, 0.02
"""Of the sub-meters' sum; of the mean load."""
DIGIT_KWH = 0.01
IN_LOAD = ("leak", "base_load", "drift", "off_hours", "missing_cycle", "unusual_level", "unusual_shape")
"""Kinds that are real use of energy: planted before metering."""
AT_MAIN = ("sum_mismatch",)
IN_METER = (
    "stuck", "zero", "spike", "noise", "word_swap", "gap", "duplicate_ts", "clock_jump", "dst_shift", "counter_reset",
    "counter_rollover", "counter_backwards", "ratio_change", "theft", "phase_voltage_loss", "phase_current_loss",
    "phase_reversal",
)  # fmt: skip
NEEDS_PHASES = ("phase_voltage_loss", "phase_current_loss", "phase_reversal")


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted fault.

    Attributes
    ----------
    meter : str
    kind : str
    first, last : int
        Slots, first and last affected.
    size : float
        How strong, in the kind's own terms: a factor, a share, a number of readings.
    """

    meter: str
    kind: str
    first: int
    last: int
    size: float

    @property
    def start_ns(self) -> int:
        return BEGIN + self.first * QUARTER

    @property
    def end_ns(self) -> int:
        return BEGIN + (self.last + 1) * QUARTER


def trade_load(trade: str, days: int, rng: np.random.Generator) -> FloatArray:
    """(days * 96,) float64: a load by trade, with weeks, days, noise that remembers, and slow seasons. [kW]"""
    n = days * PER_DAY
    hour = (np.arange(n) % PER_DAY) / 4.0
    weekday = (np.arange(n) // PER_DAY) % 7
    scale = float(rng.uniform(40.0, 250.0))
    if trade == "two-shift":
        shape = np.where((weekday < 5) & (hour >= 6) & (hour < 22), 1.0, 0.12)
    elif trade == "office":
        shape = np.where((weekday < 5) & (hour >= 7.5) & (hour < 18), 0.9, 0.25)
    elif trade == "process":
        shape = np.full(n, 0.9)
    elif trade == "cold-store":
        shape = 0.6 + 0.25 * np.sin(2 * np.pi * (hour - 9) / 24)
    else:
        shape = np.where((weekday < 6) & (hour >= 1) & (hour < 10), 1.0, 0.2)
    smooth = np.convolve(np.concatenate((shape[:2], shape, shape[-2:])), np.full(5, 0.2), "valid")
    daily = np.repeat(rng.normal(1.0, 0.04, days), PER_DAY)
    season = 1.0 + 0.08 * np.sin(2 * np.pi * np.arange(n) / (365 * PER_DAY) + rng.uniform(0, 6.28))
    return scale * smooth * daily * season * (1.0 + _remembering(n, 0.05, 0.8, rng))


def _remembering(n: int, sigma: float, memory: float, rng: np.random.Generator) -> FloatArray:
    """First-order autoregressive noise of standard deviation `sigma`."""
    fresh = rng.normal(0.0, sigma * np.sqrt(1.0 - memory**2), n)
    length = 40
    kernel = memory ** np.arange(length)
    return np.asarray(np.convolve(fresh, kernel)[:n])


def change_load(load: FloatArray, fault: Planted, rng: np.random.Generator) -> FloatArray:
    """The load with a planted way of using energy."""
    out = load.copy()
    cut = slice(fault.first, fault.last + 1)
    quiet, busy = (float(q) for q in np.quantile(load, (0.1, 0.9)))
    mean = float(load.mean())
    if fault.kind == "leak":
        out[cut] += fault.size * mean
    elif fault.kind == "base_load":
        floor = quiet * (1.0 + fault.size)
        out[cut] = np.maximum(load[cut], floor * (1.0 + rng.normal(0.0, 0.02, fault.last + 1 - fault.first)))
    elif fault.kind == "drift":
        months = np.arange(fault.last + 1 - fault.first) / (30.4 * PER_DAY)
        out[cut] *= 1.0 + fault.size * months
    elif fault.kind == "off_hours":
        level = quiet + fault.size * (busy - quiet)
        out[cut] = np.maximum(load[cut], level * (1.0 + rng.normal(0.0, 0.03, fault.last + 1 - fault.first)))
    elif fault.kind == "missing_cycle":
        out[cut] = quiet * (1.0 + rng.normal(0.0, 0.03, fault.last + 1 - fault.first))
    elif fault.kind == "unusual_level":
        out[cut] *= fault.size
    elif fault.kind == "unusual_shape":
        out[cut] = np.roll(load[cut], round(fault.size * 4))
    else:
        raise ValueError(f"{fault.kind} is no way of using energy")
    return out


def measure(
    facts: MeterFacts, load: FloatArray, faults: Sequence[Planted], view: str, rng: np.random.Generator
) -> MeterRecord:
    """What a meter with these faults shows of a load.

    Parameters
    ----------
    facts : MeterFacts
    load : (n,) float64
        True mean power of each quarter. [kW]
    faults : sequence of Planted
        Of `IN_METER` kinds; others are left out.
    view : str
        ``full``, ``pe`` (power and counter) or ``e`` (counter only).
    """
    n = load.size
    volts = 230.0 + 2.0 * np.sin(2 * np.pi * np.arange(n) / PER_DAY) + rng.normal(0.0, 0.5, (3, n))
    share = rng.dirichlet((60.0, 60.0, 60.0))[:, None] * (1.0 + rng.normal(0.0, 0.02, (3, n)))
    phase_kw = load * share / share.sum(axis=0)
    ratio_q = float(rng.uniform(0.2, 0.7))
    seen_kw, amps, export = phase_kw.copy(), phase_kw * np.hypot(1.0, ratio_q) * 1000.0 / volts, np.zeros(n)
    q = load * ratio_q
    for fault in faults:
        cut = slice(fault.first, fault.last + 1)
        phase = int(rng.integers(3))
        if fault.kind in ("ratio_change", "theft"):
            seen_kw[:, cut] *= fault.size
            amps[:, cut] *= fault.size
            q[cut] *= fault.size if fault.kind == "ratio_change" else 1.0
        elif fault.kind == "phase_voltage_loss":
            volts[phase, cut] *= 1.0 - fault.size
            seen_kw[phase, cut] *= 1.0 - fault.size
        elif fault.kind == "phase_current_loss":
            amps[phase, cut] *= 1.0 - fault.size
            seen_kw[phase, cut] *= 1.0 - fault.size
        elif fault.kind == "phase_reversal":
            export[cut] = seen_kw[phase, cut] / 4.0
            seen_kw[phase, cut] *= -1.0
        elif fault.kind == "zero":
            seen_kw[:, cut], amps[:, cut], q[cut] = 0.0, 0.0, 0.0
    imported = np.where(seen_kw > 0.0, seen_kw, 0.0).sum(axis=0) / 4.0
    counter = float(rng.uniform(1e4, 5e5)) + np.cumsum(imported)
    columns: dict[str, FloatArray] = {
        "v1": volts[0].round(1), "v2": volts[1].round(1), "v3": volts[2].round(1),
        "i1": amps[0].round(2), "i2": amps[1].round(2), "i3": amps[2].round(2),
        "p": seen_kw.sum(axis=0).round(2), "q": q.round(2),
        "e_imp": counter, "e_exp": np.cumsum(export),
    }  # fmt: skip
    for fault in faults:
        _spoil_columns(columns, fault, view, facts.wraps_at_kwh, rng)
    columns["e_imp"] = _digits(columns["e_imp"])
    columns["e_exp"] = _digits(columns["e_exp"])
    for fault in faults:
        if fault.kind == "word_swap":
            _swap_words(columns, fault, view)
    keep = {"full": tuple(columns), "pe": ("p", "e_imp"), "e": ("e_imp",)}[view]
    rx = BEGIN + np.arange(n, dtype=np.int64) * QUARTER + rng.integers(0, 4, n) * SECOND_NS
    ts = BEGIN + np.arange(n, dtype=np.int64) * QUARTER
    return _rows(facts, rx, ts, {name: columns[name] for name in keep}, faults)


def _digits(values: FloatArray) -> FloatArray:
    return np.asarray(np.round(values / DIGIT_KWH) * DIGIT_KWH).round(2)


def _spoil_columns(
    columns: dict[str, FloatArray], fault: Planted, view: str, modulus: float | None, rng: np.random.Generator
) -> None:
    """Plant what changes the numbers of a meter."""
    cut = slice(fault.first, fault.last + 1)
    count = fault.last + 1 - fault.first
    counter = columns["e_imp"]
    if fault.kind == "stuck":
        for name in columns:
            columns[name][cut] = columns[name][fault.first - 1]
    elif fault.kind == "spike":
        columns["p"][cut] *= fault.size
    elif fault.kind == "noise":
        factor = 1.0 + rng.normal(0.0, fault.size, count)
        for name in ("p", "i1", "i2", "i3"):
            columns[name][cut] = (columns[name][cut] * factor).round(2)
    elif fault.kind == "counter_reset":
        counter[fault.first :] -= counter[fault.first - 1]
    elif fault.kind == "counter_rollover" and modulus is not None:
        # begun so that the display reaches its end here
        counter += modulus - counter[fault.first - 1] - 0.5 * (counter[fault.first] - counter[fault.first - 1])
        counter %= modulus
    elif fault.kind == "counter_backwards":
        counter[cut] -= fault.size


def _swap_words(columns: dict[str, FloatArray], fault: Planted, view: str) -> None:
    name = "e_imp" if view == "e" else "p"
    words = columns[name][fault.first : fault.last + 1].astype(">f4").view(">u2").reshape(-1, 2)[:, ::-1]
    columns[name][fault.first : fault.last + 1] = np.ascontiguousarray(words).view(">f4").ravel()


def _rows(
    facts: MeterFacts, rx: IntArray, ts: IntArray, columns: Mapping[str, FloatArray], faults: Sequence[Planted]
) -> MeterRecord:
    """Plant what changes the rows: their time stamps, their number."""
    ts = ts.copy()
    keep = np.ones(rx.size, bool)
    for fault in faults:
        cut = slice(fault.first, fault.last + 1)
        if fault.kind == "gap":
            keep[cut] = False
        elif fault.kind == "duplicate_ts":
            ts[cut] = ts[fault.first - 1]
        elif fault.kind in ("clock_jump", "dst_shift"):
            ts[cut] += round(fault.size) * SECOND_NS
    return MeterRecord(facts, rx[keep], ts[keep], {name: column[keep] for name, column in columns.items()})


def make_plant(
    name: str,
    seed: int,
    days: int,
    faults: Sequence[Planted] = (),
    view: str = "full",
    subs: int = 3,
    trades: Sequence[str] = (),
) -> list[MeterRecord]:
    """A main meter and its sub-meters, with faults planted.

    Parameters
    ----------
    name : str
        The meters are ``name-main``, ``name-s1`` ...
    seed : int
        The same seed gives the same plant; faults do not change what else happens.
    faults : sequence of Planted
    view : str
        Of the sub-meters; the main has everything.
    trades : sequence of str
        Of each sub-meter; by default they follow from the seed.

    Returns
    -------
    list of MeterRecord
        The main first.
    """
    rng = np.random.default_rng(seed)
    facts = MeterFacts(f"{name}-main", QUARTER, 230.0, 1e7, None, name)
    records, loads = [], []
    for number in range(1, subs + 1):
        own = replace(facts, meter=f"{name}-s{number}", wraps_at_kwh=1e6, parent=facts.meter)
        mine = [fault for fault in faults if fault.meter == own.meter]
        trade = trades[number - 1] if trades else TRADES[(seed + number) % len(TRADES)]
        load = trade_load(trade, days, np.random.default_rng((seed, number)))
        for fault in mine:
            if fault.kind in IN_LOAD:
                load = change_load(load, fault, rng)
        loads.append(load)
        records.append(measure(own, load, mine, view, np.random.default_rng((seed, number, 1))))
    total = np.sum(loads, axis=0)
    unseen = np.full(total.size, UNMETERED * float(total.mean())) * (1.0 + rng.normal(0.0, 0.05, total.size))
    at_main = [fault for fault in faults if fault.meter == facts.meter]
    for fault in at_main:
        if fault.kind in AT_MAIN:
            span = fault.last + 1 - fault.first
            unseen[fault.first : fault.last + 1] += fault.size * total.mean() * (1.0 + rng.normal(0.0, 0.1, span))
    main = measure(facts, total * (1.0 + LOSS) + unseen, at_main, "full", np.random.default_rng((seed, 0, 1)))
    return [main, *records]


def random_fault(meter: str, kind: str, first_day: int, last_day: int, rng: np.random.Generator) -> Planted:
    """A fault of a kind at a random time between two days, of a size as it is met in the field."""
    day = int(rng.integers(first_day, max(last_day, first_day + 1)))
    slot = day * PER_DAY + int(rng.integers(PER_DAY))
    midnight = day * PER_DAY
    hours = {"stuck": (3, 48), "zero": (3, 28), "noise": (12, 72), "gap": (2, 26), "duplicate_ts": (1, 8),
             "clock_jump": (12, 240), "dst_shift": (72, 480), "ratio_change": (96, 336), "theft": (96, 384),
             "phase_voltage_loss": (4, 48), "phase_current_loss": (4, 120), "phase_reversal": (48, 400),
             "word_swap": (1, 6), "counter_backwards": (1, 2), "sum_mismatch": (240, 500),
             "leak": (240, 600), "base_load": (240, 400), "drift": (1200, 1700), "off_hours": (5, 8)}  # fmt: skip
    size = {
        "spike": float(rng.choice([4.0, 10.0, -4.0, 60.0])), "noise": float(rng.uniform(0.15, 0.8)),
        "clock_jump": float(rng.choice([-420, 420, 1500, 40_000, -40_000])),
        "dst_shift": float(rng.choice([-3600, 3600])),
        "ratio_change": float(rng.choice([2.0, 0.8, 0.5, 0.001])), "theft": 1.0 - float(rng.uniform(0.2, 0.6)),
        "phase_voltage_loss": float(rng.uniform(0.7, 1.0)), "phase_current_loss": float(rng.uniform(0.7, 1.0)),
        "counter_backwards": float(rng.uniform(30.0, 3000.0)), "sum_mismatch": float(rng.uniform(0.05, 0.12)),
        "leak": float(rng.uniform(0.08, 0.2)), "base_load": float(rng.uniform(0.5, 0.9)),
        "drift": float(rng.uniform(0.06, 0.1)), "off_hours": float(rng.uniform(0.45, 0.8)),
        "unusual_level": float(rng.uniform(1.25, 1.7)), "unusual_shape": float(rng.integers(3, 8)),
    }.get(kind, 1.0)  # fmt: skip
    if kind in WITH_CYCLE and day % 7 > 4:
        midnight -= 2 * PER_DAY  # a day on which everyone works
    if kind in ("missing_cycle", "unusual_level", "unusual_shape"):
        return Planted(meter, kind, midnight, midnight + PER_DAY - 1, size)
    if kind == "off_hours":
        slot = midnight + int(rng.integers(88, 96))
    low, high = hours.get(kind, (0, 0))
    length = int(rng.uniform(low, high) * 4) if high else int(rng.integers(1, 4)) if kind == "spike" else 1
    return Planted(meter, kind, slot, slot + max(length, 1) - 1, size)
