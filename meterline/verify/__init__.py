"""Proof without the software that wrote the data: signatures, links, gaps, statements; journal, store or export.

A code path of its own: the standard library, one library for Ed25519 and one for zstd. None of our classes that write,
send or store a batch is used here, so a mistake in those cannot hide itself (`lint-imports` holds this; see
docs/adr/0010-verify-is-independent.md). Read in this order: `message` takes one message apart, `journal_files`,
`store_files` and `evidence_file` find messages in files and say where they lie, `judge` looks at each and at all
together, `report` is the outcome.

What it can prove: that nothing which is here was changed, inserted, swapped, or left out between batches that are here.
What no check of the files alone can prove: that the newest batches were not cut off, all of them, at the very end.
For that there is the witness: the report of an earlier check, kept elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from meterline.software import software_id
from meterline.verify.evidence_file import header_of, is_evidence, read_evidence
from meterline.verify.journal_files import cursors, growing, is_journal, read_journal
from meterline.verify.judge import ANY, Judge, Key
from meterline.verify.ranges import Ranges
from meterline.verify.report import Epoch, Flaw, Report
from meterline.verify.store_files import acknowledged, is_store, last_words, offset_of, read_store

__all__ = ["ANY", "Epoch", "Flaw", "NothingToProve", "Report", "header_of", "kind_of", "verify"]


class NothingToProve(ValueError):
    """The path is no journal, no store and no evidence file."""


def kind_of(path: Path) -> str:
    """``journal``, ``store`` or ``evidence``.

    Raises
    ------
    NothingToProve
        None of them.
    """
    if is_evidence(path):
        return "evidence"
    if is_journal(path):
        return "journal"
    if is_store(path):
        return "store"
    raise NothingToProve(str(path))


def verify(
    path: Path, keys: Mapping[str, tuple[str, str]], witness: Mapping[Key, tuple[int, str]] | None = None
) -> Report:
    """Check everything under `path`, offline.

    Parameters
    ----------
    path
        A gateway's data folder, a head-end's data folder, or an evidence file.
    keys
        Gateway (or `ANY`) -> public key (base64) and where it came from.
    witness
        ``(gateway, epoch)`` -> number and digest that an earlier report ended with.

    Raises
    ------
    NothingToProve
        There is nothing of ours at `path`.
    OSError
        It cannot be read.
    """
    began_s = time.perf_counter()
    kind = kind_of(path)
    report = Report(str(path), kind, software_id(), keys=dict(keys))
    judge = Judge(report, {gateway: text for gateway, (text, _) in keys.items()})
    given_up: dict[str, Ranges] = {}
    used: dict[Key, tuple[int, str]] = {}
    held: dict[Key, list[tuple[int, int, str]]] = {}
    end = ""
    # What claims how much there is comes first: the thing itself may grow while it is read.
    if kind == "evidence":
        judge.take(read_evidence(path, path.parent))
    elif kind == "journal":
        remembered, end = cursors(path), growing(path)
        judge.take(read_journal(path))
        given_up = remembered.acked
        for gateway, epoch in judge.known():
            if epoch in remembered.used:
                used[gateway, epoch] = (remembered.used[epoch], "state.db")
    else:
        held = acknowledged(path)
        used = {key: (number, "the gateway's last word") for key, number in last_words(path).items()}
        judge.take(read_store(path))
    judge.conclude(
        given_up=given_up,
        used=used,
        held=held,
        growing=end,
        witness=witness or {},
        from_first=kind != "evidence",
    )
    if kind == "store":
        report.flaws = [_with_offset(flaw, path, judge) for flaw in report.flaws]
    report.seconds = round(time.perf_counter() - began_s, 3)
    return report


def _with_offset(flaw: Flaw, root: Path, judge: Judge) -> Flaw:
    """A batch in a database has no offset of its own; its signature is looked for in the file."""
    message = judge.doubtful.get((flaw.file, flaw.place))
    if message is None or flaw.offset is not None:
        return flaw
    return replace(flaw, offset=offset_of(root / flaw.file, message))
