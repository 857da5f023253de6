"""What a simulated meter says of itself: status words, its clock, its number, what it has counted of events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from collector.simulated.faults import Fault
from meterline.clock import NS
from meterline.measurands import MEASURANDS
from meterline.site import Meter

LOSS_OF_VOLTAGE = 0x0001
"""Bit 0 of a phase's status word: voltage gone, current flowing (DL/T 645-2007 annex C)."""
EVENTS = tuple(name for name in MEASURANDS if name.startswith("events.") and not name.endswith(".last"))


def own_words(
    meter: Meter, t_ns: int, clock_ns: int, zone: ZoneInfo, faults: Sequence[Fault], events: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """Every state of a display.

    Parameters
    ----------
    clock_ns
        What the meter's own clock takes the moment for. [ns]
    events
        Measurand of a count -> when its events began, UTC, earliest first. [ns]
    """
    local = dt.datetime.fromtimestamp(clock_ns // NS, zone)
    words = {
        "clock.date": int(f"{local:%Y%m%d}"),
        "clock.time": int(f"{local:%H%M%S}"),
        "identity.number": number_of(meter),
        **dict.fromkeys(("status.meter", "status.direction", "status.supply", "status.grid"), 0),
        **{f"status.l{n}": 0 for n in (1, 2, 3)},
    }
    for fault in faults:
        if fault.kind == "phase_loss" and fault.active(t_ns):
            words[f"status.l{round(fault.level)}"] = LOSS_OF_VOLTAGE
    for name in EVENTS:
        begun = [at for at in events.get(name, ()) if at <= t_ns]
        words[name] = len(begun)
        words[f"{name}.last"] = int(f"{dt.datetime.fromtimestamp(begun[-1] // NS, zone):%Y%m%d%H%M%S}") if begun else 0
    return words


def number_of(meter: Meter) -> int:
    """The number on the meter's plate: that of the inventory, else its address."""
    text = meter.serial if meter.serial.isdigit() else meter.address
    return int(text) if text.isdigit() else 0
