"""A factory that is stopped and started again shows the same numbers at the same moments."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collector.simulated import Factory, Load, Recipe
from collector.simulated.journal import read_shown
from meterline.clock import NS
from meterline.errors import ConfigError
from tests.collector.simulated.clocks import RunTo, StandingClock
from tests.collector.simulated.sites import MONDAY_NS, meter, plant

HOUR_NS = 3600 * NS
RESET = Recipe(kind="counter_reset", meter="m", after_min=45.0)


def works(clock: StandingClock | RunTo, state: Path | None, *faults: Recipe, load: float = 50.0) -> Factory:
    site = plant([meter("m")], [])
    site = plant([meter("m")], [{"id": "tcp", "kind": "serial", "gateway": "gw", "device": "unused"}])
    site.site = site.site.model_copy(update={"buses": ()})
    return Factory(site, clock, loads={"m": Load(peak=load, idle=3)}, faults=faults, state_dir=state)


def run(factory: Factory) -> None:
    """Serve (no lines) until the clock has reached its end."""
    clock = factory.clock
    assert isinstance(clock, RunTo)

    async def until_there() -> None:
        task = asyncio.create_task(factory.serve())
        await asyncio.wait_for(clock.there.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(until_there())


def kwh(factory: Factory, t_ns: int) -> float:
    return factory.displayed("m", "energy.active.import", t_ns).number


def test_a_restart_goes_on_where_the_clock_is(tmp_path: Path) -> None:
    straight = works(StandingClock(MONDAY_NS), None, RESET)
    run(works(RunTo(MONDAY_NS, MONDAY_NS + 2 * HOUR_NS), tmp_path, RESET))
    for resumed_at in (MONDAY_NS + 2 * HOUR_NS, MONDAY_NS + HOUR_NS + 7 * NS, MONDAY_NS + 5 * HOUR_NS):
        again = works(StandingClock(resumed_at), tmp_path)
        for t_ns in (resumed_at, resumed_at + 20 * NS, resumed_at + HOUR_NS):
            assert kwh(again, t_ns) == kwh(straight, t_ns)


def test_a_second_run_plants_its_own_faults_and_keeps_those_that_began(tmp_path: Path) -> None:
    never = Recipe(kind="silent", meter="m", after_min=600.0)
    run(works(RunTo(MONDAY_NS, MONDAY_NS + 2 * HOUR_NS), tmp_path, RESET, never))
    again = works(StandingClock(MONDAY_NS + 2 * HOUR_NS), tmp_path, Recipe(kind="frozen", meter="m", after_min=5.0))
    assert [(fault.kind, (fault.start_ns - MONDAY_NS) // (60 * NS)) for fault in again.faults] == [
        ("counter_reset", 45),
        ("frozen", 125),
    ]
    assert [fault.kind for fault in again.planted(MONDAY_NS + 2 * HOUR_NS)] == ["counter_reset"]
    assert again.faults[1].text("en") == "m repeats its last values for 30 min"
    assert again.faults[1].text("zh") == "m数值冻结30分钟"


def test_counters_never_fall_when_the_clock_begins_again_in_the_past(tmp_path: Path) -> None:
    run(works(RunTo(MONDAY_NS, MONDAY_NS + HOUR_NS), tmp_path))
    first = kwh(works(StandingClock(MONDAY_NS), None), MONDAY_NS)
    again = works(StandingClock(MONDAY_NS - 5 * HOUR_NS), tmp_path)
    assert kwh(again, MONDAY_NS - 5 * HOUR_NS) >= first


def test_a_factory_left_alone_for_days_was_switched_off(tmp_path: Path) -> None:
    run(works(RunTo(MONDAY_NS, MONDAY_NS + HOUR_NS), tmp_path))
    stood_at = kwh(works(StandingClock(MONDAY_NS + HOUR_NS), tmp_path), MONDAY_NS + HOUR_NS)
    much_later = MONDAY_NS + 10 * 24 * HOUR_NS
    assert kwh(works(StandingClock(much_later), tmp_path), much_later) == stood_at


def test_the_journal_has_every_quarter_hour_as_it_was_displayed(tmp_path: Path) -> None:
    made = works(RunTo(MONDAY_NS, MONDAY_NS + 2 * HOUR_NS), tmp_path)
    run(made)
    rows = read_shown(tmp_path)
    assert [(row["t"] - MONDAY_NS) // (15 * 60 * NS) for row in rows] == list(range(9))
    assert {row["why"] for row in rows} == {"grid"}
    straight = works(StandingClock(MONDAY_NS), None)
    for row in rows:
        assert row["shown"]["energy.active.import"] == kwh(straight, row["t"])


def test_a_line_cut_off_by_a_kill_is_not_read(tmp_path: Path) -> None:
    run(works(RunTo(MONDAY_NS, MONDAY_NS + HOUR_NS), tmp_path))
    anchors = tmp_path / "anchors.jsonl"
    anchors.write_text(anchors.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    straight = works(StandingClock(MONDAY_NS), None)
    later = MONDAY_NS + 2 * HOUR_NS
    assert kwh(works(StandingClock(later), tmp_path), later) == kwh(straight, later)


def test_a_foreign_state_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "factory.json").write_text('{"version": 99}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is no state of the simulated factory \(version 99\); move the folder away"):
        works(StandingClock(MONDAY_NS), tmp_path)


def test_a_meter_without_a_load_gets_one_fit_for_its_rating() -> None:
    site = plant([meter("main", rated=400.0), meter("sub", fed_by="main", address="2", rated=80.0)], [
        {"id": "tcp", "kind": "modbus-tcp", "gateway": "gw", "host": "127.0.0.1", "port": 1}])  # fmt: skip
    made = Factory(site, StandingClock(MONDAY_NS))
    powers = {
        name: max(float(made.displayed(name, "power.active.total", MONDAY_NS + n * 600 * NS).value) for n in range(36))
        for name in ("main", "sub")
    }
    assert 20 < powers["sub"] < 80
    assert powers["sub"] < powers["main"] < 400
