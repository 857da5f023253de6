"""How characters stand on a serial line, and how bytes of a line are written in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from meterline.documents import Document

Parity = Literal["N", "E", "O"]
StopBits = Literal[1, 2]
Baud = Annotated[int, Field(ge=300, le=4_000_000)]
SILENCE_CHARACTERS = 3.5
FIXED_ABOVE_BAUD = 19_200
"""Above this speed the silence between frames is 1.75 ms, whatever the speed (serial line guide, 2.5.1.1)."""
BITS_A_CHARACTER = 11
"""Start, eight data bits, parity or second stop bit, stop. 8N1 has ten; the eleventh is our margin."""


@dataclass(frozen=True, slots=True)
class LineSettings:
    """Speed and shape of a character; always eight data bits.

    Attributes
    ----------
    baud
        [bit/s]
    """

    baud: int = 9600
    parity: Parity = "N"
    stop_bits: StopBits = 1

    def __str__(self) -> str:
        """As it stands on a meter's plate: ``2400 8E1``."""
        return f"{self.baud} 8{self.parity}{self.stop_bits}"

    @property
    def character_s(self) -> float:
        """Time one character takes. [s]"""
        return BITS_A_CHARACTER / self.baud

    @property
    def silence_s(self) -> float:
        """What parts two Modbus frames. [s]"""
        return SILENCE_CHARACTERS * self.character_s if self.baud <= FIXED_ABOVE_BAUD else 0.00175


class OwnLine(Document):
    """What of a meter's line settings differs from those of its bus."""

    baud: Baud | None = None
    parity: Parity | None = None
    stop_bits: StopBits | None = None

    def over(self, bus: LineSettings) -> LineSettings:
        """The bus's settings with these in place of its own."""
        return LineSettings(
            bus.baud if self.baud is None else self.baud,
            bus.parity if self.parity is None else self.parity,
            bus.stop_bits if self.stop_bits is None else self.stop_bits,
        )


def packet_bytes(text: str) -> bytes:
    r"""A packet as a person writes it: plain text, or ``hex:`` and bytes.

    ``\r`` and ``\n`` in plain text mean the characters, as device manuals write them.

    Raises
    ------
    ValueError
        No bytes at all, or no hexadecimal ones.
    """
    if text.startswith("hex:"):
        try:
            found = bytes.fromhex(text[4:])
        except ValueError as error:
            raise ValueError(f"{text!r} are no bytes; write two hex digits a byte, for example hex:FE FE 01") from error
    else:
        found = text.replace("\\r", "\r").replace("\\n", "\n").encode()
    if not found:
        raise ValueError("the packet is empty; leave the key out, or write what the device sends")
    return found
