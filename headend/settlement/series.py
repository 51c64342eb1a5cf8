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
from headend.settlement.topology import Installed, Point
from headend.store.intervals import MeterReadings, ReadingTable
from headend.store.vectors import ABSENT
from reconciliation.cleaning import Plausible, SeriesMeta
from reconciliation.validation import NOMINAL_V

Ints = npt.NDArray[np.int64]
_DAY_US = 86_400 * US_PER_S
_DIRECTIONS = {True: ("import", "export"), False: ("export", "import")}
"""Of the point, which a meter's two registers count; False: it is wired the other way round."""
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
    """All series of an area in columns: what reconciliation's register functions take."""

    owners: list[Owner]
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


def build_series(points: Sequence[Point], readings: Mapping[int, MeterReadings], plausible: Plausible) -> Series:
    """Two series for every installation, in order of point and time."""
    table = ReadingTable.of(readings)
    installed = [one for point in points for one in point.installations]
    power = np.array([capacity_w(point, one) for point in points for one in point.installations], dtype=np.float64)
    meta = series_meta(installed, power, plausible, each=2)
    owners = [
        Owner(p, one, into)
        for p, point in enumerate(points)
        for one in point.installations
        for into in _DIRECTIONS[one.sign > 0]
    ]
    scope = np.array([(one.meter_id, one.scope_from_us, one.scope_to_us) for one in installed], dtype=np.int64)
    rows, counts = table.rows_between(*np.repeat(scope.reshape(-1, 3), 2, axis=0).T)
    registers = np.concatenate([table.rows.import_wh, table.rows.export_wh])
    odd = np.repeat(np.arange(len(owners)) % 2, counts)  # every other series is the register of energy fed in
    value = registers[rows + odd * table.rows.ts_us.size]
    there = value != ABSENT
    if not there.all():
        counts = np.bincount(np.repeat(np.arange(len(owners)), counts)[there], minlength=len(owners))
        rows, value = rows[there], value[there]
    ts, stated = table.rows.ts_us[rows], table.rows.resolution_wh[rows]
    ts, value, stated, counts = _with_noted(owners, counts, (ts, value, stated))
    coarser = np.zeros(ts.size, dtype=np.int64)
    if stated.any():
        own_step = np.repeat(_column([one.resolution_wh for one in installed]), 2)
        coarser = _STEPS * np.maximum(stated - np.repeat(own_step, counts), 0)
    return Series(
        owners, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), ts, value, coarser, meta,
        np.repeat(np.arange(len(points)), [2 * len(point.installations) for point in points]),
        np.array([o.into == "import" for o in owners], dtype=np.bool_),
    )  # fmt: skip


def _with_noted(
    owners: Sequence[Owner], counts: Ints, columns: tuple[Ints, Ints, Ints]
) -> tuple[Ints, Ints, Ints, Ints]:
    """Readings (ts_us, value_wh, stated_wh) of all series with the registers noted at their ends, where nothing was
    read at that very instant; and how many each series has then.
    """
    ts = columns[0]
    ends = np.cumsum(counts)
    places: list[int] = []
    noted: list[tuple[int, int]] = []
    grown = counts.copy()
    for s, owner in enumerate(owners):
        installed = owner.installed
        start = installed.start_export_wh if s % 2 else installed.start_import_wh
        end = installed.end_export_wh if s % 2 else installed.end_import_wh
        if start is None and end is None:
            continue
        high = int(ends[s])
        low = high - int(counts[s])
        if start is not None and high > low and ts[low] - installed.from_us > STALE_START_DAYS * _DAY_US:
            start = None
        for instant, register in ((installed.from_us, start), (installed.to_us, end)):
            if register is None:
                continue
            at = low + int(np.searchsorted(ts[low:high], instant))
            if at == high or ts[at] != instant:
                places.append(at)
                noted.append((instant, register))
                grown[s] += 1
    if not places:
        return *columns, counts
    instants, registers = np.array(noted, dtype=np.int64).T
    ts, value, stated = (
        np.insert(column, places, more) for column, more in zip(columns, (instants, registers, 0), strict=True)
    )
    return ts, value, stated, grown


def while_served(points: Sequence[Point], table: ReadingTable) -> tuple[Ints, Ints, Ints]:
    """Readings of all meters while they served: (n,) point, row of the table, multiplier_e4."""
    served = [
        (p, i.multiplier_e4, i.meter_id, i.from_us, i.to_us) for p, q in enumerate(points) for i in q.installations
    ]
    owner, multiplier, *span = np.array(served, dtype=np.int64).reshape(-1, 5).T
    rows, counts = table.rows_between(*span)
    return np.repeat(owner, counts), rows, np.repeat(multiplier, counts)


def series_meta(
    installed: Sequence[Installed], power_w: npt.NDArray[np.float64], plausible: Plausible, *, each: int
) -> SeriesMeta:
    """What holds for so many series of `each` installation: `power_w` (n,) can flow through its terminals."""

    def column(values: Sequence[int]) -> Ints:
        return np.repeat(_column(values), each)

    resolution, power = column([i.resolution_wh for i in installed]), np.repeat(power_w, each)
    return SeriesMeta(
        multiplier_e4=column([i.multiplier_e4 for i in installed]),
        span_wh=column([10**i.digits for i in installed]) * resolution,
        slack_wh=_STEPS * resolution + np.ceil(power * plausible.skew_s / 3600).astype(np.int64),
        capacity_w=power,
        from_us=column([i.from_us for i in installed]),
        to_us=column([i.to_us for i in installed]),
        plausible=plausible,
    )


def _column(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def capacity_w(point: Point, installed: Installed) -> float:
    """What can flow through the meter's own terminals: the rated current where it is wired directly."""
    direct = installed.multiplier_e4 == 10_000 and point.rated_current_a is not None
    current = float(point.rated_current_a or 0) if direct else DEFAULT_CURRENT_A
    return current * NOMINAL_V * installed.phases
