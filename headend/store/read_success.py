"""Reads stored of those scheduled, per area and local day: counted here, judged by the role upkeep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

from headend.domain.alerts import AlertKind
from headend.store import queries
from headend.store.pool import Connection, Row, rows

_q = queries.load("read_success")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often meters are expected to be read."""

    period_s: int
    """Of polled meters ..."""
    area_period_s: int
    """... and of the area meters among them."""
    reporting_s: int
    """Of meters that report by themselves, or through a concentrator."""
    due_s: float
    """How long after the end of its slot a read counts as due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDay:
    """A local day, seen from now."""

    day: date
    start: datetime
    end: datetime
    over: bool
    """Its grace has ended: what is stored now is its first result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The last judged day of an area."""

    area_id: int
    code: str
    day: date
    scheduled: int
    stored: int
    stored_first: int | None
    """When its grace ended, before any backfill."""
    scheduled_first: int | None

    @property
    def ratio(self) -> float:
        """Stored of scheduled; none of these days has nothing scheduled."""
        return self.stored / self.scheduled


def begin(connection: Connection, now: datetime) -> int:
    """Schedule reads in areas that are new here from now on; returns how many. What was before is history."""
    return connection.execute(_q["begin"], {"now": now}).rowcount


def due(connection: Connection, *, first: date, today: date, over: date, zone: str) -> list[tuple[int, date]]:
    """(area, day) pairs to count, none before `first`, earliest day first; days up to `over` have ended their grace."""
    found = connection.execute(_q["due"], {"first": first, "today": today, "over": over, "zone": zone}).fetchall()
    return [(area_id, day) for area_id, day in found]


def count(connection: Connection, areas: Sequence[int], day: LocalDay, schedule: Schedule, *, now: datetime) -> None:
    """Count one day of some areas, in place of what was counted before; its first result stays."""
    connection.execute(_q["count"], asdict(schedule) | asdict(day) | {"areas": list(areas), "now": now})


def judged(connection: Connection, *, first: date, over: date) -> list[Judged]:
    """The last day between them that each area is judged by."""
    return [Judged(**r) for r in rows(connection, _q["judged"], {"first": first, "over": over})]


def said_short(connection: Connection) -> dict[str, Row]:
    """Areas whose alert stands, by code: severity, detail, renewed_at."""
    return {r["subject"]: r for r in rows(connection, _q["standing"], {"kind": AlertKind.READ_SUCCESS.value})}


def fleet(connection: Connection, days: Sequence[date]) -> dict[date, Row]:
    """All areas together, by day: scheduled, stored, areas, ratio_first."""
    return {r["day"]: r for r in rows(connection, _q["fleet"], {"days": list(days)})}


def worst(connection: Connection, day: date, limit: int) -> list[Row]:
    """The areas that fall shortest on a day."""
    return rows(connection, _q["worst"], {"day": day, "limit": limit})


def of_area(connection: Connection, area_id: int, first: date) -> list[Row]:
    """An area's days from the first on, newest first."""
    return rows(connection, _q["of_area"], {"area_id": area_id, "first": first})


def sweep(connection: Connection, before: date) -> int:
    """Forget days before one; returns how many rows."""
    return connection.execute(_q["sweep"], {"before": before}).rowcount
