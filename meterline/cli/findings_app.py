"""The commands ``meterline findings ...`` and their options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from meterline.cli.screen import Screen

HeadendFile = Annotated[Path, typer.Option("--headend", help="The head-end file.")]
Number = Annotated[int, typer.Argument(help="The finding's number, as the list gives it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine; errors, too.")]


def add_findings_commands(app: typer.Typer, screen: Callable[[bool], Screen]) -> None:
    """Put the commands into the application."""
    findings = typer.Typer(
        help="What was found: list, look at, explain, and say what became of it.", no_args_is_help=True
    )
    app.add_typer(findings, name="findings")

    @findings.command("list")
    def list_(
        file: HeadendFile = Path("headend.yaml"),
        meter: Annotated[str | None, typer.Option("--meter", help="Only findings that concern this meter.")] = None,
        everything: Annotated[bool, typer.Option("--all", help="Closed and shelved ones, too.")] = False,
        most: Annotated[int, typer.Option("--most", min=1, help="At most so many.")] = 50,
        json: Json = False,
    ) -> None:
        """Findings, the newest first."""
        from meterline.cli.findings import list_findings

        list_findings(screen(json), file, meter, everything=everything, most=most)

    @findings.command()
    def show(
        number: Number,
        file: HeadendFile = Path("headend.yaml"),
        png: Annotated[Path | None, typer.Option("--png", help="Also write the plot as a picture.")] = None,
        json: Json = False,
    ) -> None:
        """One finding, with a plot of what was seen and what was expected."""
        from meterline.cli.findings import show_finding

        show_finding(screen(json), file, number, png)

    @findings.command()
    def explain(number: Number, file: HeadendFile = Path("headend.yaml"), json: Json = False) -> None:
        """Why it was found, what it means, what to check first, and what happened since."""
        from meterline.cli.findings import explain_finding

        explain_finding(screen(json), file, number)

    @findings.command()
    def feedback(
        number: Number,
        verdict: Annotated[
            Literal["confirmed", "false", "known"],
            typer.Argument(help="It was right; there was nothing; it is so and stays so."),
        ],
        why: Annotated[str, typer.Option("--why", help="The reason, for whoever asks later.")],
        who: Annotated[str, typer.Option("--who", help="Your name.")],
        file: HeadendFile = Path("headend.yaml"),
        json: Json = False,
    ) -> None:
        """Say what became of it; repeats of what is false or known are kept, but not told again."""
        from meterline.cli.findings import give_feedback

        give_feedback(screen(json), file, number, verdict, why, who)
