"""What every ``meterline bench NAME --json`` prints: one object of figures (DESIGN §13)."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from meterline.cli.screen import Screen


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes
    ----------
    better : str
        ``lower`` or ``higher``.
    limit : float or None
        The theoretical bound.
    reference : (name, value) or None
        What was run beside it in the same run.
    """

    name: str
    value: float
    unit: str
    better: Literal["lower", "higher"]
    limit: float | None = None
    reference: tuple[str, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """The figure in the shape of the contract; absent parts are left out."""
        body: dict[str, Any] = {"name": self.name, "value": self.value, "unit": self.unit, "better": self.better}
        if self.limit is not None:
            body["limit"] = self.limit
        if self.reference is not None:
            name, value = self.reference
            body["reference"] = {"name": name, "value": value}
            body["ratio"] = self.value / value if value else None
        return body


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def report(screen: Screen, name: str, parameters: Mapping[str, Any], figures: Sequence[Figure]) -> None:
    """Print the figures, as a table or as the one object of the contract."""
    screen.json(
        {
            "bench": name,
            "machine": machine(),
            "parameters": dict(parameters),
            "figures": [figure.as_json() for figure in figures],
        }
    )
    rows = [(figure.name, f"{figure.value:.4g}", figure.unit) for figure in figures]
    screen.table(("bench.figure", "bench.value", "bench.unit"), rows, right=(1,))
