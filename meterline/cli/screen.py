"""How results and refusals reach a person or a machine: plain lines, tables, or one JSON object.

Results go to standard output, refusals to standard error; with ``--json`` both are JSON on standard output, so that a
program reads one stream.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from meterline.cli.texts import problem_text, text
from meterline.errors import ConfigError, Problem, Unreachable
from meterline.texts import Language

if TYPE_CHECKING:
    from rich.console import Console


def quiet_collector() -> None:
    """One-shot commands say themselves what their line told the log."""
    log = logging.getLogger("collector")
    log.addHandler(logging.NullHandler())
    log.propagate = False


class Screen:
    """Where a command writes.

    Attributes
    ----------
    lang
        ``en`` or ``zh``.
    as_json
        Whether a machine reads: then nothing but JSON goes to standard output.
    """

    def __init__(self, lang: Language = "en", *, as_json: bool = False) -> None:
        self.lang, self.as_json = lang, as_json
        for stream in (sys.stdout, sys.stderr):  # a Windows console or a pipe may not speak UTF-8
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")

    @cached_property
    def out(self) -> Console:
        """Standard output; made when something is printed, for a service prints nothing and saves the memory."""
        from rich.console import Console

        wide = None if sys.stdout.isatty() else 160  # a pipe has no width to keep to
        return Console(highlight=False, soft_wrap=True, markup=False, width=wide)

    @cached_property
    def err(self) -> Console:
        """Standard error."""
        from rich.console import Console

        return Console(highlight=False, soft_wrap=True, markup=False, stderr=True)

    def say(self, key: str, style: str | None = None, **values: object) -> None:
        """One line of the catalogue, for people; silent where a machine reads."""
        if not self.as_json:
            self.out.print(text(key, self.lang, **values), style=style)

    def warn(self, key: str, **values: object) -> None:
        """One line of the catalogue to standard error."""
        self.err.print(text(key, self.lang, **values), style="yellow")

    def line(self, line: str, style: str | None = None) -> None:
        """One line that is data rather than a sentence."""
        if not self.as_json:
            self.out.print(line, style=style)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
        """A table whose heads are catalogue keys; columns in `right` are numbers."""
        if self.as_json:
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="bold", pad_edge=False)
        for index, head in enumerate(heads):
            table.add_column(text(head, self.lang), justify="right" if index in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
        self.out.print(table, soft_wrap=False)

    def json(self, body: Any) -> None:
        """One JSON object on one line, only where a machine reads."""
        if self.as_json:
            print(json.dumps(body, ensure_ascii=False, default=str), flush=True)

    def refuse(self, error: ConfigError) -> None:
        """Every problem, file by file: place, what is wrong, what to do."""
        problems = list(dict.fromkeys(error.problems))
        if self.as_json:
            self.json({"error": "wrong-input", "problems": [problem_json(problem) for problem in problems]})
            return
        file = ""
        for problem in problems:
            if problem.file != file:
                file = problem.file
                self.err.print(file, style="bold")
            said, hint = problem_text(problem.problem, self.lang), problem_text(problem.hint, self.lang)
            place = problem_text(problem.place, self.lang)
            self.err.print(f"  {place}: {said}" if place else f"  {said}", style="red")
            if hint:
                self.err.print(f"      → {hint}")
        files = len({problem.file for problem in problems})
        self.err.print(text("problems", self.lang, count=len(problems), files=files))

    def unreachable(self, error: Unreachable) -> None:
        """What does not answer, why, and what to do."""
        if self.as_json:
            self.json({"error": "unreachable", "what": error.what, "reason": error.reason, "hint": error.hint})
            return
        said, hint = problem_text(error.reason, self.lang), problem_text(error.hint, self.lang)
        self.err.print(f"{error.what}: {said}", style="red")
        if hint:
            self.err.print(f"      → {hint}")


def problem_json(problem: Problem) -> dict[str, str]:
    """A problem as a machine reads it."""
    return {"file": problem.file, "place": problem.place, "problem": problem.problem, "hint": problem.hint}
