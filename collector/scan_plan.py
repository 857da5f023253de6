"""What a scan asks, in which order, and how long that takes: the likeliest and the cheapest first.

A stage is one protocol at one line setting. Its cost is counted in questions; what a question costs is first worked
out from the speed and the patience, then taken from the questions already asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from meterline.lines import BITS_A_CHARACTER, LineSettings, Parity
from meterline.profiles import Profile
from meterline.site import Bus

Tongue = Literal["modbus", "dlt645", "dlt645-1997", "cjt188", "mbus"]
"""A protocol as far as it has to be told apart on a line."""
EVERY_TONGUE: tuple[Tongue, ...] = ("modbus", "dlt645", "dlt645-1997", "cjt188", "mbus")

SERIAL_PATIENCE_S = 0.2
"""Wait for a Modbus answer on a serial line: meters begin within 20 to 100 ms; later answers are known by address."""
TCP_PATIENCE_S = 0.5
PATIENCE_S: dict[Tongue, float] = {"dlt645": 0.6, "dlt645-1997": 0.6, "cjt188": 1.0, "mbus": 0.35}
"""Wait for a meter to begin: 500 ms by DL/T 645, 330 bit times and 50 ms by M-Bus. [s]"""
MODBUS_ADDRESSES = tuple(range(1, 248))
TCP_UNITS = (1, 255, 0, *range(2, 248))
"""Units behind a Modbus/TCP address: a meter's own port answers to 1, 255 or 0."""

# From profiles, manuals and sites: what meters leave the factory with, the likeliest first; the checks for DL/T 645
# and CJ/T 188 cost a few seconds each, a sweep of Modbus addresses a minute.
LIKELY: tuple[tuple[int, Parity, tuple[Tongue, ...]], ...] = (
    (2400, "E", ("dlt645", "cjt188")),
    (9600, "N", ("modbus",)),
    (9600, "E", ("dlt645", "modbus")),
    (1200, "E", ("dlt645-1997", "dlt645")),
    (4800, "E", ("dlt645",)),
    (19200, "E", ("modbus",)),
    (19200, "N", ("modbus",)),
    (4800, "N", ("modbus",)),
    (2400, "E", ("dlt645-1997",)),
    (38400, "N", ("modbus",)),
    (115200, "N", ("modbus",)),
    (2400, "N", ("modbus",)),
)


@dataclass
class Stage:
    """One protocol at one setting.

    Attributes
    ----------
    setting
        None where the line's speed is not ours to set (a network connection, a pseudo-terminal).
    addresses
        Modbus units still to be asked, in order.
    predicted_s
        One unanswered question, worked out. [s]
    patience_s
        How long an answer is waited for. [s]
    least_left
        Questions certain to come, of a search whose end is not known.
    """

    tongue: Tongue
    setting: LineSettings | None
    addresses: tuple[int, ...] = ()
    predicted_s: float = 0.0
    patience_s: float = SERIAL_PATIENCE_S
    asked: int = 0
    spent_s: float = 0.0
    done: bool = False
    least_left: int = 0

    @property
    def left(self) -> int:
        """Questions still to be asked, as far as is known."""
        if self.done:
            return 0
        return len(self.addresses) - self.asked if self.tongue == "modbus" else self.least_left

    def each_s(self, ratio: float) -> float:
        """What one question costs: as measured here, or as predicted times the measured ratio of other stages. [s]"""
        return self.spent_s / self.asked if self.asked >= 3 else self.predicted_s * ratio


FIRST_QUESTIONS: dict[Tongue, int] = {"dlt645": 3, "dlt645-1997": 3, "cjt188": 9, "mbus": 250}
"""Questions that are asked in any case."""


def stages_of(
    bus: Bus,
    *,
    fixed: bool,
    profiles: Iterable[Profile] = (),
    baud: int | None = None,
    parity: Parity | None = None,
    tongues: Sequence[Tongue] = (),
    addresses: Sequence[int] = (),
    patience_s: float | None = None,
) -> list[Stage]:
    """The stages of a scan, in order.

    Parameters
    ----------
    fixed
        Whether the line's speed cannot be chosen.
    profiles
        Shipped pages: settings that makers name and the list above does not have are tried last.
    baud, parity, tongues, addresses, patience_s
        The person's own limits; empty for "whatever is likely".
    """
    wanted = addresses or (TCP_UNITS if bus.kind == "modbus-tcp" else MODBUS_ADDRESSES)
    if bus.kind == "modbus-tcp":
        patience = patience_s or TCP_PATIENCE_S
        return [Stage("modbus", None, tuple(wanted), patience, patience)]
    if fixed:
        return [
            _stage(tongue, None, bus.baud, wanted, patience_s) for tongue in EVERY_TONGUE if _is_wanted(tongue, tongues)
        ]
    rows = [(LineSettings(speed, check), tongue) for speed, check, speaks in LIKELY for tongue in speaks]
    rows += [
        (LineSettings(page.line.baud, page.line.parity), tongue_of(page))
        for page in sorted(profiles, key=lambda page: page.profile)
    ]
    if baud or parity:  # named by hand: every protocol at it, whether the list has it or not
        speeds = (baud,) if baud else tuple(dict.fromkeys(setting.baud for setting, _ in rows))
        checks: tuple[Parity, ...] = (parity,) if parity else ("N", "E")
        named = [LineSettings(speed, check) for speed in speeds for check in checks]
        rows = [row for row in rows if row[0] in named] + [
            (setting, tongue)
            for setting in named
            for tongue in EVERY_TONGUE
            if baud and (tongue == "modbus" or setting.parity == "E")
        ]
    found: dict[tuple[LineSettings, Tongue], Stage] = {}
    for setting, tongue in rows:
        if (setting, tongue) not in found and _is_wanted(tongue, tongues):
            found[setting, tongue] = _stage(tongue, setting, setting.baud, wanted, patience_s)
    return list(found.values())


def _is_wanted(tongue: Tongue, tongues: Sequence[Tongue]) -> bool:
    """M-Bus needs a level converter and a sweep of slow questions: only where it is asked for."""
    return tongue in tongues if tongues else tongue != "mbus"


def tongue_of(page: Profile) -> Tongue:
    """What has to be spoken with a meter of a page's type."""
    if page.protocol == "dlt645":
        return "dlt645-1997" if getattr(page, "edition", "2007") == "1997" else "dlt645"
    return page.protocol


def _stage(
    tongue: Tongue, setting: LineSettings | None, baud: int, addresses: Sequence[int], patience_s: float | None
) -> Stage:
    character_s = BITS_A_CHARACTER / baud
    if tongue == "modbus":
        # 8 bytes out, an answer of 7 that does not come, and the silence between frames
        patience = patience_s or SERIAL_PATIENCE_S
        return Stage(tongue, setting, tuple(addresses), patience + 19 * character_s, patience)
    patience = patience_s or PATIENCE_S[tongue]
    return Stage(tongue, setting, (), patience + 44 * character_s, patience, least_left=FIRST_QUESTIONS[tongue])


@dataclass
class Progress:
    """Where a scan stands.

    Attributes
    ----------
    done_s, left_s
        Spent, and still to come as far as is known. [s]
    at_least
        Whether a search is under way whose end is not known: then `left_s` is the least.
    """

    done_s: float
    left_s: float
    at_least: bool
    stage: Stage | None
    found: int

    @property
    def share(self) -> float:
        """How much is done, 0..1."""
        whole = self.done_s + self.left_s
        return self.done_s / whole if whole > 0 else 1.0


@dataclass
class Estimate:
    """Keeps account of time spent, so that the time left is said from what was measured."""

    stages: list[Stage]
    recognised: int = 0
    recognising_s: float = 0.0
    predicted_recognition_s: float = 2.0

    waiting: int = 0
    """Meters found but not looked at yet."""
    _predicted: float = field(default=0.0)
    _spent: float = field(default=0.0)

    def asked(self, stage: Stage, took_s: float, questions: int = 1) -> None:
        """Note questions and their cost."""
        stage.asked += questions
        stage.spent_s += took_s
        self._predicted += questions * stage.predicted_s
        self._spent += took_s

    def recognised_one(self, took_s: float) -> None:
        """Note what a look at one meter cost."""
        self.recognised += 1
        self.recognising_s += took_s
        self.waiting = max(0, self.waiting - 1)

    def left_s(self) -> float:
        """What is still to come. [s]"""
        ratio = self._spent / self._predicted if self._predicted else 1.0
        sweeps = sum(stage.left * stage.each_s(ratio) for stage in self.stages if not stage.done)
        each = self.recognising_s / self.recognised if self.recognised else self.predicted_recognition_s
        return sweeps + self.waiting * each
