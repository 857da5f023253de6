"""The error tree: what cannot be answered is an exception, what is answered but doubtful is data (`Quality`).

A caller decides by *type* whether to try again, never by the text of a message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EXIT_FINE = 0
EXIT_FOUND = 1
"""The check found what it looks for."""
EXIT_WRONG_INPUT = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130


class MeterlineError(Exception):
    """Root of everything this project raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file a person wrote, with what to do about it.

    Attributes
    ----------
    file
        The file as the person named it.
    place
        Path inside it, such as ``meters[3].address``, with the line where one is known; empty for the whole file.
    problem
        What is wrong, offending value included.
    hint
        What to do.
    """

    file: str
    place: str
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}: {self.place}" if self.place else self.file
        return f"{where}: {self.problem}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(MeterlineError):
    """What a person wrote cannot be used; raised before any I/O, with every problem of every file (exit code 2)."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Unreachable(MeterlineError):
    """Something outside this process does not answer: a port, a broker, a server (exit code 3; a service retries)."""

    def __init__(self, what: str, reason: str, hint: str = "") -> None:
        self.what, self.reason, self.hint = what, reason, hint
        super().__init__(f"{what}: {reason}" + (f"; {hint}" if hint else ""))


class BusError(MeterlineError):
    """One request to one meter brought no usable answer. The poller turns each into MISSING or INVALID values.

    Attributes
    ----------
    cause : str
        Short stable word for counters, spans and pages: ``silent``, ``garbled``, ``refused:02`` ...
    """

    cause = "bus"


class Silent(BusError):
    """No byte that belongs to an answer came before the deadline."""

    cause = "silent"


class Garbled(BusError):
    """Bytes came that no frame could be made of: checksum, length, wrong delimiter."""

    cause = "garbled"


class FrameError(Garbled):
    """A codec refuses these bytes; the bus discards them and asks again."""


class Refused(BusError):
    """The meter (or the serial server in front of it) answered with an error code of its protocol."""

    def __init__(self, code: int, meaning: str = "", hint: str = "") -> None:
        self.code = code
        self.cause = f"refused:{code:02x}"
        said = f"answered with error {code:#04x}" + (f" ({meaning})" if meaning else "")
        super().__init__(said + (f"; {hint}" if hint else ""))


class LineDown(BusError):
    """The line itself is gone: port not there, connection refused or closed. Every meter behind it is affected."""

    cause = "line-down"


class WireError(MeterlineError):
    """A message is not of the edge/head-end contract. Ingest quarantines it with this reason and goes on.

    Attributes
    ----------
    reason : str
        Short stable word: ``magic``, ``version``, ``size``, ``zstd``, ``json``, ``schema``, ``signature``, ``topic``.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class JournalError(MeterlineError):
    """The gateway's journal cannot take a batch (disk full, read-only, failing); live data goes on without it."""


class StoreUnavailable(MeterlineError):
    """The store cannot take data now; the same call may work later. Nothing of the block was kept."""


class StoreRejected(MeterlineError):
    """The store will never take these rows; retrying is pointless. Carries them with the store's own words."""

    def __init__(self, rows: Iterable[str], reason: str) -> None:
        self.rows: tuple[str, ...] = tuple(rows)
        super().__init__(f"{len(self.rows)} row(s) refused: {reason}")


class UplinkDown(MeterlineError):
    """The broker is not reachable or refuses us; the journal keeps what was measured until it is back."""
