"""What settling anew changed against what was stored: energies by metering point and day, and balances by area and day.

Looked at before and after, within the transaction that settles; what changed only in quality or flags is not among it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from headend.settlement.differences import DIRECTIONS, Difference, balance
from headend.store import history
from headend.store.history import StoredEnergy
from headend.store.pool import Connection


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Days of an area as they stand in the store."""

    points: Mapping[tuple[int, date], StoredEnergy]
    """By usage_point_id and day."""
    balances: Mapping[date, Mapping[str, Any]]


def stored(connection: Connection, area_id: int, days: Sequence[date]) -> Stored:
    """What days (sorted) of an area are settled to; points that ever hung on it."""
    wanted = set(days)
    points, balances = history.stored_energies(connection, area_id, days[0], days[-1])
    return Stored(
        {key: row for key, row in points.items() if key[1] in wanted},
        {day: row for day, row in balances.items() if day in wanted},
    )


def rewritten(connection: Connection, area: str, before: Stored, after: Stored) -> list[Difference]:
    """What differs, in order of day and code, the area last."""
    changed = [
        key for key in before.points.keys() | after.points.keys() if before.points.get(key) != after.points.get(key)
    ]
    if not changed and before.balances == after.balances:
        return []
    days = [day for _, day in changed]
    told = history.told(connection, [point for point, _ in changed], min(days), max(days)) if changed else {}
    found: list[Difference] = []
    for point, day in changed:
        old, new = before.points.get((point, day)), after.points.get((point, day))
        code = next(row.usage_point for row in (new, old) if row is not None)
        for into in DIRECTIONS:
            then_wh, now_wh = (None if row is None else getattr(row, f"{into}_wh") for row in (old, new))
            if then_wh != now_wh:
                found.append(
                    Difference(area=area, usage_point=code, day=day, quantity=into, then_wh=then_wh, now_wh=now_wh,
                               told_wh=told.get((point, day, into)))
                )  # fmt: skip
    found.sort(key=lambda one: (one.day, one.usage_point or "", one.quantity != "import"))
    for day in sorted(before.balances.keys() | after.balances.keys()):
        found += balance(area, day, before.balances.get(day), after.balances.get(day))
    return sorted(found, key=lambda one: one.day)
