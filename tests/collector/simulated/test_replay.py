"""A recording comes out of the meters as it went in."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from collector.simulated import Factory
from collector.simulated.replay import RecordedLoad, Recording, read_recording, recorded_loads
from meterline.clock import NS
from meterline.errors import ConfigError
from tests.collector.simulated.clocks import StandingClock
from tests.collector.simulated.sites import meter, plant, profile, tcp_bus

SHANGHAI = ZoneInfo("Asia/Shanghai")
STEEL_HEADER = "date,Usage_kWh,Lagging_Current_Reactive_Power_kVarh,Leading_Current_Reactive_Power_kVarh,NSM\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def steel_day(day: str, kwh: float) -> str:
    """A day as UCI 851 stamps it: 00:15 to 23:45, then 00:00 of the same day."""
    stamps = [f"{n // 4:02d}:{n % 4 * 15:02d}" for n in (*range(1, 96), 0)]
    return "".join(f"{day} {stamp},{kwh + n / 100:.2f},1.5,0.5,0\n" for n, stamp in enumerate(stamps))


@pytest.fixture
def steel(tmp_path: Path) -> Path:
    return write(tmp_path / "steel.csv", STEEL_HEADER + steel_day("01/01/2018", 3) + steel_day("02/01/2018", 50))


def test_midnight_of_the_steel_plant_belongs_to_the_day_that_ends(steel: Path) -> None:
    recording = read_recording(steel, SHANGHAI)
    assert recording.start_s == dt.datetime(2018, 1, 1, tzinfo=SHANGHAI).timestamp()
    assert set(recording.lengths_s) == {900}
    assert len(recording.kwh) == 192
    assert recording.kwh[95] == Fraction("3.95")  # the row stamped 00:00
    assert recording.kvarh[0] == 1
    assert recording.column == "Usage_kWh"
    assert recording.peak_kw == pytest.approx(50.95 * 4)


def test_the_meters_show_start_plus_what_was_recorded_at_every_interval_end(steel: Path) -> None:
    pages = [
        profile("hundredths"),
        profile("floats", points=[{"measurand": "energy.active.import", "at": 0, "unit": "kWh"}]),
    ]
    site = plant(
        [
            meter("main", profile="hundredths"),
            meter("one", profile="hundredths", fed_by="main", address="2", rated=60.0),
            meter("two", profile="floats", fed_by="main", address="3", rated=40.0),
        ],
        [tcp_bus(1)],
        *pages,
    )
    recording = read_recording(steel, SHANGHAI)
    loads = recorded_loads(recording, site)
    made = Factory(site, StandingClock(recording.start_ns), replay=loads)
    shares = {"main": Fraction(1), "one": Fraction(54, 100), "two": Fraction(36, 100)}
    start = {name: made.displayed(name, "energy.active.import", recording.start_ns).value for name in shares}
    with steel.open(encoding="utf-8") as file:
        rows = [Fraction(row["Usage_kWh"]) for row in csv.DictReader(file)]  # read anew, by the standard library
    total = Fraction(0)
    for n, energy in enumerate(rows, start=1):
        total += energy
        t_ns = recording.start_ns + n * 900 * NS
        assert recording.energy_until(t_ns // NS) == total
        for name, share in shares.items():
            shown = made.displayed(name, "energy.active.import", t_ns).value - start[name]
            step = 0.01 if name != "two" else 0.004  # half a float32 step above 65 536 kWh, twice
            assert float(shown) == pytest.approx(float(total * share), abs=step * 1.001)
    assert made.displayed("main", "power.active.total", recording.start_ns).value == pytest.approx(12, rel=1e-6)
    assert str(loads["main"]) == "steel.csv: Usage_kWh"
    assert str(loads["one"]) == "steel.csv: Usage_kWh, 54% of it"


def test_rounding_of_one_interval_is_given_back_in_the_next() -> None:
    third = Recording(Path("x.csv"), "kwh", 0, (700,) * 9, (Fraction(1, 7),) * 9, (Fraction(0),) * 9)
    load = RecordedLoad(third, Fraction(1, 3))
    milliwatt_seconds = sum(rate * 700 for rate in load._p)
    assert abs(milliwatt_seconds - Fraction(9, 21) * 3_600_000_000) <= 350


def test_after_its_end_a_recording_begins_again(steel: Path) -> None:
    from collector.simulated.loads import PlantDay
    from meterline.site import Calendar

    recording = read_recording(steel, SHANGHAI)
    load, day = RecordedLoad(recording), PlantDay(Calendar(), SHANGHAI)
    first = recording.start_s // 10
    assert load.flows(day.moment(first)) == load.flows(day.moment(first + 2 * 8640))


def test_power_is_held_until_the_next_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "kw.csv", "time;kW;kvar\n2026-05-18 08:00;12,5\n".replace(",", ".") + "2026-05-18 08:10;30;6\n"
    )
    with pytest.raises(ConfigError, match="line 2: has 2 columns, so no kvar"):
        read_recording(path, SHANGHAI)
    path = write(tmp_path / "kw.csv", "time;kW;kvar\n2026-05-18T08:00;12.5;3\n2026-05-18 08:10;30;6\n")
    recording = read_recording(path, SHANGHAI)
    assert (recording.lengths_s, recording.kwh) == ((600, 600), (Fraction(25, 12), Fraction(5)))


def test_gzip_and_a_zone_in_the_stamp(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"time,kwh\n2026-05-18T00:15:00+00:00,1\n2026-05-18T00:30:00+00:00,2\n"))
    assert read_recording(path, SHANGHAI).start_s == dt.datetime(2026, 5, 18, tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,power\n", "line 1: no column kwh among: time, power; a recording needs the columns 'time' and 'kwh'"),
        ("", "line 1: no column time and no column kwh"),
        ("time,kwh\n2026-05-18 08:00,1\n", "has fewer than two rows"),
        ("time,kwh\n18.5.2026,1\n2026-05-18 08:15,2\n", "line 2: time '18.5.2026' cannot be read"),
        ("time,kwh\n2026-05-18 08:00,1\n2026-05-18 08:15,l5\n", "line 3: 'l5' is no number"),
        ("time,kwh\n2026-05-18 08:15,1\n2026-05-18 08:00,2\n", "line 3: its time is not after the row before"),
        ("time,kwh\n2026-05-18 08:00:03,1\n2026-05-18 08:15,2\n", "line 2: its time is not on a whole 10 s"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        read_recording(write(tmp_path / "bad.csv", text), SHANGHAI)
    assert f"bad.csv: {message}" in str(failure.value)


def test_all_wrong_rows_are_named_up_to_a_point(tmp_path: Path) -> None:
    rows = "".join(f"2026-05-18 {n // 4:02d}:{n % 4 * 15:02d},x\n" for n in range(60))
    with pytest.raises(ConfigError) as failure:
        read_recording(write(tmp_path / "bad.csv", "time,kwh\n" + rows), SHANGHAI)
    assert len(failure.value.problems) == 20


def test_a_file_that_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_recording(tmp_path / "none.csv", SHANGHAI)
    damaged = tmp_path / "x.csv.gz"
    damaged.write_bytes(gzip.compress(b"time,kwh\n" * 100)[:-12])
    with pytest.raises(ConfigError, match="is damaged"):
        read_recording(damaged, SHANGHAI)
