"""Settling many days at once on request: `headend settle`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from headend.domain.clock import Clock
from headend.metrics import SETTLED_DAYS
from headend.settings import Settings
from headend.settlement.rules import Rules
from headend.settlement.settler import Outcome, settle_area
from headend.store import balances, dirty
from headend.store.pool import Store

DAYS_A_PASS: Final = 31
"""So many days of one area are settled in one transaction at the most."""


def settle_days(  # noqa: PLR0917 the command line's own order
    store: Store,
    settings: Settings,
    clock: Clock,
    first: date,
    last: date,
    area: str | None = None,
    *,
    progress: Callable[[str, Outcome], None] | None = None,
) -> int:
    """Settle all days from first to last of one area (by code), or of all, now and here, and whatever that touches in
    turn.

    Returns how many area-days were settled. Raises LookupError for an unknown area, ValueError when last is before
    first, StoreError.
    """
    if last < first:
        raise ValueError(f"the last day {last} is before the first {first}")
    rules = Rules.of(settings.settlement)
    with store.transaction() as connection:
        areas = balances.areas_by_code(connection, area)
    if area is not None and not areas:
        raise LookupError(f"no area {area!r}")
    with store.transaction() as connection:
        for found in areas:
            dirty.mark_area(connection, found["area_id"], first, last, clock())
    settled = 0
    for found in areas:
        while (outcome := _settle_marked(store, found["area_id"], rules, clock())) is not None:
            settled += outcome.days
            if progress is not None:
                progress(found["code"], outcome)
    return settled


def _settle_marked(store: Store, area_id: int, rules: Rules, now: datetime) -> Outcome | None:
    """One pass over an area's marks, quiet or not; None when it has none."""
    any_age = dirty.Ripe.now(now)
    with store.transaction() as connection:
        dirty.lock_area(connection, area_id)
        marks = dirty.marks(connection, area_id, any_age, DAYS_A_PASS)
        if not marks:
            return None
        outcome = settle_area(connection, area_id, [m.day for m in marks], rules, now)
        dirty.clear(connection, area_id, marks)
    SETTLED_DAYS.inc(outcome.days)
    return outcome
