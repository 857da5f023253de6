"""Run the detectors over a labelled dataset folder and write detections in the scorer's format.

Not a test: a measuring tool for whoever changes a detector. It reads ``meters.csv`` and ``readings/`` only, never the
labels::

    python tests/analytics/score_labelled.py DATASET_DIR detections.csv
    python DATASET_DIR/../score.py DATASET_DIR/labels.csv detections.csv --meters DATASET_DIR/meters.csv

The detectors see what a live job would show them: a trailing window of two days, moved by half a day, and what was
learnt from the four weeks before it. No rating and no calendar are declared in these folders; the rating is taken as
1.5 times the greatest power of the first four weeks.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from analytics.detectors import MeterContext, MeterWindow, run_detectors
from analytics.detectors.learning import learn
from analytics.findings import Finding, merge
from analytics.series import CounterSeries, Series

S = 10**9
DAY = 86_400 * S
COLUMNS = {
    "v1": "voltage.l1n",
    "v2": "voltage.l2n",
    "v3": "voltage.l3n",
    "i1": "current.l1",
    "i2": "current.l2",
    "i3": "current.l3",
    "p_kw": "power.active.total",
    "q_kvar": "power.reactive.total",
}
SAY = {"counter_jump": "spike", "register_mismatch": "ratio_change"}
"""What the scorer calls these; kinds it does not know (overload) are left out."""
SILENT_ABOUT = {"overload"}


def seconds(text: str) -> int:
    return int(np.datetime64(text, "s").astype(np.int64)) * S


def read(path: Path) -> tuple[dict[str, Series], CounterSeries]:
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    t = np.array([seconds(row["rx"]) for row in rows])
    gauges = {}
    for column, name in COLUMNS.items():
        values = np.array([float(row[column]) if row[column] else np.nan for row in rows])
        if np.isfinite(values).any():
            gauges[name] = Series.from_readings(t, values)
    shown = [(when, row["e_imp_kwh"]) for when, row in zip(t, rows, strict=True) if row["e_imp_kwh"]]
    micro = [round(float(text) * 1e6) if abs(float(text)) < 1e12 else -1 for _, text in shown]
    keep = [k for k, value in enumerate(micro) if value >= 0]
    return gauges, CounterSeries.of(np.array([shown[k][0] for k in keep]), np.array([micro[k] for k in keep]))


def window(gauges: dict[str, Series], counter: CounterSeries, start: int, end: int) -> MeterWindow:
    cut = {name: series.between(start, end) for name, series in gauges.items()}
    return MeterWindow(start, end, cut, {"energy.active.import": counter.between(start, end)})


def detect(meter: dict[str, str], folder: Path) -> Iterator[Finding]:
    gauges, counter = read(folder / "readings" / f"{meter['meter']}.csv.gz")
    poll = int(meter["interval_s"]) * S
    first, last = seconds(meter["start"]), seconds(meter["end"])
    digits = np.diff(np.unique(counter.micro % (1000 * 10**6)))
    context = MeterContext(
        meter["meter"],
        poll,
        nominal_v=float(meter["nominal_v"]),
        wraps_at_micro=round(float(meter["register_modulus_kwh"]) * 1e6),
        counter_resolution_micro=int(digits[digits > 0].min()) if digits.size else 1,
    )
    month = window(gauges, counter, first, first + 28 * DAY)
    rises = np.diff(month.counters["energy.active.import"].micro)
    rated = 1.5 * float(rises[rises >= 0].max()) / 1e6 / (poll / 3.6e12)
    context = replace(context, rated_kw=rated)
    found: list[Finding] = []
    for now in range(first + 2 * DAY, last + DAY // 2, DAY // 2):
        learnt, _ = learn(context, window(gauges, counter, max(first, now - 30 * DAY), now - 2 * DAY))
        here = window(gauges, counter, max(first, now - 2 * DAY), min(now, last))
        fresh = run_detectors(replace(context, learnt=learnt), here)
        found += [replace(f, end_ns=here.now_ns) if f.end_ns is None else f for f in fresh]
    yield from merge(found, within_ns=2 * poll)


def main(folder: Path, out: Path) -> None:
    with (folder / "meters.csv").open(newline="") as file:
        meters = list(csv.DictReader(file))
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["meter", "start", "end", "kind", "score", "detected_at"])
        for meter in meters:
            for finding in detect(meter, folder):
                if finding.kind in SILENT_ABOUT:
                    continue
                end = (finding.end_ns or 0) - int(meter["interval_s"]) * S
                times = (finding.start_ns, max(end, finding.start_ns), finding.detected_ns)
                start, end_text, seen = (str(np.datetime64(ns // S, "s")) for ns in times)
                kind = SAY.get(finding.kind, finding.kind)
                writer.writerow([finding.meter, start, end_text, kind, finding.confidence, seen])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
