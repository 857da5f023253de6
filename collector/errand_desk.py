"""Which errands the meters of a line have: chosen by what their pages say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

from collector.broadcasts import Broadcasts
from collector.contact import Contact
from collector.dialects import Dlt645Dialect
from collector.errands import PERIODS, Desk, Errands, Job, ReadPoints
from collector.memory_dlt645 import memory_jobs
from meterline.readings import ClockState
from meterline.site import Bus


def errands_of(contact: Contact, zone: ZoneInfo, missed_since_ns: int = 0) -> Errands:
    """What one meter is asked beside its turns.

    Parameters
    ----------
    missed_since_ns
        When the gateway itself stopped reading; 0 if that is not known, or it never read. [ns]
    """
    dialect = contact.dialect
    profile = dialect.profile
    rates = {profile.rate_of(point) for point in profile.points if point.enabled}
    jobs: list[Job] = [ReadPoints(dialect, rate) for rate in PERIODS if rate in rates]
    if isinstance(dialect, Dlt645Dialect):
        watch = contact.plausibility.watch
        jobs += memory_jobs(dialect.profile, dialect.memory_request, zone, watch, missed_since_ns)
    return Errands(jobs)


def broadcasts_of(
    bus: Bus, contacts: Mapping[str, Contact], zone: ZoneInfo, clock_state: Callable[[], ClockState]
) -> Broadcasts:
    """What may be told to all DL/T 645 meters of a line."""
    meters = {name: contact for name, contact in contacts.items() if isinstance(contact.dialect, Dlt645Dialect)}
    return Broadcasts(
        bus.id,
        frozenset(bus.broadcasts),
        {name: contact.plausibility.watch for name, contact in meters.items()},
        frozenset(contact.meter.settings_on(bus) for contact in meters.values()),
        zone,
        clock_state,
    )


def errand_desk(contacts: Mapping[str, Contact], zone: ZoneInfo, now_ns: int, missed_since_ns: int = 0) -> Desk:
    """The errands of all meters of a line; see `errands_of`."""
    desk = Desk({name: errands_of(contact, zone, missed_since_ns) for name, contact in contacts.items()})
    if 0 < missed_since_ns < now_ns:
        for name in contacts:
            desk.missed(name, missed_since_ns, now_ns)
    return desk
