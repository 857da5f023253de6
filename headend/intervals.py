"""What the catalogue keeps of a counter: amounts of intervals with their revision, and breaks of its track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from meterline.readings import Quality

Resolution = Literal["15min", "hour", "day"]
RESOLUTIONS: tuple[Resolution, ...] = ("15min", "hour", "day")


@dataclass(frozen=True, slots=True)
class Interval:
    """What one counter of one meter counted in one interval, primary side.

    Attributes
    ----------
    micro
        Energy, volume, mass ... [1e-6 canonical unit]
    u_micro
        Standard uncertainty of the amount's place in time (see `analytics.counters`); None where unknown.
    coverage
        Share between believed readings not too far apart; 1 is fully measured.
    quality
        `Quality` bits.
    open
        No reading has passed its end yet: the amount may still grow.
    revision, computed_ns, reason
        Which version of the value this is, since when, and why it was computed.
    """

    meter: str
    measurand: str
    resolution: Resolution
    start_ns: int
    end_ns: int
    micro: int
    u_micro: float | None
    coverage: float
    quality: int
    open: bool
    revision: int = 1
    computed_ns: int = 0
    reason: str = ""

    @property
    def has_energy(self) -> bool:
        """Whether there is an amount at all; where not, `micro` means nothing (and is not zero energy)."""
        return not self.quality & Quality.MISSING

    def same_value(self, other: Interval) -> bool:
        """Whether a reader would see no difference."""
        return (
            self.end_ns == other.end_ns
            and self.micro == other.micro
            and self.quality == other.quality
            and self.open == other.open
            and abs(self.coverage - other.coverage) < 1e-9
        )


@dataclass(frozen=True, slots=True)
class EventRow:
    """One break of a counter's track, as `analytics.counter_track.CounterEvent` names it."""

    kind: str
    t_before_ns: int
    t_after_ns: int
    before_micro: int
    after_micro: int
    correction_micro: int
    set_aside: int
