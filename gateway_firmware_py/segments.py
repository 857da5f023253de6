"""One segment file of the journal: records laid end to end, each able to prove itself.

::

    "MLJ1" | length u32 | seq u64 | digest 32 | CRC-32 of the payload u32 | CRC-32 of the 52 bytes before u32 | payload

Where the rest of a page of 4096 bytes is less than what has just been committed it is filled with zeros, so that the
next commit begins on a fresh page: a medium writes whole pages, and would otherwise write this one a second time.

The payload is a batch message, byte for byte as it is sent; the digest is its link of the hash chain. The header has a
checksum of its own, so that a record cut short by a power cut (its header whole, the end of the file too near) is told
apart from a record whose length was damaged.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from meterline.ranges import RangeSet

MAGIC = b"MLJ1"
_HEAD = struct.Struct(">4sIQ32sI")
_CHECK = struct.Struct(">I")
HEADER = _HEAD.size + _CHECK.size
MARK_EVERY = 64 << 10
"""How far apart the remembered places in a segment are. [bytes]"""
PAGE = 4096
MAX_PAYLOAD = 1 << 20
"""A longer length is damage, not a batch. [bytes]"""


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record found at `offset` of a segment; the payload stands at `start` .. `end`."""

    seq: int
    digest: bytes
    offset: int
    start: int
    end: int


@dataclass(slots=True)
class Scan:
    """What a segment's bytes turned out to hold.

    Attributes
    ----------
    records
        Every record that proves itself, in file order.
    damaged
        Half-open byte ranges between records that prove nothing: bit rot, not a power cut.
    good_end
        Where the last whole record ends.
    torn
        Whether what follows `good_end` is explained by a power cut during the last write (a record cut short, or
        zeros where its bytes should be). Such bytes were never synced, so their number was never used.
    """

    records: list[Record] = field(default_factory=list)
    damaged: list[tuple[int, int]] = field(default_factory=list)
    good_end: int = 0
    torn: bool = False


@dataclass(slots=True)
class Segment:
    """One file of the journal, and what is known of it without reading it.

    Attributes
    ----------
    day
        UTC day its batches were formed, ``YYYY-MM-DD``.
    keep
        True: of the class kept for half a year; false: fast samples.
    marks
        ``(seq, offset)`` of a record every 64 kB or so, ascending.
    """

    path: Path
    epoch: str
    day: str
    keep: bool
    size: int = 0
    seqs: RangeSet = field(default_factory=RangeSet)
    marks: list[tuple[int, int]] = field(default_factory=list)
    records: int = 0
    closed: bool = False

    def note(self, seq: int, offset: int) -> None:
        """Remember that `seq` stands at `offset`."""
        if not self.marks or offset - self.marks[-1][1] >= MARK_EVERY:
            self.marks.append((seq, offset))
        self.records += 1
        self.seqs.add(seq)

    def before(self, seq: int) -> int:
        """An offset at or before the record of `seq`."""
        i = bisect_right(self.marks, (seq, 1 << 62)) - 1
        return self.marks[i][1] if i >= 0 else 0

    def index(self) -> dict[str, object]:
        """What is known of a closed segment, for its index file."""
        return {"size": self.size, "records": self.records, "ranges": self.seqs.ranges, "marks": self.marks}

    def take_index(self, index: Any) -> bool:
        """Believe an index file if it is one and belongs to this size; the records prove themselves when read."""
        try:
            if index["size"] != self.size:
                return False
            seqs = RangeSet((int(first), int(last)) for first, last in index["ranges"])
            marks = [(int(seq), int(offset)) for seq, offset in index["marks"]]
            records = int(index["records"])
        except (ValueError, KeyError, TypeError):
            return False
        self.seqs, self.marks, self.records, self.closed = seqs, marks, records, True
        return True


def pack(seq: int, digest: bytes, payload: bytes) -> bytes:
    """One record as bytes."""
    head = _HEAD.pack(MAGIC, len(payload), seq, digest, crc32(payload))
    return head + _CHECK.pack(crc32(head)) + payload


def padding_after(size: int, committed: int) -> int:
    """How many zeros to put behind a commit of so many bytes that ends at `size`. [bytes]"""
    room = -size % PAGE
    return room if room < committed else 0


def past_padding(data: bytes, offset: int, base: int = 0) -> int:
    """Where the next record begins: `offset`, or behind the zeros that fill its page.

    Parameters
    ----------
    base
        Where `data` stands in its file.
    """
    end = offset + -(base + offset) % PAGE
    return end if end <= len(data) and not any(data[offset:end]) else offset


def record_at(data: bytes, offset: int) -> Record | None:
    """The record that begins exactly at `offset`, or None if nothing there proves itself."""
    head = _header_at(data, offset)
    if head is None:
        return None
    length, seq, digest, check = head
    start = offset + HEADER
    end = start + length
    if end > len(data) or crc32(memoryview(data)[start:end]) != check:
        return None
    return Record(seq, digest, offset, start, end)


def scan(data: bytes) -> Scan:
    """Find every record of a segment; whatever proves nothing is named, never guessed at."""
    found = Scan()
    offset = 0
    while (offset := past_padding(data, offset)) < len(data):
        record = record_at(data, offset)
        if record is None:
            following = _next_record(data, offset + 1)
            if following is None:
                break
            found.damaged.append((offset, following.offset))
            record = following
        found.records.append(record)
        offset = found.good_end = record.end
    found.good_end = past_padding(data, found.good_end)
    if found.good_end < len(data):
        found.torn = _explained_by_power_cut(data, found.good_end)
        if not found.torn:
            found.damaged.append((found.good_end, len(data)))
    return found


def _header_at(data: bytes, offset: int) -> tuple[int, int, bytes, int] | None:
    if len(data) - offset < HEADER:
        return None
    magic, length, seq, digest, check = _HEAD.unpack_from(data, offset)
    (own,) = _CHECK.unpack_from(data, offset + _HEAD.size)
    if magic != MAGIC or length > MAX_PAYLOAD or crc32(memoryview(data)[offset : offset + _HEAD.size]) != own:
        return None
    return length, seq, digest, check


def _next_record(data: bytes, offset: int) -> Record | None:
    while (offset := data.find(MAGIC, offset)) >= 0:
        if (record := record_at(data, offset)) is not None:
            return record
        offset += 1
    return None


def _explained_by_power_cut(data: bytes, offset: int) -> bool:
    tail = data[offset:]
    written = tail.rstrip(b"\0")  # a length that reached the disk before its bytes did reads as zeros
    if len(written) < HEADER:
        return MAGIC.startswith(written[:4])
    head = _header_at(data, offset)
    if head is None:
        return False
    return len(tail) < HEADER + head[0] or len(written) <= HEADER + head[0] - 16
