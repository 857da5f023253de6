"""The signed batch: from polls to bytes and back.

The bytes are fixed when the batch is sealed; whoever stores, sends or proves it works on them, not on its contents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import orjson
import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from meterline.errors import WireError
from meterline.readings import ClockState, Column, Exchange, MissingSpan, Poll, Shape, Source
from meterline.wire import fields
from meterline.wire.fields import MS, folded, listed, short_text, stamp, unfolded
from meterline.wire.hours import MOST_HOURS, HourDigest, hour_body, read_hour
from meterline.wire.messages import Batch, LostRange, Sealed

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


class HasExchanges(Protocol):
    """A poll, or what is kept of one: its frames."""

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """In the order of the requests."""
        ...


def frames_digest(polls: Iterable[HasExchanges]) -> bytes:
    """SHA-256 over the raw frames of the polls: per exchange 4-byte lengths and bytes of request and response."""
    digest = hashlib.sha256()
    for poll in polls:
        for exchange in poll.exchanges:
            for part in (exchange.request, exchange.response):
                digest.update(len(part).to_bytes(4, "big"))
                digest.update(part)
    return digest.digest()


def seal(batch: Batch, key: Ed25519PrivateKey) -> Sealed:
    """Turn a batch into the bytes that are journalled, sent, resent and kept as evidence.

    Raises
    ------
    WireError
        ``json``: it holds a number that the contract cannot carry (more than 64 bits).
    """
    try:
        body = orjson.dumps(_body(batch))
    except TypeError as error:
        raise WireError("json", str(error)) from error
    packed = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(body)
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
        return _batch(orjson.loads(_unpack(message[HEADER:])), shapes if shapes is not None else ShapeCache())
    except orjson.JSONDecodeError as error:
        raise WireError("json", str(error)) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise WireError("schema", f"{type(error).__name__}: {error}"[:200]) from error


def hours_in(message: bytes) -> tuple[HourDigest, ...]:
    """Only the hours a verified message states, at a tenth of the cost of `unseal`.

    Raises
    ------
    WireError
        As `unseal`.
    """
    digest_of(message)
    try:
        return _hours(orjson.loads(_unpack(message[HEADER:])))
    except orjson.JSONDecodeError as error:
        raise WireError("json", str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WireError("schema", f"{type(error).__name__}: {error}"[:200]) from error


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


def _unpack(packed: bytes) -> bytes:
    try:
        announced = zstandard.frame_content_size(packed)
        if announced > MAX_BODY:  # the library would set aside whatever the frame announces
            raise WireError("size", f"the body announces {announced} bytes")
        return zstandard.ZstdDecompressor(max_window_size=1 << 23).decompress(
            packed, max_output_size=MAX_BODY, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise WireError("zstd", str(error)) from error


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
        "at": batch.at_ns // MS,
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
                "from": s.start_ns // MS,
                "to": None if s.end_ns is None else s.end_ns // MS,
                "cause": s.cause,
            }
            for s in batch.missing
        ]
    if batch.lost:
        body["lost"] = [{"epoch": r.epoch, "first": r.first, "last": r.last, "reason": r.reason} for r in batch.lost]
    if batch.redated_ms:
        body["redated"] = batch.redated_ms
    if batch.hours:
        body["hours"] = [hour_body(hour) for hour in batch.hours]
    return body


def _group(polls: Sequence[Poll]) -> dict[str, Any]:
    shape = polls[0].shape
    group: dict[str, Any] = {
        "profile": shape.profile,
        "measurands": [c.measurand for c in shape.columns],
        "exponents": folded([c.exponent for c in shape.columns]),
        "floats": folded([int(c.is_float) for c in shape.columns]),
        "requests": folded([c.request for c in shape.columns]),
        "meters": [p.meter for p in polls],
        "slots": folded([p.slot_ns // MS for p in polls]),
        "delays": [p.delays_ms for p in polls],
        "clocks": folded([int(p.clock) for p in polls]),
        "numbers": [list(column) for column in zip(*(p.numbers for p in polls), strict=True)],
    }
    if any(any(p.qualities) for p in polls):
        width = len(shape.columns)
        group["qualities"] = [folded(list(p.qualities or (0,) * width)) for p in polls]
    if any(p.source != Source.WIRE for p in polls):
        group["sources"] = folded([str(p.source) for p in polls])
    return group


def _batch(body: dict[str, Any], shapes: ShapeCache) -> Batch:
    if fields.whole(body["v"]) != VERSION:
        raise WireError("version", str(body["v"])[:20])
    polls: list[Poll] = []
    for group in listed(body["groups"]):
        polls += _polls(group, shapes)
    return Batch(
        gateway=short_text(body["gateway"]),
        epoch=fields.epoch_name(body["epoch"]),
        seq=fields.sequence(body["seq"]),
        prev=fields.digest(body["prev"]),
        at_ns=stamp(body["at"]),
        simulated=fields.truth(body.get("simulated", False)),
        polls=tuple(polls),
        missing=tuple(_span(span) for span in listed(body.get("missing", []))),
        lost=tuple(_lost(lost) for lost in listed(body.get("lost", []))),
        frames_sha256=fields.digest(body["frames"], may_be_empty=True),
        software=short_text(body["software"]),
        hours=_hours(body),
        redated_ms=fields.correction(body.get("redated", 0)),
    )


def _hours(body: dict[str, Any]) -> tuple[HourDigest, ...]:
    stated = listed(body.get("hours", []))
    if len(stated) > MOST_HOURS:
        raise ValueError(f"{len(stated)} hours stated at once")
    return tuple(read_hour(hour) for hour in stated)


def _span(body: dict[str, Any]) -> MissingSpan:
    start_ns = stamp(body["from"])
    end_ns = None if body["to"] is None else stamp(body["to"])
    if end_ns is not None and end_ns < start_ns:
        raise ValueError("a silence that ends before it begins")
    return MissingSpan(short_text(body["meter"]), start_ns, end_ns, short_text(body["cause"]))


def _lost(body: dict[str, Any]) -> LostRange:
    first, last = fields.sequence(body["first"]), fields.sequence(body["last"])
    if last < first:
        raise ValueError("a lost range that runs backwards")
    return LostRange(fields.epoch_name(body["epoch"]), first, last, short_text(body["reason"]))


def _polls(group: dict[str, Any], shapes: ShapeCache) -> list[Poll]:
    names, meters = listed(group["measurands"]), listed(group["meters"])
    width, count = len(names), len(meters)
    heads = tuple(
        (short_text(name), fields.exponent(exponent), fields.flag(is_float), fields.request(request))
        for name, exponent, is_float, request in zip(
            names,
            unfolded(group["exponents"], width),
            unfolded(group["floats"], width),
            unfolded(group["requests"], width),
            strict=True,
        )
    )
    shape = shapes.get(short_text(group["profile"]), heads)
    requests = shape.requests
    columns = listed(group["numbers"])
    if len(columns) != width or any(len(listed(column)) != count for column in columns):
        raise ValueError("numbers do not fit measurands and meters")
    for column, head in zip(columns, heads, strict=True):
        fields.numbers(column, floats=head[2])
    clean = (0,) * width
    qualities = [clean] * count
    if "qualities" in group:
        qualities = [
            tuple(fields.quality(bits) for bits in unfolded(row, width)) for row in unfolded(group["qualities"], count)
        ]
    sources = [Source(source) for source in unfolded(group.get("sources", "wire"), count)]
    clocks = [ClockState(fields.whole(clock)) for clock in unfolded(group["clocks"], count)]
    slots, delays = unfolded(group["slots"], count), listed(group["delays"])
    if len(delays) != count:
        raise ValueError("delays do not fit the meters")
    rows = zip(*columns, strict=True) if columns else iter([()] * count)
    polls: list[Poll] = []
    for i, numbers in enumerate(rows):
        doubt, delay = qualities[i], tuple(fields.delay(d) for d in listed(delays[i]))
        if len(delay) != requests:
            raise ValueError("delays do not fit the requests")
        for number, bits in zip(numbers, doubt, strict=True):
            if (number is None) != bool(bits & 3):
                raise ValueError("a number is absent exactly where it is MISSING or INVALID")
        polls.append(
            Poll(
                meter=short_text(meters[i]),
                shape=shape,
                slot_ns=stamp(slots[i]),
                delays_ms=delay,
                clock=clocks[i],
                numbers=numbers,
                qualities=doubt if any(doubt) else (),
                source=sources[i],
            )
        )
    return polls
