"""Loads look like a plant and are functions of time alone."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.simulated.loads import MILLIONTHS, SHAPES, STEP_S, Consumer, Load, Moment, PlantDay
from collector.simulated.noise import Wander, chance
from meterline.documents import validate
from meterline.site import Calendar
from tests.collector.simulated.sites import CALENDAR, MONDAY_NS

EAST = dt.timezone(dt.timedelta(hours=8))
MONDAY_STEP = MONDAY_NS // 1_000_000_000 // STEP_S
DAY = PlantDay(validate(CALENDAR, Calendar, "site.yaml"), EAST)


def mean_kw(consumer: Consumer, hour_from: float, hours: float, day: int = 0) -> float:
    """Mean power of a stretch of the week that begins on Monday 00:00."""
    first = MONDAY_STEP + round((day * 24 + hour_from - 8) * 3600 / STEP_S)
    return mean(consumer.flows(DAY.moment(first + n)).p for n in range(round(hours * 3600 / STEP_S))) / MILLIONTHS


def test_a_workshop_follows_shift_break_evening_night_and_weekend() -> None:
    shop = Consumer(Load(shape="workshop", peak=80, idle=5), seed=3)
    morning = mean_kw(shop, 9, 2)
    assert 60 < morning <= 80
    assert mean_kw(shop, 11.75, 0.5) < 0.6 * morning
    assert mean_kw(shop, 18, 2) == pytest.approx(0.75 * morning, rel=0.15)
    assert mean_kw(shop, 23, 4) == pytest.approx(5, rel=0.1)
    assert mean_kw(shop, 10, 4, day=5) == pytest.approx(5, rel=0.1)
    assert 5 < mean_kw(shop, 8.05, 0.15) < morning  # it takes its time to start


def test_a_compressor_loads_and_unloads() -> None:
    compressor = Consumer(Load(shape="compressor", peak=75, idle=1), seed=4)
    powers = [compressor.flows(DAY.moment(MONDAY_STEP + 500 + n)).p / MILLIONTHS for n in range(360)]
    assert {round(p / 75, 1) for p in powers} == {0.3, 1.0}  # unloaded a third, loaded full
    changes = sum(abs(a - b) > 30 for a, b in pairwise(powers))
    assert 20 <= changes <= 60  # in an hour: about twenty cycles


def test_a_furnace_melts_holds_and_charges() -> None:
    furnace = Consumer(Load(shape="furnace", peak=200, idle=4, cycle_min=60), seed=5)
    powers = [furnace.flows(DAY.moment(MONDAY_STEP + 360 + n)).p / MILLIONTHS for n in range(360)]
    assert sum(p > 170 for p in powers) > 200
    assert any(p < 10 for p in powers)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_shape_is_a_function_of_time_alone(shape: str) -> None:
    load = Load.model_validate({"shape": shape, "peak": 50.0, "idle": 3.0})
    steps = [MONDAY_STEP + n * 97 for n in range(300)]
    forwards = Consumer(load, 11)
    backwards = Consumer(load, 11)
    there = [forwards.flows(DAY.moment(step)) for step in steps]
    back = [backwards.flows(DAY.moment(step)) for step in reversed(steps)]
    assert there == back[::-1]
    assert there != [Consumer(load, 12).flows(DAY.moment(step)) for step in steps]
    assert all(0 <= flows.p <= 50 * 1.2 * MILLIONTHS for flows in there)


def test_power_factor_falls_with_the_load() -> None:
    base = Consumer(Load(shape="base", peak=50, power_factor=0.9, unrest=0.5), seed=1)
    points = [base.flows(DAY.moment(MONDAY_STEP + 60 * n)) for n in range(200)]
    factor = {f.p: f.p / (f.p**2 + f.q**2) ** 0.5 for f in points}
    light, heavy = min(factor), max(factor)
    assert factor[light] < factor[heavy] <= 0.9001


def test_a_pipe_has_one_flow() -> None:
    water = Consumer(Load(shape="tap", peak=6, idle=0.1), seed=9, three_phase=False)
    assert all(water.flows(DAY.moment(MONDAY_STEP + n))[1:] == (0, 0, 0, 0, 0) for n in range(100))


@given(st.integers(0, 2**40), st.integers(0, 2**31))
def test_wander_is_bounded_smooth_and_repeatable(t_s: int, seed: int) -> None:
    wander = Wander(seed)
    here = wander.at(t_s)
    assert -1.0 <= here <= 1.0
    assert abs(wander.at(t_s + 1) - here) < 0.02
    assert Wander(seed).at(t_s) == here


def test_chance_is_even() -> None:
    draws = [chance(1, n) for n in range(10_000)]
    assert mean(draws) == pytest.approx(0.5, abs=0.02)
    assert all(abs(sum(n / 10 <= d < (n + 1) / 10 for d in draws) - 1000) < 130 for n in range(10))


def test_the_calendar_decides_what_is_work() -> None:
    assert DAY.working(MONDAY_NS // 10**9)
    assert not DAY.working(MONDAY_NS // 10**9 - 60)
    moment = DAY.moment(MONDAY_STEP)
    assert isinstance(moment, Moment)
    assert (moment.day_s, moment.weekday) == (8 * 3600, 0)
