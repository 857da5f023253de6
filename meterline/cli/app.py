"""The commands and their options. Each imports what it needs when it runs; what a command does is in its own module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from meterline.cli.energy_app import add_energy_commands
from meterline.cli.findings_app import add_findings_commands
from meterline.cli.line_app import add_line_commands
from meterline.cli.on_site_app import add_on_site_commands
from meterline.cli.proof_app import add_proof_commands
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


@app.command()
def read(
    meter: Annotated[str | None, typer.Argument(help="The meter's id in the site file.")] = None,
    site: Annotated[Path | None, typer.Option("--site", help="The site file. [default: site.yaml]")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Without a site file: the meter's profile,")] = None,
    address: Annotated[str, typer.Option("--address", help="its address on the line,")] = "1",
    tcp: Annotated[str | None, typer.Option("--tcp", help="and the line: Modbus TCP at host:port,")] = None,
    rtu_over_tcp: Annotated[
        str | None, typer.Option("--rtu-over-tcp", help="or serial frames over TCP (a serial server) at host:port,")
    ] = None,
    rfc2217: Annotated[
        str | None, typer.Option("--rfc2217", help="or a serial server that speaks RFC 2217 at host:port,")
    ] = None,
    listen: Annotated[
        int | None, typer.Option("--listen", min=1, max=65535, help="or a port a DTU dials in to,")
    ] = None,
    registration: Annotated[
        str | None, typer.Option("--registration", help="(what that DTU says first: text, or hex:01 02)")
    ] = None,
    serial: Annotated[str | None, typer.Option("--serial", help="or a serial port: /dev/ttyUSB0, COM3.")] = None,
    baud: Annotated[
        int | None, typer.Option("--baud", min=300, help="Line speed. [default: as the profile says]")
    ] = None,
    parity: Annotated[str | None, typer.Option("--parity", help="N, E or O. [default: as the profile says]")] = None,
    stop_bits: Annotated[int | None, typer.Option("--stop-bits", min=1, max=2, help="1 or 2.")] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0.01, max=60, help="Seconds for an answer.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Also print requests and answers as bytes.")] = False,
    json: Json = False,
) -> None:
    """Read one meter once: by its id in a site file, or by profile and line without one."""
    from meterline.cli.read import AdHoc
    from meterline.cli.read import read as run_read

    if (meter is None) == (profile is None):
        raise typer.BadParameter("give a meter's id, or --profile with a line", param_hint="METER")
    if parity not in (None, "N", "E", "O"):
        raise typer.BadParameter("N, E or O", param_hint="--parity")
    ad_hoc = None
    if profile is not None:
        bits: Literal[1, 2] | None = None if stop_bits is None else (2 if stop_bits == 2 else 1)
        ad_hoc = AdHoc(
            profile, tcp, rtu_over_tcp, serial, rfc2217, listen, registration, address, baud,
            parity, bits, timeout,  # type: ignore[arg-type]
        )  # fmt: skip
    run_read(screen(json), meter, site, ad_hoc, raw=raw)


@app.command()
def monitor(
    bus: Annotated[str, typer.Argument(help="The bus's id in the site file.")],
    site: Annotated[Path, typer.Option("--site", help="The site file.")] = Path("site.yaml"),
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="End after this time.")] = None,
    every: Annotated[float, typer.Option("--every", min=0.1, max=3600, help="Ask each meter this often. [s]")] = 1.0,
    json: Json = False,
) -> None:
    """Show every request and answer on a bus: bytes, time, meaning, checksum errors and time-outs per meter."""
    from meterline.cli.monitor import monitor as run_monitor

    run_monitor(screen(json), bus, site, seconds, every)


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


Clock = Annotated[str | None, typer.Option("--clock", hidden=True, help="Plant clock of a simulated site.")]


@app.command()
def simulate(
    site: Annotated[Path, typer.Argument(help="The site file; factory.yaml beside it says how the plant behaves.")],
    factor: Annotated[
        float, typer.Option("--factor", min=0.001, max=100_000, help="How much faster than real the plant's time runs.")
    ] = 1.0,
    state: Annotated[Path | None, typer.Option("--state", help="Folder in which the factory remembers.")] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="Drive the meters with this recording (CSV, also gzipped).")
    ] = None,
    clock: Clock = None,
) -> None:
    """Run a simulated factory: meters that answer real frames on the site's lines, with faults by timetable."""
    from meterline.cli.services import simulate as run_simulate

    raise typer.Exit(run_simulate(screen(), site, clock, factor, state, replay))


@app.command()
def gateway(
    file: Annotated[Path, typer.Argument(help="The gateway file.")] = Path("gateway.yaml"),
    show_key: Annotated[
        bool, typer.Option("--show-key", help="Print the public key the head-end's file needs, and end.")
    ] = False,
    last_good: Annotated[
        bool,
        typer.Option("--last-good", help="Where the files cannot be used or crash, run with those that last worked."),
    ] = False,
    clock: Clock = None,
    json: Json = False,
) -> None:
    """Run a gateway: poll the buses, keep everything in the journal, deliver it to the head-end."""
    from meterline.cli.services import gateway as run_gateway

    raise typer.Exit(run_gateway(screen(json), file, clock, show_key=show_key, last_good=last_good))


@app.command()
def headend(
    file: Annotated[Path, typer.Argument(help="The head-end file.")] = Path("headend.yaml"),
    clock: Clock = None,
) -> None:
    """Run the head-end: take batches in, store, count, find, alarm, and serve the page."""
    from meterline.cli.services import headend as run_headend

    raise typer.Exit(run_headend(file, clock))


@app.command()
def demo(
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=1, help="End by itself after this time. [default: at Ctrl-C]")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="Drive the meters with this recording (CSV, also gzipped).")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where everything is kept. [default: meterline-demo]")
    ] = None,
    factor: Annotated[
        float | None, typer.Option("--factor", min=1, max=5000, help="Plant time against real time. [default: 400]")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="The page's port.")] = None,
    broker: Annotated[
        str, typer.Option("--broker", help="mosquitto or iotcore. [default: mosquitto where it is]")
    ] = "",
) -> None:
    """Run the whole chain on this machine: simulated meters, gateway, broker, head-end, page, mails, planted faults."""
    from meterline.cli.demo import Wish
    from meterline.cli.demo import demo as run_demo

    if broker not in ("", "mosquitto", "iotcore"):
        raise typer.BadParameter("mosquitto or iotcore", param_hint="--broker")
    raise typer.Exit(run_demo(screen(), Wish(folder, seconds, replay, factor, port, broker)))


@app.command()
def status(
    file: Annotated[Path, typer.Argument(help="The head-end file.")] = Path("headend.yaml"),
    json: Json = False,
) -> None:
    """Say how gateways, store and meters are; reads beside a running head-end, or without one."""
    from meterline.cli.status import status as run_status

    run_status(screen(json), file)


@app.command()
def detect(
    folder: Annotated[Path, typer.Argument(help="A folder with meters.csv and readings/METER.csv.gz.")],
    out: Annotated[Path, typer.Option("--out", help="Where the findings go (CSV).")],
    points: Annotated[Path | None, typer.Option("--points", help="Also a score for every reading (CSV).")] = None,
    closed: Annotated[
        Path | None, typer.Option("--closed", help="Holidays and shutdowns, one date a line: not judged, not learnt.")
    ] = None,
    speed: Annotated[
        Literal["batch", "stream"],
        typer.Option("--speed", help="Days at once, or reading by reading: the findings are the same."),
    ] = "batch",
    sensitivity: Annotated[
        float, typer.Option("--sensitivity", min=0.1, max=10, help="Above 1 says more, below 1 says less.")
    ] = 1.0,
    json: Json = False,
) -> None:
    """Judge recorded readings: meter faults and unusual use of energy, one finding for one cause."""
    from meterline.cli.detect import detect as run_detect

    at_a_time = 1 if speed == "stream" else None
    run_detect(screen(json), folder, out, points, closed, polls_at_a_time=at_a_time, sensitivity=sensitivity)


bench_app = typer.Typer(help="Measure this software on this machine.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")


@bench_app.command("detect")
def bench_detect(
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="A labelled folder: meters.csv, readings/ and labels.csv.")
    ] = None,
    clean: Annotated[
        Path | None, typer.Option("--clean", help="A folder with sound series: what is found there is false.")
    ] = None,
    plants: Annotated[int, typer.Option("--plants", min=4, help="Generated plants of four meters each.")] = 360,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes at work.")] = 2,
    scale: Annotated[int, typer.Option("--scale", min=1, max=64, help="So many times more work.")] = 1,
    json: Json = False,
) -> None:
    """Score the detectors: found, missed, false, named, how soon, how fast."""
    from meterline.cli.bench_detect import bench_detect as run_bench

    run_bench(screen(json), dataset, clean, plants, workers, scale)


@bench_app.command("analytics")
def bench_analytics(
    labelled: Annotated[
        Path | None, typer.Option("--labelled", help="Also judge days: a labelled folder with truth_daily.csv.gz.")
    ] = None,
    meters: Annotated[int, typer.Option("--meters", min=1, help="Meters with a year of quarter-hours.")] = 500,
    scale: Annotated[int, typer.Option("--scale", min=1, max=64, help="So many times more work.")] = 1,
    json: Json = False,
) -> None:
    """Measure energy accounts: values a second, memory, and how true daily energies are."""
    from meterline.cli.bench_analytics import bench_analytics as run_bench

    run_bench(screen(json), labelled, meters, scale)


@bench_app.command("delivery")
def bench_delivery(
    replay: Annotated[
        list[Path] | None,
        typer.Option("--replay", help="Recordings (CSV, also in gzip) whose values are sent; repeat it."),
    ] = None,
    link: Annotated[float, typer.Option("--link", min=8, help="Speed of the slow line. [kbit/s]")] = 512,
    scale: Annotated[int, typer.Option("--scale", min=1, max=64, help="So many times more work; 16 is a month.")] = 1,
    json: Json = False,
) -> None:
    """Measure delivery: bytes a reading, wear of the disk, CPU, and how fast a month's backlog arrives."""
    from meterline.cli.bench_delivery import bench_delivery as run_bench

    run_bench(screen(json), replay or [], link, scale)


grafana_app = typer.Typer(help="Put the dashboards into a Grafana, and check them there.", no_args_is_help=True)
app.add_typer(grafana_app, name="grafana")

GrafanaUrl = Annotated[str, typer.Option("--url", help="Grafana's address, such as https://grafana.example:3000.")]
TokenFile = Annotated[Path, typer.Option("--token-file", help="File that holds a service account's token.")]


@grafana_app.command("sync")
def grafana_sync(
    url: GrafanaUrl,
    token_file: TokenFile,
    influx_url: Annotated[
        str | None, typer.Option("--influx-url", help="Also set the data source: InfluxDB as Grafana reaches it.")
    ] = None,
    database: Annotated[str, typer.Option("--database", help="Its database (or the mapped bucket).")] = "meterline",
    user: Annotated[str, typer.Option("--user", help="A user who may read it.")] = "",
    password_file: Annotated[Path | None, typer.Option("--password-file", help="File with that password.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Only show what differs; write nothing.")] = False,
    json: Json = False,
) -> None:
    """Create or update our folder, data source and dashboards; a second run finds nothing to do."""
    from meterline.cli.grafana import sync as run_sync

    run_sync(screen(json), url, token_file, influx_url, database, user, password_file, only_look=diff)


@grafana_app.command("check")
def grafana_check(
    url: GrafanaUrl,
    token_file: TokenFile,
    site: Annotated[str, typer.Option("--site", help="The site's id.")],
    meter: Annotated[str, typer.Option("--meter", help="A meter's id, also used as the incomer.")],
    hours: Annotated[float, typer.Option("--hours", min=0.1, help="How far back to look.")] = 24,
    json: Json = False,
) -> None:
    """Let Grafana run every query of every panel, and list those that bring nothing."""
    from meterline.cli.grafana import check as run_check

    raise typer.Exit(run_check(screen(json), url, token_file, site, meter, hours))


@grafana_app.command("remove")
def grafana_remove(url: GrafanaUrl, token_file: TokenFile, json: Json = False) -> None:
    """Take our folder with its dashboards, and our data source, away again."""
    from meterline.cli.grafana import remove as run_remove

    run_remove(screen(json), url, token_file)


add_line_commands(app, bench_app, screen)
add_on_site_commands(app, screen)
add_proof_commands(app, screen)
add_findings_commands(app, screen)
add_energy_commands(app, screen)


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
