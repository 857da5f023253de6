"""A DL/T 645 meter of any profile: items, blocks and its address, framed and refused as such a meter does.

Written from the standard and not shared with the collector's codec: two mistakes that agree would make every test
green.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from collector.simulated.counting import COUNTERS
from collector.simulated.display import Display, Part
from collector.simulated.electrical import Grid
from collector.simulated.faults import Fault
from collector.simulated.own_words import number_of
from collector.simulated.physics import Physics
from meterline.clock import NS
from meterline.measurands import MEASURANDS, Kind
from meterline.plant import Plant
from meterline.profiles import Dlt645Profile, ItemPoint
from meterline.site import Meter

NO_SUCH_DATA = 0x02
"""Bit of the error byte: the meter has no such data (DL/T 645-2007, clause 7)."""
ANSWERS, REFUSES, GOES_ON = 0x80, 0xC0, 0x20
MOST_AT_ONCE = 190
"""Data bytes of one frame; the rest follows when asked for. [bytes]"""


MOST_WAITING = 80
"""Bytes of an incomplete request that are kept for its rest."""


class ItemMeter(Display):
    """One DL/T 645 meter of the factory; parameters as those of `Display`.

    Attributes
    ----------
    knows_blocks
        Whether it answers identifiers with an FF in them; old meters do not.
    """

    def __init__(
        self, meter: Meter, plant: Plant, physics: Physics, grid: Grid, faults: Sequence[Fault], seed: int
    ) -> None:
        super().__init__(meter, plant, physics, grid, faults, seed)
        profile = plant.profile_of(meter)
        assert isinstance(profile, Dlt645Profile)
        self.profile, self.address, self.knows_blocks = profile, meter.address, True
        self.load_step_ns = 900 * NS
        """How often it notes its counters. [ns]"""
        self.freezes: set[str] = set()
        """What it was told by broadcast to freeze."""
        self._rest = b""
        self._items: dict[str, ItemPoint] = {}
        self._blocks: dict[str, dict[int, ItemPoint]] = {}
        self._records_of: dict[str, ItemPoint] = {}
        for point in profile.points:
            if point.enabled:
                self._add(point)

    def is_meant(self, address: str) -> bool:
        """Whether an address (with wildcard bytes AA, perhaps, or that of everybody) is this meter's."""
        return address == "999999999999" or all(
            address[n : n + 2] in ("AA", self.address[n : n + 2]) for n in range(0, 12, 2)
        )

    def reply(self, control: int, data: bytes, t_ns: int) -> tuple[int, bytes] | None:
        """Control byte and data of the answer to a request; None where such a meter keeps silent."""
        if control == 0x13 and not data:
            return 0x93, bytes.fromhex(self.address)[::-1]
        if control == 0x08 and len(data) == 6:
            self._set_clock(data, t_ns)
            return None
        if control == 0x16 and len(data) == 4:
            self.freezes.add(data[::-1].hex())
            return None
        width = {0x11: 4, 0x12: 4, 0x01: 2, 0x02: 2}.get(control)
        if width is None or len(data) < width:
            return None
        if (self.profile.edition == "2007") != (width == 4):
            return None  # the other edition is not even heard
        identifier = data[:width][::-1].hex().upper()
        following = control in (0x12, 0x02)
        answer = self._rest if following else self._data(identifier, data[width:], t_ns)
        if answer is None or (following and not answer):
            return control | REFUSES, bytes((NO_SUCH_DATA,))
        answer, self._rest = answer[:MOST_AT_ONCE], answer[MOST_AT_ONCE:]
        more = GOES_ON if self._rest else 0
        return control | ANSWERS | more, data[:width] + answer + (data[width : width + 1] if control == 0x12 else b"")

    def counters_in(self, identifier: str) -> list[str]:
        """Measurands of the counters that an identifier's answer shows."""
        inside = [self._items[identifier]] if identifier in self._items else self._blocks.get(identifier, {}).values()
        return [point.measurand for point in inside if MEASURANDS[point.measurand].kind is Kind.COUNTER]

    def _set_clock(self, data: bytes, t_ns: int) -> None:
        """Broadcast time: taken if it is within five minutes, and not around midnight (DL/T 645-2007, 7.4)."""
        text = data[::-1].hex()
        told = dt.datetime.strptime(f"20{text}", "%Y%m%d%H%M%S").replace(tzinfo=self._zone)
        ahead_s = told.timestamp() - t_ns / NS
        own = dt.datetime.fromtimestamp(self.own_ns(t_ns) // NS, self._zone)
        near_midnight = not 300 <= own.hour * 3600 + own.minute * 60 + own.second <= 86_100
        if abs(ahead_s - self.clock_ahead_s) <= 300 and not near_midnight:
            self.clock_ahead_s = ahead_s

    def _data(self, identifier: str, detail: bytes, t_ns: int) -> bytes | None:
        if identifier == "04000401":
            return bytes.fromhex(self.address)[::-1]
        if identifier in ("04000402", "C032"):
            return bytes.fromhex(f"{number_of(self.meter):012d}")[::-1]
        if identifier[:2] == "05":
            return self._frozen(identifier, t_ns)
        if identifier == "06040001" and len(detail) == 6:
            return self._records(detail, t_ns)
        if identifier in self._records_of:
            return self._event(self._records_of[identifier], t_ns)
        if identifier in self._items:
            return self._item(self._items[identifier], t_ns)
        block = self._blocks.get(identifier)
        if block is None or not self.knows_blocks:
            return None
        each = next(iter(block.values())).bytes_each
        return b"".join(
            self._item(block[index], t_ns) if index in block else bytes(each) for index in range(max(block) + 1)
        )

    def _frozen(self, identifier: str, t_ns: int) -> bytes | None:
        """What it froze at its own midnight so many days ago."""
        freeze, ago = self.profile.memory.daily_freeze, int(identifier[6:], 16)
        own = dt.datetime.fromtimestamp(self.own_ns(t_ns) // NS, self._zone)
        midnight = own.replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=ago - 1)
        at_ns = int(midnight.timestamp()) * NS - round(self.clock_ahead_s * NS)
        if freeze is None or not 1 <= ago <= freeze.days:
            return None
        if identifier[:6] == freeze.time:
            return bytes.fromhex(f"{midnight:%M%H%d%m%y}")
        block = next((block for block in freeze.blocks if block.di == identifier[:6]), None)
        return None if block is None else self._counters(block.counters, at_ns)

    def _records(self, detail: bytes, t_ns: int) -> bytes | None:
        """Records of its load curve, class 4 (energies), from a minute on."""
        if self.profile.memory.load_records is None:
            return None
        start = dt.datetime.strptime(f"20{detail[:0:-1].hex()}", "%Y%m%d%H%M").replace(tzinfo=self._zone)
        step = self.load_step_ns
        first = -(-int(start.timestamp()) * NS // step) * step
        records = b""
        for at_ns in range(first, min(first + int(detail[:1].hex()) * step, self.own_ns(t_ns)), step):
            energies = self._counters(("energy.active.import", "energy.active.export"), at_ns)
            if energies is not None:
                body = bytes.fromhex(f"{dt.datetime.fromtimestamp(at_ns // NS, self._zone):%M%H%d%m%y}")
                body += b"\xaa" * 3 + energies + bytes(8) + b"\xaa" * 3
                record = b"\xa0\xa0" + bytes((len(body),)) + body
                records += record + bytes((sum(record) % 256, 0xE5))
        return records or None

    def _counters(self, measurands: Sequence[str], at_ns: int) -> bytes | None:
        points = {point.measurand: point for point in self.profile.points if isinstance(point, ItemPoint)}
        try:
            return b"".join(self._item(points[name], at_ns) for name in measurands)
        except LookupError:  # before the factory began
            return None

    def _event(self, point: ItemPoint, t_ns: int) -> bytes:
        """The record of the last event of a kind: its time, and for the rest zeros."""
        begun = [at for at in self.events.get(point.measurand, ()) if at <= t_ns]
        text = f"{dt.datetime.fromtimestamp(begun[-1] // NS, self._zone):%S%M%H%d%m%y}" if begun else "00" * 6
        return (bytes(point.record_at) + bytes.fromhex(text)).ljust(60, b"\0")

    def _item(self, point: ItemPoint, t_ns: int) -> bytes:
        number = self.number_of(self._points[point.measurand][0], t_ns)
        assert isinstance(number, int)
        if point.type == "bits":
            raw = number.to_bytes(point.length, "little")
        elif point.type == "date":
            weekday = dt.date(number // 10_000, number // 100 % 100, number % 100).isoweekday() % 7
            raw = bytes.fromhex(f"{weekday:02d}{number % 100:02d}{number // 100 % 100:02d}{number // 10_000 % 100:02d}")
        else:
            text = f"{abs(number):0{2 * point.length}d}"
            raw = bytes(int(text[n : n + 2], 16) for n in range(len(text) - 2, -1, -2))
            if number < 0:
                raw = raw[:-1] + bytes((raw[-1] + 0x80,))
        if point.bytes_each == point.length + 5:  # a maximum demand is followed by the time it occurred
            moment = dt.datetime.fromtimestamp(t_ns // NS, self._zone).replace(hour=11, minute=15)
            raw += bytes.fromhex(f"{moment:%M%H%d%m%y}")
        return raw.ljust(point.bytes_each, b"\0")

    def _add(self, point: ItemPoint) -> None:
        digits = 10 ** (2 * point.length)
        if point.type != "bcd":
            limits = (0, (1 << 8 * point.length) - 1)
        elif point.signed:
            limits = (-(digits * 8 // 10) + 1, digits * 8 // 10 - 1)
        else:
            limits = (0, digits - 1)
        if point.measurand in COUNTERS:
            number = self.counter(point, "bcd32", 0, 1, "tariff")
        else:
            number = self.gauge(point, "bcd32", 0, limits)
        self._points[point.measurand] = [Part(point, "bcd32", *limits, number)]
        if point.di is not None:
            self._items[point.di] = point
        if point.record is not None:
            self._records_of[point.record] = point
        if point.block is not None and point.item is not None:
            self._blocks.setdefault(point.block, {})[point.item] = point


class ItemFraming:
    """DL/T 645 on a line: requests out of a stream of bytes, answers back into it. The transaction is always 0."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def requests(self, data: bytes) -> Iterator[tuple[int, str, bytes]]:
        """Take what arrived; yield (0, address, control byte and data without the offset) of every whole request."""
        self._buffer += data
        at = 0
        while at + 12 <= len(self._buffer):
            frame = bytes(self._buffer[at : at + 12 + self._buffer[at + 9]])
            if (
                frame[0] == frame[7] == 0x68
                and len(frame) == 12 + frame[9]
                and frame[-1] == 0x16
                and sum(frame[:-2]) % 256 == frame[-2]
            ):
                del self._buffer[: at + len(frame)]
                at = 0
                address = "".join(f"{byte:02X}" for byte in reversed(frame[1:7]))
                yield 0, address, bytes([frame[8]]) + bytes((byte - 0x33) % 256 for byte in frame[10:-2])
            else:
                at += 1  # what is incomplete here may be another protocol's frame: a whole one behind it counts
        del self._buffer[:-MOST_WAITING]

    def forget(self) -> None:
        """Drop an incomplete request."""
        self._buffer.clear()

    @staticmethod
    def frame(address: str, control: int, data: bytes) -> bytes:
        """Wrap an answer, with the preamble that most meters send."""
        body = b"\x68" + bytes.fromhex(address)[::-1] + b"\x68" + bytes([control, len(data)])
        body += bytes((byte + 0x33) % 256 for byte in data)
        return b"\xfe" * 4 + body + bytes([sum(body) % 256, 0x16])
