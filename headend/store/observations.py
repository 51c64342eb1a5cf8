"""What validation looks at besides registers: phases, rates, other values of one instant, clocks, categories by time.

Each query returns only what a rule may find fault with: nearly everything is in order and stays in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.domain.gaps import GAP_DAYS
from headend.domain.topology import CATEGORIES
from headend.store import queries
from headend.store.arrays import Integers, columns, integers
from headend.store.pool import Connection, Row, rows
from headend.store.vectors import ABSENT, vector_rows

Ints = npt.NDArray[np.int64]

_SQL = queries.load("observations")
_CATEGORIES: Final = f"{{{','.join(CATEGORIES)}}}"
"""As a literal of text[]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseBounds:
    """What makes a per-phase reading worth a look; the strictest of all categories."""

    gone_dv: int
    """A phase voltage below this [0.1 V] ..."""
    back_w: int
    """... or power below this [W, negative: back] ..."""
    idle_to_load: float
    """... or the smallest of three currents at most so large a share of the one in the middle."""


def odd_phases(
    connection: Connection, meters: Sequence[int], start: datetime, end: datetime, bounds: PhaseBounds
) -> list[Row]:
    """Per-phase readings that may fail a rule: one row of (n,) int64 vectors a meter, ABSENT: not measured."""
    return vector_rows(
        connection,
        _SQL["odd_phases"],
        {
            "meters": integers(meters), "start": start, "end": end, "absent": ABSENT,
            "gone_dv": bounds.gone_dv, "back_w": bounds.back_w, "idle_to_load": bounds.idle_to_load,
        },
    )  # fmt: skip


def odd_tariffs(
    connection: Connection, meters: Sequence[int], start: datetime, end: datetime, *, steps: float
) -> list[Row]:
    """Readings whose rates do not add up: (n,) int64 vectors by meter; ABSENT: not read, step_wh 0: not said."""
    parameters = {"meters": integers(meters), "start": start, "end": end, "steps": steps, "absent": ABSENT}
    return vector_rows(connection, _SQL["odd_tariffs"], parameters)


def rates_told(connection: Connection, meters: Sequence[int], start: datetime, end: datetime) -> list[Row]:
    """Which rates each reading of a stretch told, and the last one before it: (n,) `ts_us`, and bits in `rates`."""
    parameters = {"meters": integers(meters), "from": start, "end": end, "since": start - timedelta(days=GAP_DAYS)}
    return vector_rows(connection, _SQL["rates_told"], parameters)


def other_values(connection: Connection, meters: Sequence[int], start: datetime, end: datetime) -> list[Row]:
    """Readings with another register than the stored one of the same instant, by meter and instant."""
    return rows(connection, _SQL["other_values"], {"meters": integers(meters), "start": start, "end": end})


def clocks_off(
    connection: Connection, meters: Sequence[int], since: datetime, end: datetime, *, offset_ms: int
) -> list[Row]:
    """Clocks found off by more than so much (or without any instant: offset_ms None), and when each was read again."""
    parameters = {"meters": integers(meters), "since": since, "end": end, "offset_ms": offset_ms}
    return rows(connection, _SQL["clocks_off"], parameters)


def served_before(
    connection: Connection, meters: Sequence[int], installed_at: Sequence[datetime]
) -> dict[tuple[int, datetime], datetime]:
    """(meter, installed at) → until when the meter had served anywhere before; those that never had are not in it."""
    found = rows(connection, _SQL["served_before"], {"meters": list(meters), "installed_at": list(installed_at)})
    return {(r["meter_id"], r["installed_at"]): r["served_until"] for r in found if r["served_until"] is not None}


def categories(connection: Connection, usage_points: Ints, start: datetime, end: datetime) -> tuple[Ints, Ints, Ints]:
    """Categories of some metering points that held in a stretch, by point and time: (n,) usage_point_id, index in
    CATEGORIES, and since when [µs UTC].
    """
    with connection.cursor(binary=True) as cursor:
        told = {"usage_points": Integers(usage_points), "categories": _CATEGORIES, "start": start, "end": end}
        cursor.execute(_SQL["categories"], told)
        point, category, since = columns(cursor, "int4 int4 timestamptz")
    return point, category - 1, since
