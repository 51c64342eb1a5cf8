"""What hung where in a stretch: an area's metering points with memberships and installations, in columns.

The rule it keeps: whoever looks at all points takes columns; one object each is made only for a point that is out of
the ordinary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import to_us
from headend.store import intervals as store_intervals
from headend.store.intervals import Installations
from headend.store.pool import Connection
from headend.store.vectors import ABSENT

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]

FOREVER_US: Final = store_intervals.FOREVER_US
"""End of what still holds [µs since 1970]: far beyond any reading."""
DIRECT_E4: Final = 10_000
"""Multiplier of a meter that is wired directly, without transformers."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A point on the area from an instant to an instant."""

    from_us: int
    to_us: int
    behind: int | None
    """The shared point whose meter counts instead; None: the point itself is counted."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A meter at a point from an instant to an instant."""

    meter_id: int
    identity: str
    """manufacturer/serial."""
    from_us: int
    to_us: int
    scope_from_us: int
    scope_to_us: int
    """Readings between these belong to the same meter at the same point, though with another multiplier perhaps."""
    multiplier_e4: int
    sign: int
    start_import_wh: int | None
    start_export_wh: int | None
    end_import_wh: int | None
    end_export_wh: int | None
    phases: int
    digits: int
    resolution_wh: int
    accuracy_class: float | None = None
    """Limit of the meter's error [%]; None: the default of its kind."""


@dataclass(frozen=True, slots=True)
class Point:
    """A metering point with what it was in the stretch."""

    usage_point_id: int
    code: str
    kind: str
    rated_current_a: int | None
    memberships: tuple[Membership, ...]
    installations: tuple[Installed, ...]
    """In order of time; only those that overlap the stretch."""


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Memberships of many points in columns, in order of point and time; (m,) each."""

    point: Ints
    """Index of the point."""
    from_us: Ints
    to_us: Ints
    behind: Ints
    """0: the point itself is counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """Installations of many points in columns, in order of point and time; (I,) each."""

    point: Ints
    """Index of the point."""
    meter_id: Ints
    identity: Objects
    from_us: Ints
    to_us: Ints
    scope_from_us: Ints
    scope_to_us: Ints
    multiplier_e4: Ints
    sign: Ints
    start_import_wh: Ints
    """ABSENT: none was noted."""
    start_export_wh: Ints
    end_import_wh: Ints
    end_export_wh: Ints
    phases: Ints
    digits: Ints
    resolution_wh: Ints
    accuracy_class: Floats
    """NaN: the default of its kind."""

    def __getitem__(self, i: int) -> Installed:
        """One of them."""
        values = ((name, getattr(self, name)[i].item()) for name in _NUMBERS)
        found: dict[str, Any] = {name: None if value == ABSENT else value for name, value in values}
        accuracy = float(self.accuracy_class[i])
        return Installed(identity=self.identity[i], accuracy_class=None if np.isnan(accuracy) else accuracy, **found)

    @classmethod
    def of(cls, points: Sequence[Point]) -> Served:
        """The installations of some points."""
        installed = [(p, one) for p, point in enumerate(points) for one in point.installations]
        numbers = {
            name: np.array(
                [ABSENT if (value := getattr(one, name)) is None else value for _, one in installed], dtype=np.int64
            )
            for name in _NUMBERS
        }
        return cls(
            point=np.array([p for p, _ in installed], dtype=np.int64),
            identity=np.array([one.identity for _, one in installed], dtype=np.object_),
            accuracy_class=np.array([one.accuracy_class for _, one in installed], dtype=np.float64),  # None: NaN
            **numbers,
        )


_NUMBERS: Final = tuple(
    field.name for field in fields(Served) if field.name not in {"point", "identity", "accuracy_class"}
)


@dataclass(frozen=True, eq=False)
class Points(Sequence[Point]):
    """Metering points of a stretch in columns, in order of id; as a sequence: one Point each."""

    usage_point_id: Ints
    """(P,)"""
    code: Objects
    kind: Objects
    rated_current_a: Floats
    """NaN: not known."""
    members: Members
    installed: Served

    @classmethod
    def of(cls, points: Sequence[Point]) -> Points:
        """The same points in columns."""
        if isinstance(points, Points):
            return points
        stays = [(p, m.from_us, m.to_us, m.behind or 0) for p, point in enumerate(points) for m in point.memberships]
        return cls(
            np.array([point.usage_point_id for point in points], dtype=np.int64),
            np.array([point.code for point in points], dtype=np.object_),
            np.array([point.kind for point in points], dtype=np.object_),
            np.array([point.rated_current_a for point in points], dtype=np.float64),  # None: NaN
            Members(*np.array(stays, dtype=np.int64).reshape(-1, 4).T),
            Served.of(points),
        )

    @cached_property
    def meters(self) -> list[int]:
        """meter_ids of all that served, rising."""
        found: list[int] = np.unique(self.installed.meter_id).tolist()
        return found

    def __len__(self) -> int:
        return self.usage_point_id.size

    @overload
    def __getitem__(self, p: int) -> Point: ...
    @overload
    def __getitem__(self, p: slice) -> Sequence[Point]: ...
    def __getitem__(self, p: int | slice) -> Point | Sequence[Point]:
        if isinstance(p, slice):
            return [self[i] for i in range(*p.indices(len(self)))]
        if not -len(self) <= p < len(self):
            raise IndexError(p)
        p %= len(self)
        rated = float(self.rated_current_a[p])
        stays = (getattr(self.members, name)[_of(self.members.point, p)].tolist() for name in _STAY)
        return Point(
            int(self.usage_point_id[p]),
            self.code[p],
            self.kind[p],
            None if np.isnan(rated) else int(rated),
            tuple(Membership(since, until, behind or None) for since, until, behind in zip(*stays, strict=True)),
            tuple(self.installed[i] for i in range(*_of(self.installed.point, p).indices(self.installed.point.size))),
        )


_STAY: Final = ("from_us", "to_us", "behind")


def _of(owner: Ints, point: int) -> slice:
    """Where the rows of a point stand among those of all, `owner` (n,) rising."""
    return slice(*np.searchsorted(owner, (point, point + 1)).tolist())


def load_points(connection: Connection, area_id: int, start: datetime, end: datetime) -> Points:
    """The metering points of an area in a stretch, in order of id."""
    found = store_intervals.points_of_area(connection, area_id, start, end)
    first = np.flatnonzero(np.diff(found.usage_point_id, prepend=0))
    ids = found.usage_point_id[first]
    current = found.rated_current_a[first]
    return Points(
        ids,
        found.code[first],
        found.kind[first],
        np.where(current > 0, current, np.nan),
        Members(np.searchsorted(ids, found.usage_point_id), found.from_us, found.to_us, found.behind),
        _served(store_intervals.installations_of(connection, ids), ids, to_us(start), to_us(end)),
    )


def points_of(connection: Connection, usage_points: Sequence[int], start: datetime, end: datetime) -> Points:
    """Some metering points wherever they hung in a stretch, or nowhere, in order of id; without memberships."""
    found = sorted(store_intervals.points(connection, usage_points), key=lambda row: int(row["usage_point_id"]))
    ids = np.array([row["usage_point_id"] for row in found], dtype=np.int64)
    none = np.empty(0, dtype=np.int64)
    return Points(
        ids,
        np.array([row["code"] for row in found], dtype=np.object_),
        np.array([row["kind"] for row in found], dtype=np.object_),
        np.array([row["rated_current_a"] for row in found], dtype=np.float64),  # None: NaN
        Members(none, none, none, none),
        _served(store_intervals.installations_of(connection, ids), ids, to_us(start), to_us(end)),
    )


def widened(connection: Connection, point: Point, start: datetime, end: datetime) -> Point:
    """The same point with the installations of another stretch."""
    ids = np.array([point.usage_point_id], dtype=np.int64)
    found = _served(store_intervals.installations_of(connection, ids), ids, to_us(start), to_us(end))
    return replace(point, installations=tuple(found[i] for i in range(found.point.size)))


def _served(all_: Installations, ids: Ints, start_us: int, end_us: int) -> Served:
    """Installations that overlap the stretch, of points `ids`; neighbours of the same meter share their readings."""
    told = all_._asdict()
    point = told.pop("usage_point_id")
    first = np.ones(point.size, dtype=np.bool_)  # of the installations of one meter, one after the other, at one point
    first[1:] = (
        (point[1:] != point[:-1]) | (all_.meter_id[1:] != all_.meter_id[:-1]) | (all_.from_us[1:] != all_.to_us[:-1])
    )
    run = np.cumsum(first) - 1
    begins = np.flatnonzero(first)
    ends = np.append(begins[1:], point.size)[: begins.size] - 1
    chosen = (all_.to_us > start_us) & (all_.from_us < end_us)
    return Served(
        point=np.searchsorted(ids, point[chosen]),
        scope_from_us=all_.from_us[begins][run][chosen],
        scope_to_us=all_.to_us[ends][run][chosen],
        **{name: column[chosen] for name, column in told.items()},
    )
