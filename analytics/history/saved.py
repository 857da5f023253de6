"""What a fleet has learnt and what is open in it, as bytes: a process that stops goes on where it was.

Only arrays and JSON: no code is loaded. The bytes belong to the same meters in the same order.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.history.causes import Cause
from analytics.history.claims import Mark
from analytics.history.fleet import Fleet
from analytics.history.record import MeterFacts
from analytics.series import SeriesError

VERSION = 1
NOT_KEPT = (
    "facts", "ledger", "closed_days", "walks", "members", "main", "strict", "weather", "times_usual", "false_alarm"
)  # fmt: skip
"""Attributes that the meters give, or that are kept in their own way."""


def save(fleet: Fleet) -> bytes:
    """Everything a fleet knows. `load` gives a fleet that says the same as this one from here on."""
    arrays = {path: owner[key] for path, owner, key in _places(fleet) if isinstance(owner[key], np.ndarray)}
    numbers = {path: _plain(owner[key]) for path, owner, key in _places(fleet) if path not in arrays}
    marks = fleet.ledger.marks
    place = {id(mark): k for k, mark in enumerate(marks)}
    walks = [
        {
            "active": [_cause(cause, place) for cause in walk.active],
            "ended_today": [_cause(cause, place) for cause in walk.ended_today],
        }
        for walk in fleet.balances.walks
    ]
    about = {
        "version": VERSION,
        "meters": [fact.meter for fact in fleet.facts.meters],
        "numbers": numbers,
        "marks": [{f.name: getattr(mark, f.name) for f in fields(Mark)} for mark in marks],
        "latest": [[meter, kind, place[id(mark)]] for (meter, kind), mark in fleet.ledger.latest.items()],
        "walks": walks,
    }
    file = io.BytesIO()
    np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
    return file.getvalue()


def load(
    saved: bytes, meters: Sequence[MeterFacts], closed_days: frozenset[int] = frozenset(), sensitivity: float = 1.0
) -> Fleet:
    """The fleet that was saved.

    Raises
    ------
    SeriesError
        ``saved``: the bytes are of other meters, or of another version.
    """
    fleet = Fleet(meters, closed_days, sensitivity)
    with np.load(io.BytesIO(saved), allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        if about["version"] != VERSION or about["meters"] != [fact.meter for fact in meters]:
            raise SeriesError("saved", "what was saved belongs to other meters or another version")
        for path, owner, key in _places(fleet):
            if path in file:
                owner[key][...] = file[path]
            else:
                value = about["numbers"][path]
                owner[key] = set(value) if isinstance(owner[key], set) else value
    fleet.ledger.marks = [Mark(**{**mark, "evidence": _tuples(mark["evidence"])}) for mark in about["marks"]]
    fleet.ledger.latest = {(meter, kind): fleet.ledger.marks[k] for meter, kind, k in about["latest"]}
    for walk, kept in zip(fleet.balances.walks, about["walks"], strict=True):
        walk.active = [_restored(cause, fleet.ledger.marks) for cause in kept["active"]]
        walk.ended_today = [_restored(cause, fleet.ledger.marks) for cause in kept["ended_today"]]
    fleet.balances.hand_out_bands()
    return fleet


def _places(thing: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, mapping, key) of everything that is kept below an object."""
    owner = vars(thing) if hasattr(thing, "__dict__") else thing
    items = owner.items() if isinstance(owner, dict) else enumerate(owner)
    for key, value in list(items):
        if str(key).startswith("_") or key in NOT_KEPT:
            continue
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, np.ndarray | bool | int | float | set):
            yield here, owner, key
        elif isinstance(value, dict | list | tuple) or type(value).__module__.startswith("analytics."):
            yield from _places(value, here)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value


def _cause(cause: Cause, place: dict[int, int]) -> dict[str, Any]:
    kept = {f.name: getattr(cause, f.name) for f in fields(Cause)}
    kept["sums"], kept["polls"] = cause.sums.tolist(), cause.polls.tolist()
    kept["mark"] = None if cause.mark is None else place.get(id(cause.mark))
    return kept


def _restored(kept: dict[str, Any], marks: Sequence[Mark]) -> Cause:
    sums: NDArray[np.float64] = np.array(kept["sums"], np.float64)
    mark = None if kept["mark"] is None else marks[kept["mark"]]
    return Cause(**{**kept, "sums": sums, "polls": np.array(kept["polls"], np.int64), "mark": mark})


def _tuples(evidence: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in evidence.items()}
