"""What differs between two settlings of the same days: per metering point, day and direction, and per area and day.

Pure: two sides in, differences out. A point counts on the days on which it hung on the area, as either side knows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headend.settlement.compute import Computed
from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.settlement.reasons import Known, category_at, reasons
from headend.settlement.topology import Point
from reconciliation.registers import NO_VALUE, IntervalQuality

Ints = npt.NDArray[np.int64]
Told = Mapping[tuple[int, date, str], int]
"""(usage_point_id, day, direction) → what billing was told in sum [Wh]."""
DIRECTIONS: Final = ("import", "export")
BALANCE: Final = ("supplied", "delivered", "loss")


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One settling of a stretch."""

    computed: Computed
    categories: Sequence[Mapping[str, Any]]
    """Rows of usage_point_category of its points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A number that is not what it was; or one that is, where something else of it is not (see `why`)."""

    area: str
    usage_point: str | None
    """None: of the area itself."""
    day: date
    quantity: str
    """Of a usage point import or export, of an area supplied, delivered or loss."""
    then_wh: int | None
    """Sum of the intervals that have a number; None: none has, or the point was not on this area."""
    now_wh: int | None
    intervals: int | None = None
    """How many of the day's intervals differ in energy or quality; None: not compared one by one."""
    told_wh: int | None = None
    """What billing was told in sum, adjustments included; None: nothing."""
    why: tuple[str, ...] = ()

    @property
    def difference_wh(self) -> int:
        """Now minus then; what is no number counts as nothing."""
        return (self.now_wh or 0) - (self.then_wh or 0)


def between(
    area: str, days: DayRange, then: Side | None, now: Side, told: Callable[[Sequence[int]], Told]
) -> list[Difference]:
    """In order of day and code, the area last. `then` None: nobody knew the area."""
    found = list(_points(days, then, now))
    billed = told(sorted({point.usage_point_id for point, *_ in found})) if found else {}
    of_points = [
        Difference(
            area=area,
            usage_point=point.code,
            day=days.days[d],
            quantity=direction,
            then_wh=then_wh,
            now_wh=now_wh,
            intervals=intervals,
            told_wh=billed.get((point.usage_point_id, days.days[d], direction)),
            why=reasons(
                None if then is None else _known(then, days, d),
                _known(now, days, d),
                point.usage_point_id,
                days.calendar.zone,
            ),
        )
        for point, d, direction, then_wh, now_wh, intervals in found
    ]
    before = {} if then is None else {row["day"]: row for row in then.computed.balances}
    of_area = [one for row in now.computed.balances for one in balance(area, row["day"], before.get(row["day"]), row)]
    if then is not None and then.computed.inputs.unmetered != now.computed.inputs.unmetered:
        known = "loads without a meter are known otherwise"
        of_area = [replace(one, why=(*one.why, known)) if one.quantity == "delivered" else one for one in of_area]
    order = {quantity: i for i, quantity in enumerate((*DIRECTIONS, *BALANCE))}
    return sorted(
        [*of_points, *of_area], key=lambda o: (o.day, o.usage_point is None, o.usage_point or "", order[o.quantity])
    )


def balance(
    area: str, day: date, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> Iterator[Difference]:
    """What differs between two balances (rows of balance_day) of an area-day; None: there is none."""
    states = [None if row is None else str(row["state"]) for row in (then, now)]
    other_state = () if None in states or states[0] == states[1] else (f"state {states[0]} → {states[1]}",)
    for quantity in BALANCE:
        then_wh, now_wh = (None if row is None else row[f"{quantity}_wh"] for row in (then, now))
        why = other_state if quantity == "loss" else ()
        if then_wh != now_wh or why:
            yield Difference(
                area=area, usage_point=None, day=day, quantity=quantity, then_wh=then_wh, now_wh=now_wh, why=why
            )


def _known(side: Side, days: DayRange, d: int) -> Known:
    start, end = days.grid_us[days.midnights[d : d + 2]].tolist()
    return Known(side.computed.inputs, side.categories, start, end)


_Found = tuple[Point, int, str, int | None, int | None, int]
"""Point, index of the day, direction, energies then and now, how many intervals differ."""


def _points(days: DayRange, then: Side | None, now: Side) -> Iterator[_Found]:
    sides = [None if side is None else side.computed.settled for side in (then, now)]
    places = [{} if s is None else {p.usage_point_id: i for i, p in enumerate(s.points)} for s in sides]
    for usage_point in sorted(places[0].keys() | places[1].keys()):
        own = [_Vectors(days, side, at.get(usage_point)) for side, at in zip(sides, places, strict=True)]
        point = own[1].point or own[0].point
        assert point is not None
        was, is_ = (_said(side, vectors, days, usage_point) for side, vectors in zip((then, now), own, strict=True))
        said_otherwise = np.array([a != b for a, b in zip(was, is_, strict=True)]) & own[0].member & own[1].member
        for into in DIRECTIONS:
            differs = own[0].energy[into] != own[1].energy[into]
            if into == "import":
                differs |= own[0].quality != own[1].quality
            counts = np.add.reduceat(differs.astype(np.int64), days.midnights[:-1])
            for d in np.flatnonzero((counts > 0) | (said_otherwise & (into == "import"))).tolist():
                then_wh, now_wh = (vectors.sum_wh(into, days.day_slice(d)) for vectors in own)
                if into == "import" or then_wh or now_wh:
                    yield point, d, into, then_wh, now_wh, int(counts[d])


def _said(side: Side | None, vectors: _Vectors, days: DayRange, usage_point: int) -> list[tuple[Any, ...]]:
    """By day: what energy alone does not show. What it is billed as, and behind which points it is supplied."""
    if side is None or vectors.point is None:
        return [()] * len(days.days)
    midnights = days.grid_us[days.midnights].tolist()
    return [
        (
            category_at(side.categories, usage_point, start),
            *(m.behind for m in vectors.point.memberships if m.from_us < end and m.to_us > start),
        )
        for start, end in itertools.pairwise(midnights)
    ]


class _Vectors:
    """One side of a point over the stretch; absent on days on which it did not hang on the area."""

    def __init__(self, days: DayRange, settled: PointIntervals | None, place: int | None) -> None:
        self.energy = {into: np.full(days.intervals, NO_VALUE, dtype=np.int64) for into in DIRECTIONS}
        self.quality = np.full(days.intervals, IntervalQuality.ABSENT, dtype=np.int8)
        self.member = np.zeros(len(days.days), dtype=np.bool_)
        self.point: Point | None = None
        if settled is None or place is None:
            return
        self.point = settled.points[place]
        self.member = settled.presence.on_area[place]
        here = np.repeat(self.member, np.diff(days.midnights))
        self.energy["import"][here] = settled.import_wh[place, here]
        self.energy["export"][here] = settled.export_wh[place, here]
        self.quality[here] = settled.quality[place, here]

    def sum_wh(self, into: str, here: slice) -> int | None:
        energy = self.energy[into][here]
        there = energy != NO_VALUE
        return int(energy[there].sum()) if there.any() else None
