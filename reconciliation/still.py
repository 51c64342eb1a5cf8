"""Readings that do not change: what lies in a hole between equal readings."""

import numpy as np

from reconciliation.places import Places
from reconciliation.window import Bools, Floats

READINGS = 4
"""Equal readings on each side from which the hole between them is taken to be equal, too."""


def unchanged_across(values: Floats, where: Places) -> tuple[Bools, Floats]:
    """(h,) whether the READINGS known values before and after each hole of (n, T) series are all the same, and (h,)
    that value, 0 where they are not."""
    good, row, after = where.good, where.row, where.rank
    if good.size == 0 or row.size == 0:
        return np.zeros(row.size, bool), np.zeros(row.size)
    bounds = np.append(0, np.cumsum(where.known.sum(axis=1)))
    inside = (after - READINGS >= bounds[row]) & (after + READINGS <= bounds[row + 1])
    around = values.ravel()[good[np.clip(after[:, None] + np.arange(-READINGS, READINGS), 0, good.size - 1)]]
    same = inside & (around == around[:, :1]).all(axis=1)
    return same, np.where(same, around[:, 0], 0.0)
