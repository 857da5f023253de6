"""Which meter of a tree counts wrongly, and by how much: from months of balances, without touching a meter.

A main meter and the sub-meters below it see the same energy twice. When one sub-meter's load rises, the gap between
main and sub-meters rises by that meter's relative error, whatever the others do; so many quarter-hours of loads that
move differently tell the errors apart (remote, or on-line, verification of meters). What all meters have in common
cannot be seen that way, nor can the main's own error: estimates are relative to the mean of the others. Where
loads run in parallel, or a meter carries too little, the data cannot tell, and the answer is that they cannot.

    gap_t = sum_i g_i x_it + loss * main_t^2 / main_max + unmetered_t + noise_t        g_i = e_main - e_i
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analytics.fitness import NotFit
from analytics.series import BoolArray, FloatArray

FEWEST_SLOTS = 7 * 96
"""A week of quarter-hours: before, weekdays and weekends have not both been seen."""
LOSS_SD = 0.02
"""Prior spread of the load-dependent loss at the greatest load, relative to it."""
UNMETERED_SD = 0.05
"""Prior spread of unmetered load and of each of its daily waves, relative to the main's mean."""
HARMONICS = 3
"""Waves a day by which unmetered load (light, auxiliaries) may follow the clock."""
ROUNDS = 5
"""Rounds of weighting by the noise's spectrum; it settles in three."""
OUTLIER = 6.0
"""Intervals whose rest is beyond so many robust standard deviations are left out."""
BLOCKS = 10
"""Into how many stretches the time is divided to see how much the estimate hangs on one of them."""
BANDS, FEWEST_IN_BAND = 20, 8
"""Into how many bands of frequency the noise is divided, and how many frequencies the narrowest has."""
MAIN_SD = 0.01
"""Prior spread of the main meter's own error, which all coefficients share."""
FREE_SD = 0.3
"""Spread of a meter that is under suspicion: anything."""
ALIKE = 0.9
"""Loads that correlate so much (after weighting) cannot be told apart."""
TOO_UNSURE = 0.5
"""With a standard uncertainty above this part of the permitted error the data cannot tell."""
SURE = 2.0
"""An error is called one when it exceeds the permitted error by so many standard uncertainties (one-sided 97.7 %)."""


class Verdict(StrEnum):
    """What the balances say of one meter."""

    WITHIN = "within"
    """Inside what its class and transformers permit, as far as can be told."""
    OUTSIDE = "outside"
    """Outside, beyond doubt."""
    CANNOT_TELL = "cannot_tell"
    """Too small a load, or one that moves as another does."""


@dataclass(frozen=True)
class MeterErrors:
    """Relative errors of the sub-meters of one main meter.

    Attributes
    ----------
    relative : (k,) float64
        Estimated error of each meter relative to the energy-weighted mean of the others that are not under suspicion;
        +0.03: it shows 3 % too much.
    standard : (k,) float64
        Standard uncertainty of it, k = 1.
    permitted : (k,) float64
        What class and transformers permit, as given.
    share : (k,) float64
        Part of the sub-metered energy.
    verdicts : tuple of Verdict
    like : tuple of int or None
        Of a meter about which nothing can be told: the one it cannot be told from; None if it just carries too little.
    loss : float
        Load-dependent loss at the greatest load, relative to it.
    unmetered : float
        Mean unmetered load over the mean of the main. Contains what all meters have in common.
    slots : int
        Slots used.
    """

    relative: FloatArray
    standard: FloatArray
    permitted: FloatArray
    share: FloatArray
    verdicts: tuple[Verdict, ...]
    like: tuple[int | None, ...]
    loss: float
    unmetered: float
    slots: int


def meter_errors(
    main: FloatArray,
    subs: FloatArray,
    permitted: FloatArray,
    *,
    resolution: FloatArray | None = None,
    per_day: int = 96,
    first_of_day: int = 0,
    usable: BoolArray | None = None,
) -> MeterErrors | NotFit:
    """Estimate each sub-meter's relative error from the balances of equal intervals.

    Parameters
    ----------
    main : (m,) float64
        Energy by the main meter (several feeders added) in each interval; NaN where unknown. [kWh]
    subs : (k, m) float64
        The same of each sub-meter.
    permitted : (k,) float64
        Expanded uncertainty of each metering point from class and transformers, relative: 0.0138 for class 1 with
        transformers of class 0.5S.
    resolution : (k,) float64, optional
        One step of each sub-meter's display, primary. [kWh]
    per_day : int
        Intervals a day.
    usable : (m,) bool, optional
        Intervals to believe; those with estimated or doubtful energy left out.

    Returns
    -------
    MeterErrors or NotFit
        ``too-short`` (less than a week of usable intervals), ``no-load``.

    Notes
    -----
    Generalised least squares with priors that are physical: the others' errors have the spread their classes permit,
    the main's own error is common to all coefficients, loss and unmetered load are a few percent; the meter in question
    is free. The noise has a memory, and what the displays round off returns in the next interval: it is weighted by
    its own spectrum (Whittle 1953).
    """
    x = np.asarray(subs, np.float64)
    y = np.asarray(main, np.float64)
    allowed = np.asarray(permitted, np.float64)
    k, m = x.shape
    good = np.isfinite(y) & np.isfinite(x).all(axis=0)
    if usable is not None:
        good &= usable
    if int(good.sum()) < FEWEST_SLOTS:
        return NotFit.because("too-short", f"{FEWEST_SLOTS} intervals known on all meters", f"{int(good.sum())}")
    level = float(y[good].mean())
    if level <= 0 or not bool((x[:, good].sum(axis=1) > 0).any()):
        return NotFit.because("no-load", "energy through the main meter", f"mean {level:g} kWh")
    peak = float(y[good].max())
    angle = 2.0 * np.pi * ((np.arange(m) + first_of_day) % per_day) / per_day
    waves = [f(h * angle) for h in range(1, HARMONICS + 1) for f in (np.cos, np.sin)]
    columns = np.vstack([x, y**2 / peak, np.full(m, level), *(level * w for w in waves)])
    spread = np.concatenate([3.0 * np.maximum(allowed, 1e-4) / 2.0, [LOSS_SD], np.full(1 + len(waves), UNMETERED_SD)])
    gap = y - x.sum(axis=0)
    steps = np.zeros(len(columns))
    if resolution is not None:
        steps[:k] = resolution
    evidence = _evidence(np.where(good, columns, 0.0), np.where(good, gap, 0.0), good, spread, steps)
    energy = x[:, good].sum(axis=1)
    share = energy / energy.sum()
    relative, standard, verdicts, like = _search(evidence, allowed, share, spread[k:])
    rest = evidence.estimate(_prior(3.0 * allowed / 2.0, spread[k:]))[0][k:]
    return MeterErrors(
        relative, standard, allowed, share, verdicts, like, float(rest[0]), float(rest[1]), int(good.sum())
    )


@dataclass(frozen=True)
class _Evidence:
    """What the intervals say, before any prior: normal matrix and right-hand side, in units of their own noise."""

    normal: FloatArray
    right: FloatArray

    def estimate(self, prior: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Coefficients and covariance under a prior covariance."""
        covariance = np.linalg.inv(self.normal + np.linalg.inv(prior))
        return covariance @ self.right, covariance


def _prior(meters: FloatArray, others: FloatArray) -> FloatArray:
    """Prior covariance: each meter's own spread, the main's error common to all of them, and the other terms."""
    prior = np.diag(np.concatenate([np.maximum(meters, 1e-4), others]) ** 2)
    prior[: meters.size, : meters.size] += MAIN_SD**2
    return prior


def _search(
    evidence: _Evidence, permitted: FloatArray, share: FloatArray, others: FloatArray
) -> tuple[FloatArray, FloatArray, tuple[Verdict, ...], tuple[int | None, ...]]:
    """Each meter judged as if the rest were what their classes say; the surest culprit is set free, and again."""
    k = permitted.size
    free: set[int] = set()
    while True:
        relative, standard = np.zeros(k), np.zeros(k)
        nearest: list[int | None] = []
        for i in range(k):
            spread = permitted / 2.0
            spread[[*free, i]] = FREE_SD
            found, covariance = evidence.estimate(_prior(spread, others))
            row = -share * ~np.isin(np.arange(k), [*free, i])
            row = row / max(float(-row.sum()), 1e-12)
            row[i] += 1.0
            too_much = float(-row @ found[:k])  # part of what it shows
            relative[i] = too_much / (1.0 - too_much)
            standard[i] = np.sqrt(row @ covariance[:k, :k] @ row)
            nearest.append(_twin(evidence.normal[:k, :k], i))
        beyond = (np.abs(relative) - permitted) / standard
        beyond[list(free)] = -np.inf
        worst = int(np.argmax(beyond))
        if beyond[worst] <= SURE or len(free) >= max(1, k // 3):
            break
        free.add(worst)
    verdicts = tuple(
        Verdict.OUTSIDE
        if abs(relative[i]) > permitted[i] + SURE * standard[i]
        else Verdict.CANNOT_TELL
        if standard[i] > TOO_UNSURE * permitted[i]
        else Verdict.WITHIN
        for i in range(k)
    )
    like = tuple(twin if v is Verdict.CANNOT_TELL else None for v, twin in zip(verdicts, nearest, strict=True))
    return relative, standard, verdicts, like


def _twin(normal: FloatArray, i: int) -> int | None:
    """The meter whose load moves as this one's does, if there is one."""
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    alike = np.abs(normal[i]) / (scale * scale[i])
    alike[i] = 0.0
    twin = int(np.argmax(alike))
    return twin if alike[twin] > ALIKE else None


def _evidence(
    columns: FloatArray, gap: FloatArray, good: BoolArray, spread: FloatArray, steps: FloatArray
) -> _Evidence:
    """Generalised least squares, frequency by frequency.

    What the meters round off disturbs the fast changes, what unmetered load does by itself disturbs the slow ones. The
    spectrum of the rest says how much, and each frequency counts by its inverse. What a display rounds off stands in
    its own column *and*, with the other sign, in the gap; that part is known and taken out of both (Fuller 1987, 2.2).
    """
    omega = 2.0 * np.pi * np.arange(gap.size // 2 + 1) / gap.size
    rounding = np.outer(steps**2 / 12.0, 2.0 - 2.0 * np.cos(omega)) * int(good.sum())
    prior = np.diag(1.0 / spread**2)
    believed = good
    found: FloatArray = np.zeros(len(columns))
    covariance: FloatArray = np.diag(spread**2)
    noise: FloatArray = np.ones(gap.size // 2 + 1)
    for _ in range(ROUNDS):
        x = np.fft.rfft(columns * believed, axis=1)
        y = np.fft.rfft(gap * believed)
        twice = np.full(noise.size, 2.0)
        twice[0] = 1.0
        weight = twice / noise
        known = rounding @ weight
        normal = ((x * weight) @ x.conj().T).real - np.diag(known) + prior
        covariance = np.asarray(np.linalg.inv(normal), np.float64)
        found = covariance @ (((x * weight) @ y.conj()).real + known)
        rest = np.where(good, gap - found @ columns, 0.0)
        sigma = 1.4826 * float(np.median(np.abs(rest[good]))) or float(rest[good].std()) or 1.0
        believed = good & (np.abs(rest) <= OUTLIER * sigma)
        noise = _spectrum(np.where(believed, rest, 0.0))
    blown_up = max(1.0, _honesty(columns, gap, believed, noise, prior, rounding, covariance))
    right = ((x * weight) @ y.conj()).real + known
    return _Evidence((normal - prior) / blown_up, right / blown_up)


def _honesty(
    columns: FloatArray,
    gap: FloatArray,
    believed: BoolArray,
    noise: FloatArray,
    prior: FloatArray,
    rounding: FloatArray,
    covariance: FloatArray,
) -> float:
    """By how much the variances are too small: estimates without one block of weeks, against what was claimed.

    Unmetered load is not as stationary as the weighting takes it for; the jackknife (Tukey 1958) does not care.
    """
    twice = np.full(noise.size, 2.0)
    twice[0] = 1.0
    weight = twice / noise
    known = rounding @ weight
    leave_out = []
    for block in np.array_split(np.arange(gap.size), BLOCKS):
        kept = believed.copy()
        kept[block] = False
        x, y = np.fft.rfft(columns * kept, axis=1), np.fft.rfft(gap * kept)
        part = kept.sum() / max(int(believed.sum()), 1)
        normal = ((x * weight) @ x.conj().T).real - part * np.diag(known) + prior
        leave_out.append(np.linalg.solve(normal, ((x * weight) @ y.conj()).real + part * known))
    values = np.array(leave_out)
    spread = (BLOCKS - 1) / BLOCKS * ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    meters = np.flatnonzero(rounding[:, -1] > 0) if bool(rounding.any()) else np.arange(len(columns))
    return float(np.mean(spread[meters] / np.diag(covariance)[meters]))


def _spectrum(rest: FloatArray) -> FloatArray:
    """Power of the rest by frequency, the mean of neighbouring ones: in bands that widen with the frequency."""
    power = np.abs(np.fft.rfft(rest)) ** 2
    edges = np.unique(np.rint(np.geomspace(FEWEST_IN_BAND, power.size, BANDS)).astype(np.int64))
    edges = np.concatenate(([0], edges[edges < power.size], [power.size]))
    counts = np.diff(edges)
    means = np.add.reduceat(power, edges[:-1]) / counts
    floor = 1e-12 * float(power.mean()) + 1e-30
    return np.repeat(np.maximum(means, floor), counts)
