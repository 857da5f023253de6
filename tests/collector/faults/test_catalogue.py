"""Every fault of a meter or a bus has its outcome proven by a test: the table, and what holds the table to it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = "tests/collector/faults"
CATALOGUE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # id: (fault, required outcome, tests: file without its folder, or with it, ::name)
    "A01": (
        "meter silent", "one span, other meters keep every slot",
        ("test_floor.py::test_a01_a_silent_meter_is_one_span_and_costs_the_others_nothing",
         "test_floor.py::test_a01_dead_meters_hardly_slow_a_fast_bus"),
    ),
    "A02": (
        "answer after the time-out", "never stored: drained, told apart by unit, function and count, or unlike it",
        ("test_floor.py::test_a02_a_late_answer_never_answers_another_question",
         "test_floor.py::test_a02_two_requests_of_one_size_are_not_confused",
         "test_floor.py::test_a02_however_late_the_answers",
         "test_oneshot.py::test_a_late_answer_is_not_taken_for_the_next",
         f"{HERE}/test_late_replies.py::Floor",
         f"{HERE}/test_late_items.py::test_a02_a_late_item_is_never_taken_for_a_fresh_one"),
    ),
    "A03": (
        "answer of another meter", "passed over, the wait goes on",
        ("test_floor.py::test_a03_another_meters_answer_is_passed_over",
         "test_floor.py::test_a03_only_another_meters_answer_is_silence"),
    ),
    "A04": (
        "checksum errors, noise", "rejected, found again behind the noise, asked again a bounded number of times",
        ("test_floor.py::test_a04_noise_never_becomes_a_number",
         "test_floor.py::test_a04_glitches_around_a_good_answer_cost_nothing",
         "test_dlt645.py::test_one_wrong_bit_anywhere_is_no_answer"),
    ),
    "A05": (
        "truncated frame", "rejected, the next question is answered",
        ("test_floor.py::test_a05_a_cut_answer_costs_one_question",
         "test_dlt645.py::test_no_answer_is_taken_before_it_is_whole"),
    ),
    "A06": (
        "frames split or glued", "decoded correctly",
        ("test_floor.py::test_a06_single_bytes_and_glued_frames",
         f"{HERE}/test_late_replies.py::Floor"),
    ),
    "A07": (
        "echo of the adapter", "dropped and told",
        (f"{HERE}/test_on_the_line.py::test_a07_an_echo_is_dropped_and_told_once",
         f"{HERE}/test_on_the_line.py::test_a07_a_damaged_echo_costs_nothing_but_itself",
         "test_floor.py::test_a07_our_own_echo_is_not_an_answer",
         "test_oneshot.py::test_only_an_echo_says_so"),
    ),
    "A08": (
        "exceptions 01-04, 06, 0A, 0B", "parted, asked later, or given up, without a storm",
        ("test_floor.py::test_a08_a_refused_word_is_parted_off_and_remembered",
         "test_floor.py::test_a08_a_gap_in_the_map_is_parted_without_losing_a_point",
         "test_floor.py::test_a08_a_refused_point_comes_back_within_an_hour_of_its_return",
         "test_floor.py::test_a08_a_single_stray_refusal_changes_nothing",
         "test_floor.py::test_a08_a_busy_meter_is_asked_again_after_the_others",
         "test_floor.py::test_a08_a_gateway_that_cannot_reach_the_meter_means_a_silent_meter",
         "test_floor.py::test_a08_a_meter_that_refuses_everything_is_no_storm",
         "test_against_libmodbus.py::test_words_it_lacks_are_missing"),
    ),
    "A09": (
        "wrong transaction or unit over TCP", "discarded, the wait goes on",
        ("test_floor.py::test_a09_a_wrong_transaction_or_unit_is_discarded",
         "test_floor.py::test_a09_a_stream_out_of_step_is_closed_and_made_anew"),
    ),
    "A10": (
        "half-open TCP", "noticed, connected anew, the loop never dies",
        (f"{HERE}/test_on_the_line.py::test_a10_a_meter_that_freezes_and_one_that_is_killed_come_back",
         "test_floor.py::test_a10_a_dead_connection_is_made_anew",
         "test_transports_listen.py::test_a_device_that_dials_in_anew_takes_over_from_its_dead_connection"),
    ),
    "A11": (
        "meter hangs up when idle", "connected anew without a word",
        ("test_floor.py::test_a11_a_meter_that_hangs_up_when_idle_is_no_fault",),
    ),
    "A12": (
        "one dead meter behind a gateway", "the others keep their slots",
        ("test_floor.py::test_a12_a_dead_meter_behind_a_gateway_does_not_hold_up_the_others",),
    ),
    "A13": (
        "one TCP client allowed", "one connection, none leaks, a refusal is told once",
        (f"{HERE}/test_on_the_line.py::test_a13_there_is_never_a_second_connection_and_none_leaks",
         "test_floor.py::test_a13_a_line_that_is_down_is_told_once_and_comes_back"),
    ),
    "A14": (
        "USB adapter pulled out, back under another name", "found by its stable name within 10 s",
        (f"{HERE}/test_on_the_line.py::test_a14_an_adapter_that_comes_back_under_another_name_is_found_within_ten_seconds",
         "test_transports.py::test_an_adapter_pulled_out_is_a_line_down_and_can_be_opened_again",
         "test_transports.py::test_an_adapter_is_found_by_its_numbers_wherever_it_is_plugged_in"),
    ),
    "A15": (
        "another speed or parity", "a named state, a quiet log, no crash",
        (f"{HERE}/test_on_the_line.py::test_a15_framing_garbage_is_a_named_state_and_a_quiet_log",
         "test_oneshot.py::test_garbage_says_what_to_check"),
    ),
    "A16": (
        "NaN and no-value patterns", "INVALID, no number",
        ("test_floor.py::test_a16_a_no_value_pattern_is_invalid",),
    ),
    "A17": (
        "counter rolls over", "interval energy right, ROLLOVER",
        (f"{HERE}/test_values_on_the_way.py::test_a17_a_roll_over_costs_no_energy",
         "tests/headend/test_rollup.py::test_roll_over_and_reset_keep_the_account",
         "tests/analytics/test_counters.py::test_roll_over_inside_a_gap_keeps_the_true_total"),
    ),
    "A18": (
        "meter replaced, counter at 0", "RESET, no negative or giant energy",
        (f"{HERE}/test_values_on_the_way.py::test_a18_a_counter_that_begins_anew_makes_no_negative_and_no_giant_energy",
         "tests/analytics/test_counters.py::test_reset_counts_what_is_shown_since"),
    ),
    "A19": (
        "32-bit value torn", "both words from one answer",
        (f"{HERE}/test_values_on_the_way.py::test_a19_a_value_of_two_words_comes_from_one_answer",
         "test_plan.py::test_the_parts_of_a_sum_come_from_one_answer",
         "test_plan.py::test_parting_loses_no_point_and_ends"),
    ),
    "A20": (
        "implausible power or jump", "kept as it came, SUSPECT",
        (f"{HERE}/test_values_on_the_way.py::test_a20_more_than_the_connection_carries_is_kept_and_doubted",
         f"{HERE}/test_values_on_the_way.py::test_a20_a_jump_of_the_counter_is_kept_doubted_and_never_energy_of_one_interval",
         "test_plausibility.py::test_a_counter_may_not_outrun_the_rating"),
    ),
    "A21": (
        "DL/T 645 frame with a bad checksum, address or offset", "rejected",
        (f"{HERE}/test_on_the_line.py::test_a21_a_bad_item_frame_is_rejected_and_asked_again",
         "test_dlt645.py::test_an_answer_of_another_meter_or_to_another_question_is_passed_over"),
    ),
    "A22": (
        "bus too slow for its schedule", "slots skipped evenly and counted, OVERRUN, no growing lag",
        (f"{HERE}/test_on_the_line.py::test_a22_forty_meters_at_1200_baud_take_turns_evenly_and_nothing_lags",
         "test_floor.py::test_a22_a_bus_too_slow_skips_evenly_and_never_lags"),
    ),
}  # fmt: skip
ROOT = Path(__file__).resolve().parents[3]


def test_every_fault_of_the_group_is_there() -> None:
    assert sorted(CATALOGUE) == [f"A{n:02d}" for n in range(1, 23)]


@pytest.mark.parametrize("fault", sorted(CATALOGUE))
def test_each_fault_has_tests_that_exist(fault: str) -> None:
    _, outcome, tests = CATALOGUE[fault]
    assert outcome
    assert tests, f"{fault} is proven by nothing"
    for test in tests:
        file, _, name = test.partition("::")
        path = ROOT / (file if "/" in file else f"tests/collector/{file}")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [node for node in tree.body if getattr(node, "name", "") == name]
        assert found, f"{fault}: {path.name} has no {name}"
        asserting = [node for node in ast.walk(found[0]) if isinstance(node, ast.Assert | ast.With)]
        assert asserting, f"{fault}: {name} asserts nothing"


def test_tests_named_after_a_fault_stand_in_the_table() -> None:
    """Whoever writes a test for a fault finds it here, too."""
    listed = {test.partition("::")[2] for _, _, tests in CATALOGUE.values() for test in tests}
    for path in (ROOT / "tests/collector").rglob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            name = getattr(node, "name", "")
            if name.startswith("test_a") and name[6:8].isdigit() and name[8:9] == "_":
                assert name in listed, f"{path.name}::{name} is missing in the table"
