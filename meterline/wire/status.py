"""The small messages, all plain JSON: acknowledgement and refusal down, health and question up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from meterline.errors import WireError
from meterline.wire import fields
from meterline.wire.batch import MAX_MESSAGE, VERSION, digest_of
from meterline.wire.fields import MS, listed, short_text, stamp
from meterline.wire.messages import MOST_ASKED, Ack, Ask, Health, Refusal

T = TypeVar("T")


def encode_ack(ack: Ack) -> bytes:
    """The acknowledgement as JSON."""
    body: dict[str, Any] = {
        "v": VERSION,
        "gateway": ack.gateway,
        "epoch": ack.epoch,
        "received": ack.received,
        "wanted": ack.wanted,
        "at": ack.at_ns // MS,
    }
    if ack.digests:
        body["digests"] = [[seq, digest.hex()] for seq, digest in ack.digests]
    if ack.answers:
        body["answers"] = ack.answers
    return orjson.dumps(body)


def decode_ack(message: bytes) -> Ack:
    """Read an acknowledgement.

    Raises
    ------
    WireError
        Not one; ignore and count it.
    """

    def read(body: dict[str, Any]) -> Ack:
        return Ack(
            short_text(body["gateway"]),
            fields.epoch_name(body["epoch"]),
            fields.ranges(body["received"]),
            fields.ranges(body["wanted"]),
            stamp(body["at"]),
            tuple(
                (fields.sequence(seq), fields.digest(digest))
                for seq, digest in map(listed, listed(body.get("digests", [])))
            ),
            short_text(body.get("answers", "")),
        )

    return _json(message, read)


def encode_ask(ask: Ask) -> bytes:
    """The question as JSON."""
    return orjson.dumps(
        {"v": VERSION, "gateway": ask.gateway, "epoch": ask.epoch, "nonce": ask.nonce, "digests": ask.digests}
    )


def decode_ask(message: bytes) -> Ask:
    """Read a question.

    Raises
    ------
    WireError
        Not one.
    """

    def read(body: dict[str, Any]) -> Ask:
        wanted = listed(body["digests"])
        if len(wanted) > MOST_ASKED:
            raise ValueError(f"{len(wanted)} digests asked for at once")
        return Ask(
            short_text(body["gateway"]),
            fields.epoch_name(body["epoch"]),
            short_text(body["nonce"]),
            tuple(fields.sequence(seq) for seq in wanted),
        )

    return _json(message, read)


def refusal_digest(message: bytes) -> bytes:
    """What a refusal names a message by: its chain digest, or where it is no batch at all the SHA-256 of all of it."""
    try:
        return digest_of(message)
    except WireError:
        return hashlib.sha256(message).digest()


def encode_refusal(refusal: Refusal) -> bytes:
    """The refusal as JSON."""
    detail = "".join(c if c.isprintable() else " " for c in refusal.detail[:120])
    return orjson.dumps(
        {
            "v": VERSION,
            "gateway": refusal.gateway,
            "digest": refusal.digest.hex(),
            "reason": refusal.reason,
            "detail": detail,
        }
    )


def decode_refusal(message: bytes) -> Refusal:
    """Read a refusal.

    Raises
    ------
    WireError
        Not one; ignore and count it.
    """

    def read(body: dict[str, Any]) -> Refusal:
        return Refusal(
            short_text(body["gateway"]),
            fields.digest(body["digest"]),
            short_text(body["reason"]),
            short_text(body["detail"]),
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
            "at": health.at_ns // MS,
            "first_seq": health.first_seq,
            "next_seq": health.next_seq,
            "acked": health.acked,
            "software": health.software,
            "simulated": health.simulated,
            "figures": health.figures,
            "meters": {meter: [slot_ns // MS, cause] for meter, (slot_ns, cause) in health.meters.items()},
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
            gateway=short_text(body["gateway"]),
            epoch=fields.epoch_name(body["epoch"]),
            state=short_text(body["state"]),
            at_ns=stamp(body["at"]),
            first_seq=fields.count(body["first_seq"]),
            next_seq=fields.count(body["next_seq"]),
            acked=fields.count(body["acked"]),
            software=short_text(body["software"]),
            simulated=fields.truth(body["simulated"]),
            figures={short_text(name): fields.finite(value) for name, value in body["figures"].items()},
            meters={
                short_text(meter): (stamp(slot), short_text(cause))
                for meter, (slot, cause) in ((meter, listed(pair)) for meter, pair in body["meters"].items())
            },
            troubles=tuple(short_text(trouble) for trouble in listed(body["troubles"])),
        )

    return _json(message, read)


def _json(message: bytes, read: Callable[[dict[str, Any]], T]) -> T:
    if len(message) > MAX_MESSAGE:
        raise WireError("size", f"{len(message)} bytes")
    try:
        body = orjson.loads(message)
        if fields.whole(body["v"]) != VERSION:
            raise WireError("version", str(body["v"])[:20])
        return read(body)
    except orjson.JSONDecodeError as error:
        raise WireError("json", str(error)) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise WireError("schema", f"{type(error).__name__}: {error}"[:200]) from error
