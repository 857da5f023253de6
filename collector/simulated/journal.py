"""The factory's memory on disk: what is planted, where the counters stood, and what every display showed.

``factory.json`` and ``anchors.jsonl`` let a restart go on exactly where the plant's clock is. ``shown.jsonl`` is the
oracle of tests and soaks: it is written by the meters, before any frame leaves, and nothing of the collector's code
has touched it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from collector.simulated.faults import Fault
from collector.simulated.physics import Anchor
from meterline.errors import ConfigError, Problem

VERSION = 1
KEPT_ON_RESTART = 200
"""Anchors carried over into the next run: two days."""


class FactoryState:
    """``factory.json`` and ``anchors.jsonl`` of one state folder.

    Parameters
    ----------
    folder
        Created when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._anchors: IO[str] | None = None

    def load(self) -> tuple[list[Fault], dict[int, Anchor]]:
        """What an earlier run left: planted faults and anchors; both empty on the first run.

        Raises
        ------
        ConfigError
            The files are not this factory's.
        """
        planted = self._folder / "factory.json"
        if not planted.exists():
            return [], {}
        try:
            found = json.loads(planted.read_text(encoding="utf-8"))
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']}")
            faults = [Fault(**row) for row in found["faults"]]
            anchors = dict(self._read_anchors())
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                [Problem(str(planted), "", f"is no state of the simulated factory ({error})", "move the folder away")]
            ) from error
        return faults, anchors

    def begin(self, faults: Iterable[Fault], anchors: Mapping[int, Anchor]) -> None:
        """Start a run: replace both files, then keep adding anchors."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"version": VERSION, "faults": [asdict(fault) for fault in faults]}, ensure_ascii=False)
        _replace(self._folder / "factory.json", text + "\n")
        rows = sorted(anchors.items())[-KEPT_ON_RESTART:]
        _replace(self._folder / "anchors.jsonl", "".join(_row(step, anchor) for step, anchor in rows))
        self._anchors = (self._folder / "anchors.jsonl").open("a", encoding="utf-8")

    def add(self, step: int, anchor: Anchor) -> None:
        """Keep where all counters stood at a quarter hour."""
        if self._anchors is not None:
            self._anchors.write(_row(step, anchor))
            self._anchors.flush()

    def close(self) -> None:
        """End the run."""
        if self._anchors is not None:
            self._anchors.close()
            self._anchors = None

    def _read_anchors(self) -> Iterable[tuple[int, Anchor]]:
        path = self._folder / "anchors.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        for line in lines:
            if line.endswith("\n"):  # else the process was killed while writing it
                row = json.loads(line)
                yield int(row["step"]), row["tallies"]


def _row(step: int, anchor: Anchor) -> str:
    return json.dumps({"step": step, "tallies": anchor}) + "\n"


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(path.suffix + ".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


class ShownJournal:
    """``shown.jsonl``: one row for each quarter hour and meter, and, if wanted, for each answered read of counters.

    A row is ``{"t": plant time [ns], "meter": id, "why": "grid" | "read", "shown": {measurand: number}}``; a number is
    what the display shows, before the point's decimal exponent: exactly what a reading must carry.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "shown.jsonl").open("a", encoding="utf-8")

    def add(self, t_ns: int, meter: str, why: str, shown: Mapping[str, int | float]) -> None:
        """Write one row."""
        self._file.write(json.dumps({"t": t_ns, "meter": meter, "why": why, "shown": shown}) + "\n")

    def flush(self) -> None:
        """Let readers see it."""
        self._file.flush()

    def close(self) -> None:
        """End it."""
        self._file.close()


def read_shown(folder: Path) -> list[dict[str, Any]]:
    """The rows of a journal, oldest first."""
    text = (folder / "shown.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
