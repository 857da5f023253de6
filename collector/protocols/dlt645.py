"""DL/T 645 reading as pure functions: a question as bytes, and the answer found in what came back.

Nothing here opens, waits or logs. A frame is ``68 A0..A5 68 C L DATA CS 16``; every data byte travels with 33H added
(mod 256), so a 68 or a 16 inside the data means nothing and no delimiter can be trusted by itself: a frame is hunted
as two 68 seven bytes apart whose length, checksum and end all agree. Preambles, noise, our own echo, other meters'
frames and late answers to other identifiers are passed over. Only functions that read can be built.

References
----------
DL/T 645-2007, clauses 5.2 (frames), 7 (functions) and annex A; DL/T 645-1997, clauses 5 and 6. Frames and their
sources: ``tests/collector/test_dlt645.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from meterline.errors import FrameError, Refused

START, END, WAKE = 0x68, 0x16, 0xFE
OFFSET = 0x33
READ, READ_FOLLOWING, READ_ADDRESS = 0x11, 0x12, 0x13
READ_1997, FOLLOWING_1997 = 0x01, 0x02
FUNCTIONS = frozenset({READ, READ_FOLLOWING, READ_ADDRESS, READ_1997, FOLLOWING_1997})
"""The only functions a question can have: none writes, sets, clears, freezes or switches."""
SET_CLOCKS, FREEZE = 0x08, 0x16
"""What can be told to all meters at once, where the site file switches it on; nobody answers."""
EVERYBODY = "999999999999"
"""The address all meters listen to and none answers."""
FROM_METER, REFUSAL, MORE = 0x80, 0x40, 0x20
"""Bits of the control byte."""
AROUND = 12
"""Bytes of a frame around its data."""
MOST_DATA = 200
"""Longest data field of a read answer (the 1997 edition allows no more either). [bytes]"""
MOST_FOLLOWING = 255
SLOWEST_S = 0.6
"""A meter begins to answer within 500 ms (clause 5.4); a tenth more for the line between. [s]"""
ANYBODY = "AAAAAAAAAAAA"
"""Answered by any meter: only on a line with a single one."""
MEANING: dict[int, str] = {
    0x01: "other error",
    0x02: "no such data",
    0x04: "wrong password or no authority",
    0x08: "baud rate cannot be changed",
    0x10: "too many yearly time zones",
    0x20: "too many daily time slots",
    0x40: "too many tariffs",
}
"""Bit of the error byte -> what it says."""
NO_SUCH_DATA = 0x02
_ADDRESS = re.compile(r"[0-9A]{12}")
_ENCODED = bytes((byte + OFFSET) & 0xFF for byte in range(256))
_DECODED = bytes((byte - OFFSET) & 0xFF for byte in range(256))


class Frame(NamedTuple):
    """One frame, taken apart.

    Attributes
    ----------
    address
        Twelve digits as on the nameplate; ``AA`` for a wildcard byte.
    control
        Function and direction bits.
    data
        The data field, 33H taken off, in wire order (low byte first).
    """

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
        end = at + AROUND + received[at + 9] if at + 9 < len(received) else len(received) + 1
        if (
            end <= len(received)
            and received[at + 7] == START
            and received[end - 1] == END
            and sum(received[at : end - 2]) & 0xFF == received[end - 2]
        ):
            address = bytes(received[at + 1 : at + 7])[::-1].hex().upper()
            yield at, end, Frame(address, received[at + 8], bytes(received[at + 10 : end - 2]).translate(_DECODED))
            at = received.find(START, end)
        else:
            at = received.find(START, at + 1)


def decode_frame(raw: bytes) -> Frame:
    """Take apart exactly one frame, with or without a preamble.

    Raises
    ------
    FrameError
        Not one whole, valid frame.
    """
    body = raw.lstrip(bytes((WAKE,)))
    for at, end, frame in frames_in(body):
        if at == 0 and end == len(body):
            return frame
        break
    raise FrameError(f"no DL/T 645 frame: {raw[:16].hex(' ')}")


def encode_request(address: str, function: int, data: bytes = b"", preamble: int = 0) -> bytes:
    """A request as it leaves the port.

    Raises
    ------
    ValueError
        Another function than reading, or no address: a plan that asks it is wrong.
    """
    if function not in FUNCTIONS:
        raise ValueError(f"function {function:#04x} is none that reads")
    if not _ADDRESS.fullmatch(address) or len(data) > 50:
        raise ValueError(f"{address!r} is no DL/T 645 address (12 digits), or {len(data)} bytes are too many")
    body = bytes((START, *bytes.fromhex(address)[::-1], START, function, len(data))) + data.translate(_ENCODED)
    return bytes((WAKE,)) * preamble + body + bytes((sum(body) & 0xFF, END))


def clock_broadcast(moment: int, preamble: int = 4) -> bytes:
    """Tell every meter of the line what time it is. A meter ignores what is more than five minutes from its own.

    Parameters
    ----------
    moment
        Digits YYYYMMDDhhmmss of plant time.
    """
    return _broadcast(SET_CLOCKS, bytes.fromhex(f"{moment % 10**12:012d}")[::-1], preamble)


def freeze_broadcast(when: str = "99990000", preamble: int = 4) -> bytes:
    """Tell every meter of the line when to freeze its counters.

    Parameters
    ----------
    when
        MMDDhhmm; 99 stands for every one: ``99990000`` each midnight, ``99999999`` now.
    """
    if not re.fullmatch(r"[0-9]{8}", when):
        raise ValueError(f"{when!r} is no MMDDhhmm")
    return _broadcast(FREEZE, bytes.fromhex(when)[::-1], preamble)


def _broadcast(function: int, data: bytes, preamble: int) -> bytes:
    body = bytes((START, *bytes.fromhex(EVERYBODY), START, function, len(data))) + data.translate(_ENCODED)
    return bytes((WAKE,)) * preamble + body + bytes((sum(body) & 0xFF, END))


@dataclass(frozen=True, slots=True)
class ReadItem:
    """Ask a meter for one item or block.

    Attributes
    ----------
    address
        Twelve digits; ``AA`` bytes at the front make it a shortened address.
    di
        Identifier as printed: DI3 DI2 DI1 DI0, or DI1 DI0 of the 1997 edition. The most significant byte comes first.
    expected
        Data bytes of the longest answer. [bytes]
    preamble
        FE bytes before the request. [bytes]
    following
        0 for the item itself; n for its n-th following frame.
    detail
        What follows the identifier in the request, in wire order: which load records are wanted.
    """

    address: str
    di: str
    expected: int = 4
    preamble: int = 0
    following: int = 0
    detail: bytes = b""

    @property
    def is_1997(self) -> bool:
        """Whether it is a request of the 1997 edition."""
        return len(self.di) == 4


class Dlt645Question:
    """A read request on a serial line; see `collector.bus.Question` for the members."""

    __slots__ = ("_di", "_more", "_reply", "answer_length", "read", "request")
    slowest_s = SLOWEST_S
    parted_by_silence = False

    def __init__(self, read: ReadItem) -> None:
        if len(read.di) not in (4, 8) or (read.detail and (read.is_1997 or read.following)):
            raise ValueError(f"{read.di!r} cannot be asked for")
        self.read = read
        self._di = bytes.fromhex(read.di)[::-1]
        if read.is_1997:
            function, data = (FOLLOWING_1997 if read.following else READ_1997), self._di
        elif read.following:
            function, data = READ_FOLLOWING, self._di + bytes((read.following,))
        else:
            function, data = READ, self._di + read.detail
        self.request = encode_request(read.address, function, data, read.preamble)
        self._reply = function | FROM_METER
        self._more = False
        self.answer_length = 4 + AROUND + len(data) + read.expected

    def answer(self, received: bytearray) -> bytes | None:
        """The data behind the identifier, low byte first, once the frame is complete; None while it is not.

        Raises
        ------
        Refused
            The meter answered with an error byte.
        FrameError
            The answer is ours but cannot be used.
        """
        for _, _, frame in frames_in(received):
            if not _fits(frame.address, self.read.address):
                continue
            if frame.control & ~MORE == self._reply and frame.data.startswith(self._di):
                return self._payload(frame)
            if frame.control & ~MORE == self._reply | REFUSAL and len(frame.data) >= 1:
                raise Refused(frame.data[0], meaning(frame.data[0]))
        return None

    def _payload(self, frame: Frame) -> bytes:
        self._more = bool(frame.control & MORE)
        if self._more and self.read.following == MOST_FOLLOWING:
            raise FrameError("the answer goes on for more following frames than can be numbered")
        data = frame.data[len(self._di) :]
        if self.read.following and not self.read.is_1997:
            if not data or data[-1] != self.read.following:
                raise FrameError(f"following frame {data[-1:].hex() or '?'} came, {self.read.following:02x} was asked")
            data = data[:-1]
        return data

    def following(self) -> Dlt645Question | None:
        """The question for the rest of an answer that goes on; None if it is complete."""
        if not self._more:
            return None
        read = self.read
        return Dlt645Question(ReadItem(read.address, read.di, MOST_DATA, read.preamble, read.following + 1))

    def foreign(self, received: bytearray) -> bool:
        """Whether all that came are whole, valid frames, none of them our answer: the meter itself was silent."""
        return only_frames(received)

    def echoed(self, received: bytearray) -> bool:
        """Whether the adapter played our own request back to us."""
        return received.startswith(self.request)


class AddressQuestion:
    """Ask whoever is there for its address: for a line with a single meter."""

    __slots__ = ("answer_length", "request")
    slowest_s = SLOWEST_S
    parted_by_silence = False

    def __init__(self, preamble: int = 4) -> None:
        self.request = encode_request(ANYBODY, READ_ADDRESS, preamble=preamble)
        self.answer_length = 4 + AROUND + 6

    def answer(self, received: bytearray) -> bytes | None:
        """The address in wire order (low byte first); the frame names it twice, and both must agree."""
        for _, _, frame in frames_in(received):
            if frame.control == READ_ADDRESS | FROM_METER and frame.data[::-1].hex().upper() == frame.address:
                return frame.data
        return None

    def following(self) -> Self | None:
        """An address is never parted."""
        return None

    def foreign(self, received: bytearray) -> bool:
        """See `Dlt645Question.foreign`."""
        return only_frames(received)

    def echoed(self, received: bytearray) -> bool:
        """See `Dlt645Question.echoed`."""
        return received.startswith(self.request)


def only_frames(received: bytes | bytearray) -> bool:
    """Whether nothing but whole frames, and FE between them, was received."""
    rest, last = b"", 0
    for at, end, _ in frames_in(received):
        rest += bytes(received[last:at])
        last = end
    return not (rest + bytes(received[last:])).strip(bytes((WAKE,)))


def _fits(address: str, asked: str) -> bool:
    """Whether a meter of this address is meant by a (perhaps shortened) address."""
    return address == asked or (
        "AA" in asked
        and all(asked[n : n + 2] in ("AA", address[n : n + 2]) for n in range(0, 12, 2))
        and address.isdecimal()
    )


def meaning(code: int) -> str:
    """An error byte in words: its bits, joined."""
    return ", ".join(text for bit, text in MEANING.items() if code & bit) or "no reason given"


def digits(data: bytes, *, signed: bool = False) -> int | None:
    """Packed decimal digits, low byte first, as a whole number; None where a half-byte is no digit.

    Parameters
    ----------
    signed
        Whether the highest bit of the highest byte is a minus sign.
    """
    negative = signed and bool(data) and bool(data[-1] & 0x80)
    if negative:
        data = data[:-1] + bytes((data[-1] & 0x7F,))
    text = data[::-1].hex()
    if not text.isdecimal():
        return None
    return -int(text) if negative else int(text)
