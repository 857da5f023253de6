"""Mistakes of wiring are told from the angles they make; the angles come from phasors, not from the code under test."""

from __future__ import annotations

import cmath
import math
from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from collector.wiring import PHASES, wiring


def shown(
    angle_deg: float,
    currents: tuple[int, ...] = (0, 1, 2),
    turned: tuple[int, ...] = (),
    amperes: tuple[float, ...] = (20.0, 20.0, 20.0),
) -> dict[str, float]:
    """What a meter shows whose voltage k sees the current of phase currents[k]: S = U times the conjugate of I."""
    volts = [cmath.rect(230.0, math.radians(-120.0 * k)) for k in range(3)]
    flow = [cmath.rect(amperes[k], math.radians(-120.0 * k - angle_deg)) for k in range(3)]
    values: dict[str, float] = {}
    for k, phase in enumerate(PHASES):
        seen = flow[currents[k]] * (-1 if k in turned else 1)
        power = volts[k] * seen.conjugate() / 1000
        values |= {f"power.active.{phase}": power.real, f"power.reactive.{phase}": power.imag}
    return values


@given(st.floats(-35, 60), st.tuples(*[st.floats(5, 80)] * 3))
def test_a_sound_connection_is_sound(angle: float, amperes: tuple[float, ...]) -> None:
    assert wiring(shown(angle, amperes=amperes)).finding == "sound"


@pytest.mark.parametrize("phase", range(3))
@given(angle=st.floats(-15, 60))
def test_one_current_turned_round_is_named(phase: int, angle: float) -> None:
    found = wiring(shown(angle, turned=(phase,)))
    assert found.finding == "mistake"
    assert found.explanations[0].turned == (phase,)
    assert found.explanations[0].currents == (0, 1, 2)
    assert found.explanations[0].angle_deg == pytest.approx(angle, abs=0.01)


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (0, 2)])
@given(angle=st.floats(0, 45))
def test_two_currents_exchanged_are_among_the_explanations(pair: tuple[int, int], angle: float) -> None:
    currents = [0, 1, 2]
    currents[pair[0]], currents[pair[1]] = pair[1], pair[0]
    found = wiring(shown(angle, tuple(currents)))
    assert found.finding in ("mistake", "either")
    assert tuple(currents) in {each.currents for each in found.explanations if not each.turned}


@given(
    st.floats(-35, 60), st.sampled_from(list(permutations(range(3)))), st.sets(st.sampled_from((0, 1, 2)), max_size=3)
)
def test_whatever_is_wrong_is_never_called_sound(angle: float, currents: tuple[int, ...], turned: set[int]) -> None:
    assume(currents != (0, 1, 2) or turned)
    found = wiring(shown(angle, currents, tuple(turned)))
    cyclic = currents in ((1, 2, 0), (2, 0, 1)) and turned in (set(), {0, 1, 2})
    if found.finding == "sound":
        # All three moved alike, by 60 degrees in all: nothing but a look at the cables can tell.
        assert cyclic
    else:
        assert found.finding in ("mistake", "either")


def test_without_a_load_nothing_is_said() -> None:
    assert wiring(shown(20, amperes=(0.0, 0.0, 0.0))).finding == "no-load"
    assert wiring({}).finding == "no-angles"


def test_a_load_of_three_different_angles_is_unclear() -> None:
    values: dict[str, float] = {}
    for phase, degrees in zip(PHASES, (0.0, 45.0, 95.0), strict=True):
        values[f"power.active.{phase}"] = 5 * math.cos(math.radians(degrees))
        values[f"power.reactive.{phase}"] = 5 * math.sin(math.radians(degrees))
    assert wiring(values).finding in ("unclear", "either", "mistake")
    assert wiring(values).finding != "sound"
