"""What programs ask, as JSON under ``/api``; described by ``/api/openapi.json``.

Times are ISO 8601 in plant time with its offset. A value that is not known is null, never zero; `grade` and `quality`
say what may be doubted about one that is.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.entries import State
from headend.findings import NoSuchFinding
from headend.intervals import Resolution
from headend.metered import power_of
from headend.stores.api import Span
from headend.web.energy import EnergyViews
from headend.web.guard import FormGuard
from headend.web.shown import (
    CurveData,
    EnergyData,
    Evidence,
    FindingLine,
    IntervalData,
    MeterLine,
    Name,
    Overview,
    Value,
)
from headend.web.views import Views, name_of
from meterline.clock import NS, Clock
from meterline.measurands import MEASURANDS

MOST_POINTS = 5000
DAY_NS = 86_400 * NS
LONGEST_NS = {"15min": 62 * DAY_NS, "hour": 370 * DAY_NS, "day": 3700 * DAY_NS}
Moment = Annotated[
    str | None,
    Query(description="ISO 8601; with an offset, or in plant time without one", examples=["2026-03-02T16:00"]),
]

Hours = Annotated[
    float, Query(gt=0, le=24 * 3700, description="length of the span before `end` if there is no `start`")
]


class Site(BaseModel):
    """The plant behind this head-end."""

    id: str
    name: Name
    timezone: str
    simulated: bool
    now: str
    meters: list[str]
    energy_users: list[str]


class Acknowledgement(BaseModel):
    """Who knows, and what they do about it."""

    model_config = ConfigDict(extra="forbid")
    who: Annotated[str, Field(min_length=1, max_length=80)]
    why: Annotated[str, Field(max_length=500)] = ""


class MeterDetail(BaseModel):
    """One meter with its newest values."""

    line: MeterLine
    values: list[Value]


def api_router(views: Views, energy: EnergyViews, clock: Clock, guard: FormGuard) -> APIRouter:
    """The routes, over one plant."""
    router = APIRouter(prefix="/api", tags=["head-end"])
    plant, book = views.plant, views.book

    def meter_of(meter: str) -> str:
        if meter not in plant.meters:
            raise HTTPException(404, f"there is no meter {meter!r} in the site file")
        return meter

    def span_of(start: str | None, end: str | None, hours: float, longest_ns: int) -> Span:
        end_ns = clock.now_ns() if end is None else moment_ns(end, views)
        start_ns = end_ns - round(hours * 3600) * NS if start is None else moment_ns(start, views)
        if start_ns >= end_ns:
            raise HTTPException(422, "start must be before end")
        if end_ns - start_ns > longest_ns:
            raise HTTPException(422, f"at most {longest_ns // DAY_NS} days at once")
        return Span(start_ns, end_ns)

    @router.get("/site")
    def site() -> Site:
        """Which plant this is, and what time it is there."""
        info = plant.site.site
        return Site(
            id=info.id,
            name=name_of(info.name),
            timezone=info.timezone,
            simulated=views.simulated,
            now=views.iso(clock.now_ns()),
            meters=list(plant.meters),
            energy_users=list(plant.energy_users),
        )

    @router.get("/overview")
    def overview() -> Overview:
        """Every energy user and meter at a glance."""
        return views.overview(clock.now_ns())

    @router.get("/meters/{meter}")
    def meter_detail(meter: str) -> MeterDetail:
        """One meter's newest values."""
        now_ns = clock.now_ns()
        latest = views.queries.latest(now_ns).get(meter_of(meter), {})
        entries = book.entries(now_ns=now_ns, states={State.OPEN, State.ACKNOWLEDGED}, meter=meter)
        return MeterDetail(
            line=views.meter_line(meter, latest, entries, now_ns),
            values=[views.value(latest[name]) for name in sorted(latest)],
        )

    @router.get("/meters/{meter}/curve")
    def curve(
        meter: str,
        measurand: str | None = None,
        start: Moment = None,
        end: Moment = None,
        hours: Hours = 6,
        most: Annotated[int, Query(ge=2, le=MOST_POINTS)] = 1500,
    ) -> CurveData:
        """A measurand in time (the power or flow if none is named), by default of the last six hours."""
        name = measurand or power_of(plant, plant.meters[meter_of(meter)]) or "power.active.total"
        if name not in MEASURANDS:
            raise HTTPException(422, f"there is no measurand {name!r}")
        return views.curve(meter, name, span_of(start, end, hours, 400 * DAY_NS), most)

    @router.get("/meters/{meter}/intervals")
    def intervals(
        meter: str,
        resolution: Resolution = "hour",
        measurand: str | None = None,
        start: Moment = None,
        end: Moment = None,
        hours: Hours = 24,
    ) -> list[IntervalData]:
        """Interval amounts of the meter's account (or another counter of it); what is not there is not known."""
        span = span_of(start, end, hours, LONGEST_NS[resolution])
        return views.intervals(meter_of(meter), resolution, span, measurand)

    @router.get("/meters/{meter}/evidence")
    def evidence(meter: str, start: Moment = None, end: Moment = None, hours: Hours = 1) -> list[Evidence]:
        """The signed batches a meter's readings came in (the first hundred of a span of at most a day)."""
        return views.evidence(meter_of(meter), span_of(start, end, hours, DAY_NS))

    @router.get("/evidence/{gateway}/{epoch}/{seq}", response_class=Response)
    def batch(gateway: str, epoch: str, seq: int) -> Response:
        """A batch, byte for byte as its gateway signed it."""
        message = views.queries.store.evidence(gateway, epoch, seq)
        if message is None:
            raise HTTPException(404, "no such batch is stored")
        name = f"{gateway}-{epoch}-{seq}.batch" if f"{gateway}{epoch}".replace("-", "").isalnum() else "batch"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(message, media_type="application/octet-stream", headers=headers)

    @router.get("/energy")
    def energy_of(first: dt.date | None = None, last: dt.date | None = None) -> EnergyData:
        """Coal equivalent, carbon, load shape and specific energy of some days, both included; today without them."""
        now_ns = clock.now_ns()
        begin = first or last or energy.today(now_ns)
        end = last or first or begin
        if end < begin or (end - begin).days > 400:
            raise HTTPException(422, "first must not be after last, and at most 400 days at once")
        return energy.report(begin, end, now_ns)

    @router.get("/findings")
    def findings(
        state: Annotated[list[State] | None, Query()] = None,
        meter: str | None = None,
        before: int | None = None,
        most: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> list[FindingLine]:
        """The book, the newest first; `before` is the last number of the page before."""
        now_ns = clock.now_ns()
        entries = book.entries(now_ns=now_ns, states=state, meter=meter, before=before, most=most)
        return [views.finding(entry, now_ns) for entry in entries]

    @router.get("/findings/{number}")
    def finding(number: int) -> FindingLine:
        """One finding."""
        entry = book.find(number)
        if entry is None:
            raise HTTPException(404, f"there is no finding #{number}")
        return views.finding(entry, clock.now_ns())

    @router.post("/findings/{number}/acknowledge")
    def acknowledge(number: int, by: Acknowledgement, request: Request) -> FindingLine:
        """Say that someone knows. The request comes from this origin, or from a program (no browser's headers)."""
        guard.same_origin(request)
        now_ns = clock.now_ns()
        try:
            entry = book.acknowledge(number, who=by.who, why=by.why, now_ns=now_ns)
        except NoSuchFinding as error:
            raise HTTPException(404, str(error)) from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return views.finding(entry, now_ns)

    @router.get("/status")
    def status() -> dict[str, Any]:
        """Gateways, ledger, store: what ``meterline status --json`` prints."""
        return views.queries.status(clock.now_ns())

    return router


def moment_ns(text: str, views: Views) -> int:
    """A moment a person or program wrote, UTC. [ns]"""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise HTTPException(422, f"{text!r} is no time; write 2026-03-02T16:00") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=views.zone)
    return int(moment.timestamp()) * NS + moment.microsecond * 1000
