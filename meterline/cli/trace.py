"""``meterline trace``: one number of a report, walked back to the bytes on the wire."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from meterline.cli.read import quality_text
from meterline.cli.screen import Screen
from meterline.cli.texts import text
from meterline.clock import NS
from meterline.errors import EXIT_FINE, EXIT_FOUND, ConfigError, Problem, StoreUnavailable, Unreachable
from meterline.measurands import MEASURANDS, nearest
from meterline.plant import Meter, Plant
from meterline.readings import Exchange, Quality
from meterline.settings import HeadendSettings, load_headend
from meterline.units import DISPLAY

if TYPE_CHECKING:
    from headend.intervals import Interval, Resolution
    from headend.trace import Origin, Trace


def trace(
    screen: Screen,
    meter_id: str,
    moment: str,
    headend: Path,
    measurand: str | None,
    resolution: Resolution,
    gateway_data: Path | None,
) -> int:
    """Print the way back; 1 if a signature or a frame does not fit what was stored.

    Raises
    ------
    ConfigError
        No such meter, measurand or time.
    Unreachable
        The head-end has never run here.
    """
    settings = load_headend(headend)
    plant = settings.plant
    meter = _meter(plant, meter_id)
    if measurand is not None and measurand not in MEASURANDS:
        close = nearest(measurand)
        hint = f"did you mean {close!r}?" if close else "see docs/nomenclature.md"
        raise ConfigError([Problem("--measurand", "", f"no measurand {measurand!r}", hint)])
    at_ns = _moment(moment, plant.site.site.zone)
    found = _traced(settings, meter, at_ns, measurand, resolution, headend)
    if found is None:
        hint = "'meterline status' shows what there is"
        raise ConfigError([Problem(str(settings.data), meter_id, f"nothing is stored around {moment}", hint)])
    frames = {id(origin): _frames(gateway_data, origin) for origin in found.origins}
    screen.json(_json(found, frames))
    if not screen.as_json:
        _print(screen, plant, found, frames)
    doubtful = any(
        origin.signature == "wrong" or (kept is not None and not kept[1])
        for origin, kept in ((origin, frames[id(origin)]) for origin in found.origins)
    )
    return EXIT_FOUND if doubtful else EXIT_FINE


def _meter(plant: Plant, meter_id: str) -> Meter:
    meter = plant.meters.get(meter_id)
    if meter is None:
        there = ", ".join(sorted(plant.meters)[:12])
        raise ConfigError([Problem("site.yaml", "meters", f"no meter {meter_id!r}", f"there are: {there}")])
    return meter


def _moment(words: str, zone: ZoneInfo) -> int:
    """A time of the plant, or with an offset of its own."""
    try:
        moment = dt.datetime.fromisoformat(words)
    except ValueError as error:
        hint = "write it as 2026-03-02T18:15, in the plant's local time"
        raise ConfigError([Problem("TIME", "", f"{words!r} is no time", hint)]) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * NS)


def _traced(
    settings: HeadendSettings, meter: Meter, at_ns: int, measurand: str | None, resolution: Resolution, file: Path
) -> Trace | None:
    from headend.catalogue import Catalogue
    from headend.stores.embedded import EmbeddedReader
    from headend.trace import trace as walk
    from headend.trust import trusted_keys

    try:
        catalogue = Catalogue(settings.data, write=False)
        store = EmbeddedReader(settings.data)
        try:
            keys = trusted_keys(settings)
            return walk(
                store, catalogue, settings.plant, keys, meter, at_ns, measurand=measurand, resolution=resolution
            )
        finally:
            store.close()
            catalogue.close()
    except StoreUnavailable as error:
        raise Unreachable(str(settings.data), str(error), f"start it: meterline headend {file}") from error


def _frames(folder: Path | None, origin: Origin) -> tuple[tuple[Exchange, ...], bool] | None:
    """The raw frames of a reading's poll, and whether they are those that were signed; None: not here."""
    from gateway_firmware_py.files import DiskFiles
    from gateway_firmware_py.frames import FrameRing
    from meterline.wire import frames_digest

    if folder is None:
        return None
    place = folder / "frames"
    if not place.is_dir():
        hint = "give the gateway's data folder (data: in gateway.yaml)"
        raise ConfigError([Problem(str(place), "", "there are no frames here", hint)])
    kept = FrameRing(DiskFiles(), place).find(origin.batch.epoch, origin.batch.seq)
    if kept is None:
        return None
    digest = frames_digest(kept)
    mine = kept[origin.place] if origin.place < len(kept) else None
    if mine is None or mine.meter != origin.poll.meter:
        return (), False
    return mine.exchanges, digest == origin.batch.frames_sha256


def _print(screen: Screen, plant: Plant, found: Trace, frames: dict[int, Any]) -> None:
    zone = plant.site.site.zone
    name = getattr(found.meter.name, screen.lang)
    unit = DISPLAY.get(MEASURANDS[found.measurand].unit, MEASURANDS[found.measurand].unit)
    screen.say("trace.head", "bold", meter=found.meter.id, name=name, measurand=found.measurand)
    if found.interval is not None:
        _print_interval(screen, found, found.interval, zone, unit)
    for number, origin in enumerate(found.origins, start=1):
        _print_origin(screen, plant, number, origin, frames[id(origin)], zone, unit)
    if not found.origins:
        screen.say("trace.no_evidence", "yellow")


def _print_interval(screen: Screen, found: Trace, interval: Interval, zone: ZoneInfo, unit: str) -> None:
    u = "" if interval.u_micro is None else f" ± {2 * interval.u_micro / 1e6:.6g}"
    value = f"{interval.micro / 1e6:.6f}{u} {unit}" if interval.has_energy else text("trace.nothing", screen.lang)
    screen.say(
        "trace.interval",
        None,
        start=_local(interval.start_ns, zone),
        end=_local(interval.end_ns, zone)[11:],
        value=value,
    )
    screen.say(
        "trace.accounted", None, revision=interval.revision, at=_local(interval.computed_ns, zone),
        reason=interval.reason, coverage=f"{interval.coverage:.1%}",
        quality=quality_text(Quality(interval.quality)) or text("quality.good", screen.lang),
    )  # fmt: skip
    for old in found.earlier:
        screen.say(
            "trace.earlier", None, revision=old.revision, value=f"{old.micro / 1e6:.6f} {unit}", reason=old.reason
        )
    for event in found.events:
        screen.say("trace.event", None, event=event)


def _print_origin(
    screen: Screen, plant: Plant, number: int, origin: Origin, kept: Any, zone: ZoneInfo, unit: str
) -> None:
    reading = origin.reading
    quality = quality_text(reading.quality) or text("quality.good", screen.lang)
    shown = "-" if reading.value is None else f"{reading.value:f} {unit}"
    primary = "-" if origin.primary is None else f"{origin.primary:f} {unit}"
    screen.line("")
    screen.say(
        "trace.reading",
        "bold",
        number=number,
        shown=shown,
        at=_local(reading.read_ns, zone, exactly=True),
        quality=quality,
    )
    meter = plant.meters[reading.meter]
    if origin.ratio is not None:
        ratio = f"CT {origin.ratio.ct}, VT {origin.ratio.vt}"
        if origin.ratio.pulses or origin.ratio.span:
            ratio = origin.ratio.pulses or str(origin.ratio.span)
        screen.say("trace.ratio", None, primary=primary, ratio=ratio, since=origin.ratio.valid_from)
    certificate = meter.certificate
    screen.say(
        "trace.instrument", None, profile=reading.profile, serial=meter.serial or "-",
        accuracy=meter.accuracy_class or "-", certificate=certificate.number or "-",
        until=certificate.valid_until or "-",
    )  # fmt: skip
    gateway, epoch, seq = origin.key
    screen.say("trace.batch", None, gateway=gateway, epoch=epoch, seq=seq, place=origin.place + 1)
    screen.say(
        "trace.signature", "green" if origin.signature == "verified" else "red",
        verdict=text(f"trace.{origin.signature.replace(' ', '_')}", screen.lang), digest=origin.digest.hex(),
    )  # fmt: skip
    screen.say(
        "trace.made", None, at=_local(origin.batch.at_ns, zone, exactly=True), software=origin.batch.software,
        clock=reading.clock.name.lower(),
    )  # fmt: skip
    if origin.batch.redated_ms:
        screen.say("trace.redated", "yellow", ms=origin.batch.redated_ms)
    _print_frames(screen, plant, origin, kept)


def _print_frames(screen: Screen, plant: Plant, origin: Origin, kept: Any) -> None:
    from collector import describe

    if kept is None:
        screen.say("trace.frames_hash", None, hash=origin.batch.frames_sha256.hex() or "-")
        return
    exchanges, fits = kept
    screen.say("trace.frames_fit" if fits else "trace.frames_differ", "green" if fits else "red")
    meter = plant.meters[origin.reading.meter]
    kind = plant.buses[meter.bus].kind
    for exchange in exchanges:
        asked, answered = describe(kind, exchange, plant.profile_of(meter), screen.lang)
        screen.line(f"     → {exchange.request.hex(' ')}   {asked}")
        screen.line(f"     ← {exchange.response.hex(' ')}   {answered}")


def _local(t_ns: int, zone: ZoneInfo, *, exactly: bool = False) -> str:
    moment = dt.datetime.fromtimestamp(t_ns / NS, zone)
    return f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{t_ns // 1_000_000 % 1000:03d}" if exactly else "")


def _json(found: Trace, frames: dict[int, Any]) -> dict[str, Any]:
    interval = found.interval
    return {
        "meter": found.meter.id,
        "measurand": found.measurand,
        "unit": MEASURANDS[found.measurand].unit,
        "at_ns": found.at_ns,
        "interval": None if interval is None else _interval_json(interval),
        "earlier": [_interval_json(old) for old in found.earlier],
        "events": list(found.events),
        "readings": [_origin_json(origin, frames[id(origin)]) for origin in found.origins],
    }


def _interval_json(interval: Interval) -> dict[str, Any]:
    return {
        "start_ns": interval.start_ns, "end_ns": interval.end_ns,
        "value": interval.micro / 1e6 if interval.has_energy else None,
        "u": None if interval.u_micro is None else 2 * interval.u_micro / 1e6,
        "coverage": interval.coverage, "quality": quality_text(Quality(interval.quality)) or "good",
        "revision": interval.revision, "computed_ns": interval.computed_ns, "reason": interval.reason,
    }  # fmt: skip


def _origin_json(origin: Origin, kept: Any) -> dict[str, Any]:
    reading, (gateway, epoch, seq) = origin.reading, origin.key
    return {
        "displayed": None if reading.value is None else str(reading.value),
        "primary": None if origin.primary is None else str(origin.primary),
        "quality": quality_text(reading.quality) or "good",
        "source": reading.source.value, "clock": reading.clock.name.lower(),
        "slot_ns": reading.slot_ns, "read_ns": reading.read_ns, "profile": reading.profile,
        "ratio": None if origin.ratio is None else origin.ratio.model_dump(mode="json"),
        "batch": {
            "gateway": gateway, "epoch": epoch, "seq": seq, "poll": origin.place, "digest": origin.digest.hex(),
            "signature": origin.signature, "formed_ns": origin.batch.at_ns, "software": origin.batch.software,
            "redated_ms": origin.batch.redated_ms, "frames_sha256": origin.batch.frames_sha256.hex(),
        },
        "frames": None if kept is None else {
            "fit": kept[1],
            "exchanges": [{"request": e.request.hex(), "response": e.response.hex()} for e in kept[0]],
        },
    }  # fmt: skip
