"""A 点表: every wrong row is named, all rows or none are imported, the site file keeps its comments."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meterline.point_columns import letters, read_cell
from meterline.site_text import one_line, replace_meters
from tests.cli.running import SITE, Result

Cli = Callable[..., Result]
HEADINGS = [
    "编号",
    "名称",
    "用能单位",
    "仪表档案",
    "总线",
    "通信地址",
    "上级表",
    "额定值",
    "CT变比",
    "变比生效日期",
    "出厂编号",
]


def _row(meter: str, address: Any, **more: Any) -> list[Any]:
    cells = {
        "编号": meter, "名称": f"表 {meter}", "用能单位": "hall-1", "仪表档案": "eastron-sdm630", "总线": "hall-1-line",
        "通信地址": address,
    }  # fmt: skip
    return [{**cells, **more}.get(heading) for heading in HEADINGS]


def _xlsx(path: Path, *rows: list[Any]) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(HEADINGS)
    for row in rows:
        sheet.append(row)
    book.save(path)
    return path


def _meters(folder: Path) -> list[dict[str, Any]]:
    meters: list[dict[str, Any]] = yaml.safe_load((folder / "site.yaml").read_text("utf-8"))["meters"]
    return meters


def test_hundreds_of_meters_come_in_at_once_and_nothing_else_changes(cli: Cli, site_folder: Path) -> None:
    rows = [_row(f"m-{n:03}", n, 上级表="m-hall-1") for n in range(8, 240)]
    result = cli("import-points", str(_xlsx(site_folder / "points.xlsx", *rows)), "--json")
    assert result.code == 0
    assert (len(result.json["added"]), result.json["changed"]) == (232, [])
    text = (site_folder / "site.yaml").read_text("utf-8")
    for line in SITE.splitlines():
        assert line in text.splitlines()  # comments, order and layout of all that was there
    assert _meters(site_folder)[-1] == {
        "id": "m-239", "name": {"en": "表 m-239", "zh": "表 m-239"}, "energy_user": "hall-1",
        "profile": "eastron-sdm630", "bus": "hall-1-line", "address": "239", "fed_by": "m-hall-1",
    }  # fmt: skip
    assert Path(result.json["backup"]).read_text("utf-8") == SITE
    assert cli("check").code == 0
    again = cli("import-points", "points.xlsx", "--json").json
    assert (again["added"], again["changed"], again["unchanged"], again["written"]) == ([], [], 232, False)


@pytest.mark.parametrize(
    ("cells", "column", "said"),
    [
        ({"通信地址": "7"}, "F", "m-x and m-hall-1 both have address '7'"),
        ({"通信地址": "248"}, "F", "is no Modbus address"),
        ({"通信地址": 7.5}, "F", "7.5 cannot be address"),
        ({"通信地址": 12345670123}, "F", "leading zeros may be lost"),
        ({"通信地址": "1.2E+10"}, "F", "digits were lost"),
        ({"通信地址": "9.0"}, "F", "write '9'"),
        ({"通信地址": None}, "F", "the cell is empty"),
        ({"编号": "M 1"}, "A", "for example 'm-1'"),
        ({"编号": "m-main2", "名称": None}, "B", "a new meter needs a name"),
        ({"用能单位": "三车间"}, "C", "no energy user '三车间'"),
        ({"仪表档案": "eastron-sdm631"}, "D", "did you mean 'eastron-sdm630'?"),
        ({"总线": "hall-2-line"}, "E", "no bus 'hall-2-line'"),
        ({"上级表": "m-mian"}, "G", "no meter 'm-mian'; did you mean 'm-main'?"),
        ({"额定值": "630 kW"}, "H", "'630 kW' is no number"),
        ({"额定值": "#REF!"}, "H", "the error #REF!"),
        ({"额定值": "=B2*2"}, "H", "a formula without a result"),
        ({"CT变比": dt.date(2026, 10, 5)}, "I", "turned the ratio into a date"),
        ({"CT变比": "200:5", "变比生效日期": "2026-01-31"}, "I", "cannot be read"),
        ({"CT变比": "200/5"}, "J", "a ratio needs the date"),
        ({"CT变比": "200/5", "变比生效日期": "31.1.26"}, "J", "is no date"),
        ({"CT变比": "200/5", "变比生效日期": "2026-02-30"}, "J", "no day of the calendar"),
        ({"出厂编号": 1234567890123456789}, "K", "more than 15 digits"),
    ],
)  # fmt: skip
def test_a_wrong_cell_is_named_and_nothing_is_imported(
    cli: Cli, site_folder: Path, cells: dict[str, Any], column: str, said: str
) -> None:
    file = _xlsx(site_folder / "points.xlsx", _row("m-good", 20), _row("m-x", 21, **cells))
    result = cli("import-points", str(file), "--json")
    assert result.code == 2
    (problem,) = result.json["problems"]
    assert problem["file"] == f"{file} [Sheet]"
    assert problem["place"].startswith(f"row 3, column {column} (")
    assert said in f"{problem['problem']}; {problem['hint']}"
    assert (site_folder / "site.yaml").read_text("utf-8") == SITE
    assert [path.name for path in site_folder.iterdir() if "bak" in path.name] == []


def test_every_wrong_row_is_named_at_once(cli: Cli, site_folder: Path) -> None:
    rows = [_row(f"m-{n}", n if n % 10 else 7, 额定值="many" if n % 7 == 0 else None) for n in range(8, 108)]
    result = cli("import-points", str(_xlsx(site_folder / "points.xlsx", *rows)), "--json")
    named = {int(p["place"].split(",")[0].removeprefix("row ")) for p in result.json["problems"]}
    assert result.code == 2
    # sheet row = position + 2; meter n stands at position n - 8
    assert named == {n - 6 for n in range(8, 108) if n % 10 == 0 or n % 7 == 0}


def test_merged_cells_are_named(cli: Cli, site_folder: Path) -> None:
    file = _xlsx(site_folder / "points.xlsx", _row("m-a", 20), _row("m-b", 21))
    book = openpyxl.load_workbook(file)
    book["Sheet"].merge_cells("C2:C3")
    book.save(file)
    result = cli("import-points", str(file))
    assert result.code == 2
    assert "row 2, column C (用能单位): cells C2:C3 are merged" in result.err


def test_the_same_id_twice_and_an_unknown_heading(cli: Cli, site_folder: Path) -> None:
    (site_folder / "p.csv").write_text(
        "id,name,energy user,profile,bus,adress\nm-a,A,plant,eastron-sdm630,main-tcp,3\nm-a,A,plant,x,main-tcp,4\n",
        "utf-8",
    )
    result = cli("import-points", "p.csv")
    assert result.code == 2
    assert "row 1, column F: unknown heading 'adress'" in result.err
    assert "did you mean 'address'?" in result.err
    assert "row 3, column A (id): 'm-a' also stands in row 2" in result.err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_comes_in_the_encodings_of_excel(cli: Cli, site_folder: Path, encoding: str, delimiter: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([HEADINGS, _row("m-press", 9, 上级表="一车间")])
    (site_folder / "p.csv").write_bytes(text.getvalue().encode(encoding))
    assert cli("import-points", "p.csv").code == 0
    assert _meters(site_folder)[-1]["name"]["zh"] == "表 m-press"
    assert _meters(site_folder)[-1]["fed_by"] == "m-hall-1"


def test_an_address_that_excel_made_a_number_is_still_the_address(cli: Cli, site_folder: Path) -> None:
    assert cli("import-points", str(_xlsx(site_folder / "p.xlsx", _row("m-a", 9.0)))).code == 0
    assert _meters(site_folder)[-1]["address"] == "9"


def test_an_empty_cell_keeps_and_a_filled_one_changes(cli: Cli, site_folder: Path) -> None:
    (site_folder / "p.csv").write_text("id,name (English),rated,serial\nm-main,,630,0001\n", "utf-8")
    assert cli("import-points", "p.csv").code == 0
    main, hall = _meters(site_folder)
    assert main == {
        "id": "m-main", "name": {"en": "Main", "zh": "总表"}, "energy_user": "plant", "profile": "eastron-sdm630",
        "bus": "main-tcp", "address": "1", "rated": 630, "serial": "0001",
    }  # fmt: skip
    assert "  # the incoming feeder" in (site_folder / "site.yaml").read_text("utf-8")
    assert hall["id"] == "m-hall-1"


def test_a_dry_run_writes_nothing(cli: Cli, site_folder: Path) -> None:
    file = _xlsx(site_folder / "p.xlsx", _row("m-a", 9))
    result = cli("import-points", str(file), "--dry-run")
    assert result.code == 0
    assert "+ m-a" in result.out
    assert (site_folder / "site.yaml").read_text("utf-8") == SITE


def test_a_wrong_site_file_is_refused_before_anything(cli: Cli, site_folder: Path) -> None:
    (site_folder / "site.yaml").write_text(SITE.replace("kind:", "knd:"), "utf-8")
    result = cli("import-points", str(_xlsx(site_folder / "p.xlsx", _row("m-a", 9))))
    assert result.code == 2
    assert "unknown key 'knd'" in result.err


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 no archive", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1old", b'id,name,bus\n"open', b"\xff\xff\0"],
)
def test_what_is_no_spreadsheet_is_refused(cli: Cli, site_folder: Path, content: bytes) -> None:
    (site_folder / "p.xlsx").write_bytes(content)
    assert cli("import-points", "p.xlsx").code == 2


@pytest.mark.parametrize("ending", ["xlsx", "csv"])
def test_out_and_back_changes_nothing(cli: Cli, site_folder: Path, ending: str) -> None:
    assert cli("export-points", f"points.{ending}", "--site", "site.yaml").code == 0
    result = cli("import-points", f"points.{ending}", "--json")
    assert (result.json["added"], result.json["changed"], result.json["unchanged"]) == ([], [], 2)


@pytest.mark.parametrize("ending", ["xlsx", "csv"])
def test_the_template_names_the_columns_and_its_examples_are_no_meters(
    cli: Cli, site_folder: Path, ending: str
) -> None:
    assert cli("export-points", f"points.{ending}").code == 0
    result = cli("import-points", f"points.{ending}")
    assert result.code == 2
    assert "there is no meter in it" in result.err
    assert cli("export-points", f"points.{ending}").code == 2  # would overwrite what somebody may have filled in


def test_columns_are_called_as_in_a_spreadsheet() -> None:
    assert [letters(n) for n in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]


# --- the text of the site file -----------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
METERS = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True),
        "name": WORDS,
        "address": st.text("0123456789", min_size=1),
    },
    optional={"rated": st.one_of(st.integers(1, 10**6), st.floats(0.001, 1e6)), "day": st.dates()},
)


@given(METERS)
def test_a_meter_written_as_one_line_reads_back(meter: dict[str, Any]) -> None:
    assert yaml.safe_load("- " + one_line(meter)) == [meter]


@settings(max_examples=25)
@given(st.lists(METERS, unique_by=lambda m: str(m["id"]), max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_new_meters_leave_the_rest_of_the_text_alone(new: list[dict[str, Any]], newline: str) -> None:
    old = yaml.safe_load(SITE)["meters"]
    added = [meter for meter in new if meter["id"] not in ("m-main", "m-hall-1")]
    text = replace_meters(SITE.replace("\n", newline), [*old, *added], set())
    assert yaml.safe_load(text)["meters"] == old + added
    kept = [line for line in text.split(newline) if line in SITE.split("\n")]
    assert kept == SITE.split("\n")


BLOCK_STYLE = """\
site: {id: x}
meters:
# above
- id: a   # first
  address: "1"

  # still a: its note
  note: |
    two
    lines
# above b
- id: b
  address: "2"

# about products
products: []
"""


def test_a_changed_meter_keeps_the_remarks_above_it_and_its_neighbours() -> None:
    old = yaml.safe_load(BLOCK_STYLE)["meters"]
    text = replace_meters(BLOCK_STYLE, [old[0], {"id": "b", "address": "3"}, {"id": "c", "address": "4"}], {"b"})
    assert text == BLOCK_STYLE.replace(
        '- id: b\n  address: "2"\n', '- {id: b, address: "3"}\n- {id: c, address: "4"}\n'
    )


@pytest.mark.parametrize("head", ["meters: []  # none yet\n", "meters:\n", ""])
def test_the_first_meters_of_a_site(head: str) -> None:
    text = replace_meters(f"site: {{id: x}}\n{head}# end\n", [{"id": "a", "address": "1"}], set())
    assert yaml.safe_load(text) == {"site": {"id": "x"}, "meters": [{"id": "a", "address": "1"}]}
    assert "# end" in text
    assert ("# none yet" in head) == ("# none yet" in text)


@given(st.one_of(st.none(), st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.dates()))
def test_no_cell_breaks_the_import(cell: Any) -> None:
    refused: list[str] = []
    for key in ("id", "name_zh", "address", "rated", "ct", "ratio_from", "serial"):
        try:
            read_cell(key, cell)
        except ValueError as error:
            refused.append(str(error))
    assert all("; " in sentence for sentence in refused)  # a problem and what to do about it
