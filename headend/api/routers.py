"""All of /api/v1 in one router."""

from __future__ import annotations

from fastapi import APIRouter

from headend.api import areas, billing, findings, meters, rollout

router = APIRouter(prefix="/api/v1")
for noun in (areas, findings, meters, rollout, billing):
    router.include_router(noun.router)
