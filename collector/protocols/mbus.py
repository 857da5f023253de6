"""M-Bus reading as pure functions: the link layer's frames, and the records a meter describes itself in.

A meter is asked for its data with ``10 C A CS 16`` and answers ``68 L L 68 C A CI ... CS 16``. Bit 5 of C turns over
from question to question (FCB): asked twice with the same, a meter repeats its last answer, so the first question after
a start is asked twice and its first answer thrown away. Nothing but REQ_UD2 can be built.

References
----------
EN 13757-2 (link layer), EN 13757-3 (application layer, variable data structure). The published frame and its source:
``tests/collector/test_mbus.py``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from collector.float32 import shortest_float32
from meterline.errors import FrameError, Refused
from meterline.readings import Number

SHORT, LONG, END = 0x10, 0x68, 0x16
REQUESTS = (0x7B, 0x5B)
"""REQ_UD2 with frame count bit 1 and 0: the only requests that can leave a port."""
RESPONSES = frozenset({0x08, 0x18, 0x28, 0x38})
VARIABLE, SHORT_HEADER, NO_HEADER, ERROR = 0x72, 0x7A, 0x78, 0x70
_HEADER = {VARIABLE: 12, SHORT_HEADER: 4, NO_HEADER: 0}
SLOWEST_S = 0.6
"""A meter begins its answer within 330 bit times and 50 ms; at 2400 baud 0.19 s, at 300 baud 1.15 s. [s]"""
MORE_FOLLOW, MAKERS_OWN, FILLER = 0x1F, 0x0F, 0x2F
POSITIVE_ONLY = 0x3B
"""VIF extension: only positive contributions are counted, as import means; any other makes another quantity of it."""
_FUNCTIONS = ("now", "maximum", "minimum", "error")
_LENGTH = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 8, 8: 0, 9: 1, 10: 2, 11: 3, 12: 4, 14: 6}
"""Low digit of the DIF -> bytes of the value; 13 says its length itself, 15 is no value."""
_MOST_EXTENSIONS = 10


@dataclass(frozen=True, slots=True)
class Record:
    """One value as its meter describes it.

    Attributes
    ----------
    quantity
        As the profiles name it (``volume``); empty for what we do not read.
    power
        Value in the quantity's base unit (Wh, J, m3, kg, W, m3/h, kg/h, degC, bar, h) = number * factor * 10**power.
    number
        A float where the meter sends one; None where the digits are none.
    """

    quantity: str
    function: str
    storage: int
    tariff: int
    subunit: int
    number: Number | None
    power: int = 0
    factor: int = 1


def checksum_frames(received: bytes | bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Every whole, valid long frame, with where it begins and ends: C, A, CI and what follows."""
    at = received.find(LONG)
    while at >= 0:
        size = received[at + 1] if at + 1 < len(received) else 0
        end = at + size + 6
        if (
            size >= 3
            and end <= len(received)
            and received[at + 2] == size
            and received[at + 3] == LONG
            and received[end - 1] == END
            and sum(received[at + 4 : end - 2]) & 0xFF == received[end - 2]
        ):
            yield at, end, bytes(received[at + 4 : end - 2])
            at = received.find(LONG, end)
        else:
            at = received.find(LONG, at + 1)


def encode_request(address: int, control: int) -> bytes:
    """A request for data.

    Raises
    ------
    ValueError
        Another request than REQ_UD2, or no address of a single meter.
    """
    if control not in REQUESTS:
        raise ValueError(f"control {control:#04x} does not ask for data")
    if not 1 <= address <= 250:
        raise ValueError(f"{address} is no address of one M-Bus meter")
    return bytes((SHORT, control, address, (control + address) & 0xFF, END))


@dataclass(frozen=True, slots=True)
class AskForData:
    """Ask a meter for everything it tells.

    Attributes
    ----------
    is_first
        The first question to this meter since the start.
    """

    address: int
    is_first: bool = False


class MbusQuestion:
    """A request for data; see `collector.bus.Question` for the members.

    Parameters
    ----------
    counts
        The frame count bits still to come, shared by all questions to a meter.
    header
        Whether the answer's header belongs to the payload; not for a second telegram of one answer.
    """

    __slots__ = ("_ask", "_counts", "_goes_on", "_header", "answer_length", "request")
    slowest_s = SLOWEST_S
    parted_by_silence = True

    def __init__(self, ask: AskForData, counts: cycle[int], *, header: bool = True) -> None:
        self._ask, self._counts, self._header, self._goes_on = ask, counts, header, False
        self.request = encode_request(ask.address, next(counts))
        self.answer_length = 9 + 252

    def answer(self, received: bytearray) -> bytes | None:
        """Header and records, once the frame is whole; twelve bytes of header, whatever the meter sends of it.

        Raises
        ------
        Refused
            The meter reports an application error.
        FrameError
            The answer is ours but of a kind that cannot be read: encrypted, or most significant byte first.
        """
        for _, _, body in checksum_frames(received):
            if body[1] != self._ask.address or body[0] not in RESPONSES:
                continue
            if body[2] == ERROR:
                code = body[3] if len(body) > 3 else 0
                raise Refused(code, meaning(code))
            size = _HEADER.get(body[2])
            if size is None:
                raise FrameError(f"an answer of kind {body[2]:02x}, which is not read here")
            header, records = body[3 : 3 + size], body[3 + size :]
            if len(header) < size:
                raise FrameError(f"an answer of {len(body)} bytes ends within its header")
            if size >= 4 and any(header[-2:]):
                raise FrameError(f"the answer is encrypted (signature {header[-2:].hex()})")
            self._goes_on = _goes_on(records)
            if self._ask.is_first:
                return b""
            return (header.rjust(12, b"\xff") if self._header else b"") + records
        return None

    def following(self) -> MbusQuestion | None:
        """The question for the next telegram of an answer that goes on, or for the answer that counts."""
        if self._ask.is_first:
            return MbusQuestion(AskForData(self._ask.address), self._counts)
        return MbusQuestion(self._ask, self._counts, header=False) if self._goes_on else None

    def foreign(self, received: bytearray) -> bool:
        """Whether all that came are whole, valid frames, none of them our answer."""
        rest, last = b"", 0
        for at, end, _ in checksum_frames(received):
            rest += bytes(received[last:at])
            last = end
        return not rest + bytes(received[last:])

    def echoed(self, received: bytearray) -> bool:
        """Whether the adapter played our own request back to us."""
        return received.startswith(self.request)


def meaning(code: int) -> str:
    """An application error in words (EN 13757-3, report of application errors)."""
    return {1: "too many readouts", 2: "too long", 8: "busy, come back later"}.get(code & 0x0F, "application error")


def _goes_on(records: bytes) -> bool:
    """Whether the meter says that more records follow in another telegram."""
    at = 0
    while at < len(records):
        if records[at] in (MORE_FOLLOW, MAKERS_OWN):
            return records[at] == MORE_FOLLOW
        _, at = _record(records, at)
    return False


def records_in(payload: bytes) -> Iterator[Record]:
    """The records of an answer (`MbusQuestion.answer`), its identification number and its status first.

    Raises
    ------
    FrameError
        A record that does not end: nothing after it can be trusted.
    """
    number = _packed(payload[:4])
    yield Record("identity", "now", 0, 0, 0, number)
    yield Record("status", "now", 0, 0, 0, payload[9] if number is not None or payload[9:10] != b"\xff" else None)
    at = 12
    while at < len(payload):
        if payload[at] in (MAKERS_OWN, MORE_FOLLOW):  # what follows is the maker's own affair
            return
        if payload[at] == FILLER:
            at += 1
            continue
        record, at = _record(payload, at)
        yield record


def _record(data: bytes, at: int) -> tuple[Record, int]:
    """The record that begins at a place, and where the next one begins."""
    if data[at] == FILLER:
        return Record("", "now", 0, 0, 0, None), at + 1
    dif = data[at]
    storage, tariff, subunit, extensions = dif >> 6 & 1, 0, 0, 0
    more = dif & 0x80
    at += 1
    while more:
        dife = _byte(data, at)
        storage |= (dife & 0x0F) << 1 + 4 * extensions
        tariff |= (dife >> 4 & 3) << 2 * extensions
        subunit |= (dife >> 6 & 1) << extensions
        more, at, extensions = dife & 0x80, at + 1, extensions + 1
        if extensions > _MOST_EXTENSIONS:
            raise FrameError("a record with more than ten extensions")
    vif = _byte(data, at)
    at += 1
    plain = vif & 0x7F == 0x7C
    if plain:  # the unit in letters, their number first
        at += 1 + _byte(data, at)
    changes: list[int] = []
    more = vif & 0x80
    while more:
        changes.append(_byte(data, at))
        more, at = changes[-1] & 0x80, at + 1
    modified = bool(changes) and changes != [POSITIVE_ONLY]
    kind = dif & 0x0F
    size = _LENGTH.get(kind)
    if size is None:
        if kind == 0x0F:
            raise FrameError(f"a record of kind {dif:02x}")
        size, at = _variable(_byte(data, at)), at + 1
    raw = data[at : at + size]
    if len(raw) < size:
        raise FrameError(f"a record of {size} bytes ends after {len(raw)}")
    quantity, power, factor = ("", 0, 1) if modified or plain else _meaning(vif)
    number = _number(kind, raw)
    return Record(quantity, _FUNCTIONS[dif >> 4 & 3], storage, tariff, subunit, number, power, factor), at + size


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise FrameError("a record ends within its head")
    return data[at]


def _variable(lvar: int) -> int:
    """Bytes of a value that says its own length (texts, long numbers)."""
    if lvar < 0xC0:
        return lvar
    if lvar < 0xF0:
        return lvar & 0x0F
    if lvar < 0xF5:
        return 4 * (lvar - 0xEC)
    raise FrameError(f"a value of length code {lvar:02x}")


def _meaning(vif: int) -> tuple[str, int, int]:
    """Quantity, power of ten and factor of a VIF; no quantity for what we do not read."""
    low3, low2 = vif & 7, vif & 3
    for first, quantity, power, factor in (
        (0x00, "energy.wh", low3 - 3, 1), (0x08, "energy.j", low3, 1), (0x10, "volume", low3 - 6, 1),
        (0x18, "mass", low3 - 3, 1), (0x28, "power.w", low3 - 3, 1), (0x38, "flow.volume", low3 - 6, 1),
        (0x40, "flow.volume", low3 - 7, 60), (0x48, "flow.volume", low3 - 9, 3600), (0x50, "flow.mass", low3 - 3, 1),
    ):  # fmt: skip
        if vif & 0x78 == first:
            return quantity, power, factor
    for first, quantity, power in (
        (0x58, "temperature.flow", low2 - 3), (0x5C, "temperature.return", low2 - 3),
        (0x64, "temperature.external", low2 - 3), (0x68, "pressure", low2 - 3),
    ):  # fmt: skip
        if vif & 0x7C == first:
            return quantity, power, 1
    hours = {2: 1, 3: 24}.get(low2)  # seconds and minutes are no whole hours
    if hours is not None and vif & 0x7C in (0x20, 0x24):
        return ("hours.on" if vif & 0x7C == 0x20 else "hours.operating"), 0, hours
    return "", 0, 1


def _number(kind: int, raw: bytes) -> Number | None:
    if kind in (1, 2, 3, 4, 6, 7):
        return int.from_bytes(raw, "little", signed=True)
    if kind == 5:
        (value,) = struct.unpack("<f", raw)
        return shortest_float32(value) if math.isfinite(value) else None
    if kind in (9, 10, 11, 12, 14):
        return _packed(raw)
    return None


def _packed(raw: bytes) -> int | None:
    """Packed digits, low byte first; an F in the highest place is a minus sign."""
    text = raw[::-1].hex()
    if text[:1] == "f" and text[1:].isdecimal():
        return -int(text[1:])
    return int(text) if text.isdecimal() else None
