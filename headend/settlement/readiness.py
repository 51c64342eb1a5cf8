"""Whether a station can be explained, whether it has to be, and when its turn is.

The rule it keeps: nobody is suspected from days that are still on their way; what waits says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Final

from headend.domain.calendar import LocalCalendar
from headend.store.pool import Row

_METHOD: Final = "2"
"""Part of the marker: rises when reports have to be made again although nothing under them changed."""


class Wait(StrEnum):
    """Why a station cannot be explained yet."""

    LOADING = "history is still loading"
    NOT_SETTLED = "days wait to be settled"


def by_station(areas: Sequence[Row]) -> list[list[Row]]:
    """Rows of areas (balances.stations), those of a station together."""
    return [list(group) for _, group in groupby(areas, key=lambda row: row["station_id"])]


def last_full_day(calendar: LocalCalendar, now: datetime) -> date:
    """The last day of a window."""
    return calendar.day_of(now) - timedelta(days=1)


def waits(areas: Sequence[Row], loading: Collection[int], last: date, calendar: LocalCalendar) -> Wait | None:
    """Why the areas of a station cannot be explained yet: all have to be settled up to the last full day after it
    ended, with nothing left to settle in the window, and none below its history watermark.
    """
    if any(area["area_id"] in loading for area in areas):
        return Wait.LOADING
    ended = calendar.bounds(last)[1]
    settled = all(a["last_day"] == last and a["last_settled_at"] >= ended and a["dirty"] == 0 for a in areas)
    return None if settled else Wait.NOT_SETTLED


def changed(areas: Sequence[Row], wrong_area_rate: float | None = None) -> bool:
    """Whether something under the station's last reports is another than it was, or one of its areas has none."""
    marker = marker_of(areas, wrong_area_rate)
    return any(area["marker"] != marker for area in areas)


def marker_of(areas: Sequence[Row], wrong_area_rate: float | None = None) -> str:
    """Digest of what a station's reports rest on: window, balances, memberships, installations of all its areas (they
    are neighbours), and the share of meters that is expected on a wrong one (None: the engine's own). Verdicts move
    what is expected a little with each; they are left to the next window.
    """
    parts = [_METHOD] if wrong_area_rate is None else [_METHOD, f"wrong_area_rate {wrong_area_rate!r}"]
    for area in areas:
        parts += [
            str(area[key]) for key in ("area_id", "first_day", "last_day", "digest", "memberships", "installations")
        ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def reported_at(areas: Sequence[Row]) -> datetime | None:
    """When the station was explained last."""
    return max((area["reported_at"] for area in areas if area["reported_at"] is not None), default=None)


def turn_before(now: datetime, at: time, calendar: LocalCalendar) -> datetime:
    """The latest instant up to `now` at which local clocks showed a time of day."""
    today = calendar.day_of(now)
    turns = (datetime.combine(day, at, calendar.zone) for day in (today, today - timedelta(days=1)))
    return next(turn for turn in turns if turn.timestamp() <= now.timestamp())
