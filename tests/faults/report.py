"""The table: one row a fault, one column an invariant; what was not run is said, never passed over."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.catalogue import page as catalogue_page
from tests.faults.run import Row

HEAD = (
    "fault", "verdict", "lost", "dup", "wrong", "kWh err", "chain", "missed", "live s", "backlog s", "gw MB", "he MB",
    "disk MB", "log/min", "compared", "declared", "s",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row as text."""
    return (
        row.fault, row.verdict, str(row.lost), str(row.dup), str(row.wrong), _kwh(row.kwh_error), str(row.chain),
        str(row.missed), _seconds(row.live_s), _seconds(row.backlog_s), f"{row.rss_mb:.0f}",
        f"{row.headend_rss_mb:.0f}", f"{row.disk_mb:.1f}", str(row.lines_per_min), str(row.compared),
        str(row.declared), f"{row.seconds:.0f}",
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """All rows, aligned."""
    texts = [HEAD, *(cells(row) for row in sorted(rows, key=lambda row: row.fault))]
    widths = [max(len(text[i]) for text in texts) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(text, widths, strict=True)) for text in texts)


def print_table(rows: Sequence[Row], profile: str, seed: int, seconds: float, *, everything: bool) -> None:
    """For a person."""
    say = sys.stdout.write
    say(f"{table(rows)}\n")
    for row in sorted(rows, key=lambda row: row.fault):
        for note in row.notes:
            say(f"{row.fault}: {note}\n")
        for problem in row.problems:
            say(f"{row.fault} BROKEN: {problem}\n")
    played = [row for row in rows if row.verdict != "not run"]
    held = sum(row.verdict == "held" for row in played)
    say(f"profile {profile}, seed {seed}: {held} of {len(played)} faults held all invariants, in {seconds:.0f} s\n")
    if len(played) < len(rows):
        say(f"not run on this machine: {', '.join(row.fault for row in rows if row.verdict == 'not run')}\n")
    if everything:
        say("not run here: see docs/faults.md\n")


def write_page(page: Path, rows: Sequence[Row], profile: str, seed: int) -> None:
    """Put the catalogue as it is and this run's table into the page, between its words."""
    words = page.read_text(encoding="utf-8")
    before, _, rest = words.partition("## The catalogue\n")
    about = rest[rest.index("\n## Measured\n") :].split("\n| ", 1)[0]
    lines = [f"| {' | '.join(HEAD[:-1])} |", "|---" * (len(HEAD) - 1) + "|"]
    lines += [f"| {' | '.join(cells(row)[:-1])} |" for row in sorted(rows, key=lambda row: row.fault)]
    notes = [f"- {row.fault}: {note}" for row in sorted(rows, key=lambda row: row.fault) for note in row.notes]
    table_text = "\n".join(lines)
    page.write_text(
        f"{before}## The catalogue\n\n{catalogue_page()}{about}\n{table_text}\n\nProfile `{profile}`, seed {seed}."
        f" What the scenes noted:\n\n" + "\n".join(notes) + "\n",
        encoding="utf-8",
    )


def _kwh(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
