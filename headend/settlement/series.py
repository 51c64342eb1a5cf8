"""Readings of installations as series of registers: one for each direction, anchored at the registers noted when it
was put in and taken out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.settlement.rules import DEFAULT_CURRENT_A, STALE_START_DAYS
from headend.settlement.topology import DIRECT_E4, Installed, Point, Points, Served
from headend.store.intervals import MeterReadings, ReadingTable
from headend.store.vectors import ABSENT
from reconciliation.cleaning import Plausible, SeriesMeta
from reconciliation.validation import NOMINAL_V

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_DAY_US = 86_400 * US_PER_S
_STEPS = 2
"""So many steps of its register a fall may be: either reading was cut off within one."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose series it is."""

    point: int
    """Index of the metering point."""
    installed: Installed
    into: str
    """`import` or `export`: which of the point's energies the register counts (a meter wired the other way round
    counts the other one).
    """


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """All series of an area in columns: what reconciliation's register functions take. Two of each installation, its
    register of import first.
    """

    points: Points
    offsets: Ints
    ts_us: Ints
    value_wh: Ints
    """Raw, as the meter shows."""
    coarser_wh: Ints
    """Slack of each reading beyond its meter's own, where it states a coarser step."""
    meta: SeriesMeta
    point: Ints
    """(S,) index of each series' metering point; rising."""
    into_import: npt.NDArray[np.bool_]
    """(S,) whether it counts the point's import."""

    def owner(self, s: int) -> Owner:
        """Whose one of the series is."""
        into = "import" if self.into_import[s] else "export"
        return Owner(int(self.point[s]), self.points.installed[s // 2], into)

    def rounds(self) -> Iterator[Ints]:
        """Series in rounds, import and export by turns: in each a point occurs once at the most, in the order in which
        its meters served. What is put together of a point's series is so a few steps over many points.
        """
        for wanted in (self.into_import, ~self.into_import):
            own = np.flatnonzero(wanted)
            first = np.searchsorted(self.point[own], self.point[own])
            turn = np.arange(own.size) - first
            for k in range(int(turn.max(initial=-1)) + 1):
                yield own[turn == k]

    def of_round(self, own: Ints) -> Ints | slice:
        """The points of one of the rounds; all of them as a slice, which arrays are read through without a copy."""
        return slice(None) if own.size == len(self.points) else self.point[own]


def build_series(points: Sequence[Point], readings: Mapping[int, MeterReadings], plausible: Plausible) -> Series:
    """Two series for every installation, in order of point and time."""
    table, points = ReadingTable.of(readings), Points.of(points)
    installed = points.installed
    count = 2 * installed.point.size
    odd = np.arange(count) % 2  # every other series is the register of energy fed in
    scope = (installed.meter_id, installed.scope_from_us, installed.scope_to_us)
    rows, counts = table.rows_between(*(np.repeat(column, 2) for column in scope))
    registers = np.concatenate([table.rows.import_wh, table.rows.export_wh])
    value = registers[rows + np.repeat(odd, counts) * table.rows.ts_us.size]
    there = value != ABSENT
    if not there.all():
        counts = np.bincount(np.repeat(np.arange(count), counts)[there], minlength=count)
        rows, value = rows[there], value[there]
    ts, stated = table.rows.ts_us[rows], table.rows.resolution_wh[rows]
    ts, value, stated, counts = _with_noted(installed, counts, (ts, value, stated))
    coarser = np.zeros(ts.size, dtype=np.int64)
    if stated.any():
        own_step = np.repeat(installed.resolution_wh, 2)
        coarser = _STEPS * np.maximum(stated - np.repeat(own_step, counts), 0)
    return Series(
        points, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), ts, value, coarser,
        series_meta(points, plausible, each=2), np.repeat(installed.point, 2),
        np.repeat(installed.sign > 0, 2) == (odd == 0),
    )  # fmt: skip


def _with_noted(installed: Served, counts: Ints, columns: tuple[Ints, Ints, Ints]) -> tuple[Ints, Ints, Ints, Ints]:
    """Readings (ts_us, value_wh, stated_wh) of all series with the registers noted at their ends, where nothing was
    read at that very instant; and how many each series has then.
    """
    ts = columns[0]
    ends = np.cumsum(counts)
    starts = ends - counts
    from_us, to_us = np.repeat(installed.from_us, 2), np.repeat(installed.to_us, 2)
    start = np.stack([installed.start_import_wh, installed.start_export_wh], axis=1).ravel()
    end = np.stack([installed.end_import_wh, installed.end_export_wh], axis=1).ravel()
    first = np.append(ts, 0)[starts]
    stale = (counts > 0) & (first - from_us > STALE_START_DAYS * _DAY_US)
    places: list[int] = []
    noted: list[tuple[int, int]] = []
    grown = counts.copy()
    for s in np.flatnonzero(((start != ABSENT) & ~stale) | (end != ABSENT)).tolist():
        low, high = int(starts[s]), int(ends[s])
        registers = ((int(from_us[s]), ABSENT if stale[s] else int(start[s])), (int(to_us[s]), int(end[s])))
        for instant, register in registers:
            if register == ABSENT:
                continue
            at = low + int(np.searchsorted(ts[low:high], instant))
            if at == high or ts[at] != instant:
                places.append(at)
                noted.append((instant, register))
                grown[s] += 1
    if not places:
        return *columns, counts
    instants, registers_wh = np.array(noted, dtype=np.int64).T
    ts, value, stated = (
        np.insert(column, places, more) for column, more in zip(columns, (instants, registers_wh, 0), strict=True)
    )
    return ts, value, stated, grown


def while_served(points: Sequence[Point], table: ReadingTable) -> tuple[Ints, Ints, Ints]:
    """Readings of all meters while they served: (n,) point, row of the table, multiplier_e4."""
    installed = Points.of(points).installed
    rows, counts = table.rows_between(installed.meter_id, installed.from_us, installed.to_us)
    return np.repeat(installed.point, counts), rows, np.repeat(installed.multiplier_e4, counts)


def series_meta(points: Points, plausible: Plausible, *, each: int) -> SeriesMeta:
    """What holds for so many series of each installation."""
    installed, power = points.installed, np.repeat(capacity_w(points), each)

    def column(values: Ints) -> Ints:
        return np.repeat(values, each)

    resolution = column(installed.resolution_wh)
    return SeriesMeta(
        multiplier_e4=column(installed.multiplier_e4),
        span_wh=column(10**installed.digits) * resolution,
        slack_wh=_STEPS * resolution + np.ceil(power * plausible.skew_s / 3600).astype(np.int64),
        capacity_w=power,
        from_us=column(installed.from_us),
        to_us=column(installed.to_us),
        plausible=plausible,
    )


def capacity_w(points: Points) -> Floats:
    """(I,) what can flow through each meter's own terminals: the rated current where it is wired directly."""
    installed = points.installed
    rated = points.rated_current_a[installed.point]
    direct = (installed.multiplier_e4 == DIRECT_E4) & ~np.isnan(rated)
    return np.asarray(np.where(direct, rated, DEFAULT_CURRENT_A) * NOMINAL_V * installed.phases, dtype=np.float64)
