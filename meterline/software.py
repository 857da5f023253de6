"""Which software this is, bound to its bytes: the version and a digest over the code that measures and counts.

A changed byte in the code a number depends on changes the identification; a changed page or command line does not.

References
----------
OIML D 31:2019, 6.1; WELMEC 7.2:2023, P2 and U2 (software identification).
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from meterline import __version__

RELEVANT = ("meterline", "collector", "gateway_firmware_py", "headend", "analytics")
PRESENTATION = frozenset({"cli", "web", "alerts", "reports", "simulated", "shipped_config", "shipped_dashboards"})
"""Folders that show or simulate values and cannot change a stored one."""


@cache
def software_id() -> str:
    """``meterline 0.1.0 (3f2a9c01b7de)``: shown by the command line, sent in every batch."""
    digest = hashlib.sha256()
    for package in RELEVANT:
        spec = find_spec(package)  # does not import it: the edge may lack what the head-end needs
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            root = Path(folder)
            for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
                inside = path.relative_to(root)
                if PRESENTATION.isdisjoint(inside.parts):
                    digest.update(f"{package}/{inside.as_posix()}\0".encode())
                    digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return f"meterline {__version__} ({digest.hexdigest()[:12]})"
