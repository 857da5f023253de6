"""The commands of proof: what is whole, what is missing, and how anybody can check it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from meterline.cli.screen import Screen

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine; errors, too.")]
HeadendFile = Annotated[Path, typer.Option("--headend", help="The head-end file.")]


def add_proof_commands(app: typer.Typer, screen: Callable[[bool], Screen]) -> None:
    """Put the commands into the application."""

    @app.command()
    def verify(
        path: Annotated[
            Path, typer.Argument(help="A gateway or head-end file or data folder, or an evidence file (.mlev).")
        ],
        key: Annotated[
            list[str] | None,
            typer.Option(
                "--key", help="Public key: GATEWAY=BASE64 or GATEWAY=FILE. [default: as found beside the data]"
            ),
        ] = None,
        witness: Annotated[
            Path | None,
            typer.Option("--witness", help="JSON of an earlier check, kept elsewhere: also compare with it."),
        ] = None,
        json: Json = False,
    ) -> None:
        """Prove a journal, a store or an evidence file, offline; each change, deletion, insertion, swap is located."""
        from meterline.cli.verify import verify as run_verify

        raise typer.Exit(run_verify(screen(json), path, key or [], witness))

    @app.command()
    def reconcile(
        file: Annotated[Path, typer.Argument(help="The head-end file.")] = Path("headend.yaml"),
        first: Annotated[str | None, typer.Option("--from", help="First day. [default: all days]")] = None,
        last: Annotated[str | None, typer.Option("--to", help="Last day. [default: the first, if given]")] = None,
        apply: Annotated[
            bool,
            typer.Option("--apply", help="Have the head-end make it good: ask the gateways, keep what was changed."),
        ] = False,
        json: Json = False,
    ) -> None:
        """Hold every hour the gateways stated against the store: what is gone or changed, and fetch it again."""
        from meterline.cli.reconcile import reconcile as run_reconcile

        raise typer.Exit(run_reconcile(screen(json), file, first, last, apply=apply))

    @app.command()
    def completeness(
        file: Annotated[Path, typer.Argument(help="The head-end file.")] = Path("headend.yaml"),
        day: Annotated[str | None, typer.Option("--day", help="A day, such as 2026-03-01. [default: today]")] = None,
        month: Annotated[str | None, typer.Option("--month", help="A month, such as 2026-03.")] = None,
        json: Json = False,
    ) -> None:
        """Say how much of what should have come has come, and what became of the rest; exit code 1 below 90 %."""
        from meterline.cli.completeness import completeness as run_completeness

        if day is not None and month is not None:
            raise typer.BadParameter("a day or a month", param_hint="--month")
        raise typer.Exit(run_completeness(screen(json), file, day, month))

    @app.command("export-evidence")
    def export_evidence(
        out: Annotated[Path, typer.Argument(help="The file to write, such as march.mlev.")],
        first: Annotated[str, typer.Option("--from", help="First day of the plant, such as 2026-03-01.")],
        last: Annotated[str | None, typer.Option("--to", help="Last day. [default: the first]")] = None,
        gateway: Annotated[
            list[str] | None, typer.Option("--gateway", help="Only this gateway; may be given again. [default: all]")
        ] = None,
        headend: HeadendFile = Path("headend.yaml"),
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
        json: Json = False,
    ) -> None:
        """Write the signed batches of some days into one file that anybody can check with 'meterline verify'."""
        from meterline.cli.verify import export_evidence as run_export

        run_export(screen(json), out, first, last or first, gateway or [], headend, overwrite=overwrite)
