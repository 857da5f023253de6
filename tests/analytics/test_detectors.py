"""Each detector on a made-up plant: it says the planted thing, its span and its energy, and nothing on a sound day."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.detectors import DETECTORS, MeterContext, MeterWindow, examine, run_detectors
from analytics.detectors.frozen import find_frozen, repeated
from analytics.detectors.learning import learn
from analytics.detectors.off_hours import idle_threshold
from analytics.detectors.overload import find_overload
from analytics.detectors.phase_loss import find_current_loss, find_voltage_loss
from analytics.detectors.register_power import compare_blocks
from analytics.detectors.silent import find_silence
from analytics.detectors.spikes import find_outliers
from analytics.detectors.view import Learnt
from analytics.findings import KINDS, Finding, Severity
from analytics.fitness import NotFit
from analytics.history import HISTORY_SAYS
from analytics.series import CounterSeries, Series, Span
from tests.analytics.plant_day import CONTEXT, DAY, POLL, START, PlantDay

S = 10**9


def at(minute: int) -> int:
    return START + minute * POLL


def said(day: PlantDay, context: MeterContext = CONTEXT, **window: object) -> list[Finding]:
    return run_detectors(context, day.window(**window))  # type: ignore[arg-type]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


# -- the sound plant ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_a_sound_plant_is_left_alone(seed: int) -> None:
    learnt, _ = learn(CONTEXT, PlantDay(days=21, seed=100 + seed).window())
    assert said(PlantDay(seed=seed), replace(CONTEXT, learnt=learnt)) == []


def test_a_steady_coarse_night_is_no_frozen_meter() -> None:
    # transducer with 1 kW steps and an idle load that reads 12 for ten hours, currents in whole amperes
    day = PlantDay()
    day.power, day.amps = np.round(day.power), np.round(day.amps)
    night = np.arange(day.power.size) % DAY < 480
    day.power[night], day.amps[:, night] = 12.0, 19.0
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60)
    coarse = replace(CONTEXT, counter_resolution_micro=10**6, power_resolution_kw=1.0)
    assert said(day, coarse) == []


# -- silence --------------------------------------------------------------------------------------------------------
def test_silence_has_a_beginning_and_an_end() -> None:
    day = PlantDay()
    day.there[1000:1100] = False
    finding = only(said(day))
    assert finding.kind == "gap"
    assert abs(finding.start_ns - at(1000)) < S
    assert finding.end_ns is not None
    assert abs(finding.end_ns - at(1100)) < S
    assert finding.evidence["missed_polls"] == 100


def test_silence_that_lasts_has_no_end_and_is_known_after_five_polls() -> None:
    day = PlantDay()
    day.there[2000:] = False
    finding = only(said(day))
    assert finding.end_ns is None
    assert finding.detected_ns - finding.start_ns == 5 * POLL


def test_a_few_lost_polls_are_daily_life() -> None:
    day = PlantDay()
    day.there[1000:1004] = False
    assert said(day) == []


def test_a_meter_nobody_ever_heard_is_silent() -> None:
    assert find_silence(np.zeros(0, np.int64), 0, 3600 * S, POLL) == [Span(0, 3600 * S)]
    assert find_silence(np.zeros(0, np.int64), 0, 200 * S, POLL) == []


# -- the counter ----------------------------------------------------------------------------------------------------
def test_counter_breaks_have_their_names() -> None:
    reset = PlantDay()
    reset.kwh[900:] -= reset.kwh[899]
    finding = only(said(reset, only=("kwh",)))
    assert (finding.kind, finding.start_ns // POLL) == ("counter_reset", at(900) // POLL)

    back = PlantDay()
    back.kwh[900:905] -= 300
    assert only(said(back, only=("kwh",))).kind == "counter_backwards"

    garbage = PlantDay()
    garbage.kwh[900:902] = 1e6
    finding = only(said(garbage, only=("kwh",)))
    assert finding.kind == "spike"
    assert finding.evidence["odd_kwh"] == (1e6, 1e6)

    jump = PlantDay()
    jump.kwh[900:] += 700
    assert only(said(jump, only=("kwh",))).kind == "counter_jump"


def test_a_roll_over_is_only_information() -> None:
    day = PlantDay()
    day.kwh = np.round((day.kwh - day.kwh[1500] + 1_000_000) % 1_000_000, 2)
    finding = only(said(day))
    assert (finding.kind, finding.severity) == ("counter_rollover", Severity.INFO)


# -- frozen ---------------------------------------------------------------------------------------------------------
def test_everything_frozen() -> None:
    day = PlantDay()
    for values in (day.power, *day.volts, *day.amps, day.kwh):
        values[1000:1060] = values[999]
    found = said(day)
    assert {finding.kind for finding in found} == {"stuck"}
    assert found[0].start_ns == at(999)
    assert found[0].end_ns is not None
    assert abs(found[0].end_ns - at(1060)) < S


def test_power_frozen_at_a_working_level_while_the_currents_move() -> None:
    day = PlantDay()
    day.power[1020:1200] = day.power[1019]
    finding = only(said(day))
    assert finding.kind == "stuck"
    assert finding.evidence["channel"] == "power"


def test_power_and_counter_frozen_together_contradict_each_other() -> None:
    day = PlantDay()
    day.power[600:700] = 55.0
    day.kwh[600:700] = day.kwh[599]
    found = said(day, only=("power", "kwh"))
    assert {finding.kind for finding in found} == {"stuck"}


def test_repeats_are_judged_against_what_is_usual() -> None:
    lively = np.random.default_rng(0).integers(0, 1000, 500).astype(float)
    lively[100:110] = 7.0
    assert find_frozen(lively[None, :]) == [(100, 110)]
    lazy = np.repeat(np.arange(50.0), 10)  # a value that always stays for ten samples
    assert find_frozen(lazy[None, :]) == []


def test_missing_samples_neither_break_nor_lengthen_a_repeat() -> None:
    values = np.array([[1.0, 1.0, np.nan, 1.0, 2.0]])
    assert repeated(values).tolist() == [False, True, False, True, False]


# -- zero -----------------------------------------------------------------------------------------------------------
def test_zero_under_voltage_where_the_load_never_is_zero() -> None:
    learnt, _ = learn(CONTEXT, PlantDay(days=21, seed=9).window())
    day = PlantDay()
    day.power[600:700], day.amps[:, 600:700] = 0.0, 0.0
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60, 2)
    found = said(day, replace(CONTEXT, learnt=learnt))
    assert [f.kind for f in found] == ["zero"]
    assert found[0].start_ns == at(600)


def test_a_mains_outage_is_not_a_zero_fault() -> None:
    learnt, _ = learn(CONTEXT, PlantDay(days=21, seed=9).window())
    day = PlantDay()
    day.power[600:625], day.amps[:, 600:625], day.volts[:, 600:625] = 0.0, 0.0, 0.0
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60, 2)
    assert said(day, replace(CONTEXT, learnt=learnt)) == []


# -- spikes ---------------------------------------------------------------------------------------------------------
def test_one_impossible_power() -> None:
    day = PlantDay()
    day.power[700] = 4000.0
    finding = only(said(day))
    assert finding.kind == "spike"
    assert (finding.start_ns, finding.end_ns) == (at(700), at(701))
    assert finding.evidence["seen"] == 4000.0


def test_impossible_voltage() -> None:
    day = PlantDay()
    day.volts[1, 700] = 2301.0
    assert only(said(day)).evidence["channel"] == "voltage"


def test_a_new_level_is_no_outlier_and_the_newest_sample_waits() -> None:
    value = np.full(60, 10.0)
    value[30:] = 50.0
    assert not find_outliers(value).any()
    value = np.full(60, 10.0)
    value[59] = 50.0
    assert not find_outliers(value).any()
    value[58], value[59] = 50.0, 10.0
    assert np.flatnonzero(find_outliers(value)).tolist() == [58]


# -- overload -------------------------------------------------------------------------------------------------------
def test_overload_has_hysteresis() -> None:
    power = np.array([90.0, 111, 105, 101, np.nan, 105, 99, 105, 111])
    assert find_overload(power, 100.0) == [(1, 6), (8, 9)]


def test_overload_for_half_an_hour() -> None:
    day = PlantDay()
    day.power[700:730] = 125.0
    day.power[700:730:7] = 126.0
    day.amps[:, 700:730] = 210.0 + np.arange(30) % 5
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60, 2)
    finding = only(said(day))
    assert (finding.kind, finding.severity) == ("overload", Severity.ALARM)
    assert finding.energy_kwh == pytest.approx((25 * 25 + 26 * 5) / 60)  # above 100 kW, one minute each


# -- off hours ------------------------------------------------------------------------------------------------------
def test_a_machine_left_on_overnight() -> None:
    day = PlantDay()
    night = slice(1080 + 120, 1080 + 420)  # 20:00 to 01:00
    day.power[night] += 25.0
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60, 2)
    day.amps[:, night] *= 37 / 12
    finding = only(said(day))
    assert finding.kind == "off_hours"
    assert abs(finding.start_ns - at(1200)) <= 2 * POLL
    assert finding.energy_kwh == pytest.approx(25.0 * 5, rel=0.05)
    assert finding.detected_ns - finding.start_ns < 3600 * S


def test_a_cycling_compressor_is_judged_by_its_mean() -> None:
    day = PlantDay()
    cycling = np.arange(day.power.size) % 10 < 5
    night = np.zeros(day.power.size, bool)
    night[1200:1500] = True
    day.power[night & cycling] += 60.0
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60, 2)
    found = said(day, only=("power", "kwh"))
    assert [f.kind for f in found] == ["off_hours"]


def test_no_calendar_no_claim() -> None:
    told = examine(CONTEXT, PlantDay().window(calendar=False))["off-hours"]
    assert isinstance(told, NotFit)
    assert told.reasons[0].code == "no-off-hours"


def test_declared_idle_beats_learnt() -> None:
    assert idle_threshold(10.0, Learnt(idle_kw=50.0, idle_spread_kw=1.0), None) == (10.0, 15.0)
    assert idle_threshold(None, Learnt(idle_kw=50.0, idle_spread_kw=10.0), None) == (50.0, 90.0)
    assert idle_threshold(None, None, 100.0) is None


def test_a_meter_with_nothing_but_a_counter_is_judged_by_its_quarters() -> None:
    day = PlantDay()
    day.power[1200:1500] += 25.0  # a leak at night, as a water meter would show it
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60, 1)
    finding = only(said(day, replace(CONTEXT, counter_resolution_micro=100_000), only=("kwh",)))
    assert finding.kind == "off_hours"
    assert abs(finding.start_ns - at(1200)) <= 15 * POLL
    assert finding.energy_kwh == pytest.approx(25.0 * 5, rel=0.05)


# -- phases ---------------------------------------------------------------------------------------------------------
def test_voltage_loss_of_one_phase_but_not_of_all() -> None:
    volts = np.full((3, 10), 230.0)
    volts[1, 3:6] = 20.0
    volts[:, 8:10] = 20.0
    assert find_voltage_loss(volts, 230.0) == [(1, 3, 6)]


def test_voltage_loss_is_said_once_and_not_as_current_loss() -> None:
    day = PlantDay()
    day.volts[1, 600:700] = 15.0 + np.arange(100) % 7
    learnt, _ = learn(CONTEXT, PlantDay(days=21, seed=9).window())
    finding = only(said(day, replace(CONTEXT, learnt=learnt)))
    assert (finding.kind, finding.evidence["phase"]) == ("phase_voltage_loss", "l2")


def test_current_loss_against_the_other_two_phases() -> None:
    amps = np.full((3, 10), 30.0)
    amps[2, 4:9] = 5.0
    assert find_current_loss(amps, (1 / 3, 1 / 3, 1 / 3), 20.0) == [(2, 4, 9)]
    amps[:2, 4:9] = 1.0
    assert find_current_loss(amps, (1 / 3, 1 / 3, 1 / 3), 20.0) == []


def test_current_loss_needs_a_yardstick() -> None:
    day = PlantDay()
    day.amps[0, 500:900] *= 0.05
    learnt, _ = learn(CONTEXT, PlantDay(days=21, seed=9).window())
    assert only(said(day, replace(CONTEXT, learnt=learnt), only=("amps", "volts"))).kind == "phase_current_loss"
    assert said(day, only=("amps", "volts")) == []


# -- counter against power ------------------------------------------------------------------------------------------
def test_a_counter_without_the_ratio_contradicts_the_power() -> None:
    day = PlantDay()
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60 / 40, 3)
    found = said(day, only=("power", "kwh"))
    assert [f.kind for f in found] == ["register_mismatch"]


def test_a_heat_meter_counts_gigajoules_and_shows_kilowatts() -> None:
    day = PlantDay()
    heat = replace(CONTEXT, counter_name="heat", power_name="power.heat", counter_resolution_micro=10)
    window = day.window(only=("power", "kwh"))
    gj = np.round(day.kwh * 0.0036 * 1e6).astype(np.int64)  # 1 kWh = 3.6 MJ
    sound = replace(
        window,
        gauges={"power.heat": window.gauges["power.active.total"]},
        counters={"heat": CounterSeries.of(window.counters["energy.active.import"].t_ns, gj)},
    )
    assert run_detectors(heat, sound) == []
    steam = replace(heat, counter_name="mass")
    told = examine(steam, replace(sound, counters={"mass": sound.counters["heat"]}))["register-power"]
    assert isinstance(told, NotFit)
    assert told.reasons[0].code == "units"


def test_a_counter_read_less_often_than_the_power_has_no_gaps() -> None:
    day = PlantDay()
    day.power[1200:1500] += 25.0
    day.kwh = np.round(5000 + np.cumsum(day.power) / 60, 2)
    window = day.window(only=("kwh",))
    slow = window.counters["energy.active.import"]
    counters = {"energy.active.import": CounterSeries.of(slow.t_ns[::15], slow.micro[::15])}
    voltage = {"voltage.l1n": Series.of(day.t_ns, day.volts[0])}
    assert [f.kind for f in run_detectors(CONTEXT, replace(window, counters=counters, gauges=voltage))] == ["off_hours"]


def test_block_comparison_allows_for_digits_and_sampling() -> None:
    counted, integrated = np.array([10.0, 10.0, 10.0, np.nan]), np.array([10.9, 14.0, 14.0, 1.0])
    sampling = np.array([0.0, 0.0, 3.0, 0.0])
    ratio = compare_blocks(counted, integrated, sampling, 0.01)
    assert ratio[0] < 1 < ratio[1]
    assert ratio[2] < 1
    assert np.isnan(ratio[3])


# -- learning -------------------------------------------------------------------------------------------------------
def test_learning_finds_the_levels_of_the_plant() -> None:
    learnt, refused = learn(CONTEXT, PlantDay(days=21, seed=5).window())
    assert refused is None
    assert learnt.idle_kw == pytest.approx(12.0, rel=0.02)
    assert learnt.work_kw == pytest.approx(60.0, rel=0.02)
    assert learnt.current_share == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=0.005)


def test_a_machine_left_on_every_third_night_is_not_learnt_as_normal() -> None:
    day = PlantDay(days=28, seed=6)
    for night in range(0, 28, 3):
        day.power[night * DAY + 1080 : night * DAY + 1920] += 30.0
    learnt, _ = learn(CONTEXT, day.window())
    assert learnt.idle_kw == pytest.approx(12.0, rel=0.05)


def test_cold_start_is_said() -> None:
    learnt, refused = learn(CONTEXT, PlantDay(days=1).window())
    assert learnt.idle_kw is None
    assert refused is not None
    assert {reason.code for reason in refused.reasons} >= {"too-short", "few-nights"}


# -- laws of all detectors ------------------------------------------------------------------------------------------
def test_the_table_says_only_kinds_that_have_words() -> None:
    assert len(DETECTORS) >= 9
    spoken = {kind for detector in DETECTORS for kind in detector.kinds}
    assert spoken | set(HISTORY_SAYS) == set(KINDS)


WINDOWS = {
    "nothing": MeterWindow(START, START + DAY * POLL),
    "one-sample": MeterWindow(
        START,
        START + POLL,
        {"power.active.total": Series.of([START], [1.0])},
        {"energy.active.import": CounterSeries.of([START], [1])},
    ),
    "all-nan": MeterWindow(
        START,
        at(100),
        {
            name: Series.of([at(k) for k in range(100)], [np.nan] * 100)
            for name in ("power.active.total", "voltage.l1n", "voltage.l2n", "voltage.l3n", "current.l1", "current.l2")
        },
    ),
    "no-values": MeterWindow(
        START,
        at(100),
        {"power.active.total": Series.of([at(k) for k in range(100)], [5.0] * 100, [1] * 100)},
        {"energy.active.import": CounterSeries.of([at(k) for k in range(100)], [7] * 100, [2] * 100)},
    ),
    "constant": MeterWindow(
        START,
        at(100),
        {"power.active.total": Series.of([at(k) for k in range(100)], [0.0] * 100)},
        {"energy.active.import": CounterSeries.of([at(k) for k in range(100)], [7] * 100)},
    ),
    "no-time": MeterWindow(START, START),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_poor_data_give_reasons_not_exceptions(name: str) -> None:
    bare = MeterContext("m1", POLL)
    for context in (bare, CONTEXT, replace(CONTEXT, learnt=Learnt(1.0, 0.1, 5.0, 0.0, 9.0, (0.3, 0.3, 0.4)))):
        for told in examine(context, WINDOWS[name]).values():
            if isinstance(told, NotFit):
                assert told.reasons
            else:
                assert all(finding.kind == "gap" for finding in told)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_mess_gives_evidence_inside_the_window_and_never_an_exception(data: st.DataObject) -> None:
    day = PlantDay(seed=data.draw(st.integers(0, 5)))
    rows = {"power": day.power, "kwh": day.kwh} | {f"v{k}": day.volts[k] for k in range(3)}
    for _ in range(data.draw(st.integers(1, 4))):
        a = data.draw(st.integers(0, day.power.size - 1))
        b = min(day.power.size, a + data.draw(st.integers(1, 600)))
        row = rows[data.draw(st.sampled_from(sorted(rows)))]
        row[a:b] = data.draw(st.sampled_from([0.0, -50.0, 1e7, 42.0]))
        if data.draw(st.booleans()):
            day.there[a:b] = False
    if not day.there.any():
        return
    window = day.window()
    found = run_detectors(CONTEXT, window)
    assert found == run_detectors(CONTEXT, window)
    for finding in found:
        assert window.start_ns - POLL <= finding.start_ns < window.now_ns
        assert finding.end_ns is None or finding.start_ns < finding.end_ns <= window.now_ns + POLL
        assert finding.start_ns <= finding.detected_ns <= window.now_ns
        assert 0.0 <= finding.confidence <= 1.0
        json.dumps(dict(finding.evidence), allow_nan=False)


@pytest.mark.parametrize("kind", ["gap", "stuck", "off_hours", "spike"])
def test_cut_at_its_detection_time_the_finding_is_already_there(kind: str) -> None:
    day = PlantDay()
    if kind == "gap":
        day.there[1000:1400] = False
    elif kind == "stuck":
        for values in (day.power, *day.volts, *day.amps, day.kwh):
            values[1000:1400] = values[999]
    elif kind == "off_hours":
        day.power[1200:1500] += 25.0
        day.kwh = np.round(5000 + np.cumsum(day.power) / 60, 2)
        day.amps[:, 1200:1500] *= 37 / 12
    else:
        day.power[1000] = 4000.0
    finding = next(f for f in said(day) if f.kind == kind)
    whole = day.window()
    cut = finding.detected_ns + POLL
    early = MeterWindow(
        whole.start_ns,
        cut,
        {name: series.between(whole.start_ns, cut) for name, series in whole.gauges.items()},
        {name: series.between(whole.start_ns, cut) for name, series in whole.counters.items()},
        off_hours=whole.off_hours,
    )
    assert [(f.kind, f.start_ns) for f in run_detectors(CONTEXT, early)] == [(kind, finding.start_ns)]
