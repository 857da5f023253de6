"""Completeness for programs: ``/api/completeness``."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from headend.web.completeness import CompletenessViews, DayLine
from meterline.clock import Clock

MOST_DAYS = 62


def completeness_router(views: CompletenessViews, clock: Clock) -> APIRouter:
    """The route."""
    router = APIRouter(prefix="/api", tags=["head-end"])

    @router.get("/completeness", summary="What became of each slot of the plan, per meter and day")
    def completeness(
        first: Annotated[dt.date, Query(alias="from", description="first day of the plant")],
        last: Annotated[dt.date | None, Query(alias="to", description="last day; the first if absent")] = None,
    ) -> list[DayLine]:
        until = last or first
        if not dt.timedelta(0) <= until - first < dt.timedelta(days=MOST_DAYS):
            raise HTTPException(422, f"from one to {MOST_DAYS} days, in order")
        return views.days(first, until, clock.now_ns())

    return router
