"""The handler behind the broker: only what is committed is acknowledged, and nothing that arrives can stop it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.catalogue import Catalogue
from headend.ingest import ASK_AGAIN_S, MOST_REFUSALS, SETTLE_S, Ingest, Message
from headend.ledger import ChainBreak, Link, chain_breaks, holes, intersection, union
from headend.stores.api import Block, Receipt, Span
from headend.stores.memory import MemoryStore
from headend.supervise import Supervisor
from meterline.clock import ManualClock
from meterline.errors import StoreUnavailable
from meterline.wire import (
    GENESIS,
    MAX_MESSAGE,
    Ask,
    Health,
    LostRange,
    ask_topic,
    batch_topic,
    encode_ask,
    encode_health,
    health_topic,
)
from tests.headend.gateway_twin import ENERGY, MINUTE, T0, Twin, poll


class Fragile(MemoryStore):
    """A memory store that can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: Exception | None = None
        self.chokes_on: tuple[str, str, int] | None = None
        self.appends: list[int] = []

    def append(self, blocks: Sequence[Block]) -> Receipt:
        if self.fails is not None:
            raise self.fails
        if self.chokes_on in {block.key for block in blocks}:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        self.appends.append(len(blocks))
        return super().append(blocks)


class Desk:
    """An ingest with everything around it."""

    def __init__(self, folder: Path) -> None:
        self.twin = Twin()
        self.store, self.catalogue = Fragile(), Catalogue(folder)
        self.clock, self.supervisor = ManualClock(T0), Supervisor()
        self.ingest = Ingest({"gw-1": self.twin.public}, self.store, self.catalogue, self.clock, self.supervisor)

    def batch(self, k: int = 0) -> Message:
        return self.twin.message(self.twin.seal(poll("m1", T0 + k * MINUTE, 100 + k, k)))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.catalogue.close()


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))
    yield made
    made.catalogue.close()


def test_a_group_is_one_commit_and_one_acknowledgement(desk: Desk) -> None:
    (ack,) = desk.ingest.take([desk.batch(k) for k in range(5)])
    assert (ack.gateway, ack.epoch, ack.received, ack.wanted) == ("gw-1", desk.twin.epoch, ((1, 5),), ())
    assert desk.store.appends == [5]
    assert (desk.ingest.figures.batches, desk.ingest.figures.readings) == (5, 10)
    assert desk.ingest.heard() == {"gw-1": T0}


def test_a_store_that_cannot_take_it_means_no_acknowledgement(desk: Desk) -> None:
    group = [desk.batch(k) for k in range(3)] + [Message("ml1/up/gw-1/batch", b"junk", T0)]
    desk.store.fails = StoreUnavailable("disk full")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            desk.ingest.take(group)
    assert desk.ingest.figures.messages == 0
    assert desk.catalogue.quarantined() == {}, "a retried group must not fill the quarantine"
    desk.store.fails = None
    (ack,) = desk.ingest.take(group)
    assert ack.received == ((1, 3),)
    assert desk.catalogue.quarantined() == {"magic": 1}


def test_again_is_acknowledged_again_and_stored_once(desk: Desk) -> None:
    group = [desk.batch(k) for k in range(3)]
    first, again = desk.ingest.take(group), desk.ingest.take(group[::-1] * 2)
    assert first[0].received == again[0].received == ((1, 3),)
    assert desk.ingest.figures.duplicates == 6
    assert desk.store.totals().batches == 3


def resealed(desk: Desk, body: bytes, *, window: bool = True) -> bytes:
    """A body of our choice, signed by the gateway: what a faulty gateway could send."""
    packed = zstandard.ZstdCompressor().compress(body) if window else body
    digest = hashlib.sha256(packed).digest()
    return b"ML\x01\x00" + desk.twin.key.sign(b"meterline-batch-1\n" + digest) + packed


def poison(desk: Desk) -> dict[str, tuple[Message, str]]:
    good = desk.batch().payload
    stranger, spoken = Twin("gw-1"), Twin("gw-2")
    spoken.key = desk.twin.key
    topic = batch_topic("gw-1")
    flipped = bytearray(good)
    flipped[-1] ^= 1
    body = orjson.loads(zstandard.ZstdDecompressor().decompress(good[68:]))

    def changed(**fields: object) -> bytes:
        return resealed(desk, orjson.dumps(body | fields))

    group = body["groups"][0]
    return {
        name: (Message(where, payload, T0), reason)
        for name, (where, payload, reason) in {
            "empty": (topic, b"", "magic"),
            "text": (topic, b"hello", "magic"),
            "huge": (topic, b"ML\x01\x00" + bytes(MAX_MESSAGE), "size"),
            "other version": (topic, b"ML\x07" + good[3:], "version"),
            "a bit flipped": (topic, bytes(flipped), "signature"),
            "another key": (topic, stranger.seal(poll("m1", T0, 1, 1)).message, "signature"),
            "another gateway's batch": (topic, spoken.seal(poll("m1", T0, 1, 1)).message, "gateway"),
            "unknown gateway": (batch_topic("gw-9"), good, "unknown-gateway"),
            "no topic of ours": ("ml1/up/gw-1/other", good, "topic"),
            "nobody's topic": ("nonsense", good, "topic"),
            "not zstd": (topic, resealed(desk, b"\x00" * 50, window=False), "zstd"),
            "a bomb": (topic, resealed(desk, b"0" * 50_000_000), "size"),
            "not json": (topic, resealed(desk, b"{"), "json"),
            "deeply nested": (topic, resealed(desk, b"[" * 100_000), "json"),
            "no object": (topic, resealed(desk, b"[]"), "schema"),
            "NaN": (topic, resealed(desk, orjson.dumps(body).replace(b"100", b"NaN")), "json"),
            "seq zero": (topic, changed(seq=0), "schema"),
            "huge seq": (
                topic,
                resealed(desk, orjson.dumps(body).replace(b'"seq":1', b'"seq":1180591620717411303424')),
                "schema",
            ),
            "bad utf-8": (topic, resealed(desk, orjson.dumps(body).replace(b"gw-1", b"gw\xff1")), "json"),
            "numbers do not fit": (topic, changed(groups=[group | {"numbers": [[1]]}]), "schema"),
            "health that is none": (health_topic("gw-1"), b"\xff", "json"),
            "health of another": (
                health_topic("gw-1"),
                encode_health(Health("gw-2", "00000000000000aa", "running", T0)),
                "gateway",
            ),
        }.items()
    }


POISON = (
    "empty", "text", "huge", "other version", "a bit flipped", "another key", "another gateway's batch",
    "unknown gateway", "no topic of ours", "nobody's topic", "not zstd", "a bomb", "not json", "deeply nested",
    "no object", "NaN", "seq zero", "huge seq", "bad utf-8", "numbers do not fit", "health that is none",
    "health of another",
)  # fmt: skip


def test_the_corpus_is_complete(desk: Desk) -> None:
    assert set(poison(desk)) == set(POISON)


@pytest.mark.parametrize("name", POISON)
def test_poison_is_put_away_with_its_reason_and_the_next_message_is_served(desk: Desk, name: str) -> None:
    message, reason = poison(desk)[name]
    good = desk.batch(1)
    acks = desk.ingest.take([message, good])
    assert acks[-1].received == ((2, 2),)
    assert desk.catalogue.quarantined() == {reason: 1}
    assert desk.supervisor.troubles.now == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    topic=st.one_of(st.just(batch_topic("gw-1")), st.just(health_topic("gw-1")), st.text(max_size=40)),
    payload=st.binary(max_size=300),
)
def test_no_message_raises(shared_desk: Desk, topic: str, payload: bytes) -> None:
    shared_desk.ingest.take([Message(topic, payload, T0)])
    assert shared_desk.supervisor.troubles.now == {}


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(-1e300, 1e300), st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_no_signed_body_raises(shared_desk: Desk, data: st.DataObject) -> None:
    """What a gateway with a bug could send under a good signature."""
    body = orjson.loads(
        zstandard.ZstdDecompressor().decompress(shared_desk.twin.seal(poll("m1", T0, 1, 2)).message[68:])
    )
    field = data.draw(st.sampled_from(sorted(body)))
    if field == "groups" and data.draw(st.booleans()):
        group = body["groups"][0]
        body["groups"][0] = group | {data.draw(st.sampled_from(sorted(group))): data.draw(JSON)}
    else:
        body[field] = data.draw(JSON)
    message = resealed(shared_desk, orjson.dumps(body))
    shared_desk.ingest.take([Message(batch_topic("gw-1"), message, T0)])
    assert shared_desk.supervisor.troubles.now == {}


def test_a_block_the_store_chokes_on_does_not_hold_up_its_group(desk: Desk) -> None:
    group = [desk.batch(k) for k in range(4)]
    desk.store.chokes_on = ("gw-1", desk.twin.epoch, 3)
    (ack,) = desk.ingest.take(group)
    assert ack.received == ((1, 2), (4, 4))
    assert desk.catalogue.quarantined() == {"store": 1}


def test_a_number_used_twice_goes_into_quarantine(desk: Desk) -> None:
    copy = Twin()
    copy.key = desk.twin.key
    desk.ingest.take([desk.batch()])
    desk.ingest.take([Message(batch_topic("gw-1"), copy.seal(poll("m1", T0, 7, 7)).message, T0)])
    assert desk.catalogue.quarantined() == {"conflict": 1}
    assert desk.store.series("m1", ENERGY, Span(0, 2**62)).micro.tolist() == [1_000_000]


def test_the_same_rubbish_again_is_counted_and_not_kept_again(desk: Desk) -> None:
    for _ in range(3):
        desk.ingest.take([Message(batch_topic("gw-1"), b"junk", T0)])
    with desk.catalogue.transaction() as db:
        (row,) = db.execute("SELECT times, message FROM quarantine").fetchall()
    assert tuple(row) == (3, b"junk")
    assert desk.ingest.figures.quarantined == 3


def test_a_flood_of_rubbish_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headend.catalogue._KEPT_REFUSALS", 20)
    monkeypatch.setattr("headend.catalogue._KEPT_MESSAGES", 5)
    desk.ingest.take([Message(batch_topic("gw-1"), b"junk %d" % k, T0) for k in range(50)])
    with desk.catalogue.transaction() as db:
        kept = [row[0] for row in db.execute("SELECT message FROM quarantine ORDER BY id")]
    assert kept == [None] * 15 + [b"junk %d" % k for k in range(45, 50)]


def test_holes_are_asked_for_when_they_have_settled(desk: Desk) -> None:
    batches = [desk.batch(k) for k in range(10)]
    (ack,) = desk.ingest.take([batches[0], batches[4]])
    assert (ack.received, ack.wanted) == (((1, 1), (5, 5)), ()), "it may only be late"
    (ack,) = desk.ingest.take([batches[2]])
    assert ack.wanted == ()
    assert desk.ingest.overdue() == []
    desk.clock.advance(SETTLE_S)
    (ack,) = desk.ingest.overdue()
    assert ack.wanted == ((2, 2), (4, 4)), "what has stood since the first look"
    assert desk.ingest.overdue() == []
    desk.clock.advance(ASK_AGAIN_S)
    (ack,) = desk.ingest.overdue()
    assert ack.wanted == ((2, 2), (4, 4))
    (ack,) = desk.ingest.take([batches[1], batches[3]])
    assert (ack.received, ack.wanted) == (((1, 5),), ())
    desk.clock.advance(2 * ASK_AGAIN_S)
    assert [a.wanted for a in desk.ingest.overdue()] in ([], [()])


def test_what_is_declared_lost_is_no_hole(desk: Desk) -> None:
    first, _, third = (desk.batch(k) for k in range(3))
    desk.ingest.take([first, third])
    gone = desk.twin.seal(at_ns=T0, lost=[LostRange(desk.twin.epoch, 2, 2, "quota")])
    (ack,) = desk.ingest.take([desk.twin.message(gone)])
    assert ack.received == ((1, 4),)


def test_a_gateway_that_starts_learns_at_once_what_is_here(desk: Desk) -> None:
    desk.ingest.take([desk.batch(k) for k in range(3)])
    after = Ingest({"gw-1": desk.twin.public}, desk.store, desk.catalogue, desk.clock, desk.supervisor)
    hello = Message(health_topic("gw-1"), encode_health(Health("gw-1", desk.twin.epoch, "running", T0)), T0)
    (ack,) = after.take([hello])
    assert ack.received == ((1, 3),)
    assert after.take([hello]) == []
    assert desk.catalogue.health()["gw-1"][1].state == "running"


def ask(desk: Desk, *digests: int, gateway: str = "gw-1", epoch: str = "") -> Message:
    question = Ask(gateway, epoch or desk.twin.epoch, "n0nce", digests)
    return Message(ask_topic("gw-1"), encode_ask(question), T0)


def test_a_question_is_answered_with_what_is_held_and_the_digests_asked_for(desk: Desk) -> None:
    sealed = [desk.twin.seal(poll("m1", T0 + k * MINUTE, 100 + k, k)) for k in range(5)]
    desk.ingest.take([desk.twin.message(s) for s in (*sealed[:3], sealed[4])])
    (ack,) = desk.ingest.take([ask(desk, 2, 4, 77)])
    assert (ack.received, ack.answers) == (((1, 3), (5, 5)), "n0nce")
    assert ack.digests == ((2, sealed[1].digest), (5, sealed[4].digest)), "of the highest stored, and of those stored"
    (ack,) = desk.ingest.take([ask(desk, epoch="00000000000000bb")])
    assert (ack.received, ack.digests, ack.answers) == ((), (), "n0nce"), "an epoch never heard of is empty"


def test_the_highest_stored_number_is_named_though_higher_ones_were_declared_lost(desk: Desk) -> None:
    sealed = [desk.twin.seal(poll("m1", T0 + k * MINUTE, 100 + k, k)) for k in range(3)]
    lost = desk.twin.seal(at_ns=T0, lost=[LostRange(desk.twin.epoch, 5, 900, "regression")])
    desk.ingest.take([desk.twin.message(s) for s in (*sealed, lost)])
    (ack,) = desk.ingest.take([ask(desk)])
    assert ack.received == ((1, 900),)
    assert ack.digests == ((4, lost.digest),)


def test_what_is_refused_is_told_by_the_digest_of_its_bytes(desk: Desk) -> None:
    good = desk.batch()
    other = Twin()
    forged = other.seal(poll("m1", T0, 7, 7))
    desk.ingest.take([good, Message(good.topic, forged.message, T0), Message(good.topic, b"junk", T0)])
    told = desk.ingest.refusals()
    assert [(r.gateway, r.digest, r.reason) for r in told] == [
        ("gw-1", forged.digest, "signature"),
        ("gw-1", hashlib.sha256(b"junk").digest(), "magic"),
    ]
    assert desk.ingest.refusals() == []


def test_a_gateway_nobody_knows_is_told_so_when_it_asks(desk: Desk) -> None:
    question = encode_ask(Ask("gw-9", "00000000000000bb", "n0nce"))
    assert desk.ingest.take([Message(ask_topic("gw-9"), question, T0)]) == []
    (told,) = desk.ingest.refusals()
    assert (told.gateway, told.digest, told.reason) == ("gw-9", hashlib.sha256(question).digest(), "unknown-gateway")


def test_rubbish_on_other_topics_is_told_to_nobody_and_a_flood_is_not_answered_one_by_one(desk: Desk) -> None:
    desk.ingest.take([Message(health_topic("gw-1"), b"junk", T0), Message("ml1/up/gw-1/other", b"junk", T0)])
    assert desk.ingest.refusals() == []
    desk.ingest.take([Message(batch_topic("gw-1"), b"junk %d" % k, T0) for k in range(MOST_REFUSALS + 50)])
    assert len(desk.ingest.refusals()) == MOST_REFUSALS


def test_a_last_will_and_a_retained_word_are_no_sign_of_life(desk: Desk) -> None:
    gone = encode_health(Health("gw-1", desk.twin.epoch, "gone", T0))
    running = encode_health(Health("gw-1", desk.twin.epoch, "running", T0))
    desk.ingest.take(
        [Message(health_topic("gw-1"), gone, T0), Message(health_topic("gw-1"), running, T0, retained=True)]
    )
    assert desk.ingest.heard() == {}


# --- the ledger's arithmetic ----------------------------------------------------------------------------------------

SETS = st.sets(st.integers(1, 40))


def as_ranges(numbers: set[int]) -> tuple[tuple[int, int], ...]:
    return union(*(((n, n),) for n in numbers))


def as_set(ranges: tuple[tuple[int, int], ...]) -> set[int]:
    return {n for first, last in ranges for n in range(first, last + 1)}


@given(SETS, SETS)
def test_ranges_are_sets(one: set[int], other: set[int]) -> None:
    a, b = as_ranges(one), as_ranges(other)
    assert as_set(a) == one
    assert as_set(union(a, b)) == one | other
    assert as_set(intersection(a, b)) == one & other
    assert as_set(holes(a)) == set(range(1, max(one, default=0))) - one


def chain(count: int) -> list[Link]:
    digests = [bytes([k]) * 32 for k in range(1, count + 1)]
    return [Link(k + 1, digests[k - 1] if k else GENESIS, digests[k]) for k in range(count)]


@pytest.mark.parametrize("cut", range(7))
def test_a_chain_is_checked_across_every_seam(cut: int) -> None:
    links = chain(6)
    assert list(chain_breaks(links[:cut])) + list(chain_breaks(links[cut:], links[cut - 1] if cut else None)) == []
    links[3] = Link(4, links[3].prev, b"x" * 32)
    found = list(chain_breaks(links[:cut])) + list(chain_breaks(links[cut:], links[cut - 1] if cut else None))
    assert found == [ChainBreak(5, b"x" * 32, b"\x04" * 32)]


def test_the_first_of_an_epoch_has_no_predecessor_and_a_gap_breaks_nothing() -> None:
    assert list(chain_breaks([Link(1, b"y" * 32, b"z" * 32)])) == [ChainBreak(1, GENESIS, b"y" * 32)]
    links = chain(6)
    del links[2:4]
    assert list(chain_breaks(links)) == []
