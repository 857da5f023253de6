"""What every store promises (headend/stores/api.py), run on each of them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.stores.api import Block, Span, Store
from headend.stores.embedded import EmbeddedStore
from headend.stores.memory import MemoryStore
from meterline.readings import MissingSpan, Poll, Quality, to_micro
from meterline.wire import LostRange, unseal
from tests.headend.gateway_twin import DECIMAL, ENERGY, FLOAT, MINUTE, POWER, T0, Twin, poll

ALWAYS = Span(0, 2**62)
DAY = 86_400 * 10**9
STORES: dict[str, Callable[[Path], Store]] = {"memory": lambda _: MemoryStore(), "embedded": EmbeddedStore}


def test_every_store_is_here() -> None:
    assert set(STORES) >= {"memory", "embedded"}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def twin() -> Twin:
    return Twin()


def picture(store: Store) -> object:
    """Everything that can be asked, in a form that can be compared."""
    gateways = store.gateways()
    meters = sorted({meter for meter, _ in store.latest()})
    columns = {
        meter: {
            name: tuple(
                np.nan_to_num(a, nan=-1.5).tolist() for a in (s.slot_ns, s.read_ns, s.value, s.micro, s.quality)
            )
            for name, s in sorted(store.columns(meter, ALWAYS).items())
        }
        for meter in meters
    }
    return (
        {g: dict(store.received(g)) for g in gateways},
        {g: store.lost(g) for g in gateways},
        columns,
        {meter: store.missing(meter, ALWAYS) for meter in meters},
        {key: (r.slot_ns, r.number, r.quality) for key, r in sorted(store.latest().items())},
        store.totals(),
    )


def test_a_block_is_kept_once(store: Store, twin: Twin) -> None:
    block = twin.block(poll("m1", T0, 100, 5), poll("m2", T0, 7, 8))
    first, again = store.append([block]), store.append([block, block])
    assert first.new == (("gw-1", twin.epoch, 1),)
    assert (first.readings, again.new, again.readings) == (4, (), 0)
    assert (store.totals().batches, store.totals().readings, store.totals().last_slot_ns) == (1, 4, T0)


def test_values_come_back_exactly(store: Store, twin: Twin) -> None:
    store.append([twin.block(poll("m1", T0, 123_456_789_012_345, -5, delays=(120, 480)))])
    energy, power = store.series("m1", ENERGY, ALWAYS), store.series("m1", POWER, ALWAYS)
    assert energy.micro.tolist() == [123_456_789_012_345 * 10_000]
    assert power.value.tolist() == [-0.005]
    assert power.micro.tolist() == [0]  # a gauge counts nothing
    assert energy.read_ns.tolist() == [T0 + 120_000_000]
    assert power.read_ns.tolist() == [T0 + 480_000_000]


@pytest.mark.parametrize("kwh", [0.1, 131072.015625, 1234567.875, 8388608.0])
def test_a_float_counts_as_its_shortest_decimal(store: Store, twin: Twin, kwh: float) -> None:
    store.append([twin.block(poll("m1", T0, kwh, 1.5, shape=FLOAT))])
    assert store.series("m1", ENERGY, ALWAYS).micro.tolist() == [to_micro(kwh, 0)]


def test_doubt_survives_and_absence_is_not_zero(store: Store, twin: Twin) -> None:
    bits = (int(Quality.SUSPECT | Quality.CLOCK_UNSYNC), int(Quality.INVALID))
    store.append([twin.block(poll("m1", T0, 100, None, qualities=bits), poll("m1", T0 + MINUTE, 101, 3))])
    assert store.series("m1", ENERGY, ALWAYS).quality.tolist() == [bits[0], 0]
    power = store.series("m1", POWER, ALWAYS)
    assert power.quality.tolist() == [bits[1], 0]
    assert np.isnan(power.value[0])
    assert power.value[1] == 0.003


def test_spans_are_half_open_and_in_order(store: Store, twin: Twin) -> None:
    slots = [T0 + k * MINUTE for k in (3, 0, 2, 1)]
    store.append([twin.block(poll("m1", slot, slot // MINUTE, 1), at_ns=T0) for slot in slots])
    got = store.series("m1", ENERGY, Span(T0 + MINUTE, T0 + 3 * MINUTE))
    assert got.slot_ns.tolist() == [T0 + MINUTE, T0 + 2 * MINUTE]
    assert store.columns("m1", Span(T0, T0 + 1))[POWER].slot_ns.tolist() == [T0]


def test_unknown_is_empty(store: Store, twin: Twin) -> None:
    store.append([twin.block(poll("m1", T0, 1, 1))])
    assert len(store.series("nobody", ENERGY, ALWAYS)) == 0
    assert len(store.series("m1", "heat", ALWAYS)) == 0
    assert store.columns("nobody", ALWAYS) == {}
    assert store.missing("nobody", ALWAYS) == ()
    assert store.received("nobody") == {}
    assert store.evidence("gw-1", twin.epoch, 2) is None
    assert store.links("gw-1", "ffffffffffffffff", 0, 10) == []


def test_one_value_a_slot_whatever_the_order(tmp_path: Path) -> None:
    """A clock set back: the same slot three times. The one read last counts, and a number beats none."""
    for name, make in STORES.items():
        seen = set()
        for k, order in enumerate(itertools.permutations(range(4))):
            twin = Twin()
            blocks = [
                twin.block(poll("m1", T0, 1, 11, delays=(500, 500)), at_ns=T0 + 3 * DAY),
                twin.block(poll("m1", T0, 2, 22, delays=(900, 400)), at_ns=T0 + MINUTE),
                twin.block(poll("m1", T0, 3, 33, delays=(900, 500)), at_ns=T0 + 2 * MINUTE),
                twin.block(poll("m1", T0, None, None, delays=(950, 950), qualities=(2, 2)), at_ns=T0 + 3 * MINUTE),
            ]
            store = make(tmp_path / f"{name}{k}")
            for at in order:
                store.append([blocks[at]])
            seen.add(
                (*store.series("m1", ENERGY, ALWAYS).micro.tolist(), *store.series("m1", POWER, ALWAYS).value.tolist())
            )
            assert store.totals().readings == 8, "both values of a slot stay stored"
            store.close()
        # energy: read last is 3 (tie on 900 ms with 2, formed later); power: 11 and 33 read last, 11 formed later
        assert seen == {(30_000, 0.011)}, name


def test_the_ledger_knows_holes_and_losses(store: Store) -> None:
    twin = Twin()
    blocks = [twin.block(poll("m1", T0 + k * MINUTE, k, 0)) for k in range(6)]
    store.append([blocks[0], blocks[5], blocks[2]])
    assert dict(store.received("gw-1")) == {twin.epoch: ((1, 1), (3, 3), (6, 6))}
    told = Twin(epoch="00000000000000bb")
    told.key = twin.key
    store.append(
        [told.block(lost=[LostRange(twin.epoch, 2, 2, "quota"), LostRange("00000000000000cc", 1, 9, "bitrot")])]
    )
    assert dict(store.received("gw-1")) == {
        twin.epoch: ((1, 3), (6, 6)),
        told.epoch: ((1, 1),),
        "00000000000000cc": ((1, 9),),
    }
    assert [r.reason for r in store.lost("gw-1")] == ["quota", "bitrot"]
    assert store.gateways() == ("gw-1",)


def test_evidence_is_the_bytes_that_came(store: Store, twin: Twin) -> None:
    blocks = [twin.block(poll("m1", T0 + k * DAY, k, 0)) for k in range(3)]
    store.append(blocks)
    assert [store.evidence("gw-1", twin.epoch, k + 1) for k in range(3)] == [b.message for b in blocks]


def test_a_number_used_twice_is_a_conflict_and_changes_nothing(store: Store) -> None:
    honest, copy = Twin(), Twin()
    kept = honest.block(poll("m1", T0, 1, 1))
    other = copy.block(poll("m1", T0, 2, 2))
    store.append([kept])
    receipt = store.append([other, honest.block(poll("m1", T0 + MINUTE, 3, 3))])
    assert receipt.conflicts == (kept.key,)
    assert receipt.new == (("gw-1", honest.epoch, 2),)
    assert store.evidence(*kept.key) == kept.message
    assert store.series("m1", ENERGY, ALWAYS).micro.tolist() == [10_000, 30_000]


def test_silences_open_and_close(store: Store, twin: Twin) -> None:
    store.append([twin.block(at_ns=T0, missing=[MissingSpan("m1", T0, None, "silent")])])
    assert store.missing("m1", ALWAYS) == (MissingSpan("m1", T0, None, "silent"),)
    store.append([twin.block(at_ns=T0 + DAY, missing=[MissingSpan("m1", T0, T0 + DAY, "silent")])])
    store.append([twin.block(at_ns=T0 + DAY, missing=[MissingSpan("m1", T0 + 2 * DAY, None, "line-down")])])
    assert store.missing("m1", ALWAYS) == (
        MissingSpan("m1", T0, T0 + DAY, "silent"),
        MissingSpan("m1", T0 + 2 * DAY, None, "line-down"),
    )
    assert store.missing("m1", Span(T0 + DAY, T0 + 2 * DAY)) == ()
    assert len(store.missing("m1", Span(T0 + 9 * DAY, T0 + 10 * DAY))) == 1
    assert store.missing("m2", ALWAYS) == ()


def test_latest_is_by_slot_not_by_arrival(store: Store, twin: Twin) -> None:
    store.append([twin.block(poll("m1", T0 + MINUTE, 5, 6))])
    store.append([twin.block(poll("m1", T0, 1, 2))])
    latest = store.latest()
    assert {key: (r.number, r.slot_ns) for key, r in latest.items()} == {
        ("m1", ENERGY): (5, T0 + MINUTE),
        ("m1", POWER): (6, T0 + MINUTE),
    }
    assert latest["m1", POWER].read_ns == T0 + MINUTE + 150_000_000
    assert latest["m1", POWER].profile == DECIMAL.profile


def test_a_clock_that_runs_ahead_is_kept_but_is_not_the_newest(store: Store, twin: Twin) -> None:
    honest = twin.block(poll("m1", T0, 1, 1))
    ahead = replace(twin.block(poll("m1", T0 + 365 * DAY, 2, 2)), received_ns=T0)
    slightly = replace(twin.block(poll("m1", T0 + 5 * MINUTE, 3, 3)), received_ns=T0)
    store.append([honest, ahead, slightly])
    assert store.latest()["m1", ENERGY].number == 3
    assert store.totals().last_slot_ns == T0 + 5 * MINUTE
    assert len(store.series("m1", ENERGY, ALWAYS)) == 3


def test_changes_follow_the_order_of_commits(store: Store, twin: Twin) -> None:
    nothing, none = store.changed({})
    assert none == {}
    store.append([twin.block(poll("m1", T0 + 5 * DAY, 1, 1), poll("m2", T0 + 5 * DAY, 1, 1))])
    cursor, touched = store.changed(nothing)
    assert touched == {m: Span(T0 + 5 * DAY, T0 + 5 * DAY + 1) for m in ("m1", "m2")}
    store.append([twin.block(poll("m1", T0, 0, 0)), twin.block(poll("m1", T0 + DAY, 0, 0))])
    later, touched = store.changed(cursor)
    assert touched == {"m1": Span(T0, T0 + DAY + 1)}
    assert store.changed(later) == (later, {})
    assert store.changed({})[1]["m1"] == Span(T0, T0 + 5 * DAY + 1)


def test_messages_resume_where_they_stopped(store: Store, twin: Twin) -> None:
    blocks = [twin.block(poll("m1", T0 + k * MINUTE, k, 0)) for k in range(7)]
    store.append(blocks)
    cursor: dict[str, int] = {}
    seen: list[bytes] = []
    while part := list(store.messages(cursor, 3)):
        seen += [message for _, message in part]
        cursor = dict(part[-1][0])
    assert seen == [block.message for block in blocks]


def test_links_are_the_chain(store: Store, twin: Twin) -> None:
    blocks = [twin.block(poll("m1", T0 + k * DAY, k, 0)) for k in range(4)]
    store.append([blocks[k] for k in (2, 0, 3, 1)])
    links = store.links("gw-1", twin.epoch, 1, 2)
    assert [(link.seq, link.prev, link.digest) for link in links] == [
        (k + 1, blocks[k].batch.prev, blocks[k].digest) for k in (1, 2)
    ]


# --- the law: replay, shuffle and regrouping change nothing ---------------------------------------------------------

NUMBERS = st.one_of(st.integers(-(10**12), 10**12), st.none())


@st.composite
def some_polls(draw: st.DrawFn) -> list[list[Poll]]:
    def one() -> Poll:
        numbers = (draw(NUMBERS), draw(NUMBERS))
        qualities = tuple(int(Quality.MISSING) if n is None else draw(st.sampled_from([0, 0, 4, 32])) for n in numbers)
        return poll(
            draw(st.sampled_from(["m1", "m2"])), T0 + draw(st.integers(0, 5)) * 8 * 3600 * 10**9, *numbers,
            delays=(draw(st.integers(0, 2)), 5), qualities=qualities,
        )  # fmt: skip

    return [[one() for _ in range(draw(st.integers(0, 3)))] for _ in range(draw(st.integers(1, 6)))]


@settings(max_examples=40)
@given(some_polls(), st.randoms(use_true_random=False))
def test_replay_shuffle_and_regrouping_change_nothing(groups: list[list[Poll]], random: Random) -> None:
    twin = Twin()
    blocks = [twin.block(*polls, at_ns=T0 + k * 3 * 3600 * 10**9) for k, polls in enumerate(groups)]
    reference = MemoryStore()
    reference.append(blocks)
    expected = picture(reference)
    for make in STORES.values():
        with tempfile.TemporaryDirectory() as folder:
            store = make(Path(folder))
            for part in shuffled_groups(blocks * 2, random):
                store.append(part)
            assert picture(store) == expected
            store.close()


def shuffled_groups(blocks: list[Block], random: Random) -> Iterator[list[Block]]:
    blocks = blocks.copy()
    random.shuffle(blocks)
    while blocks:
        size = random.randint(1, 4)
        yield blocks[:size]
        blocks = blocks[size:]


def test_a_number_is_walked_back_to_the_batch_that_brought_it(store: Store, twin: Twin) -> None:
    first = twin.block(poll("m1", T0, 100, 5), poll("m2", T0, 7, 5))
    second = twin.block(poll("m1", T0 + MINUTE, 110, 5))
    late = twin.block(poll("m1", T0 + DAY, 500, 5), poll("m2", T0 + MINUTE, 8, 5))
    store.append([first, second, late])
    assert store.origins("m1", Span(T0, T0 + 1)) == (first.key,)
    assert store.origins("m1", ALWAYS) == (first.key, second.key, late.key)
    assert store.origins("m2", Span(T0 + MINUTE, T0 + 2 * MINUTE)) == (late.key,)
    assert store.origins("m1", Span(T0 + 1, T0 + MINUTE)) == ()
    assert store.origins("nobody", ALWAYS) == ()
    for key in store.origins("m1", ALWAYS):
        message = store.evidence(*key)
        assert message is not None
        assert unseal(message).seq == key[2]
