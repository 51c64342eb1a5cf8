"""The web role's application: API, pages, static files and health in one FastAPI, built from parts handed in."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from headend.api import errors, health
from headend.api.deps import Parts, RolloutDoor
from headend.api.routers import router as api
from headend.domain.clock import Clock
from headend.ingest.adoption import Adoption
from headend.rollout.service import RolloutService
from headend.settings import Settings
from headend.store.pool import Store
from headend.web import static_files
from headend.web.middleware import Surroundings
from headend.web.pages import (
    areas,
    billing,
    case_moves,
    changes,
    discovered,
    docs,
    edits,
    events,
    field,
    findings,
    meters,
    quarantine,
    rollout,
    rollups,
    status,
    usage_points,
)
from headend.web.render import error_page

DESCRIPTION = """Meter-data head-end: what was read, balanced, found and billed.

Energies are integer Wh (`_wh`), instants ISO 8601 with offset, days local dates of the configured zone. `null` means
*not known*, which is not zero. Lists come in pages: pass `next` of one page as `cursor` of the following request.
Errors are `application/problem+json`."""


def create_app(store: Store, settings: Settings, clock: Clock, *, rollout_door: RolloutDoor | None = None) -> FastAPI:
    """The application on an open store. Nothing is asked of the database until a request comes.

    `rollout_door` closes rollout steps; default: the rollout stage's own service.
    """
    app = FastAPI(
        title="Meter-data head-end",
        version="1",
        description=DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # FastAPI's own page loads its scripts from the internet; /docs is ours
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.parts = Parts(
        store=store,
        settings=settings,
        clock=clock,
        rollout=rollout_door if rollout_door is not None else RolloutService(store, settings, clock),
        adoption=Adoption(store, settings, clock),
    )
    app.include_router(api)
    app.include_router(health.router)
    app.include_router(static_files.router)
    for page in (
        areas,
        rollups,
        case_moves,
        findings,
        events,
        meters,
        billing,
        rollout,
        field,
        discovered,
        quarantine,
        status,
        usage_points,
        edits,
        changes,
        docs,
    ):
        app.include_router(page.router)
    errors.install(app, error_page)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    app.add_middleware(Surroundings)
    return app
