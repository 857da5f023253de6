"""How evenly a meter's load runs: load factor, base load and its share, peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.counters import IntervalEnergies
from analytics.fitness import NotFit
from analytics.series import HOUR_NS

BASE_PERCENTILE = 5.0
"""Percentile of the interval means that is called base load: low enough to be the quiet hours, high enough that a
handful of outages or wrong intervals does not make it zero."""
FEWEST_DAYS = 1.0
LEAST_COVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class LoadShape:
    """Load indicators of a period.

    Attributes
    ----------
    mean_kw, peak_kw : float
        Mean, and the largest interval mean. [kW]
    peak_start_ns : int
        When the largest interval began. [ns]
    load_factor : float
        ``mean / peak``, 0..1.
    base_kw : float
        5th percentile of the interval means. [kW]
    base_share : float
        ``base / mean``: the share of the energy that would be used if the plant never did more than at its quietest.
    energy_kwh : float
        Of the intervals that were used. [kWh]
    coverage : float
        Share of the period that these intervals make up.
    interval_ns : int
        Length of the intervals the peak refers to. [ns]
    """

    mean_kw: float
    peak_kw: float
    peak_start_ns: int
    load_factor: float
    base_kw: float
    base_share: float
    energy_kwh: float
    coverage: float
    interval_ns: int


def load_shape(energies: IntervalEnergies, *, base_percentile: float = BASE_PERCENTILE) -> LoadShape | NotFit:
    """Load factor and base-load share from equal intervals, usually quarter-hours.

    Parameters
    ----------
    energies : IntervalEnergies
        Intervals of one length; only fully covered ones are used, so an estimated split makes no peak.
    base_percentile : float
        See `BASE_PERCENTILE`. [%]

    Returns
    -------
    LoadShape or NotFit
        ``uneven`` intervals, ``no-data``, ``too-short`` (less than a day), ``coverage`` (less than 90 % measured) or
        ``no-load``.

    References
    ----------
    Load factor: mean over maximum demand of the same period. Method page: ``docs/methods/load-shape.md``.
    """
    lengths = np.unique(np.diff(energies.boundaries_ns))
    if lengths.size > 1:
        return NotFit.because("uneven", "intervals of one length", f"{lengths.size} lengths")
    if not len(energies):
        return NotFit.because("no-data", "interval energies", "none")
    kw = energies.mean_per_hour
    used = np.isfinite(kw)
    days = len(energies) * int(lengths[0]) / (24 * HOUR_NS)
    if days < FEWEST_DAYS:
        return NotFit.because("too-short", f"{FEWEST_DAYS:g} day", f"{days:.2f} days")
    coverage = float(used.mean())
    if coverage < LEAST_COVERAGE:
        return NotFit.because("coverage", f"{LEAST_COVERAGE:.0%} of the period measured", f"{coverage:.0%}")
    known = kw[used]
    mean, peak = float(known.mean()), float(known.max())
    if peak <= 0.0:
        return NotFit.because("no-load", "a load above zero", "none in the period")
    at = int(np.flatnonzero(used)[int(np.argmax(known))])
    base = float(np.percentile(known, base_percentile))
    return LoadShape(
        mean_kw=mean,
        peak_kw=peak,
        peak_start_ns=int(energies.start_ns[at]),
        load_factor=mean / peak,
        base_kw=base,
        base_share=base / mean,
        energy_kwh=float(energies.micro[used].sum()) / 1e6,
        coverage=coverage,
        interval_ns=int(lengths[0]),
    )
