"""What is known of reaching one meter: it heals, it is not forgotten, and it never costs more than it must."""

from __future__ import annotations

import itertools

import pytest

from collector.contact import FORGET_NS, PROBE_MOST_S, Contact
from collector.dialects import ModbusDialect
from collector.plan import Block
from collector.plausibility import Plausibility
from collector.requests import Plan
from meterline.clock import NS
from meterline.profiles import CellPoint, ModbusProfile, Rate, Table
from tests.collector.sites import MODBUS, plant
from tests.collector.test_plan import page

ALL = frozenset(Rate)


def contact(profile: ModbusProfile = MODBUS["eastron-sdm630"]) -> Contact:
    site = plant(
        {"kind": "modbus-tcp", "host": "127.0.0.1"}, {"profile": profile.profile}, profiles={profile.profile: profile}
    )
    meter = site.meters["m1"]
    return Contact(meter, ModbusDialect(profile, 1), Plausibility(meter, site))


def plan_of(one: Contact, slot_ns: int = 0) -> Plan[Block, CellPoint]:
    return one.prepared(ALL, slot_ns).plan


def test_silence_is_one_span() -> None:
    one = contact()
    opened = one.missed(100, "silent")
    assert opened is not None
    assert (opened.start_ns, opened.end_ns, opened.cause) == (100, None, "silent")
    assert one.missed(200, "garbled") is None
    closed = one.answered(300)
    assert closed is not None
    assert (closed.start_ns, closed.end_ns, closed.cause) == (100, 300, "silent")
    assert one.answered(400) is None
    assert (one.last_good_ns, one.cause, one.failures) == (400, "", 0)


def test_a_span_is_never_turned_round_by_a_clock_set_back() -> None:
    one = contact()
    one.missed(500, "silent")
    closed = one.answered(300)
    assert closed is not None
    assert closed.end_ns == 500


def test_probes_become_rare_but_come_at_least_each_minute() -> None:
    one, now = contact(), 1000.0
    asked = []
    for second in range(600):
        if one.is_due(now + second, 0, 0.5):
            asked.append(second)
            one.asked(now + second, 0)
            one.missed(second, "silent")
    rests = [b - a for a, b in itertools.pairwise(asked)]
    assert rests == sorted(rests), "ever slower"
    assert max(rests) <= 60
    assert max(rests) >= PROBE_MOST_S
    one.answered(601)
    assert one.is_due(now + 601, 0, 0.5)


def test_on_a_fast_clock_a_meter_is_probed_each_quarter_hour_of_plant_time() -> None:
    """At 60 times the real speed, 48 real seconds would be most of an hour."""
    one = contact()
    for _ in range(8):
        one.missed(0, "silent")
    one.asked(1000.0, 0)
    assert not one.is_due(1014.0, 14 * 60 * NS, 0.5)
    assert one.is_due(1015.0, 15 * 60 * NS, 0.5)
    one.asked(2000.0, 0)
    assert not one.is_due(2001.0, 3600 * NS, 0.5), "but probes never take more than a tenth of the line"


def test_a_line_that_is_down_does_not_make_its_meters_wait() -> None:
    one = contact()
    one.asked(1000.0, 0)
    one.missed(0, "line-down")
    assert one.is_due(1000.1, 0, 0.5)


def test_meters_of_one_type_share_a_plan_until_one_differs() -> None:
    first, second = contact(), contact()
    assert plan_of(first, 0) is plan_of(second, 0)
    first.learn_cut((Table.INPUT, 0x0034), 0)
    assert any(b.address < 0x0034 < b.address + b.count for b in plan_of(second, 1).blocks)
    assert not any(b.address < 0x0034 < b.address + b.count for b in plan_of(first, 1).blocks)
    assert plan_of(first, FORGET_NS) is plan_of(second, 0), "forgotten after an hour"


def test_a_refused_point_keeps_its_column_and_is_asked_again_after_an_hour() -> None:
    one = contact()
    one.learn_refused("frequency", 0)
    plan = plan_of(one, 1)
    assert [plan.points[column].measurand for column in plan.unasked] == ["frequency"]
    assert plan_of(one, FORGET_NS).unasked == ()


def test_a_probe_is_unlike_every_open_question() -> None:
    one = contact()
    plan = plan_of(one)
    first = one.dialect.probe(plan, one.unanswered)
    assert (first.address, first.count) == (0x0000, 2), "the page's own probe point: voltage.l1n"
    one.unanswered = {(Table.INPUT, 2)}
    second = one.dialect.probe(plan, one.unanswered)
    assert (second.table, second.count) not in one.unanswered
    for count in range(1, 60):
        one.unanswered.add((Table.INPUT, count))
    assert one.dialect.probe(plan, one.unanswered).count == 60


@pytest.mark.parametrize("counts", [range(1, 17)])
def test_where_all_questions_look_alike_silence_has_to_do(counts: range) -> None:
    one = contact(page([{"at": 0}, {"at": 40}], {"max_words": 16}))
    one.unanswered = {(Table.HOLDING, count) for count in counts}
    assert one.dialect.probe(plan_of(one), one.unanswered).count == 1


def test_a_request_that_is_never_answered_counts_as_refused_after_three_polls() -> None:
    one = contact()
    block = plan_of(one).blocks[0]
    assert [one.is_mute(block) for _ in range(3)] == [False, False, True]
    one.not_mute(block)
    assert not one.is_mute(block)
