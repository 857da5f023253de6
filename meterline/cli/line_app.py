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

    @bench.command("bus")
    def bench_bus(
        meters: Annotated[
            int, typer.Option("--meters", min=2, max=247, help="Modbus meters; of DL/T 645 a quarter.")
        ] = 32,
        seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long each line is driven.")] = 10.0,
        scale: Annotated[int, typer.Option("--scale", min=1, max=64, help="So many times longer.")] = 1,
        json: Json = False,
    ) -> None:
        """A round of serial meters against the best cycle of a line timed byte by byte; requests saved by planning."""
        from meterline.cli.bench_bus import bench_bus as run_bench

        run_bench(screen(json), meters, seconds, scale)

    @bench.command("poll")
    def bench_poll(
        meters: Annotated[int, typer.Option("--meters", min=2, max=2000, help="Modbus/TCP meters of 30 points.")] = 500,
        seconds: Annotated[float, typer.Option("--seconds", min=2, help="How long each run measures.")] = 10.0,
        scale: Annotated[int, typer.Option("--scale", min=1, max=16, help="So many times more meters.")] = 1,
        json: Json = False,
    ) -> None:
        """What polling costs: processor, memory, jitter; beside a plain pymodbus loop that reads the same blocks."""
        from meterline.cli.bench_poll import bench_poll as run_bench

        run_bench(screen(json), meters, seconds, scale)
