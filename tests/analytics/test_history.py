"""Weeks of a plant: planted faults are found under their names, sound plants are left alone, and nobody looks ahead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.findings import Finding
from analytics.history import HISTORY_SAYS, MeterFacts, MeterRecord, examine_plant
from analytics.history.block import Rows
from analytics.history.causes import name_of_factor
from analytics.history.chance import NEVER, Runs
from analytics.history.digits import Digits
from analytics.history.fleet import Fleet
from analytics.history.garbled import swapped
from analytics.history.points import score_readings
from analytics.history.robust import middle, quantile, row_quantile
from analytics.history.saved import load, save
from analytics.planted import IN_METER, PER_DAY, QUARTER, Planted, make_plant
from analytics.series import SeriesError

HOUR = 4 * QUARTER
DAYS = 60
MIDNIGHT = 42 * PER_DAY  # a Monday


def of(findings: Sequence[Finding], meter: str) -> list[Finding]:
    return [finding for finding in findings if finding.meter == meter]


def is_at(finding: Finding, fault: Planted) -> bool:
    """At least half of the finding lies in the fault, and of a long fault at least half is covered."""
    end = finding.end_ns or fault.end_ns
    shared = min(end, fault.end_ns) - max(finding.start_ns, fault.start_ns)
    return 2 * shared >= end - finding.start_ns and 2 * shared >= fault.end_ns - fault.start_ns


# -- what a meter says about itself ---------------------------------------------------------------------------------
SIZES = {"spike": 10.0, "noise": 0.3, "clock_jump": 420.0, "dst_shift": 3600.0, "ratio_change": 2.0, "theft": 0.6,
         "phase_voltage_loss": 0.85, "phase_current_loss": 0.9, "counter_backwards": 500.0}  # fmt: skip
LENGTHS = {"spike": 1, "counter_reset": 1, "counter_rollover": 1, "counter_backwards": 5, "word_swap": 6}
BY_ITSELF = [kind for kind in IN_METER if kind not in ("ratio_change", "theft")]


@pytest.mark.parametrize("kind", BY_ITSELF)
def test_a_meter_fault_is_found_under_its_name(kind: str) -> None:
    start = MIDNIGHT + 40  # ten in the morning
    fault = Planted("p-s1", kind, start, start + LENGTHS.get(kind, 60) - 1, SIZES.get(kind, 1.0))
    found = examine_plant(make_plant("p", 7, 45, [fault], subs=1))
    assert [(finding.meter, finding.kind) for finding in found] == [("p-s1", kind)]
    assert is_at(found[0], fault)
    assert found[0].evidence
    assert found[0].detected_ns <= fault.start_ns + (6 if kind in ("gap", "noise") else 2) * QUARTER


def test_every_kind_of_meter_fault_is_tried() -> None:
    assert len(BY_ITSELF) == 15
    assert set(IN_METER) < set(HISTORY_SAYS)


def test_a_clock_may_be_late_as_answers_are() -> None:
    rx = np.arange(10, dtype=np.int64) * QUARTER + 50 * 10**9
    facts = MeterFacts("m", QUARTER)
    assert examine_plant([MeterRecord(facts, rx, rx - 50 * 10**9)]) == []
    (finding,) = examine_plant([MeterRecord(facts, rx, rx - 3600 * 10**9 - 50 * 10**9)])
    assert finding.kind == "dst_shift"
    assert finding.evidence["off_by_s"] == -3650.0


def test_words_exchanged_by_the_standard() -> None:
    # IEEE 754: 1.0 is 3F80 0000, so 0000 3F80 is the denormal 0x3F80 * 2**-149; 230.5 is 4366 8000
    assert swapped(np.array([1.0]))[0] == 0x3F80 * 2.0**-149
    assert swapped(swapped(np.array([230.5])))[0] == 230.5


def test_the_last_digit_is_seen_in_the_values() -> None:
    digits = Digits(3)
    digits.take(np.array([[1.25, 3.5, 7.0], [12.0, 3.0, np.nan], [np.pi, np.e, np.sqrt(2)]]))
    digits.end_day()
    assert digits.digit.tolist() == pytest.approx([0.01, 1.0, 1e-4])


def test_a_channel_that_often_repeats_needs_a_longer_run() -> None:
    runs = Runs(2, least=2)
    known = np.ones((2, PER_DAY), bool)
    repeats = np.stack([np.zeros(PER_DAY, bool), np.arange(PER_DAY) % 10 < 9])
    assert (runs.need == NEVER).all()  # nothing is known on the first day
    for day in range(20):
        runs.take(repeats, known)
        runs.end_day(day, PER_DAY)
    lively, lazy = runs.need
    assert lively == 2
    assert lazy > 50


# -- the metering tree ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "size"), [("theft", 0.65), ("ratio_change", 2.0)])
def test_a_meter_that_miscounts_is_named_by_the_tree(kind: str, size: float) -> None:
    fault = Planted("p-s2", kind, MIDNIGHT + 50, MIDNIGHT + 50 + 7 * PER_DAY, size)
    found = examine_plant(make_plant("p", 5, DAYS, [fault], view="e"))
    (finding,) = found
    assert (finding.meter, finding.kind) == ("p-s2", kind)
    assert is_at(finding, fault)
    assert finding.evidence["factor"] == pytest.approx(size, rel=0.05)


def test_load_that_no_sub_meter_sees_is_the_mains_finding() -> None:
    fault = Planted("p-main", "sum_mismatch", MIDNIGHT + 50, MIDNIGHT + 50 + 10 * PER_DAY, 0.1)
    (finding,) = examine_plant(make_plant("p", 5, DAYS, [fault]))
    assert (finding.meter, finding.kind) == ("p-main", "sum_mismatch")
    assert is_at(finding, fault)
    assert finding.detected_ns - finding.start_ns <= 5 * PER_DAY * QUARTER


def test_factors_have_names() -> None:
    assert name_of_factor(2.0) == name_of_factor(0.001) == name_of_factor(0.8) == "ratio_change"
    assert name_of_factor(0.64) == "theft"


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("theft", 0.65), ("ratio_change", 2.0), ("phase_voltage_loss", 0.85), ("phase_current_loss", 0.9),
        ("phase_reversal", 1.0),
    ],
)  # fmt: skip
def test_the_proposed_correction_is_what_was_not_counted(kind: str, size: float) -> None:
    fault = Planted("p-s1", kind, MIDNIGHT + 40, MIDNIGHT + 40 + 4 * PER_DAY, size)
    (finding,) = examine_plant(make_plant("p", 7, DAYS, [fault]))
    day = slice(fault.first - 1, fault.last + 1)
    # the same plant without the fault is the truth
    true, seen = (np.ptp(make_plant("p", 7, DAYS, f)[1].columns["e_imp"][day]) for f in ([], [fault]))
    assert finding.kind == kind
    assert finding.energy_kwh is not None
    assert seen + finding.energy_kwh == pytest.approx(true, rel=0.05)


# -- use of energy --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "days", "size", "names"),
    [
        ("unusual_level", 1, 1.5, {"unusual_level"}),
        ("unusual_shape", 1, 5.0, {"unusual_shape"}),
        ("missing_cycle", 1, 1.0, {"missing_cycle"}),
        ("leak", 10, 0.3, {"leak"}),
        ("base_load", 10, 1.5, {"base_load", "leak"}),
    ],
)
def test_unusual_use_is_found_at_the_meter_and_not_again_at_the_main(
    kind: str, days: int, size: float, names: set[str]
) -> None:
    meter = "p-s1"  # seed 4: two shifts on five days
    fault = Planted(meter, kind, MIDNIGHT + PER_DAY, MIDNIGHT + (days + 1) * PER_DAY - 1, size)
    found = examine_plant(make_plant("p", 4, DAYS, [fault]))
    assert {finding.kind for finding in found} <= names
    assert [finding.meter for finding in found] == [meter]
    assert is_at(found[0], fault)


def test_a_night_of_work() -> None:
    night = MIDNIGHT + PER_DAY + 92
    fault = Planted("p-s1", "off_hours", night, night + 23, 0.7)
    (finding,) = examine_plant(make_plant("p", 4, DAYS, [fault]))
    assert (finding.meter, finding.kind) == ("p-s1", "off_hours")
    assert abs(finding.start_ns - fault.start_ns) <= HOUR


def test_a_holiday_of_the_whole_plant_is_no_missing_cycle() -> None:
    day = MIDNIGHT + PER_DAY
    faults = [Planted(f"p-s{k}", "missing_cycle", day, day + PER_DAY - 1, 1.0) for k in (1, 2)]
    found = examine_plant(make_plant("p", 4, DAYS, faults, subs=2))
    assert [finding.kind for finding in found] == []


def test_a_closed_day_is_not_judged() -> None:
    fault = Planted("p-s1", "missing_cycle", MIDNIGHT + PER_DAY, MIDNIGHT + 2 * PER_DAY - 1, 1.0)
    records = make_plant("p", 4, DAYS, [fault])
    day = fault.start_ns // (PER_DAY * QUARTER)
    assert [finding.kind for finding in examine_plant(records)] == ["missing_cycle"]
    assert examine_plant(records, frozenset({day})) == []


# -- laws -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("view", ["full", "pe", "e"])
def test_a_sound_plant_is_left_alone(view: str) -> None:
    assert examine_plant(make_plant("p", 11, DAYS, view=view)) == []


def test_the_readings_up_to_detected_at_give_the_same_finding() -> None:
    start = MIDNIGHT + 30
    faults = [
        Planted("p-s1", "theft", start, start + 6 * PER_DAY, 0.6),
        Planted("p-s2", "stuck", start, start + 40, 1.0),
        Planted("p-s3", "duplicate_ts", start, start + 8, 1.0),
        Planted("p-s3", "gap", start + 200, start + 260, 1.0),
        Planted("p-main", "noise", start + 500, start + 640, 0.3),
        Planted("p-s2", "unusual_level", MIDNIGHT + 4 * PER_DAY, MIDNIGHT + 5 * PER_DAY - 1, 1.6),
    ]
    records = make_plant("p", 4, 52, faults)
    found = examine_plant(records)
    assert len(found) >= 6
    for finding in found:
        cut = examine_plant([record.until(finding.detected_ns) for record in records])
        assert any(
            (other.kind, other.meter, other.start_ns) == (finding.kind, finding.meter, finding.start_ns)
            for other in cut
        )


@pytest.mark.parametrize("polls", [1, 500])
def test_the_findings_do_not_depend_on_how_many_polls_are_fed_at_once(polls: int) -> None:
    """Reading by reading or history at once: one code, the same findings, evidence and energies included."""
    start = 16 * PER_DAY + 30
    faults = [
        Planted("p-s1", "theft", start, start + 6 * PER_DAY, 0.6),
        Planted("p-s2", "stuck", start, start + 40, 1.0),
        Planted("p-s2", "phase_current_loss", start + 300, start + 400, 0.9),
        Planted("p-s3", "duplicate_ts", start, start + 8, 1.0),
        Planted("p-s3", "gap", start + 200, start + 260, 1.0),
        Planted("p-main", "noise", start + 700, start + 790, 0.5),
        Planted("p-s2", "counter_backwards", start + 500, start + 504, 500.0),
    ]
    records = make_plant("p", 4, 26, faults)
    at_once = examine_plant(records)
    assert len(at_once) >= 6
    assert examine_plant(records, at_a_time=polls) == at_once


def test_a_fleet_goes_on_where_it_was_saved() -> None:
    start = 18 * PER_DAY + 30
    faults = [
        Planted("p-s1", "theft", start, start + 6 * PER_DAY, 0.6),
        Planted("p-s2", "stuck", start, start + 300, 1.0),
        Planted("p-s3", "counter_backwards", start + 90, start + 99, 500.0),
    ]
    records = make_plant("p", 4, 26, faults)
    rows = Rows(records)
    facts = [record.facts for record in records]
    whole, parts = Fleet(facts), Fleet(facts)
    first = whole.first_of_day(whole.day_of(rows.first))
    for begin in range(first, rows.until, 31):  # 31: somewhere inside days, spikes, causes
        block = rows.block(begin, min(31, rows.until - begin))
        whole.feed(block)
        parts.feed(block)
        parts = load(save(parts), facts)
    assert len(whole.ledger.marks) >= 3
    assert parts.ledger.marks == whole.ledger.marks
    with pytest.raises(SeriesError, match="other meters"):
        load(save(parts), facts[1:])


def test_what_is_kept_of_a_meter_is_bounded() -> None:
    records = make_plant("p", 4, 40)
    rows = Rows(records)
    fleet = Fleet([record.facts for record in records])
    first = fleet.first_of_day(fleet.day_of(rows.first))
    sizes = []
    for begin in range(first, rows.until, PER_DAY):
        fleet.feed(rows.block(begin, min(PER_DAY, rows.until - begin)))
        sizes.append(fleet.state_bytes() / len(records))
    assert max(sizes) <= 8192
    assert sizes[-1] == sizes[0]


POOR = {
    "nothing": np.zeros(0),
    "one": np.array([5.0]),
    "unknown": np.full(3000, np.nan),
    "zero": np.zeros(3000),
    "constant": np.full(3000, 7.0),
    "wild": np.tile([1e30, -1e30, 5.0], 1000),
}


@pytest.mark.parametrize("power", POOR.values(), ids=POOR)
def test_poor_data_bring_no_exception_and_no_guess_about_use(
    power: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    rx = np.arange(power.size, dtype=np.int64) * QUARTER
    counter = np.cumsum(np.where(np.isfinite(power) & (np.abs(power) < 1e6), power, 0.0) / 4)
    for columns in ({"p": power}, {"e_imp": counter}, {"p": power, "e_imp": counter}, {}):
        record = MeterRecord(MeterFacts("m", QUARTER), rx, rx, columns)
        found = examine_plant([record])
        assert {finding.kind for finding in found} <= {"word_swap", "spike", "stuck"}


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(SeriesError, match="lengths"):
        MeterRecord(MeterFacts("m", QUARTER), np.arange(3), None, {"p": np.zeros(2)})


def test_one_cause_one_finding_when_noise_moves_the_currents() -> None:
    fault = Planted("p-s1", "noise", MIDNIGHT, MIDNIGHT + 100, 0.8)
    found = examine_plant(make_plant("p", 3, 45, [fault], subs=1))
    assert {(finding.meter, finding.kind) for finding in found} == {("p-s1", "noise")}


def test_every_reading_has_the_score_of_the_surest_finding() -> None:
    fault = Planted("p-s1", "stuck", MIDNIGHT, MIDNIGHT + 20, 1.0)
    record = make_plant("p", 3, 45, [fault], subs=1)[1]
    score = score_readings(record, examine_plant([record]))
    assert score[MIDNIGHT + 10] > 0.8
    assert score[: MIDNIGHT - 1].max() == 0.0
    assert score.shape == record.rx_ns.shape


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 1))
def test_quick_quantiles_are_numpys(values: list[float], q: float) -> None:
    array = np.array(values)
    assert middle(array) == pytest.approx(float(np.median(array)), rel=1e-9, abs=1e-6)
    assert quantile(array, q) == pytest.approx(float(np.quantile(array, q)), rel=1e-9, abs=1e-6)
    assert row_quantile(np.append(array, np.nan)[None, :], q)[0] == pytest.approx(
        float(np.quantile(array, q)), abs=1e-6
    )
