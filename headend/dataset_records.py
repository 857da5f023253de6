"""From a dataset folder to what `analytics.history` looks at, and findings back to a CSV file (DESIGN §13)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from analytics.findings import Finding
from analytics.history import MeterFacts, MeterRecord
from headend.dataset_folders import DatasetMeter, DatasetRows, read_rows

COLUMNS = {"p_kw": "p", "q_kvar": "q", "e_imp_kwh": "e_imp", "e_exp_kwh": "e_exp"}
"""Column of a dataset -> channel; the phases have the same names."""
PHASES = ("v1", "v2", "v3", "i1", "i2", "i3")


def meter_record(meter: DatasetMeter, rows: DatasetRows) -> MeterRecord:
    """One meter's rows in order of arrival, its empty columns left out."""
    order = np.argsort(rows.rx_ns, kind="stable")
    columns = {}
    for name, values in rows.values.items():
        channel = COLUMNS.get(name, name if name in PHASES else None)
        if channel is not None and bool(np.isfinite(values).any()):
            columns[channel] = values[order]
    facts = MeterFacts(
        meter.meter, meter.interval_ns, meter.nominal_v, meter.modulus, meter.parent or None, meter.plant
    )
    return MeterRecord(facts, rows.rx_ns[order], rows.ts_ns[order], columns)


def read_plants(folder: Path, meters: Sequence[DatasetMeter]) -> list[list[MeterRecord]]:
    """The records of a folder, plant by plant: meters of one plant are judged together.

    Raises
    ------
    ConfigError
        A readings file that cannot be read.
    """
    plants: dict[str, list[MeterRecord]] = {}
    for meter in meters:
        # without a plant's name, a metering tree is a plant
        plant = meter.plant or meter.parent or meter.meter
        plants.setdefault(plant, []).append(meter_record(meter, read_rows(folder, meter)))
    return list(plants.values())


def write_findings(findings: Iterable[Finding], intervals_ns: dict[str, int], out: Path) -> int:
    """Write ``meter,start,end,kind,score,detected_at``: first and last affected reading, UTC; returns how many."""
    count = 0
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["meter", "start", "end", "kind", "score", "detected_at"])
        for finding in findings:
            last = (finding.end_ns or finding.detected_ns) - intervals_ns[finding.meter]
            times = (finding.start_ns, max(last, finding.start_ns), finding.detected_ns)
            start, end, seen = (_iso(when) for when in times)
            writer.writerow([finding.meter, start, end, finding.kind, f"{finding.confidence:.3f}", seen])
            count += 1
    return count


def write_points(record: MeterRecord, score: np.ndarray[tuple[int], np.dtype[np.float64]], file: TextIO) -> None:
    """Append ``meter,time,score`` for each reading of a meter."""
    when = np.datetime_as_string(record.rx_ns.astype("datetime64[ns]").astype("datetime64[s]"))
    name = record.facts.meter
    file.writelines(f"{name},{time},{value:.4f}\n" for time, value in zip(when, score, strict=True))


def _iso(ns: int) -> str:
    # rounded up: at the printed time the reading was there
    return str(np.datetime64(-(-ns // 10**9), "s"))
