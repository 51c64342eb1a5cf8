"""Which settled days can change no more: those that rest on readings that have been dropped."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from headend.domain.gaps import GAP_DAYS
from headend.settlement.rules import LONGEST_GAP_DAYS, Rules
from headend.store import storage
from headend.store.pool import Connection


def closed_days(
    connection: Connection, areas: Iterable[int], days: Iterable[date], rules: Rules, kept_from: datetime
) -> set[date]:
    """Of some days of areas those that rest on readings from before `kept_from`, back over the longest gap."""
    starts = {day: rules.calendar.bounds(day)[0] for day in days}
    closed = {day for day, start in starts.items() if start - timedelta(days=GAP_DAYS) < kept_from}
    beyond = {
        day: start
        for day, start in starts.items()
        if day not in closed and start - timedelta(days=LONGEST_GAP_DAYS) < kept_from
    }
    if beyond:
        for area_id in areas:
            closed |= storage.unanchored(connection, area_id, beyond, kept_from)
    return closed
