"""``meterline energy``: energies of periods with their uncertainty and what of them is estimated."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from meterline.cli.screen import Screen
from meterline.errors import ConfigError, Problem

if TYPE_CHECKING:
    from headend.dataset_folders import DatasetMeter

COLUMNS = ("meter", "date", "kwh", "u_kwh", "estimated_share", "flags")


def energy_of_dataset(screen: Screen, folder: Path, period: str, out: Path | None) -> None:
    """Write the days (or months) of every meter of a dataset folder.

    Raises
    ------
    ConfigError
        The folder cannot be used, or the file cannot be written.
    """
    from headend.dataset_folders import read_meters

    meters = read_meters(folder)
    if out is not None and not out.parent.is_dir():
        raise ConfigError([Problem(str(out), "", "its folder is not there", "make it, or choose another")])
    rows = [row for meter in meters for row in _rows(folder, meter, "month" if period == "month" else "day")]
    basis = {"period": period, "u": {"k": 2, "class_of_instruments": False}}
    if out is not None:
        _write(out, rows)
    elif screen.as_json:
        screen.json({**basis, "rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows]})
        return
    else:
        screen.table([f"energy.{name}" for name in COLUMNS], rows, right=(2, 3, 4))
    estimated = sum(row[4] not in ("", "0.0000") for row in rows)
    missing = sum(row[2] == "" for row in rows)
    said: dict[str, object] = {"meters": len(meters), "rows": len(rows), "estimated": estimated, "missing": missing}
    screen.json({"file": str(out), **basis, **said})
    screen.say("energy.done", None, file=out or folder, **said)


def _rows(folder: Path, meter: DatasetMeter, period: Literal["day", "month"]) -> Iterator[tuple[str, ...]]:
    from headend.dataset_energy import dataset_account, dataset_periods, date_of

    result = dataset_periods(dataset_account(folder, meter), period)
    for k, flags in enumerate(result.flags):
        date = date_of(int(result.boundaries_ns[k])).isoformat()
        if result.known[k]:
            kwh, u = f"{result.micro[k] / 1e6:.6f}", f"{result.expanded_micro[k] / 1e6:.6f}"
            yield meter.meter, date, kwh, u, f"{result.estimated_share[k]:.4f}", "|".join(flags)
        else:
            yield meter.meter, date, "", "", "", "|".join(flags)


def _write(out: Path, rows: list[tuple[str, ...]]) -> None:
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
        os.replace(part, out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(
            [Problem(str(out), "", f"cannot be written: {error.strerror}", "choose a folder you may write to")]
        ) from error
