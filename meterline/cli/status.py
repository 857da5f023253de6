"""``meterline status``: how gateways, store and meters are, read beside a running head-end or without one."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

from meterline.cli.screen import Screen
from meterline.clock import NS
from meterline.errors import StoreUnavailable, Unreachable
from meterline.settings import HeadendSettings, load_headend


def status(screen: Screen, file: Path) -> None:
    """Print the state of everything.

    Raises
    ------
    ConfigError
        The head-end file is wrong.
    Unreachable
        The head-end has never run here.
    """
    settings = load_headend(file)
    from headend.queries import Queries

    try:
        queries = Queries.of(settings)
        try:
            now_ns = plant_now_ns(queries)
            state = queries.status(now_ns) | {"findings": _findings(settings, queries, now_ns)}
        finally:
            queries.close()
    except StoreUnavailable as error:
        raise Unreachable(str(settings.data), str(error), f"start it: meterline headend {file}") from error
    screen.json(state)
    _print(screen, settings, state)


def plant_now_ns(queries: Any) -> int:
    """Real time; at a simulated site the plant's time as far as is known, for its clock is not ours."""
    heard = [word for _, word in queries.catalogue.health().values() if word.simulated]
    if not heard:
        return time.time_ns()
    last: int = queries.store.totals().last_slot_ns or 0
    round_ns = int(queries.catalogue.mark("figures", "round_ns") or 0)
    return max(last, round_ns, *(int(word.at_ns) for word in heard))


def _findings(settings: HeadendSettings, queries: Any, now_ns: int) -> dict[str, int]:
    from headend.findings import FindingsBook

    book = FindingsBook(queries.catalogue.path, settings.plant)
    try:
        return {severity.value: count for severity, count in book.counts(now_ns).items()}
    finally:
        book.close()


def _print(screen: Screen, settings: HeadendSettings, state: dict[str, Any]) -> None:
    zone = settings.plant.site.site.zone
    store = state["store"]
    last = store["last_slot_ns"]
    screen.say(
        "status.store", style="bold", readings=f"{store['readings']:,}", batches=f"{store['batches']:,}",
        at="-" if last is None else f"{dt.datetime.fromtimestamp(last / NS, zone):%Y-%m-%d %H:%M:%S}",
        lag="-" if store["lag_s"] is None else f"{store['lag_s']:.0f}",
    )  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for name, gateway in state["gateways"].items():
        figures = gateway.get("figures", {})
        holes = sum(last - first + 1 for ranges in gateway["holes"].values() for first, last in ranges)
        lost = sum(last - first + 1 for _, first, last, _ in gateway["lost"])
        rows.append(
            (
                name, gateway["state"], gateway.get("next_seq", 1) - 1, gateway.get("acked", "-"),
                int(figures.get("backlog", 0)), holes, lost, ", ".join(gateway.get("troubles", [])),
            )
        )  # fmt: skip
    screen.table(
        ("head.gateway", "head.state", "head.batches", "head.acked", "head.backlog", "head.holes", "head.lost",
         "head.troubles"), rows, right=(2, 3, 4, 5, 6),
    )  # fmt: skip
    for gateway in state["gateways"]:
        audit = state["audit"].get(gateway)
        if audit is None:
            screen.say("status.no_audit", gateway=gateway)
            continue
        until = f"{dt.datetime.fromtimestamp(audit['until_ns'] / NS, zone):%Y-%m-%d %H:%M}"
        wrong = audit["missing"] or audit["differs"]
        screen.say("status.audit", "red" if wrong else None, gateway=gateway, **audit | {"until": until})
    if troubles := state["head_end"].get("troubles"):
        screen.say("status.headend_troubles", style="red", troubles=troubles)
    meters = state["meters"]
    screen.say("status.meters", count=meters["configured"], silent=", ".join(meters["silent"]) or "-")
    findings = state["findings"]
    screen.say("status.findings", **{key: findings.get(key, 0) for key in ("alarm", "warning", "info")})
    for reason, count in state["quarantine"].items():
        screen.say("status.quarantine", style="yellow", reason=reason, count=count)
    for gateway, epoch, seq in state["chain_breaks"]:
        screen.say("status.chain", style="red", gateway=gateway, epoch=epoch, seq=seq)
