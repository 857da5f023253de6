"""How a three-phase meter is wired, told from what it shows: currents turned round, or led past the wrong voltage.

Every phase has an angle between voltage and current. On a sound connection of an ordinary load the three angles are
much alike and small. A current transformer turned round moves its phase by 180 degrees, a current that belongs to the
next phase's voltage by 120. What explains the three angles with the fewest mistakes is what an electrician should look
at; where two explanations are as good, both are said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Literal

PHASES = ("l1", "l2", "l3")
LEAST_KVA = 0.01
"""Below this a phase tells nothing about its wiring. [kVA]"""
ALIKE_DEG = 30.0
"""Angles of one load that differ by no more are alike. [deg]"""
ORDINARY_DEG = (-40.0, 65.0)
"""Angle of an ordinary load: from overcompensated to an idling motor. [deg]"""
Finding = Literal["sound", "mistake", "either", "unclear", "no-load", "no-angles"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One way of wiring that would show what is shown.

    Attributes
    ----------
    currents
        For each voltage L1, L2, L3 the number (0..2) of the phase whose current is led to it.
    turned
        Numbers of the voltages whose current is turned round.
    angle_deg
        The load's angle, if this is how it is wired. [deg]
    """

    currents: tuple[int, int, int]
    turned: tuple[int, ...]
    angle_deg: float

    @property
    def mistakes(self) -> int:
        """How many mistakes were made: each current turned round, and one for each pair exchanged."""
        moved = sum(1 for voltage, current in enumerate(self.currents) if voltage != current)
        return len(self.turned) + max(0, moved - 1)


@dataclass(frozen=True)
class Wiring:
    """What is known of a connection.

    Attributes
    ----------
    finding
        ``either``: the best explanations are equally simple; ``unclear``: nothing simple explains it.
    angles_deg
        Angle of each phase that carries a load. [deg]
    """

    finding: Finding
    explanations: tuple[Explanation, ...] = ()
    angles_deg: tuple[float, ...] = ()


def wiring(values: Mapping[str, float]) -> Wiring:
    """Judge the connection from active and reactive power of the three phases.

    Parameters
    ----------
    values
        Measurand -> value; power.active.l1.. and power.reactive.l1.. are looked at. [kW, kvar]
    """
    active = [values.get(f"power.active.{phase}") for phase in PHASES]
    reactive = [values.get(f"power.reactive.{phase}") for phase in PHASES]
    if any(p is None for p in active) or any(q is None for q in reactive):
        return Wiring("no-angles")
    pairs = [(p, q) for p, q in zip(active, reactive, strict=True) if p is not None and q is not None]
    if any(math.hypot(p, q) < LEAST_KVA for p, q in pairs):
        return Wiring("no-load")
    angles = tuple(math.degrees(math.atan2(q, p)) for p, q in pairs)
    found = sorted(_explanations(angles), key=lambda each: each.mistakes)
    if not found:
        return Wiring("unclear", (), angles)
    fewest = [each for each in found if each.mistakes == found[0].mistakes]
    if found[0].mistakes == 0:
        return Wiring("sound", tuple(fewest), angles)
    return Wiring("mistake" if len(fewest) == 1 else "either", tuple(fewest), angles)


def _explanations(angles: Sequence[float]) -> list[Explanation]:
    found = []
    for currents in permutations(range(3)):
        for turned in product((False, True), repeat=3):
            # A current of phase j at voltage k is 120 degrees times (j - k) from where it should be.
            load = [
                angle - 120.0 * (current - voltage) - 180.0 * flip
                for voltage, (angle, current, flip) in enumerate(zip(angles, currents, turned, strict=True))
            ]
            middle = _mean_deg(load)
            if all(abs(_wrapped(each - middle)) <= ALIKE_DEG / 2 for each in load) and (
                ORDINARY_DEG[0] <= middle <= ORDINARY_DEG[1]
            ):
                which = tuple(voltage for voltage, flip in enumerate(turned) if flip)
                found.append(Explanation((currents[0], currents[1], currents[2]), which, middle))
    return found


def _mean_deg(angles: Sequence[float]) -> float:
    return math.degrees(
        math.atan2(sum(math.sin(math.radians(a)) for a in angles), sum(math.cos(math.radians(a)) for a in angles))
    )


def _wrapped(angle: float) -> float:
    return (angle + 180.0) % 360.0 - 180.0
