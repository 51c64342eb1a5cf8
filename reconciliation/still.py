"""Readings that do not change: what lies in a hole between equal readings."""

import numpy as np

from reconciliation.window import Bools, Floats, Ints

READINGS = 4
"""Equal readings on each side from which the hole between them is taken to be equal, too."""


def unchanged_across(values: Floats, row: Ints, at: Ints) -> tuple[Bools, Floats]:
    """(k,) whether the READINGS known values before and after each hole (row, at) of (n, T) series are all the same,
    and (k,) that value, 0 where they are not."""
    same, value = np.zeros(row.size, bool), np.zeros(row.size)
    for i in np.unique(row):
        here = np.flatnonzero(row == i)
        good = np.flatnonzero(np.isfinite(values[i]))
        x = values[i, good]
        after = np.searchsorted(good, at[here])
        inside = (after >= READINGS) & (after + READINGS <= x.size)
        near = np.clip(after[:, None] + np.arange(-READINGS, READINGS), 0, max(x.size - 1, 0))
        around = x[near]
        same[here] = inside & (around == around[:, :1]).all(axis=1)
        value[here] = np.where(same[here], around[:, 0], 0.0)
    return same, value
