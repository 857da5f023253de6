"""Is everything still here that was acknowledged? The hours gateways state, held against what the store has now.

Holes in the numbering are seen by the ledger at once. This finds what the ledger cannot: a loss *behind* an
acknowledgement (a backup put back, a database wiped, a day's file removed, rows deleted), whatever is changed in bytes
or readings, and the unseen end of an epoch the gateway has left. What is missing is asked for again; the gateway has it
as long as its journal reaches. What differs is said and left alone until a person applies `meterline reconcile`.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headend.audit_book import AuditBook, State, Stated
from headend.catalogue import Catalogue, dump_cursor, load_cursor
from headend.stores.api import Cursor, day_name
from headend.stores.embedded import EmbeddedReader, EmbeddedStore
from meterline.clock import NS, Clock
from meterline.errors import WireError
from meterline.ranges import RangeSet
from meterline.wire import LostRange, Ranges, batch_topic, hours_in, unseal, verify

_LOG = logging.getLogger(__name__)
_JOB = "audit"
MESSAGES_A_ROUND = 5000
HOURS_A_ROUND = 200
ROUND_S = 1.0
"""A round looks at no more hours after this. [s]"""
ASK_AGAIN_S = 60.0
REQUESTS = "requests"
"""Folder in the head-end's data folder in which `meterline reconcile` leaves what a person applied."""
_DAY_NS = 86_400 * NS

Ask = Callable[[str, str, Ranges], None]
"""Asks a gateway for numbers of an epoch."""


class Known:
    """What the ledger knows of each gateway, asked once."""

    def __init__(self, store: EmbeddedReader) -> None:
        self.store = store
        self._lost: dict[str, tuple[LostRange, ...]] = {}
        self._received: dict[str, Mapping[str, Ranges]] = {}

    def lost(self, gateway: str, epoch: str) -> list[LostRange]:
        """What was declared lost of an epoch."""
        if gateway not in self._lost:
            self._lost[gateway] = self.store.lost(gateway)
        return [lost for lost in self._lost[gateway] if lost.epoch == epoch]

    def received(self, gateway: str, epoch: str) -> RangeSet:
        """What the ledger claims of an epoch."""
        if gateway not in self._received:
            self._received[gateway] = self.store.received(gateway)
        return RangeSet(self._received[gateway].get(epoch, ()))


def compare(known: Known, stated: Stated, now_ns: int) -> Stated:
    """Hold one statement against the store; nothing is changed."""
    gateway, hour = stated.gateway, stated.hour
    kept = known.store.kept(gateway, hour)
    open_ = RangeSet(kept.missing)
    if open_:
        for lost in known.lost(gateway, hour.epoch):
            open_.remove(lost.first, lost.last)
    state: State
    if open_:
        claimed = known.received(gateway, hour.epoch)
        state = "missing" if any(claimed.within(a, b) for a, b in open_) or stated.state == "fits" else "waiting"
        if stated.state == "missing":
            state = "missing"  # until it is here again, or declared lost
    elif kept.missing:
        state = "lost"
    else:
        state = "fits" if kept.hour == hour else "differs"
    here = kept.hour
    return replace(
        stated,
        state=state,
        checked_ns=now_ns,
        missing=open_.ranges,
        changed=kept.changed,
        here_readings=None if here is None else here.readings,
        here_advance=None if here is None else here.advance_micro,
    )


class Audit:
    """The rounds of the audit, beside a head-end that writes.

    Parameters
    ----------
    keys
        Gateway -> public key, to tell a changed batch from a changed reading.
    ask
        Has an acknowledgement sent that wants numbers again.
    changed
        Told of the UTC day of what is no longer held.
    trouble
        Told each round what is wrong, or that nothing is (empty).
    """

    def __init__(
        self,
        store: EmbeddedStore,
        catalogue: Catalogue,
        book: AuditBook,
        clock: Clock,
        keys: Mapping[str, Ed25519PublicKey],
        ask: Ask,
        folder: Path,
        changed: Callable[[str], None] = lambda day: None,
        trouble: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._store, self._catalogue, self._book, self._clock = store, catalogue, book, clock
        self._keys, self._ask, self._requests = keys, ask, folder / REQUESTS
        self._changed, self._trouble = changed, trouble
        self._asked_s: dict[tuple[str, str], float] = {}

    def once(self, now_ns: int) -> None:
        """One round."""
        self._learn(now_ns)
        self._watch_files()
        self._take_requests(now_ns)
        began_s = self._clock.monotonic_s()
        wanted: dict[tuple[str, str], RangeSet] = {}
        known = Known(self._store)
        for stated in self._book.due(now_ns, HOURS_A_ROUND):
            found = compare(known, stated, now_ns)
            self._say(stated, found)
            if found.state == "missing":
                self._store.forget(found.gateway, found.hour.epoch)
                if stated.state != "missing":
                    self._changed(day_name(found.hour.hour_ns))
            if found.missing:
                want = wanted.setdefault((found.gateway, found.hour.epoch), RangeSet())
                for first, last in found.missing:
                    want.add(first, last)
            self._book.note(found)
            if self._clock.monotonic_s() - began_s > ROUND_S:
                break
        for (gateway, epoch), numbers in wanted.items():
            self._want(gateway, epoch, numbers.ranges)
        self._trouble(self._wrong())

    def _wrong(self) -> str:
        words = []
        for gateway, counts in self._book.counts().items():
            if gone := counts.get("missing", 0):
                words.append(f"{gateway}: {gone} hour(s) with batches gone, asked for again")
            if differs := counts.get("differs", 0):
                words.append(f"{gateway}: {differs} hour(s) changed, see meterline reconcile")
        return "; ".join(words)

    def _learn(self, now_ns: int) -> None:
        """Statements in the batches committed since the last round."""
        old = self._catalogue.mark(_JOB, "cursor")
        cursor: Cursor = load_cursor(old)
        for reached, message in self._store.messages(cursor, MESSAGES_A_ROUND):
            cursor = reached
            hours = hours_in(message)
            if hours:
                self._book.put(unseal(message).gateway, hours, now_ns)
        text = dump_cursor(cursor)
        if text != old:
            self._catalogue.set_mark(_JOB, "cursor", text)

    def _watch_files(self) -> None:
        """A file that is gone, or another one under its name: all its hours are looked at again, now."""
        old = self._catalogue.mark(_JOB, "files")
        known = {} if old is None else {day: tuple(identity) for day, identity in orjson.loads(old).items()}
        files = dict(self._store.files())
        if known == files:
            return
        for day in known:
            if files.get(day) != known[day]:
                start = dt.datetime.fromisoformat(f"{day}T00:00:00+00:00")
                start_ns = int(start.timestamp()) * NS
                _LOG.warning("the file of %s was removed or exchanged; its hours are audited again", day)
                self._book.look_again((start_ns, start_ns + _DAY_NS))
        self._catalogue.set_mark(_JOB, "files", orjson.dumps(files).decode())

    def _want(self, gateway: str, epoch: str, numbers: Ranges) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_s.get((gateway, epoch), float("-inf")) >= ASK_AGAIN_S:
            self._asked_s[gateway, epoch] = now_s
            self._ask(gateway, epoch, numbers)

    def _say(self, before: Stated, found: Stated) -> None:
        if found.state == before.state or found.state not in ("missing", "differs"):
            return
        words = "are gone from the store; asked for again" if found.state == "missing" else "are not what was stated"
        hour = dt.datetime.fromtimestamp(found.hour.hour_ns // NS, dt.UTC)
        _LOG.error(
            "gateway %s, epoch %s: of the batches %d to %d formed from %s on, %s %s", found.gateway, found.hour.epoch,
            found.hour.first, found.hour.last, f"{hour:%Y-%m-%d %H:%MZ}",
            ", ".join(f"{a} to {b}" for a, b in found.missing[:5]) or "some", words,
        )  # fmt: skip

    # --- what a person applied -------------------------------------------------------------------------------------

    def _take_requests(self, now_ns: int) -> None:
        if not self._requests.is_dir():
            return
        for path in sorted(self._requests.glob("reconcile-*.json")):
            known = Known(self._store)
            for stated in self._book.all():
                found = compare(known, stated, now_ns)
                if found.state in ("missing", "differs"):
                    self._asked_s.pop((found.gateway, found.hour.epoch), None)
                    self._repair(found, now_ns)
                    found = replace(found, state="missing")  # until the next look
                self._book.note(found)
            path.unlink()

    def _repair(self, found: Stated, now_ns: int) -> None:
        """Put everything of a run aside, take back what its gateway's signature proves, ask for the rest."""
        gateway, hour = found.gateway, found.hour
        if found.state == "missing":
            self._store.forget(gateway, hour.epoch)
            self._want(gateway, hour.epoch, found.missing)
            return
        blocks = self._store.blocks(gateway, hour.epoch, hour.first, hour.last)
        key = self._keys.get(gateway)
        good = []
        for seq, message, block in blocks:
            try:
                if block is None or key is None or verify(message, key) != block.digest or block.batch.seq != seq:
                    raise WireError("tampered", f"stored as {gateway}/{hour.epoch}/{seq}, and not what was signed")
                good.append(block)
            except WireError as error:
                words = f"found by the audit: {error}"
                self._catalogue.quarantine(now_ns, batch_topic(gateway), "tampered", words, message)
        self._store.forget(gateway, hour.epoch, [seq for seq, _, _ in blocks])
        self._store.append(good)
        left = RangeSet([(hour.first, hour.last)])
        for block in good:
            left.remove(block.batch.seq)
        if left:
            self._want(gateway, hour.epoch, left.ranges)
        _LOG.warning(
            "gateway %s, epoch %s: batches %d to %d reconciled; %d taken back as signed, %d asked for again", gateway,
            hour.epoch, hour.first, hour.last, len(good), len(left),
        )  # fmt: skip


def request_reconcile(folder: Path, now_ns: int) -> Path:
    """Leave a person's word for the head-end: everything that is missing or differs is to be made good.

    Raises
    ------
    OSError
        It cannot be written.
    """
    place = folder / REQUESTS
    place.mkdir(exist_ok=True)
    path = place / f"reconcile-{now_ns}.json"
    draft = path.with_suffix(".new")
    draft.write_bytes(orjson.dumps({"at_ns": now_ns}))
    draft.replace(path)
    return path
