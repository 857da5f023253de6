"""Run the command line inside the test process, or as the process a user starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

SITE = """\
# The east works; kept by Li.
site:
  id: east-works
  name: {en: "East works", zh: "东厂"}
energy_users:
  - {id: plant, name: {en: "Plant", zh: "全厂"}, level: organisation}
  - {id: hall-1, name: {en: "Hall 1", zh: "一车间"}, level: sub_unit, parent: plant}
buses:
  - {id: hall-1-line, kind: rtu-over-tcp, gateway: gw-1, host: 127.0.0.1, port: 4001}   # the MOXA in cabinet 3
  - {id: main-tcp, kind: modbus-tcp, gateway: gw-1, host: 127.0.0.1, port: 5020}
meters:
  # the incoming feeder
  - {id: m-main, name: {en: Main, zh: "总表"}, energy_user: plant, profile: eastron-sdm630, bus: main-tcp, address: "1"}
  - {id: m-hall-1, name: {en: "Hall 1", zh: "一车间"}, energy_user: hall-1,   # behind the press
     profile: eastron-sdm630, bus: hall-1-line, address: "7", fed_by: m-main}
products: []
"""


@dataclass(frozen=True)
class Result:
    """What a run left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def spawn(*args: str, cwd: Path, env: dict[str, str] | None = None, timeout_s: float = 30) -> Result:
    """Start ``meterline`` as a process of its own, in English unless `env` says otherwise."""
    environment = {**os.environ, "METERLINE_LANG": "en", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **(env or {})}
    done = subprocess.run(
        [sys.executable, "-c", "from meterline.cli import main; main()", *args],
        cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=timeout_s, check=False,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)
