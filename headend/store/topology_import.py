"""Topology by codes, in bulk: all of it out of the store, and the changes of an import into it; the caller commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from headend.domain.calendar import LocalCalendar
from headend.domain.changes import ChangeCategory, ChangeOrder
from headend.domain.topology import (
    Area,
    AreaFeeder,
    Category,
    Concentrator,
    Endpoint,
    Feeder,
    Installation,
    Membership,
    Meter,
    Premises,
    Station,
    Topology,
    TopologyChanges,
    UsagePoint,
)
from headend.domain.unmetered import UnmeteredLoad
from headend.store import history, unmetered
from headend.store.changes import apply as apply_change
from headend.store.dirty import mark_area
from headend.store.pool import Connection, rows
from headend.store.queries import load as load_queries

_ORDER: Final = (
    "station",
    "area",
    "usage_point",
    "membership",
    "meter",
    "installation",
    "concentrator",
    "endpoint",
    "premises",
    "feeder",
    "area_feeder",
    "unmetered_load",
)
"""What refers to others comes after them; closings come before new installations."""
_BY: Final = "headend import"
"""Who changes a category where a file says so."""
_JUST_BEFORE: Final = timedelta(microseconds=1)
_WORTH_COUNTING: Final = 1_000
"""New rows after which the database's planner is told how large the tables are now."""


def lock(connection: Connection) -> None:
    """Let one import at a time through; held until the transaction ends."""
    connection.execute(load_queries("topology_import")["only_one_import"])


def load(connection: Connection) -> Topology:
    """Everything that is stored, with its history."""

    def all_of(noun: str, kind: Any) -> list[Any]:
        return [kind(**row) for row in rows(connection, load_queries("topology_import")[f"load_{noun}"])]

    memberships: dict[str, list[Membership]] = {}
    for membership in all_of("membership", Membership):
        memberships.setdefault(membership.usage_point, []).append(membership)
    categories: dict[str, list[Category]] = {}
    for category in all_of("category", Category):
        categories.setdefault(category.usage_point, []).append(category)
    return Topology(
        categories=categories,
        stations={s.station: s for s in all_of("station", Station)},
        areas={a.area: a for a in all_of("area", Area)},
        usage_points={u.usage_point: u for u in all_of("usage_point", UsagePoint)},
        memberships=memberships,
        meters={m.key: m for m in all_of("meter", Meter)},
        installations={i.key: i for i in all_of("installation", Installation)},
        concentrators={c.concentrator: c for c in all_of("concentrator", Concentrator)},
        endpoints={(e.meter, e.protocol): e for e in all_of("endpoint", Endpoint)},
        premises={p.premises: p for p in all_of("premises", Premises)},
        feeders={f.feeder: f for f in all_of("feeder", Feeder)},
        area_feeders={f.key: f for f in all_of("area_feeder", AreaFeeder)},
        unmetered_loads={u.key: u for u in all_of("unmetered_load", UnmeteredLoad)},
    )


def apply(connection: Connection, changes: TopologyChanges, *, calendar: LocalCalendar, now: datetime) -> None:
    """Make all changes and mark the area-days that they touch.

    Raises StoreConflict when somebody changed the same thing since `load`.
    """
    queries = load_queries("topology_import")
    history.stamp(connection, now)
    otherwise: dict[str, list[Any]] = {}
    for noun in _ORDER:
        for verb, records in (("change", changes.changed.get(noun, ())), ("add", changes.added.get(noun, ()))):
            if records:
                done = connection.execute(queries[f"{verb}_{noun}"], _columns(records))
                if done.description is not None:
                    otherwise[noun] = [key for (key,) in done.fetchall()]
    if sum(map(len, changes.added.values())) >= _WORTH_COUNTING:
        connection.execute(queries["analyze"])
    _mark(connection, changes, otherwise, calendar, now)
    for category in changes.changed.get("category", ()):
        assert category.valid_from is not None  # what holds since ever is no change
        what = ChangeCategory(usage_point=category.usage_point, at=category.valid_from, category=category.category)
        order = ChangeOrder(change_id=uuid4(), by=_BY, reason="usage_points.csv", what=what)
        apply_change(connection, order, calendar=calendar, now=now)


def _columns(records: Sequence[Any]) -> dict[str, list[Any]]:
    return {f.name: [getattr(record, f.name) for record in records] for f in fields(records[0])}


def _mark(
    connection: Connection,
    changes: TopologyChanges,
    otherwise: Mapping[str, Sequence[Any]],
    calendar: LocalCalendar,
    now: datetime,
) -> None:
    """`otherwise`: areas and usage points by code, meters by number, whose days come out otherwise from the first on.

    A meter's end at midnight touches the day that it ends.
    """
    since = [(m.usage_point, m.valid_from) for m in changes.added.get("membership", ())]
    since += [(i.usage_point, i.valid_from - _JUST_BEFORE) for i in changes.added.get("installation", ())]
    closed = changes.changed.get("installation", ())
    since += [(i.usage_point, i.valid_to - _JUST_BEFORE) for i in closed if i.valid_to is not None]
    for load in (*changes.added.get("unmetered_load", ()), *changes.changed.get("unmetered_load", ())):
        unmetered.mark(connection, load, calendar=calendar, now=now)
    parameters = {
        "usage_point": [code for code, _ in since],
        "since": [instant for _, instant in since],
        "areas": otherwise.get("area", []),
        "judged": otherwise.get("usage_point", []),
        "meters": otherwise.get("meter", []),
    }
    if not any(parameters.values()):
        return
    today = calendar.day_of(now)
    for area in rows(connection, load_queries("topology_import")["touched_areas"], parameters):
        seen = [area["first_day"]] if area["first_day"] is not None else []
        if area["first_reading_at"] is not None:
            seen.append(calendar.day_of(area["first_reading_at"]))
        if seen:
            first = max(calendar.day_of(area["since"]), min(seen))
            mark_area(connection, area["area_id"], first, today, now)
