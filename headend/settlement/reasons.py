"""Why a metering point's day comes out otherwise than it did: what was known of it then, beside what is known now.

As far as it can be told: everything that differs is named, whether or not it alone would have made the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final

import numpy as np

from headend.domain.calendar import from_us, to_us
from headend.settlement.inputs import Inputs
from headend.settlement.topology import FOREVER_US, Installed, Membership, Point
from headend.store.intervals import MeterReadings

_NOTED: Final = {
    "sign": "sign",
    "start_import_wh": "start register",
    "start_export_wh": "start register of export",
    "end_import_wh": "end register",
    "end_export_wh": "end register of export",
    "phases": "phases",
    "digits": "digits",
    "resolution_wh": "resolution [Wh]",
    "accuracy_class": "accuracy class",
}
"""Fields of an installation that decide energy, as people call them."""
_MOVED: Final = {True: "not on this area after all", False: "on this area after all"}


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What one side rests on, and the day that is asked about [µs UTC]."""

    inputs: Inputs
    categories: Sequence[Mapping[str, Any]]
    start_us: int
    end_us: int


def reasons(then: Known | None, now: Known, usage_point: int, zone: tzinfo) -> tuple[str, ...]:
    """In words, most telling first. `then` None: nobody knew the area."""
    if then is None:
        return ("the area was not known",)
    old, new = _point(then.inputs, usage_point), _point(now.inputs, usage_point)
    if old is None or new is None:
        return (_MOVED[new is None],)
    found = [
        *_memberships(old, new, now, zone),
        *_installations(old, new, now, zone),
        *_rated(old, new),
        *_categories(then, now, usage_point),
        *_readings(then, now, old, new),
        *_edits(then, now, usage_point),
        *_outages(then, now, old, new),
    ]
    return tuple(found) or ("what it rests on beyond the day: readings on both sides, reference days",)


def category_at(rows: Sequence[Mapping[str, Any]], usage_point: int, at_us: int) -> str | None:
    """What a usage point is billed as at an instant; None: nothing is known."""
    for row in rows:
        holds = _us(row["valid_from"], -FOREVER_US) <= at_us < _us(row["valid_to"], FOREVER_US)
        if holds and row["usage_point_id"] == usage_point:
            return str(row["category"])
    return None


def _us(instant: Any, otherwise: int) -> int:
    return otherwise if instant is None else to_us(instant)


def _point(inputs: Inputs, usage_point: int) -> Point | None:
    return next((p for p in inputs.points if p.usage_point_id == usage_point), None)


def _memberships(old: Point, new: Point, day: Known, zone: tzinfo) -> list[str]:
    def clipped(point: Point) -> list[tuple[int, int, int | None]]:
        return [
            (max(m.from_us, day.start_us), min(m.to_us, day.end_us), m.behind)
            for m in point.memberships
            if _overlaps(m, day)
        ]

    was, is_ = clipped(old), clipped(new)
    if was == is_:
        return []
    if not was or not is_:
        return [_MOVED[not is_]]
    if [m[2] for m in was] != [m[2] for m in is_]:
        return [f"supplied {_behind(was)} → {_behind(is_)}"]
    return [f"on this area {_spans(was, zone)} → {_spans(is_, zone)}"]


def _behind(spans: Sequence[tuple[int, int, int | None]]) -> str:
    return ", ".join("directly" if behind is None else "through a shared meter" for *_, behind in spans)


def _installations(old: Point, new: Point, day: Known, zone: tzinfo) -> list[str]:
    was, is_ = ([i for i in point.installations if _overlaps(i, day)] for point in (old, new))
    found: list[str] = []
    if [i.identity for i in was] != [i.identity for i in is_]:
        found.append(f"meter {_named(was)} → {_named(is_)}")
    for before in was:
        after = next((i for i in is_ if i.meter_id == before.meter_id and _overlaps(i, before)), None)
        if after is None:
            continue
        if before.multiplier_e4 != after.multiplier_e4:
            found.append(f"multiplier {before.multiplier_e4 / 1e4:g} → {after.multiplier_e4 / 1e4:g}")
        for name in ("from_us", "to_us"):
            instants = [min(max(getattr(i, name), day.start_us), day.end_us) for i in (before, after)]
            if instants[0] != instants[1]:
                verb = "installed" if name == "from_us" else "removed"
                found.append(f"{verb} {_at(getattr(before, name), zone)} → {_at(getattr(after, name), zone)}")
        for name, words in _NOTED.items():
            values = getattr(before, name), getattr(after, name)
            if values[0] != values[1]:
                found.append(f"{words} {_or_none(values[0])} → {_or_none(values[1])}")
    return found


def _rated(old: Point, new: Point) -> list[str]:
    if old.rated_current_a == new.rated_current_a:
        return []
    return [f"rated current [A] {_or_none(old.rated_current_a)} → {_or_none(new.rated_current_a)}"]


def _categories(then: Known, now: Known, usage_point: int) -> list[str]:
    was, is_ = (category_at(side.categories, usage_point, now.start_us) for side in (then, now))
    return [] if was == is_ else [f"category {_or_none(was)} → {_or_none(is_)}"]


def _readings(then: Known, now: Known, old: Point, new: Point) -> list[str]:
    """Readings within the day, its two midnights included."""
    more = fewer = 0
    for meter in {i.meter_id for point in (old, new) for i in point.installations}:
        was, is_ = (_keys(side.inputs.readings.get(meter)) for side in (then, now))
        for changed, came in ((is_ - was, True), (was - is_, False)):
            inside = sum(1 for ts_us, *_ in changed if now.start_us <= ts_us <= now.end_us)
            more, fewer = more + inside * came, fewer + inside * (not came)
    found = [f"{more} reading{'s' * (more != 1)} known later"] if more else []
    if fewer:
        found.append(f"{fewer} reading{'s' * (fewer != 1)} set aside, completed or of another meter")
    return found


def _keys(readings: MeterReadings | None) -> set[tuple[int, int, int]]:
    if readings is None:
        return set()
    columns = (readings.ts_us, readings.import_wh, readings.export_wh)
    return set(zip(*(column.tolist() for column in columns), strict=True))


def _edits(then: Known, now: Known, usage_point: int) -> list[str]:
    was, is_ = (
        {
            edit.head.edit_id
            for one in side.inputs.edited
            if one.point.usage_point_id == usage_point
            for edit in one.edits
            if edit.head.from_us < now.end_us and edit.head.to_us > now.start_us
        }
        for side in (then, now)
    )
    found = [f"{len(is_ - was)} edit{'s' * (len(is_ - was) != 1)} made since"] if is_ - was else []
    return [*found, f"{len(was - is_)} edit{'s' * (len(was - is_) != 1)} undone since"] if was - is_ else found


def _outages(then: Known, now: Known, old: Point, new: Point) -> list[str]:
    for meter in {i.meter_id for point in (old, new) for i in point.installations}:
        was, is_ = (side.inputs.outages.get(meter, np.zeros((0, 2), dtype=np.int64)) for side in (then, now))
        if not np.array_equal(was, is_):
            return ["power failures known later"]
    return []


def _overlaps(one: Membership | Installed, other: Known | Installed) -> bool:
    low, high = (other.start_us, other.end_us) if isinstance(other, Known) else (other.from_us, other.to_us)
    return one.from_us < high and one.to_us > low


def _named(installed: Sequence[Installed]) -> str:
    return ", ".join(i.identity for i in installed) or "none"


def _spans(spans: Sequence[tuple[int, int, int | None]], zone: tzinfo) -> str:
    return ", ".join(f"{_at(low, zone)}–{_at(high, zone)}" for low, high, _ in spans) or "never"


def _at(at_us: int, zone: tzinfo) -> str:
    return "not yet" if at_us >= FOREVER_US else f"{from_us(at_us).astimezone(zone):%Y-%m-%d %H:%M}"


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)
