"""Meters with one answer for everything: CJ/T 188 and M-Bus, framed as such meters do.

Written from the standards and not shared with the collector's codecs: two mistakes that agree would make every test
green.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from collector.simulated.counting import COUNTERS
from collector.simulated.display import Display, Part
from collector.simulated.electrical import Grid
from collector.simulated.faults import Fault
from collector.simulated.own_words import number_of
from collector.simulated.physics import Physics
from meterline.measurands import MEASURANDS
from meterline.plant import Plant
from meterline.profiles import Cjt188Profile, FieldPoint, MbusProfile, Point, RecordPoint
from meterline.site import Meter

_UNIT_BYTE = {
    # what our simulated meters count in: canonical unit -> unit byte, and the canonical value of one of that unit
    "GJ": (0x05, Fraction(36, 10_000)), "kW": (0x17, Fraction(1)), "m3": (0x2C, Fraction(1)),
    "m3/h": (0x35, Fraction(1)),
}  # fmt: skip
_VIF = {
    # quantity -> VIF, and the canonical value of one step of it
    "energy.wh": (0x06, Fraction(36, 10_000)), "energy.j": (0x0E, Fraction(1, 1000)),
    "volume": (0x14, Fraction(1, 100)), "mass": (0x1B, Fraction(1, 1000)), "power.w": (0x2B, Fraction(1, 1000)),
    "flow.volume": (0x3B, Fraction(1, 1000)), "flow.mass": (0x53, Fraction(1, 1000)),
    "temperature.flow": (0x59, Fraction(1, 100)),
    "temperature.return": (0x5D, Fraction(1, 100)), "temperature.external": (0x65, Fraction(1, 100)),
    "pressure": (0x69, Fraction(1, 1000)), "hours.on": (0x22, Fraction(1)), "hours.operating": (0x26, Fraction(1)),
}  # fmt: skip


MOST_WAITING = 80
"""Bytes of an incomplete request that are kept for its rest."""


class AnswerMeter(Display):
    """What both kinds share: numbers kept in the steps their meter counts in; parameters as those of `Display`."""

    def __init__(
        self, meter: Meter, plant: Plant, physics: Physics, grid: Grid, faults: Sequence[Fault], seed: int
    ) -> None:
        super().__init__(meter, plant, physics, grid, faults, seed)
        self.address = meter.address
        self._per_step: dict[str, Fraction] = {}

    def _show(self, point: Point, step: Fraction, digits: int) -> None:
        """Show a point in whole steps of `step` canonical units, of so many digits."""
        per_step = step / Fraction(10) ** point.exponent
        if isinstance(point, RecordPoint) and point.is_float:
            value = self.gauge(point, "float64", 0, (0, 0))
            part = Part(point, "float64", 0, 0, lambda t_ns: float(round(value(t_ns) / per_step) * per_step))
        else:
            most = int((10**digits - 1) * per_step)
            fine = (
                self.counter(point, "uint64", 0, 1, "tariff")
                if point.measurand in COUNTERS
                else self.gauge(point, "uint64", 0, (0, most))
            )
            part = Part(point, "uint64", 0, most, lambda t_ns: int(fine(t_ns) // per_step * per_step) % (most + 1))
        self._points[point.measurand] = [part]
        self._per_step[point.measurand] = per_step

    def _steps(self, point: Point, t_ns: int) -> int:
        """What it shows, in its own steps."""
        return round(Fraction(self.number_of(self._points[point.measurand][0], t_ns)) / self._per_step[point.measurand])


class FieldMeter(AnswerMeter):
    """One CJ/T 188 meter."""

    def __init__(
        self, meter: Meter, plant: Plant, physics: Physics, grid: Grid, faults: Sequence[Fault], seed: int
    ) -> None:
        super().__init__(meter, plant, physics, grid, faults, seed)
        profile = plant.profile_of(meter)
        assert isinstance(profile, Cjt188Profile)
        self.profile = profile
        for point in profile.points:
            if point.enabled:
                step = Fraction(10) ** point.exponent
                if point.decimals is not None:
                    step = _UNIT_BYTE[MEASURANDS[point.measurand].unit][1] / 10**point.decimals
                self._show(point, step, 2 * point.length)

    def is_meant(self, type_: int, address: str) -> bool:
        """Whether a request is for this meter."""
        return type_ == int(self.profile.type, 16) and address in (self.address, "AA" * 7)

    def reply(self, control: int, data: bytes, t_ns: int) -> tuple[int, bytes] | None:
        """Control byte and data of the answer; None where such a meter keeps silent."""
        if control == 0x03 and data[:2] == b"\x0a\x81":
            return 0x83, data[:3]
        limits = self.profile.limits
        own = bytes.fromhex(limits.di)
        if control != 0x01 or len(data) != 3 or data[:2] != (own if limits.di_order == "high-first" else own[::-1]):
            return None
        answer = bytearray(max(point.at + point.bytes_each for point in self.profile.points))
        answer[:3] = data
        for point in self.profile.points:
            if point.enabled:
                answer[point.at : point.at + point.bytes_each] = self._field(point, t_ns)
        return 0x81, bytes(answer)

    def _field(self, point: FieldPoint, t_ns: int) -> bytes:
        steps = self._steps(point, t_ns)
        if point.type == "bits":
            return steps.to_bytes(point.length, "little")
        raw = bytes.fromhex(f"{steps:0{2 * point.length}d}")[::-1]
        if point.decimals is None:
            return raw
        unit = bytes((_UNIT_BYTE[MEASURANDS[point.measurand].unit][0],))
        return unit + raw if self.profile.limits.unit_position == "before" else raw + unit


class RecordMeter(AnswerMeter):
    """One M-Bus meter; it repeats its last answer to a question with the same frame count bit."""

    def __init__(
        self, meter: Meter, plant: Plant, physics: Physics, grid: Grid, faults: Sequence[Fault], seed: int
    ) -> None:
        super().__init__(meter, plant, physics, grid, faults, seed)
        profile = plant.profile_of(meter)
        assert isinstance(profile, MbusProfile)
        self.profile = profile
        self._last: tuple[int, bytes] = (0, b"")
        for point in profile.points:
            if point.enabled:
                step = Fraction(10) ** point.exponent
                self._show(point, _VIF[point.quantity][1] if point.quantity in _VIF else step, 9)

    def reply(self, control: int, t_ns: int) -> bytes | None:
        """The whole answer to a request; None where such a meter keeps silent."""
        if control == 0x40:
            self._last = (0, b"")
            return b"\xe5"
        if control not in (0x5B, 0x7B):
            return None
        if self._last[0] != control:
            self._last = (control, self._telegram(t_ns))
        return self._last[1]

    def _telegram(self, t_ns: int) -> bytes:
        body = bytes((0x08, int(self.address), 0x72)) + bytes.fromhex(f"{number_of(self.meter) % 10**8:08d}")[::-1]
        body += bytes.fromhex("24 40 01 07 55") + b"\0\0\0"
        for point in self.profile.points:
            if point.enabled and point.quantity in _VIF:
                dif = {"now": 0x04, "maximum": 0x14, "minimum": 0x24, "error": 0x34}[point.function]
                body += bytes((dif, _VIF[point.quantity][0])) + self._steps(point, t_ns).to_bytes(4, "little")
        return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) % 256, 0x16))


class FieldFraming:
    """CJ/T 188 on a line: requests out of a stream of bytes, answers back into it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def requests(self, data: bytes) -> Iterator[tuple[int, str, bytes]]:
        """Take what arrived; yield (type, address, control byte and data) of every whole request."""
        self._buffer += data
        at = 0
        while at + 13 <= len(self._buffer):
            frame = bytes(self._buffer[at : at + 13 + self._buffer[at + 10]])
            if (
                frame[0] == 0x68
                and 0x10 <= frame[1] <= 0x49
                and len(frame) == 13 + frame[10]
                and frame[-1] == 0x16
                and sum(frame[:-2]) % 256 == frame[-2]
            ):
                del self._buffer[: at + len(frame)]
                at = 0
                yield (
                    frame[1],
                    "".join(f"{byte:02X}" for byte in reversed(frame[2:9])),
                    bytes([frame[9]]) + frame[11:-2],
                )
            else:
                at += 1  # what is incomplete here may be another protocol's frame: a whole one behind it counts
        del self._buffer[:-MOST_WAITING]

    def forget(self) -> None:
        """Drop an incomplete request."""
        self._buffer.clear()

    @staticmethod
    def frame(type_: int, address: str, control: int, data: bytes) -> bytes:
        """Wrap an answer, with the preamble that most meters send."""
        body = bytes([0x68, type_]) + bytes.fromhex(address)[::-1] + bytes([control, len(data)]) + data
        return b"\xfe" * 3 + body + bytes([sum(body) % 256, 0x16])


class RecordFraming:
    """M-Bus on a line: its short frames out of a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def requests(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Take what arrived; yield (address, control byte) of every whole request."""
        self._buffer += data
        while len(self._buffer) >= 5:
            start, control, address, check, end = self._buffer[:5]
            if (start, end) == (0x10, 0x16) and (control + address) % 256 == check:
                del self._buffer[:5]
                yield address, control
            else:
                del self._buffer[0]

    def forget(self) -> None:
        """Drop an incomplete request."""
        self._buffer.clear()
