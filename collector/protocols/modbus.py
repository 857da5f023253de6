"""Modbus reading as pure functions: a question as bytes, and the answer found in what came back.

Nothing here opens, waits or logs. A `Question` is made for one read request and knows the only answer that may satisfy
it: unit, function *and* byte count must agree (over TCP the transaction id too), because on a serial line nothing else
tells the answer to this question from a late answer to the last one. Only the two reading functions can be built.

References
----------
MODBUS Application Protocol Specification V1.1b3, clauses 6.3, 6.4 and 7; MODBUS over Serial Line V1.02, clauses 2.4.1
and 2.5.1; MODBUS Messaging on TCP/IP Implementation Guide V1.0b, clause 3.1.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from meterline.errors import FrameError, Refused
from meterline.profiles import Table

FUNCTION: dict[Table, int] = {Table.HOLDING: 0x03, Table.INPUT: 0x04}
"""The only two functions that can leave a port."""
TABLE: dict[int, Table] = {code: table for table, code in FUNCTION.items()}
MAX_WORDS = 125
"""Most words one answer can hold."""
MAX_TCP_LENGTH = 254
"""Largest value of the length field of a TCP frame: unit identifier and 253 bytes of PDU."""
MEANING: dict[int, str] = {
    0x01: "illegal function",
    0x02: "illegal data address",
    0x03: "illegal data value",
    0x04: "device failure",
    0x05: "acknowledge, still working",
    0x06: "device busy",
    0x08: "memory parity error",
    0x0A: "gateway path unavailable",
    0x0B: "the meter did not answer the gateway",
}


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes | bytearray) -> int:
    """The checksum of a serial frame; 0 over a frame that ends in its own checksum (low byte first)."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


@dataclass(frozen=True, slots=True)
class Read:
    """Ask a meter for a run of words.

    Attributes
    ----------
    unit
        The meter's address on its line, 0..255.
    address, count
        First word, counted from 0 as on the wire, and how many. [words]

    Raises
    ------
    ValueError
        No frame can carry this; a plan that asks it is wrong.
    """

    unit: int
    table: Table
    address: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.unit <= 255:
            raise ValueError(f"unit {self.unit} is no Modbus address")
        if not 1 <= self.count <= MAX_WORDS:
            raise ValueError(f"one answer carries 1 to {MAX_WORDS} words, not {self.count}")
        if not 0 <= self.address <= 0x10000 - self.count:
            raise ValueError(f"words {self.address:#06x}+{self.count} lie outside the table")

    @property
    def pdu(self) -> bytes:
        """Function, address and count: what is the same on every kind of line."""
        return bytes((FUNCTION[self.table],)) + self.address.to_bytes(2, "big") + self.count.to_bytes(2, "big")


class RtuQuestion:
    """A read request on a serial line, or on TCP to a server that passes serial frames through.

    Attributes
    ----------
    read, request
        What is asked, and its bytes.
    answer_length
        Length of a complete answer. [bytes]
    """

    __slots__ = ("_head", "_refusal", "answer_length", "read", "request")
    slowest_s = 0.0
    parted_by_silence = True

    def __init__(self, read: Read) -> None:
        if read.unit == 0:
            raise ValueError("unit 0 is the broadcast address of a serial line: nobody answers it")
        self.read = read
        frame = bytes((read.unit,)) + read.pdu
        self.request = frame + crc16(frame).to_bytes(2, "little")
        self.answer_length = 5 + 2 * read.count
        self._head = bytes((read.unit, FUNCTION[read.table], 2 * read.count))
        self._refusal = bytes((read.unit, FUNCTION[read.table] | 0x80))

    def answer(self, received: bytearray) -> bytes | None:
        """The words of the answer, as they came, once it is complete; None while it is not.

        The answer is looked for anywhere in what has been received: glitches of a line that turns round, an echo of
        the request and other meters' frames are passed over.

        Raises
        ------
        Refused
            The meter answered with an exception.
        """
        size, length = len(received), self.answer_length
        at = received.find(self._head)
        while at >= 0:
            end = at + length
            if end > size:
                break
            if not crc16(received[at:end]):
                return bytes(received[at + 3 : end - 2])
            at = received.find(self._head, at + 1)
        at = received.find(self._refusal)
        while at >= 0:
            end = at + 5
            # Inside noise five bytes prove little: there the exception must also be the last thing that came.
            if (end == size or (at == 0 and end < size)) and not crc16(received[at:end]):
                code = received[at + 2]
                raise Refused(code, MEANING.get(code, ""))
            at = received.find(self._refusal, at + 1)
        return None

    def following(self) -> None:
        """An answer is always complete."""

    def foreign(self, received: bytearray) -> bool:
        """Whether all that came are whole, valid frames, none of them ours: the meter itself was silent."""
        rest = bytes(received).removeprefix(self.request)
        return sum(len(frame) for frame in rtu_answers(rest)) == len(rest)

    def echoed(self, received: bytearray) -> bool:
        """Whether the adapter played our own request back to us."""
        return received.startswith(self.request)


def rtu_answers(received: bytes) -> Iterator[bytes]:
    """The unbroken run of valid answer frames at the head of `received`, whoever sent them."""
    at = 0
    while at + 5 <= len(received):
        function = received[at + 1]
        end = at + (5 if function & 0x80 else 5 + received[at + 2])
        if end > len(received) or crc16(received[at:end]):
            return
        yield received[at:end]
        at = end


class TcpQuestion:
    """A read request in a Modbus/TCP frame; attributes as those of `RtuQuestion`.

    Attributes
    ----------
    head
        The nine bytes every good answer begins with.

    Parameters
    ----------
    lenient
        Take an answer whatever its transaction id, from a gateway that does not return the one of the question. The
        caller sees to it that no late answer can come over this connection.
    """

    __slots__ = ("_lenient", "answer_length", "head", "read", "request")
    slowest_s = 0.0
    parted_by_silence = False

    def __init__(self, read: Read, transaction: int, *, lenient: bool = False) -> None:
        self.read, self._lenient = read, lenient
        tag = (transaction & 0xFFFF).to_bytes(2, "big")
        data = 2 * read.count
        self.request = tag + bytes((0, 0, 0, 6, read.unit)) + read.pdu
        self.head = tag + b"\x00\x00" + (data + 3).to_bytes(2, "big") + bytes((read.unit, FUNCTION[read.table], data))
        self.answer_length = 9 + data

    def answer(self, received: bytearray) -> bytes | None:
        """The words of the answer once it is complete; frames that answer something else are taken out of `received`.

        Raises
        ------
        Refused
            The meter, or the gateway in front of it, answered with an exception.
        FrameError
            The stream is out of step: what stands where a frame must begin is none. Close the connection.
        """
        while len(received) >= 8:
            if received.startswith(self.head) or (self._lenient and received.startswith(self.head[2:], 2)):
                # All nine bytes, or all but the id: no other frame can be meant.
                if len(received) < self.answer_length:
                    return None
                words = bytes(received[9 : self.answer_length])
                del received[: self.answer_length]
                return words
            length = int.from_bytes(received[4:6], "big")
            if received[2:4] != b"\x00\x00" or not 2 <= length <= MAX_TCP_LENGTH:
                raise FrameError(f"no Modbus/TCP frame begins with {bytes(received[:8]).hex(' ')}")
            if len(received) < 6 + length:
                return None
            frame = bytes(received[: 6 + length])
            del received[: 6 + length]
            if (
                (self._lenient or frame[:2] == self.head[:2])
                and frame[6] == self.head[6]
                and frame[7] == self.head[7] | 0x80
            ):
                code = frame[8] if length > 2 else 0
                raise Refused(code, MEANING.get(code, ""))
        return None

    def following(self) -> None:
        """An answer is always complete."""

    def foreign(self, received: bytearray) -> bool:
        """Whether nothing but whole frames came; on TCP those have been taken out already."""
        return not received

    def echoed(self, received: bytearray) -> bool:
        """Never, on TCP."""
        return False
