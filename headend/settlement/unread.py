"""How far from each midnight the nearest readings lie: what leaves the register there open."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.settlement.grid import DayRange
from headend.settlement.series import Series
from reconciliation.cleaning import Cleaned
from reconciliation.registers import GridRegisters

Floats = npt.NDArray[np.float64]


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
    stamps = np.append(cleaned.ts_us, 0)
    before, after = (at - stamps[low]) / US_PER_S, (stamps[high] - at) / US_PER_S
    wait = np.where(open_, before * after / np.maximum(before + after, 1e-6), 0.0)
    for s, owner in enumerate(series.owners):
        if owner.into == "import" and open_[s].any():
            within = (at >= owner.installed.from_us) & (at <= owner.installed.to_us)
            found[owner.point] = np.maximum(found[owner.point], np.where(within, wait[s], 0.0))
    return found
