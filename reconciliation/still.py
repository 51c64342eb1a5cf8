"""Readings that do not change: what lies in a hole between equal readings."""

import numpy as np

from reconciliation.window import Bools, Floats, Ints

READINGS = 4
"""Equal readings on each side from which the hole between them is taken to be equal, too."""


def unchanged_across(values: Floats, row: Ints, at: Ints) -> tuple[Bools, Floats]:
    """(k,) whether the READINGS known values before and after each hole (row, at) of (n, T) series are all the same,
    and (k,) that value, 0 where they are not."""
    good = np.flatnonzero(np.isfinite(values))  # of all series, one after the other
    if good.size == 0 or row.size == 0:
        return np.zeros(row.size, bool), np.zeros(row.size)
    x, t = values.ravel()[good], values.shape[1]
    bounds = np.searchsorted(good, np.arange(values.shape[0] + 1) * t)
    after = np.searchsorted(good, row * t + at)
    inside = (after - READINGS >= bounds[row]) & (after + READINGS <= bounds[row + 1])
    around = x[np.clip(after[:, None] + np.arange(-READINGS, READINGS), 0, x.size - 1)]
    same = inside & (around == around[:, :1]).all(axis=1)
    return same, np.where(same, around[:, 0], 0.0)
