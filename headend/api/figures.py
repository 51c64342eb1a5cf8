"""Metrics that are facts of the store and not of a process: asked for at each scrape, so that none is ever stale.

The rule it keeps: what is not known is left out; a series that is missing is not one of zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headend import metrics
from headend.api.deps import Parts
from headend.domain.processes import ProcessState, RoleState, process_state
from headend.store import heartbeats, lag, polling, read_success, status, views
from headend.store.errors import StoreError
from headend.store.pool import Connection, Row

CONNECTION_S: Final = 2.0
"""The longest wait for the database: what the processes counted does not wait for it."""


class StoreFigures(Collector):
    """One scrape's look at the store."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All of them, or that the store did not answer."""
        try:
            with views.reading(self._parts.store, timeout_s=CONNECTION_S) as connection:
                found = list(self._figures(connection, self._parts.clock()))
        except StoreError as error:
            metrics.STORE_ERRORS.labels(type(error).__name__).inc()
            yield metrics.STORE_UP.of([((), 0.0)])
            return
        yield metrics.STORE_UP.of([((), 1.0)])
        yield from found

    def _figures(self, connection: Connection, now: datetime) -> Iterator[GaugeMetricFamily]:
        yield _roles(connection, now)
        yield from self._read_success(connection)
        yield from self._concentrators(connection, now)
        rounds = polling.oldest_rounds(connection, self._parts.settings.metrics.most_series)
        yield metrics.BUS_ROUND_AGE_SECONDS.of(((r["bus"],), _age_s(r["began_at"], now)) for r in rounds)
        dirty = status.dirty(connection)
        yield metrics.DIRTY_AREA_DAYS.of([((), dirty["area_days"])])
        oldest = dirty["oldest_marked_at"]
        yield metrics.DIRTY_OLDEST_SECONDS.of([] if oldest is None else [((), _age_s(oldest, now))])
        standing = status.standing_alerts(connection)
        yield metrics.ALERTS_STANDING.of(((r["kind"], r["severity"]), r["alerts"]) for r in standing)

    def _read_success(self, connection: Connection) -> Iterator[GaugeMetricFamily]:
        most = self._parts.settings.metrics.most_series
        days: dict[str, date] = {"yesterday": self._parts.today - timedelta(days=1), "today": self._parts.today}
        worst = [(name, r) for name, day in days.items() for r in read_success.worst(connection, day, most)]
        yield metrics.READ_SUCCESS_RATIO.of(((r["area"], name), r["ratio"]) for name, r in worst)
        found = read_success.fleet(connection, list(days.values()))
        fleet: list[tuple[str, Row]] = [(name, found[day]) for name, day in days.items() if day in found]
        due = [(name, r) for name, r in fleet if r["scheduled"]]
        yield metrics.READ_SUCCESS_FLEET_RATIO.of(((name,), r["stored"] / r["scheduled"]) for name, r in due)
        yield metrics.READS_SCHEDULED.of(((name,), r["scheduled"]) for name, r in fleet)
        yield metrics.READS_STORED.of(((name,), r["stored"]) for name, r in fleet)

    def _concentrators(self, connection: Connection, now: datetime) -> Iterator[GaugeMetricFamily]:
        found = lag.worst(connection, self._parts.settings.metrics.most_series)
        for gauge, column in (
            (metrics.CONCENTRATOR_LAG_SECONDS, "newest_at"),
            (metrics.CONCENTRATOR_SILENT_SECONDS, "last_seen_at"),
        ):
            known = [r for r in found if r[column] is not None]
            yield gauge.of(((r["concentrator"],), _age_s(r[column], now)) for r in known)
        told = [r for r in found if r["backlog"] is not None]
        yield metrics.CONCENTRATOR_BACKLOG_UPLOADS.of(((r["concentrator"],), r["backlog"]) for r in told)


def _roles(connection: Connection, now: datetime) -> GaugeMetricFamily:
    """A role that nobody runs any more is shown as such for as long as its process is remembered."""
    running: Counter[str] = Counter()
    for heard in heartbeats.listed(connection):
        alive = process_state(heard.beat_at, heard.stopped_at, now) in (ProcessState.UP, ProcessState.LATE)
        for role, health in heard.health.items():
            running[role] += alive and health.state is RoleState.RUNNING
    return metrics.ROLES_RUNNING.of(((role,), float(count)) for role, count in sorted(running.items()))


def _age_s(instant: datetime, now: datetime) -> float:
    return max(0.0, (now - instant).total_seconds())
