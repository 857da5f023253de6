"""The columns of a 点表, their headings in both languages, and what a cell of each means.

Cells come as the spreadsheet gave them, with everything a spreadsheet does to them: an address that became 7.0, a
ratio 10/5 that became the fifth of October, a serial number in exponents.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Cell = str | int | float | bool | dt.date | None


@dataclass(frozen=True, slots=True)
class Head:
    """A column of the sheet."""

    key: str
    en: str
    zh: str
    help_en: str
    help_zh: str
    needed: bool = False
    also: tuple[str, ...] = ()
    """Other headings it is known by."""


HEADS: tuple[Head, ...] = (
    Head("id", "id", "编号", "small letters, digits, - and _; unique in the site", "小写字母、数字、- 和 _，全站唯一",
         True, ("meter", "meter id", "表号", "仪表编号")),
    Head("name_zh", "name (Chinese)", "名称", "one of the two names is needed", "中英文名称至少填一个",
         False, ("name", "name_zh", "中文名称", "仪表名称", "表计名称")),
    Head("name_en", "name (English)", "英文名称", "one of the two names is needed", "中英文名称至少填一个", False, ("name_en",)),
    Head("energy_user", "energy user", "用能单位", "id or name of an energy user of the site file", "站点文件中用能单位的编号或名称",
         True, ("energy_user", "用能单元", "部门")),
    Head("profile", "profile", "仪表档案", "meter type, as `meterline check` lists them", "仪表型号档案",
         True, ("型号", "仪表型号", "meter type")),
    Head("bus", "bus", "总线", "id of a bus of the site file", "站点文件中总线的编号", True, ("line", "通道", "线路")),
    Head("address", "address", "通信地址", "as set on the meter; format the column as text", "与表上设置一致；请设为文本格式",
         True, ("地址", "站号", "从站地址", "modbus address")),
    Head("fed_by", "fed by", "上级表", "id or name of the meter upstream", "上级表的编号或名称", False, ("fed_by", "parent", "上级仪表")),
    Head("rated", "rated", "额定值", "largest power [kW] or flow [m3/h, t/h], primary", "一次侧最大功率 kW 或流量 m3/h、t/h",
         False, ("额定功率", "rated kw")),
    Head("nominal_v", "nominal voltage", "额定相电压", "phase voltage, primary [V]; 230 if empty", "一次侧相电压 V，空则为 230",
         False, ("nominal_v", "额定电压")),
    Head("idle", "idle", "空闲值", "normal outside working time; learnt if empty", "非工作时间的正常值，空则自动学习"),
    Head("ct", "CT ratio", "CT变比", "as on the plate: 200/5; format the column as text", "按铭牌：200/5；请设为文本格式",
         False, ("ct", "电流变比", "电流互感器变比")),
    Head("vt", "VT ratio", "PT变比", "as on the plate: 10000/100", "按铭牌：10000/100", False, ("vt", "pt", "pt ratio", "电压变比", "电压互感器变比")),
    Head("ratio_from", "ratio valid from", "变比生效日期", "the day the transformers were put in", "互感器投运日期", False, ("ratio_from", "valid_from")),
    Head("serial", "serial number", "出厂编号", "on the meter's plate", "见铭牌", False, ("serial", "资产编号")),
    Head("accuracy_class", "accuracy class", "准确度等级", "on the meter's plate: 0.5S", "见铭牌：0.5S", False, ("accuracy_class", "class", "精度等级")),
    Head("certificate", "certificate", "检定证书号", "number of the verification certificate", "检定证书编号", False, ("certificate number", "证书编号")),
    Head("verified_on", "verified on", "检定日期", "2026-01-31", "2026-01-31", False, ("verified_on",)),
    Head("valid_until", "valid until", "有效期至", "2026-01-31", "2026-01-31", False, ("valid_until", "检定有效期")),
)  # fmt: skip
HEAD: dict[str, Head] = {head.key: head for head in HEADS}
TEXTS = ("id", "address", "serial", "accuracy_class", "certificate", "ct", "vt")
DATES = ("ratio_from", "verified_on", "valid_until")
NUMBERS = ("rated", "nominal_v", "idle")
_ERRORS = ("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the sheet, by its number there."""

    number: int
    cells: tuple[Cell, ...]


def letters(index: int) -> str:
    """The spreadsheet's name of a column: 0 -> A, 26 -> AA."""
    name = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        name = chr(65 + digit) + name
    return name


def plain_heading(heading: Cell) -> str:
    text = unicodedata.normalize("NFKC", str(heading or "")).strip().lower()
    return re.sub(r"[\s*:]+", " ", text).strip()


KNOWN_HEADINGS: dict[str, str] = {
    plain_heading(word): head.key for head in HEADS for word in (head.en, head.zh, f"{head.en} {head.zh}", *head.also)
}


def find_heads(rows: Sequence[Row]) -> tuple[int, dict[str, tuple[int, str]]]:
    """Which of the first rows holds the headings: index into `rows`, and key -> (column, heading).

    Returns
    -------
    tuple
        (-1, {}) if no row has at least three known headings.
    """
    best: tuple[int, dict[str, tuple[int, str]]] = (-1, {})
    for at, row in enumerate(rows[:20]):
        found: dict[str, tuple[int, str]] = {}
        for index, cell in enumerate(row.cells):
            key = KNOWN_HEADINGS.get(plain_heading(cell))
            if key and key not in found:
                found[key] = (index, str(cell).strip())
        if len(found) >= 3 and len(found) > len(best[1]):
            best = (at, found)
    return best


def read_cell(key: str, cell: Cell) -> Any:
    """A cell's content as its column means it; None for an empty one.

    Raises
    ------
    ValueError
        ``problem; hint`` for whoever filled the sheet.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, str) and cell.strip() in _ERRORS:
        raise ValueError(f"the cell holds the error {cell.strip()}; correct the formula or type the value")
    if isinstance(cell, str) and cell.lstrip().startswith("="):
        raise ValueError(
            "the cell is a formula without a result; open and save the file in a spreadsheet, or type the value"
        )
    if isinstance(cell, bool):
        raise ValueError(f"the cell holds {str(cell).upper()}; type the value as text")
    if key in DATES:
        return _date(cell)
    if key in NUMBERS:
        return _number(cell)
    if isinstance(cell, dt.date):
        if key in ("ct", "vt"):
            raise ValueError(
                f"the spreadsheet has turned the ratio into a date ({cell:%Y-%m-%d}); "
                "format the column as text and type it again: 200/5"
            )
        raise ValueError(f"the cell holds a date ({cell:%Y-%m-%d}); format the column as text and type it again")
    if isinstance(cell, int | float):
        return _digits(key, cell)
    text = " ".join(cell.split())
    if key not in TEXTS:
        return text
    text = unicodedata.normalize("NFKC", text)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?[eE]\+?[0-9]+", text) and key in ("id", "address", "serial", "certificate"):
        raise ValueError(f"digits were lost: {text!r}; format the column as text and type the number again")
    if key == "address" and re.fullmatch(r"[0-9]+\.0+", text):
        raise ValueError(f"{text!r} is no address; write {text.split('.')[0]!r}, and format the column as text")
    return text


def _digits(key: str, cell: int | float) -> str:
    """A number where digits are meant: fine while no digit can have been lost."""
    if isinstance(cell, float) and not cell.is_integer():
        if key in ("id", "address"):
            raise ValueError(f"{cell} cannot be {HEAD[key].en}; format the column as text and type it again")
        return repr(cell)
    text = str(int(cell))
    if key == "address" and len(text) > 3:
        raise ValueError(
            f"{text} is a number, so leading zeros may be lost; format the column as text and type it again"
        )
    if len(text) > 15:
        raise ValueError(
            f"{text} is a number of more than 15 digits, the last ones are lost; format the column as text"
        )
    return text


def _number(cell: Cell) -> int | float:
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return int(cell) if float(cell).is_integer() else cell
    text = unicodedata.normalize("NFKC", str(cell)).strip()
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        raise ValueError(f"{text!r} is no number; write digits and a decimal point only, without unit or separators")
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else float(text)


def _date(cell: Cell) -> dt.date:
    if isinstance(cell, dt.datetime):
        return cell.date()
    if isinstance(cell, dt.date):
        return cell
    text = unicodedata.normalize("NFKC", str(cell)).strip()
    found = re.fullmatch(r"(\d{4})(?:-|/|\.|年)(\d{1,2})(?:-|/|\.|月)(\d{1,2})日?", text)
    try:
        if found:
            return dt.date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError as error:
        raise ValueError(f"{text!r} is no day of the calendar; write it as 2026-01-31") from error
    raise ValueError(f"{text!r} is no date; write it as 2026-01-31")
