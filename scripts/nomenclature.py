"""Print the table of measurands for docs/nomenclature.md; with ``--write`` put it there."""

from __future__ import annotations

import sys
from pathlib import Path

from meterline.measurands import MEASURANDS
from meterline.units import DISPLAY

PAGE = Path(__file__).resolve().parent.parent / "docs" / "nomenclature.md"
START, END = "<!-- measurands: start -->\n", "<!-- measurands: end -->\n"


def table() -> str:
    """The closed list as a Markdown table."""
    rows = ["| measurand | unit | kind | English | 中文 | OBIS | DL/T 645 |", "|---|---|---|---|---|---|---|"]
    rows += [
        f"| `{m.name}` | {DISPLAY.get(m.unit, m.unit)} | {m.kind} | {m.en} | {m.zh} | {m.obis} | {m.dlt645} |"
        for m in MEASURANDS.values()
    ]
    return "\n".join(rows) + "\n"


def page_with(rows: str) -> str:
    """The page with the table between its marks replaced."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(START)
    _, _, tail = rest.partition(END)
    return head + START + rows + END + tail


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(table()), encoding="utf-8")
    else:
        print(table(), end="")
