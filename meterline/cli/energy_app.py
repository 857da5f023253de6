"""The commands about energy: amounts, balance, and the way back from a number to the wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from meterline.cli.screen import Screen

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine; errors, too.")]
HeadendFile = Annotated[Path, typer.Option("--headend", help="The head-end file.")]


def add_energy_commands(app: typer.Typer, screen: Callable[[bool], Screen]) -> None:
    """Put the commands into the application."""

    @app.command()
    def trace(
        meter: Annotated[str, typer.Argument(help="The meter's id.")],
        time: Annotated[str, typer.Argument(help="A moment of the plant's local time: 2026-03-02T18:15.")],
        headend: HeadendFile = Path("headend.yaml"),
        measurand: Annotated[
            str | None, typer.Option("--measurand", help="What was measured. [default: the account's counter]")
        ] = None,
        resolution: Annotated[str, typer.Option("--resolution", help="15min, hour or day.")] = "15min",
        gateway_data: Annotated[
            Path | None,
            typer.Option("--gateway-data", help="The gateway's data folder: shows the frames, too, and checks them."),
        ] = None,
        json: Json = False,
    ) -> None:
        """Walk a number back: interval, readings, signed batch, ratio, profile, and the frames on the wire."""
        from meterline.cli.trace import trace as run_trace

        if resolution not in ("15min", "hour", "day"):
            raise typer.BadParameter("15min, hour or day", param_hint="--resolution")
        raise typer.Exit(run_trace(screen(json), meter, time, headend, measurand, resolution, gateway_data))  # type: ignore[arg-type]
