"""What bytes on a line are, whoever sent them: answers, other masters' requests, or nothing that can be read.

A scan takes every byte seriously. An answer that comes late still names its sender; a request that we did not send
betrays another master; bytes of no frame are a collision, a wrong speed, or noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collector.protocols.dlt645 import WAKE, frames_in
from collector.protocols.modbus import crc16, rtu_answers

READING = (0x03, 0x04)
_MOST_FUNCTION = 0x2B


@dataclass(frozen=True, slots=True)
class Overheard:
    """What some bytes contain.

    Attributes
    ----------
    modbus
        (unit, function) of every valid serial Modbus answer; function with its refusal bit.
    items
        Addresses of valid DL/T 645 answers.
    requests
        Frames that only a master sends: another one, since ours is taken out before.
    rest
        Bytes of no frame.
    """

    modbus: tuple[tuple[int, int], ...] = ()
    items: tuple[str, ...] = ()
    requests: tuple[bytes, ...] = ()
    rest: int = 0

    @property
    def silent(self) -> bool:
        """Whether there was nothing at all."""
        return not (self.modbus or self.items or self.requests or self.rest)


def overhear(received: bytes, own: bytes = b"") -> Overheard:
    """Sort bytes into frames.

    Parameters
    ----------
    own
        Our request: an adapter may play it back.
    """
    if own and received.startswith(own):
        received = received[len(own) :]
    modbus: list[tuple[int, int]] = []
    items: list[str] = []
    requests: list[bytes] = []
    taken = bytearray(len(received))
    for at, end, frame in frames_in(received):
        taken[at:end] = b"\1" * (end - at)
        if frame.from_meter:
            items.append(frame.address)
        else:
            requests.append(received[at:end])
    for at, end, is_request in _rtu_frames(received, taken):
        taken[at:end] = b"\1" * (end - at)
        if is_request:
            requests.append(received[at:end])
        else:
            modbus.append((received[at], received[at + 1]))
    rest = sum(1 for byte, used in zip(received, taken, strict=True) if not used and byte != WAKE)
    return Overheard(tuple(modbus), tuple(items), tuple(requests), rest)


def _rtu_frames(received: bytes, taken: bytearray) -> Iterator[tuple[int, int, bool]]:
    """Serial Modbus frames among the bytes not taken yet: begin, end, whether it is a request."""
    at = 0
    while at + 5 <= len(received):
        end = 0
        is_request = False
        if not taken[at] and received[at + 1] & 0x7F <= _MOST_FUNCTION:
            answer = next(rtu_answers(received[at:]), b"")
            if answer and received[at + 1] & 0x7F in READING:
                end = at + len(answer)
            elif at + 8 <= len(received) and received[at + 1] in READING and not crc16(received[at : at + 8]):
                end, is_request = at + 8, True
        if end and not any(taken[at:end]):
            yield at, end, is_request
            at = end
        else:
            at += 1
