"""All scenes, in the order they are played."""

from __future__ import annotations

from tests.faults import scenes_network, scenes_process

__all__ = ["scenes_network", "scenes_process"]
