"""Energy is conserved: a counter is the integral of the shown power, a main meter the sum of its sub-meters."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.simulated import Factory, Load, Recipe
from collector.simulated.loads import STEP_S
from collector.simulated.physics import TALLIES
from meterline.clock import NS, ManualClock
from meterline.plant import Plant
from tests.collector.simulated.sites import MONDAY_NS, meter, plant, profile, tcp_bus

FINE = profile(
    "fine",
    defaults={"table": "input", "type": "uint64", "order": "ABCD"},
    points=[
        {"measurand": "power.active.total", "at": 0, "unit": "W", "scale": 0.001},
        {"measurand": "power.active.l2", "at": 4, "unit": "W", "scale": 0.001},
        {"measurand": "energy.active.import", "at": 8, "unit": "Wh", "scale": 1e-6},
        {"measurand": "current.l2", "at": 12, "unit": "A", "scale": 0.001},
        {"measurand": "voltage.l2n", "at": 16, "unit": "V", "scale": 0.001},
        {"measurand": "demand.active.import", "at": 20, "unit": "W", "scale": 0.001},
        {"measurand": "demand.active.import.max", "at": 24, "unit": "W", "scale": 0.001},
    ],
)
"""Shows milliwatts and microwatt-hours: as fine as the simulation itself."""
MINUTE_NS = 60 * NS
LOADS = {
    "main": Load(shape="base", peak=0.0),
    "press": Load(shape="workshop", peak=60, idle=4, unrest=0.3),
    "kiln": Load(shape="furnace", peak=90, idle=2),
}


def works() -> Plant:
    tree = [
        meter("main", rated=200.0),
        meter("press", fed_by="main", address="2"),
        meter("kiln", fed_by="main", address="3"),
    ]
    return plant([m | {"profile": "fine"} for m in tree], [tcp_bus(1)], FINE)


def factory(*recipes: dict[str, Any]) -> Factory:
    faults = [Recipe.model_validate(recipe) for recipe in recipes]
    return Factory(works(), ManualClock(MONDAY_NS), loads=LOADS, faults=faults)


def kwh(made: Factory, name: str, t_ns: int) -> Decimal:
    return made.displayed(name, "energy.active.import", t_ns).value


def kw(made: Factory, name: str, t_ns: int, measurand: str = "power.active.total") -> float:
    return float(made.displayed(name, measurand, t_ns).value)


def test_the_counter_is_the_integral_of_the_shown_power() -> None:
    made = factory()
    steps = 6 * 60 * 6
    watt_seconds = sum(
        made.displayed("press", "power.active.total", MONDAY_NS + n * STEP_S * NS).number * STEP_S for n in range(steps)
    )
    counted = kwh(made, "press", MONDAY_NS + steps * STEP_S * NS) - kwh(made, "press", MONDAY_NS)
    assert counted == pytest.approx(Decimal(watt_seconds) / 3_600_000_000, abs=Decimal("1e-9"))
    assert counted > 200


def test_the_main_meter_passes_its_sub_meters_and_a_little_loss() -> None:
    made = factory()
    t_ns = MONDAY_NS + 100 * MINUTE_NS
    below = kw(made, "press", t_ns) + kw(made, "kiln", t_ns)
    assert kw(made, "main", t_ns) == pytest.approx(1.008 * below, rel=1e-6)
    later = t_ns + 200 * MINUTE_NS
    sums = [kwh(made, name, later) - kwh(made, name, t_ns) for name in ("main", "press", "kiln")]
    assert float(sums[0]) == pytest.approx(1.008 * float(sums[1] + sums[2]), rel=1e-6)


@settings(max_examples=8)
@given(st.lists(st.integers(0, 5 * 3600 * 10), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_what_is_shown_depends_on_the_moment_and_not_on_who_asked_before(tenths: list[int], order: Any) -> None:
    moments = [MONDAY_NS + tenth * NS // 10 for tenth in tenths]
    straight = factory({"kind": "counter_backwards", "meter": "kiln", "after_min": 60, "lasts_min": 40})
    expected = {t_ns: kwh(straight, "kiln", t_ns) for t_ns in sorted(moments)}
    asked = moments.copy()
    order.shuffle(asked)
    made = factory({"kind": "counter_backwards", "meter": "kiln", "after_min": 60, "lasts_min": 40})
    assert {t_ns: kwh(made, "kiln", t_ns) for t_ns in asked} == expected


def test_demand_is_the_mean_of_the_last_quarter_hour() -> None:
    made = factory()
    quarter = MONDAY_NS + 3 * 15 * MINUTE_NS
    mean_kw = float(kwh(made, "press", quarter) - kwh(made, "press", quarter - 15 * MINUTE_NS)) * 4
    assert kw(made, "press", quarter + MINUTE_NS, "demand.active.import") == pytest.approx(mean_kw, rel=1e-6)
    assert kw(made, "press", quarter + MINUTE_NS, "demand.active.import.max") >= mean_kw * 0.999999


def test_an_overload_shows_on_the_meter_and_on_the_one_that_feeds_it() -> None:
    plain, made = factory(), factory({"kind": "overload", "meter": "press", "after_min": 30, "level": 1.3})
    t_ns = MONDAY_NS + 40 * MINUTE_NS
    assert kw(made, "press", t_ns) == pytest.approx(130, abs=0.001)
    extra = kw(made, "press", t_ns) - kw(plain, "press", t_ns)
    assert kw(made, "main", t_ns) - kw(plain, "main", t_ns) == pytest.approx(1.008 * extra, rel=1e-5)
    assert kw(made, "press", MONDAY_NS + 61 * MINUTE_NS) == kw(plain, "press", MONDAY_NS + 61 * MINUTE_NS)


def test_a_night_load_waits_for_the_night() -> None:
    plain, made = (
        factory(),
        factory({"kind": "night_load", "meter": "press", "at": "20:00", "lasts_min": 300, "level": 25}),
    )
    evening, night = MONDAY_NS + 12 * 60 * MINUTE_NS + MINUTE_NS, MONDAY_NS + 15 * 60 * MINUTE_NS
    assert kw(made, "press", evening) == kw(plain, "press", evening)
    assert kw(made, "press", night) - kw(plain, "press", night) == pytest.approx(25, abs=0.001)


def test_a_blown_fuse_costs_the_meter_a_phase_and_not_the_main_meter() -> None:
    plain, made = factory(), factory({"kind": "phase_loss", "meter": "press", "after_min": 30, "level": 2})
    t_ns = MONDAY_NS + 40 * MINUTE_NS
    assert kw(made, "press", t_ns, "voltage.l2n") < 5
    assert kw(made, "press", t_ns, "power.active.l2") == 0
    assert kw(made, "press", t_ns, "current.l2") == kw(plain, "press", t_ns, "current.l2") > 10
    assert kw(made, "press", t_ns) == pytest.approx(kw(plain, "press", t_ns) * 2 / 3, rel=0.05)
    assert kw(made, "main", t_ns) == kw(plain, "main", t_ns)
    end = MONDAY_NS + 120 * MINUTE_NS
    assert kwh(made, "press", end) < kwh(plain, "press", end)
    assert kwh(made, "main", end) == kwh(plain, "main", end)


def test_a_counter_falls_to_zero_and_counts_on() -> None:
    made = factory({"kind": "counter_reset", "meter": "press", "after_min": 30})
    at = MONDAY_NS + 30 * MINUTE_NS
    assert kwh(made, "press", at - NS) > 1000
    assert kwh(made, "press", at) == 0
    plain = factory()
    later = at + 60 * MINUTE_NS
    assert kwh(made, "press", later) == pytest.approx(
        kwh(plain, "press", later) - kwh(plain, "press", at), abs=Decimal("1e-8")
    )


def test_a_counter_runs_backwards_as_fast_as_it_ran() -> None:
    plain, made = factory(), factory({"kind": "counter_backwards", "meter": "press", "after_min": 30, "lasts_min": 30})
    start, end = MONDAY_NS + 30 * MINUTE_NS, MONDAY_NS + 60 * MINUTE_NS
    used = kwh(plain, "press", end) - kwh(plain, "press", start)
    assert kwh(made, "press", start) - kwh(made, "press", end) == pytest.approx(used, abs=Decimal("1e-8"))
    assert kw(made, "press", start) == kw(plain, "press", start)


def test_every_tally_counts_something_or_nothing_but_never_less() -> None:
    made = factory()
    assert len(TALLIES) >= 19
    moment = made._physics.state("press").moment
    flows = made._physics.state("press").seen
    assert all(rate(flows, moment) >= 0 for rate in TALLIES.values())
    assert sum(TALLIES[f"import.2.{n}"](flows, moment) for n in range(2)) == flows.p
    assert sum(TALLIES[f"import.4.{n}"](flows, moment) for n in range(4)) == flows.p
    assert sum(TALLIES[f"import.l{n}"](flows, moment) for n in (1, 2, 3)) == flows.p
