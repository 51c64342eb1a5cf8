"""The window that the reconciliation looks at, built from settled days: only what rests on registers enters;
estimates do not, but what they sum to across a gap does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us
from headend.settlement.gaps import gap_energy
from headend.settlement.grid import DayRange
from headend.settlement.phases import area_phases
from headend.settlement.presence import Presence
from headend.settlement.rules import Rules
from headend.settlement.topology import Point, load_points
from headend.settlement.unmetered import unmetered_energy
from headend.store import intervals, unmetered
from headend.store.pool import Connection
from headend.store.vectors import ABSENT
from reconciliation import AreaWindow
from reconciliation.balance import UnmeteredEnergy
from reconciliation.registers import IntervalQuality, is_measured
from reconciliation.validation import Flag

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Small = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class SettledWindow:
    """One area's settled days in arrays, and how the engine's names lead back to the store."""

    area_id: int
    area: str
    days: DayRange
    points: list[Point]
    """Every metering point that had a meter in the window, area meters included."""
    quality: Small
    """(points, intervals) IntervalQuality."""
    read: Bools
    """(points, intervals) whether registers were read for the interval: measured, and no reading around it missing."""
    energy_wh: Floats
    """(points, intervals) import − export [Wh], NaN where absent."""
    wanted: Bools
    """(points, intervals) whether the point was on the area with a meter all through the interval."""
    meter_ids: Mapping[str, int]
    """Engine's name of a meter → the meter_id a finding is about."""
    window: AreaWindow


def load_window(connection: Connection, area_id: int, area: str, days: DayRange, rules: Rules) -> SettledWindow:
    """Read one area's settled days. Points that never had a meter in the window are left out."""
    start, end = days.bounds
    points = [p for p in load_points(connection, area_id, start, end) if p.installations]
    settled = _matrices(connection, points, days)
    presence = Presence(points, days)
    mask = presence.counted
    is_area = np.array([p.kind == "area" for p in points], dtype=np.bool_)
    chosen, of_area = np.flatnonzero(~is_area & mask.any(axis=1)), np.flatnonzero(is_area)
    firm = settled.firm()
    names = engine_names([points[i] for i in chosen])
    area_points = [points[i] for i in of_area]
    phases = area_phases(connection, area_points, days, rules)
    meters = sorted({p.installations[-1].meter_id for p in points})
    stated = intervals.resolution_of(connection, meters, start, end)
    loads = unmetered_energy(unmetered.of_area(connection, area_id, start, end), days)
    into, out = _without(*_area_energy(firm, of_area, mask), loads)
    split = ~presence.aligned
    into[split], out[split] = np.nan, np.nan
    gaps = _Gaps(settled.net_wh(), is_measured(settled.quality), mask, presence.steady)
    window = AreaWindow(
        area=area,
        start=from_us(int(days.grid_us[0])),
        interval_s=days.calendar.interval_s,
        meters=tuple(names),
        three_phase=np.array([points[i].installations[-1].phases == 3 for i in chosen], dtype=np.bool_),
        household_import_wh=_of_members(firm.import_wh, chosen, mask, 0.0),
        household_export_wh=_of_members(firm.export_wh, chosen, mask, 0.0),
        household_voltage_v=_or_none(_of_members(firm.voltage_v, chosen, mask, np.nan)),
        area_import_wh=into,
        area_export_wh=out,
        area_phase_wh=_masked(phases.energy_wh, split),
        area_voltage_v=phases.voltage_v,
        meter_step_wh=np.array([_step_wh(points[i], stated) for i in chosen], dtype=np.float64),
        area_step_wh=max((_step_wh(p, stated) for p in area_points), default=None),
        day_start=days.midnights[:-1],
        household_gap_wh=gaps.of_members(chosen, np.isnan(firm.import_wh)),
        area_gap_wh=gaps.of_area(of_area, np.isnan(into), split, loads),
    )
    return SettledWindow(
        area_id, area, days, points, settled.quality, settled.read, settled.net_wh(), _wanted(points, days), names,
        window,
    )  # fmt: skip


def engine_names(points: Sequence[Point]) -> dict[str, int]:
    """manufacturer/serial of the meter that served last → meter_id; the point's code where a moved meter would stand
    twice.
    """
    names: dict[str, int] = {}
    for point in points:
        last = point.installations[-1]
        names[last.identity if last.identity not in names else f"{last.identity} at {point.code}"] = last.meter_id
    return names


@dataclass(frozen=True, slots=True, eq=False)
class _Matrices:
    import_wh: Floats
    export_wh: Floats
    voltage_v: Floats
    quality: Small
    read: Bools

    def net_wh(self) -> Floats:
        """Import − export; NaN where absent; where a meter measures no export there is none."""
        return self.import_wh - np.nan_to_num(self.export_wh)

    def firm(self) -> _Matrices:
        """The same without what was estimated or is absent; where a meter measures no export there is none."""
        soft = (self.quality == IntervalQuality.ESTIMATED) | (self.quality == IntervalQuality.ABSENT)
        fed = np.where(np.isnan(self.export_wh), 0.0, self.export_wh)
        return _Matrices(
            np.where(soft, np.nan, self.import_wh), np.where(soft, np.nan, fed), self.voltage_v, self.quality, self.read
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Gaps:
    """(points, intervals) what gaps are told from; see `gap_energy`."""

    net_wh: Floats
    read: Bools
    mask: Bools
    steady: Bools

    def of_members(self, chosen: npt.NDArray[Any], soft: Bools) -> Floats | None:
        """(chosen, intervals) of points that hang on the area; None: nothing is known of any gap."""
        blank, usable = soft & self.mask, self.mask & self.steady
        return _or_none(gap_energy(self.net_wh[chosen], blank[chosen], self.read[chosen], usable[chosen]))

    def of_area(
        self, of_area: npt.NDArray[Any], blank: Bools, split: Bools, loads: UnmeteredEnergy | None
    ) -> Floats | None:
        """(intervals,) of the area's meters together, less known loads that no meter sees."""
        mask = self.mask[of_area]
        net_wh = np.where(mask, self.net_wh[of_area], 0.0).sum(axis=0)
        if loads is not None:
            net_wh = net_wh - loads.energy_wh.sum(axis=0)
        read = (self.read[of_area] | ~mask).all(axis=0) & ~split
        usable = self.steady[of_area].all(axis=0) & mask.any(axis=0) & ~split
        found = _or_none(gap_energy(net_wh[None], blank[None], read[None], usable[None]))
        return None if found is None else found[0]


def _matrices(connection: Connection, points: Sequence[Point], days: DayRange) -> _Matrices:
    """Settled vectors of the points (points, intervals): energies of every quality, NaN where absent or not settled
    on this grid.
    """
    shape = (len(points), days.intervals)
    import_wh, export_wh, voltage_v = (np.full(shape, np.nan) for _ in range(3))
    quality = np.zeros(shape, dtype=np.int8)
    read = np.zeros(shape, dtype=np.bool_)
    index = {point.usage_point_id: i for i, point in enumerate(points)}
    for row in intervals.days_of_points(connection, list(index), days.first, days.last):
        here = days.day_slice((row["day"] - days.first).days)
        if row["interval_s"] != days.calendar.interval_s or len(row["quality"]) != here.stop - here.start:
            continue
        i = index[row["usage_point_id"]]
        import_wh[i, here] = _nan(row["import_wh"])
        export_wh[i, here] = _nan(row["export_wh"])
        voltage_v[i, here] = _nan(row["voltage_dv"]) / 10
        quality[i, here] = row["quality"]
        read[i, here] = (row["flags"] & Flag.MISSING) == 0
    read &= is_measured(quality)
    return _Matrices(import_wh, export_wh, voltage_v, quality, read)


def _nan(values: Any) -> Floats:
    return np.where(values == ABSENT, np.nan, values.astype(np.float64))


def _of_members(values: Floats, chosen: npt.NDArray[Any], mask: Bools, outside: float) -> Floats:
    """Rows of the chosen points; outside their membership they add nothing to this area."""
    return np.where(mask[chosen], values[chosen], outside)


def _area_energy(settled: _Matrices, chosen: npt.NDArray[Any], mask: Bools) -> tuple[Floats, Floats]:
    """Sum of the area's meters; an interval that one of them lacks is NaN, and so is every interval without any
    meter.
    """
    if chosen.size == 0:
        empty = np.full(settled.quality.shape[1], np.nan)
        return empty, empty.copy()
    none = ~mask[chosen].any(axis=0)
    totals = [
        np.where(none, np.nan, np.where(mask[chosen], values, 0.0).sum(axis=0))
        for values in (settled.import_wh[chosen], settled.export_wh[chosen])
    ]
    return totals[0], totals[1]


def _without(into: Floats, out: Floats, known: UnmeteredEnergy | None) -> tuple[Floats, Floats]:
    """The area's energy without its known loads that no meter sees: they are no loss, and nobody's theft."""
    if known is None:
        return into, out
    rest = into - known.energy_wh.sum(axis=0)
    return np.maximum(rest, 0.0), out + np.maximum(-rest, 0.0)


def _step_wh(point: Point, stated: Mapping[int, int]) -> float:
    """Step of the point's registers [Wh], primary side: the last meter's own, or the coarser one its readings state."""
    last = point.installations[-1]
    return max(last.resolution_wh, stated.get(last.meter_id, 0)) * last.multiplier_e4 / 1e4


def _or_none(values: Floats) -> Floats | None:
    return values if np.isfinite(values).any() else None


def _masked(values: Floats | None, hidden: Bools) -> Floats | None:
    return None if values is None else np.where(hidden[None, :], np.nan, values)


def _wanted(points: Sequence[Point], days: DayRange) -> Bools:
    """(points, intervals) whether a meter and a membership held all through each interval."""
    begin, end = days.grid_us[:-1], days.grid_us[1:]
    wanted = np.zeros((len(points), days.intervals), dtype=np.bool_)
    for i, point in enumerate(points):
        metered, member = np.zeros(days.intervals, dtype=np.bool_), np.zeros(days.intervals, dtype=np.bool_)
        for spell in point.installations:
            metered |= (spell.from_us <= begin) & (end <= spell.to_us)
        for stay in point.memberships:
            member |= (stay.from_us <= begin) & (end <= stay.to_us)
        wanted[i] = metered & member
    return wanted
