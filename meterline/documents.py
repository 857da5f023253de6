"""Read a YAML file a person wrote, and say everything that is wrong with it at once, with line and remedy.

Validation itself is pydantic's, which lists every problem; what is ours is the road there and back: a loader that
refuses duplicate keys and knows the line of every value, and sentences an electrician can act on.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, to_json

from meterline.errors import ConfigError, Problem

MAX_BYTES = 4_000_000
"""A configuration larger than this is a mistake (or an attack), not a site."""

# libyaml where the wheel has it: profiles load in a quarter of the time.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PathKey = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


class Document(BaseModel):
    """Base of everything read from a file: frozen, strict, and with no room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Lines:
    """Where each value of a YAML document stands."""

    def __init__(self) -> None:
        self.of: dict[PathKey, int] = {}

    def nearest(self, path: PathKey) -> int | None:
        """Line of `path`, or of the innermost thing around it. [1-based]"""
        while path and path not in self.of:
            path = path[:-1]
        return self.of.get(path)


def parse_yaml(text: str, file: str) -> tuple[Any, Lines]:
    """Turn YAML into plain data, safely, with the line of every value.

    Raises
    ------
    ConfigError
        Not YAML, too large, a key given twice, an alias (none is needed, and nested ones can explode).
    """
    if len(text.encode()) > MAX_BYTES:
        raise ConfigError([Problem(file, "", f"larger than {MAX_BYTES // 1_000_000} MB", "split the file")])
    lines, problems = Lines(), list[Problem]()
    loader: Any = None
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError([Problem(file, "", "the file is empty", "see the examples in config/")])
        _walk(node, (), lines, problems, file, set())
        if problems:
            raise ConfigError(problems)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            [Problem(file, place, f"not valid YAML: {error.problem}", "check indentation, quotes and colons here")]
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            [Problem(file, "", f"not valid YAML: {error}", "check the file's encoding (UTF-8)")]
        ) from error
    finally:
        if loader is not None:
            loader.dispose()


def _walk(node: yaml.Node, path: PathKey, lines: Lines, problems: list[Problem], file: str, visited: set[int]) -> None:
    line = node.start_mark.line + 1
    if id(node) in visited:  # the same node reached twice: an alias
        problems.append(Problem(file, place_text(path, line), "YAML aliases are not used here", "write it out"))
        return
    visited.add(id(node))
    lines.of[path] = line
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = key_node.start_mark.line + 1
            if key in seen:
                where = place_text((*path, key), here)
                problems.append(Problem(file, where, f"{key!r} stands twice (first in line {seen[key]})", "keep one"))
                continue
            seen[key] = here
            _walk(value_node, (*path, key), lines, problems, file, visited)
            lines.of[(*path, key)] = here
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), lines, problems, file, visited)


def place_text(path: Sequence[str | int], line: int | None = None) -> str:
    """``meters[3].address (line 41)``: how a place is written for people."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return f"{text} (line {line})" if line is not None and text else (f"line {line}" if line is not None else text)


def read_document(path: Path, model: type[M], *, shown_as: str | None = None) -> tuple[M, Lines]:
    """Load one file into its model.

    Raises
    ------
    ConfigError
        With every problem of the file; nothing else was touched.
    """
    data, lines = read_plain(path, shown_as=shown_as)
    return validate(data, model, shown_as or str(path), lines), lines


def read_plain(path: Path, *, shown_as: str | None = None) -> tuple[Any, Lines]:
    """The plain data of one file, with the line of every value; raises as `read_document` does."""
    file = shown_as or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError([Problem(file, "", "there is no such file", "check the path")]) from error
    except IsADirectoryError as error:
        raise ConfigError([Problem(file, "", "is a folder", "name the file in it")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(file, "", "is not UTF-8 text", "save it as UTF-8")]) from error
    except OSError as error:
        raise ConfigError([Problem(file, "", f"cannot be read: {error.strerror}", "check its permissions")]) from error
    return parse_yaml(text, file)


def validate(data: Any, model: type[M], file: str, lines: Lines | None = None) -> M:
    """Check plain data against its model; see `read_document`."""
    try:
        # By way of JSON: strict about text against number, yet a list may become a tuple and a text a date.
        return model.model_validate_json(to_json(data, inf_nan_mode="constants"))
    except ValidationError as error:
        raise ConfigError([_problem(detail, model, file, lines) for detail in error.errors()]) from error


_NOUNS: dict[type, str] = {list: "a list", dict: "a group of keys"}


def _problem(detail: ErrorDetails, model: type[BaseModel], file: str, lines: Lines | None) -> Problem:
    path = _clean(detail["loc"])
    place = place_text(path, lines.nearest(path) if lines else None)
    kind, given = detail["type"], detail.get("input")
    context = detail.get("ctx") or {}
    shown = repr(given) if isinstance(given, str | int | float | bool | None) else _NOUNS.get(type(given), "something")
    if kind == "extra_forbidden":
        key = str(path[-1])
        close = difflib.get_close_matches(key, _keys(model, path[:-1]), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(_keys(model, path[:-1])))}"
        return Problem(file, place, f"unknown key {key!r}", hint)
    if kind == "missing":
        return Problem(file, place, f"{path[-1]!r} is missing", f"add {path[-1]}:")
    if kind == "string_type":
        if isinstance(given, bool):
            return Problem(file, place, f"YAML reads this as {given}", "put it in quotes")
        if isinstance(given, int | float):
            return Problem(
                file, place, f"{given} was read as a number, so its digits may not be the ones written",
                'put it in quotes, for example "012345670123"',
            )  # fmt: skip
        return Problem(file, place, f"a text is needed, not {shown}", "put it in quotes")
    if kind in ("enum", "literal_error"):
        expected = str(context.get("expected", ""))
        names = [name.strip().strip("'") for name in expected.replace(" or ", ", ").split(",")]
        close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
        return Problem(file, place, f"{shown} is not one of {expected}", f"did you mean {close[0]!r}?" if close else "")
    if kind == "value_error":
        text = str(context.get("error", detail["msg"]))
        problem, _, hint = text.partition("; ")
        return Problem(file, place, problem, hint)
    if kind == "model_type" or kind == "dict_type":
        return Problem(file, place, f"'key: value' lines are needed here, not {shown}", "see the examples in config/")
    if kind == "string_pattern_mismatch":
        return Problem(file, place, f"{shown} may not be used here", f"allowed: {context.get('pattern')}")
    return Problem(file, place, f"{detail['msg'][0].lower()}{detail['msg'][1:]} (given: {shown})")


def _clean(loc: tuple[int | str, ...]) -> PathKey:
    # pydantic names the branch of a union in the path ("modbus", "function-after[...]"); a person's file has none.
    return tuple(part for part in loc if isinstance(part, int) or not (part.startswith("function-") or "[" in part))


def _keys(model: type[BaseModel], path: PathKey) -> list[str]:
    """Names of the fields a mapping at `path` may have; of every model met on the way if a branch is unclear."""
    here: list[type[BaseModel]] = [model]
    for part in path:
        if isinstance(part, int):
            continue
        inner: list[type[BaseModel]] = []
        for candidate in here:
            info = candidate.model_fields.get(part)
            inner += _models_in(info.annotation) if info else []
        here = inner or here
    return sorted({info.alias or name for candidate in here for name, info in candidate.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in get_args(annotation):
        found += _models_in(argument)
    return found
