"""When data are too poor for a method: named reasons with what is there and what is needed, instead of a guess."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a method does not apply.

    Attributes
    ----------
    code : str
        Stable word: ``no-data``, ``too-short``, ``no-rating``, ``no-counter``, ``no-power``, ``no-output`` ...
    need, have : str
        What the method asks for and what it found, in words with numbers and units.
    clause : str
        Where the demand comes from, if not from common sense.
    """

    code: str
    need: str
    have: str
    clause: str = ""

    def __str__(self) -> str:
        return f"{self.code}: needs {self.need}, has {self.have}" + (f" ({self.clause})" if self.clause else "")


@dataclass(frozen=True, slots=True)
class NotFit:
    """The answer of a method that cannot answer."""

    reasons: tuple[Reason, ...]

    @classmethod
    def because(cls, code: str, need: str, have: str, clause: str = "") -> NotFit:
        """A refusal with one reason."""
        return cls((Reason(code, need, have, clause),))

    def __str__(self) -> str:
        return "; ".join(map(str, self.reasons))
