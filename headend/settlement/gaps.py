"""What registers say of gaps as a whole: estimates within one are not believed, but they sum to what was counted across
it.

The rule it keeps: a gap's energy is told only where registers were read at both its ends, of the same meter and on the
same area; else it is NaN, as if nobody had looked.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


def gap_energy(net_wh: Floats, blank: Bools, read: Bools, usable: Bools) -> Floats:
    """(n, T) energy of each maximal run of `blank` intervals at its last one [Wh], NaN elsewhere and where not known.

    `net_wh`: (n, T) settled energies, estimates too, NaN where absent. `blank`: intervals that are not believed one by
    one. `read`: whose energy rests on registers at both ends. `usable`: nothing but readings lacks (the same meters,
    the same area). A run is known where the intervals beside it are read and usable, and all of its own are usable
    and have an energy: such energies are the register difference, shared out.
    """
    found = np.full(net_wh.shape, np.nan)
    if net_wh.size == 0:
        return found
    around = np.zeros((net_wh.shape[0], 1), dtype=np.int8)
    edges = np.diff(blank.astype(np.int8), axis=1, prepend=around, append=around)
    row, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    inner = (first > 0) & (last < net_wh.shape[1] - 1)
    row, first, last = row[inner], first[inner], last[inner]
    sound = read & usable
    whole = sound[row, first - 1] & sound[row, last + 1] & (_sums(~usable | np.isnan(net_wh), row, first, last) == 0)
    row, first, last = row[whole], first[whole], last[whole]
    found[row, last] = _sums(np.nan_to_num(net_wh), row, first, last)
    return found


def _sums(values: Floats | Bools, row: Ints, first: Ints, last: Ints) -> Floats:
    """(g,) sums over runs, both ends included; exact, since settled energies are whole Wh."""
    total = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=total[:, 1:])
    return np.asarray(total[row, last + 1] - total[row, first], dtype=np.float64)
