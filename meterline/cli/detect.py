"""``meterline detect``: what is wrong in a folder of recorded readings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from meterline.cli.screen import Screen
from meterline.errors import ConfigError, Problem

if TYPE_CHECKING:
    from analytics.history import MeterRecord


def detect(
    screen: Screen,
    folder: Path,
    out: Path,
    points: Path | None,
    closed: Path | None,
    *,
    polls_at_a_time: int | None = None,
    sensitivity: float = 1.0,
) -> None:
    """Judge every plant of a dataset folder, write its findings, and say how many of which kind.

    Raises
    ------
    ConfigError
        The folder cannot be read, or the result cannot be written where it was asked for.
    """
    from analytics.history import examine_plant
    from analytics.history.points import score_readings
    from headend.dataset_folders import read_meters
    from headend.dataset_records import read_plants, write_findings, write_points

    meters = read_meters(folder)
    closed_days = frozenset() if closed is None else read_closed_days(closed)
    for target in (out, points):
        if target is not None and not target.parent.is_dir():
            raise ConfigError([Problem(str(target), "", "its folder does not exist", "create the folder first")])
    found = []
    scores = None if points is None else points.open("w", encoding="utf-8", newline="\n")
    try:
        if scores is not None:
            scores.write("meter,time,score\n")
        for records in together(read_plants(folder, meters)):
            said = examine_plant(records, closed_days, sensitivity=sensitivity, at_a_time=polls_at_a_time)
            found += said
            if scores is not None:
                for record in records:
                    write_points(record, score_readings(record, said), scores)
    finally:
        if scores is not None:
            scores.close()
    count = write_findings(found, {meter.meter: meter.interval_ns for meter in meters}, out)
    kinds = Counter(finding.kind for finding in found)
    screen.json({"dataset": str(folder), "meters": len(meters), "findings": count, "kinds": kinds, "out": str(out)})
    screen.table(
        ("detect.kind", "detect.count"), [(kind, number) for kind, number in sorted(kinds.items())], right=(1,)
    )
    screen.say("detect.done", style="green", count=count, meters=len(meters), out=out)


def together(plants: Sequence[list[MeterRecord]], most: int = 1000) -> Iterator[list[MeterRecord]]:
    """Whole plants in lots of up to `most` meters: many meters judged at once cost little more than one."""
    lot: list[MeterRecord] = []
    for records in plants:
        if lot and len(lot) + len(records) > most:
            yield lot
            lot = []
        lot = lot + records
    if lot:
        yield lot


def read_closed_days(path: Path) -> frozenset[int]:
    """Holidays and shutdowns from a text file, one date a line; what follows ``#`` is a remark.

    ``2026-02-14 work`` is a make-up day: worked, but on a weekday on which others rest. It is as little an example of
    its weekday as a holiday is, and is left out like one.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line is no date; every such line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            [Problem(str(path), "", f"cannot be read: {error}", "one date a line: 2026-10-01")]
        ) from error
    days: set[int] = set()
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            days.add((date.fromisoformat(text.removesuffix("work").strip()) - date(1970, 1, 1)).days)
        except ValueError:
            problems.append(Problem(str(path), f"line {number}", f"{text!r} is no date", "write it as 2026-10-01"))
    if problems:
        raise ConfigError(problems)
    return frozenset(days)
