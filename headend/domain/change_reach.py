"""How far a change reaches: which usage points on which local days, which areas settle which days again.

The rule it keeps: just what may come out otherwise. A membership reaches from instant to instant; an installation's
ends are anchors of registers, so that one at midnight reaches the days on both sides. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta

from headend.domain.calendar import LocalCalendar
from headend.domain.timeline import (
    EVER,
    NEVER,
    InstallationRow,
    MembershipRow,
    MeterRow,
    RowChange,
    Span,
)

_INSTANT = timedelta(microseconds=1)
_EDGES = {"start_import_wh": "begins", "start_export_wh": "begins", "end_import_wh": "ends", "end_export_wh": "ends"}
_SAYS_NOTHING = ("row_id", "valid_from", "valid_to", "seal", *_EDGES)


@dataclass(frozen=True, slots=True, order=True)
class Days:
    """Local days, both included."""

    first: date
    last: date

    def __len__(self) -> int:
        return max((self.last - self.first).days + 1, 0)

    def within(self, other: Days) -> Days | None:
        """What both have in common."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        return Days(first, last) if first <= last else None


@dataclass(frozen=True, slots=True)
class Reach:
    """What a change touches until today."""

    areas: Mapping[str, tuple[Days, ...]]
    """Area-days to settle again, none twice, in order."""
    usage_points: Mapping[str, tuple[Days, ...]]
    """Whose energy, place or category may be another."""


def reach(
    found: Sequence[RowChange],
    memberships: Mapping[str, Sequence[MembershipRow]],
    installations: Sequence[InstallationRow],
    calendar: LocalCalendar,
    today: date,
) -> Reach:
    """`memberships`: by usage point, as they were and as they are; `installations`: of devices that changed."""
    areas: dict[str, list[Days]] = {}
    points: dict[str, list[Days]] = {}
    for change in found:
        spans: list[tuple[Span, datetime, datetime]]
        if isinstance(change.row, MeterRow):
            spans = [(row, row.begins, row.ends) for row in installations if row.meter == change.row.meter]
        else:
            spans = [(change.row, *stretch) for stretch in _stretches(change)]
        for row, begins, ends in spans:
            days = _days(begins, ends, calendar, today, anchors=isinstance(row, InstallationRow))
            if days is None:
                continue
            points.setdefault(row.usage_point, []).append(days)
            if isinstance(row, MembershipRow):
                for side in (change.before, change.after):
                    if isinstance(side, MembershipRow) and (part := _held(side, calendar, today)):
                        _add(areas, side.area, days.within(part))
                continue
            for hangs in memberships.get(row.usage_point, ()):
                if part := _held(hangs, calendar, today):
                    _add(areas, hangs.area, days.within(part))
    return Reach(
        {area: _joined(days) for area, days in sorted(areas.items())},
        {point: _joined(days) for point, days in sorted(points.items())},
    )


def _stretches(change: RowChange) -> list[tuple[datetime, datetime]]:
    """From when to when something is otherwise; an instant: a noted register."""
    before, after = change.before, change.after
    if not isinstance(before, Span) or not isinstance(after, Span):
        row = change.row
        assert isinstance(row, Span)
        return [(row.begins, row.ends)]
    if any(getattr(before, f.name) != getattr(after, f.name) for f in fields(after) if f.name not in _SAYS_NOTHING):
        return [(min(before.begins, after.begins), max(before.ends, after.ends))]
    found = []
    for edge in ("begins", "ends"):
        was, now = getattr(before, edge), getattr(after, edge)
        noted = any(
            getattr(before, name, None) != getattr(after, name, None) for name, side in _EDGES.items() if side == edge
        )
        if was != now or noted:
            found.append((min(was, now), max(was, now)))
    return found


def _days(begins: datetime, ends: datetime, calendar: LocalCalendar, today: date, *, anchors: bool) -> Days | None:
    if begins == NEVER:  # said of an end that is not known
        return None
    first = date.min if begins == EVER else calendar.day_of(begins - _INSTANT if anchors else begins)
    last = today if ends == NEVER else calendar.day_of(ends if anchors else ends - _INSTANT)
    return Days(first, last).within(Days(date.min, today))


def _held(row: MembershipRow, calendar: LocalCalendar, today: date) -> Days | None:
    return _days(row.begins, row.ends, calendar, today, anchors=False)


def _add(areas: dict[str, list[Days]], area: str, days: Days | None) -> None:
    if days is not None:
        areas.setdefault(area, []).append(days)


def _joined(days: Iterable[Days]) -> tuple[Days, ...]:
    """The same days in stretches that neither overlap nor touch."""
    found: list[Days] = []
    for one in sorted(days):
        if found and (one.first - found[-1].last).days <= 1:
            found[-1] = Days(found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return tuple(found)
