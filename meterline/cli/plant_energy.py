"""``meterline energy`` and ``meterline balance`` on a plant: tables, CSV, XLSX and JSON, each number with its doubt."""

from __future__ import annotations

import csv
import datetime as dt
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from meterline.cli.read import quality_text
from meterline.cli.screen import Screen
from meterline.cli.texts import text
from meterline.clock import NS
from meterline.errors import EXIT_FINE, EXIT_FOUND, ConfigError, Problem, StoreUnavailable, Unreachable
from meterline.measurands import Carrier
from meterline.plant import EnergyUser, Meter, Plant
from meterline.readings import Quality
from meterline.settings import HeadendSettings, load_headend
from meterline.units import DISPLAY

if TYPE_CHECKING:
    from headend.catalogue import Catalogue
    from headend.plant_energy import NodeBalance, Period, Row
    from headend.stores.api import Span

COLUMNS = (
    "subject", "from", "to", "amount", "unit", "u", "u_pct", "class_in_u", "measured_share", "quality", "dominates",
)  # fmt: skip
Cells = tuple[str | float | None, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    subjects: tuple[str, ...]
    headend: Path
    period: str
    first: str | None
    last: str | None
    carrier: str | None
    out: Path | None


def plant_energy(screen: Screen, wish: Wish) -> None:
    """Print or write the amounts of meters and energy users.

    Raises
    ------
    ConfigError
        An unknown subject, day or carrier, or a file that cannot be written.
    Unreachable
        The head-end has never run here.
    """
    settings = load_headend(wish.headend)
    plant, zone = settings.plant, settings.plant.site.site.zone
    meters, users = subjects_of(plant, wish.subjects)
    carriers = [_carrier(wish.carrier)] if wish.carrier else list(Carrier)
    kind = _out_kind(wish.out)
    with open_catalogue(settings, wish.headend) as catalogue:
        from headend.plant_energy import meter_rows, user_rows

        accounted = accounted_span(catalogue, settings)
        span = whole_days(zone, wish.first, wish.last, accounted, wish.period)
        until = min(accounted.end_ns, span.end_ns)
        rows = list(meter_rows(plant, catalogue, meters, _period(wish.period), span, until))
        for carrier in carriers:
            rows += user_rows(plant, catalogue, users, carrier, _period(wish.period), span, until)
    cells = [_cells(row, zone) for row in rows]
    basis = {"period": wish.period, "u": {"k": 2, "class_of_instruments": "where on record"}, "power_factor": 0.9}
    if wish.out is not None:
        _write(wish.out, kind, COLUMNS, cells)
        screen.json({"file": str(wish.out), "rows": len(cells), **basis})
        screen.say("energy.written", None, file=wish.out, rows=len(cells))
        return
    screen.json({**basis, "rows": [dict(zip(COLUMNS, row, strict=True)) for row in cells]})
    _table(screen, plant, rows, zone)


def plant_balance(screen: Screen, headend: Path, period: str, first: str | None, last: str | None) -> int:
    """Print how the metering tree closes; 1 if a part of it is open beyond its uncertainty."""
    settings = load_headend(headend)
    zone = settings.plant.site.site.zone
    with open_catalogue(settings, headend) as catalogue:
        from headend.plant_energy import balances

        accounted = accounted_span(catalogue, settings)
        span = whole_days(zone, first, last, accounted, period)
        found = list(balances(settings.plant, catalogue, period, span, accounted.end_ns))  # type: ignore[arg-type]
    screen.json({"period": period, "u": {"k": 2}, "balances": [_balance_json(one, zone) for one in found]})
    _balance_table(screen, settings.plant, found, zone)
    from analytics.energy_balance import Balance

    return EXIT_FOUND if any(isinstance(one.result, Balance) and one.result.open for one in found) else EXIT_FINE


def subjects_of(plant: Plant, names: Sequence[str]) -> tuple[list[Meter], list[EnergyUser]]:
    """Meters and energy users by id; the whole plant where none is named."""
    if not names:
        return [], [user for user in plant.site.energy_users if user.parent is None]
    unknown = [name for name in names if name not in plant.meters and name not in plant.energy_users]
    if unknown:
        hint = f"meters: {', '.join(sorted(plant.meters)[:8])} ...; energy users: {', '.join(plant.energy_users)}"
        raise ConfigError([Problem("site.yaml", "", f"no meter or energy user {name!r}", hint) for name in unknown])
    meters = [plant.meters[name] for name in names if name in plant.meters]
    return meters, [plant.energy_users[name] for name in names if name in plant.energy_users]


def _carrier(word: str) -> Carrier:
    try:
        return Carrier(word)
    except ValueError as error:
        hint = f"one of {', '.join(Carrier)}"
        raise ConfigError([Problem("--carrier", "", f"no carrier {word!r}", hint)]) from error


def _period(word: str) -> Period:
    assert word in ("15min", "hour", "day", "month", "all")
    return word  # type: ignore[return-value]


@contextmanager
def open_catalogue(settings: HeadendSettings, file: Path) -> Iterator[Catalogue]:
    """The catalogue beside a running head-end, or without one."""
    from headend.catalogue import Catalogue

    try:
        catalogue = Catalogue(settings.data, write=False)
    except StoreUnavailable as error:
        raise Unreachable(str(settings.data), str(error), f"start it: meterline headend {file}") from error
    try:
        yield catalogue
    finally:
        catalogue.close()


def accounted_span(catalogue: Catalogue, settings: HeadendSettings) -> Span:
    """What has been accounted; not the clock decides: a simulated plant lives in a time of its own."""
    accounted = catalogue.accounted()
    if accounted is None:
        hint = "wait for the first whole quarter-hour; 'meterline status' shows what comes in"
        raise Unreachable(str(settings.data), "no quarter-hour has been accounted yet", hint)
    return accounted


def whole_days(zone: ZoneInfo, first: str | None, last: str | None, accounted: Span, period: str) -> Span:
    """Whole days of the plant; by default the newest month, as far as there is anything."""
    from headend.plant_days import day_of, midnight_ns
    from headend.stores.api import Span

    if period == "all" and first is None and last is None:
        return accounted
    newest, oldest = day_of(zone, accounted.end_ns - 1), day_of(zone, accounted.start_ns)
    begin = _day(first, "--from") or max(newest.replace(day=1), oldest)
    end = _day(last, "--to") or max(newest, begin)
    if end < begin:
        raise ConfigError([Problem("--to", "", f"{end} is before {begin}", "swap the days")])
    return Span(midnight_ns(zone, begin), midnight_ns(zone, end + dt.timedelta(days=1)))


def _day(words: str | None, option: str) -> dt.date | None:
    try:
        return None if words is None else dt.date.fromisoformat(words)
    except ValueError as error:
        raise ConfigError([Problem(option, "", f"{words!r} is no day", "write it as 2026-03-02")]) from error


def _cells(row: Row, zone: ZoneInfo) -> Cells:
    from analytics.uncertainty import budget

    begin, end = (dt.datetime.fromtimestamp(t / NS, zone).isoformat() for t in (row.start_ns, row.end_ns))
    quality = quality_text(Quality(row.quality)) or "good"
    if row.amount is None:
        return row.subject, begin, end, None, row.unit, None, None, "", round(row.coverage, 4), quality, ""
    parts = budget(row.amount)
    u_pct = round(100 * row.amount.relative, 4) if row.amount.value else None
    return (
        row.subject, begin, end, round(row.amount.value, 6), row.unit, round(row.amount.expanded, 6), u_pct,
        "yes" if row.class_known else "no", round(row.coverage, 4), quality, parts[0].name if parts else "",
    )  # fmt: skip


def _table(screen: Screen, plant: Plant, rows: Sequence[Row], zone: ZoneInfo) -> None:
    lines: list[tuple[object, ...]] = []
    for row in rows:
        cells = _cells(row, zone)
        amount, u, u_pct = cells[3], cells[5], cells[6]
        named = plant.meters.get(row.subject) or plant.energy_users[row.subject]
        begin = dt.datetime.fromtimestamp(row.start_ns / NS, zone)
        lines.append(
            (
                row.subject, getattr(named.name, screen.lang), f"{begin:%Y-%m-%d %H:%M}",
                text("energy.unknown", screen.lang) if amount is None else f"{amount:,.3f}",
                "" if u is None else f"± {u:,.3f}" + ("" if u_pct is None else f" ({u_pct:.2f} %)")
                + ("" if row.class_known else "*"),
                DISPLAY.get(row.unit, row.unit), f"{row.coverage:.0%}", cells[9],
            )
        )  # fmt: skip
    heads = ["subject", "name", "begin", "amount", "u", "unit", "share", "quality"]
    screen.table([f"energy.{head}" for head in heads], lines, right=(3, 4, 6))
    if any(row.amount is not None and not row.class_known for row in rows):
        screen.say("energy.no_class", "yellow")


def _balance_table(screen: Screen, plant: Plant, found: Sequence[NodeBalance], zone: ZoneInfo) -> None:
    from analytics.energy_balance import Balance

    if not found:
        screen.say("balance.none", "yellow")
        return
    lines: list[tuple[object, ...]] = []
    for one in found:
        begin = dt.datetime.fromtimestamp(one.start_ns / NS, zone)
        head = (one.node.id, getattr(one.node.name, screen.lang), f"{begin:%Y-%m-%d}")
        if not isinstance(one.result, Balance):
            lines.append((*head, "", "", "", "", str(one.result)))
            continue
        b = one.result
        verdict = text("balance.open" if b.open else "balance.closed", screen.lang)
        causes = [
            text(f"balance.{cause.value}", screen.lang, meter=plant.meters[meter].name.en if meter else "")
            for cause, meter in b.causes[:2]
        ]
        lines.append(
            (
                *head, f"{b.incoming.value:,.2f}", f"{b.metered.value:,.2f}",
                f"{b.residual.value:+,.2f} ({b.relative:+.1%})", f"± {b.residual.expanded:,.2f}",
                "; ".join([verdict, *causes]),
            )
        )  # fmt: skip
    heads = ["node", "name", "day", "in", "below", "residual", "u", "verdict"]
    screen.table([f"balance.{head}" for head in heads], lines, right=(3, 4, 5, 6))


def _balance_json(one: NodeBalance, zone: ZoneInfo) -> dict[str, Any]:
    from analytics.energy_balance import Balance

    begin, end = (dt.datetime.fromtimestamp(t / NS, zone).isoformat() for t in (one.start_ns, one.end_ns))
    head = {"node": one.node.id, "below": list(one.below), "from": begin, "to": end}
    if not isinstance(one.result, Balance):
        return {**head, "refused": str(one.result)}
    b = one.result
    return {
        **head, "in": b.incoming.value, "metered": b.metered.value, "losses": b.losses.value,
        "residual": b.residual.value, "u": b.residual.expanded, "open": b.open, "measured_share": b.coverage,
        "causes": [{"cause": cause.value, "meter": meter or None} for cause, meter in b.causes],
    }  # fmt: skip


def _out_kind(out: Path | None) -> str:
    if out is None:
        return ""
    kind = out.suffix.lower()
    if kind not in (".csv", ".xlsx"):
        raise ConfigError(
            [Problem(str(out), "", f"cannot write {kind or 'a file without ending'}", "use .csv or .xlsx")]
        )
    if not out.parent.is_dir():
        raise ConfigError([Problem(str(out), "", "its folder is not there", "make it, or choose another")])
    return kind


def _write(out: Path, kind: str, heads: Sequence[str], rows: Iterable[Cells]) -> None:
    """Whole or not at all; a cell that a spreadsheet would take for a formula becomes text."""
    part = out.with_name(out.name + ".part")
    try:
        if kind == ".xlsx":
            from openpyxl import Workbook

            book = Workbook(write_only=True)
            sheet = book.create_sheet("energy")
            sheet.append(list(heads))
            for row in rows:
                sheet.append([_harmless(cell) for cell in row])
            book.save(part)
        else:
            with part.open("w", newline="", encoding="utf-8-sig") as file:
                writer = csv.writer(file)
                writer.writerow(heads)
                writer.writerows([_harmless(cell) for cell in row] for row in rows)
        os.replace(part, out)
    except OSError as error:
        part.unlink(missing_ok=True)
        hint = "choose a folder you may write to"
        raise ConfigError([Problem(str(out), "", f"cannot be written: {error.strerror}", hint)]) from error


def _harmless(cell: str | float | None) -> str | float | None:
    return "'" + cell if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
