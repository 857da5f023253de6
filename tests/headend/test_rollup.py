"""Interval amounts conserve energy from the store to the day, in whatever order data arrives."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.catalogue import Catalogue
from headend.intervals import RESOLUTIONS, Interval, Resolution
from headend.metered import counters_of
from headend.rollup import Rolled, Rollup
from headend.stores.api import Block, Span
from headend.stores.memory import MemoryStore
from meterline.measurands import ACCOUNT, Carrier
from meterline.paths import profiles_dir
from meterline.plant import Plant
from meterline.profiles import ModbusProfile, load_profiles
from meterline.readings import Quality
from meterline.site import Site
from tests.headend.gateway_twin import ENERGY, MINUTE, POWER, Twin, poll

ALWAYS = Span(0, 2**62)
HOUR = 60 * MINUTE
QUARTER = 15 * MINUTE
METER = "m1"


def at(text: str, zone: str = "Asia/Shanghai") -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 10**9


START = at("2026-03-02 06:00")


def plant_of(
    ratios: tuple[dict[str, object], ...] = (),
    zone: str = "Asia/Shanghai",
    reference: str = "secondary",
    exchanges: tuple[dict[str, object], ...] = (),
) -> Plant:
    profile = ModbusProfile.model_validate(
        {
            "profile": "two-points", "revision": 1, "title": {"en": "t", "zh": "t"}, "protocol": "modbus",
            "carrier": "electricity", "source": "test", "evidence": "unverified", "value_reference": reference,
            "points": (
                {"measurand": ENERGY, "at": 0, "type": "uint32", "unit": "kWh", "scale": 0.01, "wraps_at": 1_000_000},
                {"measurand": POWER, "at": 2, "type": "int32", "unit": "W"},
            ),
        },
        strict=False,
    )  # fmt: skip
    site = Site.model_validate(
        {
            "site": {"id": "s", "name": {"en": "s", "zh": "s"}, "timezone": zone},
            "energy_users": ({"id": "u", "name": {"en": "u", "zh": "u"}, "level": "organisation"},),
            "buses": ({"id": "b", "kind": "modbus-tcp", "gateway": "gw-1", "host": "127.0.0.1", "port": 5020},),
            "meters": (
                {"id": METER, "name": {"en": "m", "zh": "m"}, "energy_user": "u", "bus": "b", "address": "1",
                 "profile": "two-points", "ratios": ratios, "exchanges": exchanges},
            ),
        },
        strict=False,
    )  # fmt: skip
    return Plant(site, {"two-points": profile})


@dataclass
class Bench:
    """A store fed by a twin, a catalogue, and the rollup between them."""

    plant: Plant
    catalogue: Catalogue
    store: MemoryStore = field(default_factory=MemoryStore)
    twin: Twin = field(default_factory=Twin)
    now_ns: int = START

    def feed(self, *readings: tuple[int, int], delay_ms: int = 200) -> list[Block]:
        """(slot, display in hundredths of a kWh) -> one batch a reading."""
        blocks = [self.twin.block(poll(METER, slot, shown, 0, delays=(delay_ms, delay_ms))) for slot, shown in readings]
        self.store.append(blocks)
        self.now_ns = max([self.now_ns, *(slot for slot, _ in readings)])
        return blocks

    def roll(self, isolated: Callable[[str, Callable[[], None]], bool] | None = None) -> Rolled:
        def plainly(_: str, work: Callable[[], None]) -> bool:
            work()
            return True

        return Rollup(self.plant, self.store, self.catalogue).run(self.now_ns, isolated or plainly)

    def intervals(self, resolution: Resolution = "15min") -> list[Interval]:
        return self.catalogue.intervals(METER, ENERGY, resolution, ALWAYS)

    def total(self, resolution: Resolution = "15min") -> int:
        return sum(i.micro for i in self.intervals(resolution) if i.has_energy)

    def values(self) -> list[object]:
        return [
            (i.resolution, i.start_ns, i.end_ns, i.micro, round(i.coverage, 6), i.quality, i.open)
            for resolution in RESOLUTIONS
            for i in self.intervals(resolution)
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    catalogue = Catalogue(tmp_path)
    yield Bench(plant_of(), catalogue)
    catalogue.close()


def minutes(count: int, rate: int = 3, start: int = START, shown: int = 1000) -> list[tuple[int, int]]:
    return [(start + k * MINUTE, shown + rate * k) for k in range(count)]


def test_sums_close_to_the_last_digit(bench: Bench) -> None:
    bench.feed(*minutes(700))
    bench.roll()
    for resolution in RESOLUTIONS:
        assert bench.total(resolution) == 699 * 3 * 10_000
    quarters = bench.intervals()
    assert [q.start_ns for q in quarters] == [START + k * QUARTER for k in range(47)]
    assert {q.micro for q in quarters[1:-1]} == {15 * 3 * 10_000}
    assert [q.open for q in quarters] == [False] * 46 + [True]


def test_interpolation_is_on_the_moment_of_reading(bench: Bench) -> None:
    """Read 20 s after the slot: a third of the minute's 3 hundredths before the boundary belongs behind it."""
    bench.feed(*minutes(40), delay_ms=20_000)
    bench.roll()
    first, second, *_ = bench.intervals()
    assert first.micro == 15 * 30_000 - 10_000
    assert second.micro == 15 * 30_000


def test_growing_data_gives_the_same_as_all_at_once(tmp_path: Path) -> None:
    readings = minutes(500)
    whole, step = (Bench(plant_of(), Catalogue(tmp_path / name)) for name in ("whole", "step"))
    whole.feed(*readings)
    whole.roll()
    for k in range(0, 500, 7):
        step.feed(*readings[k : k + 7])
        step.roll()
    assert step.values() == whole.values()
    assert all(i.revision == 1 for i in step.intervals()), "growing is no revision"
    assert step.catalogue.earlier(METER, ENERGY, "15min", START) == []


def test_a_gap_is_not_zero(bench: Bench) -> None:
    bench.feed(*minutes(60))
    bench.roll()
    before = bench.intervals()
    bench.feed((START + 6 * HOUR, 1000 + 3 * 360))
    bench.now_ns = START + 6 * HOUR
    assert len(before) == 4, "what nobody has measured yet has no interval"
    bench.roll()
    gap = [i for i in bench.intervals() if START + HOUR <= i.start_ns < START + 6 * HOUR]
    assert bench.total() == 360 * 3 * 10_000
    assert all(i.quality & Quality.ESTIMATED for i in gap)
    assert all(i.coverage == 0 for i in gap)
    assert sum(i.micro for i in gap) > 0


def test_late_data_is_a_new_revision_and_the_old_value_stays(bench: Bench) -> None:
    readings = minutes(600)
    held = [r for r in readings if START + 2 * HOUR <= r[0] < START + 3 * HOUR]
    bench.feed(*(r for r in readings if r not in held))
    bench.roll()
    shape = {0: 3, 1: 9}  # inside the gap the meter really ran unevenly
    shown, uneven = held[0][1], []
    for k, (slot, _) in enumerate(held):
        uneven.append((slot, shown))
        shown += shape[k % 2] if k < 40 else 0
    uneven = [(slot, min(s, held[-1][1] + 3)) for slot, s in uneven]
    old = {i.start_ns: i for i in bench.intervals()}
    bench.feed(*uneven)
    assert bench.roll().revised > 0
    changed = [i for i in bench.intervals() if i.revision > 1]
    assert changed
    assert all(START + 2 * HOUR - QUARTER <= i.start_ns < START + 3 * HOUR + QUARTER for i in changed)
    for interval in changed:
        assert interval.reason == "late data"
        (before,) = bench.catalogue.earlier(METER, ENERGY, "15min", interval.start_ns)
        assert (before.micro, before.quality) == (old[interval.start_ns].micro, old[interval.start_ns].quality)
    assert bench.total() == bench.total("day") == 599 * 3 * 10_000


@st.composite
def walks(draw: st.DrawFn) -> list[tuple[int, int]]:
    """A counter that rises unevenly, with gaps of up to two days."""
    slot, shown = START + draw(st.integers(0, 30)) * MINUTE, draw(st.integers(0, 10**6))
    found = [(slot, shown)]
    for _ in range(draw(st.integers(2, 40))):
        slot += draw(st.sampled_from([1, 1, 1, 5, 17, 90, 700, 2900])) * MINUTE
        shown += draw(st.integers(0, 400))
        found.append((slot, shown))
    return found


@settings(max_examples=15)
@given(walks(), st.randoms(use_true_random=False), st.integers(1, 6))
def test_the_order_of_arrival_changes_nothing(readings: list[tuple[int, int]], random: Random, parts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, mixed = (Bench(plant_of(), Catalogue(Path(folder) / name)) for name in ("whole", "mixed"))
        whole.feed(*readings)
        whole.roll()
        shuffled = readings.copy()
        random.shuffle(shuffled)
        for k in range(parts):
            mixed.feed(*shuffled[k::parts])
            mixed.now_ns = whole.now_ns
            mixed.roll()
        for resolution in RESOLUTIONS:
            assert whole.total(resolution) == (readings[-1][1] - readings[0][1]) * 10_000
        assert amounts(mixed) == amounts(whole)
        whole.catalogue.close()
        mixed.catalogue.close()


def amounts(bench: Bench) -> list[object]:
    """Without coverage: with a handful of readings at odd distances nobody can say how often the meter is asked."""
    doubt = ~int(Quality.ESTIMATED)
    return [
        (i.resolution, i.start_ns, i.end_ns, i.micro, i.quality & doubt, i.open)
        for resolution in RESOLUTIONS
        for i in bench.intervals(resolution)
    ]


def test_regular_polling_in_any_order_gives_the_same_to_the_last_bit(tmp_path: Path) -> None:
    random = Random(7)
    readings = [r for r in minutes(1500, rate=2) if random.random() > 0.02 and not 300 < (r[0] - START) // MINUTE < 420]
    whole, mixed = (Bench(plant_of(), Catalogue(tmp_path / name)) for name in ("whole", "mixed"))
    whole.feed(*readings)
    whole.roll()
    shuffled = readings.copy()
    random.shuffle(shuffled)
    for k in range(5):
        mixed.feed(*shuffled[k::5])
        mixed.now_ns = whole.now_ns
        mixed.roll()
    assert mixed.values() == whole.values()
    assert {i.revision for i in mixed.intervals()} != {1}


def test_nothing_new_changes_nothing(bench: Bench) -> None:
    bench.feed(*minutes(200))
    bench.roll()
    before = bench.intervals()
    assert bench.roll() == Rolled((), 0)
    bench.now_ns += HOUR
    bench.roll()
    assert bench.intervals() == before


def test_a_meter_that_fails_stays_pending_and_is_tried_again(bench: Bench) -> None:
    bench.feed(*minutes(100))
    asked: list[str] = []

    def refuse(name: str, work: Callable[[], None]) -> bool:
        asked.append(name)
        return False

    bench.roll(refuse)
    assert asked == ["intervals of m1"]
    assert bench.intervals() == []
    assert bench.roll().meters == ("m1",)
    assert bench.total() == 99 * 30_000


def test_a_broken_off_run_leaves_nothing_half(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.feed(*minutes(100))
    real, calls = Catalogue.put_intervals, [0]

    def breaks(self: Catalogue, *args: object) -> int:
        calls[0] += 1
        if calls[0] == 2:  # quarters are written, hours are not
            raise RuntimeError("power cut")
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalogue, "put_intervals", breaks)
    with pytest.raises(RuntimeError):
        bench.roll()
    assert bench.intervals() == []
    bench.roll()
    assert [bench.total(r) for r in RESOLUTIONS] == [99 * 30_000] * 3


def test_days_are_the_plants_own(tmp_path: Path) -> None:
    """Berlin, the night the clock goes forward and the one it goes back: 23 and 25 hours."""
    zone = "Europe/Berlin"
    for date, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        bench = Bench(plant_of(zone=zone), Catalogue(tmp_path / date))
        start = at(f"{date} 00:00", zone)
        bench.feed(*((start + k * 5 * MINUTE, 10 * k) for k in range(-24, 27 * 12)), delay_ms=0)
        bench.roll()
        day = next(d for d in bench.intervals("day") if d.start_ns == start)
        assert day.end_ns - day.start_ns == hours * HOUR
        assert day.micro == hours * 12 * 10 * 10_000
        assert (day.coverage, day.open) == (1.0, False)


RATIO = {"valid_from": dt.date(2026, 1, 1), "ct": "200/5"}


def test_ratios_are_applied_once(tmp_path: Path) -> None:
    for reference, factor in (("secondary", 40), ("primary", 1)):
        bench = Bench(plant_of((RATIO,), reference=reference), Catalogue(tmp_path / reference))
        bench.feed(*minutes(200))
        bench.roll()
        assert bench.total() == bench.total("day") == 199 * 30_000 * factor


@pytest.mark.parametrize("ct", ["400/5", "250/3"])
def test_an_exchanged_transformer_counts_from_its_day(tmp_path: Path, ct: str) -> None:
    """Each side of the midnight with its own ratio, the display interpolated at midnight (read on the slot)."""
    ratios = (RATIO, {"valid_from": dt.date(2026, 3, 3), "ct": ct})
    bench = Bench(plant_of(ratios), Catalogue(tmp_path))
    midnight = at("2026-03-03 00:00")
    bench.feed(*minutes(30 * 60), delay_ms=0)
    bench.roll()
    upper, lower = (int(part) for part in ct.split("/"))
    before, after = 18 * 60 * 30_000 * 40, Fraction(12 * 60 * 30_000 - 30_000) * upper / lower
    days = {d.start_ns: d.micro for d in bench.intervals("day")}
    assert days[midnight - 24 * HOUR] == before
    assert abs(days[midnight] - after) <= 1
    assert bench.total() == bench.total("hour") == sum(days.values())


def test_a_corrected_ratio_recomputes_from_its_date_and_says_so(bench: Bench) -> None:
    bench.plant = plant_of((RATIO,))
    bench.feed(*minutes(300))
    bench.roll()
    fix = {
        "valid_from": dt.date(2026, 1, 1),
        "ct": "300/5",
        "correction": True,
        "by": "Li",
        "reason": "plate read again",
    }
    bench.plant = plant_of((RATIO, fix))
    if bench.plant.primary_factor(bench.plant.meters[METER], ENERGY, dt.date(2026, 3, 2)) != 60:
        bench.plant = plant_of((fix,))
    assert bench.roll().revised > 0
    assert bench.total() == bench.total("day") == 299 * 30_000 * 60
    closed = [i for i in bench.intervals() if not i.open]
    assert {(i.revision, i.reason) for i in closed} == {(2, "ratio")}
    (old,) = bench.catalogue.earlier(METER, ENERGY, "15min", closed[3].start_ns)
    assert (old.micro * 60, old.revision) == (closed[3].micro * 40, 1)


def test_roll_over_and_reset_keep_the_account(bench: Bench) -> None:
    top = 100_000_000  # hundredths: the display wraps at 1 000 000 kWh
    bench.feed(*((START + k * MINUTE, (top - 60 + 3 * k) % top) for k in range(60)))
    bench.roll()
    assert bench.total() == 59 * 30_000
    (event,) = bench.catalogue.events(METER, ENERGY, ALWAYS)
    assert event.kind == "rollover"


def test_an_exchange_entered_afterwards_makes_the_account_whole(bench: Bench) -> None:
    """By hand, hundredths on a 200/5 CT: 100 minutes of 3, then 1 and 2 around the exchange, then 99 minutes of 3."""
    bench.plant = plant_of((RATIO,))
    old = [(START + k * MINUTE, 900_000 + 3 * k) for k in range(101)]
    new = [(START + (101 + k) * MINUTE, 52 + 3 * k) for k in range(100)]
    bench.feed(*old, *new)
    bench.roll()
    assert bench.total() == (100 * 3 + 52 + 99 * 3) * 10_000 * 40, "it looks like a reset"
    removed = dt.datetime(2026, 3, 2, 7, 40, 20)  # 100 minutes and 20 seconds after the start
    exchange = {"removed": removed, "old_end": 9003.01, "new_start": 0.5, "by": "Li", "reason": "verification"}
    bench.plant = plant_of((RATIO,), exchanges=(exchange,))
    assert bench.roll().revised > 0
    assert bench.total() == bench.total("day") == (100 * 3 + 1 + 2 + 99 * 3) * 10_000 * 40
    assert [event.kind for event in bench.catalogue.events(METER, ENERGY, ALWAYS)] == ["exchange"]
    (touched,) = [i for i in bench.intervals() if i.quality & Quality.MAINTENANCE]
    assert touched.start_ns == START + 90 * MINUTE
    assert touched.reason == "exchange"
    before = bench.catalogue.earlier(METER, ENERGY, "15min", touched.start_ns)
    assert [i.revision for i in before] == [1], "what it said before stays"


def test_a_clock_in_another_century_opens_no_intervals(bench: Bench) -> None:
    bench.feed(*minutes(60))
    bench.now_ns = START + HOUR
    now = bench.now_ns
    bench.feed((at("2126-01-01 00:00"), 5000), (at("1970-01-02 00:00"), 10))
    bench.now_ns = now
    bench.roll()
    assert len(bench.intervals()) == 4
    assert bench.total() == 59 * 30_000


def test_an_unknown_meter_is_nobodys_account(bench: Bench) -> None:
    bench.store.append([bench.twin.block(poll("stranger", START, 1, 1), poll("stranger", START + MINUTE, 9, 1))])
    assert bench.roll() == Rolled((), 0)
    assert bench.catalogue.marks("rollup.pending") == {}


def test_shipped_profiles_name_an_account() -> None:
    profiles = load_profiles(profiles_dir()).values()
    found = {}
    for profile in profiles:
        plant = plant_of()
        plant.profiles["two-points"] = profile
        found[profile.profile] = counters_of(plant, plant.meters[METER])
    kept = [name for name, counters in found.items() if counters and counters[0] in ACCOUNT[plant_carrier(name)]]
    assert len(kept) >= 4


def plant_carrier(name: str) -> Carrier:
    return load_profiles(profiles_dir())[name].carrier
