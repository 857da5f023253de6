"""The shipped command with switches in it: ``python hooked_process.py ORDERS TARGETS CONSTANTS gateway ...``.

Nothing of the product is replaced. Named functions are wrapped, and a file of orders, looked at on every call, says
what happens there: the process is killed before or after the n-th call, the call fails, hangs or is slow. So a kill can
be put between two lines (after the journal's commit and before the publish) and a disk can be full without one.

``TARGETS`` is a comma-separated list of ``module:Class.function``; the word ``disk`` stands for the gateway's one door
to its files, ``clock`` for the wall clock. ``CONSTANTS`` is a JSON object, ``module:NAME`` -> value.

Orders are a JSON object, target -> what to do:

========================  =========================================================================================
``{"do": "kill-before"}``  SIGKILL instead of the call; ``"nth": 3`` waits for the third one
``{"do": "kill-after"}``   SIGKILL when the call has returned
``{"do": "raise"}``        RuntimeError; ``"times": 2`` only so often
``{"do": "hang"}``         does not return until the order is gone
``{"do": "sleep"}``        takes ``"s"`` seconds longer
``disk``                   ``full``, ``read-only``, ``eio`` (syncs fail), ``slow`` with ``"s"``; ``power-cut`` with
                          ``"nth"``: SIGKILL instead of that sync. How long each file was at its last sync is written
                          down beside the orders, so that the rest can be taken away.
``quota``                  ``{"bytes": 5000}``: the journal may take so much
``clock``                  ``{"do": "shift", "s": 3600}``: the wall clock is so much ahead
========================  =========================================================================================
"""

from __future__ import annotations

import errno
import functools
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOOK_S = 0.02
_SMALL_SEGMENT = 1500


class Orders:
    """The file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._looked_s = -1.0
        self._stamp = 0
        self._now: dict[str, dict[str, Any]] = {}
        self._calls: dict[str, int] = {}

    def of(self, target: str) -> dict[str, Any]:
        """What to do at a target now; empty for nothing."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_s >= _LOOK_S:
                self._looked_s = now_s
                stamp = self.path.stat().st_mtime_ns if self.path.exists() else 0
                if stamp != self._stamp:
                    self._now = json.loads(self.path.read_text(encoding="utf-8"))
                    self._stamp = stamp
                    self._calls.clear()
            return self._now.get(target, {})

    def count(self, target: str) -> int:
        """This is the n-th call since the orders last changed."""
        with self._lock:
            self._calls[target] = self._calls.get(target, 0) + 1
            return self._calls[target]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hook(orders: Orders, target: str) -> None:
    """Wrap one function."""
    module_name, _, name = target.partition(":")
    home: Any = importlib.import_module(module_name)
    *path, last = name.split(".")
    for part in path:
        home = getattr(home, part)
    original: Callable[..., Any] = getattr(home, last)

    @functools.wraps(original)
    def wrapped(*args: Any, **named: Any) -> Any:
        order = orders.of(target)
        do = order.get("do", "")
        if not do:
            return original(*args, **named)
        number = orders.count(target)
        due = number >= order.get("nth", 1)
        if do == "kill-before" and due:
            die()
        if do == "raise" and number <= order.get("times", 1 << 30):
            raise RuntimeError(f"ordered to fail at {target}")
        while do == "hang" and orders.of(target).get("do") == "hang":
            time.sleep(0.05)
        if do == "sleep":
            be_slow(order["s"])
        result = original(*args, **named)
        if do == "kill-after" and due:
            die()
        return result

    setattr(home, last, wrapped)


def be_slow(seconds: float) -> None:
    """What the scene ordered: the call takes so much longer."""
    over = time.monotonic() + seconds
    while (left := over - time.monotonic()) > 0:
        time.sleep(left)


def hook_disk(orders: Orders) -> None:
    """A disk that is full, read-only, failing or slow, at the gateway's one door to its files."""
    from gateway_firmware_py import files

    def trouble(kind: str) -> None:
        order = orders.of("disk")
        do = order.get("do", "")
        if do == "full" and kind in ("write", "make"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if do == "read-only":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if do == "eio" and kind == "sync":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if do == "slow" and kind == "sync":
            be_slow(order["s"])

    sync_data = vars(files)["_sync_data"]
    synced = os.open(orders.path.with_name("synced.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def sync(handle: int) -> None:
        order = orders.of("disk")
        if order.get("do") == "power-cut" and orders.count("disk") >= order["nth"]:
            die()
        sync_data(handle)
        path = os.readlink(f"/proc/self/fd/{handle}")
        os.write(synced, (json.dumps([path, os.fstat(handle).st_size]) + "\n").encode())

    vars(files)["_sync_data"] = sync
    appender = type(files.DiskFiles().append(Path(os.devnull)))
    kinds = {
        (appender, "write"): "write",
        (appender, "sync"): "sync",
        (files.DiskFiles, "append"): "make",
        (files.DiskFiles, "write_whole"): "write",
        (files.DiskFiles, "truncate"): "change",
        (files.DiskFiles, "rename"): "change",
        (files.DiskFiles, "unlink"): "change",
        (files.DiskFiles, "make_folder"): "make",
        (files.DiskFiles, "sync_folder"): "sync",
    }
    for (owner, name), kind in kinds.items():
        original = getattr(owner, name)

        def wrapped(*args: Any, _original: Any = original, _kind: str = kind, **named: Any) -> Any:
            trouble(_kind)
            return _original(*args, **named)

        setattr(owner, name, wrapped)


def hook_quota(orders: Orders) -> None:
    """A quota of so many bytes and segments to match: the least the settings allow takes hours to fill."""
    from gateway_firmware_py import main, retention
    from gateway_firmware_py.journal import Journal

    original = retention.over_quota

    def over_quota(journal: Journal, frames: Any, rules: Any) -> bool:
        most: int | None = orders.of("quota").get("bytes")
        return original(journal, frames, rules) if most is None else journal.size > most

    for home in (retention, main):
        vars(home)["over_quota"] = over_quota
    defaults = Journal.__init__.__kwdefaults__
    assert defaults is not None
    defaults["segment_bytes"] = _SMALL_SEGMENT


def hook_clock(orders: Orders) -> None:
    """A wall clock that is wrong; the monotonic one is not touched, as on a real box."""
    from meterline import clock

    class Shifted:
        def __getattr__(self, name: str) -> Any:
            return getattr(time, name)

        def time_ns(self) -> int:
            ahead_s: float = orders.of("clock").get("s", 0.0)
            return time.time_ns() + round(ahead_s * 1e9)

    vars(clock)["time"] = Shifted()


def main() -> None:
    orders, targets, constants, arguments = Orders(Path(sys.argv[1])), sys.argv[2], sys.argv[3], sys.argv[4:]
    for name, value in json.loads(constants).items():
        module, _, constant = name.partition(":")
        home = vars(importlib.import_module(module))
        home[constant] = type(home[constant])(value)  # a name that is gone, or of another kind, ends this at once
    for target in filter(None, targets.split(",")):
        if target == "disk":
            hook_disk(orders)
        elif target == "quota":
            hook_quota(orders)
        elif target == "clock":
            hook_clock(orders)
        else:
            hook(orders, target)
    sys.argv = ["meterline", *arguments]
    from meterline.cli import main as command

    command()


if __name__ == "__main__":
    main()
