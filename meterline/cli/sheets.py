"""Spreadsheets as rows of cells: .xlsx by openpyxl, .csv in the encodings Excel writes here."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterline.errors import ConfigError, Problem
from meterline.point_columns import HEADS, NUMBERS, Cell, Row, find_heads, letters
from meterline.points import MAX_ROWS

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

MAX_BYTES = 20_000_000
MAX_UNPACKED = 200_000_000
"""A workbook that unpacks to more is no list of meters. [bytes]"""


def read_sheet(path: Path) -> tuple[str, list[Row]]:
    """The rows of the sheet that holds the headings.

    Returns
    -------
    tuple
        How the sheet is called in messages, and its rows.

    Raises
    ------
    ConfigError
        Not readable as a spreadsheet, or with merged cells in the way.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError([Problem(str(path), "", f"larger than {MAX_BYTES // 1_000_000} MB", "split the file")])
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError([Problem(str(path), "", "there is no such file", "check the path")]) from error
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(str(path), "", reason, "close it in the spreadsheet; check permissions")]) from error
    if not content.strip():
        raise ConfigError([Problem(str(path), "", "the file is empty", "meterline export-points writes a template")])
    if content[:4] == b"PK\x03\x04":
        return _read_xlsx(path, content)
    if content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise ConfigError([Problem(str(path), "", "is an old .xls workbook", "save it as .xlsx or .csv")])
    return str(path), _read_csv(path, content)


def _read_csv(path: Path, content: bytes) -> list[Row]:
    for encoding in ("utf-16", "utf-8-sig", "gb18030"):
        if encoding == "utf-16" and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            continue
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise ConfigError(
            [Problem(str(path), "", "is neither UTF-8 nor GB18030 text", "save it as 'CSV UTF-8', or as .xlsx")]
        )
    if "\0" in text:
        raise ConfigError([Problem(str(path), "", "is no spreadsheet", "give an .xlsx or .csv file")])
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows: list[Row] = []
        for cells in reader:  # a quoted cell may run over lines; a spreadsheet counts rows
            rows.append(Row(len(rows) + 1, tuple(cells)))
            if len(rows) > MAX_ROWS + 100:
                break
    except csv.Error as error:
        raise ConfigError(
            [Problem(str(path), f"row {len(rows) + 1}", f"not valid CSV: {error}", "check the quotes in this row")]
        ) from error
    return rows


def _read_xlsx(path: Path, content: bytes) -> tuple[str, list[Row]]:
    openpyxl = _openpyxl(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_UNPACKED:
                raise ConfigError(
                    [Problem(str(path), "", "unpacks to more than 200 MB", "keep only the list of meters")]
                )
        values = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
        formulas = openpyxl.load_workbook(io.BytesIO(content))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, SyntaxError) as error:
        raise ConfigError(
            [
                Problem(
                    str(path), "", f"cannot be read as a workbook: {error}", "open it in a spreadsheet and save it anew"
                )
            ]
        ) from error
    best: tuple[int, str, list[Row]] = (0, "", [])
    for sheet in values.worksheets:
        rows = _rows(sheet, formulas[sheet.title])
        _, columns = find_heads(rows)
        if len(columns) > best[0]:
            best = (len(columns), sheet.title, rows)
    if not best[0]:
        names = ", ".join(sheet.title for sheet in values.worksheets)
        raise ConfigError(
            [
                Problem(
                    str(path),
                    f"sheets {names}",
                    "no row of headings found",
                    "meterline export-points writes a template",
                )
            ]
        )
    name = f"{path} [{best[1]}]"
    merged = list(_merged(name, values[best[1]], best[2]))
    if merged:
        raise ConfigError(merged)
    return name, best[2]


def _rows(values: Worksheet, formulas: Worksheet) -> list[Row]:
    rows: list[Row] = []
    both = zip(values.iter_rows(values_only=True), formulas.iter_rows(values_only=True), strict=False)
    for number, (shown, written) in enumerate(both, start=1):
        cells: list[Cell] = []
        for value, formula in zip(shown, written, strict=False):
            # A workbook made by a program has formulas that nobody has calculated yet.
            if value is None and isinstance(formula, str) and formula.startswith("="):
                cells.append(formula)
            else:
                cells.append(_cell(value))
        rows.append(Row(number, tuple(cells)))
        if number > MAX_ROWS + 100:
            break
    return rows


def _cell(value: Any) -> Cell:
    return (
        value if value is None or isinstance(value, str | int | float | bool) or hasattr(value, "year") else str(value)
    )


def _merged(name: str, sheet: Worksheet, rows: Sequence[Row]) -> Iterable[Problem]:
    at, columns = find_heads(rows)
    used = dict(columns.values())
    for span in sheet.merged_cells.ranges:
        if span.max_row <= at + 1:
            continue  # a title above the headings
        inside = [used[index] for index in range(span.min_col - 1, span.max_col) if index in used]
        if inside:
            place = f"row {span.min_row}, column {letters(span.min_col - 1)} ({inside[0]})"
            yield Problem(
                name, place, f"cells {span.coord} are merged: only the first of them holds a value",
                "unmerge them and fill every row",
            )  # fmt: skip


def _openpyxl(path: Path) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise ConfigError(
            [Problem(str(path), "", "this installation cannot read .xlsx (openpyxl is missing)", "save it as .csv")]
        ) from error
    return openpyxl


# --- writing -------------------------------------------------------------------------------------------------------

EXAMPLES: tuple[Mapping[str, Cell], ...] = (
    {
        "id": "#m-main", "name_zh": "总表", "name_en": "Main meter", "energy_user": "plant",
        "profile": "eastron-sdm630", "bus": "hall-1", "address": "1", "rated": 630, "nominal_v": 230,
        "ct": "200/5", "ratio_from": "2026-01-31", "serial": "20260001", "accuracy_class": "0.5S",
        "certificate": "JD-2026-001", "verified_on": "2026-01-31", "valid_until": "2029-01-30",
    },
    {
        "id": "#m-press-1", "name_zh": "一号冲床", "name_en": "Press 1", "energy_user": "hall-1",
        "profile": "eastron-sdm630", "bus": "hall-1", "address": "2", "fed_by": "m-main", "rated": 90,
    },
)  # fmt: skip
"""Rows whose id begins with # are remarks to the import."""


def heading(key: str) -> str:
    """How a template writes a heading: both languages in one cell."""
    head = next(head for head in HEADS if head.key == key)
    return f"{head.en} {head.zh}" + ("*" if head.needed else "")


def write_csv(path: Path, rows: Sequence[Mapping[str, Cell]]) -> None:
    """A CSV file that Excel opens with the right characters (UTF-8 with its mark)."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([heading(head.key) for head in HEADS])
        for row in rows:
            writer.writerow(["" if row.get(head.key) is None else row[head.key] for head in HEADS])


def write_xlsx(
    path: Path, rows: Sequence[Mapping[str, Cell]], choices: Mapping[str, Sequence[tuple[str, str]]]
) -> None:
    """A workbook with headings in both languages, a page of instructions, and lists to choose from.

    Parameters
    ----------
    choices
        Column key -> (id, what it is) that the column's drop-down offers.
    """
    openpyxl = _openpyxl(path)
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    book: Workbook = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "meters 仪表"
    _lists(book, choices)
    bold, fill = Font(bold=True), PatternFill("solid", fgColor="DCE6F1")
    last = max(1000, len(rows) + 200)
    for index, head in enumerate(HEADS, start=1):
        letter = get_column_letter(index)
        cell = sheet.cell(1, index, heading(head.key))
        cell.font, cell.fill, cell.alignment = bold, fill, Alignment(wrap_text=True, vertical="top")
        sheet.column_dimensions[letter].width = 18
        if head.key not in NUMBERS:
            sheet.column_dimensions[letter].number_format = "@"  # text: what is typed stays as typed
        if choices.get(head.key):
            column = get_column_letter(2 * list(choices).index(head.key) + 1)
            rule = DataValidation(
                type="list", allow_blank=True, showErrorMessage=False,
                formula1=f"='lists 选项'!${column}$2:${column}${len(choices[head.key]) + 1}",
            )  # fmt: skip
            rule.add(f"{letter}2:{letter}{last}")
            sheet.add_data_validation(rule)
    for number, content in enumerate(rows, start=2):
        for index, head in enumerate(HEADS, start=1):
            value = content.get(head.key)
            if value is not None:
                cell = sheet.cell(number, index, value if isinstance(value, int | float) else str(value))
                cell.number_format = "General" if head.key in NUMBERS else "@"
    sheet.freeze_panes = "B2"
    guide = book.create_sheet("how to 说明")
    for line in _guide():
        guide.append(line)
    guide.column_dimensions["A"].width, guide.column_dimensions["B"].width = 34, 70
    guide.column_dimensions["C"].width = 50
    book.save(path)


def _lists(book: Workbook, choices: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    sheet = book.create_sheet("lists 选项")
    for index, (key, offered) in enumerate(choices.items()):
        sheet.cell(1, 2 * index + 1, heading(key))
        for row, (name, what) in enumerate(offered, start=2):
            sheet.cell(row, 2 * index + 1, name)
            sheet.cell(row, 2 * index + 2, what)


def _guide() -> Iterable[tuple[str, str, str]]:
    yield "column 列", "what to write", "填写说明"
    for head in HEADS:
        yield heading(head.key), head.help_en, head.help_zh
    yield "", "", ""
    yield "*", "a new meter needs the columns marked *", "新增仪表必须填写带 * 的列"
    yield "#", "a row whose id begins with # is not imported", "编号以 # 开头的行不导入"
    yield "", "an empty cell keeps what the site file has; nothing is removed", "空单元格保持站点文件原值；不会删除仪表"
    yield (
        "",
        "every wrong row is named, and nothing is imported until all are right",
        "逐行指出错误；全部正确之前不导入任何一行",
    )
    yield "meterline import-points FILE --site site.yaml --dry-run", "shows what would change", "预览改动"
