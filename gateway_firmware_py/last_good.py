"""The configuration that last worked, for the day somebody saves one that does not.

A box in a cabinet far away must not stay dark because of a typing error. Once a gateway has run for a while and the
head-end has stored something of it, its files are copied aside. A start that cannot read its files, or one that would
be the fourth in a row to crash with the same files, runs with the copy instead, and says so in its health until
somebody puts the files right.

::

    gateway-data/last-good/current                  which of the copies counts; written last
    gateway-data/last-good/3f2a…/gateway.yaml, …    a copy of all files together
    gateway-data/starts.json                        starts with the present files that have not ended well
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import orjson
import yaml

from gateway_firmware_py.files import DiskFiles, Files
from meterline.errors import ConfigError
from meterline.settings import GatewayFile, GatewaySettings, load_gateway

CRASHES = 3
"""So many starts in a row that did not end well, with the same files: they are at fault."""
GOOD_S = 60.0
"""A configuration that has run so long, and of which the head-end has stored something, is a good one. [s]"""
_FOLDER, _CURRENT, _STARTS = "last-good", "current", "starts.json"


class LastGood:
    """The copy and the count below a gateway's data folder.

    Parameters
    ----------
    sources
        The files in use: the gateway's first, then those it names.
    """

    def __init__(self, files: Files, data: Path, sources: Sequence[Path]) -> None:
        self._files, self._data, self._sources = files, data, tuple(sources)
        self._digest = _digest(files, self._sources)
        self._kept = False

    @property
    def crashes(self) -> int:
        """Starts in a row with these very files that did not end well."""
        try:
            said = orjson.loads(self._files.read(self._data / _STARTS))
            return int(said["count"]) if said["files"] == self._digest else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    @property
    def has_other(self) -> bool:
        """Whether a copy of other files than these is there."""
        return _current(self._files, self._data) not in (None, self._data / _FOLDER / self._digest)

    def begin(self) -> None:
        """A start; it counts as a crash until `end` or `good` says otherwise."""
        self._write(self.crashes + 1)

    def end(self) -> None:
        """It ended as it was told to."""
        self._write(0)

    def good(self) -> None:
        """It works: keep the files. Done once in a run.

        Raises
        ------
        OSError
            The disk does not take them; the older copy stays.
        """
        if self._kept:
            return
        self._kept = True
        if _current(self._files, self._data) != self._data / _FOLDER / self._digest:
            self._copy()
        self._write(0)

    def _copy(self) -> None:
        contents = [self._files.read(source) for source in self._sources]
        if _digest(self._files, self._sources) != self._digest:
            return  # edited since the start: what they say now has not been tried
        copy, home = self._data / _FOLDER / self._digest, self._sources[0].parent
        for source, content in zip(self._sources, contents, strict=True):
            place = copy / (source.relative_to(home) if source.is_relative_to(home) else source.name)
            self._files.make_folder(place.parent)
            self._files.write_whole(place, content)
        before = _current(self._files, self._data)
        self._files.write_whole(self._data / _FOLDER / _CURRENT, self._digest.encode())
        if before is not None:
            for name in self._files.list_folder(before):
                self._files.unlink(before / name)

    def _write(self, count: int) -> None:
        try:
            self._files.write_whole(self._data / _STARTS, orjson.dumps({"files": self._digest, "count": count}))
        except OSError:
            return  # a disk that takes nothing must not keep a gateway from running; the count is only a hint


def choose(path: Path) -> tuple[GatewaySettings, str]:
    """The settings to run with, and why they are not the ones in `path` (empty: they are).

    Raises
    ------
    ConfigError
        The files cannot be used and no copy is there.
    """
    try:
        settings = load_gateway(path)
    except ConfigError as error:
        copy = _current(DiskFiles(), _data_of(path))
        if copy is None:
            raise
        first = error.problems[0]
        why = f"{Path(first.file).name}: {first.problem}"
        return load_gateway(copy / path.name, folder=path.parent), f"running with the last good one, since {why}"
    record = LastGood(DiskFiles(), settings.data, sources_of(settings, path))
    crashes = record.crashes
    copy = _current(DiskFiles(), settings.data)
    if crashes >= CRASHES and record.has_other and copy is not None:
        why = f"{path.name} crashed {crashes} times in a row"
        return load_gateway(copy / path.name, folder=path.parent), f"running with the last good one, since {why}"
    return settings, ""


def sources_of(settings: GatewaySettings, path: Path) -> tuple[Path, ...]:
    """The files a gateway's settings came from."""
    return path, path.parent / settings.file.site


def _digest(files: Files, sources: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.name.encode() + b"\0" + hashlib.sha256(files.read(source)).digest())
    return digest.hexdigest()[:16]


def _current(files: Files, data: Path) -> Path | None:
    """The folder of the copy that counts."""
    try:
        name = files.read(data / _FOLDER / _CURRENT).decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return data / _FOLDER / name if name.isalnum() else None


def _data_of(path: Path) -> Path:
    """The data folder, of a file that may be anything."""
    default = path.parent / str(GatewayFile.model_fields["data"].default)
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        return path.parent / str(said["data"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return default
