"""``meterline reconcile``: every hour the gateways stated against the store as it is now; making good what is not."""

from __future__ import annotations

import datetime as dt
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterline.cli.screen import Screen
from meterline.cli.texts import text
from meterline.errors import EXIT_FINE, EXIT_FOUND, ConfigError, Problem, StoreUnavailable, Unreachable
from meterline.settings import HeadendSettings, load_headend

if TYPE_CHECKING:
    from headend.audit_book import Stated

MOST_SHOWN = 60
NS = 1_000_000_000


def reconcile(screen: Screen, file: Path, first: str | None, last: str | None, *, apply: bool) -> int:
    """Compare now, show what does not fit, and on a person's word leave it to the head-end to make good.

    Raises
    ------
    ConfigError
        The head-end file or a day is wrong.
    Unreachable
        The head-end has never run here.
    """
    settings = load_headend(file)
    start_ns, end_ns = _span(settings, first, last)
    found = _compared(settings, start_ns, end_ns, file)
    doubtful = [stated for stated in found if stated.state != "fits"]
    broken = [stated for stated in doubtful if stated.state in ("missing", "differs")]
    counts = {
        state: sum(s.state == state for s in found) for state in ("fits", "waiting", "lost", "missing", "differs")
    }
    _print(screen, settings, doubtful, counts)
    applied = False
    if broken and (apply or _asked(screen)):
        from headend.audit import request_reconcile

        request_reconcile(settings.data, time.time_ns())
        applied = True
        screen.say("reconcile.applied", "green")
    elif broken:
        screen.say("reconcile.how", "yellow")
    screen.json({"hours": len(found), "counts": counts, "applied": applied, "doubtful": [_json(s) for s in doubtful]})
    return EXIT_FOUND if broken else EXIT_FINE


def _compared(settings: HeadendSettings, start_ns: int, end_ns: int, file: Path) -> list[Stated]:
    from headend.audit import Known, compare
    from headend.audit_book import AuditBook
    from headend.catalogue import Catalogue
    from headend.stores.embedded import EmbeddedReader

    try:
        catalogue = Catalogue(settings.data, write=False)
        book, store = AuditBook(catalogue.path, write=False), EmbeddedReader(settings.data)
        try:
            now_ns, known = time.time_ns(), Known(store)
            return [compare(known, stated, now_ns) for stated in book.all(start_ns, end_ns)]
        finally:
            store.close()
            book.close()
            catalogue.close()
    except StoreUnavailable as error:
        raise Unreachable(str(settings.data), str(error), f"start it: meterline headend {file}") from error


def _span(settings: HeadendSettings, first: str | None, last: str | None) -> tuple[int, int]:
    from headend.plant_days import midnight_ns

    zone = settings.plant.site.site.zone
    ends: list[dt.date | None] = []
    for option, words in (("--from", first), ("--to", last or first)):
        try:
            ends.append(None if words is None else dt.date.fromisoformat(words))
        except ValueError as error:
            raise ConfigError([Problem(option, "", f"'{words}' is no date", "write it as 2026-01-31")]) from error
    start = 0 if ends[0] is None else midnight_ns(zone, ends[0])
    end = 1 << 62 if ends[1] is None else midnight_ns(zone, ends[1] + dt.timedelta(days=1))
    return start, end


def _asked(screen: Screen) -> bool:
    if screen.as_json or not sys.stdin.isatty():
        return False
    screen.say("reconcile.ask")
    return sys.stdin.readline().strip().lower() in ("y", "yes", "j", "是", "好")


def _print(screen: Screen, settings: HeadendSettings, doubtful: list[Stated], counts: dict[str, int]) -> None:
    zone = settings.plant.site.site.zone
    rows: list[tuple[object, ...]] = []
    for stated in doubtful[:MOST_SHOWN]:
        hour = stated.hour
        gone = sum(b - a + 1 for a, b in stated.missing)
        rows.append(
            (
                stated.gateway, f"{dt.datetime.fromtimestamp(hour.hour_ns // NS, zone):%Y-%m-%d %H:%M}", hour.epoch,
                f"{hour.first}–{hour.last}", gone or "", len(stated.changed) or "", hour.readings,
                "–" if stated.here_readings is None else stated.here_readings, f"{hour.advance_micro / 1e6:.3f}",
                "–" if stated.here_advance is None else f"{stated.here_advance / 1e6:.3f}",
                text(f"audit.{stated.state}", screen.lang),
            )
        )  # fmt: skip
    if rows:
        screen.table(
            ("head.gateway", "head.hour", "head.epoch", "head.numbers_stated", "head.gone", "head.changed",
             "head.readings_stated", "head.here", "head.kwh_stated", "head.here", "head.state"), rows,
            right=(4, 5, 6, 7, 8, 9),
        )  # fmt: skip
    if len(doubtful) > MOST_SHOWN:
        screen.say("verify.more", count=len(doubtful) - MOST_SHOWN)
    said: dict[str, Any] = {"hours": sum(counts.values()), **counts}
    screen.say("reconcile.counts", **said)


def _json(stated: Stated) -> dict[str, Any]:
    hour = stated.hour
    return {
        "gateway": stated.gateway, "epoch": hour.epoch, "hour_ns": hour.hour_ns, "first": hour.first, "last": hour.last,
        "state": stated.state, "missing": [list(pair) for pair in stated.missing], "changed": list(stated.changed),
        "readings": {"stated": hour.readings, "here": stated.here_readings},
        "advance_micro_kwh": {"stated": hour.advance_micro, "here": stated.here_advance},
    }  # fmt: skip
