"""How fast a fleet is judged, reading by reading and days at once, for ``meterline bench detect``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np

from analytics.history.block import Block, Rows
from analytics.history.fleet import Fleet
from analytics.history.record import MeterFacts
from analytics.planted import PER_DAY, Planted, make_plant
from meterline.cli.bench import Figure

DAYS = 36
MEASURED_DAYS = 6
"""The last days, when everything is learnt; in two plants of 32 something is wrong."""
PLANTS = 32
STREAM_METERS = 10_000
BATCH_METERS = 1000
YEAR_POLLS = 365 * PER_DAY


def speed(workers: int, scale: int) -> list[Figure]:
    """Values a second in both speeds, and what is kept of a meter.

    Parameters
    ----------
    workers : int
        Processes for the batch; the stream is one process.
    scale : int
        So many times more meters in the stream.
    """
    figures: list[Figure] = []
    for view in ("full", "e"):
        tasks = [(BATCH_METERS, view, PER_DAY)] * workers
        with ProcessPoolExecutor(max_workers=workers) as pool:
            results = list(pool.map(_measure, tasks))
        values = sum(result[0] / result[1] for result in results)
        polls = sum(result[2] / result[1] for result in results)
        figures.append(Figure(f"speed.batch.{view}.values_per_s", values, "1/s", "higher"))
        figures.append(
            Figure(f"speed.batch.{view}.fleet_100k_year", 100_000 * YEAR_POLLS / polls / 60.0, "min", "lower")
        )
        values, took, polls, kept = _measure((STREAM_METERS * scale, view, 1))
        figures.append(Figure(f"speed.stream.{view}.values_per_s", values / took, "1/s", "higher"))
        figures.append(Figure(f"speed.stream.{view}.polls_per_s", polls / took, "1/s", "higher"))
        figures.append(Figure(f"speed.stream.{view}.state_per_meter", kept, "B", "lower"))
    return figures


def _measure(task: tuple[int, str, int]) -> tuple[float, float, float, float]:
    """(values, seconds of CPU, polls, bytes a meter) of a fleet fed `width` polls at a time.

    CPU time, so that a busy neighbour does not count.
    """
    meters, view, width = task
    base = [record for seed in range(PLANTS) for record in make_plant(f"b{seed}", seed, DAYS, _faults(seed), view)]
    rows = Rows(base)
    fleet = Fleet(_copies([record.facts for record in base], meters))
    index = np.arange(meters) % len(base)
    channels = ("e_imp",) if view == "e" else tuple(rows.channels)
    first = fleet.first_of_day(fleet.day_of(rows.first))
    measured = first + (DAYS - MEASURED_DAYS) * PER_DAY
    took = polls = 0.0
    for begin in range(first, measured, PER_DAY):
        fleet.feed(_tile(rows.block(begin, PER_DAY), index, channels))
    for begin in range(measured, rows.until - PER_DAY if width > 1 else measured + PER_DAY, width):
        block = _tile(rows.block(begin, width), index, channels)
        started = time.process_time()
        fleet.feed(block)
        fleet.ledger.drain(begin)
        took += time.process_time() - started
        polls += meters * width
    return polls * len(channels), took, polls, fleet.state_bytes() / meters


def _faults(seed: int) -> list[Planted]:
    name, start = f"b{seed}", (DAYS - MEASURED_DAYS) * PER_DAY
    if seed == 0:
        return [Planted(f"{name}-s1", "theft", start, start + 2 * PER_DAY, 0.6)]
    if seed == 1:
        return [
            Planted(f"{name}-s1", "stuck", start + 20, start + 60, 1.0),
            Planted(f"{name}-s2", "gap", start + 30, start + 70, 1.0),
        ]
    return []


def _copies(facts: Sequence[MeterFacts], meters: int) -> list[MeterFacts]:
    """The same plants again and again under other names."""
    named = []
    for k in range(meters):
        fact, turn = facts[k % len(facts)], k // len(facts)
        parent = f"{fact.parent}.{turn}" if fact.parent else None
        named.append(replace(fact, meter=f"{fact.meter}.{turn}", parent=parent, plant=f"{fact.plant}.{turn}"))
    return named


def _tile(block: Block, index: np.ndarray[tuple[int], np.dtype[np.int64]], channels: Sequence[str]) -> Block:
    values = {name: np.ascontiguousarray(block.values[name][index]) for name in channels}
    return Block(
        block.first, values, block.present[index], block.over[index], block.again[index], block.off_s[index],
        block.rx_ns[index],
    )  # fmt: skip
