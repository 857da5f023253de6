"""What a check came to: flaws with their places, epochs with their ends, and by which software."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is not as its gateway made it, or not there, with the place.

    Attributes
    ----------
    kind
        Short stable word:

        ``changed``     the signature does not fit the contents: a changed or forged batch, or another key
        ``unknown-key`` a batch of a gateway whose public key is not given
        ``unreadable``  signed by the gateway, but not of the contract
        ``misplaced``   filed under another epoch or number than the batch itself says: swapped or renamed
        ``twice``       one number, two different batches
        ``chain``       names another predecessor than the one that is here
        ``absent``      numbers neither here nor declared lost: deleted, or never arrived
        ``tail``        numbers that were used, by the word of what lies beside, and are not here
        ``hour``        what the gateway stated of an hour is not what is here
        ``damaged``     bytes that prove nothing
        ``cut``         the file ends within a record, or before its end mark
        ``index``       a shortcut beside the data says something else than the data
        ``readings``    a row of readings is not what its signed batch says
        ``history``     an earlier report knew another past
    file, offset, place
        Where: the file, the byte in it if known, and in words (``segment record``, ``batches row 17``).
    gateway, epoch, first, last
        Which batches; 0 where that cannot be told.
    """

    kind: str
    file: str
    detail: str
    gateway: str = ""
    epoch: str = ""
    first: int = 0
    last: int = 0
    offset: int | None = None
    place: str = ""


@dataclass(slots=True)
class Epoch:
    """What is here of one epoch.

    Attributes
    ----------
    ranges
        Numbers here and whole.
    lost
        ``[first, last, reason]`` as declared by the gateway's own signed batches.
    given_up
        Numbers a journal no longer holds because they are acknowledged and their time is over.
    head
        Digest of the highest number: whoever knows it can tell later whether the past was exchanged.
    formed
        When the first and the last batch here were formed, ms since 1970 UTC.
    """

    gateway: str
    epoch: str
    count: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    lost: list[tuple[int, int, str]] = field(default_factory=list)
    given_up: list[tuple[int, int]] = field(default_factory=list)
    head_seq: int = 0
    head: str = ""
    formed: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Report:
    """The outcome.

    Attributes
    ----------
    software
        The software that checked (see `meterline.software`).
    made_by
        What the batches say made them.
    keys
        Gateway -> public key used (base64) and where it came from.
    hours
        Statements of gateways that were compared with what is here, and fit.
    rows
        Rows of readings compared with their signed batches.
    """

    path: str
    kind: str
    software: str
    batches: int = 0
    proven: int = 0
    hours: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    made_by: list[str] = field(default_factory=list)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Everything that is here is as its gateway made it, and nothing is missing in between."""
        return not self.flaws and self.batches > 0

    def json(self) -> dict[str, Any]:
        """For a machine; `keys` of an earlier report make it a witness."""
        return {"fine": self.fine, **asdict(self)}
