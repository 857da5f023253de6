"""Indicators that say how well energy is used, each with what it needs and a refusal where the data are too poor.

`load_shape`: load factor, base load, peak. `specific_energy`: energy per unit of product, graded against a quota.
"""

from analytics.benchmarks.load_shape import LoadShape, load_shape
from analytics.benchmarks.specific_energy import Grade, Quota, SpecificEnergy, specific_energy

__all__ = ["Grade", "LoadShape", "Quota", "SpecificEnergy", "load_shape", "specific_energy"]
