"""What a settled day says of its own ends: registers at its midnights, their step, which readings decide them, and how
far off these lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.settlement.grid import DayRange
from headend.settlement.presence import Presence
from headend.settlement.series import Series, while_served
from headend.settlement.topology import Point
from headend.store.intervals import MeterReadings, ReadingTable
from reconciliation.cleaning import Cleaned
from reconciliation.registers import NO_VALUE, GridRegisters

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FAR: Final = np.iinfo(np.int64).max


def day_resolution(presence: Presence, readings: Mapping[int, MeterReadings]) -> Floats:
    """(P, D) coarsest step of each day's registers, primary side [Wh]; a midnight's register belongs to both days."""
    table = ReadingTable.of(readings)
    if not table.rows.resolution_wh.any():
        return presence.own_step_wh
    found, days = presence.own_step_wh.copy(), presence.days
    midnights = days.grid_us[days.midnights]
    owner, rows, multiplier = while_served(presence.points, table)
    step = table.rows.resolution_wh[rows] * (multiplier / 1e4)
    for side in ("left", "right"):
        day = np.searchsorted(midnights, table.rows.ts_us[rows], side=side) - 1
        here = (day >= 0) & (day < len(days.days))
        np.maximum.at(found, (owner[here], day[here]), step[here])
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
    begin, finish = series.meta.from_us[:, None], series.meta.to_us[:, None]
    anchor = registers.anchor[:, columns]
    read = anchor >= 0
    raw = np.where(read, _raw_wh(series, cleaned, anchor), NO_VALUE)
    opens = read & (at >= begin) & (at < finish)
    closes = read & (at > begin) & (at <= finish)
    within = (at > begin) & (at < finish)
    low, high = registers.before[:, columns], registers.after[:, columns]
    low_us, high_us = _looked_up(cleaned.ts_us, low), _looked_up(cleaned.ts_us, high)
    one_run = (low >= 0) & (high >= 0) & (_looked_up(cleaned.run, low) == _looked_up(cleaned.run, high))
    parts = (
        low_us, _raw_wh(series, cleaned, low), high_us, _raw_wh(series, cleaned, high), one_run.astype(np.int64)
    )  # fmt: skip
    salt = np.arange(series.point.size)[:, None] % 2
    np.add.at(marks, series.point, np.where(within, _mixed(parts, salt), np.uint64(0)))
    for own in series.rounds():
        p, into = series.of_round(own), "import" if series.into_import[own[0]] else "export"
        starts[into][p] = np.where(opens[own, :-1], raw[own, :-1], starts[into][p])
        ends[into][p] = np.where(closes[own, 1:], raw[own, 1:], ends[into][p])
    outward = within[:, 0] & (low[:, 0] >= 0)
    np.minimum.at(gap_from, series.point[outward], low_us[outward, 0])
    outward = within[:, -1] & (high[:, -1] >= 0)
    latest = np.full(count, -1)
    np.maximum.at(latest, series.point[outward], high_us[outward, -1])
    gap_to = np.where(latest >= 0, latest, gap_to)
    pairs = ((starts["import"], starts["export"]), (ends["import"], ends["export"]))
    return *pairs, marks.view(np.int64), gap_from, gap_to


def _raw_wh(series: Series, cleaned: Cleaned, index: Ints) -> Ints:
    """Of readings, by their place among those that are believed, the register as the meter showed it; -1: none."""
    return _looked_up(series.value_wh, _looked_up(cleaned.source, index))


def _looked_up(values: Ints, index: Ints) -> Ints:
    """A few of many values; -1 where the index is -1."""
    found = np.full(index.shape, -1, dtype=np.int64)
    there = index >= 0
    found[there] = values[index[there]]
    return found


def unread_s(count: int, series: Series, cleaned: Cleaned, registers: GridRegisters, days: DayRange) -> Floats:
    """(P, D + 1) float64 [s] of P = `count` points: a·b / (a + b) with readings `a` before and `b` after each midnight;
    0 where the register was read, or where readings on both sides are lacking (there is no number then).
    """
    found = np.zeros((count, days.midnights.size))
    columns = days.midnights
    anchor, low, high = (part[:, columns] for part in (registers.anchor, registers.before, registers.after))
    open_ = (anchor < 0) & (low >= 0) & (high >= 0)
    if not open_.any():
        return found
    at = days.grid_us[columns]
    before, after = (at - _looked_up(cleaned.ts_us, low)) / US_PER_S, (_looked_up(cleaned.ts_us, high) - at) / US_PER_S
    wait = np.where(open_, before * after / np.maximum(before + after, 1e-6), 0.0)
    own = series.into_import & open_.any(axis=1)
    within = (at >= series.meta.from_us[own, None]) & (at <= series.meta.to_us[own, None])
    np.maximum.at(found, series.point[own], np.where(within, wait[own], 0.0))
    return found


def _mixed(parts: Sequence[Ints], salt: Ints) -> npt.NDArray[np.uint64]:
    """One 64-bit digest of a few columns (a multiply-xorshift mixer after each)."""
    digest = np.broadcast_to((salt + 1).astype(np.uint64), parts[0].shape)
    for part in parts:
        digest = (digest ^ part.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        digest = digest ^ (digest >> np.uint64(29))
    return digest
