"""Is this meter wired, named and described rightly? What a person checks once, beside the cabinet, with the line free.

`watch` reads a meter for about a minute; the checks are pure functions over what it brought. Each says passed, failed,
or that it cannot tell and why: nothing here passes for want of evidence.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable

from collector.bus import Line
from collector.commission_energy import advance, display
from collector.commission_facts import Check, Facts, Told, Watched
from collector.commission_identity import answers, clock_of, number
from collector.commission_wiring import clamp, connection, powers, ratio, sequence, sums, voltages
from collector.dialects import dialect_of
from collector.oneshot import read_on
from collector.transports import Transport
from meterline.clock import Clock
from meterline.plant import Plant
from meterline.profiles import Profile
from meterline.readings import Poll
from meterline.site import Bus, Meter

LEAST_REST_S = 2.0
RULES: tuple[Callable[[Facts], Iterable[Check]], ...] = (
    number, clock_of, voltages, sequence, powers, sums, connection, ratio, clamp, advance, display,
)  # fmt: skip


async def watch(
    bus: Bus,
    meter: Meter,
    profile: Profile,
    clock: Clock,
    seconds: float,
    notify: Callable[[Poll], None] = lambda poll: None,
    *,
    transport: Transport | None = None,
) -> Watched:
    """Read a meter again and again for some time; at least twice.

    Raises
    ------
    LineDown, Silent, Garbled, Refused
        The meter does not answer.
    """
    loop = asyncio.get_running_loop()
    dialect = dialect_of(profile, meter.address)
    line = Line(bus, clock, transport)
    polls: list[Poll] = []
    until = loop.time() + seconds
    try:
        while True:
            began = loop.time()
            polls.append(await read_on(line, meter, dialect, clock))
            notify(polls[-1])
            if began >= until and len(polls) > 1:
                return Watched(tuple(polls))
            rest = max(LEAST_REST_S, seconds / 20)
            await asyncio.sleep(min(rest, max(0.0, until - loop.time())))
    finally:
        line.close()


def examine(plant: Plant, meter: Meter, watched: Watched, told: Told, now: dt.datetime) -> list[Check]:
    """Everything that can be said of a meter from a minute's watch and a look at its plates."""
    facts = Facts(plant, meter, watched, told, watched.last, now)
    checks: list[Check] = [answers(watched)]
    for rule in RULES:
        checks += rule(facts)
    return checks
