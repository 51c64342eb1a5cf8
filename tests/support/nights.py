"""Nights of an engine on one small area, and people who move its cases; no energy, for tests of cases alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from headend.domain.cases import Inspection, Move, MoveOrder, SeenCause
from headend.settlement import case_desk, case_keeper
from headend.store.pool import Row
from support.field import DAY, DAY0, T0, Field

WINDOW_DAYS = 28


class Nights:
    """One area with its meters; night n looks at the 28 days that end with day n."""

    def __init__(self, field: Field, meters: Sequence[str] = ("m1", "m2")) -> None:
        self.field = field
        self.area = field.area()
        self.meters = {serial: field.metered(self.area, serial)[1] for serial in meters}
        self.now = T0

    def day(self, n: int) -> date:
        return DAY0 + timedelta(days=n)

    def at(self, n: int, hours: float = 2) -> datetime:
        """Early in the morning after day n."""
        return T0 + (n + 1) * DAY + timedelta(hours=hours)

    def finding(
        self, n: int, kind: str = "stuck", meter: str | None = "m1", *, confidence: float = 0.8, wh: float = 1000.0
    ) -> dict[str, Any]:
        """What a run of night n found, as settlement/reports.py makes its rows."""
        return {
            "area_id": self.area, "meter_id": None if meter is None else self.meters[meter], "kind": kind,
            "correct_area": None, "confidence": confidence, "energy_wh": wh, "energy_low_wh": 0.9 * wh,
            "energy_high_wh": 1.1 * wh, "onset_at": None, "first": self.day(n - WINDOW_DAYS + 1), "last": self.day(n),
            "evidence": {"resolution": "day", "series": [], "numbers": {"night": n}, "alternatives": {}},
            "now": self.at(n),
        }  # fmt: skip

    def night(self, n: int, *found: dict[str, Any], kinds: Sequence[str] | None = None) -> list[str]:
        """Keep what a night found; the kinds of the cases that it opened."""
        self.now = self.at(n)
        with self.field.store.transaction() as connection:
            return case_keeper.keep(
                connection, self.area, found,
                first=self.day(n - WINDOW_DAYS + 1), last=self.day(n), now=self.now, kinds=kinds,
            ).opened  # fmt: skip

    def seen(self, n: int, **what: Any) -> list[str]:
        """A night that found one thing."""
        return self.night(n, self.finding(n, **what))

    def order(self, move: Move, *, by: str = "Li Wei", event_id: UUID | None = None, **more: Any) -> MoveOrder:
        """An order with what such a move needs."""
        needs: dict[Move, dict[str, Any]] = {
            Move.ASSIGN: {"assigned_to": "crew 3"},
            Move.INSPECT: {"inspection": Inspection(cause=SeenCause.BYPASS, visited_at=self.now)},
            Move.REPAIR: {"repaired_on": self.day(0)},
        }
        said = {"note": "because"} | needs.get(move, {}) | more
        return MoveOrder(event_id=event_id or uuid4(), move=move, by=by, **said)

    def move(self, finding_id: int, move: Move, **more: Any) -> Row:
        """What somebody does, now."""
        return case_desk.move(self.field.store, lambda: self.now, finding_id, self.order(move, **more))[0]

    def judge(self, finding_id: int, verdict: Move) -> None:
        """Inspected and judged, now."""
        self.move(finding_id, Move.INSPECT)
        self.move(finding_id, verdict)

    def cases(self) -> list[Row]:
        return self.field.rows("select * from finding order by finding_id")

    def case(self) -> Row:
        (only,) = self.cases()
        return only

    def life(self, finding_id: int) -> list[str]:
        """The moves of a case, oldest first."""
        found = self.field.rows("select move from finding_event where finding_id = %s order by number", [finding_id])
        return [row["move"] for row in found]

    def runs(self, finding_id: int) -> list[Row]:
        return self.field.rows("select * from finding_run where finding_id = %s order by window_to", [finding_id])
