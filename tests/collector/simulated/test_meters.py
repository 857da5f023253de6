"""A meter shows what its maker's page says it shows, and refuses what it would refuse."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from collector.simulated import Factory, Load, Recipe
from collector.simulated.counting import COUNTERS, modulus_of, start_tallies, tally_of
from collector.simulated.display import Display
from collector.simulated.electrical import Grid, electric_gauges, pipe_gauges
from collector.simulated.loads import Flows, Moment
from collector.simulated.meters import MeterRefuses, SimulatedMeter, readable_addresses
from collector.simulated.own_words import own_words
from collector.simulated.physics import State
from meterline.clock import NS, ManualClock
from meterline.measurands import MEASURANDS, Carrier, Kind
from meterline.paths import profiles_dir
from meterline.profiles import Table, load_profiles
from tests.collector.simulated.sites import MONDAY_NS, meter, plant, profile, tcp_bus

MINUTE_NS = 60 * NS


def any_one(page: Any, *recipes: dict[str, Any], load: Load | None = None, **more: Any) -> Display:
    """The only meter of a factory, of the given profile, whatever it speaks."""
    site = plant([meter("m", profile=page.profile) | more], [tcp_bus(1)], page)
    faults = [Recipe.model_validate({"meter": "m"} | recipe) for recipe in recipes]
    loads = {"m": load or Load(shape="workshop", peak=60, idle=5)}
    return Factory(site, ManualClock(MONDAY_NS), loads=loads, faults=faults).meters["m"]


def one(page: Any, *recipes: dict[str, Any], load: Load | None = None, **more: Any) -> SimulatedMeter:
    """The only meter of a factory, of the given Modbus profile."""
    made = any_one(page, *recipes, load=load, **more)
    assert isinstance(made, SimulatedMeter)
    return made


def refusal(made: SimulatedMeter, address: int, count: int, table: Table = Table.INPUT) -> int:
    with pytest.raises(MeterRefuses) as refused:
        made.read(table, address, count, MONDAY_NS)
    return refused.value.code


def test_a_read_gives_the_words_of_what_is_shown() -> None:
    made = one(profile())
    words = made.read(Table.INPUT, 0, 6, MONDAY_NS)
    volts, watts, steps = struct.unpack(">ffI", struct.pack(">6H", *words))
    assert float(made.shown("voltage.l1n", MONDAY_NS).value) == pytest.approx(volts, rel=1e-7)
    assert float(made.shown("power.active.total", MONDAY_NS).value) * 1000 == pytest.approx(watts, rel=1e-7)
    assert made.shown("energy.active.import", MONDAY_NS).value == Decimal(steps) / 100
    assert made.counters_in(Table.INPUT, 0, 6) == ["energy.active.import"]
    assert made.counters_in(Table.INPUT, 0, 4) == []


def test_outside_its_map_a_meter_answers_code_2() -> None:
    made = one(profile())
    assert refusal(made, 100, 2) == 2
    assert refusal(made, 4, 4) == 2
    assert refusal(made, 0, 2, Table.HOLDING) == 2


def test_a_read_that_cuts_a_value_is_refused() -> None:
    made = one(profile())
    assert refusal(made, 1, 2) == 2
    assert refusal(made, 0, 3) == 2


def test_more_words_than_the_meter_gives_are_code_3() -> None:
    made = one(profile(limits={"max_words": 4}))
    assert len(made.read(Table.INPUT, 0, 4, MONDAY_NS)) == 4
    assert refusal(made, 0, 6) == 3


def test_a_meter_that_wants_even_addresses_refuses_odd_ones() -> None:
    points = [{"measurand": "voltage.l1n", "at": 0, "unit": "V"}, {"measurand": "current.l1", "at": 8, "unit": "A"}]
    made = one(profile(limits={"align": 2}, points=points))
    assert made.read(Table.INPUT, 0, 10, MONDAY_NS)[2:8] == [0] * 6  # unused words between are zeros
    assert refusal(made, 1, 2) == 2


def test_unused_words_are_read_across_only_as_far_as_the_page_allows() -> None:
    points = [{"measurand": "voltage.l1n", "at": 0, "unit": "V"}, {"measurand": "current.l1", "at": 8, "unit": "A"}]
    assert len(readable_addresses(profile(points=points))[Table.INPUT]) == 10
    assert len(readable_addresses(profile(points=points, limits={"max_gap": 5}))[Table.INPUT]) == 4
    assert len(readable_addresses(profile(points=points, limits={"no_bridge": [[3, 3]]}))[Table.INPUT]) == 4


def test_behind_transformers_a_secondary_meter_shows_what_its_terminals_see() -> None:
    ratios = [{"valid_from": "2020-01-01", "ct": "200/5"}]
    primary, secondary = one(profile()), one(profile(value_reference="secondary"), ratios=ratios)
    t_ns = MONDAY_NS + 60 * MINUTE_NS
    for measurand, ratio in (("power.active.total", 40), ("voltage.l1n", 1)):
        shown = [float(m.shown(measurand, t_ns).value) for m in (primary, secondary)]
        assert shown[0] == pytest.approx(ratio * shown[1], rel=1e-6)
    used = [
        m.shown("energy.active.import", t_ns).value - m.shown("energy.active.import", MONDAY_NS).value
        for m in (primary, secondary)
    ]
    assert float(used[0]) == pytest.approx(40 * float(used[1]), abs=0.01 * 41)


def test_a_counter_begins_again_at_its_wrap() -> None:
    point = {
        "measurand": "energy.active.import",
        "at": 0,
        "type": "uint32",
        "unit": "kWh",
        "scale": 0.01,
        "wraps_at": 20,
    }
    made = one(profile(points=[point]), load=Load(shape="base", peak=60, unrest=0))
    numbers = [made.shown("energy.active.import", MONDAY_NS + n * MINUTE_NS).number for n in range(60)]
    assert max(numbers) < 2000
    falls = [(a, b) for a, b in pairwise(numbers) if b < a]
    assert falls
    assert all(b + 2000 - a in (99, 100, 101) for a, b in falls)  # 60 kW: 1 kWh a minute


def test_a_counter_kept_by_tariff_is_the_sum_of_its_cells() -> None:
    cells = [{"at": 10}, {"at": 14}]
    point = {"measurand": "energy.active.import", "sum_of": cells, "type": "float64", "unit": "Wh"}
    made = one(profile(points=[point]), load=Load(shape="base", peak=36, unrest=0))

    def parts(t_ns: int) -> tuple[float, ...]:
        return struct.unpack(">2d", struct.pack(">8H", *made.read(Table.INPUT, 10, 8, t_ns)))

    day, night = MONDAY_NS + 60 * MINUTE_NS, MONDAY_NS + 15 * 60 * MINUTE_NS
    assert [b - a for a, b in zip(parts(day), parts(day + MINUTE_NS), strict=True)] == pytest.approx([600, 0])
    assert [b - a for a, b in zip(parts(night), parts(night + MINUTE_NS), strict=True)] == pytest.approx([0, 600])
    assert float(made.shown("energy.active.import", day).number) == pytest.approx(sum(parts(day)))


def test_a_counter_in_whole_and_fraction_is_one_counter() -> None:
    """The TUF-2000M's totaliser: an int32 of cubic metres and a float32 of what is left."""
    made = one(load_profiles(profiles_dir())["tuf-2000m"], load=Load(shape="base", peak=7.2, unrest=0), nominal_v=230.0)
    for minute in (0, 7, 61):
        t_ns = MONDAY_NS + minute * MINUTE_NS
        words = made.read(Table.HOLDING, 8, 4, t_ns)
        whole = struct.unpack(">i", struct.pack(">2H", words[1], words[0]))[0]
        rest = struct.unpack(">f", struct.pack(">2H", words[3], words[2]))[0]
        assert 0 <= rest <= 1
        assert float(made.shown("volume", t_ns).value) == pytest.approx(whole + rest, abs=1e-6)
    start = made.shown("volume", MONDAY_NS).value
    assert float(made.shown("volume", MONDAY_NS + 60 * MINUTE_NS).value - start) == pytest.approx(7.2, abs=1e-6)


def test_a_float32_counter_loses_the_digits_a_float32_loses() -> None:
    """Above 131 072 kWh a float32 steps by 1/64 kWh (facts, protocols.md, section A)."""
    point = {"measurand": "energy.active.import", "at": 0, "unit": "kWh"}
    made = one(profile(points=[point]), load=Load(shape="base", peak=90, unrest=0))
    numbers = []
    for second in range(120):
        raw = made.read(Table.INPUT, 0, 2, MONDAY_NS + second * NS)
        numbers.append(struct.unpack(">f", struct.pack(">2H", *raw))[0])
    assert numbers[0] > 131_072
    assert all(number % (1 / 64) == 0 for number in numbers)
    assert len(set(numbers)) > 50


def test_frozen_means_everything_stands_and_then_jumps() -> None:
    made = one(profile(), {"kind": "frozen", "after_min": 10, "lasts_min": 20})
    plain = one(profile())
    start, inside, after = (MONDAY_NS + minute * MINUTE_NS for minute in (10, 25, 30))
    assert made.read(Table.INPUT, 0, 6, inside) == made.read(Table.INPUT, 0, 6, start)
    assert made.read(Table.INPUT, 0, 6, after) == plain.read(Table.INPUT, 0, 6, after)
    assert plain.read(Table.INPUT, 0, 6, inside) != plain.read(Table.INPUT, 0, 6, start)


def test_a_spike_hits_one_value_and_stops_at_the_limit_of_its_type() -> None:
    points = [
        {"measurand": "power.active.total", "at": 0, "type": "uint16", "unit": "W"},
        {"measurand": "voltage.l1n", "at": 1, "type": "uint16", "unit": "V", "scale": 0.1},
    ]
    made = one(profile(points=points), {"kind": "spike", "after_min": 10, "lasts_min": 1, "level": 40})
    before, during = (made.read(Table.INPUT, 0, 2, MONDAY_NS + minute * MINUTE_NS) for minute in (9, 10))
    assert during[0] == 65_535 > before[0]
    assert during[1] == pytest.approx(before[1], rel=0.05)


MOMENT = Moment(MONDAY_NS // NS, 8 * 3600, 0, 1.0)
FLOWS = Flows(10_000_000, 11_000_000, 12_000_000, 5_000_000, 5_000_000, 5_000_000)


def test_powers_voltages_and_currents_belong_together() -> None:
    values = electric_gauges(State(MOMENT, FLOWS, FLOWS), Grid(1), 230.0, 100.0, 1, [])
    for n in (1, 2, 3):
        apparent = values[f"voltage.l{n}n"] * values[f"current.l{n}"] / 1000
        assert apparent == pytest.approx(values[f"power.apparent.l{n}"])
        assert values[f"power.active.l{n}"] / apparent == pytest.approx(values[f"power_factor.l{n}"])
    assert values["power.active.total"] == pytest.approx(33.0)
    assert values["power.reactive.total"] == pytest.approx(15.0)
    assert values["voltage.ll.mean"] == pytest.approx(3**0.5 * values["voltage.ln.mean"], rel=1e-3)
    assert 49.9 < values["frequency"] < 50.1


def test_balanced_phases_leave_the_neutral_empty() -> None:
    flows = Flows(*(9_000_000,) * 3, *(3_000_000,) * 3)
    values = electric_gauges(State(MOMENT, flows, flows), Grid(1), 230.0, 100.0, 1, [])
    assert values["current.n"] < 0.05 * values["current.l1"]


def test_every_measurand_of_the_list_can_be_shown() -> None:
    shown = set(COUNTERS)
    shown |= set(electric_gauges(State(MOMENT, FLOWS, FLOWS), Grid(1), 230.0, 100.0, 1, []))
    shown |= set(pipe_gauges(State(MOMENT, FLOWS, FLOWS), Carrier.WATER, 1, corrected=False))
    shown |= set(own_words(one(profile()).meter, MONDAY_NS, MONDAY_NS, ZoneInfo("Asia/Shanghai"), [], {}))
    assert set(MEASURANDS) <= shown
    assert len(MEASURANDS) >= 60


@pytest.mark.parametrize("name", sorted(load_profiles(profiles_dir())))
def test_every_shipped_profile_becomes_a_meter(name: str) -> None:
    page = load_profiles(profiles_dir())[name]
    made = any_one(page)
    for point in page.points:
        if point.enabled:
            number = made.shown(point.measurand, MONDAY_NS + 90 * MINUTE_NS).number
            assert abs(number) < 1e12
    assert set(made.counters) == {p.measurand for p in page.points if p.enabled and p.kind is Kind.COUNTER}
    for counter in made.counters[:1]:
        assert made.shown(counter, MONDAY_NS + 90 * MINUTE_NS).number > made.shown(counter, MONDAY_NS).number > 0


def test_start_values_fit_the_display_and_their_parts_add_up() -> None:
    page = load_profiles(profiles_dir())["acrel-dtsd1352"]
    ratios = [{"valid_from": "2020-01-01", "ct": "200/5"}]
    site = plant([meter("m", profile=page.profile, ratios=ratios)], [tcp_bus(1)], page)
    day = dt.date(2026, 5, 18)
    for seed in range(30):
        tallies = start_tallies(site.meters["m"], site, 1e9, seed, day)
        assert 0 < tallies["import"] == sum(tallies[f"import.4.{n}"] for n in range(4))
        name, unit = tally_of("energy.active.import", 0, 1)
        point = page.point("energy.active.import")
        assert point is not None
        steps = tallies[name] * unit / 40 / Fraction(1, 100)
        assert steps < (modulus_of(point, "uint32") or 0)
