"""The books of the demo's billing system: what was accepted, once each, in SQLite; what was acknowledged survives."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from headend.domain.clock import Clock, system_clock
from headend.embedded.billing_request import Batch, Refused

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    number INTEGER PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    body_sha256 TEXT NOT NULL,
    body BLOB NOT NULL,
    receipt TEXT NOT NULL,
    accepted_at TEXT NOT NULL
) STRICT;
-- A charge is booked once (revision 0); everything later is its next revision, holding the difference.
CREATE TABLE IF NOT EXISTS charge (
    usage_point TEXT NOT NULL,
    day TEXT NOT NULL,
    direction TEXT NOT NULL,
    tariff_band TEXT NOT NULL,
    revision INTEGER NOT NULL,
    energy_wh INTEGER NOT NULL,
    batch_number INTEGER NOT NULL REFERENCES batch (number),
    PRIMARY KEY (usage_point, day, direction, tariff_band, revision)
) STRICT, WITHOUT ROWID;
"""

SHOWN = 20
"""How many conflicting rows an answer names."""


class Ledger:
    """Accepted batches in ``directory/billing.sqlite``; every call is one transaction; safe to use from threads."""

    def __init__(self, directory: Path, clock: Clock = system_clock) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            directory / "billing.sqlite", isolation_level=None, check_same_thread=False, timeout=10.0
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def accept(self, batch: Batch, exceptions: int = 0) -> tuple[dict[str, Any], bool]:
        """The batch's receipt, and whether it is new; a repeated request gets the first one's receipt.

        The first ``exceptions`` determinants are not booked but returned as exceptions, for a demonstration.
        Raises Refused: 409 when the key was used for another body, when the number was accepted under another key, or
        when another batch booked one of the charges before; 422 for an adjustment of what was never booked.
        """
        with self._transaction():
            known = self._connection.execute(
                "SELECT body_sha256, receipt FROM batch WHERE idempotency_key = ?", (batch.idempotency_key,)
            ).fetchone()
            if known is not None:
                if known[0] != batch.body_sha256:
                    raise Refused(
                        409,
                        "idempotency-key",
                        "Idempotency key was used for another request",
                        f"key {batch.idempotency_key} belongs to a request with another body",
                    )
                return json.loads(known[1]), False
            self._refuse_known_number(batch)
            self._refuse_booked(batch)
            return self._enter(batch, exceptions), True

    def batches(self) -> list[dict[str, Any]]:
        """Every accepted batch's receipt with its ``idempotency_key`` and ``accepted_at``, in order of acceptance."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT receipt, idempotency_key, accepted_at FROM batch ORDER BY rowid"
            ).fetchall()
        return [json.loads(receipt) | {"idempotency_key": key, "accepted_at": at} for receipt, key, at in rows]

    def _refuse_known_number(self, batch: Batch) -> None:
        known = self._connection.execute(
            "SELECT idempotency_key FROM batch WHERE number = ?", (batch.number,)
        ).fetchone()
        if known is not None:
            raise Refused(
                409,
                "batch-number",
                "Batch number was accepted before",
                f"batch {batch.number} was accepted under idempotency key {known[0]}",
            )

    def _refuse_booked(self, batch: Batch) -> None:
        booked, unbooked = [], []
        last: dict[tuple[str, ...], int] = {}
        for row in sorted(batch.determinants, key=lambda row: row.revision):
            if row.charge not in last:
                last[row.charge] = self._connection.execute(
                    "SELECT coalesce(max(revision), -1) FROM charge"
                    " WHERE usage_point = ? AND day = ? AND direction = ? AND tariff_band = ?",
                    row.charge,
                ).fetchone()[0]
            place = {"usage_point": row.usage_point, "day": row.day.isoformat(), "revision": row.revision}
            if row.revision <= last[row.charge]:
                booked.append(place)
            elif row.revision > last[row.charge] + 1:
                unbooked.append(place)
            else:
                last[row.charge] = row.revision
        if booked:
            raise Refused(
                409,
                "billed-before",
                "Charged before",
                f"{len(booked)} determinants were billed by another batch; later knowledge is an adjustment",
                conflicts=booked[:SHOWN],
            )
        if unbooked:
            raise Refused(
                422,
                "nothing-to-adjust",
                "Adjustment of what was never billed",
                f"{len(unbooked)} adjustments do not follow a revision that was billed",
                conflicts=unbooked[:SHOWN],
            )

    def _enter(self, batch: Batch, exceptions: int) -> dict[str, Any]:
        excepted, accepted = batch.determinants[:exceptions], batch.determinants[exceptions:]
        receipt = {
            "receipt_id": str(uuid.uuid4()),
            "number": batch.number,
            "accepted_count": len(accepted),
            "accepted_energy_wh": sum(row.energy_wh for row in accepted),
            "exceptions": [
                {"usage_point": row.usage_point, "day": row.day.isoformat(), "reason": "told to return it"}
                for row in excepted
            ],
        }
        self._connection.execute(
            "INSERT INTO batch (number, idempotency_key, body_sha256, body, receipt, accepted_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                batch.number,
                batch.idempotency_key,
                batch.body_sha256,
                batch.body,
                json.dumps(receipt),
                self._clock().isoformat(),
            ),
        )
        self._connection.executemany(
            "INSERT INTO charge (usage_point, day, direction, tariff_band, revision, energy_wh, batch_number)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*row.charge, row.revision, row.energy_wh, batch.number) for row in accepted],
        )
        return receipt

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            with ExitStack() as undo:
                undo.callback(self._connection.execute, "ROLLBACK")
                yield
                undo.pop_all()
            self._connection.execute("COMMIT")
