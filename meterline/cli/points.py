"""``export-points`` and ``import-points``: a site's meters out to a spreadsheet and back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from meterline.cli.screen import Screen
from meterline.cli.sheets import EXAMPLES, read_sheet, write_csv, write_xlsx
from meterline.documents import parse_yaml
from meterline.errors import ConfigError, Problem
from meterline.paths import profiles_dir
from meterline.plant import Plant, load_plant
from meterline.points import plan_import, read_rows, row_of
from meterline.profiles import load_profiles
from meterline.site_text import replace_meters, write_in_place


def export_points(screen: Screen, out: Path, site: Path | None, *, overwrite: bool) -> None:
    """Write the meters of a site, or an empty template with examples.

    Raises
    ------
    ConfigError
        The site is wrong, or the file is there already.
    """
    if out.suffix.lower() not in (".xlsx", ".csv"):
        raise ConfigError([Problem(str(out), "", "must end in .xlsx or .csv", "name it points.xlsx")])
    plant = load_plant(site, profiles_dir()) if site else None
    if out.exists() and not overwrite:
        raise ConfigError([Problem(str(out), "", "is there already", "name another file, or add --overwrite")])
    rows = [row_of(meter) for meter in plant.site.meters] if plant else []
    try:
        if out.suffix.lower() == ".csv":
            write_csv(out, rows or EXAMPLES)
        else:
            write_xlsx(out, rows or EXAMPLES, _choices(plant, screen.lang))
    except OSError as error:
        reason = f"cannot be written: {error.strerror}"
        raise ConfigError([Problem(str(out), "", reason, "close it in the spreadsheet; check the folder")]) from error
    screen.json({"file": str(out), "meters": len(rows)})
    screen.say("points.exported" if rows else "points.template", file=out, meters=len(rows))


def _choices(plant: Plant | None, lang: str) -> dict[str, list[tuple[str, str]]]:
    profiles = plant.profiles if plant else load_profiles(profiles_dir())
    choices = {"profile": [(name, _title(page.title, lang)) for name, page in sorted(profiles.items())]}
    if plant:
        choices["bus"] = [(bus.id, bus.where) for bus in plant.site.buses]
        choices["energy_user"] = [(user.id, _title(user.name, lang)) for user in plant.site.energy_users]
    return choices


def _title(title: object, lang: str) -> str:
    return str(getattr(title, lang))


def import_points(screen: Screen, file: Path, site: Path, *, dry_run: bool) -> None:
    """Merge a sheet's meters into a site file: all of them, or none.

    Raises
    ------
    ConfigError
        With every wrong row; the site file is as it was.
    """
    problems: list[Problem] = []
    plant: Plant | None = None
    try:
        plant = load_plant(site, profiles_dir())
        text = site.read_bytes().decode("utf-8")
    except ConfigError as error:
        problems += error.problems
    try:
        name, rows = read_sheet(file)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    sheet, found = read_rows(name, rows)
    if plant is None:
        raise ConfigError([*problems, *found])
    raw = parse_yaml(text, str(site))[0].get("meters") or []
    plan = plan_import(sheet, found, plant, raw)
    backup: Path | None = None
    if plan.added or plan.changed:
        try:
            new = replace_meters(text, plan.meters, set(plan.changed))
        except ValueError as error:
            hint = "write its meters as a list, one '- ' each, or start from an exported site"
            raise ConfigError([Problem(str(site), "meters", str(error), hint)]) from error
        if not dry_run:
            try:
                backup = write_in_place(site, new, stamp=f"{dt.datetime.now().astimezone():%Y%m%d-%H%M%S}")
            except OSError as error:
                reason = f"cannot be written: {error.strerror}"
                raise ConfigError([Problem(str(site), "", reason, "check permissions and space")]) from error
    screen.json(
        {
            "site": str(site), "written": backup is not None, "backup": str(backup) if backup else None,
            "added": plan.added, "changed": plan.changed, "unchanged": len(plan.unchanged),
        }
    )  # fmt: skip
    for names, sign, style in ((plan.added, "+", "green"), (plan.changed, "~", "yellow")):
        for meter in names:
            screen.line(f"  {sign} {meter}", style)
    screen.say(
        "points.planned" if dry_run else "points.imported",
        added=len(plan.added), changed=len(plan.changed), unchanged=len(plan.unchanged),
    )  # fmt: skip
    if backup:
        screen.say("points.backup", backup=backup)
