"""``meterline verify`` and ``meterline export-evidence``: proof for whoever asks, and something to prove."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
from pathlib import Path

from meterline.cli.screen import Screen
from meterline.cli.texts import text
from meterline.errors import EXIT_FINE, EXIT_FOUND, ConfigError, Problem
from meterline.verify import ANY, NothingToProve, Report, header_of, kind_of
from meterline.verify import verify as check

Keys = dict[str, tuple[str, str]]
MOST_SHOWN = 40


def verify(screen: Screen, path: Path, given: list[str], witness: Path | None) -> int:
    """Check and print; the exit code.

    Raises
    ------
    ConfigError
        There is nothing to prove at the path, or no key to prove it with.
    """
    place, keys = _place(path)
    keys |= _given(given)
    try:
        kind = kind_of(place)
        keys = keys or _beside(place, kind)
        if not keys:
            hint = "give --key GATEWAY=KEY, as 'meterline gateway --show-key' prints it on the gateway"
            raise ConfigError([Problem(str(path), "", "there is no public key beside it", hint)])
        report = check(place, keys, _witness(witness))
    except NothingToProve as error:
        hint = "give a gateway's or head-end's file or data folder, or an evidence file"
        raise ConfigError([Problem(str(path), "", "holds no journal, no store and no evidence", hint)]) from error
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), "", f"cannot be read: {error.strerror}", "check path and rights")]
        ) from error
    screen.json(report.json())
    _print(screen, report, beside=not given)
    return EXIT_FINE if report.fine else EXIT_FOUND


def export_evidence(
    screen: Screen, out: Path, first: str, last: str, gateways: list[str], headend: Path, *, overwrite: bool
) -> None:
    """Write an evidence file.

    Raises
    ------
    ConfigError
        A day, a gateway or the file is wrong; nothing was written.
    """
    from headend.evidence import export
    from headend.plant_days import midnight_ns
    from headend.stores.api import Span
    from headend.stores.embedded import EmbeddedReader
    from meterline.settings import load_headend
    from meterline.software import software_id

    settings = load_headend(headend)
    start, end = _day("--from", first), _day("--to", last)
    problems: list[Problem] = []
    if end < start:
        problems.append(Problem("--to", "", f"{last} is before {first}", "give the days in order"))
    if out.exists() and not overwrite:
        problems.append(Problem(str(out), "", "is there already", "choose another name, or give --overwrite"))
    if not out.parent.is_dir():
        problems.append(Problem(str(out), "", "its folder is not there", "make it, or choose another"))
    keys = _headend_keys(headend)
    there = f"there are: {', '.join(keys)}"
    problems += [Problem("--gateway", "", f"no gateway '{name}'", there) for name in gateways if name not in keys]
    if problems:
        raise ConfigError(problems)
    zone = settings.plant.site.site.zone
    span = Span(midnight_ns(zone, start), midnight_ns(zone, end + dt.timedelta(days=1)))
    header = {
        "site": settings.plant.site.site.id, "from": first, "to": last, "zone": str(zone), "software": software_id(),
        "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "keys": {name: key for name, (key, _) in keys.items() if not gateways or name in gateways},
    }  # fmt: skip
    store = EmbeddedReader(settings.data)
    try:
        done = export(store, out, header, span, gateways)
    except OSError as error:
        raise ConfigError(
            [Problem(str(out), "", f"cannot be written: {error.strerror}", "check path and disk")]
        ) from error
    finally:
        store.close()
    screen.json(
        {"file": str(out), "batches": done.batches, "bytes": done.bytes, "epochs": [list(e) for e in done.epochs]}
    )
    screen.say("evidence.done", file=out, batches=done.batches, kb=f"{done.bytes / 1000:,.0f}")


# --- where the data is and which key it wants -------------------------------------------------------------------------


def _place(path: Path) -> tuple[Path, Keys]:
    """A configuration file stands for its data; its keys are the ones somebody entered."""
    if path.suffix not in (".yaml", ".yml"):
        return path, {}
    from meterline.settings import load_gateway, load_headend

    try:
        of_headend = re.search(r"^gateways\s*:", path.read_text(encoding="utf-8"), re.MULTILINE) is not None
    except (OSError, UnicodeDecodeError):
        of_headend = False  # the loader says what is wrong with it
    if of_headend:
        return load_headend(path).data, _headend_keys(path)
    settings = load_gateway(path)
    return settings.data, {}


def _headend_keys(path: Path) -> Keys:
    from headend.trust import trusted_keys
    from meterline.settings import load_headend

    return {
        gateway: (base64.b64encode(key.public_bytes_raw()).decode(), path.name)
        for gateway, key in trusted_keys(load_headend(path)).items()
    }


def _beside(place: Path, kind: str) -> Keys:
    """The key that lies with the data: fit to find damage, no proof against whoever could exchange both."""
    if kind == "evidence":
        keys = header_of(place).get("keys")
        found = keys if isinstance(keys, dict) else {}
        return {str(gateway): (_checked(str(key), place.name), place.name) for gateway, key in found.items()}
    if kind == "journal":
        for folder in (place, place.parent):
            path = folder / "gateway.pub"
            if path.is_file():
                return {ANY: (_checked(path.read_text(encoding="utf-8").strip(), str(path)), path.name)}
        return {}
    for folder in (place.parent, place.parent.parent):
        if (folder / "headend.yaml").is_file():
            return _headend_keys(folder / "headend.yaml")
    return {}


def _given(given: list[str]) -> Keys:
    keys: Keys = {}
    for item in given:
        gateway, _, value = item.partition("=")
        if not gateway or not value:
            raise ConfigError([Problem("--key", "", f"'{item}' names no gateway and key", "write --key gw-1=KEY")])
        path = Path(value)
        source = path.name if len(value) < 200 and path.is_file() else "--key"
        text_ = path.read_text(encoding="utf-8").strip() if source != "--key" else value
        keys[gateway] = (_checked(text_, f"--key {gateway}"), source)
    return keys


def _checked(key: str, where: str) -> str:
    try:
        if len(base64.b64decode(key, validate=True)) == 32:
            return key
    except (binascii.Error, ValueError):
        key = key[:20]
    hint = "it is 32 bytes in base64, as 'meterline gateway --show-key' prints it"
    raise ConfigError([Problem(where, "", f"'{key}' is no public key", hint)])


def _witness(path: Path | None) -> dict[tuple[str, str], tuple[int, str]]:
    if path is None:
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {(e["gateway"], e["epoch"]): (int(e["head_seq"]), str(e["head"])) for e in said["epochs"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "give what 'meterline verify --json' printed then"
        raise ConfigError([Problem(str(path), "", "is no report of an earlier check", hint)]) from error


def _day(option: str, words: str) -> dt.date:
    try:
        return dt.date.fromisoformat(words)
    except ValueError as error:
        raise ConfigError([Problem(option, "", f"'{words}' is no date", "write it as 2026-01-31")]) from error


# --- for a person -----------------------------------------------------------------------------------------------------


def _print(screen: Screen, report: Report, *, beside: bool) -> None:
    screen.say("verify.by", software=report.software)
    screen.say("verify.of", "bold", kind=text(f"verify.{report.kind}", screen.lang), path=report.path)
    names = ", ".join(sorted({epoch.gateway for epoch in report.epochs})) or ANY
    for gateway, (key, source) in report.keys.items():
        gateway = names if gateway == ANY else gateway
        screen.say("verify.key", gateway=gateway, public=key, source=source)
    if beside and any(source != "headend.yaml" for _, source in report.keys.values()):
        screen.say("verify.key_beside", "yellow")
    for software in report.made_by:
        screen.say("verify.made_by", software=software)
    rows = [
        (
            epoch.gateway, epoch.epoch, _numbers(epoch.ranges), sum(b - a + 1 for a, b, _ in epoch.lost),
            sum(b - a + 1 for a, b in epoch.given_up), " – ".join(map(_moment, epoch.formed)), epoch.head[:16],
        )
        for epoch in report.epochs
    ]  # fmt: skip
    screen.table(
        ("head.gateway", "head.epoch", "head.numbers", "head.lost", "head.given_up", "head.formed", "head.digest"),
        rows, right=(3, 4),
    )  # fmt: skip
    for flaw in report.flaws[:MOST_SHOWN]:
        batch = f" {flaw.gateway} {flaw.epoch} {_numbers([(flaw.first, flaw.last)] if flaw.first else [])}".rstrip()
        screen.line(f"{text(f'flaw.{flaw.kind}', screen.lang)}:{batch}", "red")
        place = [flaw.file, *([flaw.place] if flaw.place else [])]
        place += [] if flaw.offset is None else [text("verify.byte", screen.lang, offset=flaw.offset)]
        screen.line(f"    {', '.join(place)}: {flaw.detail}")
    if len(report.flaws) > MOST_SHOWN:
        screen.say("verify.more", count=len(report.flaws) - MOST_SHOWN)
    screen.say(
        "verify.counts", batches=report.batches, proven=report.proven, rows=report.rows, hours=report.hours,
        seconds=f"{report.seconds:.1f}",
    )  # fmt: skip
    if report.fine:
        screen.say("verify.fine", "green")
    elif report.flaws:
        screen.say("verify.flaws", "red", count=len(report.flaws))
    else:
        screen.say("verify.nothing", "yellow")


def _numbers(ranges: list[tuple[int, int]]) -> str:
    shown = [f"{a}" if a == b else f"{a}–{b}" for a, b in ranges[:4]]
    return ", ".join(shown) + (f" (+{len(ranges) - 4})" if len(ranges) > 4 else "")


def _moment(ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(ms / 1000, dt.UTC):%Y-%m-%d %H:%MZ}"
