"""A gateway's journal, read from its bytes: segments of self-proving records (see gateway_firmware_py/segments.py).

::

    "MLJ1" | length u32 | seq u64 | digest 32 | CRC-32 of the payload u32 | CRC-32 of the 52 bytes before u32 | payload
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from meterline.verify.found import Found, Item, name
from meterline.verify.ranges import merged
from meterline.verify.report import Flaw

_HEAD = 56
_PAGE = 4096
_LONGEST = 1 << 20


class _Record(NamedTuple):
    seq: int
    digest: bytes
    start: int
    end: int


class Cursors(NamedTuple):
    """What the gateway remembered beside its journal.

    Attributes
    ----------
    acked
        Epoch -> numbers the head-end has acknowledged.
    used
        Epoch -> the highest number given away.
    """

    acked: dict[str, list[tuple[int, int]]]
    used: dict[str, int]


def is_journal(folder: Path) -> bool:
    """Whether a folder is a gateway's data folder or the journal in it."""
    return _journal(folder) is not None


def read_journal(folder: Path) -> Iterator[Item]:
    """Every message of every epoch, and what is damaged."""
    journal = _journal(folder)
    for epoch in sorted(journal.iterdir()) if journal is not None else ():
        if not _is_epoch(epoch.name):
            continue
        yield from _card(epoch, folder)
        for path in sorted(epoch.glob("*.seg")):
            yield from _segment(path, epoch.name, folder)


def growing(folder: Path) -> str:
    """The epoch that goes on: the one with the highest number on its card; its end is never pruned."""
    journal = _journal(folder)
    numbers: dict[str, int] = {}
    for epoch in journal.iterdir() if journal is not None else ():
        try:
            numbers[epoch.name] = int(json.loads((epoch / "epoch.json").read_bytes())["number"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # read_journal names it
    return max(numbers, key=numbers.__getitem__, default="")


def cursors(folder: Path) -> Cursors:
    """The file ``state.db`` beside the journal; empty where there is none that can be read."""
    journal = _journal(folder)
    found = Cursors({}, {})
    path = (journal or folder).parent / "state.db"
    if not path.is_file():
        return found
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            for epoch, first, last in db.execute("SELECT epoch, first, last FROM acked"):
                found.acked.setdefault(epoch, []).append((first, last))
            for epoch, next_seq in db.execute("SELECT epoch, next_seq FROM used"):
                found.used[epoch] = next_seq - 1
    except sqlite3.Error:
        return Cursors({}, {})  # unsigned and a convenience only: without it fewer absences can be explained
    for epoch, ranges in found.acked.items():
        found.acked[epoch] = merged(ranges)
        found.used[epoch] = max(found.used.get(epoch, 0), found.acked[epoch][-1][1])
    return found


def _journal(folder: Path) -> Path | None:
    for place in (folder / "journal", folder):
        if place.is_dir() and any(_is_epoch(child.name) and child.is_dir() for child in place.iterdir()):
            return place
    return None


def _is_epoch(text: str) -> bool:
    return len(text) == 16 and not set(text) - set("0123456789abcdef")


def _card(epoch: Path, root: Path) -> Iterator[Flaw]:
    card = epoch / "epoch.json"
    try:
        said = json.loads(card.read_bytes())
        if said["epoch"] != epoch.name or int(said["next_seq"]) < 1 or len(bytes.fromhex(said["prev"])) != 32:
            raise ValueError("it speaks of another epoch")
    except FileNotFoundError:
        yield Flaw("index", name(card, root), "the card of the epoch is not there", epoch=epoch.name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Flaw("damaged", name(card, root), f"the card of the epoch cannot be read ({error})", epoch=epoch.name)


def _segment(path: Path, epoch: str, root: Path) -> Iterator[Item]:
    file = name(path, root)
    try:
        data = path.read_bytes()
        while path.stat().st_size > len(data):  # a running gateway writes to it
            data = path.read_bytes()
    except OSError as error:
        yield Flaw("damaged", file, f"cannot be read: {error.strerror}", epoch=epoch)
        return
    at = before = 0
    seqs: list[int] = []
    while (at := _past_padding(data, at)) < len(data):
        record = _record(data, at)
        if record is None:
            following = _following(data, at + 1)
            end = len(data) if following is None else following.start - _HEAD
            yield _gap(data, at, end, file, epoch, before)
            if following is None:
                break
            record = following
        yield Found(
            data[record.start : record.end], file, record.start, "record", epoch=epoch, seq=record.seq,
            digest=record.digest,
        )  # fmt: skip
        seqs.append(record.seq)
        before, at = record.seq, record.end
    yield from _index(path, epoch, root, seqs, len(data))


def _record(data: bytes, at: int) -> _Record | None:
    if data[at : at + 4] != b"MLJ1" or len(data) - at < _HEAD:
        return None
    length = int.from_bytes(data[at + 4 : at + 8], "big")
    start, end = at + _HEAD, at + _HEAD + length
    if zlib.crc32(data[at : at + 52]) != int.from_bytes(data[at + 52 : start], "big") or length > _LONGEST:
        return None
    if end > len(data) or zlib.crc32(data[start:end]) != int.from_bytes(data[at + 48 : at + 52], "big"):
        return None
    return _Record(int.from_bytes(data[at + 8 : at + 16], "big"), data[at + 16 : at + 48], start, end)


def _past_padding(data: bytes, at: int) -> int:
    """Behind the zeros that fill the rest of a page, if a record or the end follows; they hold nothing."""
    room = data[at : at + _PAGE - 1]
    end = at + len(room) - len(room.lstrip(b"\0"))
    return end if end == len(data) or data[end : end + 4] == b"MLJ1" else at


def _following(data: bytes, at: int) -> _Record | None:
    while (at := data.find(b"MLJ1", at)) >= 0:
        if (record := _record(data, at)) is not None:
            return record
        at += 1
    return None


def _gap(data: bytes, at: int, end: int, file: str, epoch: str, before: int) -> Flaw:
    """A stretch without a record; the number it may have held is read from its head where that is whole."""
    head = data[at : at + 52]
    headed = len(head) == 52 and zlib.crc32(head) == int.from_bytes(data[at + 52 : at + _HEAD], "big")
    seq = int.from_bytes(data[at + 8 : at + 16], "big") if headed else before + 1
    cut = end == len(data) and headed and end - at < _HEAD + int.from_bytes(data[at + 4 : at + 8], "big")
    cut = cut or (end == len(data) and end - at < _HEAD and data[at : at + 4] == b"MLJ1"[: end - at])
    words = "ends within a record" if cut else f"{end - at} bytes that are no record"
    return Flaw("cut" if cut else "damaged", file, words, "", epoch, seq, seq, at, "record")


def _index(path: Path, epoch: str, root: Path, seqs: list[int], size: int) -> Iterator[Flaw]:
    index = path.with_name(path.name + ".index")
    if not index.is_file():
        return
    try:
        said = json.loads(index.read_bytes())
        same = said["size"] == size and [tuple(r) for r in said["ranges"]] == merged((s, s) for s in seqs)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        yield Flaw("index", name(index, root), "does not belong to its segment as it is now", epoch=epoch)
