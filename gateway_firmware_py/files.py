"""The one door to the disk: everything durable on the gateway passes here, so a test can cut the power at any line.

What the callers rely on, and what the in-memory twin in the tests enforces:

- bytes written survive a power cut only after `Appender.sync`;
- a new name, a rename or an unlink survives only after `sync_folder` of its folder;
- any call may raise `OSError`; a write that raised may have left any part of its bytes behind.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol


class Appender(Protocol):
    """A file open at its end."""

    def write(self, data: bytes) -> None:
        """Put all of `data` behind what is there; on `OSError` any part of it may be there."""
        ...

    def sync(self) -> None:
        """Return when everything written is on the medium."""
        ...

    def close(self) -> None:
        """Give the handle back; unsynced bytes are not made safe by it."""
        ...


class Files(Protocol):
    """The file operations the gateway needs, and no others."""

    def make_folder(self, folder: Path) -> None:
        """Make the folder and its parents, durably; nothing happens if it is there."""
        ...

    def append(self, path: Path) -> Appender:
        """Open for appending, made if absent."""
        ...

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        """Up to `length` bytes from `offset`; all that follow if negative."""
        ...

    def write_whole(self, path: Path, data: bytes, *, private: bool = False) -> None:
        """Replace the file durably: after a power cut the old bytes are there or the new ones, never a mixture."""
        ...

    def truncate(self, path: Path, size: int) -> None:
        """Cut the file to `size`, durably."""
        ...

    def rename(self, path: Path, to: Path) -> None:
        """Give another name, replacing what has it, durably within one folder."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove the name."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in `folder` are on the medium."""
        ...

    def list_folder(self, folder: Path) -> list[str]:
        """Names inside, sorted; empty if there is no such folder."""
        ...

    def size(self, path: Path) -> int:
        """Length. [bytes]"""
        ...

    def exists(self, path: Path) -> bool:
        """Whether the name is there."""
        ...

    def free_space(self, folder: Path) -> int:
        """What an ordinary user may still write. [bytes]"""
        ...


_sync_data = getattr(os, "fdatasync", os.fsync)
_BINARY: int = getattr(os, "O_BINARY", 0)


class _DiskAppender:
    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY, 0o640)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]

    def sync(self) -> None:
        _sync_data(self._handle)

    def close(self) -> None:
        os.close(self._handle)


class DiskFiles:
    """The real disk."""

    def make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        self.sync_folder(folder.parent)

    def append(self, path: Path) -> Appender:
        return _DiskAppender(path)

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def write_whole(self, path: Path, data: bytes, *, private: bool = False) -> None:
        draft = path.with_name(path.name + ".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY
        handle = os.open(draft, flags, 0o600 if private else 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        self.rename(draft, path)

    def truncate(self, path: Path, size: int) -> None:
        handle = os.open(path, os.O_WRONLY | _BINARY)
        try:
            os.ftruncate(handle, size)
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, path: Path, to: Path) -> None:
        path.replace(to)
        self.sync_folder(to.parent)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        if os.name != "posix":  # Windows has no handle on a folder; NTFS journals names by itself
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def list_folder(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def exists(self, path: Path) -> bool:
        return path.exists()

    def free_space(self, folder: Path) -> int:
        return shutil.disk_usage(folder).free
