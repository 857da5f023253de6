"""A line on which anything may happen to an answer, and meters whose every answer says which question it was for."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from meterline.profiles import ModbusProfile
from meterline.readings import Poll
from tests.collector.peers import FakeMeter, ItemMeter, MemoryLine, sealed


@dataclass(frozen=True)
class Mischief:
    """What becomes of one answer.

    Attributes
    ----------
    delay_s
        How long the meter takes. [s]
    lost
        It never comes.
    noise, rubbish
        Bytes heard before and behind it.
    cut, pause_s
        It comes in two pieces, cut at this share of it, with a pause between them.
    stranger
        A valid answer of another meter, of the same function and length, comes before it.
    flip
        Number of a bit that turns over.
    again
        It comes twice, the second time at once.
    refuse
        It is a refusal, which says of no question that it is meant for it.
    """

    delay_s: float = 0.03
    lost: bool = False
    noise: bytes = b""
    rubbish: bytes = b""
    cut: float = 0.0
    pause_s: float = 0.0
    stranger: bool = False
    flip: int | None = None
    again: bool = False
    refuse: bool = False


FINE = Mischief()


@dataclass
class StampedMeter(FakeMeter):
    """A meter whose even words say which of its answers they belong to.

    Attributes
    ----------
    unit
        Odd words are the address plus a thousand times this.
    born
        Number of the answer -> when its question reached the meter. [s]
    script
        What becomes of the next answers.
    """

    unit: int = 1
    born: dict[int, float] = field(default_factory=dict)
    script: deque[Mischief] = field(default_factory=deque)

    def answer(self, pdu: bytes) -> bytes:
        number = len(self.born) + 1
        self.born[number] = asyncio.get_running_loop().time()
        self.words = lambda address: (number if address % 2 == 0 else address + 1000 * self.unit) & 0xFFFF
        return super().answer(pdu)


class NastyLine(MemoryLine):
    """Delivers what the meters' scripts say, over whatever connection there is by then: a serial server keeps an answer
    that comes late, and gives it to whoever is connected."""

    def _send(self, meter: FakeMeter | ItemMeter, frame: bytes) -> None:
        assert isinstance(meter, StampedMeter)
        todo = meter.script.popleft() if meter.script else FINE
        loop = asyncio.get_running_loop()
        at = max(loop.time() + todo.delay_s, meter.busy_until_s)
        raw = bytearray(sealed(bytes((frame[0], frame[1] | 0x80, 0x02))) if todo.refuse else frame)
        if todo.flip is not None:
            raw[todo.flip // 8 % len(raw)] ^= 1 << todo.flip % 8
        pieces = [todo.noise, sealed(bytes((77,)) + frame[1:-2]) if todo.stranger else b""]
        if not todo.lost:
            cut = round(todo.cut * len(raw))
            pieces.append(bytes(raw[:cut]))
            rest = bytes(raw[cut:]) * (2 if todo.again else 1)
        else:
            rest = b""
        for piece in pieces:
            self._deliver(at, piece)
            at += 0.001
        at += todo.pause_s
        self._deliver(at, rest)
        self._deliver(at + 0.001, todo.rubbish)
        meter.busy_until_s = at + 0.002

    def interject(self, data: bytes) -> None:
        """Let somebody else be heard on the line."""
        self._deliver(asyncio.get_running_loop().time(), data)

    def _deliver(self, at: float, data: bytes) -> None:
        if data:
            asyncio.get_running_loop().call_at(at, lambda: self.inbox.feed(data) if self.is_open else None)


def lies(
    poll: Poll, page: ModbusProfile, meter: StampedMeter, sent: list[tuple[float, bytes]], now_ns: int, now_s: float
) -> list[str]:
    """Numbers that are not those of the question they were taken for.

    The answer to a question was made when that question reached the meter; if another question has left since, the
    number belongs to a question that was given up.
    """
    found = []
    for column, number in enumerate(poll.numbers):
        if number is None:
            continue
        assert isinstance(number, int)
        at = page.points[column].at
        assert at is not None
        generation, low = number >> 16, number & 0xFFFF
        taken_s = now_s + (poll.read_ns(column) - now_ns) / 1e9
        last_s = max((when for when, _ in sent if when <= taken_s + 1e-6), default=0.0)
        born_s = meter.born.get(generation)
        if low != (at + 1 + 1000 * meter.unit) & 0xFFFF:
            found.append(f"column {column} holds words of another place or meter: {number:#x}")
        elif born_s is None or abs(born_s - last_s) > 0.0015:
            found.append(f"column {column} answers the question of {born_s}, not that of {last_s}")
    return found
