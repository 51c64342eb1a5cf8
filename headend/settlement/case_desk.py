"""Where people move cases: given to a crew, inspected, judged, repaired, reopened.

The rule it keeps: a move is decided on the case as it stands under its lock, and is kept with name and reason.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final

from headend.domain.cases import CaseState, Inspection, Move, MoveForbidden, MoveOrder, state_after
from headend.domain.clock import Clock
from headend.log import get_logger
from headend.store import cases
from headend.store.pool import Connection, Row, Store

_log = get_logger(__name__)

__all__ = ["EventIdTaken", "MoveForbidden", "OtherCaseLives", "UnknownFinding", "move"]


_EASTERNMOST: Final = timedelta(hours=14)
"""No zone is further ahead: a day that has not begun there has begun nowhere."""


class UnknownFinding(Exception):
    """There is no such case."""


class EventIdTaken(Exception):
    """The id was sent before with another content."""

    def __init__(self, earlier: Row) -> None:
        super().__init__(
            f"event {earlier['event_id']} was sent before with another content: {earlier['move']} of finding "
            f"{earlier['finding_id']} by {earlier['made_by']}, at {earlier['made_at'].isoformat(timespec='seconds')}"
        )


class OtherCaseLives(Exception):
    """A case cannot be reopened beside another one about the same."""

    def __init__(self, finding_id: int, other: int) -> None:
        super().__init__(
            f"finding {finding_id} cannot be reopened: finding {other} is about the same and is still open"
        )
        self.other = other


def move(store: Store, clock: Clock, finding_id: int, order: MoveOrder) -> tuple[Row, bool]:
    """Move a case: (the event, whether it is new). Raises UnknownFinding, EventIdTaken, MoveForbidden, OtherCaseLives,
    ValueError naming a field, StoreError.
    """
    with store.transaction() as connection:
        case = cases.locked(connection, finding_id)
        if case is None:
            raise UnknownFinding(finding_id)
        earlier = cases.event(connection, order.event_id)
        if earlier is not None:
            if not _same(earlier, finding_id, order):
                raise EventIdTaken(earlier)
            return earlier, False
        now = clock()  # not before the lock: whose move came later has the later instant
        if order.inspection is not None and order.inspection.visited_at > now:
            raise ValueError(f"saw/visited_at: {order.inspection.visited_at.isoformat()} has not come yet")
        if order.repaired_on is not None:
            _check_repair(order.repaired_on, case["seen_from"], now)
        before = CaseState(case["state"])
        after = state_after(before, order.move, None if order.inspection is None else order.inspection.cause)
        if order.move is Move.REOPEN:
            _refuse_second(connection, finding_id)
        cases.move(connection, finding_id, _standing(case, order, after) | {"now": now})
        cases.note(connection, finding_id, order, before=before, after=after, now=now)
        made = cases.event(connection, order.event_id)
        assert made is not None  # noted above
    _log.info("case moved", finding_id=finding_id, move=order.move.value, state=after.value, by=order.by)
    return made, True


def _check_repair(repaired_on: date, seen_from: date, now: datetime) -> None:
    """Raises ValueError: what is put right before the days in which it was found would be found anew every night."""
    if repaired_on > (now + _EASTERNMOST).date():
        raise ValueError(f"repaired_on: {repaired_on} has not come yet")
    if repaired_on < seen_from:
        raise ValueError(f"repaired_on: {repaired_on} is before {seen_from}, from when on the case is seen")


def _refuse_second(connection: Connection, finding_id: int) -> None:
    other = cases.live_like(connection, finding_id)
    if other is not None:
        raise OtherCaseLives(finding_id, other)


def _standing(case: Row, order: MoveOrder, after: CaseState) -> dict[str, Any]:
    """How the case stands after a move; who reopens it, takes back its verdict and whose it was."""
    if order.move is Move.REOPEN:
        return {"state": after.value, "assigned_to": None, "verdict": None, "repaired_on": None}
    verdict = after.value if order.move in (Move.CONFIRM, Move.REJECT) else case["verdict"]
    return {
        "state": after.value,
        "assigned_to": order.assigned_to or case["assigned_to"],
        "verdict": verdict,
        "repaired_on": order.repaired_on or case["repaired_on"],
    }


def _same(earlier: Row, finding_id: int, order: MoveOrder) -> bool:
    said = {
        "finding_id": finding_id,
        "move": order.move.value,
        "made_by": order.by,
        "note": order.note or None,
        "assigned_to": order.assigned_to,
        "repaired_on": order.repaired_on,
    }
    saw = None if earlier["saw"] is None else Inspection.of_json(earlier["saw"])
    return all(earlier[key] == value for key, value in said.items()) and saw == order.inspection
