"""Batches, determinants and exceptions: made once, in one transaction, and never changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.domain.billing import Batch, Determinant
from headend.store import queries
from headend.store.pool import Connection, Row, Store, row, rows

_Q = queries.load("billing")


def newest_final(store: Store) -> tuple[datetime, datetime | None] | None:
    """When a final area-day, and when the topology last changed: unchanged means that there is nothing new to bill.

    None: no day is final yet.
    """
    (found,) = store.rows(_Q["newest_final"])
    return None if found["changed_at"] is None else (found["changed_at"], found["noted_at"])


def anything_dirty(store: Store) -> bool:
    """Whether any area-day waits to be settled."""
    (found,) = store.rows(_Q["anything_dirty"])
    return bool(found["dirty"])


def lock_numbers(connection: Connection) -> int:
    """Hold the numbering until the transaction ends, and return the next number: numbers have no gaps."""
    connection.execute(_Q["lock_numbers"])
    found = row(connection, _Q["next_number"])
    assert found is not None
    return int(found["number"])


def unbilled(connection: Connection, limit: int) -> list[Row]:
    """Final usage-point days whose energy billing has not been told (or was told otherwise), oldest day first."""
    return rows(connection, _Q["unbilled"], {"limit": limit})


def note_unbillable(connection: Connection, now: datetime) -> int:
    """Note final days without a complete set of numbers as exceptions, once each; returns how many are new."""
    return connection.execute(_Q["note_unbillable"], {"now": now}).rowcount


def insert_batch(connection: Connection, batch: Batch) -> None:
    """Store a batch and its determinants."""
    connection.execute(
        _Q["insert_batch"],
        {
            "number": batch.number,
            "key": batch.idempotency_key,
            "created_at": batch.created_at,
            "period_from": batch.period_from,
            "period_to": batch.period_to,
            "determinants": len(batch.determinants),
            "energy_wh": batch.energy_wh,
            "checksum": batch.checksum,
        },
    )
    with connection.cursor() as cursor, cursor.copy(_Q["copy_determinants"]) as copy:
        for d in batch.determinants:
            copy.write_row(
                (
                    batch.number,
                    d.usage_point_id,
                    d.day,
                    d.direction,
                    d.tariff_band,
                    d.revision,
                    d.category,
                    d.energy_wh,
                    d.estimated_wh,
                    d.start_register_wh,
                    d.start_ts,
                    d.end_register_wh,
                    d.end_ts,
                    d.multiplier,
                    list(d.meters),
                    d.reason,
                )
            )


def waiting(store: Store) -> list[int]:
    """Numbers of batches that billing has not answered for yet, oldest first."""
    return [found["number"] for found in store.rows(_Q["waiting"])]


def load_batch(store: Store, number: int) -> tuple[Batch, str] | None:
    """A batch as it was made, and its state; None where there is no such number."""
    with store.transaction() as connection:
        return batch_within(connection, number)


def batch_within(connection: Connection, number: int) -> tuple[Batch, str] | None:
    """The same within the caller's transaction."""
    head = row(connection, _Q["batch"], {"number": number})
    if head is None:
        return None
    state: str = head.pop("state")
    body = rows(connection, _Q["determinants"], {"number": number})
    determinants = tuple(Determinant(**d | {"meters": tuple(d["meters"])}) for d in body)
    return Batch(determinants=determinants, **head), state


def acknowledged(store: Store, number: int, receipt: dict[str, Any], now: datetime) -> None:
    """Lock a batch with billing's receipt, and note the rows that billing would not take."""
    with store.transaction() as connection:
        connection.execute(_Q["acknowledge"], {"number": number, "receipt": Jsonb(receipt), "now": now})
        for exception in receipt.get("exceptions", []):
            connection.execute(
                _Q["note_exception"],
                {
                    "number": number,
                    "usage_point": exception.get("usage_point"),
                    "day": exception.get("day"),
                    "reason": exception.get("reason") or "no reason given",
                    "now": now,
                },
            )


def attempt_failed(store: Store, number: int, error: str, *, rejected: bool) -> None:
    """Note why a push did not end in a receipt; a rejected batch is not pushed again by itself."""
    with store.transaction() as connection:
        connection.execute(_Q["attempt_failed"], {"number": number, "error": error, "rejected": rejected})
