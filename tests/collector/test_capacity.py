"""What a line can carry, against the tables of best cycles (11 bits a character, computed independently)."""

from __future__ import annotations

from typing import Any

import pytest

from collector.capacity import prove
from meterline.measurands import MEASURANDS, Kind
from meterline.profiles import CellPoint, Dlt645Profile, ModbusProfile
from meterline.settings import Rates
from tests.collector.sites import SHIPPED, plant
from tests.collector.test_plan import page

MINUTE = Rates(fast_s=60, normal_s=60, slow_s=60)
GAUGES = [row for row in MEASURANDS.values() if row.kind is Kind.GAUGE][:20]
FORTY_WORDS = page([{"at": 0}], {"max_words": 125}).model_copy(
    update={
        "points": tuple(
            CellPoint(measurand=row.name, unit=row.unit, at=2 * n, type="float32") for n, row in enumerate(GAUGES)
        )
    }
)


def proof_of(baud: int, turnaround_s: float | None, meters: int = 32, rates: Rates = MINUTE, **more: Any) -> Any:
    bus = {"kind": "serial", "device": "/dev/null", "baud": baud}
    site = plant(bus, *[{"profile": "page"}] * meters, profiles={"page": FORTY_WORDS})
    return prove(site.buses["line"], site, rates, turnaround_s=turnaround_s, **more)


@pytest.mark.parametrize(
    ("baud", "turnaround_ms", "cycle_s"),
    [
        (9600, 0, 3.54), (9600, 20, 4.18), (9600, 50, 5.14), (9600, 100, 6.74), (9600, 200, 9.94),
        (19200, 0, 1.77), (19200, 50, 3.37), (19200, 200, 8.17),
        (115200, 0, 0.34), (115200, 50, 1.94), (115200, 200, 6.74),
    ],
)  # fmt: skip
def test_thirty_two_meters_of_forty_words(baud: int, turnaround_ms: int, cycle_s: float) -> None:
    proof = proof_of(baud, turnaround_ms / 1000)
    assert proof.fullest.load.requests == 32
    assert proof.fullest.load.total_s == pytest.approx(cycle_s, abs=0.006)
    assert proof.busy == pytest.approx(cycle_s / 60, abs=0.0002)


@pytest.mark.parametrize(("turnaround_ms", "cycle_s"), [(20, 32.9), (50, 36.8), (100, 43.2), (200, 56.0), (500, 94.4)])
def test_four_blocks_of_dlt645_at_2400(turnaround_ms: int, cycle_s: float) -> None:
    """0001FF00, 0201FF00, 0202FF00, 0203FF00 of 32 meters, four wake-up bytes both ways."""
    shipped = SHIPPED["dlt645-2007-three-phase"]
    assert isinstance(shipped, Dlt645Profile)
    wanted = {"0001FF00", "0201FF00", "0202FF00", "0203FF00"}
    points = tuple(point for point in shipped.points if point.block in wanted)
    assert len(points) >= 12
    four = shipped.model_copy(update={"profile": "four", "points": points})
    bus = {"kind": "serial", "device": "/dev/null", "baud": 2400, "parity": "E"}
    meters = [{"profile": "four", "address": f"{n:012d}"} for n in range(1, 33)]
    site = plant(bus, *meters, profiles={"four": four})
    proof = prove(site.buses["line"], site, MINUTE, turnaround_s=turnaround_ms / 1000)
    assert proof.fullest is not None
    assert proof.fullest.load.requests == 32 * 4
    assert proof.fullest.load.total_s == pytest.approx(cycle_s, rel=0.02)


def test_classes_that_meet_share_their_requests() -> None:
    two = page([{"at": 0}, {"at": 1, "measurand": "energy.active.import", "unit": "kWh"}], {"max_words": 125})
    site = plant({"kind": "serial", "device": "/dev/null"}, {"profile": "page"}, profiles={"page": two})
    proof = prove(site.buses["line"], site, Rates(fast_s=10, normal_s=60), turnaround_s=0.05)
    often, seldom = proof.rounds
    assert {str(rate) for rate in often.rates} == {"fast"}
    assert {str(rate) for rate in seldom.rates} == {"fast", "normal"}
    assert often.every_s == pytest.approx(12.0), "five times a minute"
    assert seldom.every_s == pytest.approx(60.0)
    assert often.load.requests == seldom.load.requests == 1


def test_what_no_line_can_do_is_told_from_what_this_one_probably_cannot() -> None:
    wish = Rates(fast_s=5, normal_s=5, slow_s=5)
    assert not proof_of(9600, None, 24, wish).too_slow
    doubtful = proof_of(9600, None, 32, wish)
    assert doubtful.too_slow
    assert not doubtful.impossible
    assert proof_of(9600, None, 48, wish).impossible
    assert proof_of(9600, 0.1, 48, wish).impossible, "a slow meter excuses nothing"
    assert proof_of(9600, None, 26, wish).is_tight


def test_dead_meters_cost_their_time_outs_once_and_little_later() -> None:
    proof = proof_of(9600, 0.05, 30, dead=1)
    full = proof.fullest.load.total_s
    assert proof.dead_first_s == pytest.approx(full * 29 / 30 + 2 * 2 * 0.5, abs=0.01)
    assert proof.dead_after_s <= 1.05 * full


def test_several_questions_at_once_divide_the_time() -> None:
    meter = {"profile": "page"}
    times = []
    for at_once in (1, 4):
        bus = {"kind": "modbus-tcp", "host": "127.0.0.1", "in_flight": at_once}
        site = plant(bus, *[meter] * 8, profiles={"page": FORTY_WORDS})
        times.append(prove(site.buses["line"], site, MINUTE).busy)
    assert times[0] == pytest.approx(4 * times[1])


def test_every_shipped_profile_can_be_proven() -> None:
    proven = 0
    for name, shipped in SHIPPED.items():
        modbus = isinstance(shipped, ModbusProfile)
        line = {"baud": 9600} if modbus else {"baud": 2400, "parity": "E"}
        meter = {"profile": name, "address": "1".zfill({"dlt645": 12, "cjt188": 14}.get(shipped.protocol, 1))}
        site = plant({"kind": "serial", "device": "/dev/null", **line}, meter)
        proof = prove(site.buses["line"], site, Rates())
        assert not proof.too_slow, name
        proven += 1
    assert proven >= 25
