"""The ledger of installed meters (计量器具台账): what hangs where, whether it delivers, whether it is in date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from headend.plant_days import day_of
from headend.queries import Queries
from headend.stores.api import Span
from meterline.measurands import Carrier
from meterline.plant import Meter

DUE_SOON = dt.timedelta(days=60)
"""A certificate that ends within this is worth an appointment."""
_EVER = Span(0, 2**62)


@dataclass(frozen=True, slots=True)
class Installed:
    """One instrument.

    Attributes
    ----------
    last_good_ns
        When its last usable value was read, UTC; None: never. [ns]
    silent_since_ns, cause
        Since when it has not answered, as its gateway says, and why; None and empty while it answers. [ns]
    certificate_until, certificate
        Last day of validity, and ``valid``, ``due`` (within 60 days), ``overdue`` or ``unknown``.
    """

    meter: str
    name_en: str
    name_zh: str
    energy_user: str
    carrier: Carrier
    profile: str
    bus: str
    address: str
    serial: str
    accuracy_class: str
    last_good_ns: int | None
    silent_since_ns: int | None
    cause: str
    certificate_until: dt.date | None
    certificate: str


def inventory(queries: Queries, now_ns: int) -> list[Installed]:
    """Every meter of the plant, in the order of the site file."""
    good = queries.good_until()
    today = day_of(queries.plant.site.site.zone, now_ns)
    return [_row(queries, meter, good.get(meter.id), today) for meter in queries.plant.site.meters]


def overdue(rows: Sequence[Installed]) -> list[Installed]:
    """Those whose certificate has run out."""
    return [row for row in rows if row.certificate == "overdue"]


def _row(queries: Queries, meter: Meter, good_ns: int | None, today: dt.date) -> Installed:
    lasting = [s for s in queries.store.missing(meter.id, _EVER) if s.end_ns is None and s.start_ns > (good_ns or 0)]
    silence = lasting[-1] if lasting else None
    until = meter.certificate.valid_until
    return Installed(
        meter=meter.id,
        name_en=meter.name.en,
        name_zh=meter.name.zh,
        energy_user=meter.energy_user,
        carrier=queries.plant.carrier_of(meter),
        profile=meter.profile,
        bus=meter.bus,
        address=meter.address,
        serial=meter.serial,
        accuracy_class=meter.accuracy_class,
        last_good_ns=good_ns,
        silent_since_ns=silence.start_ns if silence else None,
        cause=silence.cause if silence else "",
        certificate_until=until,
        certificate=_certificate(until, today),
    )


def _certificate(until: dt.date | None, today: dt.date) -> str:
    if until is None:
        return "unknown"
    if until < today:
        return "overdue"
    return "due" if until - today <= DUE_SOON else "valid"
