"""Whatever is wrong in a file is said at once, with line and remedy, and never as a traceback."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterline.documents import Document, Lines, parse_yaml, place_text, read_document
from meterline.errors import ConfigError


class Inner(Document):
    address: str
    count: int = 1


class Page(Document):
    name: str
    items: tuple[Inner, ...] = ()


def refuse(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "page.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_document(path, Page, shown_as="page.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_every_problem_is_listed_with_its_line(tmp_path: Path) -> None:
    assert refuse(tmp_path, "nam: x\nitems:\n  - {address: 7}\n  - {adress: '1', address: '2', count: two}\n") == [
        "page.yaml: name (line 1): 'name' is missing; add name:",
        (
            "page.yaml: items[0].address (line 3): 7 was read as a number, so its digits may not be the ones written; "
            'put it in quotes, for example "012345670123"'
        ),
        "page.yaml: items[1].count (line 4): input should be a valid integer (given: 'two')",
        "page.yaml: items[1].adress (line 4): unknown key 'adress'; did you mean 'address'?",
        "page.yaml: nam (line 1): unknown key 'nam'; did you mean 'name'?",
    ]


@pytest.mark.parametrize("address", ["012345670123", "000000000012", "1_000", "0x10", "1.5", "12:30"])
def test_an_unquoted_address_is_refused_whatever_yaml_makes_of_it(tmp_path: Path, address: str) -> None:
    problems = refuse(tmp_path, f"name: x\nitems: [{{address: {address}}}]\n")
    assert len(problems) == 1
    assert "put it in quotes" in problems[0]


@pytest.mark.parametrize("word", ["no", "yes", "on"])
def test_a_word_yaml_takes_for_a_truth_value_is_refused(tmp_path: Path, word: str) -> None:
    assert "put it in quotes" in refuse(tmp_path, f"name: {word}\n")[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("name: 'x\n", "not valid YAML"),
        ("name: x\n\tb: c\n", "not valid YAML"),
        ("name: x\nname: y\n", "stands twice"),
        ("name: &a x\nitems: [*a]\n", "aliases"),
        ("name: !!python/object:os.system x\n", "not valid YAML"),
        ("- 1\n", "'key: value' lines are needed"),
    ],
)
def test_other_ways_to_be_wrong(tmp_path: Path, text: str, says: str) -> None:
    assert any(says in problem for problem in refuse(tmp_path, text))


def test_nested_aliases_do_not_explode(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    assert "aliases" in refuse(tmp_path, "\n".join(lines))[0]


@pytest.mark.parametrize(("name", "says"), [("absent.yaml", "no such file"), (".", "is a folder")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_document(tmp_path / name, Page)


def test_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "page.yaml"
    path.write_bytes("name: 钢铁厂\n".encode("gb18030"))
    with pytest.raises(ConfigError, match="UTF-8"):
        read_document(path, Page)


def test_places_read_like_a_path() -> None:
    assert place_text(("meters", 3, "address"), 41) == "meters[3].address (line 41)"
    assert place_text((), 3) == "line 3"


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_no_text_breaks_the_loader(text: str) -> None:
    with contextlib.suppress(ConfigError):
        _, lines = parse_yaml(text, "f")
        assert isinstance(lines, Lines)
