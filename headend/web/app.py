"""The page and its JSON as one FastAPI application: no build step, nothing from elsewhere, works without a network."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from analytics.carbon import Purpose
from headend.alerts.outbox import Outbox
from headend.completeness import CompletenessLedger
from headend.completeness_book import CompletenessBook
from headend.findings import FindingsBook
from headend.queries import Queries
from headend.stores.embedded import EmbeddedReader
from headend.web.api import api_router
from headend.web.completeness import CompletenessViews
from headend.web.completeness_api import completeness_router
from headend.web.energy import EnergyViews
from headend.web.guard import LOOPBACK, FormGuard, guarded
from headend.web.pages import Pages
from headend.web.views import Views
from meterline.clock import Clock
from meterline.errors import StoreUnavailable
from meterline.factors import Factor, load_factors
from meterline.paths import factors_dir
from meterline.plant import Plant

HERE = Path(__file__).resolve().parent


def create_app(
    queries: Queries,
    book: FindingsBook,
    plant: Plant,
    clock: Clock,
    *,
    outbox: Outbox | None = None,
    purpose: Purpose | None = None,
    factors: Sequence[Factor] | None = None,
    hosts: Collection[str] = LOOPBACK,
) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    clock
        The plant's; a simulated one puts the word SIMULATED on every page.
    outbox
        For the state of the mails.
    purpose
        What the carbon figures are for; none without it.
    factors
        Coefficients; the shipped ones if None.
    hosts
        Names this page answers to; add the public one behind an authenticating proxy.
    """
    app = FastAPI(
        title="meterline head-end",
        description="The plant's energy data, each value with its age and doubt. Loopback only; there is no login.",
        version=version("meterline"),
        docs_url=None,  # the stock documentation pages load scripts from a CDN
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    guard = FormGuard()
    views = Views(queries, book, plant, simulated=clock.simulated)
    energy = EnergyViews(views, load_factors(factors_dir()) if factors is None else factors, purpose)
    completeness = _completeness(queries, plant, clock, views)
    pages = Pages(
        views,
        energy,
        clock,
        guard,
        outbox,
        plotly=f"/static/plotly-{version('plotly')}.min.js",
        completeness=completeness,
    )
    app.middleware("http")(guarded(frozenset(hosts)))
    app.include_router(api_router(views, energy, clock, guard))
    app.include_router(pages.router)
    if completeness is not None:
        app.include_router(completeness_router(completeness, clock))
    plotly = _plotly()

    @app.get("/static/plotly-{edition}.min.js", include_in_schema=False)
    def plotly_js(edition: str) -> FileResponse:
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(plotly, media_type="text/javascript", headers=headers)

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> FileResponse:
        return FileResponse(HERE / "static" / "favicon.svg", media_type="image/svg+xml")

    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")

    @app.exception_handler(StoreUnavailable)
    def unavailable(request: Request, error: StoreUnavailable) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"detail": str(error)}, 503, headers={"Retry-After": "5"})
        return pages.error(request, 503, str(error))

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/api/") or error.status_code != 404:
            return JSONResponse({"detail": error.detail}, error.status_code)
        return pages.error(request, 404, "")

    return app


def _completeness(queries: Queries, plant: Plant, clock: Clock, views: Views) -> CompletenessViews | None:
    """Only the store that keeps evidence can say what came in when."""
    if not isinstance(queries.store, EmbeddedReader):
        return None
    book = CompletenessBook(queries.catalogue.path, write=False)
    ledger = CompletenessLedger(plant, queries.store, queries.catalogue, book, clock.factor)
    return CompletenessViews(ledger, views, clock)


def _plotly() -> Path:
    """The script inside the plotly wheel; importing the package is not needed for that."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("the plotly package is missing: reinstall meterline")
    return Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
