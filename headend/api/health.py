"""Whether the process lives, whether it can serve, and what it has counted."""

from __future__ import annotations

import asyncio
import os

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from pydantic import BaseModel

from headend.api.deps import PartsDep
from headend.api.errors import Problem, describe
from headend.store import views
from headend.store.errors import StoreError, StoreUnavailable

router = APIRouter(tags=["operation"])
_READY_TIMEOUT_S = 5.0


class Healthy(BaseModel):
    """All is well."""

    status: str = "ok"


@router.get("/healthz", summary="The process lives")
async def healthz() -> Healthy:
    """Asks nothing of anybody else."""
    return Healthy()


@router.get("/readyz", summary="The service can answer", responses=describe(503))
async def readyz(parts: PartsDep) -> Healthy:
    """The database can be reached and has every migration; else 503 with the reasons."""
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            pending = await asyncio.to_thread(views.pending_migrations, parts.store)
    except TimeoutError:
        raise _not_ready([f"the database has not answered within {_READY_TIMEOUT_S:g} s"]) from None
    except StoreUnavailable as error:
        raise _not_ready(["the database cannot be reached"]) from error
    except StoreError as error:
        raise _not_ready([f"the database refused to show its migrations ({type(error).__name__})"]) from error
    if pending:
        raise _not_ready([f"migration {name} has not been applied" for name in pending])
    return Healthy()


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def metrics() -> Response:
    """Of this process; of all of them where PROMETHEUS_MULTIPROC_DIR names their common directory."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _not_ready(reasons: list[str]) -> Problem:
    return Problem(
        status=503,
        code="not-ready",
        detail="; ".join(reasons),
        extra={"reasons": reasons},
        headers={"Retry-After": "5"},
    )
