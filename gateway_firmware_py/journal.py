"""The journal: every batch a gateway ever numbered, on disk before anybody hears of it.

::

    journal/<epoch>/epoch.json                      as which of this gateway's epochs it began, and with which number
    journal/<epoch>/2026-11-23-001-keep.seg         batches worth half a year: quarter-hour values, events, gaps
    journal/<epoch>/2026-11-23-001-fast.seg         the other samples; quota takes these first
    journal/<epoch>/2026-11-23-001-fast.seg.index   written when the segment is closed; remade if absent
    journal/quarantine/...                          bytes that proved nothing, kept for whoever wants to look

A commit is one write and one sync. After any error a segment is never written to again: what the kernel says about
pages it failed to write cannot be trusted, so the batches go, once more, into a new file. Nothing is ever rewritten in
place; pruning unlinks whole segments, which works on a full disk.

The invariant that `holes` checks at every start: a number of an epoch below `next_seq` is held here, acknowledged, or
declared lost. There is no fourth case.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from gateway_firmware_py import segments
from gateway_firmware_py.files import Appender, Files
from gateway_firmware_py.segments import Segment
from meterline.errors import JournalError
from meterline.ranges import RangeSet
from meterline.wire import GENESIS, MAX_MESSAGE, Sealed

SEGMENT_BYTES = 16 << 20
"""A segment is closed beyond this, so that dropping one frees a known amount. [bytes]"""
_CHUNK = segments.MARK_EVERY + MAX_MESSAGE + (64 << 10)
"""From a mark on, this much surely holds the record looked for. [bytes]"""
_CLASSES = ("keep", "fast")


class Journal:
    """All epochs of one gateway; the newest one grows. Any thread may read, one thread commits and prunes.

    Attributes
    ----------
    epoch, next_seq, head
        The growing epoch, the number its next batch gets, the digest that batch must name.
    damage
        One line for each piece of damage found, for health and logs.
    tail_damaged
        The end of the growing epoch is damaged in a way no power cut explains: numbers above may have been used, so
        this epoch must not go on.
    unnamed
        How many batches at least stood in that damaged end, beyond `next_seq`.
    end_in_doubt
        A commit failed and its bytes could not be cut off again: they may be found at the next start.
    """

    def __init__(self, files: Files, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._files, self.folder, self._segment_bytes = files, folder, segment_bytes
        self._lock = threading.RLock()
        self._segments: dict[str, list[Segment]] = {}
        self._numbers: dict[str, int] = {}
        self._cards: dict[str, tuple[int, bytes]] = {}
        self._active: dict[bool, tuple[Segment, Appender]] = {}  # by class: keep or not
        self._chunk: tuple[Path, bytes, dict[int, segments.Record]] | None = None
        self._last_hit: Segment | None = None
        self.epoch, self.next_seq, self.head = "", 1, GENESIS
        self.damage: list[str] = []
        self.tail_damaged = False
        self.unnamed = 0
        self.end_in_doubt = False
        self._ends_in_damage: set[str] = set()
        self._open()

    # --- what is held ----------------------------------------------------------------------------------------------

    @property
    def epochs(self) -> tuple[str, ...]:
        """All epochs with a folder, oldest first."""
        with self._lock:
            return tuple(sorted(self._numbers, key=self._numbers.__getitem__))

    @property
    def size(self) -> int:
        """What all segments take. [bytes]"""
        with self._lock:
            return sum(s.size for group in self._segments.values() for s in group)

    def held(self, epoch: str) -> RangeSet:
        """The numbers that can be read."""
        with self._lock:
            numbers = RangeSet()
            for segment in self._segments.get(epoch, ()):
                for first, last in segment.seqs:
                    numbers.add(first, last)
            return numbers

    def holes(self, epoch: str, known: RangeSet) -> tuple[tuple[int, int], ...]:
        """Numbers of an epoch that are neither held nor in `known` (acknowledged or declared lost)."""
        numbers = self.held(epoch)
        for first, last in known:
            numbers.add(first, last)
        end = self.next_seq - 1 if epoch == self.epoch else (numbers.last if numbers else 0)
        return numbers.gaps(1, end)

    def segments(self) -> list[Segment]:
        """Every segment, oldest epoch first, in order of their numbers."""
        with self._lock:
            return [
                s
                for epoch in self.epochs
                for s in sorted(self._segments.get(epoch, ()), key=lambda s: s.seqs.first if s.seqs else 0)
            ]

    def is_active(self, segment: Segment) -> bool:
        """Whether the segment may still grow or holds the end of the chain: such a one is never pruned."""
        with self._lock:
            newest = segment.epoch == self.epoch and self.next_seq - 1 in segment.seqs
            return newest or any(active is segment for active, _ in self._active.values())

    def read(self, epoch: str, seq: int) -> bytes | None:
        """The batch message with this number, or None if it is not (or no longer) here and whole.

        Raises
        ------
        OSError
            The disk cannot be read now.
        """
        with self._lock:
            segment = self._find(epoch, seq)
            if segment is None:
                return None
            message = self._from_chunk(segment.path, seq)
            if message is None:
                self._load_chunk(segment, segment.before(seq))
                message = self._from_chunk(segment.path, seq)
            if message is None:  # damaged since it was written
                self._rescan(segment)
                record = self._chunk[2].get(seq) if self._chunk else None
                message = self._chunk[1][record.start : record.end] if self._chunk and record else None
            return message

    def messages(self, epoch: str) -> Iterator[tuple[int, bytes]]:
        """Every batch of an epoch in order of its numbers."""
        for first, last in self.held(epoch):
            for seq in range(first, last + 1):
                message = self.read(epoch, seq)
                if message is not None:
                    yield seq, message

    # --- growing ---------------------------------------------------------------------------------------------------

    def begin_epoch(
        self,
        epoch: str | None = None,
        *,
        next_seq: int = 1,
        head: bytes = GENESIS,
        batches: Sequence[Sealed] = (),
        day: str = "",
    ) -> str:
        """Start another epoch; what older ones hold stays readable.

        Parameters
        ----------
        epoch, next_seq, head
            Given when the epoch has begun in memory already (the disk is back): the number and link to go on with.
        batches
            Those of them still to be kept.

        Raises
        ------
        OSError, JournalError
            The disk does not take it. The epoch does not grow here, now or after a restart.
        """
        epoch = epoch or new_epoch()
        folder = self.folder / epoch
        self._files.make_folder(folder)
        self.close()
        with self._lock:
            number = max(self._numbers.values(), default=0) + 1
            self._segments.setdefault(epoch, [])
            self.epoch, self.next_seq, self.head = epoch, next_seq, head
            self.tail_damaged = False
        if batches:
            self.commit(batches, keep=True, day=day)
        # Last of all: without its card no start will take this for the growing epoch and count on from a wrong number.
        card = {"epoch": epoch, "number": number, "next_seq": next_seq, "prev": head.hex()}
        self._files.write_whole(folder / "epoch.json", orjson.dumps(card))
        with self._lock:
            self._numbers[epoch] = number
        return epoch

    def commit(self, batches: Sequence[Sealed], *, keep: bool, day: str) -> None:
        """Make batches durable: when this returns they survive a power cut; when it raises none of them counts.

        Raises
        ------
        JournalError
            The disk does not take them. Bytes may have been left behind in a file that is no longer written to.
        """
        try:
            segment, file = self._segment_for(keep, day)
            data = bytearray()
            offsets: list[int] = []
            for batch in batches:
                offsets.append(segment.size + len(data))
                data += segments.pack(batch.seq, batch.digest, batch.message)
            data += bytes(segments.padding_after(segment.size + len(data), len(data)))
            file.write(bytes(data))
            file.sync()
        except OSError as error:
            self._abandon()
            raise JournalError(f"{error.strerror or error} ({self.folder})") from error
        with self._lock:
            segment.size += len(data)
            for batch, offset in zip(batches, offsets, strict=True):
                segment.note(batch.seq, offset)
            self.next_seq, self.head = batches[-1].seq + 1, batches[-1].digest
            self.end_in_doubt = False
            self._chunk = None if self._chunk and self._chunk[0] == segment.path else self._chunk
        if segment.size >= self._segment_bytes:
            self._close(keep)

    def drop(self, segment: Segment) -> None:
        """Unlink a segment. The caller has made sure that its numbers are acknowledged or declared lost.

        Raises
        ------
        OSError
            It could not be removed.
        """
        with self._lock:
            if self.is_active(segment):
                raise ValueError("the growing end of the journal is never dropped")
            self._files.unlink(segment.path)
            self._segments[segment.epoch].remove(segment)
            self._chunk = self._last_hit = None
        if self._files.exists(_index_path(segment.path)):
            self._files.unlink(_index_path(segment.path))

    def still_there(self) -> bool:
        """Whether the files being written still have their names; bytes written to a removed file go nowhere."""
        return all(self._files.exists(segment.path) for segment, _ in self._active.values())

    def close(self) -> None:
        """Let go of the files being written; they are found again at the next start."""
        for _, file in self._active.values():
            file.close()
        self._active.clear()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _segment_for(self, keep: bool, day: str) -> tuple[Segment, Appender]:
        active = self._active.get(keep)
        if active is not None and active[0].day == day:
            return active
        if active is not None:
            self._close(keep)
        folder = self.folder / self.epoch
        name_end = f"-{_CLASSES[not keep]}.seg"
        taken = [n for n in self._files.list_folder(folder) if n.startswith(day) and n.endswith(name_end)]
        number = max((int(n[len(day) + 1 : len(day) + 4]) for n in taken), default=0) + 1
        segment = Segment(folder / f"{day}-{number:03d}{name_end}", self.epoch, day, keep)
        file = self._files.append(segment.path)
        try:
            file.sync()
            self._files.sync_folder(folder)
        except OSError:
            file.close()
            raise
        self._active[keep] = (segment, file)
        with self._lock:
            self._segments[self.epoch].append(segment)
        return segment, file

    def _close(self, keep: bool) -> None:
        segment, file = self._active.pop(keep)
        file.close()
        self._write_index(segment)

    def _write_index(self, segment: Segment) -> None:
        segment.closed = True
        try:
            self._files.write_whole(_index_path(segment.path), orjson.dumps(segment.index()))
        except OSError as error:  # only a shortcut for the next start, which scans the segment without it
            self.damage.append(f"index of {segment.path.name} not written: {error.strerror}")

    def _abandon(self) -> None:
        """After an error: cut the doubtful end off if the disk allows, and never write to these files again."""
        for segment, file in list(self._active.values()):
            try:
                file.close()
                self._files.truncate(segment.path, segment.size)
            except OSError as error:
                self.end_in_doubt = True
                self.damage.append(f"end of {segment.path.name} left in doubt: {error.strerror}")
        self._active.clear()

    def _find(self, epoch: str, seq: int) -> Segment | None:
        hit = self._last_hit
        if hit is not None and hit.epoch == epoch and seq in hit.seqs:
            return hit
        for segment in self._segments.get(epoch, ()):
            if seq in segment.seqs:
                self._last_hit = segment
                return segment
        return None

    def _from_chunk(self, path: Path, seq: int) -> bytes | None:
        if self._chunk is None or self._chunk[0] != path:
            return None
        record = self._chunk[2].get(seq)
        return None if record is None else self._chunk[1][record.start : record.end]

    def _load_chunk(self, segment: Segment, offset: int) -> None:
        data = self._files.read(segment.path, offset, _CHUNK)
        records: dict[int, segments.Record] = {}
        at = 0
        while (record := segments.record_at(data, at)) is not None:
            records[record.seq] = record
            at = segments.past_padding(data, record.end, offset)
        self._chunk = (segment.path, data, records)

    def _rescan(self, segment: Segment) -> None:
        """Read a whole segment again; what has rotted in the meantime is no longer claimed to be held."""
        data = self._files.read(segment.path, 0, segment.size)
        found = segments.scan(data)
        fresh = Segment(segment.path, segment.epoch, segment.day, segment.keep, segment.size)
        for record in found.records:
            fresh.note(record.seq, record.offset)
        if fresh.seqs != segment.seqs:
            self._quarantine(segment, data, [*found.damaged, *([(found.good_end, len(data))] if found.torn else [])])
        segment.seqs, segment.marks, segment.records = fresh.seqs, fresh.marks, fresh.records
        self._chunk = (segment.path, data, {record.seq: record for record in found.records})

    def _quarantine(self, segment: Segment, data: bytes, damaged: Sequence[tuple[int, int]]) -> None:
        place = self.folder / "quarantine"
        for start, end in damaged:
            self.damage.append(f"{segment.epoch}/{segment.path.name}: bytes {start}..{end} prove nothing")
            name = f"{segment.epoch}-{segment.path.name}-{start}.bad"
            try:
                if not self._files.exists(place / name):
                    self._files.make_folder(place)
                    self._files.write_whole(place / name, data[start:end])
            except OSError as error:
                self.damage.append(f"{name} not kept: {error.strerror}")

    # --- opening ---------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._files.make_folder(self.folder)
        for name in self._files.list_folder(self.folder):
            if _is_epoch(name):
                self._open_epoch(name)
        if not any(self._numbers.values()):
            self.begin_epoch()
            return
        self.epoch = self.epochs[-1]
        self.next_seq, self.head = self._cards[self.epoch]
        self.unnamed = int(self.epoch in self._ends_in_damage)
        self.tail_damaged = self.unnamed > 0
        newest = [s for s in self._segments[self.epoch] if s.seqs]
        if newest and max(s.seqs.last for s in newest) >= self.next_seq:
            end = max(newest, key=lambda s: s.seqs.last)
            self.next_seq = end.seqs.last + 1
            head = self._digest(end, end.seqs.last)
            self.tail_damaged = self.tail_damaged or head is None  # a chain without its last link cannot grow
            self.head = head or GENESIS
        if not self.tail_damaged:
            self._resume()

    def _open_epoch(self, epoch: str) -> None:
        folder = self.folder / epoch
        self._read_card(epoch, folder)
        self._segments[epoch] = []
        for name in self._files.list_folder(folder):
            if not name.endswith(".seg"):
                continue
            size = self._files.size(folder / name)
            segment = Segment(folder / name, epoch, name[:10], name.endswith("-keep.seg"), size)
            self._segments[epoch].append(segment)
            if not self._read_index(segment):
                self._salvage(segment)

    def _read_card(self, epoch: str, folder: Path) -> None:
        self._numbers[epoch] = 0  # without its card it is never the growing one
        try:
            card = orjson.loads(self._files.read(folder / "epoch.json"))
            self._cards[epoch] = (int(card["next_seq"]), bytes.fromhex(card["prev"]))
            self._numbers[epoch] = int(card["number"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.damage.append(f"{epoch}/epoch.json cannot be read ({type(error).__name__})")

    def _read_index(self, segment: Segment) -> bool:
        path = _index_path(segment.path)
        if not self._files.exists(path):
            return False
        try:
            return segment.take_index(orjson.loads(self._files.read(path)))
        except (OSError, ValueError):
            return False

    def _salvage(self, segment: Segment) -> None:
        """Index a segment that was not closed properly; cut off what a power cut left, keep the rest of the damage."""
        data = self._files.read(segment.path)
        found = segments.scan(data)
        for record in found.records:
            segment.note(record.seq, record.offset)
        if found.damaged:
            segment.closed = True  # nothing is ever appended behind damage
            self._quarantine(segment, data, found.damaged)
            if found.damaged[-1][1] == len(data):
                self._ends_in_damage.add(segment.epoch)
        elif found.torn:
            try:
                self._files.truncate(segment.path, found.good_end)
                segment.size = found.good_end
            except OSError as error:
                segment.closed = True
                self.damage.append(f"torn end of {segment.path.name} not cut off: {error.strerror}")

    def _resume(self) -> None:
        """Go on in the last segments of the growing epoch, so that many restarts do not mean many files."""
        for keep in (True, False):
            group = sorted((s for s in self._segments[self.epoch] if s.keep is keep), key=lambda s: s.path.name)
            if group and not group[-1].closed and group[-1].size < self._segment_bytes:
                self._active[keep] = (group[-1], self._files.append(group[-1].path))
            for segment in group:
                if not segment.closed and not any(segment is s for s, _ in self._active.values()):
                    self._write_index(segment)

    def _digest(self, segment: Segment, seq: int) -> bytes | None:
        self._load_chunk(segment, segment.before(seq))
        if self._chunk is None or seq not in self._chunk[2]:
            self._rescan(segment)
        record = self._chunk[2].get(seq) if self._chunk is not None else None
        return None if record is None else record.digest


def new_epoch() -> str:
    """16 random hex digits: no copied, restored or exchanged disk can use its numbers a second time."""
    return secrets.token_hex(8)


def _is_epoch(name: str) -> bool:
    return len(name) == 16 and all(c in "0123456789abcdef" for c in name)


def _index_path(path: Path) -> Path:
    return path.with_name(path.name + ".index")
