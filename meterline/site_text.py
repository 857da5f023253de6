"""Change the meters of a ``site.yaml`` as text, so that everything else a person wrote there stays as it is.

A YAML library would write the whole file anew and lose the comments. Here each meter that did not change keeps its
very lines (and every meter the comment lines above it); a changed or new one becomes one line.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

RawMeter = Mapping[str, Any]
"""A meter as the plain data a YAML file holds."""


def replace_meters(text: str, meters: Sequence[RawMeter], changed: Collection[str]) -> str:
    """The file's text with this list of meters.

    Parameters
    ----------
    text
        The whole file, valid YAML.
    meters
        All meters: those of the file in the file's order, then new ones.
    changed
        Ids of the meters of the file that are to be written anew.

    Raises
    ------
    ValueError
        The text could not be changed without touching something else; nothing should be written.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").split("\n")
    root = yaml.compose(text.replace("\r\n", "\n"), yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("not a site file")
    found = [(key, value) for key, value in root.value if key.value == "meters"]
    if not found:
        while lines and not lines[-1].strip():
            lines.pop()
        new = [*lines, "meters:", *(f"  - {one_line(meter)}" for meter in meters), ""]
    else:
        key, value = found[0]
        new = _with_block(lines, key, value, meters, changed)
    result = newline.join(new)
    _prove(text, result, meters)
    return result


def _with_block(
    lines: list[str], key: yaml.Node, value: yaml.Node, meters: Sequence[RawMeter], changed: Collection[str]
) -> list[str]:
    first, last = key.start_mark.line, _last_line(value)
    if not (isinstance(value, yaml.SequenceNode) and value.value and not value.flow_style):
        rest = lines[last][value.end_mark.column :] if last == value.end_mark.line else ""
        empty = isinstance(value, yaml.ScalarNode) and not value.value
        head = lines[first].rstrip() if empty else f"meters:{rest}".rstrip()
        written = [f"  - {one_line(meter)}" for meter in meters]
        return [*lines[:first], head, *written, *lines[max(last, first) + 1 :]]
    block: list[str] = []
    begin = first + 1
    indent = ""
    for node, meter in zip(value.value, meters, strict=False):
        start, end = node.start_mark.line, _last_line(node)
        indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
        if meter["id"] in changed:
            block += [*lines[begin:start], f"{indent}- {one_line(meter)}"]
        else:
            block += lines[begin : end + 1]
        begin = end + 1
    block += [f"{indent}- {one_line(meter)}" for meter in meters[len(value.value) :]]
    return [*lines[: first + 1], *block, *lines[begin:]]


def _last_line(node: yaml.Node) -> int:
    """The last line that holds something of the node; PyYAML's own mark runs on over blank lines and comments."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode):
        if node.flow_style or not node.value:
            return node.end_mark.line
        last = node.value[-1]
        return _last_line(last[1] if isinstance(node, yaml.MappingNode) else last)
    assert isinstance(node, yaml.ScalarNode)
    if node.style in ("|", ">"):  # ends where the next line begins
        return node.end_mark.line - (node.end_mark.column == 0)
    return node.end_mark.line


def one_line(meter: RawMeter) -> str:
    """A meter as one line of YAML, its keys in the given order."""
    return _flow(meter)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(int(value)) if float(value).is_integer() else repr(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    plain = str(value)
    if plain.isascii() and plain.replace("-", "").replace("_", "").replace(".", "").isalnum():
        try:
            if yaml.safe_load(plain) == plain and plain[0].isalpha():
                return plain
        except yaml.YAMLError:  # "..." and the like: quoted below
            return json.dumps(plain)
    return json.dumps(plain, ensure_ascii=False)


def _prove(old: str, new: str, meters: Sequence[RawMeter]) -> None:
    before, after = yaml.safe_load(old), yaml.safe_load(new)
    before["meters"] = [dict(meter) for meter in meters]
    if before != after:
        raise ValueError("the file's layout does not allow a change in place")


def write_in_place(path: Path, text: str, *, stamp: str) -> Path:
    """Put a new text where the old one was, all or nothing, and keep the old one.

    Parameters
    ----------
    stamp
        Part of the old file's new name, such as the date and time.

    Returns
    -------
    Path
        The copy of the old file, beside it.

    Raises
    ------
    OSError
        Nothing was changed.
    """
    path = path.resolve()
    old = path.read_bytes()
    backup, count = path.with_name(f"{path.name}.{stamp}.bak"), 1
    while backup.exists():
        backup, count = path.with_name(f"{path.name}.{stamp}-{count}.bak"), count + 1
    _write_through(backup, old)
    fresh = path.with_name(f".{path.name}.new")
    try:
        _write_through(fresh, text.encode("utf-8"))
        os.chmod(fresh, path.stat().st_mode & 0o777)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return backup


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
