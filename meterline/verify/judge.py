"""Signatures, links, gaps, statements: everything that can be wrong between batches."""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from meterline.verify.found import Found, Item
from meterline.verify.message import HEAD, Batch, NotOfTheContract, signed_by, take_apart
from meterline.verify.ranges import Ranges, both, merged, minus
from meterline.verify.report import Epoch, Flaw, Report

Key = tuple[str, str]
"""Gateway and epoch."""
ANY = "*"
"""A key under this name is that of every gateway that has none of its own."""
_MOST_DOUBTFUL = 1000
"""So many messages are kept for looking up where they lie in their file."""


class _Chain:
    """The batches of one epoch, kept small: 74 bytes each."""

    def __init__(self) -> None:
        self.seqs = array("Q")
        self.links = bytearray()  # prev and digest of each
        self.files = array("H")
        self.offsets = array("q")
        self.places: dict[int, str] = {}
        self.bad: list[tuple[int, int]] = []
        self.formed = (1 << 62, 0)

    def add(self, batch: Batch, file: int, offset: int | None) -> None:
        self.seqs.append(batch.seq)
        self.links += batch.prev + batch.digest
        self.files.append(file)
        self.offsets.append(-1 if offset is None else offset)
        self.formed = (min(self.formed[0], batch.at_ms), max(self.formed[1], batch.at_ms))

    def prev(self, i: int) -> bytes:
        return bytes(self.links[64 * i : 64 * i + 32])

    def digest(self, i: int) -> bytes:
        return bytes(self.links[64 * i + 32 : 64 * i + 64])


class Judge:
    """Takes what the files hold and says what is wrong with it.

    Parameters
    ----------
    keys
        Gateway -> public key, base64.

    Attributes
    ----------
    doubtful
        Messages with a flaw, by file and place.
    """

    def __init__(self, report: Report, keys: Mapping[str, str]) -> None:
        self.report = report
        self._keys = {
            gateway: Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
            for gateway, text in keys.items()
        }
        self._chains: dict[Key, _Chain] = {}
        self._files: dict[str, int] = {}
        self._names: list[str] = []
        self._lost: dict[Key, list[tuple[int, int, str]]] = {}
        self._hours: dict[tuple[str, str, int, int], tuple[str, int, str]] = {}
        self._unknown: set[str] = set()
        self._made_by: set[str] = set()
        self._bare: list[Flaw] = []  # damage that names a number but no gateway
        self.doubtful: dict[tuple[str, str], bytes] = {}

    def known(self) -> list[Key]:
        """Every epoch of which anything is here."""
        return sorted(key for key, chain in self._chains.items() if chain.seqs)

    # --- one by one ------------------------------------------------------------------------------------------------

    def take(self, items: Iterable[Item]) -> None:
        """Look at each message by itself."""
        for item in items:
            if isinstance(item, Flaw):
                self._bare.append(item)
                continue
            self.report.batches += 1
            self.report.bytes += len(item.message)
            self._one(item)

    def _one(self, found: Found) -> None:
        try:
            batch = take_apart(found.message)
        except NotOfTheContract as error:
            digest = hashlib.sha256(found.message[HEAD:]).digest()
            signed = any(signed_by(found.message, digest, key) for key in self._keys.values())
            self._bare.append(self._flaw(found, "unreadable" if signed else "changed", str(error)))
            return
        key = self._keys.get(batch.gateway) or self._keys.get(ANY)
        if key is None:
            if batch.gateway not in self._unknown:
                self._unknown.add(batch.gateway)
                self._flaws(self._flaw(found, "unknown-key", f"no public key of {batch.gateway} is given", batch))
        elif not signed_by(found.message, batch.digest, key):
            words = f"the signature is not that of {batch.gateway} over these bytes"
            self._flaws(self._flaw(found, "changed", words, batch))
            self._chain(batch.gateway, batch.epoch).bad.append((batch.seq, batch.seq))
            if found.seq and found.seq != batch.seq:
                self._chain(found.gateway or batch.gateway, found.epoch).bad.append((found.seq, found.seq))
            return
        else:
            self.report.proven += 1
        self._filed(found, batch)
        chain = self._chain(batch.gateway, batch.epoch)
        chain.add(batch, self._file(found.file), found.offset)
        if found.offset is None:
            chain.places[len(chain.seqs) - 1] = found.place
        self._said(found, batch)
        if found.copies is not None:
            rows, flaws = found.copies(batch)
            self.report.rows += rows
            self._flaws(*flaws)

    def _filed(self, found: Found, batch: Batch) -> None:
        """What the file says beside the message must be what the message says."""
        claims: list[tuple[str, object, object]] = []
        if found.gateway:
            claims.append(("gateway", found.gateway, batch.gateway))
        if found.epoch:
            claims.append(("epoch", found.epoch, batch.epoch))
        if found.seq:
            claims.append(("number", found.seq, batch.seq))
        if any(said != is_ for _, said, is_ in claims):
            words = ", ".join(f"{what} {said} is {is_}" for what, said, is_ in claims if said != is_)
            self._flaws(self._flaw(found, "misplaced", f"filed under another name: {words}", batch))
        if (found.digest and found.digest != batch.digest) or (found.prev and found.prev != batch.prev):
            self._flaws(self._flaw(found, "index", "the digest or link beside the batch is not the batch's", batch))

    def _said(self, found: Found, batch: Batch) -> None:
        self._made_by.add(str(batch.body.get("software", "")))
        try:
            for lost in batch.body.get("lost", ()):
                entry = (int(lost["first"]), int(lost["last"]), str(lost["reason"]))
                self._lost.setdefault((batch.gateway, str(lost["epoch"])), []).append(entry)
            for hour in batch.body.get("hours", ()):
                run = (batch.gateway, str(hour["epoch"]), int(hour["first"]), int(hour["last"]))
                self._hours[run] = (str(hour["digest"]), int(hour["hour"]), f"{batch.epoch}/{batch.seq}")
        except (KeyError, TypeError, ValueError) as error:
            self._flaws(self._flaw(found, "unreadable", f"losses or hours cannot be read: {error}", batch))

    # --- all together ----------------------------------------------------------------------------------------------

    def conclude(
        self,
        *,
        given_up: Mapping[str, Ranges],
        used: Mapping[Key, tuple[int, str]],
        held: Mapping[Key, list[tuple[int, int, str]]],
        growing: str,
        witness: Mapping[Key, tuple[int, str]],
        from_first: bool,
    ) -> None:
        """Look at each epoch as a whole.

        Parameters
        ----------
        given_up
            Epoch -> numbers whose absence is in order (acknowledged and pruned).
        used
            The highest number known to have been used, and who says so.
        held
            What the store once acknowledged, with the file that says so.
        growing
            The epoch whose end is never given up.
        witness
            Number and digest an earlier report ended with.
        from_first
            Whether everything from number 1 on belongs here (false: a part was taken out).
        """
        self.report.made_by = sorted(self._made_by - {""})
        names = {*self._chains, *held, *(run[:2] for run in self._hours), *(k for k, _ in used.items())}
        for key in sorted(names):
            chain = self._chain(*key)
            order = sorted(range(len(chain.seqs)), key=chain.seqs.__getitem__)
            order = self._doubled(key, chain, order)
            self._links(key, chain, order)
            here = merged((chain.seqs[i], chain.seqs[i]) for i in order)
            epoch = self._epoch(key, chain, order, here)
            gone = given_up.get(key[1], [])
            self._absent(key, epoch, gone, held.get(key, []), from_first)
            self._cut(key, epoch, gone if key[1] != growing else [], used.get(key))
            self._stated(key, chain, order)
            if key in witness:
                self._history(key, chain, order, witness[key])
            if epoch.count:
                self.report.epochs.append(epoch)
        for flaw in self._bare:
            self._flaws(self._named(flaw))
        self.report.flaws.sort(key=lambda f: (f.gateway, f.epoch, f.first, f.file, f.offset or 0, f.kind))

    def _doubled(self, key: Key, chain: _Chain, order: list[int]) -> list[int]:
        single: list[int] = []
        for i in order:
            if single and chain.seqs[single[-1]] == chain.seqs[i]:
                if chain.digest(single[-1]) != chain.digest(i):
                    words = f"number {chain.seqs[i]} also lies in {self._where(chain, single[-1])} with other contents"
                    self._flaws(self._at(key, chain, i, "twice", words))
            else:
                single.append(i)
        return single

    def _links(self, key: Key, chain: _Chain, order: list[int]) -> None:
        for k, i in enumerate(order):
            seq = chain.seqs[i]
            if seq == 1 and chain.prev(i) != bytes(32):
                self._flaws(self._at(key, chain, i, "chain", "the first batch of its epoch names one before it"))
            elif k and chain.seqs[order[k - 1]] == seq - 1 and chain.prev(i) != chain.digest(order[k - 1]):
                words = f"does not follow batch {seq - 1} in {self._where(chain, order[k - 1])}"
                self._flaws(self._at(key, chain, i, "chain", words))

    def _epoch(self, key: Key, chain: _Chain, order: list[int], here: Ranges) -> Epoch:
        top = order[-1] if order else None
        return Epoch(
            *key,
            count=len(order),
            ranges=here,
            lost=sorted(set(self._lost.get(key, []))),
            head_seq=0 if top is None else chain.seqs[top],
            head="" if top is None else chain.digest(top).hex(),
            formed=chain.formed if order else (0, 0),
        )

    def _absent(
        self,
        key: Key,
        epoch: Epoch,
        given_up: Ranges,
        held: list[tuple[int, int, str]],
        from_first: bool,
    ) -> None:
        here = merged([*epoch.ranges, *self._chain(*key).bad])
        accounted = merged([*here, *((a, b) for a, b, _ in epoch.lost)])
        tops = [here[-1][1]] if here else []
        if from_first:  # a part taken out need not reach as far as its batches speak
            tops += [last for _, last, _ in held]
            tops += [run[3] for run in self._hours if run[:2] == key]
        start = 1 if from_first else (here[0][0] if here else 1)
        missing = minus([(start, max(tops))], accounted) if tops and max(tops) >= start else []
        explained = both(missing, given_up)
        epoch.given_up = explained
        once = merged((a, b) for a, b, _ in held)
        for first, last in minus(missing, explained):
            for a, b in both([(first, last)], once):
                file = next((f for x, y, f in held if x <= a and b <= y), held[0][2] if held else "")
                words = "acknowledged once and not here: deleted" + self._between(key, a, b)
                self._flaws(Flaw("absent", file, words, *key, a, b))
            for a, b in minus([(first, last)], once):
                words = "neither here nor declared lost" + (", never acknowledged: perhaps on its way" if held else "")
                words += self._between(key, a, b)
                self._flaws(Flaw("absent", self._file_near(key, a), words, *key, a, b))

    def _cut(self, key: Key, epoch: Epoch, given_up: Ranges, used: tuple[int, str] | None) -> None:
        here = merged([*epoch.ranges, *self._chain(*key).bad])
        top = here[-1][1] if here else 0
        if used is None or used[0] <= top:
            return
        for a, b in minus([(top + 1, used[0])], [*((a, b) for a, b, _ in epoch.lost), *given_up]):
            words = f"{used[1]} knows numbers up to {used[0]}; what is here ends at {top}"
            self._flaws(Flaw("tail", self._file_near(key, a), words, *key, a, b))

    def _between(self, key: Key, first: int, last: int) -> str:
        """The neighbours of a gap, so that a person finds the place."""
        chain = self._chain(*key)
        places = []
        for seq, word in ((first - 1, "after"), (last + 1, "before")):
            i = next((i for i, s in enumerate(chain.seqs) if s == seq), None)
            if i is not None:
                places.append(f"{word} {seq} in {self._where(chain, i)}")
        return "; " + ", ".join(places) if places else ""

    def _stated(self, key: Key, chain: _Chain, order: list[int]) -> None:
        place = {chain.seqs[i]: i for i in order} if any(run[:2] == key for run in self._hours) else {}
        for (gateway, epoch, first, last), (said, hour_ms, by) in sorted(self._hours.items()):
            if (gateway, epoch) != key or last - first >= len(order):
                continue
            fold = bytes(32)
            for seq in range(first, last + 1):
                i = place.get(seq)
                if i is None:
                    break
                fold = hashlib.sha256(fold + chain.digest(i)).digest()
            else:
                if fold.hex() == said:
                    self.report.hours += 1
                else:
                    words = f"batch {by} states other batches for the hour that began at {hour_ms} ms"
                    self._flaws(Flaw("hour", self._file_near(key, first), words, *key, first, last))

    def _history(self, key: Key, chain: _Chain, order: list[int], witness: tuple[int, str]) -> None:
        seq, digest = witness
        i = next((i for i in order if chain.seqs[i] == seq), None)
        if i is None:
            words = f"an earlier report knew batch {seq}, which is not here"
            self._flaws(Flaw("history", self._file_near(key, seq), words, *key, seq, seq))
        elif chain.digest(i).hex() != digest:
            words = f"an earlier report knew another batch {seq}: the past was exchanged"
            self._flaws(self._at(key, chain, i, "history", words))

    # --- places ----------------------------------------------------------------------------------------------------

    def _chain(self, gateway: str, epoch: str) -> _Chain:
        return self._chains.setdefault((gateway, epoch), _Chain())

    def _file(self, file: str) -> int:
        if file not in self._files:
            self._files[file] = len(self._names)
            self._names.append(file)
        return self._files[file]

    def _where(self, chain: _Chain, i: int) -> str:
        place = chain.places.get(i) or f"byte {chain.offsets[i]}"
        return f"{self._names[chain.files[i]]}, {place}"

    def _file_near(self, key: Key, seq: int) -> str:
        chain = self._chain(*key)
        nearest = min(range(len(chain.seqs)), key=lambda i: abs(chain.seqs[i] - seq), default=None)
        return "" if nearest is None else self._names[chain.files[nearest]]

    def _at(self, key: Key, chain: _Chain, i: int, kind: str, words: str) -> Flaw:
        seq, offset = chain.seqs[i], chain.offsets[i]
        at = None if offset < 0 else offset
        return Flaw(kind, self._names[chain.files[i]], words, *key, seq, seq, at, chain.places.get(i, ""))

    def _flaw(self, found: Found, kind: str, words: str, batch: Batch | None = None) -> Flaw:
        if found.offset is None and len(self.doubtful) < _MOST_DOUBTFUL:
            self.doubtful[found.file, found.place] = found.message
        gateway, epoch = (batch.gateway, batch.epoch) if batch else (found.gateway, found.epoch)
        seq = batch.seq if batch else found.seq
        return Flaw(kind, found.file, words, gateway, epoch, seq, seq, found.offset, found.place)

    def _named(self, flaw: Flaw) -> Flaw:
        """Damage of a journal names an epoch; the gateway is the one that has it."""
        if flaw.gateway or not flaw.epoch:
            return flaw
        gateway = next((g for g, epoch in sorted(self._chains) if epoch == flaw.epoch and g), "")
        return replace(flaw, gateway=gateway)

    def _flaws(self, *flaws: Flaw) -> None:
        self.report.flaws += flaws
