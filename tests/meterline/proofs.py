"""Things to prove: a journal a gateway wrote, a store a head-end wrote, a file exported from it."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway_firmware_py.files import DiskFiles
from gateway_firmware_py.journal import Journal
from gateway_firmware_py.keeper import Draft, Keeper
from gateway_firmware_py.state import State
from headend.evidence import export
from headend.stores.api import Span
from headend.stores.embedded import EmbeddedReader, EmbeddedStore
from meterline.clock import ManualClock
from meterline.readings import MissingSpan
from meterline.verify import Flaw, Report, verify
from meterline.wire import Sealed, digest_of
from tests.gateway.polls import T0_NS, poll
from tests.headend.gateway_twin import block_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
MINUTE = 60 * 10**9
BATCHES = 130


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


KEYS = {"gw1": (public(KEY), "test")}


def keeper_in(folder: Path, clock: ManualClock, state: State, segment_bytes: int = 20_000) -> Keeper:
    folder.mkdir(parents=True, exist_ok=True)
    return Keeper(
        gateway="gw1", key=KEY, clock=clock, software="meterline test", state=state,
        open_journal=lambda: Journal(DiskFiles(), folder / "journal", segment_bytes=segment_bytes),
    )  # fmt: skip


def journal(folder: Path, *, batches: int = BATCHES, start_ns: int = T0_NS) -> Path:
    """A gateway's data folder: a poll of two meters a minute, a batch each; quarter-hours are of the other class."""
    clock, state = ManualClock(start_ns), State(_ready(folder) / "state.db")
    keeper = keeper_in(folder, clock, state)
    for n in range(batches):
        clock.t_ns = start_ns + n * MINUTE
        polls = (poll(n, slot_ns=clock.t_ns), poll(7 * n, meter="m2", slot_ns=clock.t_ns))
        silence = (MissingSpan("m3", clock.t_ns, None, "silent"),) if n == 5 else ()
        keeper.keep([Draft(polls, silence)])
    assert keeper.journal is not None
    keeper.journal.close()
    state.save()
    state.close()
    return folder


def store(folder: Path, source: Path) -> Path:
    """A head-end's data folder that took everything of a gateway's journal."""
    kept = Journal(DiskFiles(), source / "journal")
    blocks = [
        block_of(Sealed(epoch, seq, message, digest_of(message)))
        for epoch in kept.epochs
        for seq, message in kept.messages(epoch)
    ]
    kept.close()
    with EmbeddedStore(folder) as opened:
        opened.append(blocks)
    for path in days(folder):
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


def evidence(path: Path, source: Path, span: Span = Span(0, 2**62)) -> Path:
    reader = EmbeddedReader(source)
    export(reader, path, {"site": "works", "keys": {"gw1": KEYS["gw1"][0]}}, span)
    reader.close()
    return path


def days(folder: Path) -> list[Path]:
    return sorted((folder / "hot").glob("*-*.sqlite"))


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "journal").glob("*/*.seg"))


def epoch_of(folder: Path) -> str:
    return segments(folder)[0].parent.name


def checked(path: Path) -> Report:
    return verify(path, KEYS)


def kinds(report: Report) -> set[str]:
    return {flaw.kind for flaw in report.flaws}


def of_kind(report: Report, kind: str) -> list[Flaw]:
    return [flaw for flaw in report.flaws if flaw.kind == kind]


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def _ready(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
