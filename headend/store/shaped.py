"""Settled days whose long gaps have the shape of reference days: which days have to follow when such a day changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from headend.store import queries
from headend.store.arrays import Integers, dates, integers
from headend.store.pool import Connection

Ints = npt.NDArray[np.int64]

_SQL = queries.load("shaped")
PointDay = tuple[int, date]


def put(
    connection: Connection,
    usage_points: Ints,
    first: date,
    last: date,
    shaped: Sequence[tuple[int, date, date]],
) -> None:
    """Keep, for days from first to last of some points, which are shaped: (usage_point_id, day, day of the gap)."""
    points, days = [p for p, _, _ in shaped], [day for _, day, _ in shaped]
    keys = {"usage_points": integers(points), "days": dates(days)}
    connection.execute(_SQL["forget"], keys | {"of": Integers(usage_points), "first": first, "last": last})
    if shaped:
        connection.execute(_SQL["put"], keys | {"gap_days": [gap_day for _, _, gap_day in shaped]})


def resting_on(connection: Connection, changed: Sequence[PointDay], span_days: int) -> list[PointDay]:
    """Later days of the same points that may have their shape from changed days, which lie up to so many days before
    their gap.
    """
    parameters = {
        "usage_points": integers([point for point, _ in changed]),
        "days": dates([day for _, day in changed]),
        "span": span_days,
    }
    return [(point, day) for point, day in connection.execute(_SQL["resting_on"], parameters).fetchall()]
