"""What the files hold, one signed message at a time, with the place and what the place itself claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meterline.verify.message import Batch
from meterline.verify.report import Flaw


@dataclass(frozen=True, slots=True)
class Found:
    """A message as it lies in a file.

    Attributes
    ----------
    file
        Relative to what is checked.
    offset
        Of the message's first byte; None in a database, whose pages scatter it.
    place
        In words.
    gateway, epoch, seq, prev, digest
        What the file says it is, as far as it says so (``""``, 0, ``b""`` where not).
    copies
        Compares what lies beside the message (rows of readings) with what it says; how many rows, and the flaws.
    """

    message: bytes
    file: str
    offset: int | None
    place: str
    gateway: str = ""
    epoch: str = ""
    seq: int = 0
    prev: bytes = b""
    digest: bytes = b""
    copies: Callable[[Batch], tuple[int, list[Flaw]]] | None = None


Item = Found | Flaw


def name(path: Path, root: Path) -> str:
    """How a file is called in the report."""
    try:
        return path.relative_to(root).as_posix() or path.name
    except ValueError:
        return path.as_posix()
