"""``meterline completeness``: received of expected, per meter and day, and what became of the rest."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterline.cli.screen import Screen
from meterline.cli.status import plant_now_ns
from meterline.errors import EXIT_FINE, EXIT_FOUND, ConfigError, Problem, StoreUnavailable, Unreachable
from meterline.settings import HeadendSettings, load_headend

if TYPE_CHECKING:
    from headend.completeness import MeterDay


def completeness(screen: Screen, file: Path, day: str | None, month: str | None) -> int:
    """Print a day or a month.

    Returns
    -------
    int
        1 where a meter's day that is over is below the limit, else 0.

    Raises
    ------
    ConfigError
        The head-end file, the day or the month is wrong.
    Unreachable
        The head-end has never run here.
    """
    settings = load_headend(file)
    try:
        first, last, today, days = _looked_up(settings, day, month)
    except StoreUnavailable as error:
        raise Unreachable(str(settings.data), str(error), f"start it: meterline headend {file}") from error
    from headend.completeness import LIMIT, total

    poor = [one for one in days if one.day < today and one.complete is False]
    expected, received = total(days)
    said = {"first": first.isoformat(), "last": last.isoformat(), "expected": expected, "received": received}
    screen.json(
        {**said, "share": received / expected if expected else None, "limit": LIMIT, "poor": len(poor),
         "days": [_json(one) for one in days]}
    )  # fmt: skip
    if month is None:
        _print_day(screen, days)
    else:
        _print_month(screen, days, poor)
    if expected:
        share = f"{int(received / expected * 1000) / 10:.1f}"
        key = "completeness.all" if month is not None else "completeness.one"
        screen.say(key, "red" if poor else None, **said, share=share, limit=round(100 * LIMIT), poor=len(poor))
    else:
        screen.say("completeness.none")
    return EXIT_FOUND if poor else EXIT_FINE


def _looked_up(
    settings: HeadendSettings, day: str | None, month: str | None
) -> tuple[dt.date, dt.date, dt.date, list[MeterDay]]:
    from headend.completeness import CompletenessLedger
    from headend.completeness_book import CompletenessBook
    from headend.plant_days import day_of
    from headend.queries import Queries
    from headend.stores.embedded import EmbeddedReader

    wish = _wish(day, month)
    queries = Queries.of(settings)
    try:
        now_ns = plant_now_ns(queries)
        today = day_of(settings.plant.site.site.zone, now_ns)
        first, last = wish or (today, today)
        assert isinstance(queries.store, EmbeddedReader)
        book = CompletenessBook(queries.catalogue.path, write=False)
        factor = float(queries.catalogue.mark("figures", "factor") or 1)
        ledger = CompletenessLedger(settings.plant, queries.store, queries.catalogue, book, factor)
        try:
            return first, last, today, ledger.days(first, last, now_ns)
        finally:
            book.close()
    finally:
        queries.close()


def _wish(day: str | None, month: str | None) -> tuple[dt.date, dt.date] | None:
    try:
        if month is not None:
            first = dt.date.fromisoformat(f"{month}-01")
            return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])
        return None if day is None else (dt.date.fromisoformat(day), dt.date.fromisoformat(day))
    except ValueError as error:
        option, words, hint = ("--day", day, "write it as 2026-01-31")
        if month is not None:
            option, words, hint = ("--month", month, "write it as 2026-01")
        raise ConfigError([Problem(option, "", f"'{words}' is no date", hint)]) from error


def _print_day(screen: Screen, days: list[MeterDay]) -> None:
    if not days:
        return
    rows = [
        (
            one.meter, one.gateway, one.expected, one.received, _percent(one.share), one.late or "", one.empty or "",
            _causes(one.silent), _causes(one.lost), one.coming or "", one.off or "", one.unexplained or "",
            one.estimated or "", {None: "…", True: "1 min", False: "–"}[one.boundary],
        )
        for one in days
    ]  # fmt: skip
    screen.table(
        ("head.meter", "head.gateway", "head.expected", "head.received", "head.percent", "head.late", "head.empty",
         "head.not_read", "head.lost", "head.coming", "head.off", "head.unexplained", "head.estimated",
         "head.midnight"), rows, right=(2, 3, 4, 5, 6, 9, 10, 11, 12),
    )  # fmt: skip


def _print_month(screen: Screen, days: list[MeterDay], poor: list[MeterDay]) -> None:
    from headend.completeness import total

    rows: list[tuple[object, ...]] = []
    for meter in dict.fromkeys(one.meter for one in days):
        mine = [one for one in days if one.meter == meter]
        expected, received = total(mine)
        silent, lost = _sum(one.silent for one in mine), _sum(one.lost for one in mine)
        bad = [one.day.isoformat()[8:] for one in poor if one.meter == meter]
        rows.append(
            (
                meter, mine[0].gateway, expected, received, _percent(received / expected if expected else None),
                sum(one.late for one in mine) or "", _causes(silent), _causes(lost),
                sum(one.coming for one in mine) or "", sum(one.off for one in mine) or "",
                sum(one.unexplained for one in mine) or "", ", ".join(bad),
            )
        )  # fmt: skip
    if rows:
        screen.table(
            ("head.meter", "head.gateway", "head.expected", "head.received", "head.percent", "head.late",
             "head.not_read", "head.lost", "head.coming", "head.off", "head.unexplained", "head.poor"), rows,
            right=(2, 3, 4, 5, 8, 9, 10),
        )  # fmt: skip


def _percent(share: float | None) -> str:
    """Never 100 for what is not whole."""
    return "" if share is None else f"{int(share * 1000 + 1e-9) / 10:.1f}"


def _causes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{cause} {count}" for cause, count in counts.items())


def _sum(many: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for counts in many:
        for cause, count in counts.items():
            found[cause] = found.get(cause, 0) + count
    return found


def _json(one: MeterDay) -> dict[str, Any]:
    return asdict(one) | {"day": one.day.isoformat(), "share": one.share, "complete": one.complete}
