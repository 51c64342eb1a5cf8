"""What a settled day says of its own ends: registers at its midnights, their step, and which readings decide them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.settlement.grid import DayRange
from headend.settlement.series import Series
from headend.settlement.topology import Point
from headend.store.intervals import MeterReadings
from reconciliation.cleaning import Cleaned
from reconciliation.registers import NO_VALUE, GridRegisters

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FAR: Final = np.iinfo(np.int64).max


def own_step_wh(point: Point) -> float:
    """The coarsest step of the registers of a point's meters, primary side [Wh]; 0 without one."""
    return max((i.resolution_wh * i.multiplier_e4 / 1e4 for i in point.installations), default=0.0)


def day_resolution(points: Sequence[Point], readings: Mapping[int, MeterReadings], days: DayRange) -> Floats:
    """(P, D) coarsest step of each day's registers, primary side [Wh]; a midnight's register belongs to both days."""
    midnights = days.grid_us[days.midnights]
    found = np.repeat([[own_step_wh(point)] for point in points], len(days.days), axis=1).reshape(len(points), -1)
    for p, point in enumerate(points):
        for installed in point.installations:
            scale = installed.multiplier_e4 / 1e4
            own = readings.get(installed.meter_id)
            if own is None or not own.resolution_wh.any():
                continue
            used = (own.ts_us >= installed.from_us) & (own.ts_us <= installed.to_us)
            for side in ("left", "right"):
                day = np.searchsorted(midnights, own.ts_us, side=side) - 1
                here = used & (day >= 0) & (day < len(days.days))
                np.maximum.at(found[p], day[here], own.resolution_wh[here] * scale)
    return found


def day_edges(
    points: Sequence[Point], series: Series, cleaned: Cleaned, registers: GridRegisters, days: DayRange
) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints], Ints, Ints, Ints]:
    """Raw registers at midnights, digests of what decides them, and where gaps across the stretch's ends begin and
    end.
    """
    count, n_days = len(points), len(days.days)
    starts = {into: np.full((count, n_days), NO_VALUE, dtype=np.int64) for into in ("import", "export")}
    ends = {into: np.full((count, n_days), NO_VALUE, dtype=np.int64) for into in starts}
    marks = np.zeros((count, n_days + 1), dtype=np.uint64)
    gap_from, gap_to = np.full(count, FAR), np.full(count, FAR)
    columns = days.midnights
    at = days.grid_us[columns]
    raw_wh = np.append(series.value_wh[cleaned.source], -1)
    stamp_us, run = np.append(cleaned.ts_us, -1), np.append(cleaned.run, -1)
    for s, o in enumerate(series.owners):
        begin, finish = o.installed.from_us, o.installed.to_us
        anchor = registers.anchor[s, columns]
        read = anchor >= 0
        raw = np.where(read, raw_wh[anchor], NO_VALUE)
        opens = read & (at >= begin) & (at < finish)
        closes = read & (at > begin) & (at <= finish)
        starts[o.into][o.point] = np.where(opens[:-1], raw[:-1], starts[o.into][o.point])
        ends[o.into][o.point] = np.where(closes[1:], raw[1:], ends[o.into][o.point])
        within = (at > begin) & (at < finish)
        low, high = registers.before[s, columns], registers.after[s, columns]
        parts = (
            stamp_us[low], raw_wh[low], stamp_us[high], raw_wh[high],
            ((low >= 0) & (high >= 0) & (run[low] == run[high])).astype(np.int64),
        )  # fmt: skip
        marks[o.point] += np.where(within, _mixed(parts, s % 2), np.uint64(0))
        if within[0] and low[0] >= 0:
            gap_from[o.point] = min(gap_from[o.point], cleaned.ts_us[low[0]])
        if within[-1] and high[-1] >= 0:
            latest = gap_to[o.point] if gap_to[o.point] != FAR else -1
            gap_to[o.point] = max(latest, cleaned.ts_us[high[-1]])
    pairs = ((starts["import"], starts["export"]), (ends["import"], ends["export"]))
    return *pairs, marks.view(np.int64), gap_from, gap_to


def _mixed(parts: Sequence[Ints], salt: int) -> npt.NDArray[np.uint64]:
    """One 64-bit digest of a few columns (a multiply-xorshift mixer after each)."""
    digest = np.full(parts[0].shape, salt + 1, dtype=np.uint64)
    for part in parts:
        digest = (digest ^ part.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        digest ^= digest >> np.uint64(29)
    return digest
