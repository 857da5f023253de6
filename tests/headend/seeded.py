"""A head-end that has run for a day: real batches in an embedded store, intervals, findings; and what it serves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI

from analytics.carbon import Purpose
from analytics.findings import Finding, Severity
from headend.alerts.outbox import Outbox
from headend.catalogue import Catalogue
from headend.completeness import Completeness
from headend.completeness_book import CompletenessBook
from headend.findings import FindingsBook, Looked
from headend.queries import Queries
from headend.rollup import Rollup
from headend.stores.embedded import EmbeddedReader, EmbeddedStore
from headend.supervise import Supervisor
from headend.web import create_app
from meterline.clock import ManualClock
from meterline.plant import Plant
from meterline.readings import ClockState, Column, MissingSpan, Poll, Quality, Shape
from meterline.wire import Health
from tests.headend.gateway_twin import Twin
from tests.headend.small_plant import HOUR, MINUTE, T0, small_plant

NOW = T0 + 2 * HOUR
"""18:00 in Jinan."""
PHASES = ("l1", "l2", "l3")
FULL = Shape(
    "eastron-sdm630@2",
    (
        Column("energy.active.import", -2),
        Column("power.active.total", -3),
        *(Column(f"voltage.{phase}n", -1) for phase in PHASES),
        *(Column(f"current.{phase}", -2) for phase in PHASES),
        Column("power_factor.total", -3),
        Column("frequency", -2),
    ),
)
SIZE_KW = {"m-main": 210.0, "m-p1": 70.0, "m-p2": 55.0, "m-p3": 30.0, "m-c1": 40.0}
SILENT = (NOW - 5 * HOUR, NOW - 4 * HOUR)
"""m-p2 does not answer for this hour."""


def load_kw(meter: str, t_ns: int) -> float:
    """A working day's shape with a compressor's cycle on top."""
    hour = (t_ns // HOUR + 8) % 24 + (t_ns % HOUR) / HOUR
    work = 1.0 if 8 <= hour < 12 or 13 <= hour < 20 else 0.18
    cycle = 0.12 * math.sin(t_ns / MINUTE / 7) + 0.06 * math.sin(t_ns / MINUTE / 2.3 + len(meter))
    return max(0.0, SIZE_KW[meter] * (work * 0.8 + cycle * work))


@dataclass
class Seeded:
    """Everything a page needs, open."""

    folder: Path
    plant: Plant
    clock: ManualClock
    book: FindingsBook
    outbox: Outbox
    queries: Queries
    app: FastAPI
    twins: dict[str, Twin] = field(default_factory=dict)

    def close(self) -> None:
        self.queries.close()
        self.book.close()
        self.outbox.close()


def polls(hours: int) -> Iterator[Poll]:
    counted = dict.fromkeys(SIZE_KW, 0.0)
    for slot in range(NOW - hours * HOUR, NOW, MINUTE):
        for number, meter in enumerate(SIZE_KW):
            kw = load_kw(meter, slot)
            counted[meter] += kw / 60
            if meter == "m-p2" and SILENT[0] <= slot < SILENT[1]:
                continue
            qualities = [0] * len(FULL.columns)
            if meter == "m-c1" and slot == NOW - 3 * HOUR:
                kw, qualities[1] = 4 * SIZE_KW[meter], int(Quality.SUSPECT)
            current = kw / 0.69 / 0.92
            numbers = [
                round((5000 * (number + 1) + counted[meter]) * 100), round(kw * 1000), 2312, 2298, 2305,
                *(round(current * share * 100) for share in (1.02, 0.97, 1.01)), 921, 5001,
            ]  # fmt: skip
            yield Poll(meter, FULL, slot, (120 + 40 * number,), ClockState.SYNCED, tuple(numbers), tuple(qualities))


def seed(folder: Path, *, hours: int = 20, plant: Plant | None = None, empty: bool = False) -> Seeded:
    """A plant's last hours, its findings, and the application over them."""
    plant = plant or small_plant()
    clock = ManualClock(NOW)
    catalogue = Catalogue(folder)
    twins = {gateway: Twin(gateway) for gateway in plant.gateways()}
    store = EmbeddedStore(folder)
    book, outbox = FindingsBook(catalogue.path, plant), Outbox(catalogue.path)
    if not empty:
        _deliver(store, twins, plant, hours)
        Rollup(plant, store, catalogue).run(NOW, Supervisor().isolated)
        slots = CompletenessBook(catalogue.path)
        Completeness(plant, store, catalogue, slots).once(NOW)
        slots.close()
        for gateway, twin in twins.items():
            catalogue.put_health(
                Health(gateway, twin.epoch, "running", NOW // 10**6, 1, twin.seq + 1, twin.seq, "0.1.0", True,
                       {"polls": 5520.0, "timeouts": 61.0}), NOW - 4 * 10**9,
            )  # fmt: skip
        _find(book, plant)
    store.close()
    catalogue.close()
    queries = Queries(plant, EmbeddedReader(folder), Catalogue(folder))
    app = create_app(
        queries,
        book,
        plant,
        clock,
        outbox=outbox,
        purpose=Purpose.ENTERPRISE_REPORT,
        hosts=("127.0.0.1", "localhost", "testserver"),
    )
    return Seeded(folder, plant, clock, book, outbox, queries, app, twins)


def _deliver(store: EmbeddedStore, twins: dict[str, Twin], plant: Plant, hours: int) -> None:
    waiting: dict[str, list[Poll]] = {gateway: [] for gateway in twins}
    blocks = []
    for poll in polls(hours):
        gateway = plant.buses[plant.meters[poll.meter].bus].gateway
        waiting[gateway].append(poll)
        if len(waiting[gateway]) == 40:
            blocks.append(twins[gateway].block(*waiting.pop(gateway)))
            waiting[gateway] = []
    silence = MissingSpan("m-p2", SILENT[0], SILENT[1], "silent")
    blocks += [
        twins[g].block(*rest, at_ns=NOW, missing=(silence,) if g == "gw-1" else ()) for g, rest in waiting.items()
    ]
    store.append(blocks)


def _find(book: FindingsBook, plant: Plant) -> None:
    def looked(now: int) -> dict[str, Looked]:
        return {m: Looked(now if m in SIZE_KW else None, MINUTE) for m in plant.meters}

    gap = Finding("gap", "m-p2", *SILENT, Severity.ALARM, 1.0, {"missed_polls": 60, "last_seen_ns": SILENT[0] - MINUTE})
    spike = Finding(
        "spike", "m-c1", NOW - 3 * HOUR, NOW - 3 * HOUR + MINUTE, Severity.WARNING, 0.9,
        {"channel": "power.active.total", "seen": 160.0, "expected": 34.2},
    )  # fmt: skip
    over = Finding(
        "overload", "m-p1", NOW - 95 * MINUTE, None, Severity.WARNING, 0.85,
        {"rated_kw": 60.0, "peak_kw": 71.3}, energy_kwh=12.7,
    )  # fmt: skip
    phase = Finding(
        "phase_voltage_loss", "m-p3", NOW - 30 * MINUTE, None, Severity.ALARM, 0.97,
        {"phase": "l2", "seen_v": 3.1}, energy_kwh=4.9,
    )  # fmt: skip
    book.observe([gap], looked(SILENT[1]), SILENT[1] + MINUTE)
    book.observe([gap, spike], looked(NOW - 2 * HOUR), NOW - 2 * HOUR)
    book.observe([gap, spike, over, phase], looked(NOW), NOW)
