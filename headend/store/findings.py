"""Findings as cases: opened once per area, kind and meter, seen again by later runs, closed when no run sees them any
more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.store import queries
from headend.store.pool import Connection, row

_SQL = queries.load("findings")


def put(connection: Connection, finding: Mapping[str, Any]) -> tuple[int, bool] | None:
    """Open a finding or see it again: (finding_id, whether it was opened now); None: a crew rejected it in this
    window.
    """
    found = row(connection, _SQL["put"], {**finding, "evidence": Jsonb(finding["evidence"])})
    return None if found is None else (found["finding_id"], found["opened"])


def close_unseen(
    connection: Connection, area_id: int, seen: Sequence[int], now: datetime, *, kinds: Sequence[str] | None = None
) -> list[int]:
    """Close an area's open findings other than those just seen, of these kinds only where some are given; returns their
    ids.
    """
    parameters = {"area_id": area_id, "seen": list(seen), "now": now, "kinds": None if kinds is None else list(kinds)}
    found = connection.execute(_SQL["close_unseen"], parameters).fetchall()
    return [finding_id for (finding_id,) in found]
