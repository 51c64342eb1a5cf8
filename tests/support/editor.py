"""Somebody who edits a small area, through the desk, and settles what that touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from headend.domain.edits import Direction, EditKind, EditOrder
from headend.settlement import edit_desk
from headend.settlement.rules import Rules
from headend.store.pool import Row
from support.field import DAY, HOUR, QUARTER, T0, Field

NOW = T0 + 12 * DAY


@dataclass
class Editor:
    """Edits through the desk, and settles what that touched."""

    field: Field
    now: datetime = NOW

    @property
    def rules(self) -> Rules:
        return Rules.of(self.field.settings.settlement)

    def household(self, code: str = "H", *, serial: str = "h", days: int = 3, without: range = range(0)) -> int:
        """100 Wh a quarter, settled; `without`: quarters since T0 at whose ends nothing was read. Its meter."""
        field = self.field
        area = field.area()
        _, meter = field.metered(area, code, serial=serial)
        stamps = [T0 + k * QUARTER for k in range(days * 96 + 1) if k not in without]
        field.store_readings([(meter, at, 100 * ((at - T0) // QUARTER)) for at in stamps])
        field.mark_reading(area, stamps)
        self.settle()
        return meter

    def order(self, start: datetime, values: Sequence[int] | int, **more: Any) -> EditOrder:
        """Energies from an instant on, or a total of a stretch of `intervals`."""
        step = timedelta(seconds=self.field.settings.settlement.interval_s)
        count = more.pop("intervals", 1) if isinstance(values, int) else len(values)
        given = {"total_wh": values} if isinstance(values, int) else {"energies_wh": tuple(values)}
        said: dict[str, Any] = {
            "edit_id": uuid4(), "kind": EditKind.VALUES, "start": start, "end": start + count * step,
            "by": "Li Wei", "reason": "seen on site", "direction": Direction.IMPORT,
        }  # fmt: skip
        return EditOrder(**(said | given | more))

    def set(self, code: str, start: datetime, values: Sequence[int] | int, **more: Any) -> Row:
        return self.submit(code, self.order(start, values, **more))

    def submit(self, code: str, order: EditOrder) -> Row:
        return edit_desk.submit(self.field.store, self.rules, lambda: self.now, code, order)[0]

    def set_aside(self, code: str, serial: str, start: datetime, end: datetime | None = None) -> Row:
        order = EditOrder(
            edit_id=uuid4(), kind=EditKind.READINGS, start=start, end=end or start, by="Li Wei",
            reason="display misread", meter=("Acme", serial),
        )  # fmt: skip
        return self.submit(code, order)

    def undo(self, code: str, edit_id: UUID, *, by: str = "Wang Fang", reason: str = "was right after all") -> Row:
        return edit_desk.undo(self.field.store, self.rules, lambda: self.now, code, edit_id, by=by, reason=reason)

    def settle(self) -> int:
        """Everything that is marked; how many passes."""
        return self.field.settle_all(self.now + HOUR, most=300)

    def day(self, code: str, day: int = 0) -> dict[str, Any]:
        """A settled row by usage point and day since DAY0."""
        (row,) = self.field.rows(
            "select d.* from interval_day d join usage_point u using (usage_point_id) "
            "where u.code = %s and d.day = date '2026-03-02' + %s::int",
            [code, day],
        )
        for name in ("export_wh", "quality", "flags"):
            row[name] = row[name] * (len(row["import_wh"]) if len(row[name]) == 1 else 1)
        return row

    def energies(self, code: str, day: int = 0, *, first: int = 0, count: int | None = None) -> list[int | None]:
        values: list[int | None] = self.day(code, day)["import_wh"]
        return values[first : None if count is None else first + count]

    def marked(self) -> list[Any]:
        return [r["day"] for r in self.field.rows("select day from dirty_day order by day")]
