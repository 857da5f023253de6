"""A 点表: the meters of a site as rows of a sheet, which is how plants and contractors hand them over.

A row is a meter; what its points are, its profile says. Each wrong cell is named by row and column. Rows are merged
into the meters a site has: a known id is changed, an unknown one added, an empty cell keeps what is there, nothing is
removed.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meterline.documents import Lines, validate
from meterline.errors import ConfigError, Problem
from meterline.plant import Plant
from meterline.point_columns import (
    HEAD,
    HEADS,
    KNOWN_HEADINGS,
    NUMBERS,
    Cell,
    Row,
    find_heads,
    letters,
    plain_heading,
    read_cell,
)
from meterline.site import Meter, Site, parse_ratio
from meterline.site_rules import site_problems

MAX_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class PointRow:
    """What one line says about one meter.

    Attributes
    ----------
    given
        Key -> content, for the cells that hold something.
    usable
        False if one of its cells was refused; the row then only says that this meter stands in the sheet.
    """

    number: int
    given: Mapping[str, Any]
    usable: bool = True


@dataclass(slots=True)
class Sheet:
    """A sheet with its headings found.

    Attributes
    ----------
    columns
        Key -> (index, heading as written).
    """

    file: str
    columns: dict[str, tuple[int, str]]
    rows: list[PointRow] = field(default_factory=list)

    def place(self, number: int, key: str) -> str:
        """``row 12, column F (address)``, as the spreadsheet counts."""
        if key not in self.columns:
            return f"row {number}, column {HEAD[key].en} / {HEAD[key].zh}"
        index, heading = self.columns[key]
        return f"row {number}, column {letters(index)} ({heading})"


@dataclass(frozen=True, slots=True)
class Import:
    """What an import would do: all meters of the site after it, and which are touched."""

    meters: tuple[dict[str, Any], ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


def read_rows(file: str, rows: Sequence[Row]) -> tuple[Sheet, list[Problem]]:
    """Find the headings and turn every cell into what its column means.

    Returns
    -------
    tuple
        The sheet with its usable rows, and a problem for every cell that is not usable.
    """
    at, columns = find_heads(rows)
    sheet = Sheet(file, columns)
    if at < 0:
        wanted = ", ".join(f"{head.en} / {head.zh}" for head in HEADS if head.needed)
        return sheet, [Problem(file, "", "no row of headings found", f"the columns needed are: {wanted}")]
    problems = list(_heading_problems(sheet, rows[at]))
    if len(rows) - at > MAX_ROWS:
        problems.append(Problem(file, "", f"more than {MAX_ROWS} rows", "split the file"))
        return sheet, problems
    first: dict[str, int] = {}
    for row in rows[at + 1 :]:
        given: dict[str, Any] = {}
        wrong = False
        if str(_cell(row, columns.get("id"))).lstrip().startswith("#"):
            continue  # a remark, or an example of the template
        for key, (index, _) in columns.items():
            cell = row.cells[index] if index < len(row.cells) else None
            try:
                value = read_cell(key, cell)
            except ValueError as error:
                problem, _, hint = str(error).partition("; ")
                problems.append(Problem(file, sheet.place(row.number, key), problem, hint))
                wrong = True
                continue
            if value is not None:
                given[key] = value
        if not given and not wrong:
            continue
        if "id" not in given:
            if not wrong:
                problems.append(
                    Problem(file, sheet.place(row.number, "id"), "the cell is empty", "every meter needs an id")
                )
            continue
        if given["id"] in first:
            problems.append(
                Problem(
                    file, sheet.place(row.number, "id"),
                    f"{given['id']!r} also stands in row {first[given['id']]}", "keep one row for each meter",
                )
            )  # fmt: skip
            continue
        first[given["id"]] = row.number
        sheet.rows.append(PointRow(row.number, given, usable=not wrong))
    return sheet, problems


def _cell(row: Row, column: tuple[int, str] | None) -> Cell:
    return row.cells[column[0]] if column and column[0] < len(row.cells) else None


def _heading_problems(sheet: Sheet, row: Row) -> Iterable[Problem]:
    taken = {index for index, _ in sheet.columns.values()}
    for index, cell in enumerate(row.cells):
        if index in taken or not str(cell or "").strip():
            continue
        place = f"row {row.number}, column {letters(index)}"
        if plain_heading(cell) in KNOWN_HEADINGS:
            yield Problem(sheet.file, place, f"the heading {cell!r} stands twice", "remove one of the columns")
            continue
        close = difflib.get_close_matches(plain_heading(cell), KNOWN_HEADINGS, n=1, cutoff=0.7)
        hint = (
            f"did you mean {HEAD[KNOWN_HEADINGS[close[0]]].en!r}?"
            if close
            else "remove the column, or see the template"
        )
        yield Problem(sheet.file, place, f"unknown heading {cell!r}", hint)
    if "id" not in sheet.columns:
        yield Problem(
            sheet.file, f"row {row.number}", "there is no column for the meter's id", "add a column: id / 编号"
        )


# --- merging into a site ------------------------------------------------------------------------------------------


def plan_import(sheet: Sheet, problems: Sequence[Problem], plant: Plant, raw: Sequence[Mapping[str, Any]]) -> Import:
    """Merge the rows into the site's meters, and check the whole.

    Parameters
    ----------
    problems
        What `read_rows` found.
    plant
        The site as it is, checked.
    raw
        Its meters as plain data, in the file's order.

    Raises
    ------
    ConfigError
        With every wrong row; nothing may be imported then.
    """
    found = list(problems)
    old = {str(meter["id"]): dict(meter) for meter in raw}
    new = {name: dict(meter) for name, meter in old.items()}
    resolve = _resolver(plant, sheet)
    numbers: dict[str, int] = {}
    for row in sheet.rows:
        name = row.given["id"]
        numbers[name] = row.number
        if not row.usable:
            continue
        try:
            merged = _merge(row.given, old.get(name), resolve)
            validate(_plain_data(merged), Meter, sheet.file)
        except _Wrong as wrong:
            found += [Problem(sheet.file, sheet.place(row.number, key), p, hint) for key, p, hint in wrong.cells]
        except ConfigError as error:
            found += [_on_row(problem, sheet, row) for problem in error.problems]
        else:
            new[name] = merged
    found += _whole_problems(sheet, plant, list(new.values()), numbers)
    if not sheet.rows and not found:
        found.append(Problem(sheet.file, "", "there is no meter in it", "one row for each meter below the headings"))
    if found:
        raise ConfigError(found)
    touched = [name for name in numbers if new[name] != old.get(name)]
    return Import(
        meters=tuple(new.values()),
        added=tuple(name for name in touched if name not in old),
        changed=tuple(name for name in touched if name in old),
        unchanged=tuple(name for name in numbers if name not in touched),
    )


class _Wrong(Exception):
    """Cells of one row that cannot be used: (column, problem, hint)."""

    def __init__(self, cells: list[tuple[str, str, str]]) -> None:
        self.cells = cells


Resolve = Callable[[str, str], str]


def _resolver(plant: Plant, sheet: Sheet) -> Resolve:
    """Ids by id or by name: a contractor's list says "一车间", the site file "hall-1"."""
    meters: dict[str, set[str]] = {}
    users: dict[str, set[str]] = {}
    for user in plant.site.energy_users:
        for word in (user.id, user.name.en, user.name.zh):
            users.setdefault(word, set()).add(user.id)
    for meter in plant.site.meters:
        for word in (meter.id, meter.name.en, meter.name.zh):
            meters.setdefault(word, set()).add(meter.id)
    for row in sheet.rows:
        for key in {"id", "name_en", "name_zh"} & set(row.given):
            meters.setdefault(row.given[key], set()).add(row.given["id"])
    known: dict[str, dict[str, set[str]]] = {
        "energy_user": users,
        "fed_by": meters,
        "bus": {name: {name} for name in plant.buses},
        "profile": {name: {name} for name in plant.profiles},
    }

    def resolve(key: str, word: str) -> str:
        ids = known[key].get(word, set())
        if word in ids:
            return word
        if len(ids) == 1:
            return next(iter(ids))
        what = "meter" if key == "fed_by" else key.replace("_", " ")
        if ids:
            raise ValueError(f"{word!r} is the name of {', '.join(sorted(ids))}; write the id")
        close = difflib.get_close_matches(word, known[key], n=1, cutoff=0.5)
        names = sorted({name for names in known[key].values() for name in names})
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names[:12]) or 'none'}"
        raise ValueError(f"no {what} {word!r}; {hint}")

    return resolve


def _merge(given: Mapping[str, Any], old: Mapping[str, Any] | None, resolve: Resolve) -> dict[str, Any]:
    meter: dict[str, Any] = dict(old) if old else {"id": given["id"]}
    wrong: list[tuple[str, str, str]] = []
    if old is None:
        wrong += [
            (head.key, "the cell is empty", "a new meter needs it")
            for head in HEADS
            if head.needed and head.key not in given
        ]
        if "name_en" not in given and "name_zh" not in given:
            wrong.append(("name_zh", "the cell is empty", "a new meter needs a name"))
    name = dict(meter.get("name", {}))
    name |= {lang: given[f"name_{lang}"] for lang in ("en", "zh") if f"name_{lang}" in given}
    if name:
        meter["name"] = {"en": name.get("en", name.get("zh")), "zh": name.get("zh", name.get("en"))}
    for key in ("energy_user", "profile", "bus", "address", "fed_by", *NUMBERS):
        if key not in given:
            continue
        try:
            value = resolve(key, given[key]) if key in ("energy_user", "profile", "bus", "fed_by") else given[key]
        except ValueError as error:
            problem, _, hint = str(error).partition("; ")
            wrong.append((key, problem, hint))
            continue
        if not (key == "nominal_v" and key not in meter and value == Meter.model_fields["nominal_v"].default):
            meter[key] = value
    try:
        ratios = _ratios(given, meter.get("ratios", ()))
        if ratios:
            meter["ratios"] = ratios
    except _Wrong as error:
        wrong += error.cells
    for key in ("serial", "accuracy_class"):
        if key in given:
            meter[key] = given[key]
    certificate = dict(meter.get("certificate", {}))
    for key, column in (("number", "certificate"), ("verified_on", "verified_on"), ("valid_until", "valid_until")):
        if column in given:
            certificate[key] = given[column]
    if certificate:
        meter["certificate"] = certificate
    if wrong:
        raise _Wrong(wrong)
    return meter


def _ratios(given: Mapping[str, Any], old: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The dated ratios with the row's one among them; a ratio that was wrong is not corrected by a sheet."""
    ratios = [dict(ratio) for ratio in old]
    if not {"ct", "vt", "ratio_from"} & set(given):
        return ratios
    latest = max(ratios, key=lambda ratio: str(ratio["valid_from"]), default=None)
    new: dict[str, str] = {}
    wrong: list[tuple[str, str, str]] = []
    for key in ("ct", "vt"):
        text = given.get(key, (latest or {}).get(key, "1"))
        try:
            parse_ratio(text)
        except ValueError as error:
            problem, _, hint = str(error).partition("; ")
            wrong.append((key, problem, hint))
        new[key] = text
    if wrong:
        raise _Wrong(wrong)
    day = given.get("ratio_from")
    if day is None:
        if _same(new, latest or {}):
            return ratios
        raise _Wrong(
            [("ratio_from", "a ratio needs the date from which it is valid", "the day the transformers were put in")]
        )
    for ratio in ratios:
        if str(ratio["valid_from"]) == day.isoformat():
            if _same(new, ratio):
                return ratios
            text = f"CT {ratio.get('ct', '1')}, VT {ratio.get('vt', '1')}"
            raise _Wrong([("ct", f"from {day} on the site already has {text}",
                           "a wrong ratio is corrected in the site file: correction: true, by, reason")])  # fmt: skip
    if not {"ct", "vt"} & set(given) and latest is None:
        raise _Wrong([("ct", "a date without a ratio", "fill in the ratio, or empty the date")])
    if _same(new, latest or {}):
        return ratios
    entry = {"valid_from": day} | {key: text for key, text in new.items() if parse_ratio(text) != 1}
    return sorted([*ratios, entry], key=lambda ratio: str(ratio["valid_from"]))


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(parse_ratio(str(one.get(key, "1"))) == parse_ratio(str(other.get(key, "1"))) for key in ("ct", "vt"))


def _plain_data(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain_data(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_data(inner) for inner in value]
    return value.isoformat() if isinstance(value, dt.date) else value


_COLUMN_OF = {"name": "name_zh", "name.en": "name_en", "ratios": "ct", "certificate": "certificate"}


def _column_of(path: str) -> str:
    plain = re.sub(r"\[\d+\]", "", path.split(" (")[0])
    for key in (plain, plain.rsplit(".", 1)[-1], plain.split(".")[0]):
        key = _COLUMN_OF.get(key, key)
        if key == "valid_from":
            return "ratio_from"
        if key in HEAD:
            return key
    return "id"


def _on_row(problem: Problem, sheet: Sheet, row: PointRow) -> Problem:
    key = _column_of(problem.place)
    hint = problem.hint
    if key == "id" and "may not be used" in problem.problem:
        name = re.sub(r"[^a-z0-9_-]+", "-", str(row.given["id"]).lower()).strip("-_")[:32]
        hint = "use small letters, digits, - and _ (at most 32)" + (f", for example {name!r}" if name else "")
    return Problem(sheet.file, sheet.place(row.number, key), problem.problem, hint)


def _whole_problems(
    sheet: Sheet, plant: Plant, meters: list[dict[str, Any]], numbers: Mapping[str, int]
) -> Iterable[Problem]:
    """What only all meters together show, named by row where a row brought it."""
    data = plant.site.model_dump(mode="json", by_alias=True) | {"meters": _plain_data(meters)}
    site = validate(data, Site, sheet.file)
    failed = set(numbers) - {str(meter["id"]) for meter in meters}
    for problem in site_problems(site, plant.profiles, sheet.file, Lines()):
        found = re.match(r"meters\[(\d+)\]\.?(.*)", problem.place)
        if any(repr(name) in problem.problem for name in failed):
            continue  # its own row says why it is not there
        name = str(meters[int(found[1])]["id"]) if found else ""
        if name in numbers and found:
            place = sheet.place(numbers[name], _column_of(found[2]))
        else:
            place = f"meter {name}" if name else problem.place
        yield Problem(sheet.file, place, problem.problem, problem.hint)


# --- the other way -------------------------------------------------------------------------------------------------


def row_of(meter: Meter) -> dict[str, Cell]:
    """A meter as the cells of its row; of several dated ratios the latest."""
    ratio = max(meter.ratios, key=lambda r: r.valid_from, default=None)
    return {
        "id": meter.id,
        "name_zh": meter.name.zh,
        "name_en": meter.name.en,
        "energy_user": meter.energy_user,
        "profile": meter.profile,
        "bus": meter.bus,
        "address": meter.address,
        "fed_by": meter.fed_by,
        "rated": meter.rated,
        "nominal_v": meter.nominal_v,
        "idle": meter.idle,
        "ct": ratio.ct if ratio else None,
        "vt": ratio.vt if ratio else None,
        "ratio_from": ratio.valid_from if ratio else None,
        "serial": meter.serial or None,
        "accuracy_class": meter.accuracy_class or None,
        "certificate": meter.certificate.number or None,
        "verified_on": meter.certificate.verified_on,
        "valid_until": meter.certificate.valid_until,
    }
