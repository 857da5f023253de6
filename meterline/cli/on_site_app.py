"""Commands for the person beside the cabinet: added to the command line by `meterline.cli.app`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from meterline.cli.screen import Screen

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine; errors, too.")]
SiteFile = Annotated[Path | None, typer.Option("--site", help="The site file. [default: site.yaml]")]
LINE_HELP = (
    "A bus of the site file, /dev/ttyUSB0, COM3, modbus-tcp://HOST:502, rtu-over-tcp://HOST:PORT, rfc2217://HOST:PORT, "
    "or HOST:PORT."
)


def add_on_site_commands(app: typer.Typer, screen: Callable[[bool], Screen]) -> None:
    """Add ``scan``, ``probe``, ``commission`` and ``schema``."""

    @app.command()
    def scan(
        line: Annotated[
            str,
            typer.Argument(metavar="BUS-OR-LINE", help=LINE_HELP),
        ],
        site: SiteFile = None,
        baud: Annotated[int | None, typer.Option("--baud", min=300, help="Only this speed.")] = None,
        parity: Annotated[str | None, typer.Option("--parity", help="Only this parity: N, E or O.")] = None,
        protocol: Annotated[str | None, typer.Option("--protocol", help="Only modbus, dlt645, cjt188 or mbus.")] = None,
        addresses: Annotated[
            str | None, typer.Option("--addresses", help="Only these Modbus addresses: 1-40,126.")
        ] = None,
        timeout: Annotated[
            float | None,
            typer.Option("--timeout", min=0.01, max=60, help="Seconds for an answer. [default: 0.2; TCP 0.5]"),
        ] = None,
        profiles: Annotated[
            Path | None, typer.Option("--profiles", help="Also recognise meters by this folder.")
        ] = None,
        thorough: Annotated[
            bool, typer.Option("--thorough", help="Ask silent addresses for every cell known types have (slow).")
        ] = False,
        anyway: Annotated[bool, typer.Option("--anyway", help="Go on although another master talks.")] = False,
        why: Annotated[bool, typer.Option("--why", help="Also say what speaks for and against each profile.")] = False,
        yaml: Annotated[bool, typer.Option("--yaml", help="Print lines for the site file instead of a table.")] = False,
        json: Json = False,
    ) -> None:
        """Find who is on a line: addresses, protocol, speed, parity, and which profile fits. Never writes."""
        from meterline.cli.scan import Wish
        from meterline.cli.scan import scan as run_scan

        if parity not in (None, "N", "E", "O"):
            raise typer.BadParameter("N, E or O", param_hint="--parity")
        wish = Wish(site, baud, parity, protocol, addresses, timeout, profiles, anyway, thorough, why, yaml)  # type: ignore[arg-type]
        raise typer.Exit(run_scan(screen(json), line, wish))

    @app.command()
    def probe(
        meter: Annotated[
            str, typer.Argument(metavar="METER-OR-LINE", help="A meter's id in the site file, or a line and --unit.")
        ],
        address: Annotated[
            str, typer.Argument(help="Modbus: 0x0061 or 97, as on the wire, from 0. DL/T 645: an identifier, 02010100.")
        ],
        site: SiteFile = None,
        unit: Annotated[
            str | None,
            typer.Option("--unit", help="On a line: the meter's address (12 digits: DL/T 645). [default: 1]"),
        ] = None,
        table: Annotated[
            str | None, typer.Option("--table", help="holding or input. [default: holding, then input]")
        ] = None,
        words: Annotated[int, typer.Option("--words", min=1, max=4, help="How many words to read.")] = 4,
        shows: Annotated[str | None, typer.Option("--shows", help="What the display shows, without the unit.")] = None,
        as_: Annotated[str, typer.Option("--as", help="What it should be: voltage.l1n, energy.active.import ...")] = "",
        baud: Annotated[int | None, typer.Option("--baud", min=300, help="Line speed.")] = None,
        parity: Annotated[str | None, typer.Option("--parity", help="N, E or O.")] = None,
        timeout: Annotated[
            float | None, typer.Option("--timeout", min=0.01, max=60, help="Seconds for an answer.")
        ] = None,
        json: Json = False,
    ) -> None:
        """Show one place of a meter in every type and byte order, the likely ones marked."""
        from meterline.cli.probe import Place
        from meterline.cli.probe import probe as run_probe
        from meterline.profiles import Table

        if table not in (None, "holding", "input"):
            raise typer.BadParameter("holding or input", param_hint="--table")
        if parity not in (None, "N", "E", "O"):
            raise typer.BadParameter("N, E or O", param_hint="--parity")
        place = Place(address, Table(table) if table else None, words, unit, as_, shows)
        given: dict[str, Any] = {"baud": baud, "parity": parity, "timeout_s": timeout}
        settings = {key: value for key, value in given.items() if value is not None}
        run_probe(screen(json), meter, place, site, settings)

    @app.command()
    def commission(
        meter: Annotated[str, typer.Argument(help="The meter's id in the site file.")],
        site: Annotated[Path, typer.Option("--site", help="The site file.")] = Path("site.yaml"),
        seconds: Annotated[
            float, typer.Option("--seconds", min=1, max=7200, help="Watch counter and power for so long.")
        ] = 60.0,
        display: Annotated[
            list[str] | None,
            typer.Option("--display", help="What the display shows: kWh=1234.5, or voltage.l1n=230. Repeat it."),
        ] = None,
        ct: Annotated[str, typer.Option("--ct", help="Ratio on the current transformers' plate: 200/5.")] = "",
        vt: Annotated[str, typer.Option("--vt", help="Ratio on the voltage transformers' plate: 10000/100.")] = "",
        clamp: Annotated[str, typer.Option("--clamp", help="Currents of L1,L2,L3 by a clamp. [A]")] = "",
        number: Annotated[str, typer.Option("--number", help="The meter's number on its plate.")] = "",
        by: Annotated[str, typer.Option("--by", help="Who checks.")] = "",
        ask: Annotated[
            bool | None, typer.Option("--ask/--no-ask", help="Ask for what was not given. [default: on a terminal]")
        ] = None,
        save: Annotated[bool, typer.Option("--save/--no-save", help="Keep the record beside the site file.")] = True,
        json: Json = False,
    ) -> None:
        """Check a meter on site: wiring, ratio, counter, clock, display; keeps a dated record beside the site file."""
        from meterline.cli.commission import Wish
        from meterline.cli.commission import commission as run_commission

        wish = Wish(seconds, display or (), ct, vt, clamp, number, by, ask, save)
        raise typer.Exit(run_commission(screen(json), meter, site, wish))

    @app.command()
    def schema(
        kind: Annotated[str, typer.Argument(help="profile or site.")],
        out: Annotated[Path | None, typer.Option("--out", help="The file to write. [default: the screen]")] = None,
        json: Json = False,
    ) -> None:
        """Print the JSON Schema by which an editor completes profiles and site files."""
        from meterline.cli.schema import schema as run_schema

        run_schema(screen(json), kind, out)
