"""A disk in memory that can lose power, fill up, fail and tear, at an operation of the test's choice.

The model is the harsh one the callers promise to survive (see `gateway_firmware_py.files`): after `power_cut` a file
has exactly the bytes of its last sync (plus, if asked for, some of what followed, whole or as zeros), and a folder
exactly the names of its last sync.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

from gateway_firmware_py.files import Appender


class _Inode:
    def __init__(self) -> None:
        self.now = bytearray()
        self.safe = b""


class PowerCut(BaseException):
    """The machine is off. No program handles this."""


class MemoryFiles:
    """Implements `Files`. `fault` is asked before each operation that changes something, with its name and number."""

    def __init__(self) -> None:
        self.names: dict[Path, _Inode] = {}
        self.safe_names: dict[Path, _Inode] = {}
        self.folders: set[Path] = set()
        self.safe_folders: set[Path] = set()
        self.operations = 0
        self.capacity: int | None = None
        self.fault: Callable[[str, int], OSError | PowerCut | None] = lambda name, number: None

    # --- what a test does to it ------------------------------------------------------------------------------------

    def power_cut(self, rng: random.Random | None = None) -> MemoryFiles:
        """The disk as the next start finds it; with `rng`, unsynced bytes and removals may have arrived."""
        after = MemoryFiles()
        after.capacity = self.capacity
        after.folders = set(self.safe_folders)
        after.safe_folders = set(self.safe_folders)
        inodes: dict[int, _Inode] = {}
        for path, inode in self.safe_names.items():
            if rng is not None and path not in self.names and rng.random() < 0.7:
                continue  # removed; the folder happened to be written
            fresh = inodes.get(id(inode))
            if fresh is None:
                fresh = inodes[id(inode)] = _Inode()
                left = inode.safe
                if rng is not None and bytes(inode.now).startswith(left) and len(inode.now) > len(left):
                    more = bytes(inode.now[len(left) :])
                    cut = rng.randrange(len(more) + 1)
                    zeros = rng.choice((0, rng.randrange(len(more) - cut + 1)))
                    left += more[:cut] + bytes(zeros)
                fresh.now, fresh.safe = bytearray(left), left
            after.names[path] = after.safe_names[path] = fresh
        return after

    def fail_on(self, number: int, error: OSError | PowerCut, *, repeat: bool = False) -> None:
        """Raise at the operation with this number (and at all that follow)."""

        def fault(name: str, current: int) -> OSError | PowerCut | None:
            return error if current == number or (repeat and current > number) else None

        self.fault = fault

    # --- Files -----------------------------------------------------------------------------------------------------

    def make_folder(self, folder: Path) -> None:
        if folder in self.folders or folder == folder.parent:
            return
        self.make_folder(folder.parent)
        self._step("make_folder")
        self.folders.add(folder)
        self.safe_folders.add(folder)

    def append(self, path: Path) -> Appender:
        self._step("open")
        if path not in self.names:
            if path.parent not in self.folders:
                raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
            self.names[path] = _Inode()
        return _MemoryAppender(self, self.names[path])

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        data = bytes(self._inode(path).now)
        return data[offset:] if length < 0 else data[offset : offset + length]

    def write_whole(self, path: Path, data: bytes, *, private: bool = False) -> None:
        draft = path.with_name(path.name + ".new")
        file = self.append(draft)
        self.names[draft].now.clear()
        file.write(data)
        file.sync()
        file.close()
        self.rename(draft, path)

    def truncate(self, path: Path, size: int) -> None:
        self._step("truncate")
        inode = self._inode(path)
        del inode.now[size:]
        inode.safe = bytes(inode.now)

    def rename(self, path: Path, to: Path) -> None:
        self._step("rename")
        self.names[to] = self._inode(path)
        del self.names[path]
        self.sync_folder(to.parent)

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        self._inode(path)
        del self.names[path]

    def sync_folder(self, folder: Path) -> None:
        self._step("sync_folder")
        for path in [p for p in self.safe_names if p.parent == folder]:
            del self.safe_names[path]
        self.safe_names |= {path: inode for path, inode in self.names.items() if path.parent == folder}

    def list_folder(self, folder: Path) -> list[str]:
        inside = {path.name for path in self.names if path.parent == folder}
        inside |= {path.name for path in self.folders if path.parent == folder and path != folder}
        return sorted(inside)

    def size(self, path: Path) -> int:
        return len(self._inode(path).now)

    def exists(self, path: Path) -> bool:
        return path in self.names or path in self.folders

    def free_space(self, folder: Path) -> int:
        return 1 << 40 if self.capacity is None else max(0, self.capacity - self.used)

    @property
    def used(self) -> int:
        return sum(len(inode.now) for inode in self.names.values())

    def _inode(self, path: Path) -> _Inode:
        try:
            return self.names[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None

    def _step(self, name: str) -> None:
        self.operations += 1
        error = self.fault(name, self.operations)
        if error is not None:
            raise error


class _MemoryAppender:
    def __init__(self, files: MemoryFiles, inode: _Inode) -> None:
        self._files, self._inode = files, inode

    def write(self, data: bytes) -> None:
        try:
            self._files._step("write")
        except (OSError, PowerCut):
            self._inode.now += data[: len(data) // 2]  # torn
            raise
        room = self._files.free_space(Path("/"))
        self._inode.now += data[:room]
        if len(data) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        self._files._step("sync")
        self._inode.safe = bytes(self._inode.now)

    def close(self) -> None:
        """Nothing becomes safe by closing."""
