"""Energy lost in transformers and cables between two meters, from nameplate data, with its own uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.series import FloatArray
from analytics.uncertainty import RECTANGULAR, Amount, Influence


@dataclass(frozen=True, slots=True)
class Transformer:
    """A transformer between a meter on its primary side and meters on its secondary side.

    Attributes
    ----------
    p0_kw : float
        No-load loss, there as long as it is energised. [kW]
    pk_kw : float
        Load loss at rated current (75 degC, as on the plate). [kW]
    rated_kva : float
        [kVA]
    limit : float
        Half width of the error of both losses, relative: 0.15 is what IEC 60076-1 allows each of them.
    """

    name: str
    p0_kw: float
    pk_kw: float
    rated_kva: float
    limit: float = 0.15

    def loss(self, through: FloatArray, step_h: float, power_factor: float = 0.9) -> Amount:
        """Loss while these energies went through: ``P0 h + Pk (S / Sn)^2 h`` in each interval.

        Parameters
        ----------
        through : (m,) float64
            [kWh]
        step_h : float
            [h]
        """
        beta = np.asarray(through, np.float64) / step_h / power_factor / self.rated_kva
        kwh = self.p0_kw * step_h * beta.size + self.pk_kw * step_h * float(np.sum(beta**2))
        u = kwh * self.limit * RECTANGULAR
        return Amount(kwh, (Influence("transformer loss", f"{self.name} loss", u),))


@dataclass(frozen=True, slots=True)
class Cable:
    """A cable run.

    Attributes
    ----------
    ohm : float
        Resistance of one conductor at working temperature. [ohm]
    volts : float
        Line voltage. [V]
    limit : float
        Half width of the error of the resistance (length, temperature), relative.
    """

    name: str
    ohm: float
    volts: float
    limit: float = 0.2

    def loss(self, through: FloatArray, step_h: float, power_factor: float = 0.9) -> Amount:
        """Loss in three phases: ``R S^2 / U^2 h``."""
        kva = np.asarray(through, np.float64) / step_h / power_factor
        kwh = float(np.sum((kva * 1000.0) ** 2)) * self.ohm / self.volts**2 / 1000.0 * step_h
        u = kwh * self.limit * RECTANGULAR
        return Amount(kwh, (Influence("cable loss", f"{self.name} loss", u),))
