"""Alerts: raised once while their cause stands, renewed as long as it does, cleared when it is gone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from headend.domain.alerts import AlertKind, Severity
from headend.store import queries
from headend.store.pool import Connection, Row, rows

_q = queries.load("alerts")


def raise_alert(
    connection: Connection,
    kind: AlertKind,
    subject: str,
    *,
    detail: str,
    now: datetime,
    value: float | None = None,
    area_id: int | None = None,
    severity: Severity = Severity.ALERT,
) -> bool:
    """Say that it stands; whether it did not before. One that stands keeps its beginning and gets the new words."""
    found = connection.execute(
        _q["raise"],
        {
            "kind": kind.value,
            "subject": subject,
            "area_id": area_id,
            "severity": severity.value,
            "now": now,
            "value": value,
            "detail": detail,
        },
    ).fetchone()
    return found == (True,)


def clear(connection: Connection, kind: AlertKind, subjects: Collection[str], now: datetime) -> int:
    """Their cause is gone; how many of them stood."""
    return connection.execute(_q["clear"], {"kind": kind.value, "subjects": list(subjects), "now": now}).rowcount


def standing(connection: Connection) -> list[Row]:
    """What stands now: alerts before warnings, newest first."""
    return rows(connection, _q["standing"])


def listed(
    connection: Connection,
    *,
    limit: int,
    kind: AlertKind | None = None,
    area: str | None = None,
    standing_only: bool = False,
    before: tuple[datetime, int] | None = None,
) -> list[Row]:
    """All of them, or those that stand, newest first; `before` is (raised_at, alert_id) where the page before ended."""
    return rows(
        connection,
        _q["list"],
        {
            "limit": limit,
            "kind": None if kind is None else kind.value,
            "area": area,
            "standing": standing_only,
            "before_at": before[0] if before else None,
            "before_id": before[1] if before else None,
        },
    )
