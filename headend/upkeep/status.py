"""The health of every part of the head-end in one picture: what `headend status`, the page and the API show.

`attention` is what somebody has to see to; where it is empty all is well. It is about the head-end: single meters,
buses and concentrators that are silent are counted, and come to attention by the read success of their areas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from headend.domain.alerts import AlertKind, Severity
from headend.domain.calendar import LocalCalendar
from headend.domain.processes import RoleState, process_state
from headend.settings import Settings
from headend.store import alerts, heartbeats, lag, polling, quarantine, read_success, status, storage
from headend.store.heartbeats import Heard
from headend.store.pool import Connection, Row
from headend.upkeep.status_parts import (
    AreaReads,
    BillingStatus,
    ConcentratorLag,
    Concentrators,
    DayReads,
    Jobs,
    Polling,
    ProcessStatus,
    ReadingsStatus,
    ReadSuccessStatus,
    Reason,
    RoleStatus,
    Settling,
    Shown,
    Standing,
    Status,
)

WORST: Final = 5
"""Areas, concentrators, and alerts of a kind, that are named."""
STUCK: Final = timedelta(hours=1)
"""What has waited for longer, to be settled or to be acknowledged, does not move by itself."""
READ_LATELY: Final = timedelta(days=1)
"""A meter's newest reading is no older: it counts as read."""
Part = TypeVar("Part", bound=Shown)


def look(connection: Connection, settings: Settings, now: datetime, *, pending: Sequence[str] = ()) -> Status:
    """Everything, in the caller's transaction; `pending`: migrations that the database lacks. Raises StoreError."""
    processes = [_process(heard, now) for heard in heartbeats.listed(connection)]
    parts = status.parts(connection, now=now, read_since=now - READ_LATELY)
    settling, billing, jobs = _part(Settling, parts), _part(BillingStatus, parts), _part(Jobs, parts)
    standing = [
        _part(Standing, r | {"kind": AlertKind(r["kind"]), "severity": Severity(r["severity"])})
        for r in alerts.standing(connection)
    ]
    return Status(
        at=now,
        attention=[
            *(f"migration {name} has not been applied: run `headend migrate`" for name in pending),
            *_of_processes(processes),
            *_of_roles(processes),
            *_of_stages(settling, billing, jobs, now),
            *_of_alerts(standing),
        ],
        migrations_pending=list(pending),
        processes=processes,
        readings=_part(ReadingsStatus, parts),
        polling=_part(Polling, polling.totals(connection)),
        settling=settling,
        billing=billing,
        jobs=jobs,
        storage=storage.summary(connection, now),
        quarantine=[_part(Reason, r) for r in quarantine.counts(connection)],
        concentrators=_concentrators(connection, settings, now),
        read_success=_read_success(connection, settings, now),
        alerts=standing,
    )


def _part(kind: type[Part], row: Mapping[str, Any]) -> Part:
    """The columns that it has fields for."""
    return kind(**{f.name: row[f.name] for f in fields(kind)})


def _process(heard: Heard, now: datetime) -> ProcessStatus:
    who = heard.identity
    return ProcessStatus(
        host=who.host,
        pid=who.pid,
        version=who.version,
        state=process_state(heard.beat_at, heard.stopped_at, now),
        started_at=who.started_at,
        beat_at=heard.beat_at,
        roles=[
            RoleStatus(
                role=name,
                state=one.state,
                since=one.since_at,
                restarts=one.restarts,
                error=one.error,
                failed_at=one.failed_at,
                facts=one.facts,
            )
            for name, one in heard.health.items()
        ],
    )


def _of_processes(processes: Sequence[ProcessStatus]) -> Iterator[str]:
    """Those that are not there, and roles that nobody has any more."""
    if not any(p.alive for p in processes):
        yield "no process of the service lives"
        return
    for process in processes:
        if process.state in ("late", "gone"):
            roles = ", ".join(r.role for r in process.roles)
            yield f"process {process.name} ({roles}) has been silent since {process.beat_at:%Y-%m-%d %H:%M:%S} UTC"
    done = {r.role for p in processes if p.alive for r in p.roles}
    for role in sorted({r.role for p in processes for r in p.roles} - done):
        yield f"nobody has the role {role} any more"
    versions = sorted({p.version for p in processes if p.alive})
    if len(versions) > 1:
        yield f"processes of different versions run: {', '.join(versions)}"


def _of_roles(processes: Sequence[ProcessStatus]) -> Iterator[str]:
    """What the roles of living processes say of themselves."""
    for process, role in ((p, r) for p in processes if p.alive for r in p.roles):
        facts, who = role.facts, f"{role.role} ({process.name})"
        if role.state is RoleState.RESTARTING:
            yield f"{who} fails and is started again, {role.restarts} times by now: {role.error}"
        if facts.get("connected") is False:
            yield f"{who} has no connection to the broker"
        if facts.get("failing"):
            yield f"{who}: these chores fail: {facts['failing']}"
        if facts.get("push_error"):
            yield f"{who}: {facts['pushes_failed_in_row']} pushes to billing failed in a row: {facts['push_error']}"
        if facts.get("spool_trouble"):
            yield f"{who}: the spool has trouble: {facts['spool_trouble']}"


def _of_stages(settling: Settling, billing: BillingStatus, jobs: Jobs, now: datetime) -> Iterator[str]:
    """What does not move by itself."""
    if settling.oldest_marked_at is not None and now - settling.oldest_marked_at > STUCK:
        yield (
            f"area-days wait to be settled, {settling.area_days_waiting} by now, the oldest since "
            f"{settling.oldest_marked_at:%Y-%m-%d %H:%M} UTC"
        )
    if billing.batches_rejected:
        yield f"billing rejected batches, {billing.batches_rejected} by now"
    if billing.oldest_waiting_at is not None and now - billing.oldest_waiting_at > STUCK:
        yield (
            f"batches wait for billing, {billing.batches_waiting} by now, the oldest since "
            f"{billing.oldest_waiting_at:%Y-%m-%d %H:%M} UTC"
        )
    if jobs.jobs_failed:
        yield f"jobs failed, {jobs.jobs_failed} by now"


def _of_alerts(standing: Sequence[Standing]) -> Iterator[str]:
    """What is more than a warning, of each kind the newest few: a bad night of all areas is one matter to see to."""
    grave = [alert for alert in standing if alert.severity is Severity.ALERT]
    for kind in dict.fromkeys(alert.kind for alert in grave):
        of_kind = [alert for alert in grave if alert.kind is kind]
        yield from (_in_words(alert) for alert in of_kind[:WORST])
        if len(of_kind) > WORST:
            yield f"{_name(kind)}: {len(of_kind) - WORST:,} more"


def _name(kind: AlertKind) -> str:
    return kind.value.replace("_", " ")


def _in_words(alert: Standing) -> str:
    return f"{_name(alert.kind)}, {alert.subject}: {alert.detail}"


def _concentrators(connection: Connection, settings: Settings, now: datetime) -> Concentrators:
    silent = now - timedelta(seconds=settings.settlement.silent_concentrator_s)
    late = [
        _part(ConcentratorLag, r)
        for r in lag.worst(connection, WORST)
        if r["last_seen_at"] is None or r["last_seen_at"] < silent
    ]
    return Concentrators(**lag.totals(connection, silent), late=late)


def _read_success(connection: Connection, settings: Settings, now: datetime) -> ReadSuccessStatus:
    calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
    today = calendar.day_of(now)
    yesterday = today - timedelta(days=1)
    objectives = settings.objectives
    fleet = read_success.fleet(connection, [yesterday, today])

    def day(which: date) -> DayReads | None:
        found: Row | None = fleet.get(which)
        if found is None:
            return None
        worst = [_part(AreaReads, r) for r in read_success.worst(connection, which, WORST)]
        return DayReads(
            day=which,
            scheduled=found["scheduled"],
            stored=found["stored"],
            ratio=found["stored"] / found["scheduled"] if found["scheduled"] else None,
            ratio_first=found["ratio_first"],
            worst=[area for area in worst if area.ratio < objectives.read_success_warn],
        )

    return ReadSuccessStatus(
        warn=objectives.read_success_warn,
        alert=objectives.read_success_alert,
        yesterday=day(yesterday),
        today=day(today),
    )
