"""CJ/T 188 reading as pure functions: water, gas and heat meters on RS-485 or behind an M-Bus level converter.

A frame is ``68 T A0..A6 C L DATA CS 16``, data as they are (no 33H). There is one 68 only, so a frame is hunted as a 68
whose length, sum and end agree; a wrong one among noise is improbable, and address, type, identifier and the serial
number SER of the question must fit as well before an answer is ours. Only reading can be built.

References
----------
CJ/T 188-2004 and -2018, clause 5 (frames) and 6 (data). Frames and their sources: ``tests/collector/test_cjt188.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from meterline.errors import Refused
from meterline.units import whole_steps

START, END, WAKE = 0x68, 0x16, 0xFE
READ, READ_ADDRESS = 0x01, 0x03
FUNCTIONS = frozenset({READ, READ_ADDRESS})
"""The only functions that can leave a port: no valve is turned, no address, base value or key written."""
FROM_METER, REFUSAL = 0x80, 0x40
AROUND = 13
"""Bytes of a frame around its data."""
MOST_DATA = 100
BEFORE_DATA = 3
"""Identifier and SER stand before the values in every answer."""
SLOWEST_S = 1.0
"""How long a meter may take to wake and begin its answer. [s]"""
ANYBODY = "AA" * 7
ADDRESS_DI = "810A"
DiOrder = Literal["low-first", "high-first"]
_ADDRESS = re.compile(r"[0-9A]{14}")


class Frame(NamedTuple):
    """One frame, taken apart.

    Attributes
    ----------
    type
        10 to 19 water, 20 to 29 heat, 30 to 39 gas, 40 to 49 others (hexadecimal digits).
    address
        Fourteen digits, A6 first: as on the nameplate, maker's code in front.
    """

    type: int
    address: str
    control: int
    data: bytes

    @property
    def from_meter(self) -> bool:
        """Whether a meter sent it."""
        return bool(self.control & FROM_METER)


def frames_in(received: bytes | bytearray) -> Iterator[tuple[int, int, Frame]]:
    """Every whole, valid frame in what was received, with where it begins and ends."""
    at = received.find(START)
    while at >= 0:
        end = at + AROUND + received[at + 10] if at + 10 < len(received) else len(received) + 1
        if (
            end <= len(received)
            and received[end - 1] == END
            and 0x10 <= received[at + 1] < 0x50
            and received[at + 10] <= MOST_DATA
            and sum(received[at : end - 2]) & 0xFF == received[end - 2]
        ):
            address = bytes(received[at + 2 : at + 9])[::-1].hex().upper()
            yield at, end, Frame(received[at + 1], address, received[at + 9], bytes(received[at + 11 : end - 2]))
            at = received.find(START, end)
        else:
            at = received.find(START, at + 1)


def encode_request(type_: int, address: str, function: int, data: bytes, preamble: int = 4) -> bytes:
    """A request as it leaves the port.

    Raises
    ------
    ValueError
        Another function than reading, or no address.
    """
    if function not in FUNCTIONS:
        raise ValueError(f"function {function:#04x} is none that reads")
    if not _ADDRESS.fullmatch(address) or len(data) > MOST_DATA:
        raise ValueError(f"{address!r} is no CJ/T 188 address (14 digits), or {len(data)} bytes are too many")
    body = bytes((START, type_, *bytes.fromhex(address)[::-1], function, len(data))) + data
    return bytes((WAKE,)) * preamble + body + bytes((sum(body) & 0xFF, END))


@dataclass(frozen=True, slots=True)
class ReadData:
    """Ask a meter for its values.

    Attributes
    ----------
    address
        Fourteen digits, A6 first.
    di
        Identifier as printed (901F).
    serial
        SER: the answer repeats it, so that a late answer to an earlier question cannot pass for this one's.
    expected
        Data bytes of the usual answer, identifier and SER included. [bytes]
    """

    type: int
    address: str
    di: str = "901F"
    serial: int = 0
    di_order: DiOrder = "low-first"
    expected: int = 0x2E
    preamble: int = 4


class Cjt188Question:
    """A read request; see `collector.bus.Question` for the members."""

    __slots__ = ("_head", "answer_length", "read", "request")
    slowest_s = SLOWEST_S
    parted_by_silence = False

    def __init__(self, read: ReadData) -> None:
        self.read = read
        di = bytes.fromhex(read.di)
        self._head = (di if read.di_order == "high-first" else di[::-1]) + bytes((read.serial,))
        self.request = encode_request(read.type, read.address, READ, self._head, read.preamble)
        self.answer_length = 4 + AROUND + read.expected

    def answer(self, received: bytearray) -> bytes | None:
        """The data field of the answer, identifier and SER included, so that offsets are the standard's own.

        Raises
        ------
        Refused
            The meter answered that it cannot.
        """
        for _, _, frame in frames_in(received):
            if frame.type != self.read.type or not _fits(frame.address, self.read.address):
                continue
            if frame.control == READ | FROM_METER and frame.data.startswith(self._head):
                return frame.data
            if frame.control == READ | FROM_METER | REFUSAL and self.read.serial in frame.data[:BEFORE_DATA]:
                code = frame.data[-2] if len(frame.data) > 1 else 0
                raise Refused(code, meaning(code))
        return None

    def following(self) -> Self | None:
        """An answer is never parted."""
        return None

    def foreign(self, received: bytearray) -> bool:
        """Whether all that came are whole, valid frames, none of them our answer."""
        return only_frames(received)

    def echoed(self, received: bytearray) -> bool:
        """Whether the adapter played our own request back to us."""
        return received.startswith(self.request)


class AddressQuestion:
    """Ask whoever is there for its address: for a line with a single meter."""

    __slots__ = ("answer_length", "request")
    slowest_s = SLOWEST_S
    parted_by_silence = False

    def __init__(self, type_: int = 0x10, preamble: int = 4) -> None:
        self.request = encode_request(type_, ANYBODY, READ_ADDRESS, bytes.fromhex(ADDRESS_DI)[::-1] + b"\0", preamble)
        self.answer_length = 4 + AROUND + BEFORE_DATA

    def answer(self, received: bytearray) -> bytes | None:
        """Type and address in wire order (low byte first)."""
        for _, _, frame in frames_in(received):
            if frame.control == READ_ADDRESS | FROM_METER and frame.address.isdecimal():
                return bytes((frame.type,)) + bytes.fromhex(frame.address)[::-1]
        return None

    def following(self) -> Self | None:
        """See `Cjt188Question.following`."""
        return None

    def foreign(self, received: bytearray) -> bool:
        """See `Cjt188Question.foreign`."""
        return only_frames(received)

    def echoed(self, received: bytearray) -> bool:
        """See `Cjt188Question.echoed`."""
        return received.startswith(self.request)


def only_frames(received: bytes | bytearray) -> bool:
    """Whether nothing but whole frames, and FE between them, was received."""
    rest, last = b"", 0
    for at, end, _ in frames_in(received):
        rest += bytes(received[last:at])
        last = end
    return not (rest + bytes(received[last:])).strip(bytes((WAKE,)))


def _fits(address: str, asked: str) -> bool:
    return address == asked or (asked == ANYBODY and address.isdecimal())


def meaning(code: int) -> str:
    """The status byte of a refusal in words."""
    words = [{0x40: "valve closed", 0xC0: "valve fault"}.get(code & 0xC0, ""), "battery low" if code & 0x20 else ""]
    return ", ".join(filter(None, words)) or "no reason given"


UNITS: dict[int, tuple[str, int, int]] = {
    # unit byte: canonical unit, factor, exponent (value in it = digits * factor * 10**exponent). Seen in frames:
    # 05, 08, 17, 2C, 35; the others after the standard's table, as commonly quoted.
    0x01: ("GJ", 1, -9), 0x02: ("GJ", 36, -7), 0x05: ("GJ", 36, -4), 0x08: ("GJ", 36, -1), 0x0A: ("GJ", 36, 1),
    0x0B: ("GJ", 1, -6), 0x0E: ("GJ", 1, -3), 0x11: ("GJ", 1, 0), 0x13: ("GJ", 1, 2),
    0x14: ("kW", 1, -3), 0x17: ("kW", 1, 0), 0x1A: ("kW", 1, 3),
    0x29: ("m3", 1, -3), 0x2C: ("m3", 1, 0), 0x32: ("m3/h", 1, -3), 0x35: ("m3/h", 1, 0),
}  # fmt: skip
"""What a unit byte stands for. A GJ from a kWh is an exact ratio (36 * 10**-4): whole digits stay whole."""


def in_steps(number: int, unit_byte: int, unit: str, decimals: int, exponent: int) -> int | None:
    """Digits with a unit byte as whole steps of 10**`exponent` of the canonical unit.

    Returns
    -------
    int or None
        None where the unit is unknown, of another quantity, or finer than a step: no number rather than a wrong one.
    """
    found = UNITS.get(unit_byte)
    if found is None or found[0] != unit:
        return None
    _, factor, power = found
    return whole_steps(number, factor, power - decimals - exponent)
