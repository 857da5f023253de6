"""Chance that can be asked for any moment and always answers the same: the restlessness of a plant, reproducibly.

A random generator with a state would have to be run from the beginning to resume; a hash of (seed, time) needs no
past, so that a factory restarted at noon goes on exactly as if it had never stopped.
"""

from __future__ import annotations

import zlib

_MASK = (1 << 64) - 1


def chance(*parts: int) -> float:
    """A number in [0, 1) that depends on nothing but `parts` (splitmix64's mixing step)."""
    h = 0x9E3779B97F4A7C15
    for part in parts:
        h = (h ^ (part & _MASK)) * 0xBF58476D1CE4E5B9 & _MASK
        h ^= h >> 30
        h = h * 0x94D049BB133111EB & _MASK
        h ^= h >> 31
    return (h >> 11) / (1 << 53)


def seed_of(name: str, seed: int) -> int:
    """A seed of its own for each meter."""
    return zlib.crc32(name.encode()) ^ (seed << 32)


class Wander:
    """A smooth wandering value in about [-1, 1]: neighbouring moments are alike, distant ones are not.

    It is the sum of a few layers, each a straight line between knots drawn by `chance`; the knots of a layer stand
    `period_s` apart.

    Parameters
    ----------
    seed
        Which wander this is.
    layers
        (period [s], weight) each; the weights add up to about 1.
    """

    def __init__(self, seed: int, layers: tuple[tuple[int, float], ...] = ((3600, 0.5), (420, 0.3), (40, 0.2))) -> None:
        self._seed = seed
        self._layers = layers
        self._knots: list[tuple[int, float, float]] = [(-1, 0.0, 0.0)] * len(layers)

    def at(self, t_s: int) -> float:
        """The value at a moment. `t_s` is seconds since 1970. [s]"""
        total = 0.0
        for layer, (period_s, weight) in enumerate(self._layers):
            knot, within = divmod(t_s, period_s)
            known, left, right = self._knots[layer]
            if known != knot:
                left = chance(self._seed, layer, knot)
                right = chance(self._seed, layer, knot + 1)
                self._knots[layer] = (knot, left, right)
            total += weight * (2.0 * (left + (right - left) * within / period_s) - 1.0)
        return total
