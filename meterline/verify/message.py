"""One signed message, taken apart by this page alone (docs/wire-contract.md), without the ordinary decoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HEAD = 68
_LARGEST = 4 << 20


class NotOfTheContract(Exception):
    """The bytes are no batch message; the text says why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a message says of itself.

    Attributes
    ----------
    digest
        SHA-256 of the zstd frame: what the next batch names as `prev`.
    at_ms
        When it was formed.
    body
        Everything else, as JSON gave it.
    """

    gateway: str
    epoch: str
    seq: int
    prev: bytes
    digest: bytes
    at_ms: int
    body: dict[str, Any]


def take_apart(message: bytes) -> Batch:
    """Read a message, whoever signed it.

    Raises
    ------
    NotOfTheContract
        It cannot be read.
    """
    if len(message) <= HEAD or message[:4] != b"ML\x01\x00":
        raise NotOfTheContract(f"does not begin like a batch ({message[:4].hex()})")
    packed = message[HEAD:]
    try:
        if zstandard.frame_content_size(packed) > _LARGEST:
            raise NotOfTheContract("announces a body that is too large")
        text = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_LARGEST, allow_extra_data=False)
        body = json.loads(text)
        gateway, epoch, seq, at_ms = body["gateway"], body["epoch"], body["seq"], body["at"]
        prev = bytes.fromhex(body["prev"])
        if not (isinstance(gateway, str) and isinstance(epoch, str) and isinstance(at_ms, int)):
            raise NotOfTheContract("its names and times are no names and times")
        if not isinstance(seq, int) or isinstance(seq, bool) or not 0 < seq < 1 << 63 or len(prev) != 32:
            raise NotOfTheContract("its number or its link is none")
    except zstandard.ZstdError as error:
        raise NotOfTheContract(f"cannot be unpacked: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotOfTheContract(f"its body cannot be read: {type(error).__name__} {error}"[:160]) from error
    return Batch(gateway, epoch, seq, prev, hashlib.sha256(packed).digest(), at_ms, body)


def signed_by(message: bytes, digest: bytes, key: Ed25519PublicKey) -> bool:
    """Whether this key signed this message."""
    try:
        key.verify(message[4:HEAD], b"meterline-batch-1\n" + digest)
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Row:
    """One poll as the batch says it.

    Attributes
    ----------
    slot_ms, delays, numbers, qualities
        See the contract; `qualities` is all zeros where nothing is doubted.
    clock, source
        As numbers and words of the contract.
    columns
        ``(measurand, exponent)`` of each number.
    """

    meter: str
    slot_ms: int
    delays: list[int]
    numbers: list[int | float | None]
    qualities: list[int]
    clock: int
    source: str
    columns: list[tuple[str, int]]


def rows_of(body: dict[str, Any]) -> Iterator[Row]:
    """The polls of a batch in their order.

    Raises
    ------
    NotOfTheContract
        A group does not fit together.
    """
    try:
        for group in body["groups"]:
            names, meters = group["measurands"], group["meters"]
            width, count = len(names), len(meters)
            exponents = _spread(group["exponents"], width)
            slots = _spread(group["slots"], count)
            qualities = _spread(group.get("qualities", 0), count)
            clocks, sources = _spread(group["clocks"], count), _spread(group.get("sources", "wire"), count)
            columns = list(zip(names, exponents, strict=True))
            for i, meter in enumerate(meters):
                yield Row(
                    meter,
                    slots[i],
                    list(group["delays"][i]),
                    [column[i] for column in group["numbers"]],
                    _spread(qualities[i], width),
                    int(clocks[i]),
                    sources[i],
                    columns,
                )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise NotOfTheContract(f"a group does not fit together: {type(error).__name__} {error}"[:160]) from error


def _spread(value: Any, length: int) -> list[Any]:
    """A list whose items are all alike may be written as that item."""
    if not isinstance(value, list):
        return [value] * length
    if len(value) != length:
        raise ValueError(f"{len(value)} items where {length} belong")
    return value
