"""The one contract in which edge and head-end meet: topics, the signed batch, the acknowledgement, the health message.

A batch message is bytes, and stays those bytes for good, from the gateway's journal to the head-end's evidence::

    b"ML" | version 1 byte | flags 1 byte | Ed25519 signature 64 bytes | zstd frame of the JSON body

The signature covers ``b"meterline-batch-1\\n" + SHA-256(zstd frame)``; that SHA-256 is also what the next batch of the
epoch names as its ``prev``, so a journal, a store or an export can be checked without unpacking anything. The body is
described by ``docs/wire/batch-1.schema.json``; any third party can write it. Polls that share a `Shape` travel as one
group, column by column, which is where the size goes away (like digits stand together).

Integers stay integers, floats are the shortest decimal that reads back, times are milliseconds since 1970 UTC (a
nanosecond integer does not survive JavaScript).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from meterline.errors import WireError
from meterline.readings import ClockState, Column, MissingSpan, Number, Poll, Shape, Source

VERSION = 1
MAGIC = b"ML"
HEADER = 68
GENESIS = bytes(32)
"""`prev` of the first batch of an epoch."""
MAX_MESSAGE = 262_144
"""Largest batch message accepted. [bytes]"""
MAX_BODY = 4_194_304
"""Largest unpacked body; a small message that unpacks to more is an attack. [bytes]"""
MAX_READINGS = 500
"""A gateway starts the next batch here; ingest accepts more (a foreign sender may group otherwise)."""
_CONTEXT = b"meterline-batch-1\n"
_LEVEL = 3
_MS = 1_000_000

T = TypeVar("T")
Ranges = tuple[tuple[int, int], ...]
"""Sequence numbers as closed ranges, ascending, not touching: ``((1, 40), (43, 43))``."""


def batch_topic(gateway: str) -> str:
    """Where a gateway publishes its batches; readable by the head-end only."""
    return f"ml1/up/{gateway}/batch"


def health_topic(gateway: str) -> str:
    """Where a gateway says how it is (retained; its last will stands there too)."""
    return f"ml1/up/{gateway}/health"


def ack_topic(gateway: str) -> str:
    """Where the head-end tells a gateway what is in the store (retained: a restarted gateway learns it at once)."""
    return f"ml1/down/{gateway}/ack"


ALL_BATCHES = "ml1/up/+/batch"
ALL_HEALTH = "ml1/up/+/health"


def gateway_of(topic: str) -> str:
    """The gateway a topic belongs to.

    Raises
    ------
    WireError
        Not one of our topics.
    """
    parts = topic.split("/")
    if len(parts) != 4 or parts[0] != "ml1" or not parts[2]:
        raise WireError("topic", topic[:80])
    return parts[2]


@dataclass(frozen=True, slots=True)
class LostRange:
    """Sequence numbers that will never arrive, with the reason: the only alternative to being stored.

    Attributes
    ----------
    first, last
        Closed range of the epoch named.
    reason
        Short stable word: ``quota``, ``bitrot``, ``disk-full``, ``epoch-lost`` ...
    """

    epoch: str
    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One group commit of a gateway, numbered without gaps inside its epoch.

    Attributes
    ----------
    epoch
        16 hex digits, random, made with a fresh journal: a copied or restored journal cannot reuse numbers unseen.
    seq
        1, 2, 3 ... inside the epoch.
    prev
        SHA-256 of the batch before (see the module's head); `GENESIS` for the first.
    at_ns
        When the gateway formed it, UTC. [ns]
    frames_sha256
        Over the raw frames of all its polls in order (see `frames_digest`); the frames stay in the gateway's ring.
    """

    gateway: str
    epoch: str
    seq: int
    prev: bytes
    at_ns: int
    simulated: bool
    polls: tuple[Poll, ...] = ()
    missing: tuple[MissingSpan, ...] = ()
    lost: tuple[LostRange, ...] = ()
    frames_sha256: bytes = b""
    software: str = ""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch as bytes, with the digest the chain is made of."""

    epoch: str
    seq: int
    message: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """What the head-end holds of one gateway and epoch, after its store has committed it.

    Attributes
    ----------
    received
        Everything durably in the store, or recorded as lost.
    wanted
        Holes below the highest number received: send these again.
    """

    gateway: str
    epoch: str
    received: Ranges
    wanted: Ranges = ()
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """A gateway's word about itself, every few seconds and as its last will.

    Attributes
    ----------
    state
        ``running``, ``stopping`` or ``gone`` (the last will).
    first_seq, next_seq
        What the journal still holds: from the oldest batch it can resend up to (not including) the next one.
    acked
        Highest number below which everything is acknowledged.
    figures
        Named numbers: polls, time-outs, checksum errors, journal bytes, backlog ...
    meters
        Meter -> ``[last good slot in ms, cause of silence or ""]``.
    troubles
        What is wrong now, as short stable words with detail, such as ``journal-full``.
    """

    gateway: str
    epoch: str
    state: str
    at_ns: int
    first_seq: int = 0
    next_seq: int = 1
    acked: int = 0
    software: str = ""
    simulated: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    meters: dict[str, tuple[int, str]] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()


# --- the batch -----------------------------------------------------------------------------------------------------


def frames_digest(polls: Iterable[Poll]) -> bytes:
    """SHA-256 over the raw frames of the polls: per exchange 4-byte lengths and bytes of request and response."""
    digest = hashlib.sha256()
    for poll in polls:
        for exchange in poll.exchanges:
            for part in (exchange.request, exchange.response):
                digest.update(len(part).to_bytes(4, "big"))
                digest.update(part)
    return digest.digest()


def seal(batch: Batch, key: Ed25519PrivateKey) -> Sealed:
    """Turn a batch into the bytes that are journalled, sent, resent and kept as evidence."""
    packed = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(orjson.dumps(_body(batch)))
    digest = hashlib.sha256(packed).digest()
    signature = key.sign(_CONTEXT + digest)
    return Sealed(batch.epoch, batch.seq, MAGIC + bytes((VERSION, 0)) + signature + packed, digest)


def digest_of(message: bytes) -> bytes:
    """The chain digest of a message, without unpacking it.

    Raises
    ------
    WireError
        Too short, too long, not ours or of another version.
    """
    if len(message) > MAX_MESSAGE:
        raise WireError("size", f"{len(message)} bytes")
    if len(message) <= HEADER or message[:2] != MAGIC:
        raise WireError("magic", message[:4].hex())
    if message[2] != VERSION:
        raise WireError("version", f"{message[2]}, this software speaks {VERSION}")
    if message[3] != 0:
        raise WireError("version", f"unknown flags {message[3]:#04x}")
    return hashlib.sha256(memoryview(message)[HEADER:]).digest()


def verify(message: bytes, key: Ed25519PublicKey) -> bytes:
    """Check the signature and return the chain digest.

    Raises
    ------
    WireError
        ``signature`` where the key does not fit, else as `digest_of`.
    """
    digest = digest_of(message)
    try:
        key.verify(message[4:HEADER], _CONTEXT + digest)
    except InvalidSignature as error:
        raise WireError("signature", "was not made by this gateway's key") from error
    return digest


def unseal(message: bytes, shapes: ShapeCache | None = None) -> Batch:
    """Read a message whose signature has been verified.

    Parameters
    ----------
    shapes
        Makes equal column heads one object across messages; pass the same one for a stream.

    Raises
    ------
    WireError
        Anything that is not of the contract, with the reason ingest files it under.
    """
    digest_of(message)
    try:
        body = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompress(
            message[HEADER:], max_output_size=MAX_BODY
        )
    except zstandard.ZstdError as error:
        raise WireError("zstd", str(error)) from error
    if len(body) > MAX_BODY:
        raise WireError("size", "the body unpacks beyond the limit")
    try:
        return _batch(orjson.loads(body), shapes if shapes is not None else ShapeCache())
    except orjson.JSONDecodeError as error:
        raise WireError("json", str(error)) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise WireError("schema", f"{type(error).__name__}: {error}") from error


class ShapeCache:
    """Equal column heads become one object, so that a stream of batches does not build them again and again."""

    def __init__(self, most: int = 4096) -> None:
        self._shapes: dict[tuple[Any, ...], Shape] = {}
        self._most = most

    def get(self, profile: str, columns: tuple[tuple[str, int, bool, int], ...]) -> Shape:
        """The shape with these heads."""
        key = (profile, columns)
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= self._most:  # only a sender of garbage gets here
                self._shapes.clear()
            shape = self._shapes[key] = Shape(profile, tuple(Column(*column) for column in columns))
        return shape


def _body(batch: Batch) -> dict[str, Any]:
    groups: dict[str, list[Poll]] = {}
    for poll in batch.polls:
        groups.setdefault(poll.shape.id, []).append(poll)
    body: dict[str, Any] = {
        "v": VERSION,
        "gateway": batch.gateway,
        "epoch": batch.epoch,
        "seq": batch.seq,
        "prev": batch.prev.hex(),
        "at": batch.at_ns // _MS,
        "software": batch.software,
        "frames": batch.frames_sha256.hex(),
        "groups": [_group(polls) for polls in groups.values()],
    }
    if batch.simulated:
        body["simulated"] = True
    if batch.missing:
        body["missing"] = [
            {
                "meter": s.meter,
                "from": s.start_ns // _MS,
                "to": None if s.end_ns is None else s.end_ns // _MS,
                "cause": s.cause,
            }
            for s in batch.missing
        ]
    if batch.lost:
        body["lost"] = [{"epoch": r.epoch, "first": r.first, "last": r.last, "reason": r.reason} for r in batch.lost]
    return body


def _group(polls: Sequence[Poll]) -> dict[str, Any]:
    shape = polls[0].shape
    group: dict[str, Any] = {
        "profile": shape.profile,
        "measurands": [c.measurand for c in shape.columns],
        "exponents": _folded([c.exponent for c in shape.columns]),
        "floats": _folded([int(c.is_float) for c in shape.columns]),
        "requests": _folded([c.request for c in shape.columns]),
        "meters": [p.meter for p in polls],
        "slots": _folded([p.slot_ns // _MS for p in polls]),
        "delays": [p.delays_ms for p in polls],
        "clocks": _folded([int(p.clock) for p in polls]),
        "numbers": [list(column) for column in zip(*(p.numbers for p in polls), strict=True)],
    }
    if any(any(p.qualities) for p in polls):
        width = len(shape.columns)
        group["qualities"] = [_folded(list(p.qualities or (0,) * width)) for p in polls]
    if any(p.source != Source.WIRE for p in polls):
        group["sources"] = _folded([str(p.source) for p in polls])
    return group


def _folded(items: list[Any]) -> Any:
    """A list whose items are all alike is written as that item."""
    return items[0] if items and all(item == items[0] for item in items) else items


def _unfolded(value: Any, length: int) -> list[Any]:
    if not isinstance(value, list):
        return [value] * length
    if len(value) != length:
        raise ValueError(f"{len(value)} items where {length} belong")
    return value


def _batch(body: dict[str, Any], shapes: ShapeCache) -> Batch:
    if body["v"] != VERSION:
        raise WireError("version", str(body["v"])[:20])
    epoch, seq, prev = body["epoch"], body["seq"], bytes.fromhex(body["prev"])
    if not (isinstance(epoch, str) and len(epoch) == 16 and int(epoch, 16) >= 0):
        raise ValueError("epoch")
    if not (_whole(seq) and 0 < seq < 1 << 63):
        raise ValueError("seq")
    if len(prev) != 32:
        raise ValueError("prev")
    polls: list[Poll] = []
    for group in body["groups"]:
        polls += _polls(group, shapes)
    return Batch(
        gateway=_text(body["gateway"]),
        epoch=epoch,
        seq=seq,
        prev=prev,
        at_ns=_stamp(body["at"]),
        simulated=body.get("simulated", False) is True,
        polls=tuple(polls),
        missing=tuple(
            MissingSpan(
                _text(s["meter"]), _stamp(s["from"]), None if s["to"] is None else _stamp(s["to"]), _text(s["cause"])
            )
            for s in body.get("missing", ())
        ),
        lost=tuple(
            LostRange(_text(r["epoch"]), int(r["first"]), int(r["last"]), _text(r["reason"])) for r in body.get("lost", ())
        ),
        frames_sha256=bytes.fromhex(body["frames"]),
        software=_text(body["software"]),
    )  # fmt: skip


def _polls(group: dict[str, Any], shapes: ShapeCache) -> list[Poll]:
    names, meters = group["measurands"], group["meters"]
    width, count = len(names), len(meters)
    heads = tuple(
        (_text(name), _small(exponent), bool(is_float), _small(request))
        for name, exponent, is_float, request in zip(
            names,
            _unfolded(group["exponents"], width),
            _unfolded(group["floats"], width),
            _unfolded(group["requests"], width),
            strict=True,
        )
    )
    shape = shapes.get(_text(group["profile"]), heads)
    requests = shape.requests
    if min((head[3] for head in heads), default=0) < 0:
        raise ValueError("requests")
    columns = group["numbers"]
    if len(columns) != width or any(len(column) != count for column in columns):
        raise ValueError("numbers do not fit measurands and meters")
    for column in columns:
        _numbers(column)
    qualities: list[Any] = [(0,) * width] * count
    if "qualities" in group:
        qualities = [tuple(_unfolded(row, width)) for row in _unfolded(group["qualities"], count)]
    sources = [Source(s) for s in _unfolded(group.get("sources", "wire"), count)]
    clocks = [ClockState(c) for c in _unfolded(group["clocks"], count)]
    slots, delays = _unfolded(group["slots"], count), group["delays"]
    if len(delays) != count:
        raise ValueError("delays")
    rows = zip(*columns, strict=True) if columns else iter([()] * count)
    polls: list[Poll] = []
    for i, numbers in enumerate(rows):
        doubt, delay = qualities[i], tuple(delays[i])
        if len(delay) != requests or not all(_whole(d) for d in delay):
            raise ValueError("delays do not fit the requests")
        for number, bits in zip(numbers, doubt, strict=True):
            if (number is None) != bool(bits & 3):
                raise ValueError("a number is absent exactly where it is MISSING or INVALID")
        polls.append(
            Poll(
                meter=_text(meters[i]),
                shape=shape,
                slot_ns=_stamp(slots[i]),
                delays_ms=delay,
                clock=clocks[i],
                numbers=numbers,
                qualities=doubt if any(doubt) else (),
                source=sources[i],
            )
        )
    return polls


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _small(value: Any) -> int:
    if not _whole(value) or abs(value) > 1000:
        raise ValueError(f"{str(value)[:20]} is no small whole number")
    return int(value)


def _stamp(value: Any) -> int:
    # Beyond the year 2200 (or before 1970) nanoseconds leave 64 bits; a meter cannot mean it.
    if not _whole(value) or not 0 <= value < 7_258_118_400_000:
        raise ValueError(f"{str(value)[:20]} is no time in milliseconds")
    return int(value) * _MS


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 120 or not value.isprintable():
        raise ValueError(f"{str(value)[:20]!r} is no short text")
    return value


def _numbers(column: list[Number | None]) -> None:
    for number in column:
        if number is None or isinstance(number, float):
            if number is not None and not math.isfinite(number):
                raise ValueError("not finite")
        elif not _whole(number) or not -(1 << 63) <= number < 1 << 63:
            raise ValueError(f"{str(number)[:20]} is no number")


# --- acknowledgement and health ------------------------------------------------------------------------------------


def encode_ack(ack: Ack) -> bytes:
    """The acknowledgement as JSON."""
    return orjson.dumps(
        {
            "v": VERSION,
            "gateway": ack.gateway,
            "epoch": ack.epoch,
            "received": ack.received,
            "wanted": ack.wanted,
            "at": ack.at_ns // _MS,
        }
    )


def decode_ack(message: bytes) -> Ack:
    """Read an acknowledgement.

    Raises
    ------
    WireError
        Not one; ignore and count it.
    """

    def read(body: dict[str, Any]) -> Ack:
        return Ack(
            _text(body["gateway"]),
            _text(body["epoch"]),
            _ranges(body["received"]),
            _ranges(body["wanted"]),
            _stamp(body["at"]),
        )

    return _json(message, read)


def encode_health(health: Health) -> bytes:
    """The health message as JSON."""
    return orjson.dumps(
        {
            "v": VERSION,
            "gateway": health.gateway,
            "epoch": health.epoch,
            "state": health.state,
            "at": health.at_ns // _MS,
            "first_seq": health.first_seq,
            "next_seq": health.next_seq,
            "acked": health.acked,
            "software": health.software,
            "simulated": health.simulated,
            "figures": health.figures,
            "meters": {meter: [slot_ns // _MS, cause] for meter, (slot_ns, cause) in health.meters.items()},
            "troubles": health.troubles,
        }
    )


def decode_health(message: bytes) -> Health:
    """Read a health message.

    Raises
    ------
    WireError
        Not one.
    """

    def read(body: dict[str, Any]) -> Health:
        return Health(
            gateway=_text(body["gateway"]),
            epoch=_text(body["epoch"]),
            state=_text(body["state"]),
            at_ns=_stamp(body["at"]),
            first_seq=int(body["first_seq"]),
            next_seq=int(body["next_seq"]),
            acked=int(body["acked"]),
            software=_text(body["software"]),
            simulated=body["simulated"] is True,
            figures={_text(name): float(value) for name, value in body["figures"].items()},
            meters={_text(m): (_stamp(slot), _text(cause)) for m, (slot, cause) in body["meters"].items()},
            troubles=tuple(_text(trouble) for trouble in body["troubles"]),
        )

    return _json(message, read)


def _json(message: bytes, read: Callable[[dict[str, Any]], T]) -> T:
    if len(message) > MAX_MESSAGE:
        raise WireError("size", f"{len(message)} bytes")
    try:
        body = orjson.loads(message)
        if body["v"] != VERSION:
            raise WireError("version", str(body["v"])[:20])
        return read(body)
    except orjson.JSONDecodeError as error:
        raise WireError("json", str(error)) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise WireError("schema", f"{type(error).__name__}: {error}") from error


def _ranges(value: Any) -> Ranges:
    ranges = tuple((int(first), int(last)) for first, last in value)
    if any(not 0 < first <= last for first, last in ranges):
        raise ValueError("range")
    return ranges
