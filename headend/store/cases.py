"""Cases as rows, as people see and move them: their life, what the runs said, and what verdicts tell of the kinds.

The rule it keeps: a step is written once and never changed; verdicts are counted without a look at whom they concern.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from headend.domain.cases import CaseState, MoveOrder
from headend.store.findings import lock_area
from headend.store.pool import Connection, Row, row, rows
from headend.store.queries import load


@dataclass(frozen=True, slots=True)
class VerdictCount:
    """How many cases of a kind were confirmed and rejected."""

    kind: str
    confirmed: int
    rejected: int
    month: date | None = None
    """Its first day; None: over all months."""


def locked(connection: Connection, finding_id: int) -> Row | None:
    """How a case stands, until the end of the transaction: nobody else moves it. None: there is no such case."""
    where = row(connection, load("cases")["area_of"], {"finding_id": finding_id})
    if where is None:
        return None
    lock_area(connection, where["area_id"])
    return row(connection, load("cases")["case"], {"finding_id": finding_id})


def exists(connection: Connection, finding_id: int) -> bool:
    """Whether there is such a case."""
    return row(connection, load("cases")["area_of"], {"finding_id": finding_id}) is not None


def event(connection: Connection, event_id: UUID) -> Row | None:
    """A step by its id."""
    return row(connection, load("cases")["event"], {"event_id": event_id})


def move(connection: Connection, finding_id: int, values: Mapping[str, Any]) -> None:
    """Change how a case stands: state, assigned_to, verdict, repaired_on, and when."""
    connection.execute(load("cases")["move"], {**values, "finding_id": finding_id})


def note(
    connection: Connection, finding_id: int, order: MoveOrder, *, before: CaseState, after: CaseState, now: datetime
) -> None:
    """Keep a step that a person took."""
    connection.execute(
        load("findings")["note"],
        {
            "event_id": order.event_id, "finding_id": finding_id, "made_at": now, "move": order.move.value,
            "from_state": before.value, "to_state": after.value, "made_by": order.by, "note": order.note or None,
            "assigned_to": order.assigned_to,
            "saw": None if order.inspection is None else Jsonb(order.inspection.as_json()),
            "repaired_on": order.repaired_on, "detail": Jsonb({}),
        },
    )  # fmt: skip


def live_like(connection: Connection, finding_id: int) -> int | None:
    """Another live case about the same as one."""
    found = row(connection, load("cases")["live_like"], {"finding_id": finding_id})
    return None if found is None else int(found["finding_id"])


def follower(connection: Connection, finding_id: int) -> int | None:
    """The case that came after one about the same."""
    found = row(connection, load("cases")["follower"], {"finding_id": finding_id})
    return None if found is None else int(found["finding_id"])


def events(connection: Connection, finding_id: int) -> list[Row]:
    """The life of a case, oldest first."""
    return rows(connection, load("cases")["events"], {"finding_id": finding_id})


def runs(connection: Connection, finding_id: int) -> list[Row]:
    """What the runs said of a case, one row a window, oldest first."""
    return rows(connection, load("cases")["runs"], {"finding_id": finding_id})


def holders(connection: Connection) -> list[str]:
    """To whom live cases are assigned."""
    return [r["assigned_to"] for r in rows(connection, load("cases")["holders"])]


def precision(connection: Connection, zone: str) -> list[VerdictCount]:
    """Verdicts of each kind and local month in which there was one, by kind and month."""
    return [VerdictCount(**r) for r in rows(connection, load("cases")["precision"], {"zone": zone})]


def verdicts(connection: Connection, since: datetime, until: datetime) -> list[VerdictCount]:
    """Verdicts of each kind that were passed after `since`, up to `until`."""
    parameters = {"since": since, "until": until}
    return [VerdictCount(**r) for r in rows(connection, load("cases")["verdicts"], parameters)]


def priors(connection: Connection) -> dict[str, float]:
    """Kind → log odds that the last report took for granted before its own evidence; empty: there is none yet."""
    found = row(connection, load("cases")["priors"])
    return {} if found is None else dict(found["priors"])
