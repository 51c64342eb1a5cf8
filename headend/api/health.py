"""Whether the process lives, whether it can serve, and what it has counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from pydantic import BaseModel

from headend.api.deps import PartsDep
from headend.api.errors import Problem, describe
from headend.api.figures import StoreFigures
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
def metrics(parts: PartsDep) -> Response:
    """Counters of this process, or of all of them where PROMETHEUS_MULTIPROC_DIR names their common directory; and what
    the store says, such as read success per area: left out, and `headend_store_up` 0, while the database is away.
    """
    asked = CollectorRegistry()
    asked.register(StoreFigures(parts))
    figures = generate_latest(asked)
    registry = REGISTRY
    if common := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        _bury_the_dead(Path(common))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry) + figures, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _bury_the_dead(common: Path) -> None:
    """What a process held when it was killed (open sessions, waiting messages) is nobody's now; its counters stay."""
    for file in common.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):  # another scrape was quicker
                multiprocess.mark_process_dead(pid, str(common))  # type: ignore[no-untyped-call]
        except (PermissionError, ValueError):
            continue


def _not_ready(reasons: list[str]) -> Problem:
    return Problem(
        status=503,
        code="not-ready",
        detail="; ".join(reasons),
        extra={"reasons": reasons},
        headers={"Retry-After": "5"},
    )
