"""What the edge doubts, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from collector.dialects import plan_of
from collector.plausibility import Plausibility
from meterline.clock import NS
from meterline.readings import Number, Quality
from tests.collector.sites import plant

SLOT = 1_700_000_100 * NS


class Judge:
    """One meter's plausibility, asked value by value at minute steps."""

    def __init__(self, profile: str, **meter: Any) -> None:
        self.plant = plant({"kind": "modbus-tcp", "host": "127.0.0.1"}, {"profile": profile, **meter})
        self.plan = plan_of(self.plant.profiles[profile])
        self.rules = Plausibility(self.plant.meters["m1"], self.plant)
        self.slot = SLOT

    def __call__(self, after_s: float = 60, **numbers: Number) -> set[str]:
        """The measurands doubted (dots written as underscores)."""
        self.slot += round(after_s * NS)
        names = [point.measurand.replace(".", "_") for point in self.plan.points]
        assert set(numbers) <= set(names)
        values = [numbers.get(name) for name in names]
        qualities = [0] * len(values)
        delays = [50] * self.plan.shape.requests
        marked = self.rules.judge(self.plan.points, self.plan.shape, values, qualities, self.slot, delays)
        assert marked == any(qualities)
        assert set(qualities) <= {0, Quality.SUSPECT}
        return {name for name, quality in zip(names, qualities, strict=True) if quality}


def test_gauges_are_held_against_the_connection() -> None:
    judge = Judge("eastron-sdm630", rated=100.0)
    assert not judge(
        voltage_l1n=230.1, power_active_total=99_000.0, current_l1=300.0, frequency=50.0, power_factor_l1=1.0
    )
    assert judge(power_active_total=121_000.0) == {"power_active_total"}
    assert judge(power_active_total=-121_000.0) == {"power_active_total"}
    assert judge(voltage_l1n=400.0) == {"voltage_l1n"}
    assert judge(current_l1=900.0) == {"current_l1"}
    assert judge(frequency=500.0) == {"frequency"}
    assert judge(power_factor_l1=1.2) == {"power_factor_l1"}


def test_a_secondary_meter_is_judged_by_its_own_display() -> None:
    ratio = {"valid_from": "2020-01-01", "ct": "200/5"}  # 100 kW primary are 2.5 kW at the meter
    judge = Judge("acrel-dtsd1352", rated=100.0, ratios=[ratio])
    assert not judge(power_active_total=2_900)
    assert judge(power_active_total=3_100) == {"power_active_total"}
    assert not judge(current_l1=500)


def test_a_broken_wire_is_no_flow() -> None:
    """NAMUR NE 43: below 3.6 mA or above 21 mA the signal is a fault."""
    span = {"raw": [4000, 20000], "value": [0, 250]}
    judge = Judge("analog-input-16", rated=250.0, ratios=[{"valid_from": "2020-01-01", "span": span}])
    for fine in (3600, 3900, 12000, 20500, 21000):
        assert not judge(flow_volume=fine)
    for fault in (0, 3500, 21100):
        assert judge(flow_volume=fault) == {"flow_volume"}


def test_without_a_rating_power_is_not_doubted() -> None:
    assert not Judge("eastron-sdm630")(power_active_total=1e7)


def test_a_counter_that_falls_is_doubted_once_and_then_believed() -> None:
    judge = Judge("acrel-dtsd1352", rated=100.0)
    assert not judge(energy_active_import=1_000_000)
    assert judge(energy_active_import=5) == {"energy_active_import"}  # exchanged or reset
    assert not judge(energy_active_import=6)
    assert not judge(energy_active_import=7)


def test_a_single_wrong_reading_does_not_poison_the_next() -> None:
    judge = Judge("acrel-dtsd1352", rated=100.0)
    assert not judge(energy_active_import=1_000_000)
    assert judge(energy_active_import=0) == {"energy_active_import"}
    assert not judge(energy_active_import=1_000_010)
    assert judge(energy_active_import=9_000_000) == {"energy_active_import"}
    assert not judge(energy_active_import=1_000_020)


@pytest.mark.parametrize(("after_s", "steps", "doubted"), [(60, 252, False), (60, 260, True), (600, 2_500, False)])
def test_a_counter_may_not_outrun_the_rating(after_s: float, steps: int, doubted: bool) -> None:
    """100 kW x 1.5 for a minute are 2.5 kWh, 250 steps of 0.01 kWh (and two of grace)."""
    judge = Judge("acrel-dtsd1352", rated=100.0)
    judge(energy_active_import=1_000_000)
    assert bool(judge(after_s, energy_active_import=1_000_000 + steps)) == doubted


def test_a_coarse_float_counter_may_step() -> None:
    """Above 1048576 kWh a 32-bit float moves by 1/8 kWh: more than 1 kW makes in a minute."""
    judge = Judge("eastron-sdm630", rated=1.0)
    judge(energy_active_import=1_048_576.0)
    assert not judge(energy_active_import=1_048_576.1)


def test_a_known_wrap_is_no_fall() -> None:
    judge = Judge("acrel-dtsd1352", rated=100.0)
    page = judge.plant.profiles["acrel-dtsd1352"]
    points = tuple(
        p.model_copy(update={"wraps_at": 1_000_000}) if p.measurand == "energy.active.import" else p
        for p in page.points
    )
    judge.plan = plan_of(page.model_copy(update={"points": points}))
    judge(energy_active_import=99_999_990)
    assert not judge(energy_active_import=3)
    assert judge(energy_active_import=1) == {"energy_active_import"}


def test_water_is_judged_by_flow() -> None:
    judge = Judge("tuf-2000m", rated=50.0)
    assert not judge(flow_volume=55.0, volume=1000.0)
    assert judge(flow_volume=61.0, volume=1000.8) == {"flow_volume"}
    assert judge(volume=1010.0) == {"volume"}
