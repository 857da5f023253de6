"""What comes from the gateways: verified, committed, and only then acknowledged.

::

    message ─► signature ─► contents ─► block ─┐
        └─► quarantine (reason) ─► refusal     ├─► one commit for all that waited ─► acknowledgement ─► PUBACK
                                                 (StoreUnavailable: no acknowledgement, the same again later)

Nothing that arrives can stop this: what is not of the contract is put into quarantine with its reason, told to the
broker as taken and to the gateway as refused, and the next message is served. Nothing good can get lost here: it is
acknowledged only out of the store's ledger, and the gateway keeps what is not acknowledged.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headend.catalogue import Catalogue
from headend.ledger import Link, holes, intersection
from headend.stores.api import Block, Store
from headend.supervise import Supervisor
from meterline.clock import Clock
from meterline.errors import StoreUnavailable, WireError
from meterline.wire import (
    Ack,
    Ask,
    Health,
    Ranges,
    Refusal,
    ShapeCache,
    ask_topic,
    batch_topic,
    decode_ask,
    decode_health,
    gateway_of,
    health_topic,
    refusal_digest,
    unseal,
    verify,
)

SETTLE_S = 2.0
"""A hole must have stood so long before it is asked for: two lanes and a broker reorder. [s]"""
ASK_AGAIN_S = 10.0
MOST_RANGES = 2000
"""More ranges do not fit into a sensible acknowledgement; what is not named is sent again and known here."""
MOST_WANTED = 200
MOST_REFUSALS = 200
"""Refusals told at once; a flood of rubbish is not answered message by message."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a broker delivered.

    Attributes
    ----------
    received_ns
        When it was taken from the line, UTC. [ns]
    retained
        Told to us because we subscribed, not because it was said just now.
    """

    topic: str
    payload: bytes
    received_ns: int
    retained: bool = False


@dataclass(frozen=True, slots=True)
class IngestFigures:
    """What ingest has done since its start."""

    messages: int = 0
    batches: int = 0
    duplicates: int = 0
    readings: int = 0
    quarantined: int = 0
    healths: int = 0
    commits: int = 0
    last_commit_ns: int | None = None
    store: str = "ok"
    broker: str = "not connected"


@dataclass
class _Sorted:
    """A group of messages, taken apart."""

    blocks: list[Block] = field(default_factory=list)
    healths: list[tuple[Health, int]] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    refused: list[tuple[Message, WireError]] = field(default_factory=list)


class Ingest:
    """The handler, without a broker: messages in, acknowledgements out.

    Parameters
    ----------
    keys
        Gateway -> public key; a gateway that is not in it is unknown.
    supervisor
        Isolates what nobody foresaw in a message.
    """

    def __init__(
        self,
        keys: Mapping[str, Ed25519PublicKey],
        store: Store,
        catalogue: Catalogue,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._keys, self._store, self._catalogue = keys, store, catalogue
        self._clock, self._supervisor = clock, supervisor
        self._shapes = ShapeCache()
        self._told: set[tuple[str, str]] = set()
        self._holes: dict[tuple[str, str], _Holes] = {}
        self._refusals: list[Refusal] = []
        self._asked: dict[tuple[str, str], Ranges] = {}
        self._guard = threading.Lock()
        self._heard: dict[str, int] = {}
        self._figures = IngestFigures()

    @property
    def figures(self) -> IngestFigures:
        """What was done so far; may be read by any thread."""
        with self._guard:
            return self._figures

    def heard(self) -> Mapping[str, int]:
        """Gateway -> when its last batch or sign of life arrived, UTC. [ns]"""
        with self._guard:
            return dict(self._heard)

    def state(self, *, store: str | None = None, broker: str | None = None) -> None:
        """Note how store and broker are."""
        with self._guard:
            self._figures = replace(
                self._figures, store=store or self._figures.store, broker=broker or self._figures.broker
            )

    def take(self, messages: Sequence[Message]) -> list[Ack]:
        """Handle a group of messages with one commit.

        Returns
        -------
        list of Ack
            To be published now; after that the messages may be told to the broker as taken.

        Raises
        ------
        StoreUnavailable
            Nothing was acknowledged; call again with the same messages.
        """
        found = _Sorted()
        for message in messages:
            self._sort(message, found)
        new, readings = self._append(found)
        for message, error in found.refused:
            self._quarantine(message, error)
        for health, received_ns in found.healths:
            self._supervisor.attempt(
                "keeping a health message", partial(self._catalogue.put_health, health, received_ns)
            )
        touched = {(block.batch.gateway, block.batch.epoch) for block in found.blocks}
        # a gateway that (re)starts with an epoch we have said nothing about yet learns at once what is here
        touched |= {(h.gateway, h.epoch) for h, _ in found.healths if (h.gateway, h.epoch) not in self._told}
        self._told |= touched
        with self._guard:
            before = self._figures
            self._figures = replace(
                before,
                messages=before.messages + len(messages),
                batches=before.batches + new,
                duplicates=before.duplicates + len(found.blocks) - new,
                readings=before.readings + readings,
                quarantined=before.quarantined + len(found.refused),
                healths=before.healths + len(found.healths),
                commits=before.commits + (1 if found.blocks else 0),
                last_commit_ns=self._clock.now_ns() if found.blocks else before.last_commit_ns,
                store="ok",
            )
        answers = [self._answer(ask) for ask in found.asks]
        return answers + [self._ack(gateway, epoch) for gateway, epoch in sorted(touched)]

    def refusals(self) -> list[Refusal]:
        """What was refused since the last call, for its gateways; to be published now."""
        told, self._refusals = self._refusals[:MOST_REFUSALS], []
        return told

    def ask(self, gateway: str, epoch: str, numbers: Ranges) -> None:
        """Have a gateway asked for numbers at the next opportunity; any thread."""
        with self._guard:
            self._asked[gateway, epoch] = numbers

    def overdue(self) -> list[Ack]:
        """Acknowledgements that ask for holes that have stood long enough, or as `ask` was told; to be sent now."""
        now_s = self._clock.monotonic_s()
        with self._guard:
            asked, self._asked = self._asked, {}
        acks = [self._ack(*identity) for identity, standing in self._holes.items() if standing.due(now_s)]
        return acks + [
            replace(self._ack(*identity), wanted=numbers[:MOST_WANTED]) for identity, numbers in asked.items()
        ]

    # -- inside ------------------------------------------------------------------------------------------------------
    def _sort(self, message: Message, found: _Sorted) -> None:
        def open_it() -> None:
            gateway = gateway_of(message.topic)
            key = self._keys.get(gateway)
            if key is None:
                raise WireError("unknown-gateway", gateway)
            if message.topic == health_topic(gateway):
                health = decode_health(message.payload)
                if health.gateway != gateway:
                    raise WireError("gateway", f"{health.gateway} on the topic of {gateway}")
                found.healths.append((health, message.received_ns))
                if health.state != "gone" and not message.retained:
                    self._hear(gateway, message.received_ns)
            elif message.topic == ask_topic(gateway):
                ask = decode_ask(message.payload)
                if ask.gateway != gateway:
                    raise WireError("gateway", f"{ask.gateway} on the topic of {gateway}")
                found.asks.append(ask)
            elif message.topic == batch_topic(gateway):
                found.blocks.append(self._open(message, gateway, key))
                self._hear(gateway, message.received_ns)
            else:
                raise WireError("topic", message.topic[:80])

        try:
            error = self._supervisor.attempt("reading a message", open_it, but=(WireError,))
        except WireError as refused:
            found.refused.append((message, refused))
        else:
            if error is not None:
                found.refused.append((message, WireError("unforeseen", f"{type(error).__name__}: {error}")))

    def _hear(self, gateway: str, received_ns: int) -> None:
        with self._guard:
            self._heard[gateway] = max(received_ns, self._heard.get(gateway, 0))

    def _open(self, message: Message, gateway: str, key: Ed25519PublicKey) -> Block:
        digest = verify(message.payload, key)
        batch = unseal(message.payload, self._shapes)
        if batch.gateway != gateway:
            raise WireError("gateway", f"a batch of {batch.gateway} on the topic of {gateway}")
        return Block(message.payload, digest, batch, message.received_ns)

    def _append(self, found: _Sorted) -> tuple[int, int]:
        """Commit all blocks together; if they cannot be, each alone, and the one at fault goes into quarantine."""
        counted = [0, 0]

        def append(blocks: Sequence[Block]) -> None:
            receipt = self._store.append(blocks)
            counted[0] += len(receipt.new)
            counted[1] += receipt.readings
            for block in blocks:
                if block.key in receipt.conflicts:
                    error = WireError("conflict", f"{block.key} is stored with other contents: a number used twice")
                    found.refused.append((_message_of(block), error))

        blocks = found.blocks
        if not blocks:
            return 0, 0
        if self._supervisor.attempt("writing to the store", lambda: append(blocks), but=(StoreUnavailable,)) is None:
            return counted[0], counted[1]
        for block in list(blocks):
            error = self._supervisor.attempt("writing a batch", partial(append, [block]), but=(StoreUnavailable,))
            if error is not None:
                blocks.remove(block)
                found.refused.append((_message_of(block), WireError("store", f"{type(error).__name__}: {error}")))
        return counted[0], counted[1]

    def _quarantine(self, message: Message, error: WireError) -> None:
        # If even this cannot be written, the reason stays in the log: a bad message must not hold up good ones, and it
        # is not lost, since its gateway keeps whatever is not acknowledged.
        self._supervisor.attempt(
            "quarantine",
            lambda: self._catalogue.quarantine(
                message.received_ns, message.topic, error.reason, str(error), message.payload
            ),
        )
        parts = message.topic.split("/")
        spoken = len(parts) == 4 and message.topic in (batch_topic(parts[2]), ask_topic(parts[2]))
        if spoken and parts[2].isprintable():
            self._refusals.append(Refusal(parts[2], refusal_digest(message.payload), error.reason, str(error)))

    def _answer(self, ask: Ask) -> Ack:
        """What is held of an epoch, with the digests a gateway needs to see that it speaks of the same batches."""
        ack = self._ack(ask.gateway, ask.epoch)
        numbers = set(ask.digests)
        digests = {link.seq: link.digest for seq in numbers for link in self._links(ask, seq - 1, 1) if link.seq == seq}
        top, back = ack.received[-1][1] if ack.received else 0, 1
        while top and not (newest := self._links(ask, max(0, top - back), back)) and back < top:
            back *= 64  # the highest numbers were declared lost: what is stored lies further below
        if top and newest:
            digests[newest[-1].seq] = newest[-1].digest
        return replace(ack, digests=tuple(sorted(digests.items())), answers=ask.nonce)

    def _links(self, ask: Ask, after: int, most: int) -> list[Link]:
        return self._store.links(ask.gateway, ask.epoch, after, most)

    def _ack(self, gateway: str, epoch: str) -> Ack:
        received = self._store.received(gateway).get(epoch, ())
        standing = self._holes.setdefault((gateway, epoch), _Holes())
        wanted = standing.wanted(holes(received), self._clock.monotonic_s())
        return Ack(gateway, epoch, received[:MOST_RANGES], wanted[:MOST_WANTED], self._clock.now_ns())


class _Holes:
    """The holes of one epoch, and since when they have stood."""

    def __init__(self) -> None:
        self._now: Ranges = ()
        self._settled: Ranges = ()
        self._seen_s = 0.0
        self._asked_s = float("-inf")

    def wanted(self, holes: Ranges, now_s: float) -> Ranges:
        """What of the holes has stood for `SETTLE_S`."""
        self._settled = intersection(self._settled, holes)
        if now_s - self._seen_s >= SETTLE_S or not self._now:
            if now_s - self._seen_s >= SETTLE_S:
                self._settled = intersection(self._now, holes)
            self._now, self._seen_s = holes, now_s
        if self._settled:
            self._asked_s = now_s
        return self._settled

    def due(self, now_s: float) -> bool:
        """Whether to ask without waiting for another batch: newly settled, or asked long ago."""
        if self._settled:
            return now_s - self._asked_s >= ASK_AGAIN_S
        return bool(self._now) and now_s - self._seen_s >= SETTLE_S


def _message_of(block: Block) -> Message:
    return Message(batch_topic(block.batch.gateway), block.message, block.received_ns)
