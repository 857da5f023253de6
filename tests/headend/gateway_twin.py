"""A gateway reduced to what the head-end sees of it: numbered, chained, signed batches."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from headend.ingest import Message
from headend.stores.api import Block
from meterline.readings import ClockState, Column, MissingSpan, Number, Poll, Shape
from meterline.wire import GENESIS, Batch, LostRange, Sealed, batch_topic, seal, unseal

SECOND = 10**9
MINUTE = 60 * SECOND
T0 = 1_772_400_000 * SECOND
"""2026-03-01 21:20 UTC: 02.03.2026 05:20 in Jinan. A whole minute. [ns]"""
ENERGY, POWER = "energy.active.import", "power.active.total"
DECIMAL = Shape("dtsd1352@1", (Column(ENERGY, -2, request=0), Column(POWER, -3, request=1)))
FLOAT = Shape("eastron-sdm630@2", (Column(ENERGY, 0, is_float=True), Column(POWER, -3, is_float=True)))


def poll(
    meter: str,
    slot_ns: int,
    *numbers: Number | None,
    shape: Shape = DECIMAL,
    delays: tuple[int, ...] | None = None,
    qualities: tuple[int, ...] = (),
) -> Poll:
    return Poll(
        meter, shape, slot_ns, delays or tuple(range(100, 100 + 50 * shape.requests, 50)), ClockState.SYNCED, numbers,
        qualities,
    )  # fmt: skip


class Twin:
    """Seals batch after batch of one epoch."""

    def __init__(self, gateway: str = "gw-1", epoch: str = "00000000000000aa") -> None:
        self.gateway, self.epoch = gateway, epoch
        self.key = Ed25519PrivateKey.generate()
        self.seq, self.prev = 0, GENESIS

    @property
    def public(self) -> Ed25519PublicKey:
        return self.key.public_key()

    def seal(
        self,
        *polls: Poll,
        at_ns: int | None = None,
        missing: Sequence[MissingSpan] = (),
        lost: Sequence[LostRange] = (),
    ) -> Sealed:
        self.seq += 1
        at = at_ns if at_ns is not None else max((p.slot_ns for p in polls), default=T0) + SECOND
        sealed = seal(
            Batch(
                self.gateway, self.epoch, self.seq, self.prev, at, False, polls, tuple(missing), tuple(lost), bytes(32),
                "twin",
            ),
            self.key,
        )  # fmt: skip
        self.prev = sealed.digest
        return sealed

    def block(
        self,
        *polls: Poll,
        at_ns: int | None = None,
        missing: Sequence[MissingSpan] = (),
        lost: Sequence[LostRange] = (),
    ) -> Block:
        return block_of(self.seal(*polls, at_ns=at_ns, missing=missing, lost=lost))

    def message(self, sealed: Sealed) -> Message:
        return Message(batch_topic(self.gateway), sealed.message, T0)


def block_of(sealed: Sealed) -> Block:
    batch = unseal(sealed.message)
    arrived = max([batch.at_ns, *(p.slot_ns for p in batch.polls)])
    return Block(sealed.message, sealed.digest, batch, arrived)
