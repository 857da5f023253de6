"""What a commissioning says of a meter: each planted mistake is named, and nothing passes for want of evidence."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collector.commission import examine, watch
from collector.commission_facts import Check, Told, Watched
from meterline.clock import NS
from meterline.commission_record import CommissionRecord, RecordedCheck, page_digest, proof_of, records, save
from meterline.errors import ConfigError
from meterline.plant import Plant
from meterline.readings import ClockState, Column, Poll, Shape
from tests.collector.rs485 import Wires
from tests.collector.scan_floor import E2400, ITEM_METER, SERIAL, On, wires_with
from tests.collector.sites import plant
from tests.collector.virtual_time import LoopClock, run

SECONDARY, PRIMARY = "acrel-dtsd1352", "eastron-sdm630"
NOW = dt.datetime(2026, 11, 24, 10, 0, tzinfo=dt.timezone(dt.timedelta(hours=8)))
ORDINARY = {
    "voltage.l1n": 230.0, "voltage.l2n": 231.0, "voltage.l3n": 229.0,
    "current.l1": 2.0, "current.l2": 2.0, "current.l3": 2.0,
}  # fmt: skip


def load(degrees: float = 25.0, **changes: float) -> dict[str, float]:
    """A sound three-phase load, in the physics of phasors."""
    values = dict(ORDINARY)
    for phase in ("l1", "l2", "l3"):
        apparent = values[f"voltage.{phase}n"] * values[f"current.{phase}"] / 1000
        values[f"power.active.{phase}"] = apparent * math.cos(math.radians(degrees))
        values[f"power.reactive.{phase}"] = apparent * math.sin(math.radians(degrees))
        values[f"power_factor.{phase}"] = math.cos(math.radians(degrees))
    values["power.active.total"] = sum(values[f"power.active.{phase}"] for phase in ("l1", "l2", "l3"))
    return values | {name.replace("__", "."): value for name, value in changes.items()}


def watched(values: dict[str, float], seconds: float = 60.0, counted: float | None = None, steps: int = -2) -> Watched:
    """Two polls of these values; the import counter goes on as the power says unless `counted` says otherwise."""
    advance = values.get("power.active.total", 0.0) * seconds / 3600 if counted is None else counted
    begin = 1000.0
    polls = []
    for at, energy in ((0.0, begin), (seconds, begin + advance)):
        names = [*values, "energy.active.import"]
        shape = Shape("p@1", tuple(Column(n, steps if "energy" in n else -9) for n in names))
        numbers = [round(value * 10**9) for value in values.values()] + [math.floor(energy * 10**-steps)]
        polls.append(Poll("m1", shape, round((1_790_000_000 + at) * NS), (10,), ClockState.SYNCED, tuple(numbers), ()))
    return Watched(tuple(polls))


def site(profile: str = SECONDARY, **meter: Any) -> Plant:
    ratios = [{"valid_from": "2024-01-01", "ct": "200/5"}] if profile == SECONDARY else []
    row = {"profile": profile, "address": "1", "rated": 100, "ratios": ratios} | meter
    return plant({"kind": "rtu-over-tcp", "host": "127.0.0.1"}, row)


def checked(
    values: dict[str, float], told: Told | None = None, place: Plant | None = None, **minute: Any
) -> list[Check]:
    where = place or site()
    return examine(where, where.meters["m1"], watched(values, **minute), told or Told(), NOW)


def of(checks: list[Check], code: str, about: str = "") -> Check:
    (found,) = [check for check in checks if check.code == code and check.about == about]
    return found


def failed(checks: list[Check]) -> set[str]:
    return {check.code for check in checks if check.state == "failed"}


def test_a_sound_meter_fails_nothing_and_what_nobody_looked_at_stays_open() -> None:
    checks = checked(load(), seconds=600)
    assert failed(checks) == set()
    assert of(checks, "wiring").state == "passed"
    assert of(checks, "power", "l2").state == "passed"
    assert of(checks, "advance").state == "passed"
    assert {check.code for check in checks if check.state == "unsure"} == {"sequence", "ratio", "display"}


def test_a_current_turned_round_is_named() -> None:
    values = load()
    values |= {"power.active.l2": -values["power.active.l2"], "power.reactive.l2": -values["power.reactive.l2"]}
    values["power.active.total"] = values["power.active.l1"]
    check = of(checked(values), "wiring")
    assert (check.state, check.say, check.values["phases"]) == ("failed", "wiring.turned", "L2")


def test_without_reactive_power_a_negative_phase_still_is() -> None:
    values = {name: value for name, value in load().items() if "reactive" not in name}
    values["power.active.l3"] *= -1
    values["power.active.total"] = values["power.active.l1"]
    check = of(checked(values), "wiring")
    assert (check.say, check.values["phases"]) == ("wiring.turned", "L3")


def test_a_scale_that_is_wrong_is_named_by_its_factor() -> None:
    values = load()
    for phase in ("l1", "l2", "l3"):
        values[f"power.active.{phase}"] *= 10
        values[f"power.reactive.{phase}"] *= 10
    values["power.active.total"] *= 10
    check = of(checked(values), "power", "l1")
    assert (check.state, check.values["off"]) == ("failed", "10")


def test_phases_that_do_not_add_up_fail() -> None:
    assert of(checked(load(power__active__total=0.4)), "sum").state == "failed"


@pytest.mark.parametrize(
    ("volts", "say", "state"),
    [(231.0, "voltage.good", "passed"), (133.0, "voltage.off", "failed"), (0.0, "voltage.dead", "failed")],
)
def test_voltages_are_held_against_nominal(volts: float, say: str, state: str) -> None:
    check = of(checked(load(voltage__l1n=volts)), "voltage", "l1")
    assert (check.say, check.state) == (say, state)


def test_no_load_passes_nothing() -> None:
    idle = {name: (value if "voltage" in name else 0.0) for name, value in load().items()}
    checks = checked(idle)
    for code in ("wiring", "advance", "sum"):
        assert of(checks, code).state == "unsure"
    assert of(checks, "power", "l1").state == "unsure"


@pytest.mark.parametrize(("plate", "state"), [("200/5", "passed"), ("40/1", "passed"), ("400/5", "failed")])
def test_the_ratio_is_held_against_the_plate(plate: str, state: str) -> None:
    assert of(checked(load(), Told(ct=plate)), "ratio", "ct").state == state


def test_primary_values_under_a_ratio_are_noticed() -> None:
    values = load() | {f"current.{phase}": 80.0 for phase in ("l1", "l2", "l3")}
    says = {check.say for check in checked(values, Told(ct="200/5"))}
    assert "ratio.already_primary" in says


def test_a_power_the_connection_cannot_carry_fails() -> None:
    assert "rating" in failed(checked(load(), place=site(rated=10)))


def test_a_clamp_tells_a_wrong_ratio() -> None:
    right = Told(clamp_a=(80.0, 80.0, 80.0))
    assert of(checked(load(), right), "clamp", "l1").state == "passed"
    check = of(checked(load(), Told(clamp_a=(2.0, 80.0, 80.0))), "clamp", "l1")
    assert (check.state, check.values["off"]) == ("failed", "CT/VT (40)")


@pytest.mark.parametrize(("factor", "say"), [(1.0, "advance.fits"), (10.0, "advance.off_by"), (1.5, "advance.differs")])
def test_the_counter_is_held_against_the_power(factor: float, say: str) -> None:
    values = load()
    moved = factor * values["power.active.total"] / 6
    assert of(checked(values, seconds=600, counted=moved), "advance").say == say


def test_a_minute_too_short_says_how_long_is_enough() -> None:
    check = of(checked(load(), seconds=60), "advance")
    assert (check.state, check.say) == ("unsure", "advance.too_short")
    minutes = float(check.values["minutes"])
    assert minutes == pytest.approx(10 * 0.01 / load()["power.active.total"] * 60, abs=1)


@pytest.mark.parametrize(
    ("shown", "say"),
    [("1000.0", "display.same"), ("1000.02", "display.same"), ("10000", "display.off_by"), ("40000", "display.off_by"),
     ("731.5", "display.differs")],
)  # fmt: skip
def test_the_display_is_held_against_what_was_decoded(shown: str, say: str) -> None:
    told = Told(display={"energy.active.import": Decimal(shown)})
    assert of(checked(load(), told), "display", "energy.active.import").say == say


@pytest.mark.parametrize(("word", "state"), [(0, "passed"), (1, "failed"), (2, "failed"), (4, "passed")])
def test_the_phase_sequence_is_the_meters_own_word(word: int, state: str) -> None:
    assert of(checked(load() | {"status.grid": float(word)}), "sequence").state == state


@pytest.mark.parametrize(
    ("off_s", "state"), [(0, "passed"), (-40, "passed"), (200, "unsure"), (-3000, "failed"), (40_000_000, "failed")]
)
def test_the_clock_is_held_against_ours(off_s: int, state: str) -> None:
    where = site()
    moment = dt.datetime.fromtimestamp(1_790_000_060 + off_s, where.site.site.zone)
    values = load() | {"clock.date": float(f"{moment:%Y%m%d}"), "clock.time": float(f"{moment:%H%M%S}")}
    assert of(checked(values, place=where), "clock").state == state


@pytest.mark.parametrize(
    ("expected", "state"),
    [("220641537708", "passed"), ("41537708", "passed"), ("220641537709", "failed"), ("", "unsure")],
)
def test_the_number_is_held_against_the_plate(expected: str, state: str) -> None:
    values = load() | {"identity.number": 220641537708.0}
    assert of(checked(values, Told(number=expected)), "number").state == state


def test_a_simulated_item_meter_is_watched_and_found_sound() -> None:
    async def scenario(clock: LoopClock) -> list[Check]:
        wires: Wires = wires_with(clock, [On(ITEM_METER, "220641537708", E2400)])
        where = plant({"kind": "serial", "device": "/dev/null", "baud": 2400, "parity": "E"},
                      {"profile": ITEM_METER, "address": "220641537708", "rated": 50})  # fmt: skip
        meter = where.meters["m1"]
        bus = SERIAL.model_copy(update={"baud": 2400, "parity": "E"})
        polls: list[Poll] = []
        seen = await watch(bus, meter, where.profile_of(meter), clock, 300, polls.append, transport=wires.end(bus))
        assert len(polls) == len(seen.polls) > 3
        assert seen.polls[-1].slot_ns - seen.polls[0].slot_ns >= 300 * NS
        now = dt.datetime.fromtimestamp(clock.now_ns() / NS, where.site.site.zone)
        return examine(where, meter, seen, Told(number="220641537708"), now)

    checks = run(scenario)
    assert failed(checks) == set(), checks
    assert of(checks, "number").state == "passed"
    assert of(checks, "clock").state == "passed"
    assert of(checks, "advance").state in ("passed", "unsure")


# ------------------------------------------------------------------------------------------------------------- record


def record(where: Plant, *states: tuple[str, str, str], minute: int = 0) -> CommissionRecord:
    profile = where.profile_of(where.meters["m1"])
    return CommissionRecord.model_validate_json(
        CommissionRecord.model_construct(
            meter="m1", site="works", at=NOW + dt.timedelta(minutes=minute), by="Li", software="x", profile=profile.id,
            page=page_digest(profile), evidence_of_page=profile.evidence, line="l", address="1", seconds=60.0,
            checks=tuple(
                RecordedCheck(code=c, about=a, state=s, say="display.same") for c, a, s in states  # type: ignore[arg-type]
            ),
            values={},
        ).model_dump_json()
    )  # fmt: skip


def test_a_display_that_agrees_proves_the_page_for_this_installation(tmp_path: Path) -> None:
    where, path = site(), tmp_path / "site.yaml"
    profile = where.profile_of(where.meters["m1"])
    assert proof_of(path, "m1", profile) is None
    save(record(where, ("display", "energy.active.import", "passed")), path, "text")
    proof = proof_of(path, "m1", profile)
    assert proof is not None
    assert proof.by == "Li"
    assert proof_of(path, "m2", profile) is None
    changed = profile.model_copy(update={"points": profile.points[:-1]})
    assert proof_of(path, "m1", changed) is None
    renamed = profile.model_copy(update={"source": "read again"})
    assert proof_of(path, "m1", renamed) is not None


@pytest.mark.parametrize(
    "states",
    [
        [("power", "l1", "passed")],
        [("display", "energy.active.import", "passed"), ("display", "voltage.l1n", "failed")],
        [("display", "", "unsure")],
    ],
)
def test_nothing_less_proves_it(tmp_path: Path, states: list[tuple[str, str, str]]) -> None:
    where = site()
    save(record(where, *states), tmp_path / "site.yaml", "text")
    assert proof_of(tmp_path / "site.yaml", "m1", where.profile_of(where.meters["m1"])) is None


def test_records_are_kept_and_never_replaced(tmp_path: Path) -> None:
    where, path = site(), tmp_path / "site.yaml"
    for minute in (3, 0, 7):
        save(record(where, ("display", "volume", "passed"), minute=minute), path, "text")
    assert [each.at.minute for each in records(path)] == [0, 3, 7]
    (tmp_path / "commissioning" / "notes.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="no record"):
        records(path)
