r"""The one contract in which edge and head-end meet: topics, signed batch, acknowledgement, health message.

A batch message is bytes, and stays those bytes for good, from the gateway's journal to the head-end's evidence::

    b"ML" | version 1 byte | flags 1 byte | Ed25519 signature 64 bytes | zstd frame of the JSON body

The signature covers ``b"meterline-batch-1\n" + SHA-256(zstd frame)``; that SHA-256 is also what the next batch of the
epoch names as its ``prev``, so a journal, a store or an export can be checked without unpacking anything. The body is
described by ``docs/wire/batch-1.schema.json``; any third party can write it. Polls that share a `Shape` travel as one
group, column by column, which is where the size goes away (like digits stand together).

Integers stay integers, floats are the shortest decimal that reads back, times are milliseconds since 1970 UTC (a
nanosecond integer does not survive JavaScript). What cannot be read is a `WireError` with a short stable reason, and
never another exception.
"""

from __future__ import annotations

from meterline.ranges import Ranges
from meterline.wire.batch import (
    GENESIS,
    HEADER,
    MAGIC,
    MAX_BODY,
    MAX_MESSAGE,
    MAX_READINGS,
    VERSION,
    ShapeCache,
    digest_of,
    frames_digest,
    hours_in,
    seal,
    unseal,
    verify,
)
from meterline.wire.hours import HOUR_NS, MOST_HOURS, HourDigest, HourTally, hour_of
from meterline.wire.messages import MOST_ASKED, Ack, Ask, Batch, Health, LostRange, Refusal, Sealed
from meterline.wire.status import (
    decode_ack,
    decode_ask,
    decode_health,
    decode_refusal,
    encode_ack,
    encode_ask,
    encode_health,
    encode_refusal,
    refusal_digest,
)
from meterline.wire.topics import (
    ALL_ASKS,
    ALL_BATCHES,
    ALL_HEALTH,
    ack_topic,
    ask_topic,
    batch_topic,
    gateway_of,
    health_topic,
    refused_topic,
)

__all__ = [
    "ALL_ASKS",
    "ALL_BATCHES",
    "ALL_HEALTH",
    "GENESIS",
    "HEADER",
    "HOUR_NS",
    "MAGIC",
    "MAX_BODY",
    "MAX_MESSAGE",
    "MAX_READINGS",
    "MOST_ASKED",
    "MOST_HOURS",
    "VERSION",
    "Ack",
    "Ask",
    "Batch",
    "Health",
    "HourDigest",
    "HourTally",
    "LostRange",
    "Ranges",
    "Refusal",
    "Sealed",
    "ShapeCache",
    "ack_topic",
    "ask_topic",
    "batch_topic",
    "decode_ack",
    "decode_ask",
    "decode_health",
    "decode_refusal",
    "digest_of",
    "encode_ack",
    "encode_ask",
    "encode_health",
    "encode_refusal",
    "frames_digest",
    "gateway_of",
    "health_topic",
    "hour_of",
    "hours_in",
    "refusal_digest",
    "refused_topic",
    "seal",
    "unseal",
    "verify",
]
