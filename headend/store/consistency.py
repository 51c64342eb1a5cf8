"""Whether what is stored agrees with itself: asked of a restored database before anything is started on it.

Reads everything, in one snapshot; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headend.store import billing, queries
from headend.store.pool import Connection, Row, Store, rows

_q = queries.load("consistency")

CHECKS = {
    "reading_counts": "readings counted otherwise than stored",
    "latest_readings": "latest readings that are not the newest ones",
    "unmarked_days": "days with readings that were neither settled nor wait for it",
    "batch_gaps": "numbers of billing batches that are missing",
    "batch_totals": "billing batches whose control totals are not those of their rows",
}
"""Query → what its rows are."""


@dataclass(frozen=True, slots=True)
class Discord:
    """One thing that does not agree."""

    what: str
    rows: int
    example: Row


def check(store: Store, *, zone: str, dropped: bool) -> list[Discord]:
    """What does not agree; `dropped`: readings older than a limit were given up. Raises StoreError."""
    parameters = {"zone": zone, "dropped": dropped}
    with store.transaction() as connection:
        connection.execute(b"set transaction isolation level repeatable read, read only")
        found = [
            Discord(what, len(wrong), wrong[0])
            for name, what in CHECKS.items()
            if (wrong := rows(connection, _q[name], parameters))
        ]
        if wrong := list(_other_checksums(connection)):
            found.append(Discord("billing batches whose rows have another checksum", len(wrong), wrong[0]))
    return found


def _other_checksums(connection: Connection) -> Iterator[Row]:
    for head in rows(connection, _q["batch_checksums"]):
        loaded = billing.batch_within(connection, head["number"])
        if loaded is None or loaded[0].checksum != head["checksum"]:
            yield head
