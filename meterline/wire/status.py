"""The two small messages: the head-end's acknowledgement and the gateway's health, both plain JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from meterline.errors import WireError
from meterline.wire import fields
from meterline.wire.batch import MAX_MESSAGE, VERSION
from meterline.wire.fields import MS, listed, short_text, stamp
from meterline.wire.messages import Ack, Health

T = TypeVar("T")


def encode_ack(ack: Ack) -> bytes:
    """The acknowledgement as JSON."""
    return orjson.dumps(
        {
            "v": VERSION,
            "gateway": ack.gateway,
            "epoch": ack.epoch,
            "received": ack.received,
            "wanted": ack.wanted,
            "at": ack.at_ns // MS,
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
            short_text(body["gateway"]),
            fields.epoch_name(body["epoch"]),
            fields.ranges(body["received"]),
            fields.ranges(body["wanted"]),
            stamp(body["at"]),
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
