"""The processes of the service, as their heartbeats tell: each renews its own row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Json

from headend.domain.processes import RoleHealth, RoleState
from headend.store import queries
from headend.store.pool import Connection, rows

_q = queries.load("heartbeats")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which process it is."""

    process_id: UUID
    """Made when it starts."""
    host: str
    pid: int
    version: str
    roles: tuple[str, ...]
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A process and its last heartbeat."""

    identity: Identity
    beat_at: datetime
    stopped_at: datetime | None
    """It said goodbye then."""
    health: Mapping[str, RoleHealth]
    """By role."""


def beat(
    connection: Connection, who: Identity, health: Mapping[str, RoleHealth], *, now: datetime, stopped: bool = False
) -> None:
    """Say that it lives, or goodbye."""
    connection.execute(
        _q["beat"],
        asdict(who)
        | {
            "roles": list(who.roles),
            "now": now,
            "stopped": stopped,
            "health": Json({role: _json(one) for role, one in health.items()}),
        },
    )


def others_here(connection: Connection, who: Identity) -> dict[UUID, int]:
    """Other processes of this host that never said goodbye, with their process numbers."""
    return {
        r["process_id"]: r["pid"]
        for r in rows(connection, _q["of_host"], {"host": who.host, "process_id": who.process_id})
    }


def forget(connection: Connection, processes: Collection[UUID]) -> None:
    """They are no more."""
    if processes:
        connection.execute(_q["forget"], {"process_ids": list(processes)})


def sweep(connection: Connection, silent: datetime) -> int:
    """Forget stopped ones, and those silent since before an instant, whose work others do; returns how many."""
    return connection.execute(_q["sweep"], {"silent": silent}).rowcount


def listed(connection: Connection) -> list[Heard]:
    """All that are known, those that were stopped last."""
    return [
        Heard(
            identity=Identity(
                process_id=r["process_id"],
                host=r["host"],
                pid=r["pid"],
                version=r["version"],
                roles=tuple(r["roles"]),
                started_at=r["started_at"],
            ),
            beat_at=r["beat_at"],
            stopped_at=r["stopped_at"],
            health={role: _health(one) for role, one in r["health"].items()},
        )
        for r in rows(connection, _q["listed"])
    ]


def _json(one: RoleHealth) -> dict[str, Any]:
    return asdict(one) | {
        "state": one.state.value,
        "since_at": one.since_at.isoformat(),
        "failed_at": None if one.failed_at is None else one.failed_at.isoformat(),
    }


def _health(stored: Mapping[str, Any]) -> RoleHealth:
    failed = stored["failed_at"]
    return RoleHealth(
        state=RoleState(stored["state"]),
        since_at=datetime.fromisoformat(stored["since_at"]),
        restarts=stored["restarts"],
        error=stored["error"],
        failed_at=None if failed is None else datetime.fromisoformat(failed),
        facts=stored["facts"],
    )
