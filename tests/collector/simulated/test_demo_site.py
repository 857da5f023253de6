"""The demo's files are the shipped examples with other ports, and they are right."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from collector.simulated.demo_site import DEMO_FACTOR, Ports, demo_site, demo_start_ns, open_factory, replay_site
from collector.simulated.faults import KINDS
from meterline.clock import NS
from meterline.errors import ConfigError
from meterline.measurands import Carrier
from meterline.paths import profiles_dir, sites_dir
from meterline.plant import Plant, load_plant
from meterline.settings import load_gateway, load_headend
from tests.collector.simulated.clocks import StandingClock

PORTS = Ports((31001, 31002, 31003), broker=31004, mail=31005, web=31006)


@pytest.mark.parametrize("name", ["demo", "replay"])
def test_the_shipped_sites_have_no_problem(name: str) -> None:
    folder = sites_dir() / name
    assert load_gateway(folder / "gateway.yaml").plant.site.meters
    assert load_headend(folder / "headend.yaml").file.mail
    assert open_factory(folder / "site.yaml", StandingClock(0)).meters


def test_a_written_site_has_its_own_ports_and_line(tmp_path: Path) -> None:
    files = demo_site(tmp_path / "d", PORTS)
    plant = load_plant(files.site, profiles_dir())
    assert [bus.port for bus in plant.site.buses] == [31001, 31002, 31003, None]
    assert plant.buses["machining-line"].device == str((tmp_path / "d/lines/machining.tty").resolve())
    gateway, headend = load_gateway(files.gateway).file, load_headend(files.headend).file
    assert gateway.broker.port == headend.broker.port == 31004
    assert (headend.mail and headend.mail.port, headend.web.port) == (31005, 31006)
    assert demo_site(tmp_path / "d", Ports.free()).site == files.site  # written again over it


def test_the_demo_plant_is_worth_looking_at() -> None:
    plant = load_plant(sites_dir() / "demo" / "site.yaml", profiles_dir())
    assert 10 <= len(plant.site.meters) <= 14
    assert len({meter.profile for meter in plant.site.meters}) >= 5
    assert {plant.carrier_of(meter) for meter in plant.site.meters} == {Carrier.ELECTRICITY, Carrier.WATER}
    assert {bus.kind for bus in plant.site.buses} == {"modbus-tcp", "rtu-over-tcp", "serial"}
    assert all(meter.name.zh != meter.name.en for meter in plant.site.meters)


def working_hours(plant: Plant, start_ns: int) -> list[int]:
    made = open_factory(sites_dir() / "demo" / "site.yaml", StandingClock(start_ns))
    del plant
    return [
        round(float(made.displayed("m-main", "power.active.total", start_ns + n * 3600 * NS).value)) for n in range(11)
    ]


def test_ninety_seconds_show_day_evening_and_night_and_every_detector_something() -> None:
    plant = load_plant(sites_dir() / "demo" / "site.yaml", profiles_dir())
    start_ns = demo_start_ns(plant, dt.date(2026, 5, 24))
    start = dt.datetime.fromtimestamp(start_ns / NS, plant.site.site.zone)
    assert (start.strftime("%a %H:%M"), start.date()) == ("Thu 13:30", dt.date(2026, 5, 21))
    made = open_factory(sites_dir() / "demo" / "site.yaml", StandingClock(start_ns))
    end_ns = start_ns + round(90 * DEMO_FACTOR * NS)
    kinds = {fault.kind for fault in made.planted(end_ns)}
    assert {"silent", "spike", "overload", "frozen", "counter_reset", "phase_loss", "night_load"} <= kinds
    assert all(fault.en and fault.zh and "{" not in fault.en + fault.zh for fault in made.faults)
    power = working_hours(plant, start_ns)
    assert min(power[:3]) > 300 > 150 > power[10]


def test_at_normal_work_no_meter_is_above_its_rating() -> None:
    plant = load_plant(sites_dir() / "demo" / "site.yaml", profiles_dir())
    start_ns = demo_start_ns(plant, dt.date(2026, 5, 20))
    made = open_factory(sites_dir() / "demo" / "site.yaml", StandingClock(start_ns))
    for n in range(90):
        for meter in plant.site.meters:
            flow = made._physics.state(meter.id, start_ns // NS // 10 + n * 6).true.p / 1e6
            assert flow < (meter.rated or 0), (meter.id, n)


def test_every_kind_of_fault_has_its_sentences() -> None:
    assert len(KINDS) == 12
    for row in KINDS.values():
        assert row.en.format(meter="M", lasts="L", level=1.0)
        assert row.zh.format(meter="M", lasts="L", level=1.0) != row.en


def test_the_replay_plant_is_rated_for_its_recording(tmp_path: Path) -> None:
    recording = tmp_path / "x.csv"
    recording.write_text("time,kwh\n2026-05-18 08:15,40\n2026-05-18 08:30,157.18\n", encoding="utf-8")
    files = replay_site(tmp_path / "d", PORTS, recording)
    plant = load_plant(files.site, profiles_dir())
    assert {meter.id: meter.rated for meter in plant.site.meters} == {
        "m-main": 790.0, "m-rolling": 400.0, "m-finishing": 240.0,
    }  # fmt: skip
    made = open_factory(files.site, StandingClock(1_779_062_400 * NS), recording=recording)
    assert made.displayed("m-main", "power.active.total", 1_779_062_400 * NS).value == 160


def test_a_load_or_fault_of_an_unknown_meter_is_named(tmp_path: Path) -> None:
    files = demo_site(tmp_path, PORTS)
    text = files.factory.read_text(encoding="utf-8")
    files.factory.write_text(text.replace("m-cnc-2", "m-cnc-3"), encoding="utf-8")
    with pytest.raises(ConfigError) as failure:
        open_factory(files.site, StandingClock(0))
    assert [problem.place for problem in failure.value.problems] == ["loads.m-cnc-3", "faults[0].meter"]


def test_free_ports_are_different_and_the_wanted_ones_are_kept() -> None:
    ports = Ports.free(3, web=8420)
    assert len({*ports.buses, ports.broker, ports.mail, ports.web}) == 6
    assert ports.web == 8420
