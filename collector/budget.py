"""How often a day a battery meter may be asked: each question wakes it, and its battery is to last ten years."""

from __future__ import annotations

from meterline.clock import NS

DAY_NS = 86_400 * NS


class ReadBudget:
    """The questions one meter may be asked in a day (UTC), failed ones included.

    Parameters
    ----------
    per_day
        None: as many as one likes.
    """

    def __init__(self, per_day: int | None) -> None:
        self._per_day = per_day
        self._day, self._asked, self._share = -1, 0, -1

    def allows_turn(self, now_ns: int) -> bool:
        """Whether a turn is due: the day is parted evenly, and each part has one."""
        if self._per_day is None:
            return True
        return now_ns * self._per_day // DAY_NS != self._share and self.allows(now_ns)

    def allows(self, now_ns: int) -> bool:
        """Whether any question is left for today."""
        return self._per_day is None or now_ns // DAY_NS != self._day or self._asked < self._per_day

    def spend(self, now_ns: int) -> None:
        """A question leaves the port."""
        if self._per_day is not None:
            if now_ns // DAY_NS != self._day:
                self._day, self._asked = now_ns // DAY_NS, 0
            self._asked += 1
            self._share = now_ns * self._per_day // DAY_NS
