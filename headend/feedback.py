"""What people say of a finding: right, false, or known; kept for good, and repeats of what is settled are not told.

A head-end that runs is the only writer of its catalogue. Another process (the command line) leaves a note in a folder
beside it; the next round takes it in. The note is a file, complete or not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from headend.tables import Tables
from meterline.clock import NS

DAY_NS = 86_400 * NS


class Verdict(StrEnum):
    """What a person found out."""

    CONFIRMED = "confirmed"
    """It was right; whatever comes again is told again."""
    FALSE = "false"
    """There was nothing."""
    KNOWN = "known"
    """It is so, and it stays so: nobody needs to hear it again."""


QUIET_NS = {Verdict.FALSE: 90 * DAY_NS, Verdict.KNOWN: 365 * DAY_NS}
"""For so long repeats at the same place are kept, but shelved. [ns]"""

SCHEMA = """
CREATE TABLE book_feedback (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    entry INTEGER NOT NULL REFERENCES book(id), kind TEXT NOT NULL, scope TEXT NOT NULL, subject TEXT NOT NULL,
    verdict TEXT NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL, at_ns INTEGER NOT NULL
);
CREATE INDEX book_feedback_subject ON book_feedback(kind, scope, subject, id);
"""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One verdict.

    Attributes
    ----------
    entry : int
        Number of the finding.
    who, why : str
        Never empty.
    at_ns : int
        Plant time. [ns]
    """

    entry: int
    verdict: Verdict
    who: str
    why: str
    at_ns: int

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.why.strip():
            raise ValueError("say who you are and why: a verdict without a reason helps nobody later")


def quiet_until(tables: Tables, kind: str, scope: str, subject: str) -> tuple[int, Feedback] | None:
    """Until when a thing is settled by the last verdict on it, and that verdict; None if it is to be told. [ns]"""
    row = tables.row(
        "SELECT entry, verdict, who, why, at_ns FROM book_feedback WHERE kind = ? AND scope = ? AND subject = ?"
        " ORDER BY id DESC LIMIT 1",
        kind, scope, subject,
    )  # fmt: skip
    if row is None or Verdict(row["verdict"]) not in QUIET_NS:
        return None
    last = Feedback(row["entry"], Verdict(row["verdict"]), row["who"], row["why"], row["at_ns"])
    return last.at_ns + QUIET_NS[last.verdict], last


class FeedbackBox:
    """The folder of notes.

    Parameters
    ----------
    data : Path
        The head-end's data folder.
    """

    def __init__(self, data: Path) -> None:
        self._folder = data / "feedback"

    def put(self, feedback: Feedback) -> Path:
        """Leave a note; it is on the disk when this returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{feedback.at_ns}-{feedback.entry}-{os.getpid()}.json"
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(feedback), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        return path

    def notes(self) -> Iterator[tuple[Path, Feedback | None]]:
        """Every note with its file, the oldest first; None for one that cannot be read."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                yield path, Feedback(**{**kept, "verdict": Verdict(kept["verdict"])})
            except (OSError, ValueError, TypeError, KeyError):
                yield path, None
