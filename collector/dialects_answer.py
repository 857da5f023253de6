"""How meters with one answer for everything are spoken to: CJ/T 188 and M-Bus."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Set
from itertools import cycle

from collector.bus import Line, Question
from collector.decode_fields import FieldDecoder
from collector.decode_records import RecordDecoder
from collector.plan_answer import WholeAnswer, field_plan, record_plan
from collector.protocols import cjt188, mbus
from collector.requests import EVERY_RATE, NOTHING, Avoid, Plan
from meterline.errors import FrameError
from meterline.profiles import Cjt188Profile, FieldPoint, MbusProfile, Rate, RecordPoint


class Cjt188Dialect:
    """One answer for everything, by type and the fourteen digits of the meter's address."""

    def __init__(self, profile: Cjt188Profile, address: str) -> None:
        self.profile, self.address = profile, address
        self.gap_s = profile.limits.gap_ms / 1000
        self.reads_per_day = profile.limits.max_reads_per_day
        self._serial = 0
        self._expected = max(point.at + point.bytes_each for point in profile.points)

    def plan(
        self, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING
    ) -> Plan[WholeAnswer[FieldPoint], FieldPoint]:
        return field_plan(self.profile, rates, avoid)

    def decoder(self, block: WholeAnswer[FieldPoint], points: tuple[FieldPoint, ...]) -> FieldDecoder:
        return FieldDecoder(block, unit_first=self.profile.limits.unit_position == "before")

    def request(self, block: WholeAnswer[FieldPoint]) -> cjt188.ReadData:
        self._serial = (self._serial + 1) % 256
        limits = self.profile.limits
        return cjt188.ReadData(
            int(self.profile.type, 16), self.address, limits.di, self._serial, limits.di_order, self._expected,
            limits.preamble,
        )  # fmt: skip

    def question(self, request: cjt188.ReadData, line: Line) -> Question:
        if not line.frames_by_silence:
            raise FrameError("CJ/T 188 does not travel in Modbus/TCP frames; the bus must be serial or rtu-over-tcp")
        return cjt188.Cjt188Question(request)

    def likeness(self, request: cjt188.ReadData) -> int:
        """The serial number: it comes back in the answer."""
        return request.serial

    def probe(self, plan: Plan[WholeAnswer[FieldPoint], FieldPoint], unanswered: Set[Hashable]) -> cjt188.ReadData:
        """The same question with another serial number."""
        return self.request(plan.blocks[0])

    def parts(self, block: WholeAnswer[FieldPoint]) -> None:
        return None

    def lacks(self, code: int) -> bool:
        return False

    def is_busy(self, code: int) -> bool:
        return True

    def unreached(self, code: int) -> bool:
        return False

    def meaning(self, code: int) -> str:
        return cjt188.meaning(code)


class MbusDialect:
    """One answer for everything, by primary address."""

    def __init__(self, profile: MbusProfile, address: int) -> None:
        self.profile, self.address = profile, address
        self.gap_s = profile.limits.gap_ms / 1000
        self.reads_per_day = profile.limits.max_reads_per_day
        self._counts = cycle(mbus.REQUESTS)
        self._is_first = True

    def plan(
        self, rates: Collection[Rate] = EVERY_RATE, avoid: Avoid = NOTHING
    ) -> Plan[WholeAnswer[RecordPoint], RecordPoint]:
        return record_plan(self.profile, rates, avoid)

    def decoder(self, block: WholeAnswer[RecordPoint], points: tuple[RecordPoint, ...]) -> RecordDecoder:
        return RecordDecoder(block)

    def request(self, block: WholeAnswer[RecordPoint]) -> mbus.AskForData:
        first, self._is_first = self._is_first, False
        return mbus.AskForData(self.address, first)

    def question(self, request: mbus.AskForData, line: Line) -> Question:
        if not line.frames_by_silence:
            raise FrameError("M-Bus does not travel in Modbus/TCP frames; the bus must be serial or rtu-over-tcp")
        return mbus.MbusQuestion(request, self._counts)

    def likeness(self, request: mbus.AskForData) -> str:
        """All are alike: a late answer is the same data, a moment older."""
        return "data"

    def probe(self, plan: Plan[WholeAnswer[RecordPoint], RecordPoint], unanswered: Set[Hashable]) -> mbus.AskForData:
        return mbus.AskForData(self.address)

    def parts(self, block: WholeAnswer[RecordPoint]) -> None:
        return None

    def lacks(self, code: int) -> bool:
        return False

    def is_busy(self, code: int) -> bool:
        return True

    def unreached(self, code: int) -> bool:
        return False

    def meaning(self, code: int) -> str:
        return mbus.meaning(code)
