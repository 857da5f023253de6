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
    def energy(
        subjects: Annotated[
            list[str] | None,
            typer.Argument(help="Meters or energy users. [default: the whole plant, carrier by carrier]"),
        ] = None,
        dataset: Annotated[
            Path | None,
            typer.Option("--dataset", help="Instead of a plant: a folder with meters.csv and readings/METER.csv.gz."),
        ] = None,
        period: Annotated[str, typer.Option("--period", help="15min, hour, day, month or all.")] = "day",
        first: Annotated[
            str | None, typer.Option("--from", help="First day. [default: the first of the newest month]")
        ] = None,
        last: Annotated[str | None, typer.Option("--to", help="Last day. [default: the newest]")] = None,
        carrier: Annotated[str | None, typer.Option("--carrier", help="Only this: electricity, water, ...")] = None,
        out: Annotated[
            Path | None, typer.Option("--out", help="The .csv or .xlsx file to write or replace. [default: a table]")
        ] = None,
        headend: HeadendFile = Path("headend.yaml"),
        json: Json = False,
    ) -> None:
        """Amounts of meters and energy users, each with its uncertainty (k = 2) and what of it was measured."""
        if dataset is not None:
            from meterline.cli.energy import energy_of_dataset

            if period not in ("day", "month"):
                raise typer.BadParameter("day or month", param_hint="--period")
            energy_of_dataset(screen(json), dataset, period, out)
            return
        from meterline.cli.plant_energy import Wish, plant_energy

        if period not in ("15min", "hour", "day", "month", "all"):
            raise typer.BadParameter("15min, hour, day, month or all", param_hint="--period")
        plant_energy(screen(json), Wish(tuple(subjects or ()), headend, period, first, last, carrier, out))

    @app.command()
    def balance(
        period: Annotated[str, typer.Option("--period", help="day, month or all.")] = "day",
        first: Annotated[
            str | None, typer.Option("--from", help="First day. [default: the first of the newest month]")
        ] = None,
        last: Annotated[str | None, typer.Option("--to", help="Last day. [default: the newest]")] = None,
        headend: HeadendFile = Path("headend.yaml"),
        json: Json = False,
    ) -> None:
        """Does the metering tree close? Each meter that feeds others against their sum, with its uncertainty."""
        from meterline.cli.plant_energy import plant_balance

        if period not in ("day", "month", "all"):
            raise typer.BadParameter("day, month or all", param_hint="--period")
        raise typer.Exit(plant_balance(screen(json), headend, period, first, last))

    @app.command()
    def cost(
        subjects: Annotated[
            list[str] | None, typer.Argument(help="Meters or energy users. [default: the whole plant]")
        ] = None,
        tariff: Annotated[
            str, typer.Option("--tariff", help="A tariff file with your prices, or the name of a shipped one.")
        ] = "shandong-agency",
        power_factor: Annotated[
            float | None,
            typer.Option("--power-factor", help="Also adjust for the power factor: standard 0.90, 0.85 or 0.80."),
        ] = None,
        first: Annotated[
            str | None, typer.Option("--from", help="First day. [default: the first of the newest month]")
        ] = None,
        last: Annotated[str | None, typer.Option("--to", help="Last day. [default: the newest]")] = None,
        headend: HeadendFile = Path("headend.yaml"),
        json: Json = False,
    ) -> None:
        """Electricity by price band, what it costs, its largest quarter-hour and its power factor."""
        from meterline.cli.cost import cost as run_cost

        run_cost(screen(json), tuple(subjects or ()), tariff, power_factor, first, last, headend)

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
