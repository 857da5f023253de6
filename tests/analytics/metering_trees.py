"""Metering trees with known errors: loads of a factory, losses, unmetered load, and meters that show what meters show.

Nothing here is taken from the estimator: loads are built from shifts, batches and noise; each meter has an error drawn
from its class and its transformer's, a display with steps, and a clock that is late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PER_DAY = 96
KWH_A_QUARTER = 250.0
"""Mean of all sub-meters together: a works of one megawatt."""
MEMORY = 0.97
"""From one quarter-hour to the next, of the unmetered load's own movement."""


@dataclass(frozen=True)
class Tree:
    """What the meters showed, and what was true.

    Attributes
    ----------
    main : (m,) and subs : (k, m)
        [kWh]
    error : (k,)
        True relative error of each sub-meter.
    permitted : (k,)
        Expanded uncertainty by class: 1.38 % (class 1, CT 0.5S) or 1.29 % (0.5S, CT and VT 0.5).
    steps : (k,)
        Display step, primary. [kWh]
    share : (k,)
        Part of the true energy.
    """

    main: Floats
    subs: Floats
    error: Floats
    permitted: Floats
    steps: Floats
    share: Floats


def metering_tree(rng: np.random.Generator, meters: int, *, days: int = 60, wrong: float = 0.0) -> tuple[Tree, int]:
    """A tree; one meter of at least 3 % of the load shows `wrong` too much. Its index comes with it."""
    m = days * PER_DAY
    share = rng.dirichlet(np.full(meters, 2.0))
    loads = np.array([_load(rng, m) for _ in range(meters)])
    loads *= (share / loads.mean(axis=1))[:, None] * KWH_A_QUARTER
    hour = np.arange(m) % PER_DAY / 4.0
    wander = np.maximum(1.0 + 0.3 * _noise(rng, m, MEMORY) + 0.5 * np.cos(2 * np.pi * (hour - 20.0) / 24.0), 0.0)
    through = loads.sum(axis=0) + 0.02 * KWH_A_QUARTER * wander
    through += 0.015 * through**2 / through.max()
    coarse = rng.random(meters) < 0.5
    permitted = np.where(coarse, 0.0138, 0.0129)
    error = rng.uniform(-1, 1, meters) * np.where(coarse, 0.010, 0.006) + rng.uniform(-1, 1, meters) * 0.005
    heavy = np.flatnonzero(share >= 0.03)
    culprit = int(heavy[rng.integers(heavy.size)])
    error[culprit] += wrong
    steps = np.where(coarse, 0.4, 0.2)
    subs = np.array([_shown(rng, loads[i], error[i], steps[i]) for i in range(meters)])
    main = _shown(rng, through, float(rng.uniform(-0.005, 0.005)), 1.6)
    return Tree(main, subs, error, permitted, steps, share), culprit


def _load(rng: np.random.Generator, m: int) -> Floats:
    """A load by quarter-hours: shifts, batches, the course of the day, or two levels; with noise of its own."""
    hour, day = np.arange(m) % PER_DAY / 4.0, np.arange(m) // PER_DAY % 7
    kind = rng.integers(4)
    if kind == 0:
        first, last, workdays = rng.uniform(5, 9), rng.uniform(15, 22), 5 if rng.random() < 0.5 else 7
        shape = 0.15 + 0.85 * ((hour >= first) & (hour < last) & (day < workdays))
    elif kind == 1:
        shape, at = np.full(m, 0.2), 0
        while at < m:
            on = int(rng.integers(4, 30))
            shape[at : at + on] = 1.0
            at += on + int(rng.integers(2, 20))
    elif kind == 2:
        shape = 1.0 + 0.4 * np.sin(2 * np.pi * (hour - rng.uniform(0, 24)) / 24.0)
    else:
        shape = np.where((hour >= 6) & (hour < 22), 1.0, 0.4) * np.where(day < 6, 1.0, 0.5)
    return np.maximum(shape * (1.0 + 0.25 * _noise(rng, m, float(rng.uniform(0.7, 0.95)))), 0.02)


def _noise(rng: np.random.Generator, m: int, memory: float) -> Floats:
    """First-order autoregressive noise of unit variance."""
    out, last = np.empty(m), 0.0
    for j, z in enumerate(rng.normal(size=m).tolist()):
        last = memory * last + z
        out[j] = last
    return np.asarray(out / out.std())


def _shown(rng: np.random.Generator, true: Floats, error: float, step: float) -> Floats:
    """Differences of the display at the quarter-hours, its clock up to a second early or late."""
    count = np.concatenate(([0.0], np.cumsum(true))) + rng.uniform(-1, 1) / 900.0 * np.append(true, true[-1])
    return np.diff(np.floor(count * (1.0 + error) / step) * step)
