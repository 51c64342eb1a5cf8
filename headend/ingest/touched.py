"""What new rows touch: from the reading before them to the one after, and the local days in between. Pure numpy.

All instants int64 [µs UTC]; the smallest and the largest integer: there is no reading before, after.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from headend.domain.calendar import LocalCalendar, from_us, to_us
from headend.ingest.assemble import DAY_US, Bools, Ints, Rows
from headend.ingest.known import Stretches, stretches

_LOWEST, _HIGHEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).date()


def runs(rows: Rows) -> Stretches:
    """New rows, sorted by meter and instant, as stretches without a hole longer than a day."""
    return stretches(rows, DAY_US)


def following(touched: Stretches, newest_us: Ints) -> tuple[Bools, Ints]:
    """Which stretches are later than all that was stored of their meter before, and the reading before each of these.

    newest_us: (n,) the newest instant of each one's meter before. Gives (n,) bool and (n,) int64; the smallest integer
    where nothing is before, or the stretch is not later.
    """
    later = touched.first_us > newest_us
    earlier_run = np.full(newest_us.size, _LOWEST, dtype=np.int64)
    same = touched.meter[1:] == touched.meter[:-1]
    earlier_run[1:][same] = touched.last_us[:-1][same]
    return later, np.where(later, np.maximum(newest_us, earlier_run), _LOWEST)


def reaching(touched: Stretches, before: Ints, after: Ints, most_days: int) -> Stretches:
    """Stretches that reach back to the reading before them and on to the one after.

    before, after: (n,) int64 instants of the neighbours; the smallest, the largest integer where there is none. The
    energy between two readings is shared out over all days between them, so all of these change. Without a neighbour
    (or with one further away than `most_days`) a stretch begins 1 µs early: a midnight register ends the day before.
    """
    bound = most_days * DAY_US
    first = np.where(before >= touched.first_us - bound, before, touched.first_us - 1)
    far = (before != _LOWEST) & (before < touched.first_us - bound)
    first = np.where(far, touched.first_us - bound, first)
    last = np.where(after <= touched.last_us + bound, after - 1, touched.last_us)
    return Stretches(touched.meter, first, last)


def joined(*parts: Stretches) -> Stretches:
    """All of them, one after the other."""
    return Stretches(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("meter", "first_us", "last_us")))


def local_days(touched: Stretches, zone: str) -> tuple[Ints, Ints, tuple[Ints, Ints]]:
    """The local days from the first to the last instant of each stretch.

    (n,) first and (n,) last day, counted from 1970, and (n,) where the one begins and (n,) the other one ends.
    """
    first_day = from_us(int(touched.first_us.min())).date() - timedelta(days=1)
    days = (from_us(int(touched.last_us.max())).date() - first_day).days + 2
    begins = np.array([_begins_us(zone, (first_day - _EPOCH).days + n) for n in range(days + 1)], dtype=np.int64)
    first = np.searchsorted(begins, touched.first_us, side="right") - 1
    last = np.searchsorted(begins, touched.last_us, side="right") - 1
    offset = (first_day - _EPOCH).days
    return first + offset, last + offset, (begins[first], begins[last + 1])


@lru_cache(maxsize=4096)
def _begins_us(zone: str, day: int) -> int:
    """Where a local day, counted from 1970, begins."""
    return to_us(LocalCalendar(ZoneInfo(zone)).bounds(_EPOCH + timedelta(days=day))[0])
