"""Commands that prove and measure lines: added to the command line by `meterline.cli.app`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from meterline.cli.screen import Screen

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine; errors, too.")]


def add_line_commands(app: typer.Typer, bench: typer.Typer, screen: Callable[[bool], Screen]) -> None:
    """Add ``plan``, ``bench bus`` and ``bench poll``."""

    @app.command()
    def plan(
        path: Annotated[
            Path | None, typer.Argument(help="A gateway file, or a site file (usual rates). [default: gateway.yaml]")
        ] = None,
        dead: Annotated[int, typer.Option("--dead", min=0, help="Reckon with so many dead meters a line.")] = 1,
        turnaround: Annotated[
            float | None,
            typer.Option("--turnaround", min=0, max=5000, help="Time meters take to begin an answer, measured. [ms]"),
        ] = None,
        json: Json = False,
    ) -> None:
        """Prove that the lines can carry the wish: requests, wire time, dead meters, how busy. Opens no line."""
        from meterline.cli.plan import plan as run_plan

        raise typer.Exit(run_plan(screen(json), path, dead, turnaround))
