"""All scenes, in the order they are played."""

from __future__ import annotations

from tests.faults import (
    scenes_clock,
    scenes_disk,
    scenes_ingest,
    scenes_load,
    scenes_meters,
    scenes_network,
    scenes_process,
)

__all__ = [
    "scenes_clock",
    "scenes_disk",
    "scenes_ingest",
    "scenes_load",
    "scenes_meters",
    "scenes_network",
    "scenes_process",
]
