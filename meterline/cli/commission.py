"""``meterline commission``: check one meter on site, and keep a dated record of it beside the site file."""

from __future__ import annotations

import asyncio
import datetime as dt
import getpass
import io
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meterline.cli.screen import Screen, quiet_collector
from meterline.cli.texts import text
from meterline.clock import NS, SystemClock
from meterline.commission_record import CommissionRecord, RecordedCheck, RecordedFrame, page_digest, proof_of, save
from meterline.errors import EXIT_FINE, EXIT_FOUND, BusError, ConfigError, Problem, Unreachable
from meterline.measurands import ACCOUNT, MEASURANDS, POWER_LIKE, nearest
from meterline.paths import profiles_dir
from meterline.plant import Plant, load_plant, parse_ratio
from meterline.readings import Poll
from meterline.site import Meter
from meterline.software import software_id
from meterline.texts import Language
from meterline.units import DISPLAY

if TYPE_CHECKING:
    from collector.commission_facts import Told, Watched

STYLE = {"passed": "green", "failed": "bold red", "unsure": "yellow", "skipped": "dim"}
WIDTH = 80


@dataclass(frozen=True)
class Wish:
    """What the person gave on the command line."""

    seconds: float = 60.0
    display: Sequence[str] = ()
    ct: str = ""
    vt: str = ""
    clamp: str = ""
    number: str = ""
    by: str = ""
    ask: bool | None = None
    save: bool = True


def commission(screen: Screen, meter_id: str, site: Path, wish: Wish) -> int:
    """Check a meter, print the record, keep it.

    Raises
    ------
    ConfigError
        The site or an option is wrong.
    Unreachable
        The meter does not answer.
    """
    quiet_collector()
    plant = load_plant(site, profiles_dir())
    meter = plant.meters.get(meter_id)
    if meter is None:
        there = ", ".join(sorted(plant.meters)[:20]) or "none"
        raise ConfigError([Problem(str(site), "meters", f"no meter {meter_id!r}", f"there are: {there}")])
    told, by = _told(screen, plant, meter, wish)
    watched = _watched(screen, plant, meter, wish.seconds)
    record = _record(plant, meter, watched, told, by, wish.seconds)
    printed = printed_record(record, plant, screen.lang)
    files = save(record, site, printed) if wish.save else None
    proof = proof_of(site, meter.id, plant.profile_of(meter)) if files else record if record.captured else None
    screen.json(
        record.model_dump(mode="json")
        | {"verdict": record.verdict, "evidence": "captured" if proof else record.evidence_of_page}
        | ({"files": [str(file) for file in files]} if files else {})
    )
    if not screen.as_json:
        show_record(screen.out, record, plant, screen.lang)
        if files:
            screen.say("commission.saved", style="dim", json=_near(files[0], site), text=_near(files[1], site))
    return EXIT_FOUND if record.verdict == "failed" else EXIT_FINE


# ------------------------------------------------------------------------------------------------- what a person says


def _told(screen: Screen, plant: Plant, meter: Meter, wish: Wish) -> tuple[Told, str]:
    from collector.commission_facts import Told

    ask = wish.ask if wish.ask is not None else sys.stdin.isatty() and not screen.as_json
    display = dict(_display(plant, meter, each) for each in wish.display)
    ct, by = wish.ct, wish.by
    if ask:
        by = by or typer.prompt(text("commission.ask_by", screen.lang), default=_login(), err=True)
        counter = _first(ACCOUNT[plant.carrier_of(meter)], plant, meter)
        if counter and not display:
            row = MEASURANDS[counter]
            question = text(
                "commission.ask_display", screen.lang, name=row.zh if screen.lang == "zh" else row.en,
                unit=DISPLAY.get(row.unit, row.unit),
            )  # fmt: skip
            if answer := typer.prompt(question, default="", show_default=False, err=True).strip():
                display[counter] = _decimal("--display", answer)
        if not ct and meter.ratios and plant.profile_of(meter).value_reference == "secondary":
            ct = typer.prompt(text("commission.ask_ct", screen.lang), default="", show_default=False, err=True).strip()
    for option, ratio in (("--ct", ct), ("--vt", wish.vt)):
        try:
            parse_ratio(ratio or "1")
        except ValueError as error:
            problem, _, hint = str(error).partition("; ")
            raise ConfigError([Problem("command line", option, problem, hint)]) from error
    clamp = tuple(float(_decimal("--clamp", each)) for each in wish.clamp.split(",") if each.strip())
    return Told(display, ct, wish.vt, clamp, wish.number), by or _login()


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return "?"


def _first(names: Sequence[str], plant: Plant, meter: Meter) -> str:
    profile = plant.profile_of(meter)
    return next((name for name in names if profile.point(name) is not None), "")


def _display(plant: Plant, meter: Meter, given: str) -> tuple[str, Decimal]:
    """``kWh=1234.5`` or ``voltage.l1n=230``: what the display shows of which measurand."""
    name, equals, number = given.partition("=")
    carrier = plant.carrier_of(meter)
    by_unit = {
        MEASURANDS[each].unit.lower(): each
        for each in (*reversed(POWER_LIKE[carrier]), *reversed(ACCOUNT[carrier]))
        if plant.profile_of(meter).point(each) is not None
    }
    measurand = by_unit.get(name.strip().lower(), name.strip())
    if not equals or measurand not in MEASURANDS:
        close = nearest(measurand)
        hint = f"did you mean {close!r}?" if close and equals else "write kWh=1234.5, or a measurand: voltage.l1n=230"
        raise ConfigError([Problem("command line", "--display", f"{given!r} cannot be read", hint)])
    return measurand, _decimal("--display", number)


def _decimal(option: str, given: str) -> Decimal:
    try:
        number = Decimal(given.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        hint = "write digits and a decimal point only, without unit or separators"
        raise ConfigError([Problem("command line", option, f"{given.strip()!r} is no number", hint)])
    return number


# --------------------------------------------------------------------------------------------------------- the minute


def _watched(screen: Screen, plant: Plant, meter: Meter, seconds: float) -> Watched:
    from collector.commission import watch

    bus = plant.buses[meter.bus]
    if bus.can_switch:
        own = meter.settings_on(bus)
        bus = bus.model_copy(update={"baud": own.baud, "parity": own.parity, "stop_bits": own.stop_bits})
    screen.say("commission.watching", style="bold", meter=meter.id, seconds=f"{seconds:g}")
    live = Live(Text(""), console=screen.err, refresh_per_second=4, transient=True)
    began, reads = time.monotonic(), 0

    def notify(poll: Poll) -> None:
        nonlocal reads
        reads += 1
        names = POWER_LIKE[plant.carrier_of(meter)]
        flow = [r for r in poll.readings() if r.measurand in names and r.value is not None]
        power = f" · {flow[0].value:.4g} {MEASURANDS[flow[0].measurand].unit}" if flow else ""
        left = max(0.0, seconds - (time.monotonic() - began))
        live.update(Text(text("commission.watch_bar", screen.lang, left=f"{left:.0f}", reads=reads, power=power)))

    try:
        with ExitStack() as stack:
            if sys.stderr.isatty() and not screen.as_json:
                stack.enter_context(live)
            return asyncio.run(watch(bus, meter, plant.profile_of(meter), SystemClock(), seconds, notify))
    except BusError as error:
        reason, _, hint = str(error).partition("; ")
        raise Unreachable(f"{meter.id} (address {meter.address} on {bus.where})", reason, hint) from error


# --------------------------------------------------------------------------------------------------------- the record


def _record(plant: Plant, meter: Meter, watched: Watched, told: Told, by: str, seconds: float) -> CommissionRecord:
    from collector.commission import examine

    zone = plant.site.site.zone
    now = dt.datetime.fromtimestamp(watched.polls[-1].slot_ns / NS, zone).replace(microsecond=0)
    profile = plant.profile_of(meter)
    checks = examine(plant, meter, watched, told, now)
    plates = {"ct": told.ct, "vt": told.vt, "number": told.number, "clamp_a": ", ".join(map(str, told.clamp_a))}
    return CommissionRecord(
        meter=meter.id,
        site=plant.site.site.id,
        at=now,
        by=by,
        software=software_id(),
        profile=profile.id,
        page=page_digest(profile),
        evidence_of_page=profile.evidence,
        line=plant.buses[meter.bus].where,
        address=meter.address,
        seconds=seconds,
        checks=tuple(
            RecordedCheck(code=c.code, about=c.about, state=c.state, say=c.say, values=dict(c.values)) for c in checks
        ),
        display={name: str(number) for name, number in told.display.items()},
        plates={name: given for name, given in plates.items() if given},
        values={name: str(watched.course(name)[-1][1]) for name in watched.last},
        frames=tuple(
            RecordedFrame(request=e.request.hex(), response=e.response.hex()) for e in watched.polls[-1].exchanges
        ),
    )


def printed_record(record: CommissionRecord, plant: Plant, lang: Language) -> str:
    """The record as text, to print and sign."""
    stream = io.StringIO()
    show_record(Console(file=stream, width=WIDTH, highlight=False, markup=False), record, plant, lang)
    return stream.getvalue()


def show_record(console: Console, record: CommissionRecord, plant: Plant, lang: Language) -> None:
    """The record on a screen or sheet of paper."""
    meter = plant.meters[record.meter]
    name = meter.name.zh if lang == "zh" else meter.name.en
    title = plant.profiles[record.profile.partition("@")[0]].title
    console.print(text("commission.title", lang), style="bold")
    head = Table(box=None, show_header=False, pad_edge=False)
    head.add_column(style="dim", no_wrap=True)
    head.add_column(overflow="fold")
    for key, value in (
        ("commission.meter", f"{record.meter} · {name}"),
        ("commission.profile", f"{record.profile} · {title.zh if lang == 'zh' else title.en}"),
        ("commission.line", f"{record.line} · {text('commission.address', lang, address=record.address)}"),
        ("commission.when", f"{record.at:%Y-%m-%d %H:%M:%S %z} · {record.by}"),
        ("commission.software", record.software),
    ):
        head.add_row(text(key, lang), value)
    console.print(head)
    console.print()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in record.checks:
        about = check.about.upper() if len(check.about) < 3 else check.about
        table.add_row(
            Text(text(f"commission.state.{check.state}", lang), style=STYLE[check.state]),
            text(f"check.{check.code}", lang, about=about).strip(),
            text(f"say.{check.say}", lang, **_filled(check.values)),
        )
    console.print(table)
    console.print()
    wanted = {"failed": "failed", "open": "unsure", "passed": "passed"}[record.verdict]
    count = sum(1 for check in record.checks if check.state == wanted)
    console.print(text(f"commission.verdict.{record.verdict}", lang, count=count), style=STYLE[wanted])
    if record.captured:
        names = ", ".join(record.confirmed)
        console.print(text("commission.captured", lang, names=names, profile=record.profile))
    elif record.evidence_of_page != "captured":
        console.print(text("commission.not_captured", lang, profile=record.profile, evidence=record.evidence_of_page))


def _filled(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value or "?" for key, value in values.items()}


def _near(path: Path, site: Path) -> Path:
    try:
        return path.relative_to(site.parent)
    except ValueError:
        return path
