"""An evidence file: signed batches taken out of a store, to be proven anywhere (layout: docs/nothing-missing.md).

::

    "MLE1" | length of the header u32 | header, JSON | entries | end
    entry:  "B" | length u32 | CRC-32 of the message u32 | message
    end:    "E" | how many entries u64 | SHA-256 over all messages

All of it may lie inside zstd frames; each is unpacked by itself, so damage costs one frame and not the rest.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from meterline.verify.found import Found, Item, name
from meterline.verify.report import Flaw

MAGIC = b"MLE1"
_ZSTD = b"\x28\xb5\x2f\xfd"
_LONGEST = 1 << 20


def is_evidence(path: Path) -> bool:
    """Whether a file begins like one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4)
    return head in (MAGIC, _ZSTD)


def header_of(path: Path) -> dict[str, Any]:
    """What the file says of itself; unsigned, so believed in nothing but to be compared."""
    data, _ = _unpacked(path.read_bytes())
    length = int.from_bytes(data[4:8], "big")
    try:
        header = json.loads(data[8 : 8 + length]) if data[:4] == MAGIC else {}
    except ValueError:
        header = {}
    return header if isinstance(header, dict) else {}


def read_evidence(path: Path, root: Path) -> Iterator[Item]:
    """Every message of the file, and what is damaged."""
    file = name(path, root)
    raw = path.read_bytes()
    data, bad = _unpacked(raw)
    for at in bad:
        yield Flaw("damaged", file, "a compressed frame cannot be unpacked", offset=at, place="zstd frame")
    if data[:4] != MAGIC:
        yield Flaw("damaged", file, "does not begin like an evidence file", offset=0)
        return
    length = int.from_bytes(data[4:8], "big")
    try:
        json.loads(data[8 : 8 + length])
        at = 8 + length
    except ValueError:
        yield Flaw("damaged", file, "its header cannot be read", offset=8, place="header")
        at = 8
    yield from _entries(data, at, file)


def _entries(data: bytes, at: int, file: str) -> Iterator[Item]:
    count, all_of_them, damaged = 0, hashlib.sha256(), False
    while at < len(data):
        if data[at : at + 1] == b"E" and len(data) - at == 41:
            said, digest = int.from_bytes(data[at + 1 : at + 9], "big"), data[at + 9 : at + 41]
            if not damaged and (said, digest) != (count, all_of_them.digest()):
                words = f"the end mark speaks of {said} batches with another digest; here are {count}"
                yield Flaw("index", file, words, offset=at, place="end mark")
            return
        end = _entry_end(data, at)
        if end is None:
            damaged = True
            following = _following(data, at + 1)
            stop = following if following is not None else len(data)
            words = f"{stop - at} bytes that are no entry after batch {count} of the file"
            yield Flaw(
                "damaged" if following is not None else "cut", file, words, offset=at, place=f"entry {count + 1}"
            )
            at = stop
            continue
        message = data[at + 9 : end]
        count += 1
        all_of_them.update(message)
        yield Found(message, file, at + 9, f"entry {count}")
        at = end
    if not damaged:
        yield Flaw("cut", file, f"ends without its end mark after {count} batches", offset=at, place="end mark")


def _entry_end(data: bytes, at: int) -> int | None:
    if data[at : at + 1] != b"B" or len(data) - at < 9:
        return None
    length = int.from_bytes(data[at + 1 : at + 5], "big")
    end = at + 9 + length
    if length > _LONGEST or end > len(data):
        return None
    return end if zlib.crc32(data[at + 9 : end]) == int.from_bytes(data[at + 5 : at + 9], "big") else None


def _following(data: bytes, at: int) -> int | None:
    """The next entry, or the end mark."""
    place = at
    while (place := data.find(b"ML\x01\x00", place)) >= 0:
        if place - 9 >= at and _entry_end(data, place - 9) is not None:
            return place - 9
        place += 1
    return len(data) - 41 if len(data) - 41 >= at and data[-41:-40] == b"E" else None


def _unpacked(raw: bytes) -> tuple[bytes, list[int]]:
    """The contents, and the offsets of frames that cannot be unpacked."""
    if raw[:4] != _ZSTD:
        return raw, []
    parts: list[bytes] = []
    bad: list[int] = []
    at = 0
    while at < len(raw):
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        try:
            parts.append(unpacker.decompress(raw[at:]))
            if not unpacker.eof:
                bad.append(at)
                break
            at = len(raw) - len(unpacker.unused_data)
        except zstandard.ZstdError:
            bad.append(at)
            following = raw.find(_ZSTD, at + 4)
            if following < 0:
                break
            at = following
    return b"".join(parts), bad
