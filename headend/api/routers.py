"""All of /api/v1 in one router."""

from __future__ import annotations

from fastapi import APIRouter

from headend.api import (
    areas,
    billing,
    buses,
    cases,
    changes,
    commands,
    discovered,
    edits,
    events,
    findings,
    meters,
    profile_gaps,
    quarantine,
    register_refusals,
    rollout,
    rollups,
    status,
    unmetered,
    usage_points,
    validation,
)

router = APIRouter(prefix="/api/v1")
for noun in (
    areas, cases, findings, events, discovered, quarantine, meters, commands, rollout, billing, buses,
    register_refusals, profile_gaps, status, rollups, unmetered, usage_points, edits, changes, validation,
):  # fmt: skip
    router.include_router(noun.router)
