"""Taking signed batches out of a store into one file that proves itself anywhere (read by `meterline.verify`).

The layout is on the page docs/nothing-missing.md. Batches go in as they were signed, byte for byte, with those that
declare numbers of the same epochs lost, so that a gap in the file is explained by the gateway's own signature.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import orjson

from headend.stores.api import Key, Span
from headend.stores.embedded import EmbeddedReader
from meterline.wire import LostRange

MAGIC = b"MLE1"


@dataclass(frozen=True, slots=True)
class Exported:
    """What went into a file."""

    batches: int
    bytes: int
    epochs: tuple[tuple[str, str, int, int], ...]


class EvidenceWriter:
    """Writes one file; it has its name only when it is whole and on the disk.

    Parameters
    ----------
    header
        What the file says of itself, JSON-able: site, keys, span, software.

    Raises
    ------
    OSError
        It cannot be written; nothing is left behind under its name.
    """

    def __init__(self, path: Path, header: Mapping[str, object]) -> None:
        self._path, self._draft = path, path.with_name(path.name + ".new")
        self._file: BinaryIO = self._draft.open("wb")
        self._count, self._all = 0, hashlib.sha256()
        text = orjson.dumps({"format": "meterline-evidence-1", **header}, option=orjson.OPT_SORT_KEYS)
        self._file.write(MAGIC + len(text).to_bytes(4, "big") + text)

    def add(self, message: bytes) -> None:
        """Put the next batch in."""
        self._file.write(b"B" + len(message).to_bytes(4, "big") + zlib.crc32(message).to_bytes(4, "big") + message)
        self._all.update(message)
        self._count += 1

    def finish(self) -> int:
        """Put the end mark, sync, give the file its name; its length. [bytes]"""
        self._file.write(b"E" + self._count.to_bytes(8, "big") + self._all.digest())
        size = self._file.tell()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._draft.replace(self._path)
        return size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._file.closed:
            self._file.close()
            self._draft.unlink(missing_ok=True)


def export(
    store: EmbeddedReader, path: Path, header: Mapping[str, object], span: Span, gateways: Iterable[str] = ()
) -> Exported:
    """Write the batches formed in a span (of some gateways; of all without).

    Raises
    ------
    OSError, StoreUnavailable
        Nothing is left under the file's name.
    """
    epochs: dict[tuple[str, str], tuple[int, int]] = {}
    with EvidenceWriter(path, header) as file:
        count = 0
        for gateway, epoch, seq in _wanted(store, span, set(gateways) or set(store.gateways())):
            message = store.evidence(gateway, epoch, seq)
            if message is None:
                continue
            file.add(message)
            count += 1
            first, last = epochs.get((gateway, epoch), (seq, seq))
            epochs[gateway, epoch] = (min(first, seq), max(last, seq))
        size = file.finish()
    return Exported(count, size, tuple((*key, *ends) for key, ends in sorted(epochs.items())))


def _wanted(store: EmbeddedReader, span: Span, gateways: set[str]) -> Iterator[Key]:
    formed = [key for key in store.formed(span) if key[0] in gateways]
    yield from formed
    inside = set(formed)
    ends: dict[tuple[str, str], tuple[int, int]] = {}
    for gateway, epoch, seq in formed:
        first, last = ends.get((gateway, epoch), (seq, seq))
        ends[gateway, epoch] = (min(first, seq), max(last, seq))
    for gateway in sorted(gateways):
        for key, lost in store.declared(gateway):
            if key not in inside and _touches(lost, ends.get((gateway, lost.epoch))):
                inside.add(key)
                yield key


def _touches(lost: LostRange, ends: tuple[int, int] | None) -> bool:
    return ends is not None and lost.first <= ends[1] and lost.last >= ends[0]
