"""What a database that was restored from a backup has to be told before anything is started on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.types.json import Jsonb

from headend.domain.billing import Batch
from headend.store import billing, queries
from headend.store.pool import Connection, row, rows

_q = queries.load("restored")
_NEVER_SENT: Final = "never sent: the head-end was restored from a backup, and nobody knows whether this was done since"


@dataclass(frozen=True, slots=True)
class Numbering:
    """How far the billing batches go."""

    newest: int
    """0: there is none."""
    unanswered: int
    """Batches that billing may have and that are not acknowledged here."""


def give_up_waiting(connection: Connection, *, now: datetime) -> tuple[int, int]:
    """Commands and live reads that waited when the backup was made never happen; how many of each."""
    commands = connection.execute(_q["expire_commands"], {"now": now, "detail": _NEVER_SENT}).rowcount
    return commands, connection.execute(_q["expire_requests"], {"now": now}).rowcount


def numbering(connection: Connection) -> Numbering:
    """The newest batch."""
    found = row(connection, _q["newest_batch"])
    assert found is not None  # an aggregate
    return Numbering(found["number"], found["unanswered"])


def usage_points(connection: Connection, codes: Sequence[str]) -> dict[str, int]:
    """Code → number of those that are known."""
    found = rows(connection, _q["usage_points"], {"codes": list(codes)})
    return {r["code"]: r["usage_point_id"] for r in found}


def take_back(connection: Connection, batch: Batch, *, origin: str, now: datetime) -> None:
    """Enter a batch that billing has and the backup has not, as acknowledged. Raises StoreConflict."""
    billing.insert_batch(connection, batch)
    receipt = Jsonb({"taken_back_from": origin})
    connection.execute(queries.load("billing")["acknowledge"], {"number": batch.number, "receipt": receipt, "now": now})
