"""The page and the JSON of completeness: a month at a glance, a day with what became of every slot."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headend.completeness import LIMIT, CompletenessLedger, MeterDay, total
from headend.plant_days import day_of
from headend.web.shown import Name
from headend.web.views import Views, name_of
from meterline.clock import Clock

FRESH_S = 20.0
"""A page is looked at every few seconds, a month takes a while: it is worked out so often. [s]"""
ROUND_DOWN = 1e-9

Grade = Literal["whole", "good", "poor", "none"]


@dataclass(frozen=True, slots=True)
class DayLine:
    """One meter's day; counts are slots of the plan.

    Attributes
    ----------
    share
        Received over expected, 0 to 1; null where nothing was expected.
    grade
        ``whole`` (all of it), ``good`` (at least the limit), ``poor``, ``none`` (nothing expected).
    """

    meter: str
    name: Name
    gateway: str
    day: str
    period_s: float
    expected: int
    received: int
    share: float | None
    grade: Grade
    late: int
    empty: int
    silent: Mapping[str, int]
    lost: Mapping[str, int]
    coming: int
    off: int
    unexplained: int
    estimated_quarters: int
    boundary: bool | None


@dataclass(frozen=True, slots=True)
class MonthRow:
    """One meter's month: a cell for each day, and the whole."""

    meter: str
    name: Name
    gateway: str
    days: tuple[DayLine | None, ...]
    share: float | None
    grade: Grade
    poor: int


@dataclass(frozen=True, slots=True)
class MonthView:
    """A month of all meters."""

    month: str
    before: str
    after: str | None
    days: tuple[dt.date, ...]
    rows: tuple[MonthRow, ...]
    share: float | None
    grade: Grade


class CompletenessViews:
    """Makes what is shown from the ledger."""

    def __init__(self, ledger: CompletenessLedger, views: Views, clock: Clock) -> None:
        self._ledger, self._views, self._clock = ledger, views, clock
        self._known: dict[tuple[dt.date, dt.date], tuple[float, list[MeterDay]]] = {}

    def today(self, now_ns: int) -> dt.date:
        """The plant's date."""
        return day_of(self._views.zone, now_ns)

    def days(self, first: dt.date, last: dt.date, now_ns: int) -> list[DayLine]:
        """Every meter and day of a span that anything was expected of."""
        return [self._line(one) for one in self._looked_up(first, last, now_ns)]

    def together(self, first: dt.date, last: dt.date, now_ns: int) -> float | None:
        """Received over expected of all meters of a span."""
        return _share(self._looked_up(first, last, now_ns))

    def month(self, month: dt.date, now_ns: int) -> MonthView:
        """The month that begins with a date."""
        count = calendar.monthrange(month.year, month.month)[1]
        dates = tuple(month.replace(day=d) for d in range(1, count + 1))
        found = self._looked_up(dates[0], dates[-1], now_ns)
        cells = {(one.meter, one.day): self._line(one) for one in found}
        rows = []
        for meter in self._views.plant.site.meters:
            mine = [one for one in found if one.meter == meter.id]
            share = _share(mine)
            rows.append(
                MonthRow(
                    meter.id,
                    name_of(meter.name),
                    self._views.plant.buses[meter.bus].gateway,
                    tuple(cells.get((meter.id, day)) for day in dates),
                    share,
                    grade_of(share),
                    sum(one.complete is False for one in mine),
                )
            )
        after = (dates[-1] + dt.timedelta(days=1)).isoformat()[:7]
        share = _share(found)
        return MonthView(
            month.isoformat()[:7],
            (month - dt.timedelta(days=1)).isoformat()[:7],
            after if after <= self.today(now_ns).isoformat()[:7] else None,
            dates,
            tuple(rows),
            share,
            grade_of(share),
        )

    def _looked_up(self, first: dt.date, last: dt.date, now_ns: int) -> list[MeterDay]:
        at_s = self._clock.monotonic_s()
        known = self._known.get((first, last))
        if known is not None and 0 <= at_s - known[0] < FRESH_S:
            return known[1]
        found = self._ledger.days(first, last, now_ns)
        if len(self._known) > 20:
            self._known.clear()
        self._known[first, last] = (at_s, found)
        return found

    def _line(self, one: MeterDay) -> DayLine:
        return DayLine(
            meter=one.meter,
            name=name_of(self._views.plant.meters[one.meter].name),
            gateway=one.gateway,
            day=one.day.isoformat(),
            period_s=one.period_s,
            expected=one.expected,
            received=one.received,
            share=one.share,
            grade=grade_of(one.share),
            late=one.late,
            empty=one.empty,
            silent=one.silent,
            lost=one.lost,
            coming=one.coming,
            off=one.off,
            unexplained=one.unexplained,
            estimated_quarters=one.estimated,
            boundary=one.boundary,
        )


def grade_of(share: float | None) -> Grade:
    """A share in one word."""
    if share is None:
        return "none"
    return "whole" if share >= 1 else ("good" if share >= LIMIT else "poor")


def floor_percent(share: float) -> str:
    """Never 100 for a day that is not whole: ``99.9``."""
    return "100" if share >= 1 else f"{int(share * 1000 + ROUND_DOWN) / 10:.1f}".removesuffix(".0")


def _share(days: Sequence[MeterDay]) -> float | None:
    expected, received = total(days)
    return received / expected if expected else None
