"""Where the real servers are: on the machine, or unpacked by `make servers` into `.local/servers`."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

STATE = Path(__file__).resolve().parents[2] / ".local" / "servers" / "state.json"

# marker of a test -> the servers it needs
NEEDS = {
    "needs_mosquitto": ("mosquitto",),
    "needs_influxdb": ("influxdb",),
    "needs_libmodbus": ("libmodbus",),
    "needs_mbpoll": ("mbpoll",),
    "needs_socat": ("socat",),
    "needs_chromium": ("chromium",),
}
IN_PATH = {
    "mosquitto": "mosquitto",
    "influxdb": "influxd",
    "mbpoll": "mbpoll",
    "socat": "socat",
    "chromium": "chromium",
}
SKIP_WORD = "server missing"  # starts the reason of every such skip, so that the summary can count them


@dataclass(frozen=True)
class Program:
    """A server's executable (or library) and the environment it needs to start."""

    path: str
    environment: dict[str, str]


@cache
def _state() -> dict[str, dict[str, str]]:
    try:
        state: dict[str, dict[str, str]] = json.loads(STATE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return state


def why_missing(name: str) -> str | None:
    """Give None if the server is there, else the reason why not."""
    if name in os.environ.get("METERLINE_SKIP_SERVERS", "").split(","):
        return "left out by METERLINE_SKIP_SERVERS"
    if locate(name):
        return None
    return _state().get("missing", {}).get(name, "not fetched: run `make servers`")


def locate(name: str) -> str | None:
    path = _state().get("found", {}).get(name)
    if path and Path(path).exists():
        return path
    program = IN_PATH.get(name)
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin") if program else None


def require(name: str) -> Program:
    """Find a server or skip the test with the reason."""
    reason = why_missing(name)
    path = locate(name)
    if reason or path is None:
        pytest.skip(f"{SKIP_WORD}: {name}: {reason}")
    environment = dict(os.environ)
    state: dict[str, object] = dict(_state())
    if str(STATE.parent) in path:
        environment["LD_LIBRARY_PATH"] = str(state.get("library_path", ""))
    if name == "chromium" and "fonts" in state:  # Chinese glyphs, from the unpacked font package
        environment["XDG_DATA_HOME"] = str(state["fonts"])
    return Program(path, environment)
