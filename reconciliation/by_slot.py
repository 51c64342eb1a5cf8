"""Sums by time of day; a day may be shorter or longer than the others where clocks change."""

import numpy as np

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
