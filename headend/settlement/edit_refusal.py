"""Why an edit cannot be made, or undone, as things stand: for a program, and in words with the numbers.

The rule it keeps: only what is over, what hangs on an area, and what rests on readings that are kept is ever edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from headend.domain.edits import EditOrder
from headend.settlement.kept import closed_days
from headend.settlement.rules import Rules
from headend.store import edits, storage
from headend.store.pool import Connection, Row

_JUST_AFTER = timedelta(microseconds=1)


@dataclass(eq=False)
class EditRefused(Exception):
    """It cannot be made, or undone, as things stand."""

    code: str
    """Machine word."""
    reason: str
    """For a person, with the numbers."""
    blocks: Sequence[BlockNumbers] = ()

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockNumbers:
    """What registers say of a run of intervals that an edit reaches into, and what is asked of it."""

    start: datetime
    end: datetime
    known_wh: int | None
    """Between the registers at both ends, or what was settled there; None: no register closes the gap."""
    edited_wh: int
    others: int
    """Intervals in it that nobody edited and that can take what is left."""
    holds: bool


def check_over(rules: Rules, order: EditOrder, now: datetime) -> None:
    """Nobody knows what is still to come: neither its energy, nor which of its readings are wrong. Raises
    EditRefused.
    """
    if order.end > now:
        raise EditRefused("not-over", f"{local(order.end, rules)} has not come yet: only what is over can be edited")


def check_settled(connection: Connection, rules: Rules, point: Row, order: EditOrder) -> None:
    """Whether settlement will ever look at it. Raises EditRefused."""
    if not edits.memberships(connection, point["usage_point_id"], order.start, order.end + _JUST_AFTER):
        raise EditRefused("no-area", f"{point['code']} hung on no area then: nothing is settled there")
    check_kept(connection, rules, point, order.start, order.end)


def check_kept(connection: Connection, rules: Rules, point: Row, start: datetime, end: datetime) -> None:
    """Days whose readings have been dropped stay as they were settled: nothing can be edited there. Raises
    EditRefused.
    """
    day = rules.calendar.day_of
    first, last = day(start), day(end - _JUST_AFTER if end > start else end)
    kept_from = storage.kept_from(connection)
    if kept_from is None:
        return
    areas = [m["area_id"] for m in edits.memberships(connection, point["usage_point_id"], start, end + _JUST_AFTER)]
    closed = closed_days(connection, areas, rules.calendar.days(first, last), rules, kept_from)
    if closed:
        raise EditRefused(
            "readings-dropped",
            f"readings from before {local(kept_from, rules)} have been dropped: {min(closed)} stays as it was settled",
        )


def does_not_hold(blocks: Sequence[BlockNumbers], rules: Rules) -> EditRefused:
    """The first block that cannot hold, in words with its numbers."""
    block = next(b for b in blocks if not b.holds)
    assert block.known_wh is not None  # without a number there is nothing to contradict
    span = f"from {local(block.start, rules)} to {local(block.end, rules)}"
    said = f"{span} the registers say {block.known_wh} Wh, the edit gives {block.edited_wh} Wh"
    if block.edited_wh > block.known_wh:
        said += f": {block.edited_wh - block.known_wh} Wh too much"
    else:
        said += (
            f", and no other interval between these registers can take the {block.known_wh - block.edited_wh} Wh left"
        )
    advice = "; give values that sum to it, edit a longer stretch, or set aside the register reading that is wrong"
    return EditRefused("does-not-hold", said + advice, blocks)


def local(at: datetime, rules: Rules) -> str:
    """An instant as a person of the zone writes it."""
    return at.astimezone(rules.calendar.zone).isoformat(timespec="minutes")
