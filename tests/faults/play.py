"""Faults as functions: each is registered under its number of the catalogue and is played on a chain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tests.faults.chain import Chain
from tests.faults.plant_files import METERS, Wish

Profile = Literal["test", "soak"]


@dataclass
class Play:
    """One fault being played.

    Attributes
    ----------
    notes, problems
        What is worth a word in the table; what the fault's own expectations found wanting.
    over_s
        When the fault ended (monotonic). [s]
    meters
        Those that must be fresh again afterwards.
    """

    chain: Chain
    rng: Random
    profile: Profile
    began_s: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    over_s: float | None = None
    meters: tuple[str, ...] = METERS
    alerts: str = ""
    traceback_meant: bool = False
    """The scene itself makes a thread fail."""
    within_s: float = 30.0
    """Recovery has so long. [s]"""

    def over(self) -> None:
        """The fault ends now."""
        self.over_s = time.monotonic()

    def expect(self, holds: bool, what: str) -> None:
        """Note a problem unless it holds."""
        if not holds:
            self.problems.append(what)

    def count(self, test: int, soak: int) -> int:
        """How often, in this profile."""
        return soak if self.profile == "soak" else test

    def said(self, program: str, text: str) -> bool:
        """Whether gateway or headend has said it since the fault began."""
        return bool(getattr(self.chain, program).said(text, self.began_s))

    def state(self, program: str, word: str) -> None:
        """The fault has to be a state of its own: announced once, and announced as over once (checked afterwards)."""
        self.alerts = f"{program}:{word}"


Script = Callable[[Chain, Play], None]


@dataclass(frozen=True)
class Scene:
    """A fault that can be played."""

    fault: str
    script: Script
    stage: str
    profile: Profile
    """``test``: in `make test` and `make soak`; ``soak``: only there."""
    last: bool = False
    """Ends its chain: what follows gets a new one."""


STAGES: dict[str, Wish] = {}
LONG: set[str] = set()
SCENES: list[Scene] = []


def stage(name: str, wish: Wish, *, long: bool = False) -> str:
    """Give a kind of chain a name; scenes of one stage share chains. The long ones are begun first."""
    STAGES[name] = wish
    if long:
        LONG.add(name)
    return name


def plays(fault: str, *, on: str, profile: Profile = "test", last: bool = False) -> Callable[[Script], Script]:
    """Register a script for a fault of the catalogue."""

    def register(script: Script) -> Script:
        SCENES.append(Scene(fault, script, on, profile, last))
        return script

    return register
