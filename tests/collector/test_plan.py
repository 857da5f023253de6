"""The planner: every request legal, every point covered, and never more requests than a search by brute force finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.dialects import plan_of
from collector.plan import Block, halves, known_words, request_plan, words_of
from collector.requests import Avoid, Plan
from meterline.profiles import WORDS, CellPoint, DataType, Dlt645Profile, ModbusProfile, Rate, Table
from tests.collector.sites import MODBUS, SHIPPED

NAMES = ["voltage.l1n", "voltage.l2n", "voltage.l3n", "voltage.l12", "voltage.l23", "voltage.l31", "voltage.ln.mean"]


def page(points: Sequence[Mapping[str, Any]], limits: dict[str, Any]) -> ModbusProfile:
    return ModbusProfile.model_validate(
        {
            "profile": "t", "revision": 1, "title": {"en": "t", "zh": "t"}, "protocol": "modbus",
            "carrier": "electricity", "source": "made for tests", "evidence": "unverified",
            "value_reference": "primary", "limits": limits,
            "points": tuple({"unit": "V", "measurand": name, **p} for name, p in zip(NAMES, points, strict=False)),
        },
        strict=False,
    )  # fmt: skip


@st.composite
def pages(draw: st.DrawFn, *, composites: bool = True) -> ModbusProfile:
    """Small pages with gaps, tight limits, and composites that may interlock."""
    cells: list[dict[str, Any]] = []
    at = 0
    for _ in range(draw(st.integers(1, len(NAMES)))):
        at += draw(st.integers(0, 5))
        kind: DataType = draw(st.sampled_from(["uint16", "uint32", "float64"]))
        cells.append({"at": at, "type": kind})
        at += WORDS[kind]
    points: list[dict[str, Any]] = []
    while cells:
        if composites and len(cells) >= 2 and draw(st.integers(0, 4)) == 0:
            other = cells.pop(draw(st.integers(1, min(2, len(cells) - 1))))
            points.append({"sum_of": (cells.pop(0), other)})
        else:
            points.append(cells.pop(0))
        points[-1]["enabled"] = not points[:-1] or draw(st.integers(0, 6)) > 0
    return page(points, {"max_words": draw(st.integers(4, 24)), "max_gap": draw(st.integers(0, 4))})


def legal(block: tuple[int, int], profile: ModbusProfile) -> bool:
    """Whether one request of the holding table is allowed: the meaning of the limits, word by word."""
    start, end = block
    known = known_words(profile)
    gap = widest = 0
    for address in range(start, end):
        gap = 0 if (Table.HOLDING, address) in known else gap + 1
        widest = max(widest, gap)
    return 0 < end - start <= profile.limits.max_words and widest <= profile.limits.max_gap


def spans(plan: Plan[Block, CellPoint], profile: ModbusProfile) -> list[tuple[int, int]]:
    found = []
    for point in plan.points:
        cells = profile.cells_of(point)
        found.append((min(c.at for c in cells), max(c.at + words_of(c) for c in cells)))
    return found


def check_covered(plan: Plan[Block, CellPoint], profile: ModbusProfile) -> None:
    for column, (start, end) in enumerate(spans(plan, profile)):
        request = plan.shape.columns[column].request
        block = plan.blocks[request]
        assert block.address <= start
        assert end <= block.address + block.count
        assert [item for item in block.items if item.column == column]
    assert sorted(item.column for block in plan.blocks for item in block.items) == list(range(len(plan.points)))
    for block in plan.blocks:
        assert block.count <= profile.limits.max_words


@given(pages())
def test_plans_cover_every_point(profile: ModbusProfile) -> None:
    try:
        plan = request_plan(profile)
    except ValueError:
        widest = max(max(c.at for c in p.sum_of) - min(c.at for c in p.sum_of) for p in profile.points if p.sum_of)
        assert widest + 4 > profile.limits.max_words, "only a composite wider than any answer is refused"
        return
    check_covered(plan, profile)


@given(pages(composites=False))
@settings(max_examples=300)
def test_no_plan_by_brute_force_needs_fewer_requests(profile: ModbusProfile) -> None:
    plan = request_plan(profile)
    assert all(legal((block.address, block.address + block.count), profile) for block in plan.blocks)
    wanted = spans(plan, profile)
    starts, ends = sorted({a for a, _ in wanted}), sorted({b for _, b in wanted})
    requests = [(a, b) for a in starts for b in ends if legal((a, b), profile)]
    for size in range(1, len(plan.blocks)):
        for choice in combinations(requests, size):
            assert not all(any(a <= s and e <= b for a, b in choice) for s, e in wanted), (choice, plan.blocks)


def test_a_forbidden_span_is_not_read_across() -> None:
    points: list[dict[str, Any]] = [{"at": 0}, {"at": 4}, {"at": 8}]
    plan = request_plan(page(points, {"max_gap": 8, "no_bridge": ((5, 6),)}))
    assert [(b.address, b.count) for b in plan.blocks] == [(0, 5), (8, 1)]


def test_a_page_is_read_as_an_engineer_would() -> None:
    plan = request_plan(MODBUS["eastron-sdm630"], {Rate.FAST, Rate.NORMAL})
    assert [(b.address, b.count) for b in plan.blocks] == [(0x003C, 20), (0x0000, 58)]
    assert plan.blocks[0].has_counter, "the request with the counters goes first"


def test_nothing_is_read_across_a_siemens_gap() -> None:
    plan = request_plan(MODBUS["siemens-pac3200"])
    assert [(b.address, b.count) for b in plan.blocks] == [(0x0321, 16), (0x0001, 42), (0x0037, 16)]


def test_the_parts_of_a_sum_come_from_one_answer() -> None:
    points: list[dict[str, Any]] = [{"at": 0}, {"sum_of": ({"at": 2, "type": "int32"}, {"at": 6, "type": "float32"})}]
    plan = request_plan(page(points, {"max_words": 7, "max_gap": 8}))
    assert [(b.address, b.count) for b in plan.blocks] == [(0, 1), (2, 6)]


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        (({"at": 0}, {"at": 20}), "span 21 words"),
        (({"at": 0}, {"at": 2, "table": "input"}), "two tables"),
    ],
)
def test_a_sum_no_answer_can_hold_is_refused(parts: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        request_plan(page([{"sum_of": parts}], {"max_words": 16}))


def test_two_tables_are_two_requests() -> None:
    points: list[dict[str, Any]] = [{"at": 0}, {"at": 1, "table": "input"}, {"at": 2}]
    plan = request_plan(page(points, {}))
    assert [(b.table, b.address, b.count) for b in plan.blocks] == [(Table.HOLDING, 0, 3), (Table.INPUT, 1, 1)]


def test_a_disabled_point_is_neither_asked_nor_trusted_to_exist() -> None:
    points: list[dict[str, Any]] = [{"at": 0}, {"at": 1, "type": "float64", "enabled": False}, {"at": 5}]
    assert len(request_plan(page(points, {"max_gap": 3})).blocks) == 2
    assert len(request_plan(page(points, {"max_gap": 4})).blocks) == 1


def test_a_point_of_another_rate_may_be_read_across() -> None:
    points: list[dict[str, Any]] = [{"at": 0}, {"at": 1, "type": "float64", "rate": "slow"}, {"at": 5}]
    plan = request_plan(page(points, {"max_gap": 0}), {Rate.FAST})
    assert [(b.address, b.count) for b in plan.blocks] == [(0, 6)]
    assert len(plan.points) == 2


def test_what_the_meter_refused_is_left_out_but_keeps_its_column() -> None:
    points: list[dict[str, Any]] = [{"at": 0}, {"at": 1}, {"at": 2}]
    profile = page(points, {})
    cut = request_plan(profile, avoid=Avoid(cuts=frozenset({(Table.HOLDING, 2)})))
    assert [(b.address, b.count) for b in cut.blocks] == [(0, 2), (2, 1)]
    without = request_plan(profile, avoid=Avoid(refused=frozenset({"voltage.l2n"})))
    assert without.unasked == (1,)
    assert len(without.shape.columns) == 3


@given(pages())
def test_parting_loses_no_point_and_ends(profile: ModbusProfile) -> None:
    try:
        plan = request_plan(profile)
    except ValueError:
        return
    known = known_words(profile)

    def leaves(block: Block) -> list[Block]:
        parts = halves(block, known)
        if parts is None:
            return [block]
        assert all(len(part.items) < len(block.items) for part in parts)
        return [leaf for part in parts for leaf in leaves(part)]

    for block in plan.blocks:
        found = [item for leaf in leaves(block) for item in leaf.items]
        assert sorted(i.column for i in found) == sorted(i.column for i in block.items)


def test_parting_begins_at_the_widest_gap() -> None:
    profile = page([{"at": 0}, {"at": 1}, {"at": 5}, {"at": 7}, {"at": 8}], {"max_gap": 8})
    parts = halves(request_plan(profile).blocks[0], known_words(profile))
    assert parts is not None
    assert [(p.address, p.count) for p in parts] == [(0, 2), (5, 4)]


def test_plans_of_one_page_share_a_shape_whoever_makes_them() -> None:
    once, again = (request_plan(MODBUS["acrel-dtsd1352"]) for _ in range(2))
    assert once.shape == again.shape
    assert once.shape.id == again.shape.id


def test_coalescing_is_worth_its_name() -> None:
    """Over the shipped Modbus pages at least five times fewer requests than points."""
    plans = [request_plan(profile) for profile in MODBUS.values()]
    assert len(plans) >= 5
    assert sum(len(plan.points) for plan in plans) >= 5 * sum(len(plan.blocks) for plan in plans)


def test_items_that_share_a_block_share_a_request() -> None:
    """DL/T 645 groups by annex A's blocks, of three to five items: a request for each block used and each lone item."""
    pages = [page for page in SHIPPED.values() if isinstance(page, Dlt645Profile)]
    assert pages
    for profile in pages:
        points = [point for point in profile.points if point.enabled]
        lone = sum(point.block is None for point in points)
        blocks = {point.block for point in points if point.block}
        plan = plan_of(profile)
        assert len(plan.blocks) == lone + len(blocks)
        assert len(points) - lone >= 3 * len(blocks)
