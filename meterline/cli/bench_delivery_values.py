"""Readings for ``meterline bench delivery``: recorded ones replayed where files are given, invented ones otherwise."""

from __future__ import annotations

import csv
import gzip
import io
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from meterline.errors import ConfigError, Problem
from meterline.readings import ClockState, Column, Exchange, Number, Poll, Quality, Shape

MINUTE_NS = 60 * 10**9
ROWS = 1440
"""Rows of a recording that are used; longer stretches go round."""
TABLES = 8
"""Different tables of values; more meters have the same ones some hours apart, so that memory is the gateway's."""
NAMES = (
    "energy.active.import", "energy.active.export", "energy.reactive.import", "power.active.total", "power.active.l1",
    "power.active.l2", "power.active.l3", "power.reactive.total", "power.apparent.total", "power_factor.total",
    "voltage.l1n", "voltage.l2n", "voltage.l3n", "current.l1", "current.l2", "current.l3", "current.n", "frequency",
    "voltage.l1l2", "voltage.l2l3",
)  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """One meter's file: per column its name, the decimals it is written with, and the cells.

    Attributes
    ----------
    rows
        Texts as they stand in the file, empty where there is no number.
    """

    columns: tuple[str, ...]
    decimals: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]


class Meters:
    """Some meters with a poll for every slot.

    Parameters
    ----------
    recordings
        Replayed; none: a random walk on the grid of an ordinary three-phase meter.
    count, points
        How many meters of how many values; 0 takes what the recordings have.
    floats
        Whether they send binary floats instead of scaled integers.
    """

    def __init__(
        self, recordings: Sequence[Recording], *, count: int = 0, points: int = 0, floats: bool = False
    ) -> None:
        self._draw = random.Random(1)
        self._tables: list[tuple[Shape, list[tuple[Number | None, ...]]]] = []
        self._count = count or len(recordings)
        for index in range(min(self._count, TABLES) if points else self._count):
            columns = (
                _replayed(recordings, index, points, floats=floats)
                if recordings
                else _invented(self._draw, points, floats=floats)
            )
            heads = tuple(Column(name, exponent, is_float=floats) for name, exponent, _ in columns)
            rows = list(zip(*(values for _, _, values in columns), strict=True))
            self._tables.append((Shape("bench-meter@1", heads), rows))

    def polls(self, index: int, slot_ns: int, *, frames: bool = False) -> list[Poll]:
        """What the meters answer at their `index`-th slot."""
        found: list[Poll] = []
        for number in range(self._count):
            shape, rows = self._tables[number % len(self._tables)]
            row = rows[(index + number // len(self._tables) * 137) % len(rows)]
            doubt = tuple(int(Quality.MISSING) if n is None else 0 for n in row) if None in row else ()
            delay = self._draw.randrange(15, 1500)
            asked = _frames(row, slot_ns + delay * 1_000_000) if frames else ()
            found.append(
                Poll(f"m-{number + 1:02d}", shape, slot_ns, (delay,), ClockState.SIMULATED, row, doubt, exchanges=asked)
            )
        return found


def _frames(row: Sequence[Number | None], answered_ns: int) -> tuple[Exchange, ...]:
    """A Modbus request and the answer that brings these numbers as words."""
    words = b"".join(
        struct.pack(">f", n) if isinstance(n, float) else struct.pack(">I", (n or 0) & 0xFFFFFFFF) for n in row
    )
    answer = b"\x01\x03" + bytes([len(words) & 255]) + words
    check = crc32(answer).to_bytes(4, "big")[:2]  # stands for the frame's own: as long, and as hard to pack
    return (Exchange(b"\x01\x03\x00\x00\x00\x28\x45\xd4", answer + check, answered_ns - 30_000_000, answered_ns),)


def read_recording(path: Path) -> Recording:
    """Read a CSV with a header, packed or not; columns that are mostly numbers are the values.

    Raises
    ------
    ConfigError
        The file cannot be read, or has no column of numbers.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(
            [Problem(str(path), "", f"cannot be read: {error}", "give a CSV file, or one in gzip")]
        ) from error
    first = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text), delimiter=";" if ";" in first else ",")
    header = next(lines, [])
    rows = [row for row, _ in zip((row for row in lines if len(row) == len(header)), range(ROWS), strict=False)]
    use = [k for k in range(len(header)) if sum(_is_number(row[k]) for row in rows) > len(rows) / 2]
    if not use or not rows:
        problem = Problem(str(path), "", "no column of numbers in it", "give a CSV file with a header")
        raise ConfigError([problem])
    cells = tuple(tuple(row[k] if _is_number(row[k]) else "" for k in use) for row in rows)
    decimals = tuple(max(len(row[i].partition(".")[2]) for row in cells) for i in range(len(use)))
    return Recording(tuple(header[k] for k in use), decimals, cells)


def as_float32(value: float) -> float:
    """The float32 next to `value` as its shortest decimal: what a meter that sends floats gives."""
    packed = struct.pack(">f", value)
    for digits in range(6, 10):
        short = float(f"{struct.unpack('>f', packed)[0]:.{digits}g}")
        if struct.pack(">f", short) == packed:
            return short
    return short


def _replayed(
    recordings: Sequence[Recording], index: int, points: int, *, floats: bool
) -> list[tuple[str, int, list[Number | None]]]:
    """The columns of one recording; with `points` so many, taken from the following recordings where it has fewer."""
    columns: list[tuple[str, int, list[Number | None]]] = []
    source = index
    while not columns or len(columns) < points:
        recording = recordings[source % len(recordings)]
        for k, name in enumerate(recording.columns):
            if points and len(columns) == points:
                break
            cells = [recording.rows[i % len(recording.rows)][k] for i in range(ROWS)]
            decimals = recording.decimals[k]
            if floats:
                # A transducer's arithmetic fills the mantissa; the file's few decimals are what was printed of it.
                gain = 1 + (source * 31 + k + 1) * 1e-5
                columns.append((name, 0, [as_float32(float(c) * gain) if c else None for c in cells]))
            else:
                columns.append((name, -decimals, [round(float(c) * 10**decimals) if c else None for c in cells]))
        source += 1
    return columns


def _invented(draw: random.Random, points: int, *, floats: bool) -> list[tuple[str, int, list[Number | None]]]:
    columns: list[tuple[str, int, list[Number | None]]] = []
    for k in range(points):
        counter, at = k < 3, draw.randrange(100_000, 10_000_000)
        values: list[Number | None] = []
        for _ in range(ROWS):
            at += draw.randrange(0, 60) if counter else draw.randrange(-40, 41)
            values.append(as_float32(at / 971) if floats else at)
        columns.append((NAMES[k % len(NAMES)], 0 if floats else -2, values))
    return columns


def _is_number(text: str) -> bool:
    try:
        return float(text) * 0 == 0
    except ValueError:
        return False


def batches_of(meters: Meters, readings: int, count: int) -> Iterator[tuple[int, list[Poll]]]:
    """Groups of polls with about so many readings (at least one poll), in order of time: index and polls."""
    waiting: list[Poll] = []
    slot, made = 0, 0
    while made < count:
        waiting += meters.polls(slot, 1_795_392_000_000_000_000 + slot * MINUTE_NS)
        slot += 1
        while made < count and sum(len(poll.numbers) for poll in waiting) >= readings + 64:
            group: list[Poll] = []
            while waiting and (not group or sum(len(p.numbers) for p in [*group, waiting[0]]) <= readings):
                group.append(waiting.pop(0))
            yield made, group
            made += 1
