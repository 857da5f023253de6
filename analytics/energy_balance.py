"""Does a part of the metering tree close? What comes in, what is metered below, what is lost, and what remains.

    residual = sum(in) + sum(generated) - sum(out) - sum(metered below) - losses

The residual is an amount with an uncertainty, not a percentage: instruments that two terms share cancel in it,
everything else adds as squares. It is judged over days and months, never over single quarter-hours, where clocks and
display steps say more than energy. Within its uncertainty it means nothing; beyond it has causes, which are ranked by
what each of them would look like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analytics.fitness import NotFit
from analytics.series import FloatArray
from analytics.uncertainty import Amount, total

LEAST_COVERAGE = 0.9
"""Below this share of measured energy a balance is not judged."""
STEP_TOLERANCE = 0.03
"""How near a ratio of energies must be to a step of a transformer ratio to be named after it."""
RATIO_STEPS = (0.5, 2 / 3, 0.75, 0.8, 1.25, 4 / 3, 1.5, 2.0, 0.1, 10.0, 0.2, 5.0, 0.4, 2.5)
"""Neighbouring sizes of current transformers, and a forgotten power of ten."""


class Cause(StrEnum):
    """What may open a balance."""

    WRONG_RATIO = "wrong_ratio"
    """A sub-meter is off by a step of a transformer ratio."""
    REVERSED_CT = "reversed_ct"
    """A sub-meter shows a third: one current transformer of three is turned round."""
    UNMETERED = "unmetered"
    """More comes in than is metered below: load without a meter, or a bypass."""
    TOPOLOGY = "topology"
    """More is metered below than comes in: a meter that is not fed from here, or a second feeder nobody entered."""


@dataclass(frozen=True, slots=True)
class Term:
    """One meter's part of a balance in one window.

    Attributes
    ----------
    sign : int
        +1 what comes in, -1 what goes out or is metered below.
    coverage : float
        Measured share of the window.
    """

    meter: str
    sign: int
    amount: Amount
    coverage: float = 1.0


@dataclass(frozen=True)
class Balance:
    """One part of the tree over one window.

    Attributes
    ----------
    incoming, metered, losses : Amount
        [kWh, or the unit of the carrier]
    residual : Amount
        Incoming minus metered minus losses.
    open : bool
        Beyond its expanded uncertainty.
    coverage : float
        The worst meter's.
    causes : tuple of (Cause, str)
        Likeliest first, with the meter or an empty text; empty where the balance closes.
    """

    node: str
    incoming: Amount
    metered: Amount
    losses: Amount
    residual: Amount
    open: bool
    coverage: float
    causes: tuple[tuple[Cause, str], ...]

    @property
    def relative(self) -> float:
        """Residual over what came in."""
        return self.residual.value / self.incoming.value if self.incoming.value else math.nan


def balance(node: str, terms: Sequence[Term], losses: Sequence[Amount] = ()) -> Balance | NotFit:
    """Close one node over one window.

    Returns
    -------
    Balance or NotFit
        ``no-data`` (nothing comes in, or nothing is metered below), ``coverage`` (a meter below nine tenths).
    """
    ins = [term for term in terms if term.sign > 0]
    outs = [term for term in terms if term.sign < 0]
    if not ins or not outs:
        have = f"{len(ins)} above, {len(outs)} below"
        return NotFit.because("no-data", "a meter above and a meter below", f"{node}: {have}")
    worst = min(terms, key=lambda term: term.coverage)
    if worst.coverage < LEAST_COVERAGE:
        have = f"{worst.meter}: {worst.coverage:.0%}"
        return NotFit.because("coverage", f"{LEAST_COVERAGE:.0%} measured on every meter", have)
    incoming, metered = total(term.amount for term in ins), total(term.amount for term in outs)
    lost = total(losses)
    residual = incoming - metered - lost
    is_open = abs(residual.value) > residual.expanded
    causes = _causes(residual, incoming, outs) if is_open else ()
    return Balance(node, incoming, metered, lost, residual, is_open, worst.coverage, causes)


def _causes(residual: Amount, incoming: Amount, outs: Sequence[Term]) -> tuple[tuple[Cause, str], ...]:
    """What would explain a residual of this size, likeliest first.

    A sub-meter should have shown ``E + residual`` instead of ``E``: with one CT of three reversed it shows a third,
    with a wrong ratio a typical quotient. A residual that no meter explains is load nobody meters (positive), or a
    meter in the wrong place of the tree (negative).
    """
    found: list[tuple[float, Cause, str]] = []
    for term in outs:
        e = term.amount.value
        if abs(e) < residual.expanded:
            continue
        should = e + residual.value
        if should <= 0:
            continue
        quotient = should / e
        if abs(quotient / 3.0 - 1.0) < STEP_TOLERANCE:
            found.append((abs(quotient / 3.0 - 1.0), Cause.REVERSED_CT, term.meter))
        for step in RATIO_STEPS:
            off = abs(quotient / step - 1.0)
            if off < STEP_TOLERANCE:
                found.append((off, Cause.WRONG_RATIO, term.meter))
                break
    found.sort(key=lambda one: one[0])
    rest = Cause.UNMETERED if residual.value > 0 else Cause.TOPOLOGY
    return (*((cause, meter) for _, cause, meter in found), (rest, ""))


@dataclass(frozen=True)
class FleetBalance:
    """Many nodes over many windows at once, for the nightly job.

    Attributes
    ----------
    residual : (n, d) float64
        NaN where a balance cannot be judged.
    expanded : (n, d) float64
        U, k = 2.
    open : (n, d) bool
    """

    residual: FloatArray
    expanded: FloatArray
    open: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def fleet_balance(
    energies: FloatArray,
    systematic: FloatArray,
    independent: FloatArray,
    instrument: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    nodes: Sequence[Mapping[int, int]],
    losses: FloatArray | None = None,
    loss_u: FloatArray | None = None,
) -> FleetBalance:
    """Residuals with uncertainty of many nodes and windows.

    Parameters
    ----------
    energies : (k, d) float64
        Of each meter in each window; NaN where not known.
    systematic : (k, s) float64
        Relative standard uncertainty of each of a meter's instruments (meter, CT, VT, phase).
    independent : (k, d) float64
        Standard uncertainty of each amount alone (display, timing, estimates).
    instrument : (k, s) int64
        Which instrument each column of `systematic` is; equal numbers are the same one.
    nodes : sequence of dict
        Per node: row of `energies` -> sign.
    losses, loss_u : (n, d) float64, optional
        Modelled losses and their standard uncertainty.
    """
    n, d = len(nodes), energies.shape[1]
    residual, variance = np.zeros((n, d)), np.zeros((n, d))
    for row, terms in enumerate(nodes):
        meters = np.fromiter(terms, np.int64, len(terms))
        signs = np.fromiter(terms.values(), np.float64, len(terms))
        e = energies[meters] * signs[:, None]
        residual[row] = e.sum(axis=0)
        keys, back = np.unique(instrument[meters].ravel(), return_inverse=True)
        each = (e[:, None, :] * systematic[meters][:, :, None]).reshape(-1, d)
        together = np.zeros((keys.size, d))
        np.add.at(together, back, each)
        variance[row] = (together**2).sum(axis=0) + (independent[meters] ** 2).sum(axis=0)
    if losses is not None:
        residual -= losses
    if loss_u is not None:
        variance += loss_u**2
    expanded = 2.0 * np.sqrt(variance)
    return FleetBalance(residual, expanded, np.abs(residual) > expanded)
