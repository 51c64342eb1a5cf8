"""Findings as rows, as the engine's runs leave them: opened, seen again, not seen, closed.

The rule it keeps: of an area's cases one at a time decides; take `lock_area` before anything is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.domain.cases import CaseState, EngineMove
from headend.domain.sightings import KnownCase
from headend.store import queries
from headend.store.pool import Connection, row, rows

_SQL = queries.load("findings")


def lock_area(connection: Connection, area_id: int) -> None:
    """Until the end of the transaction nobody else decides what becomes of this area's cases."""
    connection.execute(_SQL["lock_area"], {"area_id": area_id})


def known(connection: Connection, area_id: int, meter_id: int | None, concern: str) -> dict[CaseState, KnownCase]:
    """Of each state the latest case about a concern."""
    parameters = {"area_id": area_id, "meter_id": meter_id, "concern": concern}
    cases = [KnownCase.of_row(r) for r in rows(connection, _SQL["known"], parameters)]
    return {case.state: case for case in cases}


def open_case(connection: Connection, finding: Mapping[str, Any], *, follows: int | None) -> int:
    """Write a new case; its finding_id."""
    values = {**finding, "evidence": Jsonb(finding["evidence"]), "follows": follows}
    found = row(connection, _SQL["open"], values)
    assert found is not None  # inserted or raised
    return int(found["finding_id"])


def see(connection: Connection, finding_id: int, finding: Mapping[str, Any]) -> None:
    """A case is seen again, with what is known now."""
    values = {**finding, "evidence": Jsonb(finding["evidence"]), "finding_id": finding_id}
    connection.execute(_SQL["see"], values)


def revive(connection: Connection, finding_id: int) -> CaseState:
    """A closed case lives again; its state."""
    found = row(connection, _SQL["revive"], {"finding_id": finding_id})
    assert found is not None  # the area is locked
    return CaseState(found["state"])


def seen_in(connection: Connection, finding_id: int, finding: Mapping[str, Any]) -> None:
    """Keep how strong a run found a case."""
    connection.execute(_SQL["seen_in"], {**finding, "finding_id": finding_id})


def looked_for(
    connection: Connection, area_id: int, seen: Sequence[int], first: date, kinds: Sequence[str] | None = None
) -> list[KnownCase]:
    """Cases that a run from `first` on, which judges these kinds (None: all), did not see."""
    parameters = {
        "area_id": area_id, "seen": list(seen), "first": first, "kinds": None if kinds is None else list(kinds),
    }  # fmt: skip
    return [KnownCase.of_row(r) for r in rows(connection, _SQL["looked_for"], parameters)]


def not_seen_in(connection: Connection, cases: Sequence[int], first: date, last: date, now: datetime) -> None:
    """Keep that a run did not see these cases."""
    parameters = {"findings": list(cases), "first": first, "last": last, "now": now}
    connection.execute(_SQL["not_seen_in"], parameters)


def close(connection: Connection, finding_id: int, now: datetime) -> None:
    """No run sees it any more, or what was repaired is over."""
    connection.execute(_SQL["close"], {"finding_id": finding_id, "now": now})


def note(
    connection: Connection,
    finding_id: int,
    move: EngineMove,
    *,
    before: CaseState | None,
    after: CaseState,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Keep a step that the engine took."""
    connection.execute(
        _SQL["note"],
        {
            "event_id": None, "finding_id": finding_id, "made_at": now, "move": move.value,
            "from_state": None if before is None else before.value, "to_state": after.value, "made_by": None,
            "note": None, "assigned_to": None, "saw": None, "repaired_on": None, "detail": Jsonb(dict(detail or {})),
        },
    )  # fmt: skip
