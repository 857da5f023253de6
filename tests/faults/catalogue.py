"""The catalogue of faults: what can go wrong between a meter and a mail, and where it is tried.

A fault is *played* by a scene of this folder (in `make test`, or only in `make soak`), *proved elsewhere* by a named
test, or *not run*, with the reason. There is no fourth state, and `test_faults.py` holds every row to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.play import SCENES


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes
    ----------
    elsewhere
        ``file`` or ``file::test`` below ``tests/``, where it is proved too, or instead.
    why_not
        What keeps it from being run as it is written; an empty text where nothing does.
    """

    title: str
    elsewhere: tuple[str, ...] = ()
    why_not: str = ""


_FLOOR = "collector/test_floor.py::test_"
_COUNTERS = "analytics/test_counters.py::test_"
_KEEPER = "gateway/test_keeper.py::test_"
_CLOCK = "gateway/test_wrong_clock.py::test_"
_UPLINK = "gateway/test_uplink.py::test_"
_MIRROR = "contract/test_mirror.py::test_"
_OUTBOX = "headend/test_outbox.py::test_"
_NOTICES = "headend/test_notices.py::test_"
_UPDATES = "remote configuration and update are not built yet"

CATALOGUE: dict[str, Fault] = {
    "A01": Fault("meter silent", (f"{_FLOOR}a01_a_silent_meter_is_one_span_and_costs_the_others_nothing",)),
    "A02": Fault("late answer meets the next request", (f"{_FLOOR}a02_however_late_the_answers",)),
    "A03": Fault("answer of another meter", (f"{_FLOOR}a03_another_meters_answer_is_passed_over",)),
    "A04": Fault("checksum errors, noise", (f"{_FLOOR}a04_noise_never_becomes_a_number",)),
    "A05": Fault("truncated frame", (f"{_FLOOR}a05_a_cut_answer_costs_one_question",)),
    "A06": Fault("single bytes, glued frames", (f"{_FLOOR}a06_single_bytes_and_glued_frames",)),
    "A07": Fault("local echo of an RS-485 adapter", (f"{_FLOOR}a07_our_own_echo_is_not_an_answer",)),
    "A08": Fault("exception codes", (f"{_FLOOR}a08_a_meter_that_refuses_everything_is_no_storm",)),
    "A09": Fault("wrong transaction or unit on Modbus/TCP", (f"{_FLOOR}a09_a_wrong_transaction_or_unit_is_discarded",)),
    "A10": Fault("half-open TCP connection", (f"{_FLOOR}a10_a_dead_connection_is_made_anew",)),
    "A11": Fault("meter closes connections", (f"{_FLOOR}a11_a_meter_that_hangs_up_when_idle_is_no_fault",)),
    "A12": Fault(
        "one dead meter behind a gateway",
        (f"{_FLOOR}a12_a_dead_meter_behind_a_gateway_does_not_hold_up_the_others",),
    ),
    "A13": Fault("only one TCP client allowed", (f"{_FLOOR}a13_a_line_that_is_down_is_told_once_and_comes_back",)),
    "A14": Fault("serial device gone and back as another one"),
    "A15": Fault("baud rate or parity do not match", (), "pseudo-terminals have no baud rate and refuse parity"),
    "A16": Fault("no-value patterns", (f"{_FLOOR}a16_a_no_value_pattern_is_invalid",)),
    "A17": Fault("counter rolls over", (f"{_COUNTERS}roll_over",)),
    "A18": Fault("meter exchanged, counter reset", (f"{_COUNTERS}reset_counts_what_is_shown_since",)),
    "A19": Fault("value torn across two reads", ("collector/test_plan.py",)),
    "A20": Fault("implausible values", ("collector/test_plausibility.py",)),
    "A21": Fault("damaged DL/T 645 frames", ("collector/test_dlt645.py",)),
    "A22": Fault("bus too slow for its schedule", (f"{_FLOOR}a22_a_bus_too_slow_skips_evenly_and_never_lags",)),
    "B01": Fault("kill -9 at random moments", ("gateway/test_end_to_end.py::test_kill_9_again_and_again",)),
    "B02": Fault("kill -9 between commit, publish, acknowledgement and cursor"),
    "B03": Fault("SIGTERM with a full queue"),
    "B04": Fault("frozen for ten minutes"),
    "B05": Fault("exception in the task of one line"),
    "B06": Fault("network thread dead, client says connected"),
    "B07": Fault("committing thread hangs"),
    "B08": Fault("out of memory"),
    "B09": Fault("no file descriptors"),
    "B10": Fault("two instances"),
    "B11": Fault("crash loop by a bad configuration"),
    "B12": Fault("flood of errors"),
    "C01": Fault("disk full by others", (f"{_KEEPER}a_full_disk_is_lived_through_in_memory_and_made_good_afterwards",)),
    "C02": Fault("own quota reached, nothing acknowledged"),
    "C03": Fault(
        "no space in mid-commit",
        (f"{_KEEPER}a_disk_that_fails_at_any_operation_stops_nothing_and_nothing_is_lost_or_doubled",),
    ),
    "C04": Fault("EIO of a sync"),
    "C05": Fault(
        "power cut at every sync point",
        (f"{_KEEPER}a_power_cut_at_any_operation_loses_nothing_that_was_sent_and_uses_no_number_twice",),
    ),
    "C06": Fault("torn or zeroed end of the journal"),
    "C07": Fault("bit flip in a stored batch"),
    "C08": Fault("headers destroyed"),
    "C09": Fault("read-only disk"),
    "C10": Fault("two seconds a sync"),
    "C11": Fault("journal deleted while running"),
    "C12": Fault("old backup put back"),
    "C13": Fault("configuration changed with a backlog"),
    "C14": Fault(
        "six months: pruning",
        (
            "gateway/test_retention.py::test_half_a_year_for_quarter_hours_two_weeks_for_the_rest_but_only_what_is_stored",
        ),
    ),
    "C15": Fault("endless reader of the databases"),
    "C16": Fault(
        "SQLite with the write-ahead-log defect and a second writer",
        ("headend/test_embedded.py::test_a_second_writer_is_refused",),
    ),
    "D01": Fault(
        "box wakes up in 1970",
        (f"{_CLOCK}d01_what_is_read_before_the_clock_is_set_waits_and_is_dated_right_with_both_times_kept",),
    ),
    "D02": Fault(
        "clock steps by an hour",
        (f"{_CLOCK}d02_a_step_while_running_marks_what_is_read_next_to_it_and_doubles_no_number",),
    ),
    "D03": Fault("drift of 200 ppm", (f"{_CLOCK}d03_drift_is_measured_and_marks_nothing",)),
    "D04": Fault("summer time, year end", (f"{_COUNTERS}local_days_of_23_and_25_hours",)),
    "D05": Fault("gateway a year ahead", (f"{_CLOCK}d05_a_clock_a_year_ahead_is_believed_if_the_kernel_does",)),
    "D06": Fault("two gateways 90 s apart", (), "one gateway a plant in this runner"),
    "D07": Fault(
        "clock back onto stored moments", (f"{_CLOCK}d07_two_readings_may_claim_one_moment_after_the_clock_went_back",)
    ),
    "D08": Fault(
        "time server lost",
        (f"{_CLOCK}d08_a_time_server_lost_for_long_is_flagged_when_the_kernel_gives_up_and_data_goes_on",),
    ),
    "E01": Fault("link down for seconds, an hour, 30 days"),
    "E02": Fault("silence without an end"),
    "E03": Fault("connection torn inside a packet"),
    "E04": Fault("flapping link"),
    "E05": Fault("thin, slow, spoiling line"),
    "E06": Fault("broker killed, database gone or kept"),
    "E07": Fault("broker's queue full"),
    "E08": Fault("access rules deny publishing"),
    "E09": Fault("broker refuses: quota, user"),
    "E10": Fault("two devices with one client id"),
    "E11": Fault("session at the broker lost"),
    "E12": Fault("acknowledgements lost, doubled, reordered, foreign"),
    "E13": Fault(
        "TLS: expired, wrong authority, wrong name",
        (f"{_UPLINK}a_certificate_file_that_is_not_there_is_named",),
        "only a missing certificate file is tried; brokers with bad certificates are not",
    ),
    "E14": Fault("names not resolved"),
    "E15": Fault("200 gateways reconnect at once", (), "200 gateways do not fit on two cores beside the rest"),
    "E16": Fault("flood after reconnect"),
    "F01": Fault("head-end killed between commit, acknowledgement and PUBACK"),
    "F02": Fault("everything delivered again, reversed"),
    "F03": Fault("poison", ("headend/test_ingest.py::test_no_signed_body_raises",)),
    "F04": Fault("unknown gateway"),
    "F05": Fault("batches swallowed by the pipe"),
    "F06": Fault("numbers asked for that are gone at the edge"),
    "F07": Fault("batches tampered with on their way"),
    "F08": Fault("slow store"),
    "F09": Fault("head-end started twice"),
    "F10": Fault("stale subscription in the session"),
    "G01": Fault(
        "store down", ("headend/test_ingest_mqtt.py::test_a_store_that_is_down_holds_back_the_acknowledgement",)
    ),
    "G02": Fault(
        "store killed after it said yes",
        ("headend/test_embedded.py::test_kill_in_the_middle_of_writing_loses_nothing_committed",),
    ),
    "G03": Fault("type conflict in InfluxDB", (f"{_MIRROR}a_type_conflict_is_named_and_the_others_are_in",)),
    "G04": Fault("InfluxDB answers 401, 404, 413, 429, 503", (f"{_MIRROR}answers_by_what_they_mean",)),
    "G05": Fault(
        "points older than the retention policy", (), "InfluxDB is a mirror here; it holds back no acknowledgement"
    ),
    "G06": Fault(
        "store's disk full, then freed", ("headend/test_embedded.py::test_a_full_disk_keeps_nothing_half_and_recovers",)
    ),
    "G07": Fault(
        "store restored from an old backup", ("gateway/test_end_to_end.py::test_a_wiped_store_gets_everything_again",)
    ),
    "G08": Fault("duplicate series by another tag", (f"{_MIRROR}names_are_there_to_be_joined",)),
    "G09": Fault("client library swallows errors", (f"{_MIRROR}a_database_that_is_away_or_missing_moves_no_mark",)),
    "G10": Fault("slow reader", ("headend/test_embedded.py::test_a_slow_reader_does_not_hold_up_the_writer",)),
    "H01": Fault("mail server away for a day", (f"{_NOTICES}a_day_without_mail_server_becomes_one_digest",)),
    "H02": Fault("greylisting", (f"{_OUTBOX}greylisting_holds_up_one_recipient_only",)),
    "H03": Fault("one recipient refused", (f"{_OUTBOX}one_refused_recipient_does_not_touch_the_others",)),
    "H04": Fault("mail server hangs", ("headend/test_mail.py::test_a_server_that_hangs_is_left_after_the_deadline",)),
    "H05": Fault(
        "crash after the server took it", (f"{_OUTBOX}a_crash_after_the_server_took_it_repeats_it_at_most_once",)
    ),
    "H06": Fault("flapping alarm", (f"{_NOTICES}flapping_is_few_mails",)),
    "H07": Fault("replayed history", (f"{_NOTICES}replayed_history_is_not_mailed",)),
    "H08": Fault("restart while an alarm stands", (f"{_NOTICES}restarts_while_firing_neither_lose_nor_repeat",)),
    "H09": Fault("no data at all", (f"{_NOTICES}a_silent_meter_resolves_nothing_and_is_an_alarm_itself",)),
    "H10": Fault(
        "missing data resolves an alarm", (f"{_NOTICES}a_silent_meter_resolves_nothing_and_is_an_alarm_itself",)
    ),
    "H11": Fault("header injection by a name", ("headend/test_mail.py::test_a_bent_header_is_refused",)),
    "H12": Fault(
        "late data changes a closed day",
        ("headend/test_rollup.py::test_late_data_is_a_new_revision_and_the_old_value_stays",),
    ),
    "H13": Fault(
        "analysis fails", ("headend/test_rollup.py::test_a_meter_that_fails_stays_pending_and_is_tried_again",)
    ),
    "I01": Fault("power cut while a configuration is written", (), _UPDATES),
    "I02": Fault("configuration forged, foreign, expired, replayed", (), _UPDATES),
    "I03": Fault("valid but harmful configuration", (), _UPDATES),
    "I04": Fault("release that crashes or polls nothing", (), _UPDATES),
    "I05": Fault("power cut in an update", (), _UPDATES),
    "I06": Fault("migration of the buffer interrupted", (), "there is one version of the buffer so far"),
    "I07": Fault("key rotation half done", (), _UPDATES),
    "I08": Fault("meter map edited live", (), "the gateway reads its files at the start only; C13 restarts it"),
    "J01": Fault("ten times the readings"),
    "J02": Fault("backlog of seven days from 50 gateways", (), "50 gateways do not fit on two cores beside the rest"),
    "J03": Fault("client floods the broker"),
    "J04": Fault("10 000 queries over five years", (), "no part of delivery; see the benches of the store"),
    "J05": Fault("log cannot be written"),
    "J06": Fault("a tenth of a processor"),
}


def played(fault: str, profile: str) -> list[str]:
    """The scenes of a fault in a profile, ``E01`` or ``E01/30 days``."""
    return [s.fault for s in SCENES if s.fault.split("/")[0] == fault and s.profile == profile]


def state_of(fault: str) -> str:
    """Where it is tried: one sentence for the table."""
    row = CATALOGUE[fault]
    if played(fault, "test"):
        return "played in make test and make soak"
    if played(fault, "soak"):
        return "played in make soak only"
    if row.elsewhere and not row.why_not:
        return "proved elsewhere"
    return "not run as written" if row.elsewhere else "not run"


def page() -> str:
    """The catalogue as a table of docs/faults.md."""
    lines = ["| | Fault | State | Where, or why not |", "|---|---|---|---|"]
    for fault, row in CATALOGUE.items():
        scenes = [name.partition("/")[2] for name in (*played(fault, "test"), *played(fault, "soak")) if "/" in name]
        words = [f"also: {', '.join(scenes)}"] if scenes else []
        words += [f"`tests/{place}`" for place in row.elsewhere]
        words += [row.why_not] if row.why_not else []
        lines.append(f"| {fault} | {row.title} | {state_of(fault)} | {'; '.join(words)} |")
    return "\n".join(lines) + "\n"
