"""Past days as they were known at an instant, beside what they come to now; and what settling anew changed.

The rule it keeps: nothing is written. Both sides are computed by the same functions from what is (or was) known, so a
difference is one of knowledge, never of how it was settled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from headend.domain.calendar import from_us
from headend.domain.clock import Clock
from headend.settings import Settings
from headend.settlement.compute import Computed, compute
from headend.settlement.differences import Difference, Side, between
from headend.settlement.grid import DayRange, stretches
from headend.settlement.inputs import inputs_of
from headend.settlement.intervals import point_intervals
from headend.settlement.mass import AreaDays, wanted_areas
from headend.settlement.references import Past
from headend.settlement.rules import Rules
from headend.settlement.settler import DAYS_A_PASS, open_days
from headend.settlement.topology import Points
from headend.store import history, intervals
from headend.store.pool import Connection, Store


@dataclass(frozen=True, slots=True)
class AreaAsKnown:
    """Some days of an area, then and now."""

    area: str
    days: int
    """Area-days that were compared."""
    differences: Sequence[Difference]
    closed: Sequence[date]
    """Days whose readings are not kept any more: what they would come to cannot be told."""
    unknown: bool
    """Nobody knew this area then."""


def as_known(  # noqa: PLR0917 the command line's own order
    store: Store,
    settings: Settings,
    clock: Clock,
    first: date,
    last: date,
    areas: Sequence[str] = (),
    *,
    known_at: datetime,
) -> Iterator[AreaAsKnown]:
    """Days from first to last of areas (by code; none: of all), as known at an instant and as known now.

    Raises LookupError naming codes that are unknown, ValueError when there is nothing to compare, StoreError.
    """
    rules = Rules.of(settings.settlement, settings.validation)
    now = clock()
    _check(first, last, known_at, now, rules)
    wanted = [area for area, _ in wanted_areas(store, areas, first, last)]
    with store.transaction() as connection:
        entered = {area.area_id: history.first_known(connection, area.area_id) for area in wanted}
    unknown = {area_id: since for area_id, since in entered.items() if since is not None and since > known_at}
    if wanted and len(unknown) == len(wanted):
        since = min(unknown.values())
        raise ValueError(f"nothing was known at {known_at.isoformat()}: the first entry is of {since.isoformat()}")
    for area in wanted:
        known = None if area.area_id in unknown else known_at
        for low in range(0, (last - first).days + 1, DAYS_A_PASS):
            begin = first + timedelta(days=low)
            end = min(begin + timedelta(days=DAYS_A_PASS - 1), last)
            with store.transaction() as connection:
                history.write_nothing(connection)
                found = _compared(connection, area, begin, end, rules=rules, now=now, known_at=known)
            yield found


def _check(first: date, last: date, known_at: datetime, now: datetime, rules: Rules) -> None:
    if last < first:
        raise ValueError(f"the last day {last} is before the first {first}")
    if known_at.tzinfo is None:
        raise ValueError(f"{known_at.isoformat()} needs a zone, such as {known_at.isoformat()}+08:00 or …Z")
    if known_at > now:
        raise ValueError(f"{known_at.isoformat()} lies in the future: nobody knows what will be known then")
    if rules.calendar.bounds(first)[0] >= known_at:
        raise ValueError(f"at {known_at.isoformat()} the first day, {first}, had not begun: nothing of it was known")


def _compared(
    connection: Connection,
    area: AreaDays,
    first: date,
    last: date,
    *,
    rules: Rules,
    now: datetime,
    known_at: datetime | None,
) -> AreaAsKnown:
    """known_at None: the area was not known then."""
    wanted = list(rules.calendar.days(first, last))
    still_open = open_days(connection, area.area_id, wanted, rules)
    found: list[Difference] = []
    for begin, end in stretches(still_open):
        days = DayRange(rules.calendar, begin, end)
        here = in_memory(connection, area.area_id, days, rules, now=now)
        then = None
        if known_at is not None:
            then = in_memory(connection, area.area_id, days, rules, now=known_at, known_at=known_at)
        found += between(area.code, days, then, here, partial(_told, connection, begin, end))
    closed = [day for day in wanted if day not in set(still_open)]
    return AreaAsKnown(area.code, len(still_open), found, closed, unknown=known_at is None)


def in_memory(
    connection: Connection,
    area_id: int,
    days: DayRange,
    rules: Rules,
    *,
    now: datetime,
    known_at: datetime | None = None,
) -> Side:
    """A stretch as it is known now, or was known at an instant, with what it rests on; nothing is written."""
    computed = compute(
        connection, area_id, days, rules, now, past=past_of(connection, rules, known_at), known_at=known_at
    )
    return Side(computed, _categories(connection, computed, known_at))


def past_of(connection: Connection, rules: Rules, known_at: datetime | None) -> Past:
    """Settled days for what rests on days before the stretch, from what was known then and not from the store.

    Only measured days count there, so these need no past of their own.
    """

    def past(usage_points: Sequence[int], first: date, last: date) -> Sequence[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        for low in range(0, (last - first).days + 1, DAYS_A_PASS):
            begin = first + timedelta(days=low)
            days = DayRange(rules.calendar, begin, min(begin + timedelta(days=DAYS_A_PASS - 1), last))
            inputs = inputs_of(connection, usage_points, days, rules, known_at)
            if not Points.of(inputs.points).meters:
                continue
            settled = point_intervals(inputs, days, rules, lambda *_: ())
            ids = settled.points.usage_point_id.tolist()
            hung = _hung(connection, ids, days, known_at)
            for d, day in enumerate(days.days):
                here = days.day_slice(d)
                rows += [
                    {
                        "usage_point_id": usage_point_id,
                        "day": day,
                        "import_wh": settled.import_wh[p, here],
                        "export_wh": settled.export_wh[p, here],
                        "quality": settled.quality[p, here],
                        "flags": settled.flags[p, here],
                    }
                    for p, usage_point_id in enumerate(ids)
                    if (usage_point_id, d) in hung and settled.served[p, here].any()
                ]
        return rows

    return past


def _hung(
    connection: Connection, usage_points: Sequence[int], days: DayRange, known_at: datetime | None
) -> set[tuple[int, int]]:
    """(usage_point_id, index of a day) on which a point hung on an area, as it was known: the others nobody settles."""
    with history.as_known(connection, known_at):
        stays = intervals.stays_of(connection, usage_points, *days.bounds)
    midnights = [from_us(int(us)) for us in days.grid_us[days.midnights]]
    return {
        (stay["usage_point_id"], d)
        for stay in stays
        for d, (start, end) in enumerate(pairwise(midnights))
        if stay["valid_from"] < end and (stay["valid_to"] is None or stay["valid_to"] > start)
    }


def _categories(connection: Connection, computed: Computed, known_at: datetime | None) -> Sequence[Mapping[str, Any]]:
    with history.as_known(connection, known_at):
        return history.categories(connection, computed.settled.points.usage_point_id.tolist())


def _told(
    connection: Connection, first: date, last: date, usage_points: Sequence[int]
) -> dict[tuple[int, date, str], int]:
    return history.told(connection, usage_points, first, last)
