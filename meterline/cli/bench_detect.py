"""``meterline bench detect``: how many findings are right, under their right names, how soon, and how fast."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from analytics.findings import Finding
from analytics.history import examine_plant
from analytics.planted import (
    BEGIN,
    CYCLIC,
    IN_LOAD,
    IN_METER,
    NEEDS_PHASES,
    PER_DAY,
    QUARTER,
    TRADES,
    WITH_CYCLE,
    Planted,
    make_plant,
    random_fault,
)
from analytics.scoring import USE, Label, Said, Scores, bootstrap, score, wilson
from headend.dataset_folders import read_meters
from headend.dataset_records import read_plants
from meterline.cli.bench import Figure, report
from meterline.cli.bench_detect_clean import clean
from meterline.cli.bench_detect_speed import speed
from meterline.cli.screen import Screen
from meterline.errors import ConfigError, Problem

S = 10**9
MONTH_S = 30.4375 * 86_400
DAYS, FIRST_DAY, LAST_DAY = 84, 35, 56
"""Length of a generated plant, and the days between which its faults begin."""
SUBS = 3
FROM_COUNTER_ONLY = ("spike", "noise")
"""Kinds that a meter without a power channel cannot show."""
ALIKE = frozenset({"theft", "ratio_change"})
"""Seen from one meter these are one thing; either name is right."""


def bench_detect(
    screen: Screen, dataset: Path | None, clean_folder: Path | None, plants: int, workers: int, scale: int
) -> None:
    """Score the detectors on a labelled folder and on generated plants, and print the figures."""
    figures: list[Figure] = []
    parameters: dict[str, Any] = {"plants": plants * scale, "workers": workers, "scale": scale}
    if dataset is not None:
        parameters["dataset"] = dataset.name
        figures += labelled(dataset)
    if clean_folder is not None:
        figures += clean(clean_folder)
    figures += generated(plants * scale, workers)
    figures += speed(workers, scale)
    report(screen, "detect", parameters, figures)


# -- a folder with labels --------------------------------------------------------------------------------------------
def labelled(folder: Path) -> list[Figure]:
    """Scores on a folder that has ``labels.csv`` beside its readings; only this judge reads the labels."""
    meters = read_meters(folder)
    labels = read_labels(folder / "labels.csv")
    plants = read_plants(folder, meters)
    started = time.process_time()
    found = examine_plant([record for records in plants for record in records])
    took = time.process_time() - started
    readings = sum(len(record) for records in plants for record in records)
    values = sum(len(record) * len(record.columns) for records in plants for record in records)
    said = [as_said(finding, QUARTER) for finding in found]
    spans = {m.meter: ((m.end_ns or 0) - (m.start_ns or 0)) / S / MONTH_S for m in meters}
    figures = [
        Figure("labelled.readings_per_s", readings / took, "1/s", "higher"),
        Figure("labelled.values_per_s", values / took, "1/s", "higher"),
    ]
    names = [m.meter for m in meters]
    kinds = {label.kind for label in labels}
    groups = {"all": None, "meter": frozenset(kinds - set(USE)), "use": frozenset(USE)}
    for group, only in groups.items():
        figures += _group(f"labelled.{group}", score(labels, said, only), names, sum(spans.values()))
    scores = score(labels, said)
    for plant in sorted({m.plant for m in meters}):
        own = [m.meter for m in meters if m.plant == plant]
        for group, only in groups.items():
            part = score(labels, said, only).of_meters(own)
            figures += _scores(f"labelled.plant.{plant}.{group}", part, sum(spans[m] for m in own))
    return figures + _by_kind("labelled", scores)


def read_labels(path: Path) -> list[Label]:
    """The events of a labelled folder.

    Raises
    ------
    ConfigError
        No such file, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                Label(
                    row["meter"],
                    row["kind"],
                    _seconds(row["start"]),
                    _seconds(row["end"]),
                    frozenset(filter(None, row.get("alt", "").split("|"))),
                    row.get("ignore") == "1",
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            [Problem(str(path), "", f"cannot be read: {error}", "a labelled folder has labels.csv")]
        ) from error


def _seconds(text: str) -> float:
    return float(np.datetime64(text, "s").astype(np.int64))


def as_said(finding: Finding, interval_ns: int) -> Said:
    """A finding as it is scored: first and last affected reading."""
    end = max((finding.end_ns or finding.detected_ns) - interval_ns, finding.start_ns)
    return Said(finding.meter, finding.kind, finding.start_ns // S, end // S, finding.detected_ns // S)


# -- generated plants ------------------------------------------------------------------------------------------------
def generated(plants: int, workers: int) -> list[Figure]:
    """Scores on plants made up by seed, in three views, with faults of every kind planted, and on sound ones."""
    views = ("full", "pe", "e")
    tasks = [(seed, views[seed % 3], seed % 5 != 4) for seed in range(plants)]
    started = time.perf_counter()
    with ProcessPoolExecutor(max_workers=workers) as pool:
        results = list(pool.map(_one_plant, tasks, chunksize=4))
    took = time.perf_counter() - started
    labels = [label for result in results for label in result[0]]
    said = [finding for result in results for finding in result[1]]
    meters = sorted({name for result in results for name in result[2]})
    sound = [result for task, result in zip(tasks, results, strict=True) if not task[2]]
    months = DAYS * 86_400 / MONTH_S
    only = {"all": None, "meter": frozenset(IN_METER) - {"theft"}, "use": frozenset(USE)}
    figures: list[Figure] = [
        Figure("generated.meters", len(meters), "1", "higher"),
        Figure("generated.readings_per_s_with_making", len(meters) * DAYS * PER_DAY / took, "1/s", "higher"),
        Figure("generated.examine_readings_per_s_and_core", _mean(result[3] for result in results), "1/s", "higher"),
        Figure(
            "generated.sound.findings_per_meter_month",
            sum(len(result[1]) for result in sound) / max(sum(len(result[2]) for result in sound) * months, 1e-9),
            "1",
            "lower",
            0.0,
        ),
    ]
    for group, kinds in only.items():
        figures += _group(f"generated.{group}", score(labels, said, kinds), meters, len(meters) * months)
    for view in views:
        own = [name for task, result in zip(tasks, results, strict=True) if task[1] == view for name in result[2]]
        part = score(labels, said).of_meters(own)
        figures += _scores(f"generated.view.{view}", part, len(own) * months)
    return figures + _by_kind("generated", score(labels, said))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _one_plant(task: tuple[int, str, bool]) -> tuple[list[Label], list[Said], list[str], float]:
    """Make a plant, judge it, and give back what was planted, what was said, its meters and the speed."""
    seed, view, faulty = task
    name = f"p{seed}"
    faults = plant_faults(name, seed, view) if faulty else []
    own = {fault.meter: fault.kind for fault in faults}
    trades = [_trade(own.get(f"{name}-s{k + 1}", ""), seed + k) for k in range(SUBS)]
    records = make_plant(name, seed, DAYS, faults, view, SUBS, trades)
    started = time.perf_counter()
    found = examine_plant(records)
    speed = sum(len(record) for record in records) / (time.perf_counter() - started)
    labels = [as_label(fault, view) for fault in faults]
    for fault in faults:
        # what a sub-meter's fault or its load makes visible on the main is neither right nor wrong
        if not fault.meter.endswith("main"):
            label = as_label(fault, view)
            labels.append(Label(f"{name}-main", label.kind, label.start_s, label.end_s, label.also, ignore=True))
    return labels, [as_said(finding, QUARTER) for finding in found], [r.facts.meter for r in records], speed


def _trade(kind: str, turn: int) -> str:
    """A trade in which a fault of this kind can be: without a daily cycle none can be missing."""
    if kind == "off_hours":
        return CYCLIC[turn % 2]  # bakers work at night
    return CYCLIC[turn % len(CYCLIC)] if kind in WITH_CYCLE else TRADES[turn % len(TRADES)]


def plant_faults(name: str, seed: int, view: str) -> list[Planted]:
    """One fault a meter, in every fourth plant unseen load at the main; kinds in turn, so that all come often."""
    rng = np.random.default_rng((seed, 77))
    kinds = [
        kind
        for kind in (*IN_METER, *IN_LOAD)
        if not (view != "full" and kind in NEEDS_PHASES) and not (view == "e" and kind in FROM_COUNTER_ONLY)
    ]
    chosen = [kinds[(SUBS * (seed // 3) + k) % len(kinds)] for k in range(SUBS)]
    faults = [
        random_fault(f"{name}-s{k + 1}", kind, FIRST_DAY, FIRST_DAY + 1 if kind == "drift" else LAST_DAY, rng)
        for k, kind in enumerate(chosen)
    ]
    if seed % 4 == 0:
        faults.append(random_fault(f"{name}-main", "sum_mismatch", FIRST_DAY, LAST_DAY, rng))
    else:
        # the main has every channel: kinds that the sub-meters of this view seldom or never show
        rare = NEEDS_PHASES if view == "full" else FROM_COUNTER_ONLY
        faults.append(random_fault(f"{name}-main", rare[seed // 3 % len(rare)], FIRST_DAY, LAST_DAY, rng))
    end = DAYS * PER_DAY - 1
    return [Planted(f.meter, f.kind, f.first, min(f.last, end), f.size) for f in faults]


def as_label(fault: Planted, view: str) -> Label:
    """A planted fault as a label; what cannot be told apart from one meter may have either name."""
    also = (
        ALIKE - {fault.kind}
        if fault.kind in ALIKE
        else frozenset({"leak"})
        if fault.kind == "base_load"
        else frozenset()
    )
    if fault.kind == "zero" or (fault.kind == "stuck" and view == "e"):
        also = frozenset({"stuck", "zero"})  # a counter that stands still is all there is to see
    start, last = (BEGIN + slot * QUARTER for slot in (fault.first, fault.last))
    return Label(fault.meter, fault.kind, start / S, last / S, frozenset(also))


# -- figures ---------------------------------------------------------------------------------------------------------
def _group(name: str, scores: Scores, meters: Sequence[str], months: float) -> list[Figure]:
    figures = _scores(name, scores, months)
    for figure, (low, high) in bootstrap(scores, meters).items():
        figures.append(Figure(f"{name}.{figure}.ci_low", low, "1", "higher", 1.0))
        figures.append(Figure(f"{name}.{figure}.ci_high", high, "1", "higher", 1.0))
    return figures


def _scores(name: str, scores: Scores, months: float) -> list[Figure]:
    delays = [outcome.delay_s / 3600 for outcome in scores.outcomes if outcome.found]
    figures = [
        Figure(f"{name}.events", len(scores.outcomes), "1", "higher"),
        Figure(f"{name}.f1", scores.f1, "1", "higher", 1.0),
        Figure(f"{name}.strict_f1", scores.strict_f1, "1", "higher", 1.0),
        Figure(f"{name}.false_per_meter_month", len(scores.false) / max(months, 1e-9), "1", "lower", 0.0),
    ]
    if delays:
        figures.append(Figure(f"{name}.delay_median", float(np.median(delays)), "h", "lower", 0.0))
    return figures


def _by_kind(name: str, scores: Scores) -> list[Figure]:
    figures: list[Figure] = []
    for kind in sorted({outcome.label.kind for outcome in scores.outcomes}):
        own = [outcome for outcome in scores.outcomes if outcome.label.kind == kind]
        found = sum(outcome.found for outcome in own)
        low, high = wilson(found, len(own))
        place = f"{name}.kind.{kind}"
        figures += [
            Figure(f"{place}.events", len(own), "1", "higher"),
            Figure(f"{place}.found", found / len(own), "1", "higher", 1.0),
            Figure(f"{place}.found.ci_low", low, "1", "higher", 1.0),
            Figure(f"{place}.found.ci_high", high, "1", "higher", 1.0),
            Figure(f"{place}.named", sum(outcome.named for outcome in own) / len(own), "1", "higher", 1.0),
        ]
        delays = [outcome.delay_s / 3600 for outcome in own if outcome.found]
        if delays:
            figures.append(Figure(f"{place}.delay_median", float(np.median(delays)), "h", "lower", 0.0))
    return figures
