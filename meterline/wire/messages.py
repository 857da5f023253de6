"""What the messages say, as objects: batch and health upwards, acknowledgement downwards, and two rare ones.

An `Ask` goes up before the first batch of a connection and is answered by an `Ack` that repeats its nonce; a `Refusal`
comes down for a batch that the head-end cannot take.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from meterline.ranges import Ranges
from meterline.readings import MissingSpan, Poll
from meterline.wire.hours import HourDigest


@dataclass(frozen=True, slots=True)
class LostRange:
    """Sequence numbers that will never arrive, with the reason: the only alternative to being stored.

    What is stored counts for more: a range that names a number already in the store takes nothing away from it.

    Attributes
    ----------
    first, last
        Closed range of the epoch named.
    reason
        Short stable word such as ``quota``, ``bitrot``, ``regression`` or ``refused``, listed in docs/wire-contract.md.
        ``resealed`` and ``forked`` mean that no reading is lost: the same polls travel under other numbers.
    """

    epoch: str
    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One group commit of a gateway, numbered without gaps inside its epoch.

    Attributes
    ----------
    epoch
        16 hex digits, random, made with a fresh journal: a copied or restored journal cannot reuse numbers unseen.
    seq
        1, 2, 3 ... inside the epoch.
    prev
        SHA-256 of the batch before (see `meterline.wire`); `GENESIS` for the first.
    at_ns
        When the gateway formed it, UTC. [ns]
    frames_sha256
        Over the raw frames of all its polls in order (see `frames_digest`); the frames stay in the gateway's ring.
    redated_ms
        The stamps of all its polls and silences were made by a clock nobody had set, and have been corrected by this
        much: what it said is `slot_ns` less this. 0 for stamps as they were made. [ms]
    hours
        What the gateway states of earlier hours of its own (see `meterline.wire.hours`).
    """

    gateway: str
    epoch: str
    seq: int
    prev: bytes
    at_ns: int
    simulated: bool
    polls: tuple[Poll, ...] = ()
    missing: tuple[MissingSpan, ...] = ()
    lost: tuple[LostRange, ...] = ()
    frames_sha256: bytes = b""
    software: str = ""
    hours: tuple[HourDigest, ...] = ()
    redated_ms: int = 0


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch as bytes, with the digest the chain is made of."""

    epoch: str
    seq: int
    message: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """What the head-end holds of one gateway and epoch, after its store has committed it.

    Attributes
    ----------
    received
        Everything durably in the store, or recorded as lost.
    wanted
        Holes below the highest number received: send these again.
    digests
        Stored number -> its chain digest, ascending: of the highest number stored, and of those asked for. A gateway
        whose batch of that number has another digest is not the one that sent what is stored.
    answers
        The nonce of the `Ask` this answers, or empty.
    """

    gateway: str
    epoch: str
    received: Ranges
    wanted: Ranges = ()
    at_ns: int = 0
    digests: tuple[tuple[int, bytes], ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A gateway's question what the head-end holds of an epoch, before it sends any of it.

    A disk that was put back from an old copy numbers on from where the copy ended. Only a comparison before the first
    batch keeps two different batches from claiming one number.

    Attributes
    ----------
    nonce
        Repeated in the answer, so that an old (retained) acknowledgement is not taken for one.
    digests
        Numbers whose digests are wanted besides that of the highest stored; at most `MOST_ASKED`.
    """

    gateway: str
    epoch: str
    nonce: str
    digests: tuple[int, ...] = ()


MOST_ASKED = 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """The head-end's word that it put a batch into quarantine instead of the store.

    Attributes
    ----------
    digest
        Of the message refused (see `refusal_digest`): it means exactly those bytes, so nobody who sends rubbish in a
        gateway's name can make it give up a number.
    reason
        As the message is filed under in quarantine; see docs/wire-contract.md.
    detail
        For a person.
    """

    gateway: str
    digest: bytes
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """A gateway's word about itself, every few seconds and as its last will.

    Attributes
    ----------
    state
        ``running``, ``stopping`` or ``gone`` (the last will).
    first_seq, next_seq
        What the journal still holds: from the oldest batch it can resend up to (not including) the next one.
    acked
        Highest number below which everything is acknowledged.
    figures
        Named numbers: polls, time-outs, checksum errors, journal bytes, backlog ...
    meters
        Meter -> ``[last good slot in ms, cause of silence or ""]``.
    troubles
        What is wrong now, as short stable words with detail, such as ``journal: no space left``.
    """

    gateway: str
    epoch: str
    state: str
    at_ns: int
    first_seq: int = 0
    next_seq: int = 1
    acked: int = 0
    software: str = ""
    simulated: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    meters: dict[str, tuple[int, str]] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()
