"""``meterline schema``: what an editor needs to complete a profile or a site file."""

from __future__ import annotations

from pathlib import Path

from meterline.cli.screen import Screen
from meterline.errors import ConfigError, Problem
from meterline.schemas import MODELINE, SCHEMAS, schema_text


def schema(screen: Screen, kind: str, out: Path | None) -> None:
    """Print a schema, or write it to a file.

    Raises
    ------
    ConfigError
        There is no such kind, or the file cannot be written.
    """
    if kind not in SCHEMAS:
        raise ConfigError([Problem("command line", "KIND", f"no schema {kind!r}", f"there are: {', '.join(SCHEMAS)}")])
    body = schema_text(kind)
    if out is None:
        print(body, end="")
        return
    try:
        out.write_text(body, encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(out), "", f"cannot be written: {error.strerror}", "check the path")]) from error
    screen.say("schema.written", file=out, line=MODELINE.format(path=out.name))
