"""``meterline probe``: one place of a meter in all types and orders, the likely ones marked."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table as Grid
from rich.text import Text

from meterline.cli.screen import Screen, quiet_collector
from meterline.cli.target import Target, target_of
from meterline.cli.texts import text
from meterline.clock import SystemClock
from meterline.errors import BusError, ConfigError, Problem, Refused, Unreachable
from meterline.measurands import MEASURANDS, nearest
from meterline.paths import profiles_dir
from meterline.plant import load_plant
from meterline.profiles import Dlt645Profile, Table
from meterline.site import Bus, Meter
from meterline.units import DISPLAY

if TYPE_CHECKING:
    from collector.interpret import Fit, Interpretation
    from collector.probe import Answered

MOST_FITS = 6
WIDEST = 13
NOTHING_THERE = (
    "the meter answers, but has nothing there; a manual may count from 1 (try one less), or mean the other table"
)


@dataclass(frozen=True)
class Place:
    """Where to look, and what is thought to be there."""

    at: str
    table: Table | None = None
    words: int = 4
    unit: str | None = None
    measurand: str = ""
    shows: str | None = None


def probe(screen: Screen, name: str, place: Place, site: Path | None, settings: dict[str, Any]) -> None:
    """Ask for one place and print what it can mean.

    Raises
    ------
    ConfigError
        It names no meter, no line or no place.
    Unreachable
        Nobody answers, or the meter has nothing there.
    """
    quiet_collector()
    bus, address, is_items, label = _meter(name, place, site, settings)
    if place.measurand and place.measurand not in MEASURANDS:
        close = nearest(place.measurand)
        raise _wrong("--as", f"unknown measurand {place.measurand!r}", f"did you mean {close!r}?" if close else "")
    shown = _number(place.shows)
    try:
        if is_items:
            di = _identifier(place.at)
            _show_item(screen, label, di, asyncio.run(_ask_item(bus, address, di)))
        else:
            at = _cell(place.at)
            answered = asyncio.run(_ask_cells(bus, int(address), at, place))
            _show_cells(screen, label, at, answered, place.measurand, shown)
    except Refused as error:
        raise Unreachable(f"{label} at {place.at}", str(error), NOTHING_THERE) from error
    except BusError as error:
        reason, _, hint = str(error).partition("; ")
        raise Unreachable(f"{label} at {place.at}", reason, hint) from error


def _meter(name: str, place: Place, site: Path | None, settings: dict[str, Any]) -> tuple[Bus, str, bool, str]:
    """Bus, address, whether it speaks DL/T 645, and a label: a meter of the site file, or a line and --unit."""
    path = site or Path("site.yaml")
    if path.exists():
        plant = load_plant(path, profiles_dir())
        meter: Meter | None = plant.meters.get(name)
        if meter is not None:
            bus = plant.buses[meter.bus]
            line = meter.settings_on(bus)
            own = {"baud": line.baud, "parity": line.parity, "stop_bits": line.stop_bits} if bus.can_switch else {}
            return (
                bus.model_copy(update=own), meter.address, isinstance(plant.profile_of(meter), Dlt645Profile), meter.id
            )  # fmt: skip
    target: Target = target_of(name, site, settings)
    unit = place.unit or "1"
    is_items = len(unit) == 12
    if not unit.isdigit() or (not is_items and int(unit) > 255):
        raise _wrong("--unit", f"{unit!r} is no address", "1 to 247 for Modbus, twelve digits for DL/T 645")
    own = {"baud": 2400, "parity": "E"} if is_items and "baud" not in settings and target.plant is None else {}
    return target.bus.model_copy(update=own), unit, is_items, f"{target.where} {unit}"


def _wrong(option: str, problem: str, hint: str = "") -> ConfigError:
    return ConfigError([Problem("command line", option, problem, hint)])


def _cell(at: str) -> int:
    try:
        address = int(at, 16) if at.lower().startswith("0x") else int(at)
    except ValueError as error:
        raise _wrong("ADDRESS", f"{at!r} is no address", "write 0x0061 or 97, as on the wire, from 0") from error
    if not 0 <= address <= 0xFFFF:
        raise _wrong(
            "ADDRESS", f"{at} lies outside the table", "300001 and 400001 are addresses 0 of --table input and holding"
        )
    return address


def _identifier(at: str) -> str:
    di = at.upper().replace(" ", "")
    if not re.fullmatch(r"[0-9A-F]{8}|[0-9A-F]{4}", di):
        raise _wrong("ADDRESS", f"{at!r} is no identifier", "write DI3 DI2 DI1 DI0, for example 02010100")
    return di


def _number(shows: str | None) -> Decimal | None:
    if shows is None:
        return None
    try:
        number = Decimal(shows)
    except InvalidOperation as error:
        raise _wrong(
            "--shows", f"{shows!r} is no number", "write digits and a decimal point, without the unit"
        ) from error
    if not number.is_finite():
        raise _wrong("--shows", f"{shows!r} is no number", "write digits and a decimal point, without the unit")
    return number


async def _ask_cells(bus: Bus, unit: int, at: int, place: Place) -> Answered:
    from collector.bus import Line
    from collector.probe import probe_cells

    line = Line(bus, SystemClock())
    try:
        return await probe_cells(line, unit, at, place.table, place.words)
    finally:
        line.close()


async def _ask_item(bus: Bus, address: str, di: str) -> Answered:
    from collector.bus import Line
    from collector.probe import probe_item

    line = Line(bus, SystemClock())
    try:
        return await probe_item(line, address, di)
    finally:
        line.close()


# ------------------------------------------------------------------------------------------------------------ Modbus


def _show_cells(screen: Screen, label: str, at: int, answered: Answered, measurand: str, shown: Decimal | None) -> None:
    from collector.interpret import fits, interpretations

    every = interpretations(answered.payload)
    fitting = fits(every, measurand, shown)[:MOST_FITS]
    screen.json(
        {
            "meter": label, "table": answered.table, "address": at, "raw": answered.payload.hex(),
            "response_ms": round(answered.took_s * 1000, 1),
            "request": answered.request.hex(), "response": answered.response.hex(),
            "readings": [{"type": e.type, "order": e.order, "number": e.number} for e in every],
            "fits": [_fit_json(fit) for fit in fitting],
        }
    )  # fmt: skip
    if screen.as_json:
        return
    words = len(answered.payload) // 2
    for table in dict.fromkeys(table for table, _, _ in answered.tried if table != answered.table):
        code = next(code for where, _, code in answered.tried if where == table)
        screen.say("probe.refused_before", style="dim", table=table, code=f"{code:02x}")
    screen.say(
        "probe.cells", style="bold", meter=label, table=answered.table, at=f"0x{at:04X}", decimal=at, words=words,
        ms=f"{answered.took_s * 1000:.0f}",
    )  # fmt: skip
    raw = " ".join(answered.payload[n : n + 2].hex().upper() for n in range(0, 2 * words, 2))
    screen.say("probe.raw", raw=raw)
    screen.line("")
    _matrix(screen, every, {(fit.interpretation.type, fit.interpretation.order) for fit in fitting})
    screen.line("")
    _name_fits(screen, at, answered.table, fitting, measurand, shown)


def _matrix(screen: Screen, every: list[Interpretation], marked: set[tuple[str, str]]) -> None:
    """One row a type, one column an order; what can be meant is green."""
    from collector.interpret import ORDERS

    grid = Grid(box=None, header_style="bold", pad_edge=False)
    grid.add_column(text("head.data_type", screen.lang))
    for order in ORDERS:
        grid.add_column(order, justify="right", min_width=WIDEST)
    by_place = {(each.type, each.order): each for each in every}
    for type_ in dict.fromkeys(each.type for each in every):
        cells = []
        for order in ORDERS:
            each = by_place.get((type_, order))
            style = "bold green" if (type_, order) in marked else "" if each and each.number is not None else "dim"
            cells.append(Text(_short(each), style=style))
        grid.add_row(type_, *cells)
    screen.out.print(grid, soft_wrap=False)


def _short(each: Interpretation | None) -> str:
    if each is None:
        return ""
    if each.number is None:
        return "-"
    plain = f"{each.number:d}" if isinstance(each.number, int) else f"{each.number:.7g}"
    return plain if len(plain) <= WIDEST else f"{each.number:.6e}"


def _name_fits(
    screen: Screen, at: int, table: Table | None, fitting: list[Fit], measurand: str, shown: Decimal | None
) -> None:
    if not fitting:
        screen.say("probe.no_fit" if measurand or shown is not None else "probe.nothing_given")
        return
    if shown is not None:
        screen.say("probe.fits_shown", style="bold", shown=shown)
    else:
        screen.say("probe.fits", style="bold")
    for fit in fitting:
        row = MEASURANDS.get(fit.measurand)
        unit = DISPLAY.get(row.unit, row.unit) if row else ""
        what = (row.zh if screen.lang == "zh" else row.en) if row else ""
        screen.say(
            "probe.fit", style="green", type=fit.interpretation.type, order=fit.interpretation.order,
            scale=f" × {Decimal(1).scaleb(fit.exponent):f}" if fit.exponent else "", value=f"{fit.value:f}", unit=unit,
            what=f"({what})" if what else "",
        )  # fmt: skip
    best = fitting[0]
    if best.measurand:
        screen.say("probe.line_for_profile", style="dim")
        screen.line(_as_point(best, at, table))
    if not measurand and shown is None:
        screen.say("probe.nothing_given", style="dim")


def _as_point(fit: Fit, at: int, table: Table | None) -> str:
    order = f", order: {fit.interpretation.order}" if fit.interpretation.order != "ABCD" else ""
    scale = f", scale: {Decimal(1).scaleb(fit.exponent):f}" if fit.exponent else ""
    unit = MEASURANDS[fit.measurand].unit
    return (
        f"  - {{measurand: {fit.measurand}, table: {table}, at: 0x{at:04X}, type: {fit.interpretation.type}{order}, "
        f"unit: {unit if unit != '1' else chr(34) + '1' + chr(34)}{scale}}}"
    )


def _fit_json(fit: Fit) -> dict[str, Any]:
    return {
        "type": fit.interpretation.type,
        "order": fit.interpretation.order,
        "exponent": fit.exponent,
        "value": str(fit.value),
        "measurand": fit.measurand,
    }


# --------------------------------------------------------------------------------------------------------- DL/T 645


def _show_item(screen: Screen, label: str, di: str, answered: Answered) -> None:
    from collector.interpret_items import format_of, item_guesses, item_values

    data = answered.payload
    values, form = item_values(di, data), format_of(di)
    guesses = [] if values else item_guesses(data)
    screen.json(
        {
            "meter": label, "di": di, "raw": data.hex(), "response_ms": round(answered.took_s * 1000, 1),
            "request": answered.request.hex(), "response": answered.response.hex(),
            "values": [
                {"raw": v.raw.hex(), "value": None if v.value is None else str(v.value), "unit": v.unit, "time": v.time}
                for v in values
            ],
            "guesses": [{"format": form_, "text": text_} for form_, text_ in guesses],
        }
    )  # fmt: skip
    if screen.as_json:
        return
    screen.say("probe.item", style="bold", meter=label, di=di, bytes=len(data), ms=f"{answered.took_s * 1000:.0f}")
    screen.say("probe.raw", raw=data.hex(" ").upper())
    screen.line("")
    if values:
        rows = [
            (
                v.raw.hex(" ").upper(), text("probe.no_digits", screen.lang) if v.value is None else f"{v.value:f}",
                v.unit, v.name + (", " + text("probe.occurred", screen.lang, time=v.time) if v.time else ""),
            )
            for v in values
        ]  # fmt: skip
        screen.table(("head.raw", "head.value", "head.unit", "head.what"), rows, right=(1,))
        return
    if form is not None:
        screen.say("probe.other_layout", size=form.size, bytes=len(data))
    else:
        screen.say("probe.unknown_item")
    screen.table(("head.format", "head.value"), guesses)
