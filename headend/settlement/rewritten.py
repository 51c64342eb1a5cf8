"""What settling anew changed against what was stored: energies by metering point and day, and balances by area and day.

Rows are looked at before they are written over, within the transaction that settles, and only those: where nothing
changes, nothing is looked at. What changed only in quality or flags is not among it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from headend.settlement.differences import DIRECTIONS, Difference, balance
from headend.store import history
from headend.store.history import StoredEnergy
from headend.store.pool import Connection


class Rewriting:
    """Of some days of an area; made before they are settled."""

    def __init__(self, connection: Connection, area_id: int, days: Sequence[date]) -> None:
        """`days`: sorted."""
        self._connection, self._area_id, self._days = connection, area_id, days
        self._balances = history.stored_balances(connection, area_id, days)
        self._points: dict[tuple[int, date], StoredEnergy | None] = {}

    def foretold(self, rows: Sequence[tuple[int, date]]) -> None:
        """Rows of interval_day are about to say something else."""
        known = history.stored_energies(self._connection, rows)
        for key in rows:
            self._points.setdefault(key, known.get(key))

    def differences(self, area: str) -> list[Difference]:
        """What differs now, in order of day and code, the area last."""
        balances = history.stored_balances(self._connection, self._area_id, self._days)
        found = self._of_points(area) if self._points else []
        for day in sorted(self._balances.keys() | balances.keys()):
            found += balance(area, day, self._balances.get(day), balances.get(day))
        return sorted(found, key=lambda one: one.day)

    def _of_points(self, area: str) -> list[Difference]:
        now = history.stored_energies(self._connection, list(self._points))
        changed = {key: old for key, old in self._points.items() if old != now.get(key)}
        if not changed:
            return []
        days = [day for _, day in changed]
        told = history.told(self._connection, [point for point, _ in changed], min(days), max(days))
        found: list[Difference] = []
        for (point, day), old in changed.items():
            new = now.get((point, day))
            code = next(row.usage_point for row in (new, old) if row is not None)
            for into in DIRECTIONS:
                then_wh, now_wh = (None if row is None else getattr(row, f"{into}_wh") for row in (old, new))
                if then_wh != now_wh:
                    found.append(
                        Difference(area=area, usage_point=code, day=day, quantity=into, then_wh=then_wh, now_wh=now_wh,
                                   told_wh=told.get((point, day, into)))
                    )  # fmt: skip
        return sorted(found, key=lambda one: (one.day, one.usage_point or "", one.quantity != "import"))
