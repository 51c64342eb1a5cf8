"""Which new rows came late, as few spans as can say it: a reading counts as known when it was stamped unless one of
these says that it came later. Pure numpy.

The rule it keeps: no span covers a reading that was stored before it, so a reading's latest span is when it came.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from headend.ingest.assemble import Bools, Ints, Rows
from headend.store.history import METERS_A_BLOCK, Arrivals

LATE_AFTER_US: Final = 900_000_000
"""Nothing is noted of what comes within so long after its stamp: when it was known is told no finer than that."""
_APART_US: Final = 2 * 3_600_000_000
"""Not newer rows further apart are looked up apart (known.in_doubt): what is stored between them is not known here."""
_BYTES: Final = METERS_A_BLOCK // 8


def late(rows: Rows, new: Bools, newest_us: Ints, stored: Rows, now_us: int) -> Arrivals:
    """Spans over the rows that were stored just now and are late.

    rows: (n,) sorted by meter and instant; new: (n,) stored just now; newest_us: (n,) the newest instant of each one's
    meter that was stored before; stored: what is stored around the rows that are not newer, by meter and instant.
    """
    ts_us = rows["ts_us"]
    places = np.flatnonzero(new & (ts_us < now_us - LATE_AFTER_US))
    if not places.size:
        nothing = np.zeros(0, dtype=np.int64)
        return Arrivals(nothing, nothing, nothing, [])
    meter, newer = rows["meter"][places], (ts_us > newest_us)[places]
    begins = np.ones(places.size, dtype=np.bool_)
    begins[1:] = meter[1:] != meter[:-1]
    begins[1:] |= newer[1:] != newer[:-1]
    filling = np.flatnonzero(~newer)
    if filling.size:
        # A hole of one meter ends where something is stored, or may be.
        instants = ts_us[places[filling]]
        apart = (np.diff(_rank(meter[filling], instants, stored)) != 0) | (np.diff(instants) > _APART_US)
        begins[filling[1:][apart]] = True
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], places.size) - 1
    first_us, last_us, before_us = ts_us[places[starts]], ts_us[places[ends]], newest_us[places[starts]]
    # Beyond all that was stored a span may reach on: then meters that were read a little apart share a row.
    open_ = newer[starts]
    first_us = np.where(open_, np.maximum(first_us // LATE_AFTER_US * LATE_AFTER_US, before_us + 1), first_us)
    last_us = np.where(open_, (last_us // LATE_AFTER_US + 1) * LATE_AFTER_US - 1, last_us)
    return _grouped(meter[starts].astype(np.int64), first_us, last_us)


def _rank(meter: npt.NDArray[np.int32], ts_us: Ints, stored: Rows) -> Ints:
    """(n,) how many stored rows stand before each row, by meter and instant."""
    order = np.lexsort((np.append(np.ones(stored.size), np.zeros(meter.size)),
                        np.append(stored["ts_us"], ts_us), np.append(stored["meter"], meter)))  # fmt: skip
    theirs = order < stored.size
    rank = np.empty(meter.size, dtype=np.int64)
    rank[order[~theirs] - stored.size] = np.cumsum(theirs)[~theirs]
    return rank


def _grouped(meter: Ints, first_us: Ints, last_us: Ints) -> Arrivals:
    """One row for all meters of a block with the same span."""
    block, bit = np.divmod(meter, METERS_A_BLOCK)
    order = np.lexsort((last_us, first_us, block))
    block, first_us, last_us = block[order], first_us[order], last_us[order]
    begins = np.ones(order.size, dtype=np.bool_)
    begins[1:] = (np.diff(block) != 0) | (np.diff(first_us) != 0) | (np.diff(last_us) != 0)
    group = np.cumsum(begins) - 1
    bits = np.zeros((int(group[-1]) + 1, METERS_A_BLOCK), dtype=np.bool_)
    bits[group, bit[order]] = True
    packed = np.packbits(bits, axis=1, bitorder="little").tobytes()
    meters = [packed[at : at + _BYTES] for at in range(0, len(packed), _BYTES)]
    return Arrivals(block[begins], first_us[begins], last_us[begins], meters)
