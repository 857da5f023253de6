"""The contract: what goes in comes out, what is not of it is refused with a reason, and the page tells all of it."""

from __future__ import annotations

import copy
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from meterline.errors import WireError
from meterline.readings import ClockState, Column, Exchange, MissingSpan, Poll, Quality, Shape, Source
from meterline.wire import (
    GENESIS,
    HEADER,
    MAX_BODY,
    MAX_MESSAGE,
    Ack,
    Ask,
    Batch,
    Health,
    HourDigest,
    LostRange,
    Refusal,
    ShapeCache,
    ack_topic,
    ask_topic,
    batch_topic,
    decode_ack,
    decode_ask,
    decode_health,
    decode_refusal,
    digest_of,
    encode_ack,
    encode_ask,
    encode_health,
    encode_refusal,
    frames_digest,
    gateway_of,
    health_topic,
    refusal_digest,
    refused_topic,
    seal,
    unseal,
    verify,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DOCS = Path(__file__).resolve().parents[2] / "docs"
MS = 1_000_000
E = "00112233445566ff"


def schema_text(name: str) -> Any:
    return json.loads((DOCS / "wire" / f"{name}-1.schema.json").read_text(encoding="utf-8"))


def schema(name: str) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema_text(name))
    return Draft202012Validator(schema_text(name))


BATCH_SCHEMA, ACK_SCHEMA, HEALTH_SCHEMA = schema("batch"), schema("ack"), schema("health")

# --- what may be said -------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), max_size=20)
TIME_NS = st.integers(0, 7_258_118_399_999).map(lambda ms: ms * MS)
INTEGER = st.integers(-(1 << 63), (1 << 63) - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
COLUMN = st.builds(Column, TEXT, st.integers(-30, 30), st.booleans(), st.integers(0, 3))
SHAPE = st.builds(Shape, TEXT, st.lists(COLUMN, min_size=1, max_size=5).map(tuple))
CLEAN_BITS = st.sampled_from([0, 4, 8, 4 | 32, 1024])
EMPTY_BITS = st.sampled_from([1, 2, 3, 2 | 4])


HOURS = st.builds(
    lambda hour, first, count, digest, readings, advance: HourDigest(
        E, hour * 3_600_000 * MS, first, first + count, digest, readings, advance
    ),
    st.integers(0, 500_000), st.integers(1, 1 << 62), st.integers(0, 3600), st.binary(min_size=32, max_size=32),
    st.integers(0, 1 << 40), INTEGER,
)  # fmt: skip


@st.composite
def polls(draw: st.DrawFn, shape: Shape) -> Poll:
    qualities = tuple(draw(CLEAN_BITS | EMPTY_BITS) for _ in shape.columns)
    numbers = tuple(
        None if bits & 3 else draw(FLOAT if column.is_float else INTEGER)
        for column, bits in zip(shape.columns, qualities, strict=True)
    )
    return Poll(
        meter=draw(TEXT),
        shape=shape,
        slot_ns=draw(TIME_NS),
        delays_ms=tuple(draw(st.integers(-5000, 86_400_000)) for _ in range(shape.requests)),
        clock=draw(st.sampled_from(ClockState)),
        numbers=numbers,
        qualities=qualities if any(qualities) else (),
        source=draw(st.sampled_from(Source)),
    )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    shapes = draw(st.lists(SHAPE, max_size=3, unique_by=lambda shape: shape.id))
    grouped = [poll for shape in shapes for poll in draw(st.lists(polls(shape), min_size=1, max_size=4))]
    first = draw(st.integers(1, 1 << 62))
    start = draw(TIME_NS)
    return Batch(
        gateway=draw(TEXT),
        epoch=draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        seq=draw(st.integers(1, (1 << 63) - 1)),
        prev=draw(st.binary(min_size=32, max_size=32)),
        at_ns=draw(TIME_NS),
        simulated=draw(st.booleans()),
        polls=tuple(grouped),
        missing=draw(st.just(()) | st.just((MissingSpan("m1", start, draw(st.none() | st.just(start)), "silent"),))),
        lost=draw(st.just(()) | st.just((LostRange(E, first, first + 3, "quota"),))),
        frames_sha256=draw(st.just(b"") | st.binary(min_size=32, max_size=32)),
        software=draw(TEXT),
        hours=tuple(draw(st.lists(HOURS, max_size=2))),
        redated_ms=draw(st.just(0) | st.integers(-(10**12), 10**12)),
    )


def body_of(message: bytes) -> Any:
    return json.loads(zstandard.ZstdDecompressor().decompress(message[HEADER:]))


def message_of(body: Any) -> bytes:
    """A message with a body of our choice; its signature is nobody's business here."""
    return b"ML\x01\x00" + bytes(64) + zstandard.ZstdCompressor().compress(json.dumps(body).encode())


def example() -> Batch:
    """Two shapes, doubt, silence, loss: every key of the schema."""
    one = Shape("a@1", (Column("voltage.l1n", 0, is_float=True), Column("energy.active.import", -2, request=1)))
    two = Shape("b@2", (Column("power.active.total", -3),))
    return Batch(
        "gw1", E, 7, bytes(31) + b"\1", 1_795_392_061_000 * MS, True,
        (
            Poll("m1", one, 1_795_392_060_000 * MS, (21, 43), ClockState.SYNCED, (230.1, 1234567)),
            Poll("m2", one, 1_795_392_060_000 * MS, (22, 44), ClockState.UNSYNCED, (229.8, None), (0, 2)),
            Poll("m3", two, 1_795_392_000_000 * MS, (5,), ClockState.STEPPED, (-7,), (4,), Source.METER_MEMORY),
        ),
        (MissingSpan("m4", 1_795_392_000_000 * MS, None, "silent"), MissingSpan("m5", 0, MS, "garbled")),
        (LostRange(E, 3, 4, "quota"),),
        bytes(32),
        "meterline 0.1.0",
        (HourDigest(E, 1_795_388_400_000 * MS, 1, 6, bytes(range(32)), 900, 12_340_000),),
        1_795_392_000_000,
    )  # fmt: skip


# --- batch ------------------------------------------------------------------------------------------------------------


@given(batches())
def test_a_batch_reads_back_as_it_was(batch: Batch) -> None:
    sealed = seal(batch, KEY)
    assert unseal(sealed.message) == batch
    assert verify(sealed.message, KEY.public_key()) == sealed.digest == digest_of(sealed.message)


@given(batches())
def test_every_batch_fits_the_schema(batch: Batch) -> None:
    BATCH_SCHEMA.validate(body_of(seal(batch, KEY).message))


def test_the_example_uses_every_key_of_the_schema() -> None:
    body = body_of(seal(example(), KEY).message)
    assert set(body) == set(schema_text("batch")["properties"])
    used = {key for group in body["groups"] for key in group}
    assert used == set(schema_text("batch")["$defs"]["group"]["properties"])


def test_polls_come_back_grouped_by_shape() -> None:
    batch = example()
    mixed = Batch(
        **{**{f: getattr(batch, f) for f in Batch.__slots__}, "polls": (batch.polls[0], batch.polls[2], batch.polls[1])}
    )
    assert unseal(seal(mixed, KEY).message).polls == batch.polls


def test_one_shape_object_for_a_stream() -> None:
    cache = ShapeCache()
    message = seal(example(), KEY).message
    assert unseal(message, cache).polls[0].shape is unseal(message, cache).polls[1].shape


def test_the_page_is_enough_to_write_a_batch() -> None:
    """Built from docs/wire-contract.md with json, hashlib, zstandard and a signature: none of our code."""
    page = (DOCS / "wire-contract.md").read_text(encoding="utf-8")
    body = json.loads(
        page.split("```json\n", 1)[1].split("```", 1)[0].replace("5f…", "5f" * 32).replace("ab…", "ab" * 32)
    )
    frame = zstandard.ZstdCompressor(level=19).compress(json.dumps(body, indent=1).encode())
    digest = hashlib.sha256(frame).digest()
    message = b"ML" + bytes((1, 0)) + KEY.sign(b"meterline-batch-1\n" + digest) + frame
    assert verify(message, KEY.public_key()) == digest
    batch = unseal(message)
    assert (batch.gateway, batch.epoch, batch.seq, batch.prev) == ("gw1", E, 7, b"\x5f" * 32)
    first, second = batch.polls
    assert [(r.measurand, str(r.value), r.read_ns) for r in first.readings()] == [
        ("voltage.l1n", "230.1", 1_795_392_060_021 * MS),
        ("energy.active.import", "12345.67", 1_795_392_060_021 * MS),
    ]
    assert [(r.value, r.quality) for r in second.readings()][1] == (None, Quality.INVALID)
    assert batch.missing == (MissingSpan("m3", 1_795_392_000_000 * MS, None, "silent"),)
    assert batch.lost == (LostRange(E, 3, 4, "quota"),)
    assert not batch.simulated
    BATCH_SCHEMA.validate(body)


def test_frames_are_hashed_part_by_part() -> None:
    exchange = Exchange(b"\x01\x04", b"\x01\x04\x02\x08\xfc", 1, 2)
    poll = Poll("m1", Shape("a@1", ()), 0, (), ClockState.SYNCED, (), exchanges=(exchange,))
    expected = hashlib.sha256(b"\0\0\0\x02\x01\x04" + b"\0\0\0\x05\x01\x04\x02\x08\xfc").digest()
    assert frames_digest([poll]) == expected
    assert bytes(32) == GENESIS


# --- what is refused --------------------------------------------------------------------------------------------------


def reason(call: Any, *arguments: Any) -> str:
    with pytest.raises(WireError) as caught:
        call(*arguments)
    return caught.value.reason


@given(st.data())
def test_one_changed_byte_breaks_the_signature(data: st.DataObject) -> None:
    message = bytearray(seal(example(), KEY).message)
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] ^= data.draw(st.integers(1, 255))
    assert reason(verify, bytes(message), KEY.public_key()) in {"signature", "magic", "version"}


def test_each_kind_of_wrong_has_its_reason() -> None:
    message = seal(example(), KEY).message
    assert reason(unseal, b"") == "magic"
    assert reason(unseal, b"XX" + message[2:]) == "magic"
    assert reason(unseal, message[:HEADER]) == "magic"
    assert reason(unseal, b"ML\x02" + message[3:]) == "version"
    assert reason(unseal, b"ML\x01\x01" + message[4:]) == "version"
    assert reason(unseal, message + bytes(MAX_MESSAGE)) == "size"
    assert reason(unseal, message[:-4]) == "zstd"
    assert reason(unseal, message + b"x") == "zstd"
    assert reason(unseal, message + message[HEADER:]) == "zstd"
    assert reason(unseal, message_of({**body_of(message), "v": 2})) == "version"
    assert reason(unseal, message[:HEADER] + zstandard.ZstdCompressor().compress(b"{")) == "json"
    assert reason(verify, message, Ed25519PrivateKey.generate().public_key()) == "signature"


def test_a_small_message_that_unpacks_to_a_giant_is_refused() -> None:
    honest = zstandard.ZstdCompressor().compress(b" " * (MAX_BODY + 1))
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(b" " * (MAX_BODY + 1))
    assert reason(unseal, b"ML\x01\x00" + bytes(64) + honest) == "size"
    assert reason(unseal, b"ML\x01\x00" + bytes(64) + silent) in {"size", "zstd"}


def test_a_number_no_message_can_carry_is_refused_when_sealing() -> None:
    poll = Poll("m1", Shape("a@1", (Column("x", 0),)), 0, (1,), ClockState.SYNCED, (1 << 64,))
    assert reason(seal, Batch("gw1", E, 1, GENESIS, 0, False, (poll,)), KEY) == "json"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("epoch",), "00112233445566F"),
        (("epoch",), "0x112233445566ff"),
        (("epoch",), "00112233445566FF"),
        (("seq",), 0),
        (("seq",), True),
        (("seq",), 1.0),
        (("prev",), "5f 5f"),
        (("at",), -1),
        (("at",), 1e12),
        (("gateway",), "gw\n1"),
        (("gateway",), "x" * 121),
        (("groups",), {}),
        (("groups", 0, "measurands"), "ab"),
        (("groups", 0, "meters"), "ab"),
        (("groups", 0, "exponents"), [0]),
        (("groups", 0, "exponents"), 31),
        (("groups", 0, "floats"), 2),
        (("groups", 0, "requests"), -1),
        (("groups", 0, "delays"), [[21, 43]]),
        (("groups", 0, "delays", 0), [21]),
        (("groups", 0, "delays", 0, 0), 1 << 60),
        (("groups", 0, "clocks"), 9),
        (("groups", 0, "clocks"), False),
        (("groups", 0, "numbers", 0), [230.1]),
        (("groups", 0, "numbers", 0, 0), "230.1"),
        (("groups", 0, "numbers", 1, 0), 0.5),
        (("groups", 0, "numbers", 1, 0), None),
        (("groups", 0, "numbers", 1, 0), 1 << 63),
        (("groups", 0, "qualities", 1), 0),
        (("groups", 0, "qualities", 0), -4),
        (("groups", 1, "sources"), "hearsay"),
        (("missing", 1, "to"), -5),
        (("missing", 0, "from"), None),
        (("lost", 0, "first"), "3"),
        (("lost", 0, "last"), 2),
        (("frames",), "ab"),
        (("hours", 0, "first"), 7),
        (("hours", 0, "hour"), 1_795_388_400_001),
        (("hours", 0, "digest"), "00"),
        (("hours", 0, "readings"), -1),
        (("hours", 0, "advance"), 1 << 63),
    ],
)
def test_a_field_that_is_not_of_the_contract_is_refused(place: tuple[Any, ...], value: Any) -> None:
    body = body_of(seal(example(), KEY).message)
    unseal(message_of(body))
    spot = body
    for step in place[:-1]:
        spot = spot[step]
    spot[place[-1]] = value
    assert reason(unseal, message_of(body)) == "schema"


def spots(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path] * bool(path) + [spot for key, child in items for spot in spots(child, (*path, key))]


EXAMPLE_BODY = body_of(seal(example(), KEY).message)
ODD = st.sampled_from(
    [None, True, False, 0, 1, 2, -1, 3.5, 1e300, 1 << 62, "", "x", "wire", [], {}, [1], [[1, 2]], {"a": 1}]
)


@settings(max_examples=400)
@given(st.sampled_from(spots(EXAMPLE_BODY)), ODD, st.booleans())
def test_what_the_schema_refuses_we_refuse(path: tuple[Any, ...], odd: Any, delete: bool) -> None:
    body = copy.deepcopy(EXAMPLE_BODY)
    spot = body
    for step in path[:-1]:
        spot = spot[step]
    if delete:
        del spot[path[-1]]
    else:
        spot[path[-1]] = odd
    try:
        unseal(message_of(body))
    except WireError:
        return
    assert BATCH_SCHEMA.is_valid(body), f"the schema refuses {path} = {odd!r}, the code takes it"


JSON = st.recursive(
    st.none() | st.booleans() | INTEGER | FLOAT | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200), JSON)
def test_nothing_but_a_wire_error_ever_comes_out(noise: bytes, body: Any) -> None:
    messages = [noise, b"ML\x01\x00" + noise, message_of(body), message_of({**EXAMPLE_BODY, "groups": [body]})]
    for message in messages:
        for read in (unseal, decode_ack, decode_health, decode_ask, decode_refusal):
            with suppress(WireError):  # anything else fails the test
                read(message)
    for text in (json.dumps(body).encode(), json.dumps({"v": 1, "received": body, "figures": body}).encode()):
        for read in (decode_ack, decode_health, decode_ask, decode_refusal):
            with pytest.raises(WireError):
                read(text)


def test_deep_nesting_is_refused() -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    assert reason(unseal, b"ML\x01\x00" + bytes(64) + zstandard.ZstdCompressor().compress(deep)) == "json"
    assert reason(decode_ack, b"[" * 100_000) == "json"


# --- acknowledgement, health, topics ----------------------------------------------------------------------------------


@st.composite
def range_lists(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    steps = draw(st.lists(st.tuples(st.integers(2, 50), st.integers(0, 50)), max_size=6))
    found, at = [], -1
    for skip, length in steps:
        first = at + skip
        at = first + length
        found.append((first, at))
    return tuple(found)


@given(TEXT, range_lists(), range_lists(), TIME_NS)
def test_an_acknowledgement_reads_back_and_fits_its_schema(
    gateway: str, received: tuple[tuple[int, int], ...], wanted: tuple[tuple[int, int], ...], at_ns: int
) -> None:
    plain = Ack(gateway, E, received, wanted, at_ns)
    answer = Ack(gateway, E, received, wanted, at_ns, tuple((first, bytes(32)) for first, _ in received), "n0nce")
    for ack in (plain, answer):
        assert decode_ack(encode_ack(ack)) == ack
        ACK_SCHEMA.validate(json.loads(encode_ack(ack)))


@given(TEXT, st.lists(st.integers(1, (1 << 63) - 1), max_size=64).map(tuple))
def test_a_question_reads_back_and_fits_its_schema(gateway: str, numbers: tuple[int, ...]) -> None:
    question = Ask(gateway, E, "n0nce", numbers)
    assert decode_ask(encode_ask(question)) == question
    schema("ask").validate(json.loads(encode_ask(question)))


def test_a_question_for_too_much_is_refused() -> None:
    assert reason(decode_ask, encode_ask(Ask("gw1", E, "n0nce", tuple(range(1, 66))))) == "schema"


@given(TEXT, TEXT, st.binary(min_size=32, max_size=32))
def test_a_refusal_reads_back_and_fits_its_schema(gateway: str, detail: str, digest: bytes) -> None:
    refusal = Refusal(gateway, digest, "schema", detail)
    assert decode_refusal(encode_refusal(refusal)) == refusal
    schema("refused").validate(json.loads(encode_refusal(refusal)))


def test_a_refusal_carries_no_control_characters_and_no_novel() -> None:
    told = decode_refusal(encode_refusal(Refusal("gw1", bytes(32), "schema", "a\nb" + "x" * 500)))
    assert told.detail.startswith("a bx")
    assert len(told.detail) == 120


def test_a_refusal_names_exactly_these_bytes() -> None:
    message = seal(Batch("gw1", E, 1, GENESIS, 5 * MS, False), KEY)
    assert refusal_digest(message.message) == message.digest
    assert refusal_digest(b"junk") == hashlib.sha256(b"junk").digest()


@pytest.mark.parametrize(
    "ranges", [[[3, 2]], [[0, 2]], [[1, 2], [3, 4]], [[5, 6], [1, 2]], [[1]], [[1, 2, 3]], ["12"], 5, [[True, 2]]]
)
def test_ranges_that_are_none_are_refused(ranges: Any) -> None:
    body = {"v": 1, "gateway": "gw1", "epoch": E, "received": ranges, "wanted": [], "at": 0}
    assert reason(decode_ack, json.dumps(body).encode()) == "schema"


@given(
    st.dictionaries(TEXT, FLOAT, max_size=4),
    st.dictionaries(TEXT, st.tuples(TIME_NS, TEXT), max_size=4),
    st.lists(TEXT, max_size=3).map(tuple),
    st.integers(0, 1 << 62),
)
def test_health_reads_back_and_fits_its_schema(
    figures: dict[str, float], meters: dict[str, tuple[int, str]], troubles: tuple[str, ...], seq: int
) -> None:
    health = Health("gw1", E, "running", 5 * MS, seq, seq + 1, seq, "meterline", True, figures, meters, troubles)
    assert decode_health(encode_health(health)) == health
    HEALTH_SCHEMA.validate(json.loads(encode_health(health)))


@pytest.mark.parametrize("make", [batch_topic, health_topic, ack_topic, ask_topic, refused_topic])
def test_topics_name_their_gateway(make: Any) -> None:
    assert gateway_of(make("gw-7")) == "gw-7"


@pytest.mark.parametrize(
    "topic", ["", "ml1/up", "ml1/up//batch", "ml2/up/gw1/batch", "ml1/up/gw1/batch/x", "$SYS/broker/a/b"]
)
def test_other_topics_are_none_of_ours(topic: str) -> None:
    assert reason(gateway_of, topic) == "topic"
