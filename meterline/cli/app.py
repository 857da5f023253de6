"""The commands and their options. Each imports what it needs when it runs; what a command does is in its own module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from meterline.cli.screen import Screen
from meterline.cli.texts import language, text
from meterline.errors import (
    EXIT_INTERRUPTED,
    EXIT_UNREACHABLE,
    EXIT_WRONG_INPUT,
    BusError,
    ConfigError,
    StoreUnavailable,
    Unreachable,
    UplinkDown,
)

app = typer.Typer(
    name="meterline",
    help="Energy metering from the meter's frames to a finding, a mail and an audited number.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine; errors, too.")]

_lang: str | None = None


def _version(wanted: bool) -> None:
    if wanted:
        from meterline.software import software_id

        print(software_id())
        raise typer.Exit


@app.callback()
def _options(
    lang: Annotated[
        str | None, typer.Option("--lang", help="Language of messages: en or zh (also METERLINE_LANG).")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version and software id.")
    ] = False,
) -> None:
    global _lang
    if lang not in (None, "", "en", "zh"):
        raise typer.BadParameter("en or zh", param_hint="--lang")
    _lang = lang or None


def screen(as_json: bool = False) -> Screen:
    """The screen of the running command."""
    return Screen(language(_lang), as_json=as_json)


@app.command()
def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="A folder, or site, gateway, head-end and profile files.")
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option("--profiles", help="Check every profile of this folder, too, and use them.")
    ] = None,
    json: Json = False,
) -> None:
    """Check site, gateway, head-end and profile files, and list everything that is wrong. Opens no line."""
    from meterline.cli.check import check as run_check

    run_check(screen(json), paths or [], profiles)


@app.command("export-points")
def export_points(
    out: Annotated[Path, typer.Argument(help="The .xlsx or .csv file to write.")],
    site: Annotated[
        Path | None, typer.Option("--site", help="Write this site's meters; without it, a template with examples.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    json: Json = False,
) -> None:
    """Write a list of meters (点表) to fill in, or the meters of a site."""
    from meterline.cli.points import export_points as run_export

    run_export(screen(json), out, site, overwrite=overwrite)


@app.command("import-points")
def import_points(
    file: Annotated[Path, typer.Argument(help="The filled .xlsx or .csv file.")],
    site: Annotated[Path, typer.Option("--site", help="The site file whose meters are added or changed.")] = Path(
        "site.yaml"
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    json: Json = False,
) -> None:
    """Add and change a site's meters from a list (点表): all rows, or none."""
    from meterline.cli.points import import_points as run_import

    run_import(screen(json), file, site, dry_run=dry_run)


def run() -> NoReturn:
    """Run the command line, turning refusals into messages and exit codes."""
    as_json = "--json" in sys.argv
    try:
        app()
    except ConfigError as error:
        screen(as_json).refuse(error)
        sys.exit(EXIT_WRONG_INPUT)
    except (Unreachable, BusError, UplinkDown, StoreUnavailable) as error:
        screen(as_json).unreachable(error if isinstance(error, Unreachable) else Unreachable("meterline", str(error)))
        sys.exit(EXIT_UNREACHABLE)
    except KeyboardInterrupt:
        print(text("interrupted", language(_lang)), file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)
