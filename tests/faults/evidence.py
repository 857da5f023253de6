"""Signed messages, journal segments and day files, read from their published layouts, without the product's code.

The layouts are those of docs/wire-contract.md (the message), of the docstring of `gateway_firmware_py/segments.py` (the
journal) and of `headend/stores/hot.py` (the day file). A reader of its own is the point: a checker that asked the
product would believe the product.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MS = 1_000_000
HEADER = 68
CONTEXT = b"meterline-batch-1\n"
GENESIS = "0" * 64
_RECORD = struct.Struct(">4sIQ32sII")


@dataclass(frozen=True, slots=True)
class PollSeen:
    """One poll as a message says it."""

    meter: str
    slot_ns: int
    profile: str
    measurands: tuple[str, ...]
    exponents: tuple[int, ...]
    requests: tuple[int, ...]
    delays_ms: tuple[int, ...]
    numbers: tuple[int | float | None, ...]
    qualities: tuple[int, ...]
    clock: int

    def read_ns(self, column: int) -> int:
        return self.slot_ns + self.delays_ms[self.requests[column]] * MS


@dataclass(frozen=True, slots=True)
class Message:
    """One batch message, opened."""

    gateway: str
    epoch: str
    seq: int
    prev: str
    digest: str
    at_ns: int
    signed: bool
    polls: tuple[PollSeen, ...]
    missing: tuple[tuple[str, int, int | None, str], ...]
    """Meter, from [ns], to [ns] or None, cause."""
    lost: tuple[tuple[str, int, int, str], ...]
    """Epoch, first, last, reason."""


def open_message(raw: bytes, key: Ed25519PublicKey) -> Message:
    """Take a message apart.

    Raises
    ------
    ValueError
        It is none.
    """
    return _open(raw, key.public_bytes_raw())


@lru_cache(maxsize=200_000)
def _open(raw: bytes, key: bytes) -> Message:
    if raw[:3] != b"ML\x01" or len(raw) <= HEADER:
        raise ValueError(f"no batch message: {raw[:4]!r}")
    digest = hashlib.sha256(raw[HEADER:]).digest()
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(raw[4:HEADER], CONTEXT + digest)
        signed = True
    except InvalidSignature:
        signed = False
    text = zstandard.ZstdDecompressor().decompress(raw[HEADER:], max_output_size=1 << 24)
    body = json.loads(text)
    return Message(
        gateway=body["gateway"],
        epoch=body["epoch"],
        seq=body["seq"],
        prev=body["prev"],
        digest=digest.hex(),
        at_ns=body["at"] * MS,
        signed=signed,
        polls=tuple(poll for group in body["groups"] for poll in _polls(group)),
        missing=tuple(
            (m["meter"], m["from"] * MS, None if m["to"] is None else m["to"] * MS, m["cause"])
            for m in body.get("missing", [])
        ),
        lost=tuple((r["epoch"], r["first"], r["last"], r["reason"]) for r in body.get("lost", [])),
    )


def _polls(group: dict[str, Any]) -> Iterator[PollSeen]:
    width, count = len(group["measurands"]), len(group["meters"])
    exponents, requests = _list(group["exponents"], width), _list(group["requests"], width)
    slots, clocks = _list(group["slots"], count), _list(group["clocks"], count)
    qualities = _list(group.get("qualities", 0), count)
    for place, meter in enumerate(group["meters"]):
        yield PollSeen(
            meter,
            slots[place] * MS,
            group["profile"],
            tuple(group["measurands"]),
            tuple(exponents),
            tuple(requests),
            tuple(group["delays"][place]),
            tuple(column[place] for column in group["numbers"]),
            tuple(_list(qualities[place], width)),
            clocks[place],
        )


def _list(value: Any, length: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * length


# ------------------------------------------------------------------------------------------------ the edge's journal


def journal_records(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    """(epoch, number, message) of every whole record in a gateway's journal folder; damage is stepped over."""
    for path in sorted(folder.glob("*/*.seg")):
        if path.parent.name == "quarantine":
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # pruned while we looked
        for seq, payload in _records(data):
            yield path.parent.name, seq, payload


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _RECORD.size <= len(data):
        magic, length, seq, _, check, head = _RECORD.unpack_from(data, at)
        end = at + _RECORD.size + length
        whole = magic == b"MLJ1" and head == crc32(data[at : at + _RECORD.size - 4]) and end <= len(data)
        if whole and crc32(data[at + _RECORD.size : end]) == check:
            yield seq, data[at + _RECORD.size : end]
            at = end
            continue
        at = data.find(b"MLJ1", at + 1)
        if at < 0:
            return


# ------------------------------------------------------------------------------------------------ the head-end's store


@dataclass(slots=True)
class DayFiles:
    """What stands in the day files of the embedded store."""

    messages: list[tuple[bytes, int]] = field(default_factory=list)
    """Message and when it was received. [ns]"""
    rows: list[tuple[str, int, str, int, int, str, str, str]] = field(default_factory=list)
    """Meter, slot [ns], epoch, number, place, delays, numbers, qualities (JSON)."""
    lost: set[tuple[str, int, int, str]] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    """What SQLite's own integrity check found."""


def read_days(folder: Path, *, check: bool = False) -> DayFiles:
    """Everything of a head-end's data folder; `check` also runs SQLite's integrity check."""
    found = DayFiles()
    for path in sorted((folder / "hot").glob("*.sqlite")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("BEGIN")  # one moment for all tables
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'batches'").fetchone():
                continue
            found.messages += db.execute("SELECT message, received_ns FROM batches ORDER BY id").fetchall()
            found.rows += db.execute(
                "SELECT m.name, p.t, b.epoch, b.seq, p.place, p.delays, p.numbers, coalesce(p.qualities, '')"
                " FROM polls p JOIN meters m ON m.id = p.meter JOIN batches b ON b.id = p.batch"
            ).fetchall()
            found.lost.update(db.execute("SELECT epoch, first, last, reason FROM lost").fetchall())
            if check:
                said = db.execute("PRAGMA integrity_check").fetchone()[0]
                if said != "ok":
                    found.broken.append(f"{path.name}: {said}")
    return found


def newest_slots(folder: Path, after_ns: int, before_ns: int) -> dict[str, int]:
    """Meter -> newest slot stored between two moments. [ns]"""
    newest: dict[str, int] = {}
    for path in sorted((folder / "hot").glob("*.sqlite"))[-3:]:
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as db:
                rows = db.execute(
                    "SELECT m.name, max(p.t) FROM polls p JOIN meters m ON m.id = p.meter"
                    " WHERE p.t BETWEEN ? AND ? GROUP BY 1",
                    (after_ns, before_ns),
                ).fetchall()
        except sqlite3.Error:
            continue  # being made, or just taken away by a scene: look again later
        for meter, t in rows:
            newest[meter] = max(t, newest.get(meter, 0))
    return newest


def stored_keys(folder: Path) -> set[tuple[str, int]]:
    """(epoch, number) of every batch stored or recorded as lost."""
    keys: set[tuple[str, int]] = set()
    for path in sorted((folder / "hot").glob("*.sqlite")):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as db:
                keys.update(db.execute("SELECT epoch, seq FROM batches").fetchall())
                for epoch, first, last in db.execute("SELECT epoch, first, last FROM lost"):
                    keys.update((epoch, seq) for seq in range(first, last + 1))
        except sqlite3.Error:
            continue
    return keys


def whole(keys: set[tuple[str, int]]) -> bool:
    """Whether no number is missing below the highest one of any epoch."""
    highest: dict[str, int] = {}
    for epoch, seq in keys:
        highest[epoch] = max(seq, highest.get(epoch, 0))
    return len(keys) == sum(highest.values())
