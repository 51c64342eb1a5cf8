"""Sums by time of day; a day may be shorter or longer than the others where clocks change."""

import numpy as np

from reconciliation.places import Places
from reconciliation.window import Bools, Floats, Ints, Numbers


def sums_by_slot(x: Numbers | Bools, slot: Ints, n_slots: int) -> Floats:
    """(n, n_slots) sums over the days of (n, T) values; ``slot`` (T,): interval of the day, counting up in each day."""
    out = np.zeros((x.shape[0], n_slots))
    if slot.size == 0:
        return out
    first = np.flatnonzero(np.diff(slot, prepend=slot[0]) != 1)
    for start, stop in zip(first.tolist(), [*first[1:].tolist(), slot.size], strict=True):
        out[:, slot[start] : slot[start] + stop - start] += x[:, start:stop]
    return out


def known_by_slot(where: Places, slot: Ints, n_slots: int) -> Floats:
    """(n, n_slots) how many values of each time of day are known."""
    n = where.known.shape[0]
    holes = np.bincount(where.row * n_slots + slot[where.at], minlength=n * n_slots).reshape(n, n_slots)
    return np.asarray(np.bincount(slot, minlength=n_slots) - holes, dtype=np.float64)
