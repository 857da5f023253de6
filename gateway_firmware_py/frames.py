"""The raw requests and answers behind every number, for whoever doubts one.

A batch carries only the hash of its frames (`meterline.wire.frames_digest`); the bytes stay here, in segments a UTC day
like the journal's, for a week, and as long as the journal for quarter-hour values and for answers that looked wrong.
They are not synced, and those of fast samples are written some minutes' worth at a time (a flash card wears out by
small writes): after a power cut the last minutes of frames may be missing, and `trace` says so. Losing frames loses no
reading.

One record: ``"MLF1" | length u32 | seq u64 | CRC-32 u32 | zstd of the polls' exchanges``.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import zstandard

from gateway_firmware_py.files import Appender, Files
from meterline.readings import Exchange, Poll, Quality

_MAGIC = b"MLF1"
_HEAD = struct.Struct(">4sIQI")
_POLL = struct.Struct(">HH")
_EXCHANGE = struct.Struct(">qqIIB")
WAITING_MOST = 64 << 10
"""Frames of fast samples are written when so much has come together, or when `FrameRing.flush` is called. [bytes]"""
_NO_ANSWER = -1
_MAX_UNPACKED = 8 << 20
_ODD = int(Quality.SUSPECT | Quality.INVALID)


@dataclass(frozen=True, slots=True)
class KeptPoll:
    """The exchanges of one poll of a batch."""

    meter: str
    exchanges: tuple[Exchange, ...]


@dataclass(slots=True)
class FrameSegment:
    """One file of frames; `keep` as in the journal."""

    path: Path
    day: str
    keep: bool
    size: int


class FrameRing:
    """Frames by epoch and sequence number. Writing never fails a commit: see `trouble`."""

    def __init__(self, files: Files, folder: Path) -> None:
        self._files, self._folder = files, folder
        self._lock = threading.Lock()
        self._active: dict[tuple[str, bool], tuple[FrameSegment, Appender]] = {}
        self._waiting: dict[Path, bytearray] = {}
        self._segments: list[FrameSegment] = []
        self._pack = zstandard.ZstdCompressor(level=3)
        self.trouble = ""
        for name in files.list_folder(folder):
            if name.endswith((".keep.frames", ".fast.frames")):
                size = files.size(folder / name)
                self._segments.append(FrameSegment(folder / name, name[:10], ".keep." in name, size))

    def add(self, epoch: str, seq: int, polls: Sequence[Poll], *, keep: bool, day: str) -> None:
        """Put a batch's frames away."""
        if not any(poll.exchanges for poll in polls):
            return
        keep = keep or any(bits & _ODD for poll in polls for bits in poll.qualities)
        packed = self._pack.compress(_encode(polls))
        record = _HEAD.pack(_MAGIC, len(packed), seq, crc32(packed)) + packed
        try:
            segment, file = self._segment(epoch, keep, day)
            segment.size += len(record)
            waiting = self._waiting.setdefault(segment.path, bytearray())
            waiting += record
            if keep or len(waiting) >= WAITING_MOST:
                self._write(segment, file)
        except OSError as error:
            self._fail(error)

    def flush(self) -> None:
        """Write what waits."""
        try:
            for segment, file in list(self._active.values()):
                self._write(segment, file)
        except OSError as error:
            self._fail(error)

    def _write(self, segment: FrameSegment, file: Appender) -> None:
        waiting = self._waiting.pop(segment.path, None)
        if waiting:
            file.write(bytes(waiting))
        self.trouble = ""

    def _fail(self, error: OSError) -> None:
        """What waited is lost, which costs no reading."""
        self.trouble = f"{error.strerror or error}"
        self._waiting.clear()
        for _, file in self._active.values():
            file.close()
        self._active.clear()

    def find(self, epoch: str, seq: int) -> tuple[KeptPoll, ...] | None:
        """The frames of a batch, or None if they have expired or were lost in a power cut.

        Raises
        ------
        OSError
            The disk cannot be read.
        """
        self.flush()
        for segment in sorted(self.segments(), key=lambda s: s.path.name, reverse=True):
            if segment.path.name.split(".")[1] != epoch:
                continue
            for found, packed in _records(self._files.read(segment.path)):
                if found == seq:
                    unpacked = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_MAX_UNPACKED)
                    return tuple(_decode(unpacked))
        return None

    def segments(self) -> list[FrameSegment]:
        """All files, oldest day first."""
        with self._lock:
            return sorted(self._segments, key=lambda s: (s.day, s.path.name))

    def is_active(self, segment: FrameSegment) -> bool:
        """Whether it is being written."""
        return any(active is segment for active, _ in self._active.values())

    def drop(self, segment: FrameSegment) -> None:
        """Unlink a file of frames.

        Raises
        ------
        OSError
            It could not be removed.
        """
        self._files.unlink(segment.path)
        with self._lock:
            self._segments.remove(segment)

    @property
    def size(self) -> int:
        """What all files take. [bytes]"""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    def close(self) -> None:
        """Write what waits and let go of the files."""
        self.flush()
        for _, file in self._active.values():
            file.close()
        self._active.clear()

    def _segment(self, epoch: str, keep: bool, day: str) -> tuple[FrameSegment, Appender]:
        active = self._active.get((epoch, keep))
        if active is not None and active[0].day == day:
            return active
        for other in [k for k in self._active if k[1] is keep]:
            old, file = self._active.pop(other)
            self._write(old, file)
            file.close()
        self._files.make_folder(self._folder)
        path = self._folder / f"{day}.{epoch}.{'keep' if keep else 'fast'}.frames"
        with self._lock:
            segment = next((s for s in self._segments if s.path == path), None)
            if segment is None:
                segment = FrameSegment(path, day, keep, 0)
                self._segments.append(segment)
        file = self._files.append(path)
        self._active[(epoch, keep)] = (segment, file)
        return segment, file


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while (offset := data.find(_MAGIC, offset)) >= 0:
        if len(data) - offset >= _HEAD.size:
            _, length, seq, check = _HEAD.unpack_from(data, offset)
            packed = data[offset + _HEAD.size : offset + _HEAD.size + length]
            if len(packed) == length and crc32(packed) == check:
                yield seq, packed
                offset += _HEAD.size + length
                continue
        offset += 1


def _encode(polls: Sequence[Poll]) -> bytes:
    out = bytearray()
    for poll in polls:
        meter = poll.meter.encode()
        out += _POLL.pack(len(meter), len(poll.exchanges)) + meter
        for e in poll.exchanges:
            cause = e.cause.encode()[:255]
            answered = _NO_ANSWER if e.answered_ns is None else e.answered_ns
            out += _EXCHANGE.pack(e.sent_ns, answered, len(e.request), len(e.response), len(cause))
            out += cause + e.request + e.response
    return bytes(out)


def _decode(data: bytes) -> Iterator[KeptPoll]:
    at = 0

    def take(length: int) -> bytes:
        nonlocal at
        at += length
        return data[at - length : at]

    while at < len(data):
        name_length, count = _POLL.unpack(take(_POLL.size))
        meter = take(name_length).decode()
        exchanges = []
        for _ in range(count):
            sent, answered, asked, said, cause_length = _EXCHANGE.unpack(take(_EXCHANGE.size))
            cause, request, response = take(cause_length).decode(), take(asked), take(said)
            answered_ns = None if answered == _NO_ANSWER else answered
            exchanges.append(Exchange(request, response, sent, answered_ns, cause))
        yield KeptPoll(meter, tuple(exchanges))
