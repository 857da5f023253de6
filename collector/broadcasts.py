"""What may be told to all DL/T 645 meters of a line at once, where the site file switches it on: time, and freeze.

These are the only frames of this program that change anything in a meter. Nobody answers them. The time is told at most
once a day, and only where it is a small correction of clocks that were all read lately: a clock that is off by more
than five minutes is a finding for a person, not something to be put right in silence. Never near midnight, by our clock
or by any of theirs: no meter shall have its midnight twice, or not at all.

References
----------
DL/T 645-2007, clause 7: broadcast time (function 08: up to five minutes, not within five minutes of midnight, once a
day), freeze (function 16).
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from collector.protocols.dlt645 import clock_broadcast, freeze_broadcast
from collector.watch import Watch
from meterline.clock import NS
from meterline.lines import LineSettings
from meterline.meter_clock import DAY_S, digits_of
from meterline.readings import ClockState

log = logging.getLogger(__name__)

MOST_S = 300.0
"""The largest correction. [s]"""
WORTH_S = 5.0
"""A clock that is off by less is left alone. [s]"""
CLEAR_S = 600.0
"""So far from midnight, by our clock: then also five minutes by a clock that is five minutes off. [s]"""
FRESH_NS = 7_200 * NS
"""A meter's clock must have been read within this. [ns]"""
OURS = (ClockState.SYNCED, ClockState.SIMULATED)
"""States of our own clock in which it may set others."""


@dataclass
class Broadcasts:
    """The broadcasts of one line.

    Parameters
    ----------
    wanted
        ``time``, ``freeze``: what the site file switches on.
    watches
        Each DL/T 645 meter's word about its clock.
    settings
        Speeds and parities of these meters: each gets its own frame.
    """

    line: str
    wanted: frozenset[str]
    watches: Mapping[str, Watch]
    settings: frozenset[LineSettings]
    zone: ZoneInfo
    clock_state: Callable[[], ClockState]
    _told: dict[str, dt.date] = field(default_factory=dict)
    _complained: bool = False

    def due(self, now_ns: int) -> bytes | None:
        """The frame to send now; None nearly always. What is returned counts as sent today."""
        if not self.wanted or not self.watches or self.clock_state() not in OURS:
            return None
        local = dt.datetime.fromtimestamp(now_ns // NS, self.zone)
        second = local.hour * 3600 + local.minute * 60 + local.second
        if not CLEAR_S <= second <= DAY_S - CLEAR_S:
            return None
        if "time" in self.wanted and self._told.get("time") != local.date() and self._is_small(now_ns):
            self._told["time"] = local.date()
            log.info("%s: telling the meters the time", self.line)
            return clock_broadcast(digits_of(now_ns, self.zone))
        if "freeze" in self.wanted and self._told.get("freeze") != local.date():
            self._told["freeze"] = local.date()
            log.info("%s: telling the meters to freeze their counters each midnight", self.line)
            return freeze_broadcast()
        return None

    def _is_small(self, now_ns: int) -> bool:
        """Whether every clock of the line is known and near, and one of them worth a correction."""
        offsets: dict[str, float] = {}
        for meter, watch in self.watches.items():
            if watch.clock_offset_s is None or not 0 <= now_ns - watch.clock_read_ns <= FRESH_NS:
                return False
            offsets[meter] = watch.clock_offset_s
        far = sorted(meter for meter, offset in offsets.items() if abs(offset) > MOST_S)
        if far:
            if not self._complained:
                log.warning("%s: clocks too far off to be set by broadcast: %s", self.line, ", ".join(far))
            self._complained = True
            return False
        self._complained = False
        return any(abs(offset) > WORTH_S for offset in offsets.values())
