"""Processes, read success and alerts of the seeded neighbourhood."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from seed_base import DAYS, NOW, TODAY, Seeded, insert

from headend.domain.alerts import AlertKind, Severity
from headend.domain.processes import Fact, RoleHealth, RoleState
from headend.store import alerts, heartbeats, lag
from headend.store.heartbeats import Identity
from headend.store.pool import Connection

SETTLE_ERROR = "RuntimeError: <b>the meter bit me</b>"


def operation(c: Connection, made: Seeded) -> None:
    """Three processes, one of them gone, with a role that fails; three days of reads; alerts of both kinds."""
    heard = (
        (1, "reader", 300, ("ingest", "poll"), 2),
        (2, "settler", 301, ("settle",), 3),
        (3, "web", 302, ("web",), 900),
    )
    for number, host, pid, roles, silent_s in heard:
        who = Identity(
            process_id=UUID(int=number),
            host=host,
            pid=pid,
            version="0.1.0",
            roles=roles,
            started_at=NOW - timedelta(days=2),
        )
        health = {role: _health(role) for role in roles}
        heartbeats.beat(c, who, health, now=NOW - timedelta(seconds=silent_s))
    for code, yesterday, today in (("A1", 2304, 1400), ("A2", 2290, 1399), ("A3", 1000, 900)):
        for day, stored, scheduled in ((DAYS[-2], 2304, 2304), (DAYS[-1], yesterday, 2304), (TODAY, today, 1400)):
            insert(
                c, "read_success_day",
                area_id=made.areas[code], day=day, scheduled=scheduled, stored=stored,
                stored_first=None if day == TODAY else stored - 4, scheduled_first=None if day == TODAY else scheduled,
                meters=24, meters_complete=20, computed_at=NOW,
            )  # fmt: skip
    (concentrator,) = c.execute("select concentrator_id from concentrator where code = 'C-A1'").fetchone() or (0,)
    for meter in ("Chint/211003", "Chint/211006"):
        insert(c, "endpoint", meter_id=made.meters[meter], protocol="mqtt", concentrator_id=concentrator)
    lag.measure(c, NOW)
    short = f"{DAYS[-1]}: 1,000 of 2,304 reads stored, 43.40 %; the objective is 98.00 %"
    began = NOW - timedelta(hours=5)
    kind = AlertKind.READ_SUCCESS
    alerts.raise_alert(c, kind, "A3", detail=short, now=began, value=1000 / 2304, area_id=made.areas["A3"])
    alerts.raise_alert(
        c,
        kind,
        "A2",
        detail="short of 99.50 %",
        now=began,
        value=0.9939,
        area_id=made.areas["A2"],
        severity=Severity.WARNING,
    )
    alerts.raise_alert(c, AlertKind.SPOOL_FULL, "reader", detail="12 readings given up", now=began - timedelta(days=1))
    alerts.clear(c, AlertKind.SPOOL_FULL, ["reader"], began)


def _health(role: str) -> RoleHealth:
    failed = role == "settle"
    facts: dict[str, Fact] = {"connected": False, "unacked": 12} if role == "ingest" else {"spool_bytes": 1_500_000}
    return RoleHealth(
        state=RoleState.RESTARTING if failed else RoleState.RUNNING,
        since_at=NOW - timedelta(hours=3),
        restarts=7 if failed else 0,
        error=SETTLE_ERROR if failed else None,
        failed_at=NOW - timedelta(minutes=2) if failed else None,
        facts={} if failed else facts,
    )
